"""Maps of any feature source: tables of PostGIS, GeoParquet, OGR files, remote services.

The features of the box are read as columns by the source's own API, become a data source in Mapnik's memory, and are drawn in
a style of ours. Building the source takes 6 microseconds a feature (GeoJSON for Mapnik to parse: 13). Mapnik's own PostGIS
plugin is not used: its errors tell hosts and users, and it keeps connections of its own beside the bounded pool of the source.

At most `MAXIMUM_FEATURES` are drawn in one image. The zoom level is told to the source, which may leave out what is smaller than
half a pixel. Where still more features lie in the box, the largest are drawn, and among those of about one size the ones that a
hash of their ids puts first: an order that is the same for every box of a level, so that neighbouring tiles show the same
features, and that thins a crowd evenly. The order is that of up to `MAXIMUM_READ` features, the first by their keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import orjson
import shapely

from providers.errors import ProviderError, SourceUnavailable, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import BBox, ItemQuery, TimeInterval
from providers.features.source import NO_FIELDS, Ability, FeatureColumns, FeatureSource, TileWindow
from providers.maps.errors import RemoteMapUnavailable
from providers.tiles.generic import window_box84
from tiles.crs import mapnik_definition, parse_crs
from tiles.errors import MapSourceError, StyleError
from tiles.leases import LeaseStore
from tiles.maps.fonts import map_fonts
from tiles.maps.mapnik_library import mapnik
from tiles.maps.mapnik_style import build_mapnik_style, style_fields
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image
from tiles.maps.style_model import Style
from tiles.maps.style_zooms import drawing_margin

MAXIMUM_FEATURES = 20_000
"""Features drawn at most in one image."""
MAXIMUM_READ = 60_000
"""Features among which those that are drawn are chosen."""

_MAXIMUM_ZOOM = 24
_COARSER = 3
"""Levels by which a source is asked to leave out more, where it has more than are read."""


def _drop(handle: Any) -> None:
    handle.remove_all()


_MAPS: LeaseStore[Any] = LeaseStore(32, _drop)


class FeatureMapSource:
    """The features of a source in one style.

    `source` is a source, or a function that opens it when a map is drawn (and raises what opening raises). Fields in `hidden`
    are not read: rules and labels that use them draw nothing. `area` (CRS84): features that do not meet it are not drawn.
    Raises StyleError for a raster style.
    """

    def __init__(
        self,
        source: FeatureSource | Callable[[], FeatureSource],
        *,
        style: Style,
        hidden: frozenset[str] = NO_FIELDS,
        area: shapely.Geometry | None = None,
    ) -> None:
        if style.raster is not None:
            raise StyleError("features cannot be drawn in a raster style; give a style with rules")
        self._open = source if callable(source) else lambda: source
        self._style = style
        self._hidden = hidden
        self._area = area
        self._margin = drawing_margin(style)
        if area is not None:
            shapely.prepare(area)

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw (see MapSource). Raises RemoteMapUnavailable where the source does not answer, MapSourceError for its other faults."""
        request = check_request(bbox, crs, width, height)
        try:
            source = self._open()
            fields = self._fields_of(source)
            found = self._read(source, request, fields, instant)
            storage = _definition(source.storage)
        except SourceUnavailable as error:
            raise RemoteMapUnavailable(str(error), getattr(error, "retry_after", None)) from error
        except ProviderError as error:
            raise MapSourceError(str(error)) from error
        found = foremost(self._inside(found, source.storage), MAXIMUM_FEATURES)
        if not len(found):
            return empty_image(width, height)
        try:
            return self._draw(found, fields, storage, request)
        except RuntimeError as error:
            # Mapnik has one exception type for everything; nothing of the source is in its words, only the drawing.
            raise MapSourceError(f"the features cannot be drawn in {crs}: {error}") from error

    def _fields_of(self, source: FeatureSource) -> tuple[str, ...]:
        """Fields the style looks at, that there are and that may be seen."""
        present = source.schema.by_name
        return tuple(
            name for name in style_fields(self._style) if name in present and name not in self._hidden
        )

    def _read(
        self, source: FeatureSource, request: MapRequest, fields: tuple[str, ...], instant: str | None
    ) -> FeatureColumns:
        box = box84(request, self._margin)
        if not meets(source.bbox, box):
            return _NOTHING
        if instant is not None and source.schema.time_field is not None:
            start, _, end = instant.partition("/")
            query = ItemQuery(
                bbox=box,
                datetime=TimeInterval(_end(start), _end(end or start)),
                limit=MAXIMUM_READ,
                properties=fields if Ability.PROPERTIES in source.abilities else None,
            )
            return source.columns(query, self._hidden).columns
        zoom = min(max(math.ceil(request.zoom), 0), _MAXIMUM_ZOOM)
        found = source.read(box, fields, MAXIMUM_READ, zoom=zoom)
        for coarser in range(zoom - 1, max(zoom - 1 - _COARSER, -1), -1):
            if len(found) < MAXIMUM_READ:
                break
            # Half a pixel of a coarser level is one, two, four of this one: what is larger is all there then.
            found = source.read(box, fields, MAXIMUM_READ, zoom=coarser)
        return found

    def _inside(self, found: FeatureColumns, storage: ReferenceSystem) -> FeatureColumns:
        """The features that have a geometry, and meet the area where there is one."""
        chosen = np.array([shape is not None for shape in found.geometries], dtype=bool)
        if self._area is not None and len(found):
            from providers.features.crs import transform_between

            shapes = shapely.force_2d(found.geometries)
            transform = transform_between(storage, reference_system("OGC:CRS84"))
            if transform is not None:
                x, y = transform(*shapely.get_coordinates(shapes).T)
                shapes = shapely.set_coordinates(np.array(shapes), np.column_stack([x, y]))
            chosen &= shapely.intersects(self._area, shapes)
        if chosen.all():
            return found
        return _rows_of(found, np.flatnonzero(chosen).tolist())

    def _draw(
        self, found: FeatureColumns, fields: Sequence[str], storage: str, request: MapRequest
    ) -> Pixels:
        aliases = {name: f"f{number}" for number, name in enumerate(fields)}
        with _MAPS.lease(
            (self._style, tuple(fields), storage), lambda: self._map(aliases, storage)
        ) as handle:
            layer = handle.layers[0]
            layer.datasource = _in_memory(found, aliases)
            try:
                handle.srs = mapnik_definition(request.crs)
                handle.resize(request.width, request.height)
                handle.zoom_to_box(mapnik.Box2d(*request.bbox))
                handle.buffer_size = self._margin
                image = mapnik.Image(request.width, request.height)
                mapnik.render(handle, image)
            finally:
                layer.datasource = mapnik.MemoryDatasource()  # the features go now, not with the next image
        if image.is_solid() and image.get_pixel(0, 0) == 0:
            return empty_image(request.width, request.height)
        return np.frombuffer(image.to_string(), dtype=np.uint8).reshape(request.height, request.width, 4)

    def _map(self, aliases: dict[str, str], storage: str) -> Any:
        """A Mapnik map in the style, with one layer that has no features yet."""
        style = build_mapnik_style(self._style, aliases, map_fonts().faces)
        handle = mapnik.Map(1, 1)
        mapnik.load_map_from_string(handle, style.xml)
        handle.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
        layer = mapnik.Layer("features", storage)
        for name in style.styles:
            layer.styles.append(name)
        handle.layers.append(layer)
        return handle


