"""Where the points of a cloud lie, from the boxes of its nodes: density by cell, and gaps. No point is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from pointclouds.crs import horizontal_part

Array = npt.NDArray[Any]

_MOST_CELLS: Final = 256
_COVERED: Final = 0.01
_MOST_POLYGONS: Final = 2_000
_SPACINGS: Final = 4
"""Cells of so many spacings hold sixteen points on average: one in ten million is empty by chance."""


@dataclass(frozen=True)
class NodeBoxes:
    """All nodes with points of a cloud. low, high: (n, 3) true boxes; counts (n,); leaves (n,): no node lies below."""

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.bool_]


def node_boxes(nodes: npt.NDArray[np.void]) -> NodeBoxes:
    """The boxes of nodes (NODE_BOX of cloud.mosaic_table) that have points."""
    filled = nodes[nodes["count"] > 0]
    return NodeBoxes(filled["low"], filled["high"], filled["count"].astype(np.int64), filled["leaf"])


@dataclass(frozen=True)
class DensityGrid:
    """Cells of `size` CRS units from `corner` (x, y) on; `counts` and `coverage` (rows from the south, columns).

    `coverage` is the share of a cell over which leaves lie. The points of coarser nodes are shared out over what the leaves cover.
    """

    corner: tuple[float, float]
    size: float
    counts: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Cells with points."""
        return self.coverage >= _COVERED

    def densities(self) -> npt.NDArray[np.float64]:
        """Points per square CRS unit of each covered cell."""
        covered = self.covered
        return np.asarray(self.counts[covered] / (self.coverage[covered] * self.size**2))

    def gaps(self) -> tuple[float, list[shapely.Polygon], int]:
        """Share of empty cells inside the convex hull of the covered ones, their polygons (largest first), and their number."""
        # In whole numbers of cells, so that neighbours share their corners exactly.
        row, column = np.nonzero(self.covered)
        hull = shapely.convex_hull(shapely.union_all(shapely.box(column, row, column + 1, row + 1)))
        shapely.prepare(hull)
        row, column = np.nonzero(~self.covered)
        inside = shapely.contains_xy(hull, column + 0.5, row + 0.5)
        row, column = row[inside], column[inside]
        if not len(row):
            return 0.0, [], 0
        merged = shapely.union_all(shapely.box(column, row, column + 1, row + 1))
        placed = shapely.transform(merged, lambda cells: cells * self.size + self.corner)
        polygons = [part for part in shapely.get_parts(placed) if isinstance(part, shapely.Polygon)]
        polygons.sort(key=lambda one: -one.area)
        share = len(row) / (len(row) + int(self.covered.sum()))
        return share, polygons[:_MOST_POLYGONS], len(row)


class PointCounter:
    """Counts points into a grid whose cells are small enough to show gaps and large enough not to be empty by chance."""

    def __init__(self, box: Sequence[float], spacing: float) -> None:
        """`box` of all points (minx, miny, minz, maxx, maxy, maxz); `spacing` between them, CRS units."""
        self._corner = np.array(box[:2])
        extent = np.array(box[3:5]) - self._corner
        self._size = max(float(extent.max()) / _MOST_CELLS, _SPACINGS * spacing) or 1.0
        self._columns, self._rows = (int(number) + 1 for number in np.floor(extent / self._size))
        self._counts = np.zeros(self._rows * self._columns, np.int64)

    def add(self, places: npt.NDArray[np.float64]) -> None:
        """Coordinates (n, 3)."""
        cells = ((places[:, :2] - self._corner) / self._size).astype(np.int64)
        column, row = np.clip(cells[:, 0], 0, self._columns - 1), np.clip(cells[:, 1], 0, self._rows - 1)
        self._counts += np.bincount(row * self._columns + column, minlength=len(self._counts))

    def grid(self) -> DensityGrid:
        """What was counted."""
        counts = self._counts.reshape(self._rows, self._columns).astype(np.float64)
        corner = (float(self._corner[0]), float(self._corner[1]))
        return DensityGrid(corner, self._size, counts, (counts > 0).astype(np.float64))


def density_grid(nodes: NodeBoxes) -> DensityGrid:
    """Spread the nodes' counts over a grid whose cells are about as large as a leaf."""
    low, high = nodes.low[:, :2].min(axis=0), nodes.high[:, :2].max(axis=0)
    extent = float((high - low).max())
    widths = (nodes.high - nodes.low)[nodes.leaves, :2].max(axis=1)
    size = max(float(np.median(widths)), extent / _MOST_CELLS) or 1.0
    shape = np.floor((high - low) / size).astype(int)[::-1] + 1
    leaves = nodes.leaves
    coverage = np.zeros(int(shape.prod()))
    _, cell, share = _spread(nodes.low[leaves, :2], nodes.high[leaves, :2], low, size, shape)
    np.add.at(coverage, cell, share)
    coverage = np.minimum(coverage, 1.0)
    counts = np.zeros(len(coverage))
    node, cell, share = _spread(nodes.low[:, :2], nodes.high[:, :2], low, size, shape)
    weight = share * (coverage[cell] + 1e-9)
    total = np.bincount(node, weight, len(nodes.counts))
    np.add.at(counts, cell, nodes.counts[node] * weight / total[node])
    rows, columns = int(shape[0]), int(shape[1])
    return DensityGrid(
        (float(low[0]), float(low[1])), size, counts.reshape(rows, columns), coverage.reshape(rows, columns)
    )


def _spread(
    low: Array, high: Array, corner: Array, size: float, shape: Array
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Every pair of a box and a cell that it meets: the box's number, the cell's, and the share of the cell it covers."""
    last = shape[::-1] - 1
    first = np.clip(np.floor((low - corner) / size).astype(np.int64), 0, last)
    end = np.clip(np.floor((high - corner) / size).astype(np.int64), first, last)
    wide = end - first + 1
    pairs = wide.prod(axis=1)
    box = np.repeat(np.arange(len(low)), pairs)
    within = np.arange(len(box)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    column = first[box, 0] + within % wide[box, 0]
    row = first[box, 1] + within // wide[box, 0]
    share = np.ones(len(box))
    for axis, place in ((0, column), (1, row)):
        begin = corner[axis] + place * size
        covered = np.minimum(high[box, axis], begin + size) - np.maximum(low[box, axis], begin)
        # A box without width (one point, or a wall along an axis) still lies in its cell.
        least = np.where(high[box, axis] - low[box, axis] < 0.1 * size, 0.1, 1e-6)
        share *= np.clip(covered / size, least, 1.0)
    return box, row * int(shape[1]) + column, share


def polygons_in_crs84(polygons: Sequence[shapely.Polygon], crs: pyproj.CRS) -> dict[str, Any]:
    """A GeoJSON feature collection, coordinates to a centimetre."""
    transformer = pyproj.Transformer.from_crs(horizontal_part(crs), "OGC:CRS84", always_xy=True)
    unit = float(horizontal_part(crs).axis_info[0].unit_conversion_factor)
    features = []
    for number, polygon in enumerate(polygons):
        dense = shapely.segmentize(polygon, max(polygon.length / 64, 1e-6))
        moved = shapely.transform(
            dense, lambda places: np.round(np.column_stack(transformer.transform(*places.T)), 7)
        )
        features.append(
            {
                "type": "Feature",
                "id": number + 1,
                "geometry": shapely.geometry.mapping(moved),
                "properties": {"area_m2": round(polygon.area * unit**2, 1)},
            }
        )
    return {"type": "FeatureCollection", "features": features}
