"""Questions to a cloud: which nodes can hold the answer, and the points of it, coarse nodes first.

    PointQuery ──> plan: nodes by their statistics, those wholly inside marked ──> read: batches of records, node by node

No node is decoded that cannot match, no field that is not needed, and a node that lies wholly inside needs no decoding at all where
its chunk can be copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely

from pointclouds.cloud.cloud import Cloud, CloudTile
from pointclouds.cloud.node_cache import NODE_CACHE
from pointclouds.cloud.node_choice import (
    ROUNDING,
    Integers,
    Plan,
    boxes_and_area,
    effective_box,
    finest_level,
    plan_tiles,
)
from pointclouds.cloud.question import Mask, PointFilter, PointQuery
from pointclouds.copc.reader import EVERYTHING, CopcFile, selection_of
from pointclouds.las.dimensions import Dimension
from pointclouds.las.layout import Records

__all__ = [
    "Batch",
    "Mask",
    "Plan",
    "PlanReader",
    "PointFilter",
    "PointQuery",
    "boxes_and_area",
    "count_matching",
    "finest_level",
    "plan",
    "plan_tile",
    "read",
    "read_plan",
]


def plan(cloud: Cloud, query: PointQuery) -> Plan:
    """Choose nodes by their statistics; reads no point, except from an overview to see if it suffices for a budget.

    Raises:
        QueryError: see PointQuery.check.
        UnreadablePointCloudError, InvalidCopcError: a bad file.
    """
    query.check(cloud)
    overview = cloud.overview
    bounded = query.resolution is not None or query.max_points is not None
    if overview is not None and bounded and query.tiles is None:
        coarse = plan_tiles(cloud, query, [overview], from_overview=True)
        if _is_coarse(cloud.file(overview), query.resolution):
            return coarse
        most = query.max_points
        if most is not None and coarse.points >= most and count_matching(coarse, enough=most) >= most:
            return coarse
    low, high = effective_box(query)
    found = cloud.meeting(low, high)
    if query.tiles is not None:
        found = [tile for tile in found if tile.name in query.tiles]
    return plan_tiles(cloud, query, found)


def plan_tile(cloud: Cloud, query: PointQuery, name: str) -> Plan:
    """The plan of one tile, or of the overview, whatever `query.tiles` says; without a node where there is no such tile."""
    query.check(cloud)
    tile = cloud.tile(name)
    return plan_tiles(cloud, query, [] if tile is None else [tile])


def _is_coarse(file: CopcFile, resolution: float | None) -> bool:
    """Whether a resolution is no finer than the finest level of an overview."""
    if resolution is None:
        return False
    finest = file.info.spacing / 2.0 ** int(file.entries["level"].max())
    return resolution >= finest * (1 - ROUNDING)


class Batch:
    """The points of an answer that lie in one node.

    `whole`: they are all points of the node, so that its chunk can be copied; `records` is decoded when it is looked at.
    """

    def __init__(
        self, reader: PlanReader, index: int, records: Records | None = None, numbers: Integers | None = None
    ) -> None:
        self._reader, self._index = reader, index
        self._records, self._numbers = records, numbers

    @property
    def index(self) -> int:
        """Of the node in the plan."""
        return self._index

    @property
    def tile(self) -> CloudTile:
        """The tile (or overview) of the node."""
        source = self._reader.plan
        return source.tiles[int(source.tile[self._index])]

    @property
    def row(self) -> int:
        """Of the node in the tile's NodeTable and in `CopcFile.entries`."""
        return int(self._reader.plan.row[self._index])

    @property
    def entry(self) -> np.void:
        """The node's entry of the hierarchy."""
        entry: np.void = self._reader.plan.file(self._index).entries[self.row]
        return entry

    @property
    def whole(self) -> bool:
        """Whether these are all points of the node."""
        return self._numbers is None

    @property
    def count(self) -> int:
        """Points of this batch."""
        return int(self._reader.plan.counts[self._index]) if self._numbers is None else len(self._numbers)

    @property
    def numbers(self) -> Integers:
        """(m,) Places of the points in the node, ascending."""
        return np.arange(self.count) if self._numbers is None else self._numbers

    @property
    def records(self) -> Records:
        """(m,) Packed records; fields that the query does not want hold no meaning. Not to be changed."""
        if self._records is None:
            decoded = self._reader.decode(self._index)
            self._records = decoded if self._numbers is None else decoded[self._numbers]
        return self._records

    def part(self, start: int, stop: int) -> Batch:
        """The points `start` to `stop` (not included) of this batch."""
        if start <= 0 and stop >= self.count:
            return self
        records = None if self._records is None else self._records[start:stop]
        return Batch(self._reader, self._index, records, self.numbers[start:stop])

    def chunk(self) -> bytes:
        """The node's LAZ chunk as it lies in the file; only of a whole batch."""
        return self._reader.plan.file(self._index).read_chunk(self.entry)


