"""The simulated orthophoto: the real map drawn as a camera above it might see it.

Colours come from what each surface is, with texture noise, relief shading, and shadows of buildings and trees for a
sun in the south-west. Nothing of it was photographed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine, from_origin
from shapely.geometry.base import BaseGeometry

from server.demo.buildings import Building
from server.demo.greenery import Trees
from server.demo.ground import Ground, smooth_noise
from server.demo.openstreetmap import CITY_GRID, Extract

PIXEL_METRES = 0.5
_SEED = 60172
_SUN = (-0.62, -0.78)  # towards the sun: west and south, per metre of ground
_SUN_SLOPE = 0.95  # metres of height per metre of shadow
_LONGEST_SHADOW = 45.0

Array = NDArray[np.float32]

# Colours of surfaces (red, green, blue), from the bottom up as they are drawn.
_PAVED = (158, 153, 146)
_SURFACES: Sequence[tuple[str, str, tuple[int, int, int]]] = (
    ("landuse", "residential", (164, 157, 148)),
    ("landuse", "commercial", (160, 156, 151)),
    ("landuse", "railway", (128, 117, 106)),
    ("landuse", "construction", (166, 146, 118)),
    ("leisure", "park", (104, 124, 72)),
    ("landuse", "grass", (112, 134, 76)),
    ("natural", "heath", (126, 126, 82)),
    ("natural", "scrub", (82, 104, 60)),
    ("natural", "wood", (66, 90, 50)),
    ("natural", "wetland", (96, 108, 78)),
    ("natural", "bare_rock", (150, 140, 130)),
    ("leisure", "pitch", (176, 150, 112)),
    ("leisure", "playground", (184, 164, 128)),
    ("amenity", "parking", (122, 122, 124)),
    ("landuse", "basin", (66, 88, 96)),
    ("natural", "water", (46, 70, 82)),
)
_WAY_WIDTHS = {
    "primary": 13.0,
    "secondary": 10.0,
    "tertiary": 8.0,
    "unclassified": 7.0,
    "residential": 6.5,
    "service": 4.0,
    "pedestrian": 5.0,
    "cycleway": 2.5,
    "footway": 1.8,
    "path": 1.5,
    "steps": 2.0,
}
_ASPHALT = (98, 98, 102)
_PAVING = (182, 174, 160)
_RAIL = (86, 80, 76)
_WATER = (40, 64, 78)
_CROWN = (58, 84, 44)
_ROOFS = (
    (118, 72, 58),
    (92, 94, 98),
    (140, 136, 130),
    (98, 138, 120),
    (76, 74, 76),
    (154, 108, 82),
    (126, 122, 112),
    (108, 58, 52),
)


@dataclass(frozen=True, slots=True)
class Canvas:
    """The picture being drawn: `colour` (3, rows, columns) 0-255, `surface` heights (rows, columns) in metres."""

    colour: Array
    surface: Array
    transform: Affine

    def paint(self, shapes: Iterable[BaseGeometry], colour: tuple[int, int, int]) -> None:
        """Fill geometries (in the city grid) with one colour."""
        found = [shape for shape in shapes if not shape.is_empty]
        if found:
            mask = (
                rasterize(found, out_shape=self.surface.shape, transform=self.transform, dtype="uint8") == 1
            )
            self.colour[:, mask] = np.array(colour, dtype="float32")[:, None]


def draw_orthophoto(
    extract: Extract, ground: Ground, buildings: Sequence[Building], trees: Trees, pixel: float = PIXEL_METRES
) -> tuple[NDArray[np.uint8], Affine]:
    """Draw the picture: (3, rows, columns) uint8 and the transform of its outer north-west corner (city grid)."""
    west, south, east, north = ground.bounds
    rows, columns = int((north - south) / pixel), int((east - west) / pixel)
    transform = from_origin(west, north, pixel, pixel)
    x = west + (np.arange(columns) + 0.5) * pixel
    y = north - (np.arange(rows) + 0.5) * pixel
    terrain = ground.sample(*np.meshgrid(x, y)).astype("float32")
    colour = np.empty((3, rows, columns), dtype="float32")
    colour[:] = np.array(_PAVED, dtype="float32")[:, None, None]
    canvas = Canvas(colour, terrain.copy(), transform)
    _paint_ground(canvas, extract, ground)
    _texture(canvas, rows, columns)
    _raise_trees(canvas, terrain, trees)
    _raise_buildings(canvas, buildings)
    lit = _relief(canvas.surface, pixel) * _shadows(canvas.surface, pixel)
    picture = np.clip(canvas.colour * lit, 0, 255).astype("uint8")
    return picture, transform


def _paint_ground(canvas: Canvas, extract: Extract, ground: Ground) -> None:
    for key, value, colour in _SURFACES:
        canvas.paint((one.planar for one in extract.areas if one.tags.get(key) == value), colour)
    canvas.paint([ground.water], _WATER)
    ways: dict[str, list[BaseGeometry]] = {}
    rails = []
    for line in extract.lines:
        if line.tags.get("tunnel", "no") != "no" or line.tags.get("location") == "underground":
            continue
        if line.tags.get("railway") in ("rail", "tram"):
            rails += [line.planar.buffer(0.9).difference(line.planar.buffer(0.5))]
        kind = line.tags.get("highway", "").removesuffix("_link")
        if kind in _WAY_WIDTHS:
            ways.setdefault(kind, []).append(line.planar.buffer(_WAY_WIDTHS[kind] / 2, quad_segs=2))
    for kind in reversed(_WAY_WIDTHS):
        paved = kind in ("pedestrian", "footway", "path", "steps", "cycleway")
        canvas.paint(ways.get(kind, []), _PAVING if paved else _ASPHALT)
    canvas.paint(rails, _RAIL)


def _texture(canvas: Canvas, rows: int, columns: int) -> None:
    """Fine grain and broad patches, so that no surface is one flat colour."""
    random = np.random.default_rng(_SEED)
    grain = random.standard_normal((rows, columns)).astype("float32") * 5.0
    # The broad patches are made at an eighth of the size: they have no finer detail.
    small = smooth_noise((rows // 8 + 1, columns // 8 + 1), 3.0, _SEED).astype("float32") * 6.0
    patches = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)[:rows, :columns]
    canvas.colour[:] += grain + patches


def _raise_trees(canvas: Canvas, terrain: Array, trees: Trees) -> None:
    """Draw each crown as a sphere that stands out of the ground, lighter towards its top."""
    pixel = canvas.transform.a
    rows, columns = canvas.surface.shape
    random = np.random.default_rng(_SEED + 1)
    shade = random.uniform(0.8, 1.2, len(trees.x))
    for x, y, radius, height, tone in zip(trees.x, trees.y, trees.radius, trees.height, shade, strict=True):
        column, row = (x - canvas.transform.c) / pixel, (canvas.transform.f - y) / pixel
        reach = int(radius / pixel) + 1
        top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
        bottom, right = min(int(row) + reach + 1, rows), min(int(column) + reach + 1, columns)
        if top >= bottom or left >= right:
            continue
        down, across = np.mgrid[top:bottom, left:right]
        squared = ((across + 0.5 - column) ** 2 + (down + 0.5 - row) ** 2) * pixel**2 / radius**2
        inside = squared < 1
        crown = (
            terrain[top:bottom, left:right] + height - radius + radius * np.sqrt(np.clip(1 - squared, 0, 1))
        )
        window = canvas.surface[top:bottom, left:right]
        np.copyto(window, np.maximum(window, crown), where=inside)
        tint = (
            np.array(_CROWN, dtype="float32")[:, None, None]
            * tone
            * (0.85 + 0.3 * np.clip(1 - squared, 0, 1))
        )
        np.copyto(canvas.colour[:, top:bottom, left:right], tint, where=inside)


def _raise_buildings(canvas: Canvas, buildings: Sequence[Building]) -> None:
    """Burn roofs into picture and heights; each has one colour of `_ROOFS`, chosen by its id."""
    standing = sorted(buildings, key=lambda one: one.height)
    if not standing:
        return
    numbers = rasterize(
        [(one.footprint, number) for number, one in enumerate(standing, 1)],
        out_shape=canvas.surface.shape,
        transform=canvas.transform,
        dtype="int32",
    )
    roofs = np.array([0.0] + [one.ground + one.height for one in standing], dtype="float32")
    colours = np.array([_PAVED] + [_roof_colour(one) for one in standing], dtype="float32")
    covered = numbers > 0
    canvas.surface[covered] = roofs[numbers[covered]]
    grain = np.random.default_rng(_SEED + 2).standard_normal(int(covered.sum())).astype("float32") * 4.0
    canvas.colour[:, covered] = colours[numbers[covered]].T + grain


def _roof_colour(building: Building) -> tuple[int, int, int]:
    return _ROOFS[int(building.element.osm_id[1:]) % len(_ROOFS)]


def _relief(surface: Array, pixel: float) -> Array:
    """Light on slopes, about 1 on level ground, from 0.75 to 1.2."""
    down, right = np.gradient(surface, pixel)
    towards = -(right * _SUN[0] - down * _SUN[1])
    light: Array = np.clip(1.0 + 0.12 * np.clip(towards, -2, 1.6), 0.75, 1.2).astype("float32")
    return light


def _shadows(surface: Array, pixel: float) -> Array:
    """1 in the sun, 0.55 where something stands between a pixel and the sun."""
    dark = np.zeros(surface.shape, dtype=bool)
    for distance in np.arange(2 * pixel, _LONGEST_SHADOW, 3 * pixel):
        across, up = round(_SUN[0] * distance / pixel), round(_SUN[1] * distance / pixel)
        blocker = np.full_like(surface, -1000.0)
        # blocker[row, column] = surface[row - up, column + across]: rows count southwards.
        rows, columns = surface.shape
        target_rows = slice(max(up, 0), rows + min(up, 0))
        source_rows = slice(max(-up, 0), rows + min(-up, 0))
        target_columns = slice(max(-across, 0), columns + min(-across, 0))
        source_columns = slice(max(across, 0), columns + min(across, 0))
        blocker[target_rows, target_columns] = surface[source_rows, source_columns]
        dark |= blocker - distance * _SUN_SLOPE > surface + 0.3
    return np.where(dark, np.float32(0.55), np.float32(1.0))


def write_orthophoto(path: Path, picture: NDArray[np.uint8], transform: Affine) -> None:
    """Write the picture as a three-band GeoTIFF in the city grid."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=picture.shape[2],
        height=picture.shape[1],
        count=3,
        dtype="uint8",
        crs=CITY_GRID,
        transform=transform,
        photometric="RGB",
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="deflate",
    ) as out:
        out.write(picture)
        out.update_tags(simulated="true")
