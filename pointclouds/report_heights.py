"""Points that lie far above or below what surrounds them: guessed from the nodes' boxes, or counted by reading all points.

An area's usual heights are those between its 2nd and 98th percentile; what lies further from them than they span (at least 10 metres) is
an outlier. That finds birds, clouds and multipath under the ground, and leaves towers alone where an area holds buildings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud
from pointclouds.copc.reader import POSITIONS, CopcFile
from pointclouds.las.dimensions import coordinates
from pointclouds.las.layout import Records
from pointclouds.report_grid import NodeBoxes, PointCounter

_AREAS: Final = 32
_LEAST_METRES: Final = 10.0
_SAMPLE_POINTS: Final = 2_000_000
_LEAST_POINTS: Final = 50


@dataclass(frozen=True)
class HeightReport:
    """`lowest`, `highest` of all points and `usual` (2nd and 98th percentile), CRS units.

    `suspects`: nodes that reach beyond the usual heights of their surroundings. `low`, `high`: outliers, None unless points were read;
    so are `duplicates`: points of which another of the same node has the same coordinates.
    """

    lowest: float
    highest: float
    usual: tuple[float, float]
    suspects: int
    low: int | None = None
    high: int | None = None
    duplicates: int | None = None


def heights_of_nodes(nodes: NodeBoxes, unit: float) -> HeightReport:
    """From boxes alone: the leaves tell what is usual. `unit`: metres of a unit of z."""
    leaves = nodes.leaves
    weights = nodes.counts[leaves].astype(np.float64)
    low = _quantile(nodes.low[leaves, 2], weights, 0.02)
    high = _quantile(nodes.high[leaves, 2], weights, 0.98)
    reach = max(high - low, _LEAST_METRES / unit)
    beyond = (nodes.low[:, 2] < low - reach) | (nodes.high[:, 2] > high + reach)
    return HeightReport(
        float(nodes.low[:, 2].min()), float(nodes.high[:, 2].max()), (low, high), int(beyond.sum())
    )


def _quantile(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], part: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(below, part * below[-1])), len(values) - 1)])


def heights_of_points(cloud: Cloud, nodes: NodeBoxes, unit: float, counter: PointCounter) -> HeightReport:
    """Read every point: what is usual in each of 32 by 32 areas from the coarse nodes, then the outliers of all nodes.

    `counter` sees the points too.
    """
    areas = _Areas(cloud, unit)
    low = high = duplicates = 0
    for tile in cloud.tiles:
        file = cloud.file(tile)
        for entry in file.entries:
            if entry["point_count"] <= 0:
                continue
            records = file.read_node(entry, POSITIONS)
            places = coordinates(records, cloud.scale, cloud.offset)
            counter.add(places)
            below, above = areas.outliers(places)
            low, high = low + below, high + above
            duplicates += _repeated(records)
    base = heights_of_nodes(nodes, unit)
    return HeightReport(base.lowest, base.highest, areas.usual, base.suspects, low, high, duplicates)


def _repeated(records: Records) -> int:
    packed = np.empty((len(records), 3), np.int32)
    for axis, name in enumerate("XYZ"):
        packed[:, axis] = records[name]
    rows: Any = packed.view(np.dtype((np.void, 12)))[:, 0]
    return len(records) - len(np.unique(rows))


class _Areas:
    """The usual heights of each area, from a sample that thins evenly: the coarsest nodes."""

    def __init__(self, cloud: Cloud, unit: float) -> None:
        box = cloud.box
        self._corner = np.array(box[:2])
        self._size = max(box[3] - box[0], box[4] - box[1], 1e-9) / _AREAS
        sample = np.concatenate(
            [_coarse(cloud.file(tile), cloud, _SAMPLE_POINTS // len(cloud.tiles)) for tile in cloud.tiles]
        )
        z = sample[:, 2]
        self.usual = (float(np.quantile(z, 0.02)), float(np.quantile(z, 0.98)))
        least = _LEAST_METRES / unit
        reach = max(self.usual[1] - self.usual[0], least)
        self._floor = np.full(_AREAS**2, self.usual[0] - reach)
        self._ceiling = np.full(_AREAS**2, self.usual[1] + reach)
        area = self._area(sample)
        order = np.lexsort((z, area))
        numbers, first, counts = np.unique(area[order], return_index=True, return_counts=True)
        heights = z[order]
        for number, start, count in zip(numbers, first, counts, strict=True):
            if count >= _LEAST_POINTS:
                ends = np.quantile(heights[start : start + count], (0.02, 0.98))
                reach = max(float(ends[1] - ends[0]), least)
                self._floor[number], self._ceiling[number] = ends[0] - reach, ends[1] + reach

    def _area(self, places: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        cells = np.clip(((places[:, :2] - self._corner) / self._size).astype(np.int64), 0, _AREAS - 1)
        return np.asarray(cells[:, 1] * _AREAS + cells[:, 0])

    def outliers(self, places: npt.NDArray[np.float64]) -> tuple[int, int]:
        """How many points lie far below and far above their area's usual heights."""
        area = self._area(places)
        z = places[:, 2]
        return int((z < self._floor[area]).sum()), int((z > self._ceiling[area]).sum())


def _coarse(file: CopcFile, cloud: Cloud, most: int) -> npt.NDArray[np.float64]:
    """Coordinates of the coarsest nodes, whole nodes, the first in any case."""
    found: list[npt.NDArray[np.float64]] = []
    count = 0
    for entry in file.entries:
        points = int(entry["point_count"])
        if points <= 0 or (found and count + points > most):
            continue
        found.append(coordinates(file.read_node(entry, POSITIONS), cloud.scale, cloud.offset))
        count += points
    return np.concatenate(found)
