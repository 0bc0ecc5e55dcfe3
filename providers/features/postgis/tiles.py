"""Vector tiles by ST_AsMVT."""

from __future__ import annotations

import re

import numpy as np
import psycopg
import pyproj

from providers.errors import UnsupportedQuery
from providers.features.crs import reference_system, transform_between
from providers.features.postgis.boxes import storage_boxes
from providers.features.postgis.columns import Column, Kind, quoted
from providers.features.postgis.facts import Facts
from providers.features.postgis.pools import Connection
from providers.features.postgis.reading import fetch
from providers.features.query import CRS84, BBox
from providers.features.source import TileWindow

_EPSG = re.compile(r"http://www\.opengis\.net/def/crs/EPSG/0/([0-9]+)")
_MOST_FEATURES = 40_000  # of one tile: the largest ones; more would not be drawn in time by any client
_FULL_ZOOM = 14  # from here every feature and every vertex is given
_MVT_IDS = "int8"


def make_tile(
    facts: Facts, connection: Connection, window: TileWindow, layer: str, hidden: frozenset[str]
) -> bytes:
    """The tile; b"" where nothing lies in it. Raises UnsupportedQuery for a CRS that PostGIS has no SRID for."""
    geometry = facts.table.geometry
    if geometry is None:
        return b""
    srid = _srid(window)
    west, south, east, north = window.bounds
    cell = (east - west) / window.extent
    wanted = window.fields
    shown = [
        column
        for name, column in facts.fields.items()
        if name not in hidden and (wanted is None or name in wanted)
    ]
    shape = geometry.readable
    conditions: list[str] = []
    arguments: list[float] = []
    buffered = tuple(
        edge + sign * cell * window.buffer for edge, sign in zip(window.bounds, (-1, -1, 1, 1), strict=True)
    )
    box = _storage_box(facts, window, buffered)
    if box is not None:
        conditions.append(
            f"{geometry.sql} && ST_MakeEnvelope(%s::float8, %s::float8, %s::float8, %s::float8, {geometry.srid})"
        )
        arguments += box
    order = ""
    if window.zoom < _FULL_ZOOM and not geometry.type_name.endswith("Point"):
        size = f"greatest(ST_XMax({geometry.sql}) - ST_XMin({geometry.sql}), ST_YMax({geometry.sql}) - ST_YMin({geometry.sql}))"
        step = _storage_step(facts, window, cell)
        if step:
            # Half of a 256th of the tile is what a pixel shows; two cells of the tile are less than anyone sees.
            conditions.append(f"{size} >= %s::float8")
            arguments.append(step * window.extent / 512)
            shape = f"ST_Simplify({shape}, {2 * step!r}::float8, TRUE)"
        order = f" ORDER BY {size} DESC"
    if srid != geometry.srid:
        shape = f"ST_Transform({shape}, {srid:d})"
    members = "".join(
        f", {_member(column)} AS {quoted(column.name)}" for column in shown if column.name != "geom"
    )
    has_ids = facts.table.key.kind is Kind.INTEGER
    key_name = _free_name("id", [column.name for column in shown])
    geometry_name = _free_name("geom", [column.name for column in shown])
    members = "".join(f", {_member(column)} AS {quoted(column.name)}" for column in shown)
    key = (
        f", CASE WHEN {facts.table.key.sql} >= 0 THEN {facts.table.key.sql}::{_MVT_IDS} END AS {quoted(key_name)}"
        if has_ids
        else ""
    )
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    text = (
        f"SELECT ST_AsMVT(t, %s, {window.extent:d}, %s{', %s' if has_ids else ''}) FROM (SELECT * FROM ("  # noqa: S608 - quoted names
        f"SELECT ST_AsMVTGeom({shape}, ST_MakeEnvelope(%s::float8, %s::float8, %s::float8, %s::float8, {srid:d}),"
        f" {window.extent:d}, {window.buffer:d}, TRUE) AS {quoted(geometry_name)}{key}{members}"
        f" FROM {facts.table.sql} a{where}{order} LIMIT {_MOST_FEATURES:d}) s WHERE {quoted(geometry_name)} IS NOT NULL) t"
    )
    names = (layer, geometry_name, key_name) if has_ids else (layer, geometry_name)
    try:
        rows = fetch(connection, text.encode(), (*names, west, south, east, north, *arguments))
    except psycopg.errors.InternalError_ as error:
        if "SRID" in (error.diag.message_primary or ""):
            raise UnsupportedQuery(
                f"PostGIS does not know the reference system {window.crs.uri!r} of these tiles"
            ) from None
        raise
    return bytes(rows[0][0] or b"")


def _srid(window: TileWindow) -> int:
    match = _EPSG.fullmatch(window.crs.uri)
    if match is not None:
        return int(match.group(1))
    if window.crs.is_wgs84:
        return 4326
    raise UnsupportedQuery(
        f"PostGIS makes tiles in reference systems with an EPSG code, not in {window.crs.crs.name!r}"
    )


def _member(column: Column) -> str:
    return f"({column.shown_in_json})"


def _free_name(wanted: str, taken: list[str]) -> str:
    while wanted in taken:
        wanted += "_"
    return wanted


def _storage_box(
    facts: Facts, window: TileWindow, bounds: tuple[float, ...]
) -> tuple[float, float, float, float] | None:
    """The part of the storage CRS that a tile shows; None where it cannot be told."""
    geometry = facts.table.geometry
    assert geometry is not None
    if transform_between(window.crs, geometry.storage) is None:
        return bounds[0], bounds[1], bounds[2], bounds[3]
    to_crs84 = transform_between(window.crs, reference_system(CRS84))
    if to_crs84 is None:
        box = BBox(bounds[0], bounds[1], bounds[2], bounds[3])
    else:
        transformer = pyproj.Transformer.from_crs(
            window.crs.horizontal, reference_system(CRS84).horizontal, always_xy=True
        )
        found = transformer.transform_bounds(bounds[0], bounds[1], bounds[2], bounds[3], densify_pts=21)
        if not np.isfinite(found).all() or found[0] > found[2]:
            return None
        box = BBox(*found)
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
