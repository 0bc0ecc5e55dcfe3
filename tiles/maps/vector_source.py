"""Maps of features in a GeoPackage, drawn by Mapnik through GDAL.

Mapnik reads and draws without the interpreter's lock; each thread works with a map of its own, borrowed from a bounded
store. Where a scale would put more features on a screen than anyone can see, a fixed share of them is drawn together with
those that are large enough to be seen one by one.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tiles.crs import mapnik_definition, metres_per_unit
from tiles.errors import MapSourceError, StyleError, UnknownInstant
from tiles.leases import LeaseStore
from tiles.maps.fonts import map_fonts
from tiles.maps.images import draw_watermark
from tiles.maps.mapnik_library import mapnik
from tiles.maps.mapnik_style import build_mapnik_style, style_fields
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image
from tiles.maps.style_model import Style
from tiles.maps.style_zooms import denominator_of, drawing_margin, scale_range

FEATURES_PER_SCREEN = 20_000
"""Features drawn at most on 1024 x 1024 pixels where they lie evenly; beyond, a share of them."""

_SCREEN = 1024
_VISIBLE_PIXELS = 24
"""A feature of that many pixels is drawn at every scale."""


def _drop(handle: Any) -> None:
    """Let a Mapnik map's data sources go with it."""
    handle.remove_all()


_MAPS: LeaseStore[Any] = LeaseStore(64, _drop)


