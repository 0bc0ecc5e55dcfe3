"""Tile matrix sets: where a tile lies, which tiles a box needs, and the documents that say so.

OGC Two Dimensional Tile Matrix Set and Tile Set Metadata 2.0 (17-083r4). The sets that come with the server are quad pyramids:
matrix z has 2^z times the columns and rows of matrix 0; sets of one's own (`tiles.grids_own`) list their matrices. The
arithmetic is ours because it runs on every request; the documents of OGC's own sets come from morecantile, which is imported
when one is first asked for (0.4 s).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from tiles.errors import TileMatrixSetError, TileOutOfRange, UnknownTileMatrixSet

EARTH_RADIUS = 6378137.0
HALF_CIRCUMFERENCE = math.pi * EARTH_RADIUS
MERCATOR_LATITUDE_LIMIT = math.degrees(2 * math.atan(math.exp(math.pi)) - math.pi / 2)
CGCS2000_QUAD = "CGCS2000Quad"
_DEGREES = ("OGC:CRS84", "EPSG:4490")
"""Geographic CRSs whose degrees are those of CRS84 to a few centimetres, so that boxes of tiles need no transformation."""
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


class Matrix(NamedTuple):
    """One tile matrix of a set that lists them: `left` and `top` are its upper left corner, easting or longitude first.

    `from_bottom`: rows count from the bottom (cornerOfOrigin "bottomLeft").
    """

    zoom: int
    cell_size: float
    left: float
    top: float
    columns: int
    rows: int
    tile_width: int
    tile_height: int
    from_bottom: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """One pyramid of tiles.

    `origin` is the top left corner, `tile_span` width and height of a tile of zoom 0, both in units of the CRS with the
    easting or longitude first. `authority_code` is what PROJ, Mapnik and GDAL are told, `crs` the URI users are told, `uri`
    that of the set, "" where it has none. `north_first`: the CRS's authority gives the northing or latitude first, and so
    does the set's document. `matrices` is empty for a quad pyramid; else it says everything, zoom by zoom. `area` is the CRS84
    box in which the CRS is good, None for the world.
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
    north_first: bool = False
    min_zoom: int = 0
    matrices: tuple[Matrix, ...] = ()
    area: tuple[float, float, float, float] | None = None

    def matrix(self, zoom: int) -> Matrix:
        """The tile matrix of a zoom level of this pyramid."""
        if self.matrices:
            return self.matrices[zoom - self.min_zoom]
        left, top = self.origin
        size = self.tile_size
        return Matrix(
            zoom,
            self.tile_span / (size << zoom),
            left,
            top,
            self.columns << zoom,
            self.rows << zoom,
            size,
            size,
        )

    def matrix_size(self, zoom: int) -> tuple[int, int]:
        """(columns, rows) of a zoom level."""
        if self.matrices:
            matrix = self.matrix(zoom)
            return matrix.columns, matrix.rows
        return self.columns << zoom, self.rows << zoom

    def cell_size(self, zoom: int) -> float:
        """Edge of a pixel in units of the CRS."""
        return self.matrix(zoom).cell_size

    def scale_denominator(self, zoom: int) -> float:
        """Scale denominator of a zoom level on the standard pixel of 0.28 mm."""
        return self.cell_size(zoom) * self.metres_per_unit / STANDARD_PIXEL

    def check(self, tile: TileId) -> None:
        """Raise TileOutOfRange where the tile is not one of this pyramid."""
        if not self.min_zoom <= tile.z <= self.max_zoom:
            raise TileOutOfRange(
                f"{self.id}: zoom level {tile.z} is not in {self.min_zoom} to {self.max_zoom}"
            )
        columns, rows = self.matrix_size(tile.z)
        if not (0 <= tile.x < columns and 0 <= tile.y < rows):
            raise TileOutOfRange(
                f"{self.id}: tile {tile.z}/{tile.y}/{tile.x} (zoom/row/column) lies outside; at zoom {tile.z} rows are"
                f" 0 to {rows - 1} and columns 0 to {columns - 1}"
            )

    def bounds(self, tile: TileId) -> Bounds:
        """Box of a tile in the CRS of the grid. Raises TileOutOfRange."""
        self.check(tile)
        if self.matrices:
            return self._listed_bounds(tile)
        span = self.tile_span / (1 << tile.z)
        left, top = self.origin
        return Bounds(
            left + tile.x * span, top - (tile.y + 1) * span, left + (tile.x + 1) * span, top - tile.y * span
        )

    def _listed_bounds(self, tile: TileId) -> Bounds:
        matrix = self.matrix(tile.z)
        width, height = matrix.tile_width * matrix.cell_size, matrix.tile_height * matrix.cell_size
        row = matrix.rows - 1 - tile.y if matrix.from_bottom else tile.y
        left, top = matrix.left + tile.x * width, matrix.top - row * height
        return Bounds(left, top - height, left + width, top)


