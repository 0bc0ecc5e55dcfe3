"""Which parts of a tile are water: the water mask extension of quantized-mesh, 256 x 256 bytes, or one for all.

Water is known from polygons, from a raster whose values other than 0 are water, from the places where the elevation model has
no heights, or from a height up to which all is water.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.transform import Affine

from tiles.terrain.errors import TerrainError
from tiles.terrain.quantized_mesh import GRID, WATER_EDGE
from tiles.three_d.placement import as_crs, horizontal_part, horizontal_path, to_longitude_latitude

LAND, WATER = b"\x00", b"\xff"
_MOST_VERTICES = 256
_DEEPEST_CUT = 24


@dataclass(frozen=True, slots=True)
class WaterRule:
    """Where water is. `metres`: in the elevation model's own reference, for "level". `file`: for the others, in the terrain's folder."""

    kind: Literal["polygons", "raster", "nodata", "level"]
    metres: float = 0.0
    file: str = ""

    def document(self) -> dict[str, Any]:
        """As the recipe keeps it."""
        return {"kind": self.kind, "metres": self.metres, "file": self.file}


@dataclass(frozen=True, slots=True)
class WaterGround:
    """A tile's box (degrees); heights (67, 67) in the model's own reference, NaN where it has none; which samples lie inside it."""

    box: tuple[float, float, float, float]
    heights: NDArray[np.float64]
    inside: NDArray[np.bool_]


class Water(Protocol):
    """Draws the water of one tile."""

    def mask(self, ground: WaterGround) -> bytes:
        """One byte where all is land or water, else 256 x 256, rows from the north, 255 for water."""
        ...


def open_water(rule: WaterRule, folder: Path) -> Water:
    """What draws water by a rule. Raises TerrainError where its file cannot be read."""
    if rule.kind == "polygons":
        return PolygonWater(folder / rule.file)
    if rule.kind == "raster":
        return RasterWater(folder / rule.file)
    return HeightWater(rule.metres if rule.kind == "level" else None)


def _packed(is_water: NDArray[np.bool_]) -> bytes:
    """A mask whose rows come from the north."""
    if not is_water.any():
        return LAND
    if is_water.all():
        return WATER
    return (is_water.astype(np.uint8) * 255).tobytes()


class HeightWater:
    """Water where heights are not above `metres`; for None where there are no heights."""

    def __init__(self, metres: float | None) -> None:
        self._metres = metres

    def mask(self, ground: WaterGround) -> bytes:
        """See Water."""
        heights = ground.heights[1:-1, 1:-1]
        gaps = ~np.isfinite(heights)
        if self._metres is None:
            gaps &= ground.inside[1:-1, 1:-1]
            return _packed(_nearest(gaps)[::-1]) if gaps.any() else LAND
        below = np.where(gaps, np.inf, heights) <= self._metres
        if not below.any() or below.all():
            return WATER if below.all() else LAND
        # Between samples the shore is where the slope between them meets the level.
        level = np.where(gaps, self._metres + 1.0, heights)
        return _packed((_bilinear(level) <= self._metres)[::-1])


def _positions() -> NDArray[np.float64]:
    """Where the centres of the mask's pixels lie among the samples of a tile's edge."""
    return (np.arange(WATER_EDGE) + 0.5) / WATER_EDGE * (GRID - 1)


def _nearest(values: NDArray[Any]) -> NDArray[Any]:
    at = np.rint(_positions()).astype(np.int64)
    return values[np.ix_(at, at)]


def _bilinear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    at = _positions()
    low = np.minimum(at.astype(np.int64), GRID - 2)
    share = at - low
    rows = values[low] * (1.0 - share)[:, None] + values[low + 1] * share[:, None]
    return np.asarray(rows[:, low] * (1.0 - share) + rows[:, low + 1] * share)


class PolygonWater:
    """Water inside polygons, kept in longitude and latitude, cut into pieces of few vertices (`write_polygons`)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _tree(self) -> shapely.STRtree:
        try:
            with np.load(self._path, allow_pickle=False) as kept:
                content, ends = kept["content"].tobytes(), kept["ends"]
        except (OSError, ValueError, KeyError) as error:
            raise TerrainError(f"the water of this terrain cannot be read: {error}") from error
        starts = np.concatenate(([0], ends[:-1]))
        parts = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return shapely.STRtree(shapely.from_wkb(parts))

    def mask(self, ground: WaterGround) -> bytes:
        """See Water."""
        west, south, east, north = ground.box
        here = shapely.box(*ground.box)
        found = self._tree.geometries[self._tree.query(here, predicate="intersects")]
        if not found.size:
            return LAND
        if shapely.covers(found, here).any():
            return WATER
        transform = Affine((east - west) / WATER_EDGE, 0, west, 0, (south - north) / WATER_EDGE, north)
        drawn = rasterize(found.tolist(), (WATER_EDGE, WATER_EDGE), transform=transform, dtype="uint8")
        return _packed(drawn.astype(np.bool_))


