"""Heights on a grid as one quantized-mesh 1.0 tile.

The format: an 88-byte header, vertices as zigzag-coded differences of 0..32767 in the tile's rectangle and height
range, triangles with high-water-mark coding, the vertices of the four edges, and extensions: oct-encoded normals (1), water
mask (2) and metadata (4). u and v are linear in longitude and latitude, whatever tiling the tile is of.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pymartini import Martini

from tiles.three_d.placement import LocalFrame, Positions, to_ecef, up_vectors

# Vertices along an edge; 2**n + 1.
GRID = 65
_LARGEST = 32767
# A tile of so many degrees is too curved for a few large triangles to stay near the ellipsoid.
_FULL_GRID_DEGREES = 180.0 / 2**5
# Pixels along the edge of a water mask.
WATER_EDGE = 256
_SEMI_AXES = np.array([6378137.0, 6378137.0, 6356752.314245179])
# Far enough to be above every horizon that matters.
_NEVER_OCCLUDED = 20.0
NORMALS_EXTENSION, WATER_EXTENSION, METADATA_EXTENSION = 1, 2, 4


@dataclass(frozen=True, slots=True)
class TileGrid:
    """What a tile is made of.

    `west`, `south`, `east`, `north` in degrees; `heights` (67, 67) m above the ellipsoid, rows from the south, columns
    from the west, one sample beyond each edge, so that normals agree with the neighbour's.
    """

    west: float
    south: float
    east: float
    north: float
    heights: NDArray[np.float64]


def encode_tile(
    grid: TileGrid,
    max_error: float,
    *,
    water: bytes | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """The bytes of a .terrain file whose mesh stays within `max_error` (m) of the heights.

    All 65 vertices of every edge are kept, so that tiles of one level meet without cracks. `water` is the content of the water mask
    extension (1 byte, or 256 x 256), `metadata` that of the metadata extension.
    """
    heights = grid.heights[1:-1, 1:-1]
    longitude = np.linspace(grid.west, grid.east, GRID)
    latitude = np.linspace(grid.south, grid.north, GRID)
    all_longitude, all_latitude = (part.ravel() for part in np.meshgrid(longitude, latitude))
    ecef = to_ecef(all_longitude, all_latitude, heights.ravel())
    frame = LocalFrame.at((grid.west + grid.east) / 2.0, (grid.south + grid.north) / 2.0, 0.0)
    if grid.east - grid.west >= _FULL_GRID_DEGREES:
        triangles = _full_grid()
    else:
        triangles = _simplified(frame.to_local(ecef)[:, 2].reshape(GRID, GRID), max_error)
    points, coded = _high_water_mark(triangles)
    column, row = points % GRID, points // GRID
    chosen = heights.ravel()[points]
    low, high = np.float32(chosen.min()), np.float32(chosen.max())
    span = float(high) - float(low)
    scaled = np.zeros(len(points)) if span <= 0.0 else (chosen - float(low)) / span * _LARGEST
    normals = _normals(grid)[points]
    return b"".join(
        (
            _header(ecef[points], low, high),
            struct.pack("<I", len(points)),
            _zigzag(_quantised(column)),
            _zigzag(_quantised(row)),
            _zigzag(np.clip(np.rint(scaled), 0, _LARGEST).astype(np.int64)),
            struct.pack("<I", len(triangles)),
            coded.astype("<u2").tobytes(),
            *(
                _edge(np.flatnonzero(at))
                for at in (column == 0, row == 0, column == GRID - 1, row == GRID - 1)
            ),
            _octahedral_extension(normals),
            b"" if water is None else _extension(WATER_EXTENSION, water),
            b"" if metadata is None else _metadata_extension(metadata),
        )
    )


def _quantised(index: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.rint(index * (_LARGEST / (GRID - 1))).astype(np.int64)


@lru_cache(maxsize=1)
def _full_grid() -> NDArray[np.int64]:
    """Two triangles for every cell, counter-clockwise seen from above."""
    corner = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).ravel()[:, None]
    return np.asarray((corner + np.array([0, 1, GRID + 1, 0, GRID + 1, GRID])).reshape(-1, 3), dtype=np.int64)


@lru_cache(maxsize=1)
def _martini() -> Martini:
    return Martini(GRID)


def _simplified(surface: NDArray[np.float64], max_error: float) -> NDArray[np.int64]:
    """Triangles of grid points within `max_error` of `surface` (65, 65), every edge point among them.

    Every second edge point is raised far, which makes the simplifier keep it; points with odd numbers on an edge belong
    to the smallest triangles only, so nothing inside is judged by these false heights.
    """
    raised = surface.astype(np.float32)
    far = np.float32(abs(max_error) * 1e3 + 2.0 * float(np.abs(surface).max()) + 1.0)
    for edge in (raised[0], raised[-1], raised[:, 0], raised[:, -1]):
        edge[1::2] += far
    points, triangles = _martini().create_tile(raised).get_mesh(max_error)
    places = points.reshape(-1, 2).astype(np.int64)
    index: NDArray[np.int64] = (places[:, 1] * GRID + places[:, 0])[triangles.reshape(-1, 3).astype(np.int64)]
    x, y = index % GRID, index // GRID
    turn = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    index[turn < 0] = index[turn < 0][:, ::-1]
    return index


def _high_water_mark(triangles: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Grid points in the order of their first use, and the coded indices of the triangles."""
    flat = triangles.ravel()
    points, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(points), dtype=np.int64)
    rank[order] = np.arange(len(points))
    index = rank[inverse]
    is_new = np.zeros(len(flat), dtype=np.int64)
    is_new[first] = 1
    return points[order], np.cumsum(is_new) - is_new - index