@dataclass(frozen=True, slots=True)
class _Table:
    """What a GeoPackage says about its feature table; `extent` is in its CRS."""

    key: str
    columns: frozenset[str]
    count: int
    extent: Box


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The column that says when: texts "2025-01-01" where `date_only`, else "2025-01-01T00:00:00.000Z" (UTC)."""

    column: str
    date_only: bool = False


class VectorMapSource:
    """The features of one table of a GeoPackage in one style.

    `crs` is the CRS of the stored coordinates; `columns` maps the field names a style uses to the table's columns (the
    same name where it says nothing), except the `hidden` ones, which are not read. `time` is what an instant chooses by.
    `watermark` is written over the image, for simulated data. Opens nothing until it renders. Raises StyleError for a
    raster style.
    """

    def __init__(
        self,
        path: Path,
        *,
        crs: str,
        style: Style,
        table: str = "feature",
        geometry_column: str = "geom",
        columns: Mapping[str, str] | None = None,
        hidden: frozenset[str] = frozenset(),
        time: TimeColumn | None = None,
        watermark: str | None = None,
    ) -> None:
        if style.raster is not None:
            raise StyleError("features cannot be drawn in a raster style; give a style with rules")
        self._path = path
        self._crs = crs
        self._style = style
        self._table = table
        self._geometry_column = geometry_column
        self._columns = dict(columns or {})
        self._hidden = hidden
        self._time = time
        self._watermark = watermark
        self._margins = tuple(_margins(style))
        # What tells this source's maps from others in the store of maps; hashed once, not at every request.
        self._identity = _Identity(
            (str(path), table, geometry_column, style, crs, tuple(self._columns.items()), hidden, time)
        )

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw (see MapSource); `instant` chooses features where the source has a time, and nothing where it has none.

        Raises MapSourceError where the file is gone or is not such a GeoPackage, UnknownInstant.
        """
        request = check_request(bbox, crs, width, height)
        modified = _modified(self._path)
        table = _table(self._path, modified, self._table, self._geometry_column)
        share = _share(request, table, metres_per_unit(self._crs))
        moment = None if instant is None or self._time is None else instant
        key = (self._identity, modified, share, moment)
        try:
            with _MAPS.lease(key, lambda: self._open(table, share, moment)) as handle:
                handle.buffer_size = self._margin(request)
                pixels = _draw(handle, request)
        except RuntimeError as error:
            # Mapnik has one exception type for everything, from an unreadable file to an impossible projection.
            raise MapSourceError(f"{self._path.name} cannot be drawn in {crs}: {error}") from error
        return pixels if self._watermark is None else draw_watermark(pixels, self._watermark, request)

    def _margin(self, request: MapRequest) -> int:
        """Pixels around the image from which something reaches in: with labels four times the features of a tile are read,
        so they count only at the scales that show them."""
        scale = denominator_of(request.zoom)
        return max((margin for low, high, margin in self._margins if low <= scale < high), default=2)

    def _open(self, table: _Table, share: int, instant: str | None) -> Any:
        """A Mapnik map with this layer. Raises RuntimeError as Mapnik does."""
        used = {
            field: self._columns.get(field, field)
            for field in style_fields(self._style)
            if field not in self._hidden
        }
        present = {field: column for field, column in used.items() if column in table.columns}
        aliases = {field: f"f{number}" for number, field in enumerate(present)}
        columns = [f"{_quoted(column)} AS {aliases[field]}" for field, column in present.items()]
        mapnik_style = build_mapnik_style(self._style, aliases, map_fonts().faces)
        handle = mapnik.Map(1, 1)
        mapnik.load_map_from_string(handle, mapnik_style.xml)
        handle.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
        layer = mapnik.Layer("features", mapnik_definition(self._crs))
        layer.datasource = self._datasource(table, share, instant, columns)
        for name in mapnik_style.styles:
            layer.styles.append(name)
        layer.cache_features = len(mapnik_style.styles) > 1
        handle.layers.append(layer)
        return handle

    def _datasource(self, table: _Table, share: int, instant: str | None, columns: list[str]) -> Any:
        """What reads the features.

        GDAL: Mapnik's own SQLite reader takes a tenth less, but all its connections to a file share one cache and its lock,
        so that two threads drawing one collection wait for each other, and see a file that was replaced as it was before.
        """
        fields = ", ".join([_quoted(self._geometry_column), *columns])
        sql = f"SELECT {fields} FROM {_quoted(self._table)}{self._where(table, share, instant)}"  # noqa: S608 (names are quoted)
        # Without the extent Mapnik reads the whole table once to find it: 0.45 s for 500,000 features.
        return mapnik.Ogr(file=str(self._path), layer_by_sql=sql, extent=",".join(map(repr, table.extent)))

    def _where(self, table: _Table, share: int, instant: str | None) -> str:
        conditions = [self._condition(table, share)] if share > 1 else []
        if instant is not None and self._time is not None:
            conditions += _times(self._time, instant)
        return f" WHERE {' AND '.join(f'({one})' for one in conditions)}" if conditions else ""

    def _condition(self, table: _Table, share: int) -> str:
        """SQL for one of `share` features, and all that are large at the scale at which that share begins."""
        minx, miny, maxx, maxy = table.extent
        # Edge of the whole table in pixels at the finest scale that has this share (see _share).
        pixels = _SCREEN * math.sqrt(2 * table.count / (share * FEATURES_PER_SCREEN))
        visible = _VISIBLE_PIXELS * math.sqrt((maxx - minx) * (maxy - miny)) / pixels
        geometry = _quoted(self._geometry_column)
        # Keys lie along a space-filling curve: they are mixed before a share of them is taken.
        return (
            f"({_quoted(table.key)} % 1000003) * 7919 % {share} = 0"
            f" OR ST_MaxX({geometry}) - ST_MinX({geometry}) > {visible!r}"
            f" OR ST_MaxY({geometry}) - ST_MinY({geometry}) > {visible!r}"
        )


_SLACK = 1.5
"""Mapnik counts scales of degrees, and away from the equator, a little otherwise."""


def _margins(style: Style) -> Iterator[tuple[float, float, int]]:
    """(lowest scale denominator, highest, pixels around the image) of each rule."""
    for rules in style.passes:
        for rule in rules:
            scales = scale_range(rule)
            yield scales.low / _SLACK, scales.high * _SLACK, drawing_margin(Style(passes=((rule,),)))


class _Identity:
    """A tuple whose hash is worked out once: that of a style costs more than to look a map up."""

    __slots__ = ("_hash", "parts")

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Identity) and self.parts == other.parts)


