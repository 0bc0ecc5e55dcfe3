"""Geometries of a vector tile layer: clipping, tile coordinates, and drawing commands.

Vector Tile Specification 2.1 clause 4.3. Everything works on one flat array of vertices with the number of the line or
ring each belongs to; no Python code runs per feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.vector.varint import Counts, Numbers, zigzag

type Geometries = NDArray[Any]
type Indexes = NDArray[np.intp]
type Flags = NDArray[np.bool_]

POINT, LINESTRING, POLYGON = 1, 2, 3
_MOVE_TO, _LINE_TO, _CLOSE_PATH = 1, 2, 15
_COLLECTION_TYPES = (4, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Commands:
    """Drawing commands of several features.

    `features` are rising indexes into the geometries that were given; `types` their tile geometry type; `counts[i]` numbers of `numbers` belong to features[i].
    """

    features: Indexes
    types: NDArray[np.int64]
    numbers: Numbers
    counts: Counts


@dataclass(frozen=True, slots=True)
class TileFrame:
    """The tile: its box in the CRS of the geometries, the number of cells of its edge, the margin kept around it in cells."""

    bounds: tuple[float, float, float, float]
    extent: int
    buffer: int

    def clip_box(self) -> tuple[float, float, float, float]:
        """The box with its margin, in the CRS of the geometries."""
        minx, miny, maxx, maxy = self.bounds
        dx = (maxx - minx) * self.buffer / self.extent
        dy = (maxy - miny) * self.buffer / self.extent
        return minx - dx, miny - dy, maxx + dx, maxy + dy

    def cells(self, coordinates: NDArray[np.float64]) -> NDArray[np.int64]:
        """Tile coordinates of an (n, 2) array: x to the right, y down, rounded to whole cells."""
        minx, miny, maxx, maxy = self.bounds
        scaled = (coordinates - (minx, maxy)) * (self.extent / (maxx - minx), -self.extent / (maxy - miny))
        return np.rint(scaled).astype(np.int64)


def encode_geometries(geometries: Geometries, frame: TileFrame) -> Commands:
    """Clip, bring into tile coordinates and encode. Features of which nothing is left do not appear."""
    parts, owners = _parts(*_clip(geometries, frame.clip_box()))
    dimensions = shapely.get_dimensions(parts)
    highest = np.full(len(geometries), -1, dtype=dimensions.dtype)
    np.maximum.at(highest, owners, dimensions)
    # A tile feature has one type: of a mixed collection the parts of the highest dimension are drawn.
    kept = dimensions == highest[owners]
    encoded = []
    for dimension, encode in ((0, _encode_points), (1, _encode_lines), (2, _encode_polygons)):
        chosen = kept & (dimensions == dimension)
        if chosen.any():
            encoded.append(encode(parts[chosen], owners[chosen], frame))
    if len(encoded) == 1:
        return encoded[0]
    return _joined(encoded)


def _joined(encoded: list[Commands]) -> Commands:
    """Commands of several geometry types in one, in the order of the features."""
    if not encoded:
        empty = np.empty(0, np.int64)
        return Commands(empty, empty, np.empty(0, np.uint64), empty)
    features = np.concatenate([commands.features for commands in encoded])
    types = np.concatenate([commands.types for commands in encoded])
    counts = np.concatenate([commands.counts for commands in encoded])
    numbers = np.concatenate([commands.numbers for commands in encoded])
    order = np.argsort(features)
    return Commands(
        features[order],
        types[order],
        numbers[spread((np.cumsum(counts) - counts)[order], counts[order])],
        counts[order],
    )


def spread(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions start, start + 1, ... of consecutive groups of `counts` entries each."""
    group_ends = np.cumsum(counts)
    positions: NDArray[np.int64] = np.arange(int(group_ends[-1]))
    positions += np.repeat(starts - (group_ends - counts), counts)
    return positions


def _clip(geometries: Geometries, box: tuple[float, float, float, float]) -> tuple[Geometries, Indexes]:
    """What lies in the box, and the index of the geometry it comes from. Missing, empty and non-finite ones fall out."""
    bounds = shapely.bounds(geometries)
    minx, miny, maxx, maxy = box
    touches = (
        (bounds[:, 0] <= maxx) & (bounds[:, 2] >= minx) & (bounds[:, 1] <= maxy) & (bounds[:, 3] >= miny)
    )
    owners = np.flatnonzero(touches)
    clipped, bounds = geometries[owners], bounds[owners]
    finite = _finite(clipped)
    if not finite.all():
        owners, clipped, bounds = owners[finite], clipped[finite], bounds[finite]
    crosses = (bounds[:, 0] < minx) | (bounds[:, 2] > maxx) | (bounds[:, 1] < miny) | (bounds[:, 3] > maxy)
    if crosses.any():
        # GEOS's rectangle clipping trusts its input: a self-crossing ring gives a wrong shape, never an error.
        clipped = clipped.copy()
        clipped[crosses] = shapely.clip_by_rect(clipped[crosses], minx, miny, maxx, maxy)
        left = ~shapely.is_empty(clipped)
        clipped, owners = clipped[left], owners[left]
    return clipped, owners


def _finite(geometries: Geometries) -> Flags:
    """True for geometries of which every coordinate is a number."""
    coordinates, of = shapely.get_coordinates(geometries, return_index=True)
    finite = np.ones(len(geometries), dtype=np.bool_)
    # One sum is cheaper than a look at each number, and is finite only where all are (or overflows, and is looked at).
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(coordinates.sum()):
            finite[of[~np.isfinite(coordinates).all(axis=1)]] = False
    return finite


