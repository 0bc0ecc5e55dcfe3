"""Tile matrix sets: where a tile lies, which tiles a box needs, and the documents that say so.

OGC Two Dimensional Tile Matrix Set and Tile Set Metadata 2.0 (17-083r4). All sets here are quad pyramids: matrix z has
2^z times the columns and rows of matrix 0. The arithmetic is ours because it runs on every request; only the published
document comes from morecantile, which is imported when one is first asked for (0.4 s).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from tiles.errors import TileOutOfRange, UnknownTileMatrixSet

EARTH_RADIUS = 6378137.0
HALF_CIRCUMFERENCE = math.pi * EARTH_RADIUS
MERCATOR_LATITUDE_LIMIT = math.degrees(2 * math.atan(math.exp(math.pi)) - math.pi / 2)
STANDARD_PIXEL = 0.00028
"""Size in metres of the rendering pixel on which scale denominators rest (17-083r4 clause 6.1.1)."""


class TileId(NamedTuple):
    """A tile: zoom level, column from the left, row from the top (row 0 is the northernmost)."""

    z: int
    x: int
    y: int


class Bounds(NamedTuple):
    """A box in the axis order easting/longitude first; units of the CRS it is in."""

    minx: float
    miny: float
    maxx: float
    maxy: float


@dataclass(frozen=True, slots=True)
class Grid:
    """One quad pyramid of tiles.

    `origin` is the top left corner, `tile_span` width and height of a tile of zoom 0, both in units of the CRS with the
    easting or longitude first. `authority_code` is what PROJ, Mapnik and GDAL are told, `crs` the URI users are told.
    """

    id: str
    title: str
    uri: str
    crs: str
    authority_code: str
    origin: tuple[float, float]
    tile_span: float
    columns: int
    rows: int
    max_zoom: int
    metres_per_unit: float
    tile_size: int = 256

    def matrix_size(self, zoom: int) -> tuple[int, int]:
        """(columns, rows) of a zoom level."""
        return self.columns << zoom, self.rows << zoom

    def cell_size(self, zoom: int) -> float:
        """Edge of a pixel in units of the CRS."""
        return self.tile_span / (self.tile_size << zoom)

    def scale_denominator(self, zoom: int) -> float:
        """Scale denominator of a zoom level on the standard pixel of 0.28 mm."""
        return self.cell_size(zoom) * self.metres_per_unit / STANDARD_PIXEL

    def check(self, tile: TileId) -> None:
        """Raise TileOutOfRange where the tile is not one of this pyramid."""
        if not 0 <= tile.z <= self.max_zoom:
            raise TileOutOfRange(f"{self.id}: zoom level {tile.z} is not in 0 to {self.max_zoom}")
        columns, rows = self.matrix_size(tile.z)
        if not (0 <= tile.x < columns and 0 <= tile.y < rows):
            raise TileOutOfRange(
                f"{self.id}: tile {tile.z}/{tile.y}/{tile.x} (zoom/row/column) lies outside; at zoom {tile.z} rows are"
                f" 0 to {rows - 1} and columns 0 to {columns - 1}"
            )

    def bounds(self, tile: TileId) -> Bounds:
        """Box of a tile in the CRS of the grid. Raises TileOutOfRange."""
        self.check(tile)
        span = self.tile_span / (1 << tile.z)
        left, top = self.origin
        return Bounds(
            left + tile.x * span, top - (tile.y + 1) * span, left + (tile.x + 1) * span, top - tile.y * span
        )


_GRIDS = MappingProxyType(
    {
        grid.id: grid
        for grid in (
            Grid(
                id="WebMercatorQuad",
                title="Google Maps Compatible for the World",
                uri="http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad",
                crs="http://www.opengis.net/def/crs/EPSG/0/3857",
                authority_code="EPSG:3857",
                origin=(-HALF_CIRCUMFERENCE, HALF_CIRCUMFERENCE),
                tile_span=2 * HALF_CIRCUMFERENCE,
                columns=1,
                rows=1,
                max_zoom=24,
                metres_per_unit=1.0,
            ),
            Grid(
                id="WorldCRS84Quad",
                title="CRS84 for the World",
                uri="http://www.opengis.net/def/tilematrixset/OGC/1.0/WorldCRS84Quad",
                crs="http://www.opengis.net/def/crs/OGC/1.3/CRS84",
                authority_code="OGC:CRS84",
                origin=(-180.0, 90.0),
                tile_span=180.0,
                columns=2,
                rows=1,
                max_zoom=23,
                metres_per_unit=HALF_CIRCUMFERENCE / 180.0,
            ),
        )
    }
)


def grid_ids() -> tuple[str, ...]:
    """Identifiers of all tile matrix sets, in the order in which they are offered."""
    return tuple(_GRIDS)


def grid(tms_id: str) -> Grid:
    """The tile matrix set of that identifier. Raises UnknownTileMatrixSet."""
    found = _GRIDS.get(tms_id)
    if found is None:
        raise UnknownTileMatrixSet(
            f"tile matrix set {tms_id!r} is not offered; offered are {', '.join(_GRIDS)}"
        )
    return found


def tile_bounds(tms_id: str, tile: TileId) -> Bounds:
    """Box of a tile in the CRS of its grid, easting or longitude first. Raises UnknownTileMatrixSet, TileOutOfRange."""
    return grid(tms_id).bounds(tile)


def tile_bounds_crs84(tms_id: str, tile: TileId) -> Bounds:
    """Box of a tile in degrees, longitude first. Raises UnknownTileMatrixSet, TileOutOfRange."""
    bounds = grid(tms_id).bounds(tile)
    if tms_id == "WorldCRS84Quad":
        return bounds
    west, south = mercator_to_crs84(bounds.minx, bounds.miny)
    east, north = mercator_to_crs84(bounds.maxx, bounds.maxy)
    return Bounds(west, south, east, north)


def mercator_to_crs84(x: float, y: float) -> tuple[float, float]:
    """EPSG:3857 metres to degrees, longitude first."""
    return math.degrees(x / EARTH_RADIUS), math.degrees(
        2 * math.atan(math.exp(y / EARTH_RADIUS)) - math.pi / 2
    )


def crs84_to_mercator(longitude: float, latitude: float) -> tuple[float, float]:
    """Degrees to EPSG:3857 metres; the latitude is held within the square world (85.0511 degrees)."""
    held = min(max(latitude, -MERCATOR_LATITUDE_LIMIT), MERCATOR_LATITUDE_LIMIT)
    return (
        math.radians(longitude) * EARTH_RADIUS,
        math.log(math.tan(math.pi / 4 + math.radians(held) / 2)) * EARTH_RADIUS,
    )


class TileRange(NamedTuple):
    """An inclusive block of tiles of one zoom level."""

    zoom: int
    min_column: int
    min_row: int
    max_column: int
    max_row: int


def tile_range(tms_id: str, bbox84: Sequence[float], zoom: int) -> TileRange:
    """The tiles a box touches. `bbox84` has four or six numbers, degrees; a box over the antimeridian takes all columns.

    An edge that only meets a tile's border does not count, so the box of a tile gives that tile alone.
    Raises UnknownTileMatrixSet, and TileOutOfRange for the zoom level.
    """
    pyramid = grid(tms_id)
    pyramid.check(TileId(zoom, 0, 0))
    west, south, east, north = (bbox84[0], bbox84[1], *bbox84[-len(bbox84) // 2 :][:2])
    if west > east:
        west, east = -180.0, 180.0
    if tms_id == "WebMercatorQuad":
        west, south = crs84_to_mercator(west, south)
        east, north = crs84_to_mercator(east, north)
    span = pyramid.tile_span / (1 << zoom)
    columns, rows = pyramid.matrix_size(zoom)
    left, top = pyramid.origin
    first_column, last_column = _cells((west - left) / span, (east - left) / span, columns)
    first_row, last_row = _cells((top - north) / span, (top - south) / span, rows)
    return TileRange(zoom, first_column, first_row, last_column, last_row)


def _cells(low: float, high: float, count: int) -> tuple[int, int]:
    """Inclusive indexes of the unit cells an interval touches, held within [0, count)."""
    tolerance = 1e-9 * max(1.0, abs(high))
    first = min(max(math.floor(low + tolerance), 0), count - 1)
    last = min(max(math.ceil(high - tolerance) - 1, first), count - 1)
    return first, last


def tileset_limits(
    tms_id: str, bbox84: Sequence[float], min_zoom: int, max_zoom: int
) -> list[dict[str, int | str]]:
    """`tileMatrixSetLimits` of a tileset's metadata (17-083r4 clause 6.3) for zoom levels min_zoom to max_zoom."""
    ranges = (tile_range(tms_id, bbox84, zoom) for zoom in range(min_zoom, max_zoom + 1))
    return [
        {
            "tileMatrix": str(tiles.zoom),
            "minTileRow": tiles.min_row,
            "maxTileRow": tiles.max_row,
            "minTileCol": tiles.min_column,
            "maxTileCol": tiles.max_column,
        }
        for tiles in ranges
    ]


@lru_cache(maxsize=8)
def tile_matrix_set_document(tms_id: str) -> dict[str, Any]:
    """The tile matrix set as OGC TMS 2.0 JSON. Treat as read-only: the object is shared. Raises UnknownTileMatrixSet."""
    grid(tms_id)
    import morecantile

    document: dict[str, Any] = morecantile.tms.get(tms_id).model_dump(
        mode="json", exclude_none=True, by_alias=True
    )
    return document