class RasterWater:
    """Water where a raster's first band is neither 0 nor nodata."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _opened(self) -> tuple[Any, CRS]:
        try:
            dataset = rasterio.open(self._path)
        except RasterioError as error:
            raise TerrainError(f"{self._path.name} cannot be read as a raster of water: {error}") from error
        if dataset.crs is None:
            raise TerrainError(f"{self._path.name} has no CRS, so its water has no place")
        return dataset, horizontal_part(as_crs(dataset.crs.to_wkt()))

    def mask(self, ground: WaterGround) -> bytes:
        """See Water."""
        dataset, crs = self._opened
        west, south, east, north = ground.box
        share = (np.arange(WATER_EDGE) + 0.5) / WATER_EDGE
        longitude, latitude = np.meshgrid(west + share * (east - west), north - share * (north - south))
        border = dataset.transform @ (np.array([0.0, dataset.width]), np.array([0.0, dataset.height]))
        path, _ = horizontal_path(crs, np.column_stack(border))
        places = path.inverse(np.column_stack((longitude.ravel(), latitude.ravel())))
        column, row = (~dataset.transform) @ (places[:, 0], places[:, 1])
        with np.errstate(invalid="ignore"):
            inside = (column >= 0) & (column < dataset.width) & (row >= 0) & (row < dataset.height)
        result = np.zeros(column.shape, dtype=np.bool_)
        if inside.any():
            result[inside] = self._values(dataset, column[inside], row[inside])
        return _packed(result.reshape(WATER_EDGE, WATER_EDGE))

    def _values(
        self, dataset: Any, column: NDArray[np.float64], row: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether pixels are water, from a window of at most 512 x 512, reduced where it is larger."""
        left, top = math.floor(column.min()), math.floor(row.min())
        wide, high = math.floor(column.max()) - left + 1, math.floor(row.max()) - top + 1
        shape = (min(high, 2 * WATER_EDGE), min(wide, 2 * WATER_EDGE))
        try:
            read = dataset.read(
                1, window=((top, top + high), (left, left + wide)), out_shape=shape, masked=True
            )
        except RasterioError as error:
            raise TerrainError(f"{self._path.name} is damaged near row {top}: {error}") from error
        at_row = np.minimum(((row - top) * shape[0] / high).astype(np.int64), shape[0] - 1)
        at_column = np.minimum(((column - left) * shape[1] / wide).astype(np.int64), shape[1] - 1)
        return np.asarray(np.ma.filled(read, 0)[at_row, at_column] != 0)


def write_polygons(path: Path, polygons: NDArray[Any], crs: CRS | str) -> int:
    """Keep the polygons among shapely geometries of `crs` for PolygonWater; gives how many pieces they were cut into.

    What is no polygon, empty or not finite is left out; polygons that cross themselves are mended. Raises TerrainError where no
    polygon is left, PlacementError where the CRS has no way to WGS 84.
    """
    given = np.asarray(polygons, dtype=object)
    usable = (shapely.get_dimensions(given) == 2) & ~shapely.is_empty(given)
    parts = shapely.get_parts(shapely.force_2d(given[usable]))
    placed = shapely.transform(parts, lambda xy: to_longitude_latitude(as_crs(crs), xy)[0])
    finite = [bool(np.isfinite(shapely.get_coordinates(one)).all()) for one in placed]
    placed = shapely.make_valid(placed[np.array(finite, dtype=np.bool_)])
    pieces = [piece for one in placed for piece in _pieces(one, 0)]
    if not pieces:
        raise TerrainError(
            "the water has no polygons that could be drawn; give polygons of lakes, rivers, the sea"
        )
    coded = shapely.to_wkb(np.array(pieces, dtype=object))
    ends = np.cumsum([len(one) for one in coded])
    with path.open("wb") as file:
        np.savez_compressed(file, content=np.frombuffer(b"".join(coded), np.uint8), ends=ends)
    return len(pieces)


def _pieces(polygon: Any, depth: int) -> list[Any]:
    """Polygons of at most 256 vertices that together are the polygon: halved along its longer side again and again."""
    found = []
    for one in shapely.get_parts(polygon):
        if shapely.get_dimensions(one) != 2 or shapely.is_empty(one):
            continue
        if shapely.get_num_coordinates(one) <= _MOST_VERTICES or depth >= _DEEPEST_CUT:
            found.append(one)
            continue
        west, south, east, north = shapely.bounds(one).tolist()
        if east - west > north - south:
            middle = (west + east) / 2.0
            halves = ((west, south, middle, north), (middle, south, east, north))
        else:
            middle = (south + north) / 2.0
            halves = ((west, south, east, middle), (west, middle, east, north))
        for half in halves:
            found.extend(_pieces(shapely.intersection(one, shapely.box(*half)), depth + 1))
    return found
