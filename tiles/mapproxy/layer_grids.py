"""Which tile matrix sets a layer is offered on: those whose area it meets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tiles.errors import TileOutOfRange
from tiles.grids import Grid, TileRange, all_grid_ids, grid, tile_range
from tiles.mapproxy.layer import MAXIMUM_ZOOM
from tiles.maps.source import Box


@lru_cache(maxsize=1)
def _zone_areas() -> tuple[tuple[str, Box], ...]:
    return tuple((name, area) for name in all_grid_ids() if (area := grid(name).area) is not None)


def grids_of(bbox84: Box) -> list[Grid]:
    """The grids of a layer: of the world, CGCS2000 and one's own, without the zones it does not reach into."""
    return [one for name in all_grid_ids() if _meets(one := grid(name), bbox84)]


def _meets(pyramid: Grid, bbox84: Box) -> bool:
    area = pyramid.area
    if area is None:
        return True
    west, south, east, north = bbox84
    return west <= area[2] and area[0] <= east and south <= area[3] and area[1] <= north


def zone_crs_of(bbox84: Box) -> list[str]:
    """Codes of the projected CRS of grids that a layer reaches into."""
    west, south, east, north = bbox84
    return [
        grid(name).authority_code
        for name, area in _zone_areas()
        if west <= area[2] and area[0] <= east and south <= area[3] and area[1] <= north
    ]


def limits(pyramid: Grid, bbox84: Box) -> Iterator[TileRange]:
    """The tiles of each level that may show something (07-057r7 TileMatrixSetLimits), rows from the top."""
    for zoom in range(pyramid.min_zoom, min(pyramid.max_zoom, MAXIMUM_ZOOM) + 1):
        try:
            found = tile_range(pyramid.id, bbox84, zoom)
        except TileOutOfRange:
            continue
        if pyramid.matrix(zoom).from_bottom:
            rows = pyramid.matrix_size(zoom)[1]
            found = found._replace(min_row=rows - 1 - found.max_row, max_row=rows - 1 - found.min_row)
        yield found