_QUADS = MappingProxyType(
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
    """Identifiers of the tile matrix sets that every kind of tile is offered in, in that order."""
    return tuple(_QUADS)


def all_grid_ids() -> tuple[str, ...]:
    """Identifiers of all tile matrix sets: those of `grid_ids`, of CGCS2000, and those of one's own."""
    return (*_QUADS, *china_grids(), *_own)


def own_grid_ids() -> tuple[str, ...]:
    """Identifiers of the sets that `register_grid` added."""
    return tuple(_own)


def grid(tms_id: str) -> Grid:
    """The tile matrix set of that identifier. Raises UnknownTileMatrixSet."""
    found = _QUADS.get(tms_id) or china_grids().get(tms_id) or _own.get(tms_id)
    if found is None:
        raise UnknownTileMatrixSet(
            f"tile matrix set {tms_id[:100]!r} is not offered; offered are {', '.join((*_QUADS, CGCS2000_QUAD, *_own))} and"
            " the CGCS2000 3-degree zones"
        )
    return found


_own: dict[str, Grid] = {}
_own_documents: dict[str, dict[str, Any]] = {}


def register_grid(own: Grid, document: dict[str, Any]) -> None:
    """Add a tile matrix set of one's own with its TMS 2.0 document. Raises TileMatrixSetError where its name is taken."""
    if own.id in _QUADS or own.id in china_grids():
        raise TileMatrixSetError(f"the tile matrix set {own.id!r} comes with the server; choose another id")
    _own[own.id] = own
    _own_documents[own.id] = document


@lru_cache(maxsize=1)
def china_grids() -> Mapping[str, Grid]:
    """CGCS2000Quad and the 3-degree zones of CGCS2000 by identifier."""
    from tiles.grids_china import cgcs2000_grids

    return MappingProxyType({grid.id: grid for grid in cgcs2000_grids()})


def tile_bounds(tms_id: str, tile: TileId) -> Bounds:
    """Box of a tile in the CRS of its grid, easting or longitude first. Raises UnknownTileMatrixSet, TileOutOfRange."""
    return grid(tms_id).bounds(tile)


def tile_bounds_crs84(tms_id: str, tile: TileId) -> Bounds:
    """Box of a tile in degrees, longitude first. Raises UnknownTileMatrixSet, TileOutOfRange."""
    pyramid = grid(tms_id)
    bounds = pyramid.bounds(tile)
    if pyramid.authority_code != "EPSG:3857":
        return bounds if pyramid.authority_code in _DEGREES else transformed(pyramid, bounds, "inverse")
    west, south = mercator_to_crs84(bounds.minx, bounds.miny)
    east, north = mercator_to_crs84(bounds.maxx, bounds.maxy)
    return Bounds(west, south, east, north)


def transformed(pyramid: Grid, box: Bounds, direction: str) -> Bounds:
    """The box around a box, from CRS84 into the CRS of a pyramid or (direction "inverse") back; edges are densified.

    Raises TileOutOfRange where PROJ cannot say.
    """
    from pyproj.enums import TransformDirection

    found = _transformer(pyramid.authority_code).transform_bounds(
        *box, densify_pts=21, direction=TransformDirection(direction.upper())
    )
    if not all(map(math.isfinite, found)):
        raise TileOutOfRange(f"{pyramid.id}: the box {tuple(box)} lies outside of what its CRS can express")
    return Bounds(*found)


@lru_cache(maxsize=64)
def _transformer(authority_code: str) -> Any:
    from pyproj import Transformer

    # The same coordinates as OGC:CRS84 in this axis order; PROJ finds the operation four times as fast.
    return Transformer.from_crs("EPSG:4326", authority_code, always_xy=True)


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
    box = _in_grid(pyramid, bbox84)
    matrix = pyramid.matrix(zoom)
    width, height = matrix.tile_width * matrix.cell_size, matrix.tile_height * matrix.cell_size
    first_column, last_column = _cells(
        (box.minx - matrix.left) / width, (box.maxx - matrix.left) / width, matrix.columns
    )
    first_row, last_row = _cells(
        (matrix.top - box.maxy) / height, (matrix.top - box.miny) / height, matrix.rows
    )
    if matrix.from_bottom:
        first_row, last_row = matrix.rows - 1 - last_row, matrix.rows - 1 - first_row
    return TileRange(zoom, first_column, first_row, last_column, last_row)


def _in_grid(pyramid: Grid, bbox84: Sequence[float]) -> Bounds:
    """A CRS84 box (4 or 6 numbers) in the CRS of a pyramid."""
    west, south, east, north = (bbox84[0], bbox84[1], *bbox84[-len(bbox84) // 2 :][:2])
    if west > east:
        west, east = -180.0, 180.0
    if pyramid.authority_code == "EPSG:3857":
        west, south = crs84_to_mercator(west, south)
        east, north = crs84_to_mercator(east, north)
    elif pyramid.authority_code not in _DEGREES:
        area = pyramid.area
        if area is not None:  # a projection of a zone says nothing about the other side of the world
            west, east = max(west, area[0]), min(east, area[2])
            south, north = max(south, area[1]), min(north, area[3])
            if west > east or south > north:
                west, south, east, north = *area[:2], *area[:2]
        return transformed(pyramid, Bounds(west, south, east, north), "forward")
    return Bounds(west, south, east, north)


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


@lru_cache(maxsize=64)
def tile_matrix_set_document(tms_id: str) -> dict[str, Any]:
    """The tile matrix set as OGC TMS 2.0 JSON. Treat as read-only: the object is shared. Raises UnknownTileMatrixSet."""
    found = grid(tms_id)
    if tms_id in _own_documents:
        return _own_documents[tms_id]
    if tms_id not in _QUADS:
        return _quad_document(found)
    import morecantile

    document: dict[str, Any] = morecantile.tms.get(tms_id).model_dump(
        mode="json", exclude_none=True, by_alias=True
    )
    return document


def _quad_document(pyramid: Grid) -> dict[str, Any]:
    """The document of a quad pyramid that OGC does not publish; corners in the axis order of the CRS's authority."""
    left, top = pyramid.origin
    corner = [top, left] if pyramid.north_first else [left, top]
    return {
        "id": pyramid.id,
        "title": pyramid.title,
        "crs": pyramid.crs,
        "orderedAxes": ["Lat", "Lon"] if pyramid.authority_code in _DEGREES else ["N", "E"],
        "tileMatrices": [
            {
                "id": str(zoom),
                "scaleDenominator": pyramid.scale_denominator(zoom),
                "cellSize": pyramid.cell_size(zoom),
                "cornerOfOrigin": "topLeft",
                "pointOfOrigin": corner,
                "tileWidth": pyramid.tile_size,
                "tileHeight": pyramid.tile_size,
                "matrixWidth": pyramid.matrix_size(zoom)[0],
                "matrixHeight": pyramid.matrix_size(zoom)[1],
            }
            for zoom in range(pyramid.min_zoom, pyramid.max_zoom + 1)
        ],
    }
