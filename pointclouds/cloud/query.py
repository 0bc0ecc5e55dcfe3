"""Questions to a cloud: which nodes can hold the answer, and the points of it, coarse nodes first.

    PointQuery ──> plan: nodes by their statistics, those wholly inside marked ──> read: batches of records, node by node

No node is decoded that cannot match, no field that is not needed, and a node that lies wholly inside needs no decoding at all where
its chunk can be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Cloud, CloudTile, Corner
from pointclouds.cloud.mosaic_table import MosaicTable
from pointclouds.cloud.node_cache import NODE_CACHE
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

Integers = npt.NDArray[np.int64]
Corners = npt.NDArray[np.float64]
_FEW: Final = 8
"""Tiles whose own tables are looked at one by one; their points will be read from there anyway."""
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Plan:
    """The nodes that can hold the answer, the coarsest first. (n,) arrays:

    tile: place in `tiles`. row: place in the tile's NodeTable. counts: points of the node. spacing: distance of its points, CRS units.
    inside: box and area hold the whole node. whole: every point of it is part of the answer.
    """

    cloud: Cloud
    query: PointQuery
    tiles: tuple[CloudTile, ...]
    tile: Integers
    row: Integers
    counts: Integers
    spacing: npt.NDArray[np.float64]
    inside: Mask
    whole: Mask
    from_overview: bool = False

    @property
    def points(self) -> int:
        """Points of the nodes: the answer has no more (before max_points)."""
        return int(self.counts.sum())

    @property
    def is_exact(self) -> bool:
        """Whether `points` is the answer's count (before max_points)."""
        return bool(self.whole.all())

    def only(self, index: int) -> Plan:
        """The same with node `index` alone."""
        one = slice(index, index + 1)
        return replace(
            self,
            tile=self.tile[one],
            row=self.row[one],
            counts=self.counts[one],
            spacing=self.spacing[one],
            inside=self.inside[one],
            whole=self.whole[one],
        )

    def file(self, index: int) -> CopcFile:
        """The COPC of the tile of node `index` of the plan."""
        return self.cloud.file(self.tiles[self.tile[index]])


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
        coarse = _plan_tiles(cloud, query, [overview], from_overview=True)
        if _is_coarse(cloud.file(overview), query.resolution):
            return coarse
        most = query.max_points
        if most is not None and coarse.points >= most and count_matching(coarse, enough=most) >= most:
            return coarse
    low, high = _effective_box(query)
    found = cloud.meeting(low, high)
    if query.tiles is not None:
        found = [tile for tile in found if tile.name in query.tiles]
    return _plan_tiles(cloud, query, found)


def plan_tile(cloud: Cloud, query: PointQuery, name: str) -> Plan:
    """The plan of one tile, or of the overview, whatever `query.tiles` says; without a node where there is no such tile."""
    query.check(cloud)
    tile = cloud.tile(name)
    return _plan_tiles(cloud, query, [] if tile is None else [tile])


def _is_coarse(file: CopcFile, resolution: float | None) -> bool:
    """Whether a resolution is no finer than the finest level of an overview."""
    if resolution is None:
        return False
    finest = file.info.spacing / 2.0 ** int(file.entries["level"].max())
    return resolution >= finest * (1 - _ROUNDING)


def _effective_box(query: PointQuery) -> tuple[Corner, Corner]:
    """The box and the bounds of the area, met."""
    low, high = np.full(3, -np.inf), np.full(3, np.inf)
    if query.box is not None:
        low, high = np.array(query.box[:3], np.float64), np.array(query.box[3:], np.float64)
    if query.area is not None:
        bounds = shapely.bounds(query.area)  # not a number of an empty one
        minx, miny, maxx, maxy = bounds if np.isfinite(bounds).all() else (np.inf, np.inf, -np.inf, -np.inf)
        low = np.maximum(low, (minx, miny, -np.inf))
        high = np.minimum(high, (maxx, maxy, np.inf))
    return low, high


def _plan_tiles(
    cloud: Cloud, query: PointQuery, tiles: Sequence[CloudTile], *, from_overview: bool = False
) -> Plan:
    if len(tiles) > _FEW and not from_overview and cloud.table is not None:
        return _plan_many(cloud, query, tiles, cloud.table)
    parts = [_nodes_of(cloud, query, tile, place) for place, tile in enumerate(tiles)]
    columns: Any = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else _NOTHING
    return _ordered(cloud, query, tiles, columns, from_overview=from_overview)


def _ordered(
    cloud: Cloud, query: PointQuery, tiles: Sequence[CloudTile], columns: _Columns, *, from_overview: bool
) -> Plan:
    tile, row, counts, spacing, inside, whole = columns
    order = np.lexsort((row, tile, -spacing))
    return Plan(
        cloud,
        query,
        tuple(tiles),
        tile[order],
        row[order],
        counts[order],
        spacing[order],
        inside[order],
        whole[order],
        from_overview,
    )


