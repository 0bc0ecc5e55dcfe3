"""The simulated lidar scan: pulses of an airborne scanner on the demo's own ground, roofs and trees.

LAS 1.4, point format 7 (RGB), heights above the sea in the city grid. Classes are those of the LAS 1.4 specification:
2 ground, 3 low vegetation, 5 high vegetation, 6 building, 9 water.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import laspy
import numpy as np
import pyproj
import shapely
from laspy.header import LasHeader
from numpy.typing import NDArray
from rasterio.transform import Affine
from shapely.geometry import Polygon

from server.demo.buildings import Building
from server.demo.greenery import Trees
from server.demo.ground import Ground
from server.demo.openstreetmap import CITY_GRID

PULSES = 430_000
GROUND, LOW_VEGETATION, HIGH_VEGETATION, BUILDING, WATER = 2, 3, 5, 6, 9
_SEED = 60173
_STRIPS = 4  # flight lines, west to east in turn
_FLYING_HEIGHT = 700.0
_START_GPS = 352_000_000.0  # adjusted standard GPS seconds: the scan is set in 2022
_INTENSITY = {GROUND: 24_000, LOW_VEGETATION: 15_000, HIGH_VEGETATION: 12_000, BUILDING: 30_000, WATER: 3_000}

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Returns:
    """Returns of pulses; one value a return. `pulse` numbers the pulse it belongs to, `rank` is 1 for a first return."""

    x: Array
    y: Array
    z: Array
    classification: NDArray[np.uint8]
    pulse: NDArray[np.int64]
    rank: NDArray[np.uint8]
    of: NDArray[np.uint8]

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> Returns:
        """The chosen returns."""
        return Returns(*(getattr(self, one.name)[chosen] for one in fields(self)))


def scan(ground: Ground, buildings: Sequence[Building], trees: Trees, pulses: int = PULSES) -> Returns:
    """Fire `pulses` pulses over the ground's whole extent; the same ones every time. In the order of flight."""
    random = np.random.default_rng(_SEED)
    x, y = _pulse_positions(ground, pulses, random)
    number = np.arange(len(x), dtype=np.int64)
    terrain = ground.sample(x, y)
    surface, kind = _first_hit(x, y, terrain=terrain, ground=ground, buildings=buildings, trees=trees)
    surface = surface + random.normal(0, 0.03, len(x))
    # Water sends most pulses away from the scanner.
    kept = (kind != WATER) | (random.random(len(x)) < 0.35)
    # A crown lets part of a pulse through to the ground beneath.
    through = (kind == HIGH_VEGETATION) & (random.random(len(x)) < 0.55)
    depth = np.where(kind == HIGH_VEGETATION, random.exponential(0.5, len(x)), 0.0)
    first = np.maximum(surface - depth, terrain)
    one, two = np.ones(len(x), dtype=np.uint8), np.full(len(x), 2, dtype=np.uint8)
    firsts = Returns(x, y, first, kind, number, one, np.where(through, two, one)).take(kept)
    below = Returns(
        x,
        y,
        terrain + random.normal(0, 0.03, len(x)),
        np.full(len(x), GROUND, dtype=np.uint8),
        number,
        two,
        two,
    ).take(through)
    parts = (firsts, below, _facades(ground, buildings, random, len(x)))
    joined = Returns(
        *(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Returns))
    )
    return joined.take(np.lexsort((joined.rank, joined.pulse)))