class PlanReader:
    """Decodes the nodes of a plan, with the fields its query needs, and tells which points match."""

    def __init__(self, source: Plan) -> None:
        self.plan = source
        query, cloud = source.query, source.cloud
        self._dimensions: dict[str, Dimension] = {one.name: one for one in cloud.dimensions}
        wanted = self._selection(query.dimensions)
        needed = self._selection(tuple(query.filter.fields)) if query.filter is not None else 0
        self.selection = wanted | needed | selection_of(())
        self.test_selection = needed | selection_of(())
        # A large download must not push out what views ask for again and again: the coarse nodes, which come first.
        sizes = np.cumsum(source.counts) * cloud.dtype.itemsize
        self._kept = int(np.searchsorted(sizes, NODE_CACHE.most_bytes / 2, side="right"))

    def _selection(self, names: tuple[str, ...] | None) -> int:
        if names is None:
            return int(EVERYTHING)
        return selection_of(self._dimensions[name].field for name in names if name in self._dimensions)

    def decode(self, index: int, selection: int | None = None) -> Records:
        """All points of node `index` of the plan."""
        file, row = self.plan.file(index), int(self.plan.row[index])
        selection = self.selection if selection is None else selection
        kept = NODE_CACHE.get(str(file.path), row, selection)
        if kept is not None:
            return kept
        records = file.read_node(file.entries[row], selection)
        if index < self._kept:
            NODE_CACHE.put(str(file.path), row, selection, records)
        return records

    def matches(self, index: int, records: Records) -> Mask:
        """(m,): which points of node `index` are part of the answer."""
        query = self.plan.query
        found = np.ones(len(records), bool)
        if not self.plan.inside[index]:
            found = self._by_place(records)
        if query.filter is None or not found.any():
            return found
        chosen = records if found.all() else records[found]
        values = {name: self._dimensions[name].values(chosen) for name in query.filter.fields}
        found[found] = query.filter.mask(values)
        return found

    def _by_place(self, records: Records) -> Mask:
        query, (scale, offset) = self.plan.query, (self.plan.cloud.scale, self.plan.cloud.offset)
        low, high = effective_box(query)
        found = np.ones(len(records), bool)
        columns = []
        for axis, name in enumerate("XYZ"):
            if np.isfinite(low[axis]) or np.isfinite(high[axis]):
                column = records[name] * scale[axis] + offset[axis]
                found &= (column >= low[axis]) & (column <= high[axis])
                columns.append(column)
        if query.area is not None and found.any():
            x, y = columns[0][found], columns[1][found]
            found[found] = shapely.intersects_xy(query.area, x, y)
        return found

    def batch(self, index: int) -> Batch | None:
        """The answer's points in node `index`; None where there are none."""
        if self.plan.whole[index]:
            return Batch(self, index)
        records = self.decode(index)
        numbers = np.flatnonzero(self.matches(index, records))
        return Batch(self, index, records[numbers], numbers) if len(numbers) else None

    def count(self, index: int) -> int:
        """How many points of node `index` match."""
        if self.plan.whole[index]:
            return int(self.plan.counts[index])
        return int(self.matches(index, self.decode(index, self.test_selection)).sum())


def read(cloud: Cloud, query: PointQuery) -> Iterator[Batch]:
    """The points, node by node, coarse nodes first. Raises as `plan` does, and where a node does not decode."""
    return read_plan(plan(cloud, query))


def read_plan(source: Plan, start: int = 0) -> Iterator[Batch]:
    """The points of a plan, node by node; without a budget from node `start` of the plan on."""
    if source.query.area is not None:
        shapely.prepare(source.query.area)
    reader = PlanReader(source)
    if source.query.max_points is not None:
        return _read_budget(reader, source.query.max_points)
    batches = (reader.batch(index) for index in range(start, len(source.row)))
    return (batch for batch in batches if batch is not None)


def _read_budget(reader: PlanReader, left: int) -> Iterator[Batch]:
    """Level by level; of the first level that does not fit, points spread evenly over all of it."""
    source = reader.plan
    for indices in _levels(source):
        if source.counts[indices].sum() <= left:
            for index in indices:
                batch = reader.batch(index)
                if batch is not None:
                    left -= batch.count
                    yield batch
        else:
            counts = np.array([reader.count(index) for index in indices])
            total = int(counts.sum())
            places = np.linspace(0, total - 1, left).astype(np.int64) if total > left else np.arange(total)
            left -= len(places)
            yield from _some(reader, indices, counts, places)
        if left <= 0:
            return


def _levels(source: Plan) -> list[Integers]:
    """Indices of the plan's nodes, one array for each distance of points."""
    if not len(source.row):
        return []
    breaks = np.flatnonzero(np.diff(source.spacing)) + 1
    return np.split(np.arange(len(source.row)), breaks)


def _some(reader: PlanReader, indices: Integers, counts: Integers, places: Integers) -> Iterator[Batch]:
    """The points at `places` among all matching points of the nodes at `indices`."""
    ends = np.cumsum(counts)
    cuts = np.searchsorted(places, ends)
    for index, start, count, first, last in zip(
        indices, ends - counts, counts, [0, *cuts[:-1]], cuts, strict=True
    ):
        if first == last:
            continue
        batch = reader.batch(index)
        if batch is None:
            continue
        chosen = places[first:last] - start
        if len(chosen) == count:
            yield batch
        else:
            yield Batch(reader, index, batch.records[chosen], batch.numbers[chosen])


def count_matching(source: Plan, enough: int | None = None) -> int:
    """How many points match, whatever the budget; stops counting at `enough`."""
    reader = PlanReader(source)
    total = int(source.counts[source.whole].sum())
    for index in np.flatnonzero(~source.whole):
        if enough is not None and total >= enough:
            break
        total += reader.count(int(index))
    return total
