"""The tileset of a cloud, made file by file when it is asked for: octrees, contents of nodes, and the overview of a mosaic.

    points.json ── the plan: frame, colours ──┐
    COPC + its node table ────────────────────┴──> documents, subtrees, contents

What is asked for is a `PointQuery` (box, area, filter): tiles without a point that can match are not available, contents hold the
points that match. A `Look` says how points are coloured and what they carry.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Cloud, CloudTile, open_cloud
from pointclouds.cloud.query import PlanReader, PointQuery, plan
from pointclouds.copc.reader import selection_of
from pointclouds.errors import PlacementError, QueryError
from pointclouds.las.dimensions import coordinates
from pointclouds.las.layout import Records
from pointclouds.tilesets.attributes import PointAttribute, attributes_of
from pointclouds.tilesets.colours import Colouring, ColourMode, available_modes, colouring
from pointclouds.tilesets.glb import plain_point_glb, point_glb
from pointclouds.tilesets.groups import Group, group_tiles
from pointclouds.tilesets.local_frame import Corners, LocalFrame
from pointclouds.tilesets.marks import mark_glb
from pointclouds.tilesets.octree import Address, Mask, Octree, octree_of
from pointclouds.tilesets.plan import ERROR_OF_SPACING, PointPlan, read_point_plan
from pointclouds.tilesets.pnts import point_pnts

Form = Literal["glb", "plain", "marks", "pnts"]
"""Quantised glTF, glTF of 32-bit floats, triangles for points, and the point format of 3D Tiles 1.0."""

_KEPT_TILESETS: Final = 64
_KEPT_NODES: Final = 400_000
_POINTS_AFAR: Final = 128
"""Points along the longer side of a group."""
_MOST_OF_A_GROUP: Final = 200_000
_TILES_TESTED: Final = 64
_RADIUS_OF_SPACING: Final = 0.5
_FINEST_FACTOR: Final = 4.0


@dataclass(frozen=True)
class Look:
    """How tiles show points. `dimensions`: what a point carries, by LAS names; `form`: of contents."""

    mode: ColourMode
    dimensions: tuple[str, ...]
    form: Form = "glb"


class Kept[Value]:
    """Values that cost something to make, as long as their weights fit; those longest not used go first. Safe in threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sum = 0
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value], weight: Callable[[Value], int]) -> Value:
        """The value of a key, made where it is not kept. Two who ask at one time may both make it; the first one stays."""
        with self._lock:
            known = self._values.get(key)
            if known is not None:
                self._values.move_to_end(key)
                return known[0]
        value = make()
        with self._lock:
            if key not in self._values:
                self._values[key] = value, weight(value)
                self._sum += self._values[key][1]
            value = self._values[key][0]
            while self._sum > self._most and len(self._values) > 1:
                self._sum -= self._values.popitem(last=False)[1][1]
        return value


_OCTREES: Final[Kept[Octree]] = Kept(_KEPT_NODES)