def _pulse_positions(ground: Ground, pulses: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Where the pulses meet the ground: a jittered grid, row after row within one flight strip after the other."""
    west, south, east, north = ground.bounds
    spacing = np.sqrt((east - west) * (north - south) / pulses)
    columns, rows = int((east - west) / spacing), int((north - south) / spacing)
    per_strip = -(-columns // _STRIPS)
    xs, ys = [], []
    for strip in range(_STRIPS):
        own = np.arange(strip * per_strip, min((strip + 1) * per_strip, columns))
        column, row = np.meshgrid(own, np.arange(rows))
        xs.append(column.ravel())
        ys.append(row.ravel())
    jitter = random.uniform(0.05, 0.95, (2, columns * rows))
    x = west + (np.concatenate(xs) + jitter[0]) * (east - west) / columns
    y = south + (np.concatenate(ys) + jitter[1]) * (north - south) / rows
    return x, y


def _first_hit(
    x: Array, y: Array, *, terrain: Array, ground: Ground, buildings: Sequence[Building], trees: Trees
) -> tuple[Array, NDArray[np.uint8]]:
    """What each pulse meets first: (height, class)."""
    height = terrain.copy()
    kind = np.full(len(x), GROUND, dtype=np.uint8)
    tree = shapely.STRtree(np.asarray(shapely.points(x, y)))
    wet = tree.query(ground.water, predicate="intersects")
    kind[wet] = WATER
    if len(trees.x):
        hit, crown = _crowns(x, y, tree, trees, terrain)
        higher = crown > height[hit]
        hit, crown = hit[higher], crown[higher]
        # Several crowns over one pulse: the highest is met first.
        order = np.argsort(crown)
        height[hit[order]] = crown[order]
        kind[hit] = np.where(height[hit] - terrain[hit] > 2.0, HIGH_VEGETATION, LOW_VEGETATION)
    if buildings:
        owner, hit = tree.query([one.footprint for one in buildings], predicate="intersects")
        roof = np.array([one.ground + one.height for one in buildings])[owner]
        order = np.argsort(roof)
        roof, hit = roof[order], hit[order]
        kind[hit] = BUILDING
        height[hit] = roof
    return height, kind


def _crowns(
    x: Array, y: Array, tree: shapely.STRtree, trees: Trees, terrain: Array
) -> tuple[NDArray[np.intp], Array]:
    """(index of a pulse, height of the crown's surface above the sea) for each pulse and crown that meet."""
    centres = shapely.points(trees.x, trees.y)
    owner, hit = tree.query(centres, predicate="dwithin", distance=trees.radius)
    squared = ((x[hit] - trees.x[owner]) ** 2 + (y[hit] - trees.y[owner]) ** 2) / trees.radius[owner] ** 2
    radius = trees.radius[owner]
    top = terrain[hit] + trees.height[owner] - radius + radius * np.sqrt(np.clip(1 - squared, 0, 1))
    return hit, top


def _facades(
    ground: Ground, buildings: Sequence[Building], random: np.random.Generator, start: int
) -> Returns:
    """A few returns from walls, which an oblique scan gives; numbered as pulses from `start` on."""
    xs, ys, zs = [], [], []
    for building in buildings:
        for polygon in shapely.get_parts(building.footprint):
            ring = Polygon(polygon).exterior
            count = int(ring.length * building.height / 60)
            along = shapely.line_interpolate_point(ring, random.uniform(0, ring.length, count))
            xs.append(shapely.get_x(along))
            ys.append(shapely.get_y(along))
            zs.append(building.ground + random.uniform(0.3, building.height, count))
    x, y = (np.concatenate(values) if values else np.empty(0) for values in (xs, ys))
    z = np.concatenate(zs) if zs else np.empty(0)
    # A hand's breadth out of the wall, so that no return lies inside the building.
    x, y = x + random.normal(0, 0.05, len(x)), y + random.normal(0, 0.05, len(x))
    west, south, east, north = ground.bounds
    inside = (x > west) & (x < east) & (y > south) & (y < north)
    one = np.ones(len(x), dtype=np.uint8)
    kind = np.full(len(x), BUILDING, dtype=np.uint8)
    return Returns(x, y, z, kind, start + np.arange(len(x), dtype=np.int64), one, one).take(inside)


def write_scan(
    path: Path, ground: Ground, returns: Returns, picture: NDArray[np.uint8], transform: Affine
) -> int:
    """Write the scan as LAZ, coloured from the orthophoto (3, rows, columns); returns the number of points."""
    west, south, east, _ = ground.bounds
    header = LasHeader(version="1.4", point_format=7)
    header.scales = np.array([0.01, 0.01, 0.01])
    header.offsets = np.array([np.floor(west), np.floor(south), 0.0])
    header.add_crs(pyproj.CRS(CITY_GRID))
    header.global_encoding.wkt = True
    header.system_identifier = "SIMULATED"
    header.generating_software = "Chengtu demo city"
    las = laspy.LasData(header)
    las.x, las.y, las.z = returns.x, returns.y, returns.z
    las.classification = returns.classification
    las.return_number, las.number_of_returns = returns.rank, returns.of
    strip_width = (east - west) / _STRIPS
    strip = np.clip((returns.x - west) // strip_width, 0, _STRIPS - 1)
    aside = returns.x - (west + (strip + 0.5) * strip_width)
    las.point_source_id = (strip + 1).astype("uint16")
    # The angle is stored in units of 0.006 degrees (LAS 1.4 R15, table 14).
    las.scan_angle = np.round(np.degrees(np.arctan2(aside, _FLYING_HEIGHT)) / 0.006).astype("int16")
    las.gps_time = _START_GPS + returns.pulse * 2e-5 + strip * 300
    random = np.random.default_rng(_SEED + 1)
    base = np.zeros(256)
    base[list(_INTENSITY)] = list(_INTENSITY.values())
    las.intensity = (base[returns.classification] * random.uniform(0.6, 1.4, len(returns.x))).astype("uint16")
    column = np.clip(((returns.x - transform.c) / transform.a).astype(int), 0, picture.shape[2] - 1)
    row = np.clip(((transform.f - returns.y) / transform.a).astype(int), 0, picture.shape[1] - 1)
    las.red, las.green, las.blue = picture[:, row, column].astype("uint16") * 257
    las.write(path, do_compress=True)
    return len(returns.x)
