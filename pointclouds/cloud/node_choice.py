"""Which nodes of a cloud can hold the answer to a question: by the statistics of tiles and nodes, without reading a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Cloud, CloudTile, Corner
from pointclouds.cloud.mosaic_table import MosaicTable
from pointclouds.cloud.question import Mask, PointFilter, PointQuery
from pointclouds.copc.reader import CopcFile

Integers = npt.NDArray[np.int64]
Corners = npt.NDArray[np.float64]
_FEW: Final = 8
"""Tiles whose own tables are looked at one by one; their points will be read from there anyway."""
ROUNDING: Final = 1e-9


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


def effective_box(query: PointQuery) -> tuple[Corner, Corner]:
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


def plan_tiles(
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
        finest = np.ceil(np.log2(spacings / query.resolution) - ROUNDING).clip(0)
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
    return max(0, int(np.ceil(np.log2(spacing / resolution) - ROUNDING)))


def _by_place(
    query: PointQuery, lowest: Corners, highest: Corners, chosen: Mask, step: float
) -> tuple[Mask, Mask]:
    """Which nodes the box and the area meet, and which they hold, by the boxes (n, 3 each corner) of the nodes' own points."""
    low, high = effective_box(query)
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
