"""Another class for the points inside a polygon: only the nodes that meet it are decoded, only those that change encoded again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from pointclouds.cloud.nodes import NodeTable
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import QueryError
from pointclouds.las.layout import Records
from pointclouds.mosaic.rewriting import Told, rewrite_copc, say_nothing

HIGHEST_CLASS: Final = 255
MOST_VERTICES: Final = 100_000
_POLYGONS: Final = frozenset({"Polygon", "MultiPolygon"})


class GroundHeights(Protocol):
    """The height of the ground at places, for heights above it."""

    def heights(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Ground heights (n,) in units of z at x, y (n,) in the cloud's CRS; NaN where nothing is known."""
        ...


@dataclass(frozen=True)
class Reclassification:
    """What is to get which class.

    area: polygon or multipolygon in the cloud's CRS, holes left out, its border included. to: the new class (LAS 1.4 R15, table 17).
    from_classes: only points of these; None: of any. heights: lowest and highest z, both included, CRS units, infinite where open; with
    `ground` they are heights above it, and points under which it is not known stay as they are.
    """

    area: BaseGeometry
    to: int
    from_classes: frozenset[int] | None = None
    heights: tuple[float, float] | None = None
    ground: GroundHeights | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises QueryError for what makes no sense."""
        for code in (self.to, *(self.from_classes or ())):
            if not 0 <= code <= HIGHEST_CLASS:
                raise QueryError(
                    f"{code} is no class of points; allowed: whole numbers from 0 to {HIGHEST_CLASS}"
                )
        if self.from_classes is not None and not self.from_classes - {self.to}:
            raise QueryError(
                f"the points already are of class {self.to}; name other classes to change, or none for all"
            )
        if self.area.geom_type not in _POLYGONS or self.area.is_empty:
            raise QueryError(f"the area is {_described(self.area)}; allowed: a polygon or multipolygon")
        if not np.isfinite(self.area.bounds).all():
            raise QueryError(
                "the area has a corner that is no finite number; give its coordinates in the CRS that you name"
            )
        if not self.area.is_valid:
            raise QueryError(f"the area is no valid polygon: {shapely.is_valid_reason(self.area)}; mend it")
        if shapely.get_num_coordinates(self.area) > MOST_VERTICES:
            raise QueryError(
                f"the area has more than {MOST_VERTICES:,} corners; simplify it, or change it in parts"
            )
        self._check_heights()

    def _check_heights(self) -> None:
        if self.heights is None:
            if self.ground is not None:
                raise QueryError("heights above ground need a lowest or a highest height")
            return
        low, high = self.heights
        if np.isnan(low) or np.isnan(high) or low > high:
            raise QueryError(f"the heights {low:g} to {high:g} are no range; give the lower one first")


def _described(area: BaseGeometry) -> str:
    return f"an empty {area.geom_type}" if area.is_empty else f"a {area.geom_type}"


@dataclass(frozen=True)
class Reclassified:
    """What a reclassification did to one file: points changed by their class before, nodes written anew, points decoded."""

    changed: dict[int, int]
    nodes: int
    points_read: int

    @property
    def count(self) -> int:
        """Points changed."""
        return sum(self.changed.values())


NOTHING: Final = Reclassified({}, 0, 0)


def nodes_met(table: NodeTable, change: Reclassification) -> npt.NDArray[np.int64]:
    """Numbers of the nodes in which a point may change: box, heights and classes of the table suffice to leave out the others."""
    low, high = table.lowest[:, :3], table.highest[:, :3]
    minx, miny, maxx, maxy = change.area.bounds
    candidate = table.entries["point_count"] > 0
    candidate &= (low[:, 0] <= maxx) & (high[:, 0] >= minx) & (low[:, 1] <= maxy) & (high[:, 1] >= miny)
    if change.heights is not None and change.ground is None:
        candidate &= (low[:, 2] <= change.heights[1]) & (high[:, 2] >= change.heights[0])
    columns = [index for index, code in enumerate(table.classes) if _is_from(change, code)]
    candidate &= (np.asarray(table.class_counts)[:, columns] > 0).any(axis=1)
    numbers = np.flatnonzero(candidate)
    shapely.prepare(change.area)
    boxes = shapely.box(low[numbers, 0], low[numbers, 1], high[numbers, 0], high[numbers, 1])
    met: npt.NDArray[np.int64] = numbers[shapely.intersects(change.area, boxes)]
    return met


def _is_from(change: Reclassification, code: int) -> bool:
    return code != change.to and (change.from_classes is None or code in change.from_classes)


def points_met(tables: Iterable[NodeTable], change: Reclassification) -> int:
    """How many points have to be decoded: those of all nodes met."""
    return sum(
        int(table.entries["point_count"][nodes_met(table, change)].sum(dtype=np.int64)) for table in tables
    )


def reclassify_copc(
    copc: CopcFile, table: NodeTable, out: Path, change: Reclassification, told: Told = say_nothing
) -> Reclassified:
    """Write `out`, and the table of its nodes, with the classes changed; nothing is written where no point changes.

    Raises as rewrite_copc does.
    """
    numbers = nodes_met(table, change)
    if not len(numbers):
        return NOTHING
    editor = _Editor(copc, change)
    rewrite_copc(copc, table, out, [int(number) for number in numbers], editor, told)
    return Reclassified(
        {int(code): int(count) for code, count in enumerate(editor.changed) if count},
        editor.nodes,
        int(table.entries["point_count"][numbers].sum(dtype=np.int64)),
    )


class _Editor:
    """Changes the classes of the points of one node after the other, and counts."""

    def __init__(self, copc: CopcFile, change: Reclassification) -> None:
        self._change = change
        self._scale, self._offset = copc.header.scale, copc.header.offset
        codes = range(HIGHEST_CLASS + 1)
        self._from = np.array([_is_from(change, code) for code in codes])
        self.changed = np.zeros(HIGHEST_CLASS + 1, np.int64)
        self.nodes = 0

    def __call__(self, records: Records) -> Records | None:
        chosen = self._chosen(records)
        if not len(chosen):
            return None
        self.changed += np.bincount(records["Classification"][chosen], minlength=HIGHEST_CLASS + 1)
        self.nodes += 1
        records["Classification"][chosen] = self._change.to
        return records

    def _axis(self, records: Records, axis: int) -> npt.NDArray[np.float64]:
        values: npt.NDArray[np.float64] = records["XYZ"[axis]] * self._scale[axis] + self._offset[axis]
        return values

    def _chosen(self, records: Records) -> npt.NDArray[np.int64]:
        """Indices of the points to change; the cheap conditions first."""
        change = self._change
        x, y = self._axis(records, 0), self._axis(records, 1)
        minx, miny, maxx, maxy = change.area.bounds
        wanted = self._from[records["Classification"]] & (x >= minx) & (x <= maxx) & (y >= miny) & (y <= maxy)
        if change.heights is not None and change.ground is None:
            z = self._axis(records, 2)
            wanted &= (z >= change.heights[0]) & (z <= change.heights[1])
        found = np.flatnonzero(wanted)
        found = found[shapely.intersects_xy(change.area, x[found], y[found])]
        if change.heights is None or change.ground is None or not len(found):
            return found
        above = self._axis(records[found], 2) - change.ground.heights(x[found], y[found])
        # NaN, where the ground is not known, is in no range.
        return found[(above >= change.heights[0]) & (above <= change.heights[1])]
