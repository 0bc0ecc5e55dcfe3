"""Edits of features that are stored elsewhere, and whose store says only that something changed: found by comparing.

The snapshot that a tileset is made of (`snapshot`) is compared with the source and brought up to date in one transaction, which
also notes the keys that differed under a number of its own; tilesets follow that number. Small collections are compared by the
request that sees the change, larger ones by a thread; never more often than a comparison can be afforded.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import shapely

from providers.errors import ProviderError
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns, FeatureSource
from providers.three_d.snapshot import insert_page, key_of, pages_of, stored_value
from tiles.three_d.errors import ThreeDError
from tiles.three_d.live_store import Change
from tiles.three_d.objects import Keys

AT_ONCE_SECONDS = 1.5
"""A comparison that took longer than this is left to a thread the next time."""
_SMALL = 20_000
"""Features that are compared at once before it is known how long that takes."""
_REST_SHARE = 4
"""A comparison that took a second is followed by so many seconds without one: a database changes more often than one table."""
_SHORTEST_REST = 0.25
_TABLES = "CREATE TABLE IF NOT EXISTS edited (key INTEGER PRIMARY KEY, sequence INTEGER NOT NULL)"
_log = logging.getLogger(__name__)


class ComparedEdits:
    """The edits of a source that has a snapshot. Safe in threads and between processes; opens nothing before it is asked."""

    slow = False

    def __init__(self, source: FeatureSource, snapshot: Path) -> None:
        self._source = source
        self._path = snapshot
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._seconds: float | None = None
        self._not_before = 0.0
        self._synced: str | None = None
        self._sequence = 0

    def change(self) -> Change:
        """The number of the latest comparison that found something. Raises ThreeDError."""
        try:
            now = str(self._source.change())
            if now != self._synced and time.monotonic() >= self._not_before:
                self._look(now)
            return self._sequence
        except (ProviderError, sqlite3.Error) as error:
            raise ThreeDError(f"the edits of the features cannot be read: {error}") from error

    def changed_keys(self, since: Change, until: Change | None = None) -> Keys:
        """Keys that a comparison after `since` found changed. Raises ThreeDError."""
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(
                    "SELECT key FROM edited WHERE sequence > ? ORDER BY key",
                    (since if isinstance(since, int) else 0,),
                ).fetchall()
        except sqlite3.Error as error:
            raise ThreeDError(f"the edits of the features cannot be read: {error}") from error
        return np.array(rows, dtype=np.int64).reshape(-1)

    def _look(self, now: str) -> None:
        if not self._lock.acquire(blocking=self._seconds is None or self._seconds <= AT_ONCE_SECONDS):
            return
        try:
            synced, self._sequence = self._state()
            if synced == now:  # another process has compared
                self._synced = synced
            elif self._at_once():
                self._compare()
            elif self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._compare_aside, name="chengtu-compared-edits", daemon=True
                )
                self._thread.start()
        finally:
            self._lock.release()

    def _at_once(self) -> bool:
        if self._seconds is not None:
            return self._seconds <= AT_ONCE_SECONDS
        count = self._source.count()
        return count is not None and count <= _SMALL

    def _compare_aside(self) -> None:
        try:
            self._compare()
        except Exception as error:  # noqa: BLE001 - the last line of defence of a thread: the next request starts another
            _log.warning(
                "features of a 3D tileset could not be compared",
                extra={"snapshot": str(self._path), "reason": f"{type(error).__name__}: {error}"},
            )
            self._not_before = time.monotonic() + _REST_SHARE

    def _compare(self) -> None:
        """Bring the snapshot up to date. Raises what the source raises, and sqlite3.Error."""
        began = time.monotonic()
        before = str(self._source.change())
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                changed = self._bring(connection)
                sequence = _meta(connection, "sequence", 0)
                if changed:
                    sequence += 1
                    connection.executemany(
                        "INSERT OR REPLACE INTO edited VALUES (?, ?)", [(key, sequence) for key in changed]
                    )
                _set_meta(connection, "sequence", sequence)
                _set_meta(connection, "synced", before)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._seconds = time.monotonic() - began
        self._not_before = time.monotonic() + max(_SHORTEST_REST, self._seconds * _REST_SHARE)
        self._sequence, self._synced = sequence, before

    def _bring(self, connection: sqlite3.Connection) -> list[int]:
        """Make the snapshot equal to the source; the keys that differed."""
        fields = self._source.schema.fields
        changed: list[int] = []
        seen: list[int] = []
        for page in pages_of(self._source):
            keys = [key_of(name) for name in page.ids]
            seen += keys
            differing = _differing(connection, page, keys, fields)
            if differing:
                chosen = [keys[row] for row in differing]
                connection.executemany("DELETE FROM object WHERE key = ?", [(key,) for key in chosen])
                insert_page(connection, _taken(page, differing), fields)
                changed += chosen
        stored = np.array(connection.execute("SELECT key FROM object").fetchall(), dtype=np.int64).reshape(-1)
        gone = np.setdiff1d(stored, np.array(seen, dtype=np.int64)).tolist()
        connection.executemany("DELETE FROM object WHERE key = ?", [(key,) for key in gone])
        return changed + gone

    def _state(self) -> tuple[str, int]:
        """The change of the source that the snapshot shows, and the number of the last comparison that found something."""
        with closing(self._connect()) as connection:
            described: dict[str, object] = _meta(connection, "snapshot", {})
            built = described.get("change")
            return str(_meta(connection, "synced", built)), int(_meta(connection, "sequence", 0))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5.0
        )
        connection.execute(_TABLES)
        return connection


def _differing(
    connection: sqlite3.Connection,
    page: FeatureColumns,
    keys: Sequence[int],
    fields: Sequence[FieldDefinition],
) -> list[int]:
    """Rows of a page that the snapshot does not have, or has otherwise."""
    stored = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT o.* FROM json_each(?) AS asked CROSS JOIN object o ON o.key = asked.value",
            (orjson.dumps(list(keys)),),
        )
    }
    blobs = shapely.to_wkb(page.geometries).tolist()
    columns = [[stored_value(value) for value in page.columns[item.name]] for item in fields]
    rows = zip(page.ids, blobs, *columns, strict=True)
    return [
        number
        for number, (key, row) in enumerate(zip(keys, rows, strict=True))
        if stored.get(key) != tuple(row)
    ]


def _taken(page: FeatureColumns, rows: Sequence[int]) -> FeatureColumns:
    return FeatureColumns(
        [page.keys[row] for row in rows],
        [page.ids[row] for row in rows],
        page.geometries[list(rows)],
        {name: [values[row] for row in rows] for name, values in page.columns.items()},
    )


def _meta[Value](connection: sqlite3.Connection, name: str, absent: Value) -> Value:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        return absent
    value: Value = orjson.loads(row[0])
    return value


def _set_meta(connection: sqlite3.Connection, name: str, value: object) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, orjson.dumps(value).decode()))
