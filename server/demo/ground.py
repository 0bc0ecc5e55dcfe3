"""The simulated ground of the demo city: a smooth terrain derived from the real coast, railway and survey marks.

Heights are metres above the sea. They rise from the real shore (distance to water), are flattened along the real railway,
pass through the two heights that the extract states, and carry smooth noise of a fixed seed. It is a plausible
surface for looking at and testing with, not a survey of Helsinki: everything made of it is called simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import from_origin
from shapely.geometry import LineString, Point, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import polygonize, unary_union

from server.demo.openstreetmap import CITY_GRID, Extract

CELL_METRES = 2.0
QUAY_METRES = 1.4
PLATEAU_METRES = 11.0
RISE_METRES = 260.0  # distance from the shore at which the ground has risen by 63 % of the plateau
RAILWAY_METRES = 4.2
_SEED = 60170

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ground:
    """A height raster in the city grid: `heights[row, column]`, row 0 in the north, cell centres half a cell inside.

    `west` and `north` are the raster's outer corner, `cell` its resolution in metres; `water` is the surface of sea and
    bays (height 0) as polygons.
    """

    heights: Array
    west: float
    north: float
    cell: float
    water: BaseGeometry

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in the city grid."""
        rows, columns = self.heights.shape
        return self.west, self.north - rows * self.cell, self.west + columns * self.cell, self.north

    def sample(self, x: Array, y: Array) -> Array:
        """Bilinear heights at points of the city grid; points outside take the border's height. Shape of `x`."""
        rows, columns = self.heights.shape
        column = np.clip((np.asarray(x) - self.west) / self.cell - 0.5, 0, columns - 1.0)
        row = np.clip((self.north - np.asarray(y)) / self.cell - 0.5, 0, rows - 1.0)
        left, top = np.minimum(column.astype(int), columns - 2), np.minimum(row.astype(int), rows - 2)
        right, down = column - left, row - top
        h = self.heights
        upper = h[top, left] * (1 - right) + h[top, left + 1] * right
        lower = h[top + 1, left] * (1 - right) + h[top + 1, left + 1] * right
        heights: Array = upper * (1 - down) + lower * down
        return heights


def build_ground(extract: Extract, cell: float = CELL_METRES) -> Ground:
    """Derive the ground of an extract, the same one every time."""
    bounds = extract.bounds
    west, north = np.floor(bounds[0] / cell) * cell, np.ceil(bounds[3] / cell) * cell
    columns, rows = int(np.ceil((bounds[2] - west) / cell)), int(np.ceil((north - bounds[1]) / cell))
    water = find_water(extract)
    x = west + (np.arange(columns) + 0.5) * cell
    y = north - (np.arange(rows) + 0.5) * cell
    grid_x, grid_y = np.meshgrid(x, y)
    cells = shapely.points(grid_x, grid_y)
    shore = shapely.distance(cells, water)
    heights = QUAY_METRES + PLATEAU_METRES * (1 - np.exp(-shore / RISE_METRES))
    heights += 1.8 * (1 - np.exp(-shore / 120)) * smooth_noise((rows, columns), 90 / cell, _SEED)
    heights += _survey_marks(extract, heights, grid_x, grid_y)
    # Tram tracks are mapped as narrow railway areas too; they follow the streets.
    yards = [
        one.planar for one in extract.areas if one.tags.get("landuse") == "railway" and one.planar.area > 5000
    ]
    railway = unary_union(yards)
    if not railway.is_empty:
        near = np.clip(shapely.distance(cells, railway.simplify(2.0)) / 70, 0, 1)
        blend = near * near * (3 - 2 * near)
        heights = blend * heights + (1 - blend) * RAILWAY_METRES
    heights = gaussian_blur(heights, 5 / cell)
    transform = from_origin(west, north, cell, cell)
    wet = rasterize([water], out_shape=(rows, columns), transform=transform, dtype="uint8") == 1
    heights = np.where(wet, 0.0, np.maximum(heights, 0.9))
    return Ground(heights, float(west), float(north), cell, water)