def _plan_many(cloud: Cloud, query: PointQuery, tiles: Sequence[CloudTile], table: MosaicTable) -> Plan:
    """The plan of many tiles of a mosaic, by what is kept of all nodes; only a filter that a tile matches in part opens its table."""
    numbers = np.array([cloud.number(tile) for tile in tiles], np.int64)
    spacings = np.array([cloud.spacing(tile) for tile in tiles])
    whole_tiles = np.ones(len(tiles), bool)
    places = np.arange(len(tiles))
    if query.filter is not None:
        places = np.flatnonzero(query.filter.may_match(table.tiles)[numbers])
        whole_tiles = np.asarray(query.filter.all_match(table.tiles)[numbers])
    sizes = np.diff(table.starts)[numbers[places]]
    place = np.repeat(places, sizes)
    at = table.rows_of(numbers[places])
    row = at - table.starts[numbers[place]]
    nodes = table.nodes if len(at) == len(table.nodes) else table.nodes[at]
    chosen = np.asarray(nodes["count"] > 0)
    if query.resolution is not None:
        finest = np.ceil(np.log2(spacings / query.resolution) - _ROUNDING).clip(0)
        chosen &= nodes["level"] <= finest[place]
    inside = np.ones(len(chosen), bool)
    if query.box is not None or query.area is not None:
        chosen, inside = _by_place(query, nodes["low"], nodes["high"], chosen, cloud.scale[0])
    kept = np.flatnonzero(chosen)
    place, row, inside = place[kept], row[kept], inside[kept]
    counts, levels = nodes["count"][kept].astype(np.int64), nodes["level"][kept].astype(np.float64)
    columns: _Columns = (place, row, counts, spacings[place] / np.exp2(levels), inside, inside.copy())
    if query.filter is not None:
        may = _in_part(cloud, query.filter, tiles, whole_tiles, columns)
        columns = tuple(column[may] for column in columns)  # type: ignore[assignment]  # six columns as before
    return _ordered(cloud, query, tiles, columns, from_overview=False)


def _in_part(
    cloud: Cloud, asked: PointFilter, tiles: Sequence[CloudTile], whole_tiles: Mask, columns: _Columns
) -> Mask:
    """(n,) Which of these nodes may match; those that do not as a whole are marked in `columns`. Nodes are in the order of tiles."""
    place, row, whole = columns[0], columns[1], columns[5]
    may = np.ones(len(place), bool)
    breaks = np.flatnonzero(np.diff(place)) + 1
    for start, stop in zip((0, *breaks), (*breaks, len(place)), strict=True):
        if start == stop or whole_tiles[place[start]]:
            continue
        table = cloud.nodes(tiles[place[start]])
        rows = row[start:stop]
        may[start:stop] = asked.may_match(table)[rows]
        whole[start:stop] &= asked.all_match(table)[rows]
    return may


_Columns = tuple[Integers, Integers, Integers, npt.NDArray[np.float64], Mask, Mask]
_NONE: Final = np.empty(0, np.int64)
_NOTHING: Final[_Columns] = (_NONE, _NONE, _NONE, np.empty(0), np.empty(0, bool), np.empty(0, bool))


def _nodes_of(cloud: Cloud, query: PointQuery, tile: CloudTile, place: int) -> _Columns:
    """The columns of a plan for one tile."""
    table = cloud.nodes(tile)
    spacing = cloud.spacing(tile)
    levels, counts = table.entries["level"], table.entries["point_count"]
    chosen = counts > 0
    if query.resolution is not None:
        chosen &= levels <= finest_level(spacing, query.resolution)
    inside = np.ones(len(chosen), bool)
    if query.box is not None or query.area is not None:
        low, high = np.asarray(table.lowest[:, :3]), np.asarray(table.highest[:, :3])
        chosen, inside = _by_place(query, low, high, chosen, cloud.scale[0])
    whole = inside
    if query.filter is not None:
        chosen = chosen & query.filter.may_match(table)
        whole = inside & query.filter.all_match(table)
    rows = np.flatnonzero(chosen)
    return (
        np.full(len(rows), place, np.int64),
        rows.astype(np.int64),
        counts[rows].astype(np.int64),
        spacing / np.exp2(levels[rows].astype(np.float64)),
        inside[rows],
        whole[rows],
    )


def finest_level(spacing: float, resolution: float) -> int:
    """The last level to be read for a resolution, if the root's points are `spacing` apart."""
    return max(0, int(np.ceil(np.log2(spacing / resolution) - _ROUNDING)))


def _by_place(
    query: PointQuery, lowest: Corners, highest: Corners, chosen: Mask, step: float
) -> tuple[Mask, Mask]:
    """Which nodes the box and the area meet, and which they hold, by the boxes (n, 3 each corner) of the nodes' own points."""
    low, high = _effective_box(query)
    chosen = chosen & ((lowest <= high) & (highest >= low)).all(axis=1)
    inside = np.ones(len(chosen), bool)
    if query.box is not None:
        inside = ((lowest >= query.box[:3]) & (highest <= query.box[3:])).all(axis=1)
    if query.area is not None:
        rows = np.flatnonzero(chosen)
        meets, holds = boxes_and_area(query.area, lowest[rows, :2], highest[rows, :2], step)
        chosen[rows] = meets
        held = np.zeros(len(chosen), bool)
        held[rows] = holds
        inside &= held
    return chosen, inside


def boxes_and_area(
    area: shapely.Geometry, lowest: npt.NDArray[np.float64], highest: npt.NDArray[np.float64], margin: float
) -> tuple[Mask, Mask]:
    """Which boxes (n, 2 each corner) an area may meet, and which it surely holds.

    Boxes grow by `margin`: a box of one point is a line or a point, for which the predicates of polygons are not defined.
    """
    shapely.prepare(area)
    boxes = shapely.box(
        lowest[:, 0] - margin, lowest[:, 1] - margin, highest[:, 0] + margin, highest[:, 1] + margin
    )
    meets = shapely.intersects(area, boxes)
    holds = np.zeros(len(boxes), bool)
    holds[meets] = shapely.covers(area, boxes[meets])
    return meets, holds


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
        low, high = _effective_box(query)
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