def _zigzag(values: NDArray[np.int64]) -> bytes:
    steps = np.diff(values, prepend=0)
    return ((steps << 1) ^ (steps >> 63)).astype("<u2").tobytes()


def _edge(points: NDArray[np.intp]) -> bytes:
    return struct.pack("<I", len(points)) + points.astype("<u2").tobytes()


def _header(ecef: Positions, low: np.float32, high: np.float32) -> bytes:
    center = (ecef.min(axis=0) + ecef.max(axis=0)) / 2.0
    radius = float(np.linalg.norm(ecef - center, axis=1).max())
    occlusion = _horizon_occlusion_point(ecef, center)
    return struct.pack("<3d2f4d3d", *center, low, high, *center, radius, *occlusion)


def _horizon_occlusion_point(ecef: Positions, center: Positions) -> Positions:
    """The point, in the ellipsoid's scaled space, that sinks below the horizon only when all of `ecef` do."""
    direction = center / _SEMI_AXES
    length = float(np.linalg.norm(direction))
    if length < 1e-3:
        # A tile of all longitudes has no such point: some of it is always seen.
        return np.array([_NEVER_OCCLUDED, 0.0, 0.0])
    direction /= length
    scaled = ecef / _SEMI_AXES
    size = np.linalg.norm(scaled, axis=1)
    unit = scaled / size[:, None]
    size = np.maximum(size, 1.0)
    cosine_a = unit @ direction
    sine_a = np.linalg.norm(np.cross(unit, direction), axis=1)
    cosine_b = 1.0 / size
    sine_b = np.sqrt(size**2 - 1.0) * cosine_b
    nearness = cosine_a * cosine_b - sine_a * sine_b
    reach = np.where(
        nearness > 1.0 / _NEVER_OCCLUDED, 1.0 / np.where(nearness > 0.0, nearness, 1.0), _NEVER_OCCLUDED
    )
    return np.asarray(direction * float(reach.max()))


def _normals(grid: TileGrid) -> Positions:
    """Unit normals (65 * 65, 3) in ECEF from central differences of the heights."""
    latitude = np.linspace(grid.south, grid.north, GRID)
    longitude = np.linspace(grid.west, grid.east, GRID)
    degree = 111_320.0
    across = (grid.east - grid.west) / (GRID - 1) * degree * np.maximum(np.cos(np.radians(latitude)), 1e-3)
    along = (grid.north - grid.south) / (GRID - 1) * degree
    h = grid.heights
    slope_east = ((h[1:-1, 2:] - h[1:-1, :-2]) / (2.0 * across[:, None])).ravel()
    slope_north = ((h[2:, 1:-1] - h[:-2, 1:-1]) / (2.0 * along)).ravel()
    all_longitude, all_latitude = (part.ravel() for part in np.meshgrid(longitude, latitude))
    up = up_vectors(all_longitude, all_latitude)
    lam = np.radians(all_longitude)
    east = np.column_stack((-np.sin(lam), np.cos(lam), np.zeros_like(lam)))
    north = np.cross(up, east)
    normals = up - east * slope_east[:, None] - north * slope_north[:, None]
    return np.asarray(normals / np.linalg.norm(normals, axis=1)[:, None])


def _octahedral_extension(normals: Positions) -> bytes:
    """Extension 1: each normal as two bytes on an octahedron unfolded to a square."""
    flat = normals / np.abs(normals).sum(axis=1)[:, None]
    x, y = flat[:, 0].copy(), flat[:, 1].copy()
    below = flat[:, 2] < 0.0
    folded_x = (1.0 - np.abs(y)) * np.where(x >= 0.0, 1.0, -1.0)
    folded_y = (1.0 - np.abs(x)) * np.where(y >= 0.0, 1.0, -1.0)
    x, y = np.where(below, folded_x, x), np.where(below, folded_y, y)
    coded = np.rint((np.column_stack((x, y)) * 0.5 + 0.5) * 255.0).astype(np.uint8)
    return _extension(NORMALS_EXTENSION, coded.tobytes())


def _metadata_extension(metadata: Mapping[str, Any]) -> bytes:
    """Extension 4: the length of a JSON text, and that text."""
    text = orjson.dumps(metadata)
    return _extension(METADATA_EXTENSION, struct.pack("<I", len(text)) + text)


def _extension(number: int, content: bytes) -> bytes:
    return struct.pack("<BI", number, len(content)) + content