def _parts(geometries: Geometries, owners: Indexes) -> tuple[Geometries, Indexes]:
    """Single points, lines and polygons, with the index of their feature."""
    while np.isin(shapely.get_type_id(geometries), _COLLECTION_TYPES).any():
        geometries, source = shapely.get_parts(geometries, return_index=True)
        owners = owners[source]
    return geometries, owners


def _encode_points(parts: Geometries, owners: Indexes, frame: TileFrame) -> Commands:
    coordinates, of_part = shapely.get_coordinates(parts, return_index=True)
    cells = frame.cells(coordinates)
    features, first, lengths = _runs(owners[of_part])
    counts = 1 + 2 * lengths
    numbers = np.empty(int(counts.sum()), dtype=np.uint64)
    heads = np.cumsum(counts) - counts
    numbers[heads] = (lengths.astype(np.uint64) << np.uint64(3)) | np.uint64(_MOVE_TO)
    body = np.ones(numbers.size, dtype=np.bool_)
    body[heads] = False
    numbers[body] = _deltas(cells, first).reshape(-1)
    return Commands(features, np.full(features.size, POINT), numbers, counts)


def _encode_lines(parts: Geometries, owners: Indexes, frame: TileFrame) -> Commands:
    coordinates, line = shapely.get_coordinates(parts, return_index=True)
    cells = frame.cells(coordinates)
    kept = _without_repeats(cells, line)
    cells, line = cells[kept], line[kept]
    long_enough = np.bincount(line, minlength=len(parts)) >= 2
    kept = long_enough[line]
    return _paths(cells[kept], line[kept], owners, LINESTRING)


def _encode_polygons(parts: Geometries, owners: Indexes, frame: TileFrame) -> Commands:
    rings, polygon = shapely.get_rings(parts, return_index=True)
    exterior = np.ones(len(rings), dtype=np.bool_)
    exterior[1:] = polygon[1:] != polygon[:-1]
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    cells = frame.cells(coordinates)
    kept = _without_repeats(cells, ring)
    cells, ring = cells[kept], ring[kept]
    # The closing vertex of a ring is said by ClosePath.
    closing = np.ones(ring.size, dtype=np.bool_)
    closing[:-1] = ring[1:] != ring[:-1]
    cells, ring = cells[~closing], ring[~closing]
    areas = _signed_areas(cells, ring, len(rings))
    solid = areas != 0
    # A hole needs its polygon.
    solid &= solid[exterior][polygon]
    kept = solid[ring]
    cells, ring = cells[kept], ring[kept]
    cells = _turned(cells, ring, (areas > 0) != exterior)
    return _paths(cells, ring, owners[polygon], POLYGON)


def _without_repeats(cells: NDArray[np.int64], path: Indexes) -> Flags:
    """True where a vertex differs from the one before it on the same path."""
    kept = np.ones(path.size, dtype=np.bool_)
    x, y = cells[:, 0], cells[:, 1]
    kept[1:] = (path[1:] != path[:-1]) | (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    return kept


def _signed_areas(cells: NDArray[np.int64], ring: Indexes, count: int) -> NDArray[np.int64]:
    """Twice the area of each ring, positive where it runs clockwise on the screen (y down); 0 for rings without vertices."""
    areas = np.zeros(count, dtype=np.int64)
    if ring.size == 0:
        return areas
    present, first, lengths = _runs(ring)
    following = np.arange(1, ring.size + 1)
    following[first + lengths - 1] = first
    after = cells[following]
    areas[present] = np.add.reduceat(cells[:, 0] * after[:, 1] - after[:, 0] * cells[:, 1], first)
    return areas


def _turned(cells: NDArray[np.int64], ring: Indexes, wrong: Flags) -> NDArray[np.int64]:
    """The vertices, with the rings flagged in `wrong` (one flag a ring) run through backwards."""
    if ring.size == 0:
        return cells
    present, first, lengths = _runs(ring)
    turn = np.repeat(wrong[present], lengths)
    mirrored = np.repeat(2 * first + lengths - 1, lengths)
    positions = np.arange(ring.size)
    return cells[np.where(turn, mirrored - positions, positions)]


def _paths(cells: NDArray[np.int64], path: Indexes, owners: Indexes, kind: int) -> Commands:
    """MoveTo, LineTo and (for polygons) ClosePath of paths of at least two vertices; `owners` has one entry a path."""
    if path.size == 0:
        return _joined([])
    present, first, lengths = _runs(path)
    closed = kind == POLYGON
    sizes = 2 * lengths + (3 if closed else 2)
    heads = np.cumsum(sizes) - sizes
    numbers = np.empty(int(sizes.sum()), dtype=np.uint64)
    body = np.ones(numbers.size, dtype=np.bool_)
    numbers[heads] = 1 << 3 | _MOVE_TO
    numbers[heads + 3] = (lengths - 1) << 3 | _LINE_TO
    body[heads] = body[heads + 3] = False
    if closed:
        numbers[heads + sizes - 1] = _CLOSE_PATH
        body[heads + sizes - 1] = False
    features, first_path, _ = _runs(owners[present])
    numbers[body] = _deltas(cells, first[first_path]).reshape(-1)
    return Commands(features, np.full(features.size, kind), numbers, np.add.reduceat(sizes, first_path))


def _deltas(cells: NDArray[np.int64], first: Indexes) -> Numbers:
    """Zigzag steps from vertex to vertex; the cursor stands at 0,0 before each feature (`first`: its first vertex)."""
    steps = np.empty_like(cells)
    steps[1:] = cells[1:] - cells[:-1]
    steps[first] = cells[first]
    return zigzag(steps)


def _runs(values: Indexes) -> tuple[Indexes, Indexes, NDArray[np.int64]]:
    """(value, first position, length) of each run of equal neighbours."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(np.concatenate([starts, [values.size]]))
    return values[starts], starts, lengths
