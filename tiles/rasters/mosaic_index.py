"""The index of a mosaic: one SQLite file beside its scenes and overview cells.

meta      one row: the mosaic's CRS, bands, pixel size, rules
scene     a row a scene: its file, native CRS, bounds and size, instant, order, statistics
scene_box R-tree of the scenes' boxes in the mosaic's CRS
cell      the overview cells by set (an instant, or "" for all together), level, column and row
edit      where scenes came or went, by the change that did it
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tiles.cache.changes import Box84
from tiles.errors import RasterError
from tiles.leases import LeaseStore
from tiles.rasters.source import Bounds

CELL_PIXELS = 1024
KEPT_EDITS = 10_000
COMPOSITE = ""
"""The set of overview cells of all scenes together."""

SCHEMA = """
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), description TEXT NOT NULL, change INTEGER NOT NULL,
    known_since INTEGER NOT NULL);
CREATE TABLE scene (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, file TEXT NOT NULL, crs TEXT NOT NULL,
    west REAL NOT NULL, south REAL NOT NULL, east REAL NOT NULL, north REAL NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, instant TEXT, position INTEGER NOT NULL, statistics TEXT NOT NULL);
CREATE INDEX scene_instant ON scene (instant);
CREATE VIRTUAL TABLE scene_box USING rtree (id, west, east, south, north);
CREATE TABLE cell (of TEXT NOT NULL, level INTEGER NOT NULL, across INTEGER NOT NULL, down INTEGER NOT NULL,
    file TEXT NOT NULL, PRIMARY KEY (of, level, across, down)) WITHOUT ROWID;
CREATE TABLE edit (change INTEGER NOT NULL, west REAL NOT NULL, south REAL NOT NULL, east REAL NOT NULL,
    north REAL NOT NULL);
