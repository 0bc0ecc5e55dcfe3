"""Vector tiles by ST_AsMVT."""

from __future__ import annotations

import re

import numpy as np
import psycopg
from numpy.typing import NDArray

from providers.errors import UnsupportedQuery
from providers.features.crs import reference_system, transform_between
from providers.features.postgis.boxes import storage_boxes
from providers.features.postgis.columns import Kind, quoted
from providers.features.postgis.facts import Facts
from providers.features.postgis.pools import Connection
from providers.features.postgis.reading import fetch
from providers.features.postgis.tables import GeometryColumn
from providers.features.query import CRS84, BBox
from providers.features.source import TileWindow

_EPSG = re.compile(r"http://www\.opengis\.net/def/crs/EPSG/0/([0-9]+)")
_MOST_FEATURES = 40_000  # of one tile: the largest ones; more would not be drawn in time by any client
_STEPS = 9  # points along an edge of a tile that another reference system bends
_FULL_ZOOM = 14  # from here every feature and every vertex is given


def make_tile(
    facts: Facts, connection: Connection, window: TileWindow, layer: str, hidden: frozenset[str]
) -> bytes:
    """The tile; b"" where nothing lies in it. Raises UnsupportedQuery for a CRS that PostGIS has no SRID for."""
    geometry = facts.table.geometry
    if geometry is None:
        return b""
    srid = _srid(window)
    shape, where, order, arguments = _chosen(facts, geometry, window)
    if srid != geometry.srid:
        shape = f"ST_Transform({shape}, {srid:d})"
    shown = [
        column
        for name, column in facts.fields.items()
        if name not in hidden and (window.fields is None or name in window.fields)
    ]
    taken = [column.name for column in shown]
    names = [layer, _free_name("geom", taken)]
    members = "".join(f", ({column.shown_in_json}) AS {quoted(column.name)}" for column in shown)
    if facts.table.key.kind is Kind.INTEGER:
        names.append(_free_name("id", taken))
        key = facts.table.key.sql
        members += f", CASE WHEN {key} >= 0 THEN {key}::int8 END AS {quoted(names[2])}"
    own = quoted(names[1])
    text = (
        f"SELECT ST_AsMVT(t, %s, {window.extent:d}, %s{', %s' * (len(names) - 2)}) FROM (SELECT * FROM ("  # noqa: S608 - quoted names
        f"SELECT ST_AsMVTGeom({shape}, ST_MakeEnvelope(%s::float8, %s::float8, %s::float8, %s::float8, {srid:d}),"
        f" {window.extent:d}, {window.buffer:d}, TRUE) AS {own}{members}"
        # OFFSET 0: the box is looked up first, whatever index the order has.
        f" FROM (SELECT * FROM {facts.table.sql} a{where} OFFSET 0) a{order} LIMIT {_MOST_FEATURES:d}) s"
        f" WHERE {own} IS NOT NULL) t"
    )
    try:
        rows = fetch(connection, text.encode(), (*names, *window.bounds, *arguments))
    except psycopg.errors.InternalError_ as error:
        if "SRID" in (error.diag.message_primary or ""):
            raise UnsupportedQuery(
                f"PostGIS does not know the reference system {window.crs.uri!r} of these tiles"
            ) from None
        raise
    return bytes(rows[0][0] or b"")


def _chosen(facts: Facts, geometry: GeometryColumn, window: TileWindow) -> tuple[str, str, str, list[float]]:
    """The shape to draw, the conditions and the order of the features in the tile, and the arguments of the conditions.

    The order is complete: the same features go where they are too many, and the same state gives the same bytes.
    """
    west, south, east, north = window.bounds
    cell = (east - west) / window.extent
    room = cell * window.buffer
    shape, order = geometry.readable, f" ORDER BY {facts.table.key.sql}"
    conditions: list[str] = []
    arguments: list[float] = []
    box = _storage_box(facts, window, (west - room, south - room, east + room, north + room))
    if box is not None:
        corners = "%s::float8, %s::float8, %s::float8, %s::float8"
        conditions.append(f"{geometry.sql} && ST_MakeEnvelope({corners}, {geometry.srid})")
        arguments += box
    if window.zoom < _FULL_ZOOM and not geometry.type_name.endswith("Point"):
        own = geometry.sql
        size = f"greatest(ST_XMax({own}) - ST_XMin({own}), ST_YMax({own}) - ST_YMin({own}))"
        order = f" ORDER BY {size} DESC, {facts.table.key.sql}"
        step = _storage_step(facts, window, cell)
        if step:
            # Half of a 256th of the tile is what a pixel shows; two cells of the tile are less than anyone sees.
            conditions.append(f"({size} >= %s::float8 OR ST_Dimension({own}) = 0)")
            arguments.append(step * window.extent / 512)
            shape = f"ST_Simplify({shape}, {2 * step!r}::float8, TRUE)"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return shape, where, order, arguments


def _srid(window: TileWindow) -> int:
    match = _EPSG.fullmatch(window.crs.uri)
    if match is not None:
        return int(match.group(1))
    if window.crs.is_wgs84:
        return 4326
    raise UnsupportedQuery(
        f"PostGIS makes tiles in reference systems with an EPSG code, not in {window.crs.crs.name!r}"
    )


def _free_name(wanted: str, taken: list[str]) -> str:
    while wanted in taken:
        wanted += "_"
    return wanted


def _storage_box(
    facts: Facts, window: TileWindow, bounds: tuple[float, float, float, float]
) -> tuple[float, float, float, float] | None:
    """The part of the storage CRS that a tile shows; None where it cannot be told."""
    geometry = facts.table.geometry
    assert geometry is not None
    if transform_between(window.crs, geometry.storage) is None:
        return bounds
    to_crs84 = transform_between(window.crs, reference_system(CRS84))
    if to_crs84 is None:
        box = BBox(*bounds)
    else:
        across, upwards = np.linspace(bounds[0], bounds[2], _STEPS), np.linspace(bounds[1], bounds[3], _STEPS)
        x, y = np.meshgrid(across, upwards)
        lon, lat = to_crs84(x.ravel(), y.ravel())
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()) or _wraps(lon.reshape(x.shape)):
            return None
        room_x, room_y = float(np.ptp(lon)) / 100, float(np.ptp(lat)) / 100
        box = BBox(
            float(lon.min()) - room_x,
            float(lat.min()) - room_y,
            float(lon.max()) + room_x,
            float(lat.max()) + room_y,
        )
    outer, _ = storage_boxes(geometry, box, facts.selector.slack)
    return outer


def _storage_step(facts: Facts, window: TileWindow, cell: float) -> float:
    """The length of a cell of the tile, in units of the storage CRS (0 where it cannot be told)."""
    west, south, east, north = window.bounds
    middle_x, middle_y = (west + east) / 2, (south + north) / 2
    transform = transform_between(window.crs, facts.storage)
    if transform is None:
        return cell
    x, y = transform(np.array([middle_x, middle_x + cell]), np.array([middle_y, middle_y]))
    step = float(np.hypot(x[1] - x[0], y[1] - y[0]))
    return step if np.isfinite(step) else 0.0


def _wraps(longitudes: NDArray[np.float64]) -> bool:
    """Whether neighbouring points of a tile lie on both sides of the antimeridian."""
    return bool(
        (np.abs(np.diff(longitudes, axis=0)) > 180).any() or (np.abs(np.diff(longitudes, axis=1)) > 180).any()
    )
