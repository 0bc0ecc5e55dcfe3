"""The city as a question sees it: tilesets and a ground, and the triangles of them in a box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from providers.analysis.place import Numbers, Place
from providers.analysis.point_columns import CloudPart
from providers.errors import AnswerTooLarge
from tiles.three_d.attributes import PropertyColumn, PropertyTable

MAXIMUM_TRIANGLES = 3_000_000
MAXIMUM_TILES = 2_000


class Box3(NamedTuple):
    """A box in CRS84h: degrees, and metres above the ellipsoid; infinite heights where only the plan counts."""

    west: float
    south: float
    east: float
    north: float
    bottom: float = -np.inf
    top: float = np.inf


class Tileset(Protocol):
    """One collection's 3D tileset, as the one who asks may see it."""

    @property
    def id(self) -> str:
        """The collection's id in the view that is asked."""
        ...

    @property
    def title(self) -> str:
        """Its title."""
        ...

    @property
    def content(self) -> str:
        """What its objects are: "buildings", "pipes" ..."""
        ...

    @property
    def hidden(self) -> frozenset[str]:
        """Attributes that are not to be shown."""
        ...

    def meeting(self, box: Box3) -> Iterator[bytes]:
        """The glbs, in the finest detail, of the tiles whose contents meet the box. Raises ThreeDError."""
        ...


class Ground(Protocol):
    """The terrain that is drawn."""

    @property
    def id(self) -> str:
        """The id of its collection."""
        ...

    def heights(self, lonlat: Numbers) -> Numbers:
        """Heights above the ellipsoid (n,) at longitude, latitude (n, 2); NaN where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see: tilesets, the ground where there is one, and point clouds."""

    tilesets: tuple[Tileset, ...]
    ground: Ground | None = None
    clouds: tuple[CloudPart, ...] = ()


class SceneObject(NamedTuple):
    """One object that was met. `hidden` fields are left out of `properties`; `id` is its feature id, None where it has none."""

    collection: str
    title: str
    content: str
    id: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Triangles:
    """Triangles in the frame of a place: `corners` (t, 3, 3), `owner` (t,) the number of the object they belong to."""

    corners: Numbers
    owner: NDArray[np.int64]
    _tables: tuple[tuple[int, Tileset, PropertyTable | None], ...]

    def __len__(self) -> int:
        return len(self.owner)

    def object(self, owner: int) -> SceneObject:
        """The object of a number in `owner`."""
        first, tileset, table = max(
            (entry for entry in self._tables if entry[0] <= owner), key=lambda entry: entry[0]
        )
        values = {} if table is None else row_values(table, owner - first)
        identifier = values.pop("id", None)
        return SceneObject(
            tileset.id,
            tileset.title,
            tileset.content,
            None if identifier is None else str(identifier),
            {name: value for name, value in values.items() if name not in tileset.hidden},
        )

    def of(self, rows: NDArray[Any]) -> Triangles:
        """Some of the triangles: `rows` are numbers or a mask."""
        return Triangles(self.corners[rows], self.owner[rows], self._tables)

    def extents(self) -> tuple[NDArray[np.int64], Numbers, Numbers]:
        """The objects that are here (n,), and the lowest and highest corner (n, 3) of each."""
        order = np.argsort(self.owner, kind="stable")
        owners, starts = np.unique(self.owner[order], return_index=True)
        if not owners.size:
            return owners, np.empty((0, 3)), np.empty((0, 3))
        low = np.minimum.reduceat(self.corners.min(axis=1)[order], starts, axis=0)
        high = np.maximum.reduceat(self.corners.max(axis=1)[order], starts, axis=0)
        return owners, low, high


def triangles_in(
    tilesets: Sequence[Tileset], place: Place, box: Box3, maximum: int = MAXIMUM_TRIANGLES
) -> Triangles:
    """The triangles of all objects of which a part lies in the box. Raises AnswerTooLarge beyond `maximum`, ThreeDError."""
    from tiles.three_d.read_glb import read_glb

    low, high = _corners(place, box)
    corners: list[Numbers] = []
    owners: list[NDArray[np.int64]] = []
    tables: list[tuple[int, Tileset, PropertyTable | None]] = []
    first, count, tiles = 0, 0, 0
    for tileset in tilesets:
        for content in tileset.meeting(box):
            tiles += 1
            contents = read_glb(content)
            ecef, features = contents.triangles()
            rows = 0 if contents.table is None else contents.table.count
            found = place.from_ecef(ecef)
            near = (found.min(axis=1) <= high).all(axis=1) & (found.max(axis=1) >= low).all(axis=1)
            # Foreign tiles may have no table: the whole tile is one object then.
            features = np.where(features < 0, rows, features)
            kept = np.isin(features, features[near])
            count += int(kept.sum())
            if count > maximum or tiles > MAXIMUM_TILES:
                raise AnswerTooLarge(
                    f"More than {maximum} triangles or {MAXIMUM_TILES} tiles lie in this box; ask for a smaller one, "
                    "or for fewer collections"
                )
            corners.append(found[kept])
            owners.append(features[kept] + first)
            tables.append((first, tileset, contents.table))
            first += rows + 1
    if not corners:
        return Triangles(np.empty((0, 3, 3)), np.empty(0, dtype=np.int64), ())
    return Triangles(np.concatenate(corners), np.concatenate(owners), tuple(tables))


def _corners(place: Place, box: Box3) -> tuple[Numbers, Numbers]:
    """Lowest and highest x, y, z of a box in the frame of a place."""
    edge = np.array(
        [[x, y] for x in (box.west, box.east) for y in (box.south, box.north)]
        + [[place.longitude, y] for y in (box.south, box.north)]
    )
    flat = place.from_geodetic(edge, np.zeros(len(edge)))
    low, high = flat.min(axis=0), flat.max(axis=0)
    low[2], high[2] = box.bottom, box.top
    return low, high


def row_values(table: PropertyTable, row: int) -> dict[str, Any]:
    """The values of one row by the names that people know; None where there is none. A row past the end has no values."""
    if not 0 <= row < table.count:
        return {}
    return {column.name: _value(column, row) for column in table.columns if not _is_epoch(column, table)}


def _is_epoch(column: PropertyColumn, table: PropertyTable) -> bool:
    """Whether a column only repeats a time as a number, for scenes."""
    base = column.id.removesuffix("_epoch")
    return base != column.id and any(other.id == base for other in table.columns)


def _value(column: PropertyColumn, row: int) -> Any:
    if column.offsets is not None:
        text = column.values[column.offsets[row] : column.offsets[row + 1]].tobytes().decode()
        return None if text == column.schema.get("noData") else text
    value = column.values[row].item()
    missing = column.schema.get("noData")
    return None if missing is not None and value == missing else value
