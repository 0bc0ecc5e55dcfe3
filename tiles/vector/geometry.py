"""Geometries of a vector tile layer: clipping, simplification and tile coordinates of shapely geometries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.vector.message import Commands
from tiles.vector.paths import (
    FULL,
    Cells,
    Detail,
    Flags,
    Indexes,
    joined,
    line_commands,
    point_commands,
    ring_commands,
)

type Geometries = NDArray[Any]

_COLLECTION_TYPES = (4, 5, 6, 7)
_FEW_VERTICES = 32  # a geometry of fewer is not worth a simplification
_SNAP = 1e-9  # of the width of the box: some millionths of a cell


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

    def cell(self) -> float:
        """Width of a cell in the CRS of the geometries."""
        return (self.bounds[2] - self.bounds[0]) / self.extent

    def cells(self, coordinates: NDArray[np.float64]) -> Cells:
        """Tile coordinates of an (n, 2) array: x to the right, y down, rounded to whole cells."""
        minx, miny, maxx, maxy = self.bounds
        scaled = (coordinates - (minx, maxy)) * (self.extent / (maxx - minx), -self.extent / (maxy - miny))
        return np.rint(scaled).astype(np.int32)


def encode_geometries(
    geometries: Geometries, frame: TileFrame, tolerance: float = 0.0, detail: Detail = FULL
) -> Commands:
    """Clip, simplify, bring into tile coordinates and encode. Features of which nothing is left do not appear.

    `tolerance` (cells) is how far a simplified outline may leave the true one, 0 for every vertex.
    """
    dimensions = shapely.get_dimensions(geometries)
    clipped, owners = _clip(geometries, frame.clip_box())
    if tolerance:
        clipped = _simplified(clipped, frame.cell() * tolerance)
    parts, owners = _parts(clipped, owners)
    # A tile feature has one type: of a mixed collection the parts of the highest dimension are drawn. Clipping may leave
    # a line of a polygon that only touches the tile: nothing to draw either.
    kept = shapely.get_dimensions(parts) == dimensions[owners]
    encoded = []
    for dimension, encode in ((0, _encode_points), (1, _encode_lines)):
        chosen = kept & (dimensions[owners] == dimension)
        if chosen.any():
            encoded.append(encode(parts[chosen], owners[chosen], frame))
    chosen = kept & (dimensions[owners] == 2)
    if chosen.any():
        encoded.append(_encode_polygons(parts[chosen], owners[chosen], frame, detail))
    return joined(encoded)


def _simplified(geometries: Geometries, tolerance: float) -> Geometries:
    """Geometries of many vertices with fewer (Douglas-Peucker; rings stay rings and do not come to cross themselves)."""
    many = shapely.get_num_coordinates(geometries) > _FEW_VERTICES
    if many.any():
        geometries = geometries.copy()
        geometries[many] = shapely.simplify(geometries[many], tolerance, preserve_topology=True)
    return geometries


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
        clipped[crosses] = _cut(clipped[crosses], box)
        left = ~shapely.is_empty(clipped)
        clipped, owners = clipped[left], owners[left]
    return clipped, owners


def _cut(geometries: Geometries, box: tuple[float, float, float, float]) -> Geometries:
    """What of each lies in the box."""
    try:
        return np.asarray(shapely.clip_by_rect(geometries, *box), dtype=object)
    except shapely.GEOSException:
        # Vertices so near each other that the cut makes them one leave a ring of three.
        snapped = shapely.set_precision(geometries, (box[2] - box[0]) * _SNAP)
        return np.asarray(shapely.clip_by_rect(snapped, *box), dtype=object)


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
    return point_commands(frame.cells(shapely.get_coordinates(parts)), owners)


def _encode_lines(parts: Geometries, owners: Indexes, frame: TileFrame) -> Commands:
    coordinates, line = shapely.get_coordinates(parts, return_index=True)
    return line_commands(frame.cells(coordinates), line, owners)


def _encode_polygons(parts: Geometries, owners: Indexes, frame: TileFrame, detail: Detail) -> Commands:
    rings, polygon = shapely.get_rings(parts, return_index=True)
    holes = np.zeros(len(rings), dtype=np.bool_)
    holes[1:] = polygon[1:] == polygon[:-1]
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    return ring_commands(frame.cells(coordinates), ring, holes, owners[polygon], detail)
