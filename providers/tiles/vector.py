"""One vector tile of any feature source, in any tile matrix set.

OGC API - Tiles Part 1; Mapbox Vector Tile 2.1. A source that makes tiles itself (`TileSource`: the embedded store of its tile
parts, PostGIS) is asked for them; of any other one the geometries are read, transformed and encoded here.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

from providers.errors import UnsupportedQuery
from providers.features.crs import reference_system
from providers.features.query import ItemQuery
from providers.features.source import Ability, FeatureSource, TileSource, TileWindow
from providers.tiles.choice import TileFields, fields_at
from providers.tiles.generic import MAXIMUM_FEATURES, generic_tile, tile_of_columns, window_box84
from tiles.grids import EARTH_RADIUS, Grid, TileId, grid
from tiles.vector.fixed_point import EXTENT

BUFFER = 64
_NOTHING: frozenset[str] = frozenset()


def vector_tile(
    source: FeatureSource,
    tms_id: str,
    z: int,
    row: int,
    col: int,
    layer_name: str,
    hidden: frozenset[str] = _NOTHING,
    *,
    asof: str | None = None,
    tile_fields: TileFields | None = None,
) -> bytes:
    """One tile with one layer; b"" where nothing lies in it. `row` counts from the top, `col` from the left.

    Where a tile would hold very many features, only those as large as a pixel, and the largest of each small cell, are in it;
    at most 20,000, and a million bytes. Visible fields are attributes (of them those that `tile_fields` names for the zoom); the
    feature's id is the tile's feature id where all ids are integers, else the attribute "id" (or "_id" where a field has that
    name). `asof` (RFC 3339, UTC) shows the state that was committed then. Raises UnknownTileMatrixSet, TileOutOfRange,
    UnsupportedQuery.
    """
    window = window_of(grid(tms_id), TileId(z, col, row), source, hidden, tile_fields)
    if asof is not None and Ability.ASOF not in source.abilities:
        raise UnsupportedQuery(
            f"Parameter 'asof' cannot be answered by this collection's store ({source.kind}): it keeps no past states",
            "asof",
            "no asof: only the present state is known",
        )
    if isinstance(source, TileSource):
        return source.vector_tile(window, layer_name, hidden, asof)
    fields = window.fields or ()
    if asof is None:
        return generic_tile(source, window, layer_name, fields)
    box = window_box84(window)
    if box is None:
        return b""
    query = ItemQuery(bbox=box, asof=asof, limit=MAXIMUM_FEATURES, properties=tuple(fields))
    return tile_of_columns(source.columns(query).columns, source.storage, window, layer_name)


def window_of(
    tiling: Grid,
    tile: TileId,
    source: FeatureSource,
    hidden: frozenset[str] = _NOTHING,
    tile_fields: TileFields | None = None,
) -> TileWindow:
    """What a source has to know of a tile: where it lies, and which attributes it carries. Raises TileOutOfRange."""
    window = window_at(tiling.id, tile)
    names = [field.name for field in source.schema.fields if field.name not in hidden]
    fields = fields_at(tile_fields, window.zoom, names) if tile_fields else names
    return replace(window, fields=tuple(fields))


def window_at(tms_id: str, tile: TileId) -> TileWindow:
    """Where a tile lies. Raises UnknownTileMatrixSet, TileOutOfRange."""
    tiling = grid(tms_id)
    bounds = tiling.bounds(tile)
    system = reference_system(tiling.authority_code)
    return TileWindow(system, bounds, mercator_zoom(tiling, tile.z), EXTENT, BUFFER)


@lru_cache(maxsize=1024)
def mercator_zoom(tiling: Grid, z: int) -> int:
    """The WebMercatorQuad zoom with pixels of (about) the same size on the equator."""
    if tiling.id == "WebMercatorQuad":
        return z
    cell = tiling.cell_size(z) * tiling.metres_per_unit
    return max(0, round(math.log2(2 * math.pi * EARTH_RADIUS / 256 / cell)))
