"""What edits changed of a tileset, on disk: one SQLite file beside the published files, `scene/live/live.sqlite`.

`state`    change: up to which state of the data the tileset was brought; revision: how often it was brought further
`moved`    keys whose places are no longer those of the plan
`place`    key, code, detail: where they are now
`tile`     code, revision, facts: tiles that were touched; without facts: nothing is left in them
`content`  code, revision, body: what was made of them since, as gzip

One transaction brings the tileset from one state to the next, so that a process killed at any moment leaves the last good one.
Contents are made when they are asked for, and kept for as long as their tile is not touched again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from tiles.three_d.errors import LiveTilesetError
from tiles.three_d.facts import TILE_FACTS, TileFacts
from tiles.three_d.live_overlay import OUTSIDE_CODE, Entries, Overlay, Step
from tiles.three_d.plan import TilePlan

type Change = int | str
"""The counter of a store's edits, or whatever tells one state of it from another."""

FILE = "live.sqlite"
_BUSY_SECONDS = 5.0
_TABLES = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moved (key INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS place (key INTEGER NOT NULL, code INTEGER NOT NULL, detail INTEGER NOT NULL, PRIMARY KEY (key, code)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tile (code INTEGER PRIMARY KEY, revision INTEGER NOT NULL, facts BLOB);
CREATE TABLE IF NOT EXISTS content (code INTEGER PRIMARY KEY, revision INTEGER NOT NULL, body BLOB NOT NULL);
"""


class State(NamedTuple):
    """Up to which change a tileset was brought, and how often."""

    change: Change
    revision: int


class LiveStore:
    """The file of one tileset; made by the first edit. Opened when first used, never before a fork; safe in threads."""

    def __init__(self, folder: Path, built: Change) -> None:
        """`built`: the change of the data that the published tileset shows."""
        self._path = folder / FILE
        self._published = State(built, 0)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where the file is, and the lock between processes."""
        return self._path.parent

    def state(self) -> State:
        """The present state. Raises LiveTilesetError."""
        with self._reading() as connection:
            if connection is None:
                return self._published
            rows = dict(connection.execute("SELECT name, value FROM state"))
        if not rows:
            return self._published
        return State(orjson.loads(rows["change"]), int(rows["revision"]))

    def overlay(self, plan: TilePlan, facts: TileFacts) -> tuple[State, Overlay]:
        """The present state and what differs in it from the published tileset. Raises LiveTilesetError."""
        with self._reading() as connection:
            if connection is None:
                return self._published, Overlay.published(plan, facts)
            connection.execute("BEGIN")
            try:
                rows = dict(connection.execute("SELECT name, value FROM state"))
                moved = connection.execute("SELECT key FROM moved ORDER BY key").fetchall()
                places = connection.execute(
                    "SELECT code, key, detail FROM place ORDER BY code, key"
                ).fetchall()
                tiles = connection.execute("SELECT code, revision, facts FROM tile").fetchall()
            finally:
                connection.execute("COMMIT")
        if not rows:
            return self._published, Overlay.published(plan, facts)
        known = [(code, np.frombuffer(row, TILE_FACTS)) for code, _, row in tiles if row is not None]
        outside = next((row for code, row in known if code == OUTSIDE_CODE), None)
        inside = [row for code, row in known if code != OUTSIDE_CODE]
        gone = [code for code, _, row in tiles if row is None]
        overlay = Overlay(
            plan,
            facts.replaced(np.concatenate([np.empty(0, TILE_FACTS), *inside]), gone),
            np.array(moved, dtype=np.int64).reshape(-1),
            Entries(*np.array(places, dtype=np.int64).reshape(-1, 3).T),
            outside,
            {code: revision for code, revision, _ in tiles},
        )
        return State(orjson.loads(rows["change"]), int(rows["revision"])), overlay

    def advance(self, step: Step, state: State) -> None:
        """Write a step, all of it or nothing. Call it under the lock between processes. Raises LiveTilesetError."""
        overlay = step.overlay
        rows = {int(row["code"]): row.tobytes() for row in overlay.facts.rows[_chosen(overlay, step)]}
        if overlay.outside is not None:
            rows[OUTSIDE_CODE] = overlay.outside.tobytes()
        keys = [(key,) for key in step.keys.tolist()]
        places = zip(*(column.tolist() for column in step.entries), strict=True)
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO moved VALUES (?)", keys)
            connection.executemany("DELETE FROM place WHERE key = ?", keys)
            connection.executemany("INSERT INTO place (code, key, detail) VALUES (?, ?, ?)", places)
            connection.executemany(
                "INSERT OR REPLACE INTO tile VALUES (?, ?, ?)",
                [(code, state.revision, rows.get(code)) for code in step.touched.tolist()],
            )
            connection.executemany(
                "DELETE FROM content WHERE code = ?", [(code,) for code in step.touched.tolist()]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?)",
                [
                    ("change", orjson.dumps(state.change).decode()),
                    ("revision", str(state.revision)),
                ],
            )

    def content(self, code: int, revision: int) -> bytes | None:
        """What was made of a tile since it was last touched, as gzip; None where it has to be made. Raises LiveTilesetError."""
        with self._reading() as connection:
            if connection is None:
                return None
            row = connection.execute(
                "SELECT body FROM content WHERE code = ? AND revision = ?", (code, revision)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, code: int, revision: int, body: bytes) -> None:
        """Keep what was made of a tile, unless it has been touched again meanwhile. Raises LiveTilesetError."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO content SELECT code, revision, ? FROM tile WHERE code = ? AND revision = ?",
                (body, code, revision),
            )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, None where there is no file yet."""
        with self._lock, _told(self._path):
            if self._connection is None:
                if not self._path.is_file():
                    yield None
                    return
                self._connection = _connect(self._path)
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told(self._path):
            if self._connection is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._connection = _connect(self._path)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


def _chosen(overlay: Overlay, step: Step) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.isin(overlay.facts.rows["code"], step.touched)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_TABLES)
    return connection


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        raise LiveTilesetError(
            f"what edits changed of the 3D tileset cannot be read or written ({path.name}: {error}); "
            "without the folder scene/live it is brought up to date anew"
        ) from error