CREATE INDEX edit_change ON edit (change);
"""

_ON_TOP = {
    "newest": "s.instant IS NULL, s.instant DESC, s.position DESC",
    "first": "s.position",
    "last": "s.position DESC",
}
_SCENE_COLUMNS = "s.id, s.name, s.file, s.crs, s.west, s.south, s.east, s.north, s.width, s.height, s.instant"


@dataclass(frozen=True, slots=True)
class MosaicRules:
    """What holds for all scenes of a mosaic.

    `crs` is a text that PROJ knows, `resolution` the size (x, y) of its finest pixel in it. `on_top`: which of overlapping
    scenes is seen: the "newest", the "first" or the "last" given. `latest`: what is shown without an instant: the uppermost
    "pixel" of all scenes, or the last "instant" alone. `overview_factor`: how many pixels one of the finest overview cells
    merges. `codes`: the values are codes, never averaged.
    """

    crs: str
    resolution: tuple[float, float]
    dtype: str
    bands: tuple[dict[str, Any], ...]
    nodata: float | None
    on_top: str = "newest"
    latest: str = "pixel"
    overview_factor: int = 2
    codes: bool = False

    def cell_size(self, level: int) -> tuple[float, float]:
        """Width and height of an overview cell in units of the CRS."""
        edge = CELL_PIXELS * self.overview_factor * 2**level
        return self.resolution[0] * edge, self.resolution[1] * edge

    def cell_bounds(self, level: int, across: int, down: int) -> Bounds:
        """The box of a cell; columns are counted to the east from x = 0, rows to the south from y = 0."""
        width, height = self.cell_size(level)
        return Bounds(across * width, -(down + 1) * height, (across + 1) * width, -down * height)


class Scene(NamedTuple):
    """A row of the index. `bounds`, `width` and `height` are of its own grid and CRS."""

    id: int
    name: str
    file: str
    crs: str
    bounds: Bounds
    width: int
    height: int
    instant: str | None


def connect(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    """A connection of its own; a writer makes the file where it is not there. Raises RasterError."""
    try:
        mode = "rwc" if writing else "rw"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=30.0,
            check_same_thread=False,
            isolation_level=None,
        )
        connection.execute("PRAGMA query_only = 0" if writing else "PRAGMA query_only = 1")
    except sqlite3.Error as error:
        raise RasterError(f"the index {path.name} of the mosaic cannot be opened: {error}") from error
    return connection


_CONNECTIONS: LeaseStore[sqlite3.Connection] = LeaseStore(32, lambda connection: connection.close())


@contextmanager
def lease_index(path: Path) -> Iterator[MosaicIndex]:
    """The index for reading, by one thread at a time. Raises RasterError, also for queries inside."""
    try:
        with _CONNECTIONS.lease(str(path), lambda: connect(path)) as connection:
            yield MosaicIndex(connection)
    except (sqlite3.Error, ValueError, KeyError) as error:
        raise RasterError(f"the index {path.name} of the mosaic cannot be read: {error}") from error


def close_indexes() -> None:
    """Close all idle connections."""
    _CONNECTIONS.clear()


class MosaicIndex:
    """Questions to an index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def change(self) -> int:
        """The number of the last edit."""
        (change,) = self.connection.execute("SELECT change FROM meta").fetchone()
        return int(change)

    def rules(self) -> MosaicRules:
        """What holds for all scenes."""
        (text,) = self.connection.execute("SELECT description FROM meta").fetchone()
        kept = json.loads(text)
        return MosaicRules(
            **(kept | {"resolution": tuple(kept["resolution"]), "bands": tuple(kept["bands"])})
        )

    def instants(self) -> tuple[str, ...]:
        """All instants, rising."""
        rows = self.connection.execute(
            "SELECT DISTINCT instant FROM scene WHERE instant IS NOT NULL ORDER BY 1"
        )
        return tuple(instant for (instant,) in rows)

    def extent(self) -> Bounds | None:
        """The box of all scenes in the mosaic's CRS; None without scenes."""
        # Of the scenes' exact boxes where they are in that CRS: the R-tree has 32 bits and rounds outwards.
        rules = self.rules()
        row = self.connection.execute(
            "SELECT min(CASE WHEN s.crs = :crs THEN s.west ELSE b.west END), min(CASE WHEN s.crs = :crs THEN s.south ELSE b.south END),"
            " max(CASE WHEN s.crs = :crs THEN s.east ELSE b.east END), max(CASE WHEN s.crs = :crs THEN s.north ELSE b.north END)"
            " FROM scene s JOIN scene_box b ON b.id = s.id",
            {"crs": rules.crs},
        ).fetchone()
        return None if row[0] is None else Bounds(*row)

    def count(self, instant: str | None = None) -> int:
        """How many scenes there are, in all or of an instant."""
        if instant is None:
            return int(self.connection.execute("SELECT count(*) FROM scene").fetchone()[0])
        return int(
            self.connection.execute("SELECT count(*) FROM scene WHERE instant = ?", (instant,)).fetchone()[0]
        )

    def scenes(
        self, box: Bounds | None, instant: str | None, on_top: str, limit: int = -1, offset: int = 0
    ) -> list[Scene]:
        """Scenes that meet a box of the mosaic's CRS (None: all), the uppermost first."""
        conditions, values = ["1"], list[Any]()
        source = "scene s"
        if box is not None:
            source = "scene_box b CROSS JOIN scene s ON s.id = b.id"
            conditions = ["b.west <= ?", "b.east >= ?", "b.south <= ?", "b.north >= ?"]
            values = [box.east, box.west, box.north, box.south]
        if instant is not None:
            conditions.append("s.instant = ?")
            values.append(instant)
        rows = self.connection.execute(
            f"SELECT {_SCENE_COLUMNS} FROM {source} WHERE {' AND '.join(conditions)}"  # noqa: S608 - our own words only
            f" ORDER BY {_ON_TOP[on_top]} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [_scene(row) for row in rows]

    def find(self, name: str) -> Scene | None:
        """The scene of a name."""
        row = self.connection.execute(
            f"SELECT {_SCENE_COLUMNS} FROM scene s WHERE s.name = ?",  # noqa: S608 - our own words only
            (name,),
        ).fetchone()
        return None if row is None else _scene(row)

    def top_level(self, of: str) -> int | None:
        """The coarsest level of a set of overview cells; None where it has none."""
        level = self.connection.execute("SELECT max(level) FROM cell WHERE of = ?", (of,)).fetchone()[0]
        return None if level is None else int(level)

    def cells(self, of: str, level: int, columns: range, rows: range) -> list[tuple[int, int, str]]:
        """(column, row, file) of the cells of a level in these columns and rows."""
        return self.connection.execute(
            "SELECT across, down, file FROM cell WHERE of = ? AND level = ? AND across BETWEEN ? AND ?"
            " AND down BETWEEN ? AND ?",
            (of, level, columns.start, columns.stop - 1, rows.start, rows.stop - 1),
        ).fetchall()

    def statistics(self) -> list[list[dict[str, Any]]]:
        """What is kept of the values of each scene, by band."""
        return [json.loads(text) for (text,) in self.connection.execute("SELECT statistics FROM scene")]

    def dirty_since(self, change: int) -> list[Box84] | None:
        """Boxes of the edits after a change; None where they are not kept any more."""
        (known_since,) = self.connection.execute("SELECT known_since FROM meta").fetchone()
        if change < known_since:
            return None
        return self.connection.execute(
            "SELECT DISTINCT west, south, east, north FROM edit WHERE change > ?", (change,)
        ).fetchall()


def _scene(row: tuple[Any, ...]) -> Scene:
    id_, name, file, crs, west, south, east, north, width, height, instant = row
    return Scene(id_, name, file, crs, Bounds(west, south, east, north), width, height, instant)


def create_index(path: Path, rules: MosaicRules) -> None:
    """A new index without scenes. Raises RasterError."""
    connection = connect(path, writing=True)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO meta VALUES (1, ?, 0, 0)", (rules_text(rules),))
    except sqlite3.Error as error:
        raise RasterError(f"the index {path.name} of the mosaic cannot be made: {error}") from error
    finally:
        connection.close()


def rules_text(rules: MosaicRules) -> str:
    """The rules as they are kept."""
    return json.dumps(asdict(rules), allow_nan=False)


def cell_range(bounds: Bounds, size: tuple[float, float]) -> tuple[range, range]:
    """Columns and rows of the cells of a size that a box meets."""
    slight = 1e-9
    columns = range(int(bounds.west // size[0]), int((bounds.east - slight * size[0]) // size[0]) + 1)
    rows = range(int(-bounds.north // size[1]), int((-bounds.south - slight * size[1]) // size[1]) + 1)
    return columns, rows


def files_in_use(connection: sqlite3.Connection) -> set[str]:
    """Files that rows name, relative to the folder of the index."""
    rows: Sequence[tuple[str]] = connection.execute(
        "SELECT file FROM scene UNION ALL SELECT file FROM cell"
    ).fetchall()
    return {file for (file,) in rows}