class PointTileset:
    """A cloud and its plan; makes what it is asked for. Safe in threads.

    Methods raise UnreadablePointCloudError and InvalidCopcError where a file is gone or damaged, PlacementError where points
    have no place on the globe, QueryError for a query that makes no sense.
    """

    def __init__(self, cloud: Cloud, plan_: PointPlan) -> None:
        self.cloud = cloud
        self.plan = plan_
        self._lock = threading.Lock()
        self._frame: LocalFrame | None = None

    @property
    def frame(self) -> LocalFrame:
        """Where the tiles are; found once."""
        with self._lock:
            if self._frame is None:
                self._frame = self.plan.frame(self.cloud)
            return self._frame

    @cached_property
    def modes(self) -> tuple[ColourMode, ...]:
        """What the points can be coloured by."""
        return available_modes(self.cloud)

    @cached_property
    def groups(self) -> Group:
        """All tiles of a mosaic, in groups."""
        return group_tiles(self.cloud.tiles)

    @cached_property
    def _numbered(self) -> dict[str, Group]:
        return {group.number: group for group in self.groups.walk()}

    def group(self, number: str) -> Group | None:
        """A group by its number."""
        return self._numbered.get(number)

    @cached_property
    def _corners(self) -> Corners:
        """(n, 3) each: lowest and highest corner of every tile of the cloud in the frame."""
        boxes = np.array([tile.box for tile in self.cloud.tiles])
        return self.frame.boxes(boxes[:, :3], boxes[:, 3:])

    def box_of(self, tiles: Sequence[CloudTile]) -> Corners:
        """The box of some tiles in the frame."""
        numbers = [self.cloud.number(tile) for tile in tiles]
        low, high = self._corners
        return low[numbers].min(axis=0), high[numbers].max(axis=0)

    def box_of_group(self, group: Group) -> Corners:
        """The box of a group in the frame."""
        known = self._group_boxes.get(group.number)
        if known is None:
            known = self._group_boxes[group.number] = self.box_of(group.tiles)
        return known

    @cached_property
    def _group_boxes(self) -> dict[str, Corners]:
        return {}

    def octree(self, tile: CloudTile) -> Octree:
        """The octree of a tile (or of the only file) with the boxes of its tiles."""

        def make() -> Octree:
            return octree_of(self.cloud.file(tile), self.cloud.nodes(tile), self.frame)

        def weight(made: Octree) -> int:
            return sum(len(level.codes) for level in made.levels)

        return _OCTREES.get((str(self.cloud.path), str(tile.path)), make, weight)

    def shown(self, tile: CloudTile, query: PointQuery | None) -> tuple[tuple[Mask, Mask], ...]:
        """Which tiles and contents are available, see Octree.shown."""
        return self.octree(tile).shown(None if query is None else self.nodes_shown(tile, query))

    def nodes_shown(self, tile: CloudTile, query: PointQuery) -> Mask:
        """(n,) by row of the tile's node table: whether a point of the node can match."""
        if query.tiles is not None and tile is not self.cloud.overview and tile.name not in query.tiles:
            return np.zeros(len(self.cloud.nodes(tile).entries), bool)
        found = plan(self._alone(tile), replace(query, tiles=None))
        nodes = np.zeros(len(self.cloud.nodes(tile).entries), bool)
        nodes[found.row] = True
        return nodes

    def content(
        self, tile: CloudTile, address: Address, look: Look, query: PointQuery | None
    ) -> bytes | None:
        """The points of one node; None where there is no such node. What a query leaves nothing of is a tile without points."""
        octree = self.octree(tile)
        row = octree.find(address)
        if row is None:
            return None
        records = self._records(tile, row, look, query)
        if records is None:
            return self._written(np.zeros((0, 3)), np.zeros(0, self.cloud.dtype), look, 1.0)
        table = self.cloud.nodes(tile)
        low, high = np.asarray(table.lowest[row, :3]), np.asarray(table.highest[row, :3])
        native = coordinates(records, self.cloud.scale, self.cloud.offset)
        local = self.frame.from_native(native, low, high)
        if not np.isfinite(local).all():
            raise PlacementError(
                f"{tile.path.name}: points of node {'-'.join(map(str, address))} cannot be placed on the globe; "
                "they lie outside the area of the CRS or of its grid"
            )
        return self._written(local, records, look, self.radius(tile, address.level))

    def radius(self, tile: CloudTile, level: int) -> float:
        """Metres of the triangle that marks a point of a level: half the distance to the next point; of coarse levels less, or it
        would hide the finer ones."""
        octree = self.octree(tile)
        finest = octree.spacing / 2 ** (len(octree.levels) - 1)
        spacing = self.frame.metres(min(octree.spacing / 2**level, finest * _FINEST_FACTOR))
        number = self._group_of.get(tile.name)
        if number is not None:
            spacing = min(spacing, self.limit(number) / ERROR_OF_SPACING)
        return spacing * _RADIUS_OF_SPACING

    def radius_of(self, group: Group) -> float:
        """The same of the points that show a group."""
        return self.limit(group.number) / ERROR_OF_SPACING * _RADIUS_OF_SPACING

    def overview_content(self, group: Group, look: Look, query: PointQuery | None) -> bytes | None:
        """The points of the overview that lie in a group's tiles, as fine as the group is looked at; None without an overview."""
        overview = self.cloud.overview
        if overview is None:
            return None
        found = []
        for row in self._nodes_of_group(overview, group)[0]:
            records = self._records(overview, row, look, self._of_group(group, query))
            if records is not None:
                found.append(records)
        if not found:
            return self._written(np.zeros((0, 3)), np.zeros(0, self.cloud.dtype), look, 1.0)
        records = np.concatenate(found)
        native = coordinates(records, self.cloud.scale, self.cloud.offset)
        local = self.frame.from_native(native, native.min(axis=0), native.max(axis=0))
        return self._written(local, records, look, self.radius_of(group))

    def spacing_of(self, group: Group) -> float:
        """Metres between the points that show a group."""
        overview = self.cloud.overview
        if overview is None:
            return self.frame.metres(float((group.box[3:5] - group.box[:2]).max()))
        level = self._nodes_of_group(overview, group)[1]
        spacing = self.cloud.file(overview).info.spacing / 2**level
        return self.frame.metres(spacing)

    def limit(self, number: str) -> float:
        """Geometric error of a group: of its points, and no more than of the groups it is in."""
        known = self._limits.get(number)
        if known is None:
            chain = [self._numbered[number[:length]] for length in range(len(number) + 1)]
            known = min(self.spacing_of(group) for group in chain) * ERROR_OF_SPACING
            self._limits[number] = known
        return known

    def root_error(self, tile: CloudTile) -> float:
        """Geometric error of the root of a tile's octree; of a mosaic no more than that of the group the tile is in."""
        error = self.frame.metres(self.cloud.file(tile).info.spacing) * ERROR_OF_SPACING
        number = self._group_of.get(tile.name)
        return error if number is None else min(error, self.limit(number))

    @cached_property
    def _limits(self) -> dict[str, float]:
        return {}

    @cached_property
    def _group_of(self) -> dict[str, str]:
        """Tile name -> number of its group, of a mosaic."""
        if not self.cloud.is_mosaic:
            return {}
        return {tile.name: one.number for one in self.groups.walk() if not one.parts for tile in one.tiles}

    def _level_of(self, overview: CloudTile, edge: float) -> int:
        """The level of the overview at which points are about a 128th of an edge apart."""
        file = self.cloud.file(overview)
        deepest = int(file.entries["level"].max())
        wanted = np.log2(max(file.info.spacing * _POINTS_AFAR / max(edge, 1e-9), 1.0))
        return int(min(deepest, np.ceil(wanted - 1e-6)))

    def _nodes_of_group(self, overview: CloudTile, group: Group) -> tuple[list[int], int]:
        """The overview's nodes that meet a group and are coarse enough for it, and the finest level of them.

        A level that would make the group too heavy is left out; of a node counts what lies in the group, as if it were spread evenly.
        """
        table, box = self.cloud.nodes(overview), group.box
        lowest, highest = np.asarray(table.lowest[:, :2]), np.asarray(table.highest[:, :2])
        counts, levels = table.entries["point_count"], table.entries["level"]
        common = np.minimum(highest, box[3:5]) - np.maximum(lowest, box[:2])
        meets = (common >= 0).all(axis=1) & (counts > 0)
        share = np.where(highest > lowest, common / np.maximum(highest - lowest, 1e-9), 1.0).prod(axis=1)
        expected = np.where(meets, share * counts, 0.0)
        level = self._level_of(overview, float((box[3:5] - box[:2]).max()))
        while level > 0 and expected[levels <= level].sum() > _MOST_OF_A_GROUP:
            level -= 1
        return [int(row) for row in np.flatnonzero(meets & (levels <= level))], level

    def _of_group(self, group: Group, query: PointQuery | None) -> PointQuery | None:
        """The query inside of a group's own tiles; beyond some tens of them inside of the box around them."""
        if not group.number:
            return query
        boxes = [tile.box for tile in group.tiles] if len(group.tiles) <= _TILES_TESTED else [group.box]
        area = shapely.union_all([shapely.box(box[0], box[1], box[3], box[4]) for box in boxes])
        asked = PointQuery() if query is None else query
        if asked.area is not None:
            area = shapely.intersection(area, asked.area)
        if area.is_empty or area.geom_type not in ("Polygon", "MultiPolygon"):
            area = shapely.Polygon()
        return replace(asked, area=area)

    def _records(self, tile: CloudTile, row: int, look: Look, query: PointQuery | None) -> Records | None:
        """The points of a node that a query asks for, with the fields that a look needs; None where there are none."""
        file = self.cloud.file(tile)
        if query is None:
            fields = {*self._colouring(look).fields, *(one.dimension.field for one in self._attributes(look))}
            return file.read_node(file.entries[row], selection_of(fields))
        names = (*self._named(look), *look.dimensions)
        found = plan(self._alone(tile), replace(query, tiles=None, dimensions=names))
        places = np.flatnonzero(found.row == row)
        if not len(places):
            return None
        batch = PlanReader(found).batch(int(places[0]))
        return None if batch is None or not batch.count else batch.records

    def _named(self, look: Look) -> tuple[str, ...]:
        """The dimensions that colours come from."""
        return tuple(one.name for one in self.cloud.dimensions if one.field in self._colouring(look).fields)

    def _alone(self, tile: CloudTile) -> Cloud:
        return Cloud(self.cloud.path, [tile], None)

    def _colouring(self, look: Look) -> Colouring:
        if look.mode not in self.modes:
            raise QueryError(
                f"these points cannot be coloured by {look.mode!r}; choose one of {', '.join(self.modes)}"
            )
        return colouring(look.mode, self.plan.stretches, (self.cloud.scale[2], self.cloud.offset[2]))

    def _attributes(self, look: Look) -> tuple[PointAttribute, ...]:
        return attributes_of(self.cloud.dimensions, look.dimensions, self.plan.gps_base)

    def _written(self, local: npt.NDArray[np.float64], records: Records, look: Look, radius: float) -> bytes:
        colours = self._colouring(look).colours(records)
        match look.form:
            case "glb":
                return point_glb(local, colours, records, self._attributes(look))
            case "plain":
                return plain_point_glb(local, colours, records, self._attributes(look))
            case "marks":
                return mark_glb(local, colours, radius)
            case "pnts":
                return point_pnts(local, colours, records, self._attributes(look))


_TILESETS: Final[Kept[PointTileset]] = Kept(_KEPT_TILESETS)


def open_point_tileset(cloud: Path, plan_: Path) -> PointTileset:
    """The tileset of a generation, opened once a process while it is in use.

    Raises:
        InvalidCopcError, UnreadablePointCloudError: the cloud or the plan is gone or damaged.
    """
    return _TILESETS.get(
        (str(cloud), str(plan_)),
        lambda: PointTileset(open_cloud(cloud), read_point_plan(plan_)),
        lambda _made: 1,
    )
