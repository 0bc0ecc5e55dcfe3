"""Counts and statistics of points, from the nodes' own statistics as far as these suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.nodes import CLASSES, RETURNS, NodeStatistics, NodeTable
from pointclouds.cloud.query import Plan, PlanReader, PointQuery, plan

_FEW: Final = 8
"""Tiles whose own tables are added up one by one."""
_COUNTED: Final = {"Classification": CLASSES, "ReturnNumber": RETURNS}


class Counted(NamedTuple):
    """How many points match; `exact` is False where reading stopped and the rest was estimated; `read`: points that were decoded."""

    points: int
    exact: bool
    read: int


@dataclass(frozen=True)
class DimensionStatistics:
    """Natural values. `deviation` is the standard deviation of all values (not of a sample)."""

    lowest: float
    highest: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class PointStatistics:
    """What the points of an answer are like. `classes`: code -> points; `returns`: return number -> points; both without zeros.
    `dimensions`: those of one number, X, Y and Z first; empty without points. `read`: points that were decoded for it."""

    count: int
    classes: Mapping[int, int]
    returns: Mapping[int, int]
    dimensions: Mapping[str, DimensionStatistics]
    read: int
    exact: bool = True


def count(
    cloud: Cloud, query: PointQuery, most_read: int | None = None, source: Plan | None = None
) -> Counted:
    """How many points match. `max_points` of the query is a ceiling of the count.

    Args:
        most_read: decode no more points than this; the other nodes that are cut count half.
        source: the plan of the query, where it is known.

    Raises:
        as `plan` does.
    """
    if query.is_everything:
        return Counted(cloud.count, True, 0)
    source = plan(cloud, query) if source is None else source
    total = int(source.counts[source.whole].sum())
    reader, read, exact = PlanReader(source), 0, True
    for index, known in _cut(source):
        size = int(source.counts[index])
        if known is not None:
            total += known
        elif most_read is not None and read + size > most_read:
            total, exact = total + size // 2, False
        else:
            total, read = total + reader.count(index), read + size
    if query.max_points is not None:
        total = min(total, query.max_points)
    return Counted(total, exact, read)


def _cut(source: Plan) -> list[tuple[int, int | None]]:
    """The nodes that are not whole, with their count where the statistics tell it: a filter of classes or of returns alone."""
    cut = np.flatnonzero(~source.whole)
    asked = source.query.filter
    if asked is None or len(asked.fields) != 1 or (name := next(iter(asked.fields))) not in _COUNTED:
        return [(int(index), None) for index in cut]
    found: list[tuple[int, int | None]] = []
    for place in np.unique(source.tile[cut]):
        table = source.cloud.nodes(source.tiles[place])
        codes, counts = _columns(table, name)
        matching = asked.mask({name: codes})
        for index in cut[source.tile[cut] == place]:
            known = int(counts[source.row[index]][matching].sum()) if source.inside[index] else None
            found.append((int(index), known))
    return found


def _columns(table: NodeTable, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    if name == "Classification":
        return np.array(table.classes, np.uint8), table.class_counts
    return np.arange(RETURNS, dtype=np.uint8), table.return_counts


@dataclass
class _Sums:
    names: tuple[str, ...]
    count: int = 0
    classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(CLASSES, np.int64))
    returns: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(RETURNS, np.int64))

    def __post_init__(self) -> None:
        number = len(self.names)
        self.lowest, self.highest = np.full(number, np.inf), np.full(number, -np.inf)
        self.sums, self.squares = np.zeros(number), np.zeros(number)

    def add_nodes(self, table: NodeTable, rows: npt.NDArray[np.int64]) -> None:
        self.count += int(table.entries["point_count"][rows].sum(dtype=np.int64))
        self.classes[list(table.classes)] += table.class_counts[rows].sum(axis=0, dtype=np.int64)
        self.returns += table.return_counts[rows].sum(axis=0, dtype=np.int64)
        columns = [table.column(name) for name in self.names]
        self.lowest = np.fmin(self.lowest, np.fmin.reduce(table.lowest[rows][:, columns], axis=0))
        self.highest = np.fmax(self.highest, np.fmax.reduce(table.highest[rows][:, columns], axis=0))
        self.sums += table.sums[rows][:, columns].sum(axis=0)
        self.squares += table.squares[rows][:, columns].sum(axis=0)

    def add_points(
        self, number: int, row: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], npt.NDArray[np.float64]]
    ) -> None:
        classes, returns, spans = row
        self.count += number
        self.classes += classes
        self.returns += returns
        self.lowest, self.highest = np.fmin(self.lowest, spans[0]), np.fmax(self.highest, spans[1])
        self.sums += spans[2]
        self.squares += spans[3]

    def result(self, read: int) -> PointStatistics:
        dimensions = {}
        for place, name in enumerate(self.names if self.count else ()):
            mean = float(self.sums[place]) / self.count
            variance = max(float(self.squares[place]) / self.count - mean * mean, 0.0)
            low, high = float(self.lowest[place]), float(self.highest[place])
            if np.isfinite((low, high)).all():
                # Sums of squares of large numbers lose digits; equal values have no deviation, none exceeds half the span.
                deviation = min(variance**0.5, (high - low) / 2)
                dimensions[name] = DimensionStatistics(low, high, min(max(mean, low), high), deviation)
        return PointStatistics(
            self.count,
            {int(code): int(self.classes[code]) for code in np.flatnonzero(self.classes)},
            {int(number): int(self.returns[number]) for number in np.flatnonzero(self.returns)},
            dimensions,
            read,
        )


def statistics(cloud: Cloud, query: PointQuery) -> PointStatistics:
    """Counts, classes, returns and spans of the points that match; `query.dimensions` says of which dimensions, None for all.
    `max_points` is not looked at.

    Raises:
        as `plan` does.
    """
    numbers = [one for one in cloud.dimensions if one.members == 1]
    if query.dimensions is not None:
        numbers = [one for one in numbers if one.name in query.dimensions]
    names = tuple(one.name for one in numbers)
    fields = tuple({*names, "Classification", "ReturnNumber"})
    source = plan(cloud, replace(query, dimensions=fields, max_points=None))
    sums, reader, rows_of, read = _Sums(names), PlanReader(source), NodeStatistics(numbers), 0
    for place, rows in _add_held(source, sums):
        sums.add_nodes(cloud.nodes(source.tiles[place]), rows)
    for index in np.flatnonzero(~source.whole):
        read += int(source.counts[index])
        batch = reader.batch(int(index))
        if batch is not None:
            sums.add_points(batch.count, rows_of.row(batch.records))
    return sums.result(read)


def _add_held(source: Plan, sums: _Sums) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Add the tiles of which every point is part of the answer, by what is kept of all tiles; yields the nodes (by row of their tile's
    table) that are whole in the others."""
    cloud = source.cloud
    rows = np.flatnonzero(source.whole)
    if not len(rows):
        return
    rows = rows[np.argsort(source.tile[rows], kind="stable")]
    places, first = np.unique(source.tile[rows], return_index=True)
    held = np.zeros(len(places), bool)
    table = cloud.table if len(places) > _FEW and not source.from_overview else None
    if table is not None:
        numbers = np.array([cloud.number(source.tiles[place]) for place in places])
        points = np.add.reduceat(source.counts[rows], first)
        held = points == table.tiles.entries["point_count"][numbers]
        if held.any():
            sums.add_nodes(table.tiles, numbers[held])
    ends = (*first[1:], len(rows))
    for place, start, end, known in zip(places, first, ends, held, strict=True):
        if not known:
            yield int(place), source.row[rows[start:end]]