def _survey_marks(extract: Extract, heights: Array, x: Array, y: Array) -> Array:
    """A correction that makes the ground pass through the heights stated in the extract (`ele`, `ele:msl`).

    `x` and `y` are the centres of the cells, shapes as `heights`.
    """
    correction = np.zeros_like(heights)
    for element in extract.points:
        text = element.tags.get("ele") or element.tags.get("ele:msl")
        try:
            stated = float(text or "")
        except ValueError:
            continue
        place = element.planar
        row, column = int(np.abs(y[:, 0] - place.y).argmin()), int(np.abs(x[0] - place.x).argmin())
        missing = stated - (heights + correction)[row, column]
        correction += missing * np.exp(-((x - place.x) ** 2 + (y - place.y) ** 2) / (2 * 140.0**2))
    return correction


def find_water(extract: Extract) -> BaseGeometry:
    """Sea and bays: what lies right of the coastlines (OpenStreetMap's rule), and areas mapped as water.

    Ponds and basins are left out: they lie above the sea and have no stated height.
    """
    mapped = [
        one.planar for one in extract.areas if one.tags.get("natural") == "water" and "name" in one.tags
    ]
    return unary_union([*_sea(extract), *mapped])


def _sea(extract: Extract) -> list[BaseGeometry]:
    frame = box(*extract.bounds)
    coast = [
        _extended(piece, frame.exterior)
        for one in extract.lines
        if one.tags.get("natural") == "coastline"
        for piece in _without_shortcuts(one.planar, frame.exterior)
    ]
    if not coast:
        return []
    cells = list(polygonize(unary_union([frame.exterior, *coast])))
    wet = unary_union([line.parallel_offset(0.5, "right") for line in coast])
    # A cell is sea when the strip just right of a coastline runs inside it for longer than the strip just left of one.
    dry = unary_union([line.parallel_offset(0.5, "left") for line in coast])
    return [cell for cell in cells if cell.intersection(wet).length > cell.intersection(dry).length]


def _without_shortcuts(line: LineString, frame: LineString) -> list[LineString]:
    """The coastline without the straight segments that stand for nodes outside the extract."""
    pieces, current = [], [line.coords[0]]
    for start, end in pairwise(line.coords):
        shortcut = (
            LineString([start, end]).length > 150
            and max(frame.distance(Point(start)), frame.distance(Point(end))) < 100
        )
        if shortcut:
            pieces.append(current)
            current = []
        current.append(end)
    return [LineString(piece) for piece in [*pieces, current] if len(piece) > 1]


def _extended(line: LineString, frame: LineString) -> LineString:
    """The coastline with its ends drawn out to the frame, where the extract was cut a few metres short of it."""
    coordinates = list(line.coords)
    first, last = (frame.interpolate(frame.project(Point(end))) for end in (coordinates[0], coordinates[-1]))
    return LineString([(first.x, first.y), *coordinates, (last.x, last.y)])


def gaussian_blur(values: Array, sigma: float) -> Array:
    """`values` blurred by a Gaussian of `sigma` cells; edges are mirrored. Same shape, float64."""
    pad = int(3 * sigma) + 1
    padded = np.pad(values, pad, mode="reflect")
    rows, columns = padded.shape
    frequency = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(columns)[None, :] ** 2
    blurred = np.fft.irfft2(
        np.fft.rfft2(padded) * np.exp(-2 * (np.pi * sigma) ** 2 * frequency), s=padded.shape
    )
    return blurred[pad:-pad, pad:-pad]


def smooth_noise(shape: tuple[int, int], sigma: float, seed: int) -> Array:
    """Noise without detail finer than `sigma` cells, mean 0 and standard deviation 1, the same for the same seed."""
    noise = gaussian_blur(np.random.default_rng(seed).standard_normal(shape), sigma)
    scaled: Array = (noise - noise.mean()) / noise.std()
    return scaled


def write_terrain(path: Path, ground: Ground) -> None:
    """Write the ground as a one-band GeoTIFF (float32, metres)."""
    rows, columns = ground.heights.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=columns,
        height=rows,
        count=1,
        dtype="float32",
        crs=CITY_GRID,
        transform=from_origin(ground.west, ground.north, ground.cell, ground.cell),
        nodata=-9999.0,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=3,
    ) as out:
        out.write(np.round(ground.heights, 2).astype("float32"), 1)
        out.set_band_description(1, "height above sea (simulated)")
        out.set_band_unit(1, "m")
        out.update_tags(simulated="true")