LazyFeatureMap = FeatureMapSource
"""The name for those who hand in a function that opens the source."""


def close_feature_maps() -> None:
    """Close all idle maps."""
    _MAPS.clear()


def foremost(found: FeatureColumns, most: int) -> FeatureColumns:
    """Up to `most` features, in the order they came: the largest, and of those within a factor of two a random choice by their ids.

    Which of two features goes before the other never depends on what else is there.
    """
    if len(found) <= most:
        return found
    bounds = shapely.bounds(found.geometries)
    size = np.nan_to_num(np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]))
    _, doublings = np.frexp(size)  # a point has none
    doublings = np.where(size > 0, doublings, np.iinfo(doublings.dtype).min)
    hashes = np.fromiter((crc32(one.encode()) for one in found.ids), dtype=np.uint32, count=len(found))
    order = np.lexsort((np.asarray(found.ids), hashes, -doublings.astype(np.int64)))
    return _rows_of(found, np.sort(order[:most]).tolist())


def _rows_of(found: FeatureColumns, rows: Sequence[int]) -> FeatureColumns:
    return FeatureColumns(
        [found.keys[row] for row in rows],
        [found.ids[row] for row in rows],
        found.geometries[rows],
        {name: [values[row] for row in rows] for name, values in found.columns.items()},
    )


def box84(request: MapRequest, margin: int) -> BBox | None:
    """The box of a request with `margin` pixels around it, in CRS84; None where its CRS cannot say where on Earth it lies."""
    authority = parse_crs(request.crs).to_authority()
    if authority is None:
        return None
    try:
        system = reference_system(f"{authority[0]}:{authority[1]}")
    except UnknownReferenceSystem:
        return None
    return window_box84(TileWindow(system, request.bbox, 0, extent=request.width, buffer=margin))


def meets(extent: tuple[float, ...], box: BBox | None) -> bool:
    """Whether an extent of 4 or 6 numbers and a box, both CRS84, have a point in common; no box meets everything."""
    if not extent or box is None:
        return bool(extent)
    half = len(extent) // 2
    if extent[1] > box.north or extent[half + 1] < box.south:
        return False
    west, east = extent[0], extent[half]
    if box.west > box.east or west > east:
        return True  # across the antimeridian: the source looks closer
    return west <= box.east and east >= box.west


_NOTHING = FeatureColumns([], [], np.empty(0, dtype=object), {})


def _end(text: str) -> str | None:
    return None if text in ("", "..") else text


def _definition(storage: ReferenceSystem) -> str:
    """The CRS of the geometries as Mapnik is told, which always takes x = east."""
    return mapnik_definition(storage.uri or storage.horizontal.to_wkt())


def _in_memory(found: FeatureColumns, aliases: dict[str, str]) -> Any:
    """The features as a data source of Mapnik."""
    context = mapnik.Context()
    for alias in aliases.values():
        context.push(alias)
    source = mapnik.MemoryDatasource()
    shapes = shapely.to_wkb(shapely.force_2d(found.geometries))
    columns = [(alias, found.columns[name]) for name, alias in aliases.items()]
    make, read, add = mapnik.Feature, mapnik.Geometry.from_wkb, source.add_feature
    for row, shape in enumerate(shapes):
        feature = make(context, row)
        feature.geometry = read(shape)
        for alias, values in columns:
            value = values[row]
            if value is not None:
                feature[alias] = value if type(value) in _PLAIN else _plain(value)
        add(feature)
    return source


_PLAIN = (str, int, float)


def _plain(value: Any) -> str | int | float:
    """A value as style rules compare it: booleans are 0 and 1, as a GeoPackage keeps them; what is no scalar is JSON text."""
    return int(value) if isinstance(value, bool) else orjson.dumps(value, default=str).decode()