_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def _times(time: TimeColumn, instant: str) -> list[str]:
    """SQL for an instant or an interval "A/B" (".." or nothing where it is open). Raises UnknownInstant."""
    start, slash, end = instant.partition("/")
    limits = [(">=", start), ("<=", end if slash else start)]
    column = _quoted(time.column)
    found = [
        f"{column} {operator} '{_stored(time, limit)}'"
        for operator, limit in limits
        if limit not in ("", "..")
    ]
    return found or [f"{column} IS NOT NULL"]


def _stored(time: TimeColumn, limit: str) -> str:
    match = _INSTANT.fullmatch(limit)
    if match is None:
        raise UnknownInstant(f"{limit[:40]!r} is not an instant such as 2025-01-01T00:00:00Z")
    day, moment, fraction = match.groups()
    if time.date_only:
        return day
    thousandths = (fraction or "")[:3].ljust(3, "0")
    # What ends between two milliseconds takes the earlier one in, and as a beginning leaves it out.
    return f"{day}T{moment}.{thousandths}{'~' if (fraction or '')[3:].strip('0') else 'Z'}"


def close_vector_maps() -> None:
    """Close all idle maps and their files."""
    _MAPS.clear()


def _quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise MapSourceError(f"{path.name} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=1024)
def _table(path: Path, _modified_ns: int, table: str, geometry_column: str) -> _Table:
    """Facts of a feature table; remembered until the file changes. Raises MapSourceError."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as connection:
            columns = connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
            if not any(column[1] == geometry_column for column in columns):
                raise MapSourceError(
                    f"{path.name} has no table {table} with a geometry column {geometry_column}"
                )
            key = next((column[1] for column in columns if column[5]), "rowid")
            count = connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]  # noqa: S608 (quoted)
            extent = _extent(connection, table, geometry_column)
    except sqlite3.Error as error:
        raise MapSourceError(f"{path.name} is not a GeoPackage that can be read: {error}") from error
    return _Table(key, frozenset(column[1] for column in columns), count, extent)


def _extent(connection: sqlite3.Connection, table: str, geometry_column: str) -> Box:
    """Box of all features from the spatial index, a little widened; a box without features where the table is empty."""
    index = _quoted(f"rtree_{table}_{geometry_column}")
    sql = f"SELECT min(minx), min(miny), max(maxx), max(maxy) FROM {index}"  # noqa: S608 (name is quoted)
    row = connection.execute(sql).fetchone()
    if row[0] is None:
        return (0.0, 0.0, 1e-9, 1e-9)
    margin = 1e-6 * max(1.0, *map(abs, row))
    return (row[0] - margin, row[1] - margin, row[2] + margin, row[3] + margin)


def _share(request: MapRequest, table: _Table, stored_metres: float) -> int:
    """N of "one feature of N is drawn": a power of two that depends on the scale alone, so that tiles fit together."""
    if table.count <= FEATURES_PER_SCREEN:
        return 1
    minx, miny, maxx, maxy = table.extent
    area = (maxx - minx) * (maxy - miny) * stored_metres**2
    screen = (2 ** -round(request.zoom) * 156543.03392804097 * _SCREEN) ** 2
    expected = table.count * min(1.0, screen / max(area, 1e-9))
    return int(2 ** max(0, math.ceil(math.log2(expected / FEATURES_PER_SCREEN))))


def _draw(handle: Any, request: MapRequest) -> Pixels:
    handle.srs = mapnik_definition(request.crs)
    handle.resize(request.width, request.height)
    handle.zoom_to_box(mapnik.Box2d(*request.bbox))
    image = mapnik.Image(request.width, request.height)
    mapnik.render(handle, image)
    if image.is_solid() and image.get_pixel(0, 0) == 0:
        return empty_image(request.width, request.height)
    return np.frombuffer(image.to_string(), dtype=np.uint8).reshape(request.height, request.width, 4)
