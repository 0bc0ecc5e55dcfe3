"""A point cloud as a collection serves it: one COPC, or a mosaic of them, behind one class.

    pointcloud.copc.laz                 one COPC: the cloud is this file; `.nodes` beside it (cloud.nodes)
    pointcloud.sqlite                   a mosaic: the index, and in `points/` a COPC and its `.nodes` for every tile
    points/overview.copc.laz            a thinned copy of all tiles, for views from afar; its points are never counted
    points/tiles.nodes, tiles.boxes     what all tiles hold, so that few need be opened (cloud.mosaic_table)

All tiles of a mosaic have one CRS, one record layout, one scale and one offset, so that chunks of any of them can stand in one file.
A generation's files never change; an edit makes a new generation that shares the untouched files.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.cloud.mosaic_table import MosaicTable, changed_table, load_table, table_of
from pointclouds.cloud.nodes import NodeTable, compute_nodes, load_nodes, nodes_path
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError
from pointclouds.las.dimensions import Dimension, Triple, dimensions_of
from pointclouds.las.layout import record_dtype

Box3 = tuple[float, float, float, float, float, float]
"""minx, miny, minz, maxx, maxy, maxz."""
Corner = npt.NDArray[np.float64]

INDEX_FILE: Final = "pointcloud.sqlite"
TILES_FOLDER: Final = "points"
OVERVIEW: Final = "overview"
COPC_SUFFIX: Final = ".copc.laz"
_KEPT_CLOUDS: Final = 256
_KEPT_FILES: Final = 256
"""Each holds a file open; a process may have some thousand."""
_KEPT_TABLES: Final = 4096
"""Maps into memory that hold no file open; the system allows 65,530 a process."""

SCHEMA: Final = """
CREATE TABLE cloud (one INTEGER PRIMARY KEY CHECK (one = 1), description TEXT NOT NULL);
CREATE TABLE tile (name TEXT PRIMARY KEY, file TEXT NOT NULL, count INTEGER NOT NULL,
    minx REAL NOT NULL, miny REAL NOT NULL, minz REAL NOT NULL, maxx REAL NOT NULL, maxy REAL NOT NULL, maxz REAL NOT NULL,
    start TEXT, end TEXT, gps_low REAL NOT NULL, gps_high REAL NOT NULL, facts TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class CloudTile:
    """One COPC of a cloud.

    `name` is [A-Za-z0-9_-]{1,64}; of a cloud of one file "pointcloud". `box` is the points' own, native. `start` and `end` say when
    it was flown (RFC 3339 in UTC, None where unknown), `gps` the lowest and highest GPS time. `facts` are further JSON values: source
    file, classes, spacing.
    """

    name: str
    path: Path
    count: int
    box: Box3
    start: str | None
    end: str | None
    gps: tuple[float, float]
    facts: dict[str, Any]


@dataclass(frozen=True)
class CloudDescription:
    """What holds for all tiles. `crs` is WKT, `classes` code -> points, `dtype` the record's fields as numpy lists them."""

    crs: str
    point_format: int
    scale: Triple
    offset: Triple
    extra: tuple[tuple[str, str], ...]
    extra_structs: str = ""
    """The extra bytes record in hexadecimal digits: 192 bytes an extra dimension."""
    global_encoding: int = 0


class Cloud:
    """A point cloud, opened. Safe in threads; keeps few files open (shared, bounded, see `open_file`).

    `tiles` by name; `overview` only of a mosaic.
    """

    def __init__(self, path: Path, tiles: Sequence[CloudTile], overview: CloudTile | None) -> None:
        self.path = path
        self.tiles = tuple(tiles)
        self.overview = overview
        self._by_name = {tile.name: tile for tile in self.tiles}
        if overview is not None:
            self._by_name.setdefault(overview.name, overview)
        boxes = np.array([tile.box for tile in self.tiles], np.float64).reshape(-1, 6)
        self._low, self._high = boxes[:, :3], boxes[:, 3:]
        self._numbers = {tile.name: number for number, tile in enumerate(self.tiles)}

    @property
    def is_mosaic(self) -> bool:
        """Whether there is an index, even if it lists one tile."""
        return self.path.suffix == ".sqlite"

    @cached_property
    def _first(self) -> CopcFile:
        return open_file(self.tiles[0].path)

    @property
    def count(self) -> int:
        """All points."""
        return sum(tile.count for tile in self.tiles)

    @cached_property
    def box(self) -> Box3:
        """The points' box, native."""
        low, high = self._low.min(axis=0), self._high.max(axis=0)
        return float(low[0]), float(low[1]), float(low[2]), float(high[0]), float(high[1]), float(high[2])

    @cached_property
    def crs(self) -> pyproj.CRS:
        """The CRS, horizontal or compound."""
        crs = self._first.crs
        if crs is None:
            raise InvalidCopcError(f"{self._first.path.name} names no CRS; publish it with one")
        return crs

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The packed record of every tile."""
        return self._first.dtype

    @property
    def point_format(self) -> int:
        """6, 7 or 8."""
        return self._first.header.point_format

    @property
    def scale(self) -> Triple:
        """Of x, y, z."""
        return self._first.header.scale

    @property
    def offset(self) -> Triple:
        """Of x, y, z."""
        return self._first.header.offset

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All dimensions, in disk order."""
        return dimensions_of(self.dtype, self.scale, self.offset, self._first.header.records)

    def tile(self, name: str) -> CloudTile | None:
        """A tile, or the overview, by name."""
        return self._by_name.get(name)

    def meeting(self, low: Corner, high: Corner) -> list[CloudTile]:
        """Tiles whose box meets a native box, borders included; corners (3,), infinite where open."""
        hit = ((self._low <= high) & (self._high >= low)).all(axis=1)
        return [self.tiles[index] for index in np.flatnonzero(hit)]

    def number(self, tile: CloudTile) -> int:
        """The place of a tile in `tiles`. Raises KeyError for the overview."""
        return self._numbers[tile.name]

    def spacing(self, tile: CloudTile) -> float:
        """Distance of the points of the root of a tile's octree, CRS units; by the index, where that says it."""
        # The index of an overview says how far its points are apart in the end.
        known = None if tile.name == OVERVIEW else tile.facts.get("spacing")
        return self.file(tile).info.spacing if known is None else float(known)

    @cached_property
    def table(self) -> MosaicTable | None:
        """What all tiles of a mosaic hold; None for a cloud of one COPC, and where tiles are too unlike for it (`table_of`)."""
        if not self.is_mosaic:
            return None
        kept = load_table(self.path.parent / TILES_FOLDER, (tile.count for tile in self.tiles))
        return kept or table_of([self.nodes(tile) for tile in self.tiles])

    def file(self, tile: CloudTile) -> CopcFile:
        """The tile's COPC, opened; not to be closed by the caller."""
        return open_file(tile.path)

    def nodes(self, tile: CloudTile) -> NodeTable:
        """The tile's nodes; computed once where they are not beside the file."""
        return open_nodes(tile.path)


class _Kept[Value]:
    """Values by path, those longest not used dropped; a forked child begins anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._process = os.getpid()

    def get(self, key: str) -> Value | None:
        with self._lock:
            if self._process != os.getpid():
                self._values = OrderedDict()
                self._process = os.getpid()
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: str, value: Value) -> Value:
        """Keep the first value of a key; whoever comes later uses that one."""
        with self._lock:
            value = self._values.setdefault(key, value)
            self._values.move_to_end(key)
            # Dropped, not closed: a thread may still read it. The last reference closes it.
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return value


_FILES: Final[_Kept[CopcFile]] = _Kept(_KEPT_FILES)
_NODES: Final[_Kept[NodeTable]] = _Kept(_KEPT_TABLES)
_CLOUDS: Final[_Kept[Cloud]] = _Kept(_KEPT_CLOUDS)


def open_file(path: Path) -> CopcFile:
    """A COPC of a generation (so it never changes), opened once a process while it is in use. Not to be closed by the caller.

    Raises:
        UnreadablePointCloudError, InvalidCopcError.
    """
    return _FILES.get(str(path)) or _FILES.put(str(path), CopcFile(path))


def open_nodes(path: Path) -> NodeTable:
    """The nodes of a COPC of a generation. Raises as open_file does."""
    known = _NODES.get(str(path))
    if known is not None:
        return known
    beside = nodes_path(path)
    table = load_nodes(beside) if beside.exists() else compute_nodes(open_file(path))
    return _NODES.put(str(path), table)


def open_cloud(path: Path) -> Cloud:
    """The cloud of a POINT_CLOUD representation: its COPC, or the index of its mosaic.

    Raises:
        UnreadablePointCloudError, InvalidCopcError: it is gone, damaged or no point cloud.
    """
    return _CLOUDS.get(str(path)) or _CLOUDS.put(str(path), _opened(path))


def _opened(path: Path) -> Cloud:
    if path.suffix != ".sqlite":
        file = open_file(path)
        header, info = file.header, file.info
        name = path.name.removesuffix(COPC_SUFFIX)
        gps = (info.gps_minimum, info.gps_maximum)
        return Cloud(path, [CloudTile(name, path, header.count, header.bbox, None, None, gps, {})], None)
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
            rows = database.execute("SELECT * FROM tile ORDER BY name").fetchall()
    except sqlite3.Error as error:
        raise InvalidCopcError(
            f"{path.name} is no index of a point cloud: {error}; publish it again"
        ) from error
    found = [_tile(path.parent, row) for row in rows]
    tiles = [tile for tile in found if tile.name != OVERVIEW]
    if not tiles:
        raise InvalidCopcError(f"{path.name} lists no tile; publish the point cloud again")
    return Cloud(path, tiles, next((tile for tile in found if tile.name == OVERVIEW), None))


def _tile(folder: Path, row: tuple[Any, ...]) -> CloudTile:
    name, file, count, minx, miny, minz, maxx, maxy, maxz, start, end, gps_low, gps_high, facts = row
    box = (minx, miny, minz, maxx, maxy, maxz)
    return CloudTile(name, folder / file, count, box, start, end, (gps_low, gps_high), json.loads(facts))


def write_index(path: Path, description: CloudDescription, tiles: Iterable[CloudTile]) -> None:
    """Write the index of a mosaic; the tiles (and the overview, by its name) must lie below the index's folder.

    Raises:
        sqlite3.Error, OSError: it cannot be written; nothing is left under `path`.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(part)) as database, database:
            database.executescript(SCHEMA)
            database.execute("INSERT INTO cloud VALUES (1, ?)", (json.dumps(description.__dict__),))
            rows = [
                (
                    *(one.name, one.path.relative_to(path.parent).as_posix(), one.count),
                    *(*one.box, one.start, one.end, *one.gps, json.dumps(one.facts)),
                )
                for one in tiles
            ]
            database.executemany("INSERT INTO tile VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_table(index: Path, tiles: Sequence[CloudTile], before: Cloud | None = None) -> None:
    """Write what all tiles of a mosaic hold beside them; `tiles` are those of the index, in any order.

    `before`: the cloud that was edited: of tiles whose files it shares nothing is read. Raises InvalidCopcError, OSError.
    """
    ordered = sorted((one for one in tiles if one.name != OVERVIEW), key=lambda one: one.name)
    known = None if before is None or not before.is_mosaic else before.table
    if before is None or known is None:
        made = table_of([load_nodes(nodes_path(tile.path)) for tile in ordered])
    else:
        staying = {
            tile.name: before.number(old)
            for tile in ordered
            if (old := before.tile(tile.name)) is not None and old.path.samefile(tile.path)
        }
        added = {tile.name: load_nodes(nodes_path(tile.path)) for tile in ordered if tile.name not in staying}
        made = changed_table(known, staying, added, [tile.name for tile in ordered])
    if made is not None:
        made.save(index.parent / TILES_FOLDER)


def read_description(path: Path) -> CloudDescription:
    """What the index of a mosaic says of all its tiles. Raises InvalidCopcError."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
            (text,) = database.execute("SELECT description FROM cloud").fetchone()
        values = json.loads(text)
        values["extra"] = tuple((name, kind) for name, kind in values["extra"])
        return CloudDescription(
            **{**values, "scale": tuple(values["scale"]), "offset": tuple(values["offset"])}
        )
    except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
        raise InvalidCopcError(
            f"{path.name} is no index of a point cloud: {error}; publish it again"
        ) from error


def description_dtype(description: CloudDescription) -> np.dtype[np.void]:
    """The packed record that a description means."""
    return record_dtype(
        description.point_format, tuple((name, np.dtype(kind)) for name, kind in description.extra)
    )
