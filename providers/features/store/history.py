"""Earlier states of an embedded store: the versions of a feature, and the store as it was at an instant.

`store_at` gives a `FeatureStore` of the past. Its connections have temporary views under the names of the tables, each the
present rows that held then and the past rows that held then; SQLite searches the two halves by the indexes of their tables
and merges them in order. So whatever a store answers, it answers for the past as well, by the same statements.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from providers.errors import InvalidParameter, ReadOnlySource
from providers.features.crs import CRS84H, reference_system
from providers.features.query import CRS84, BBox
from providers.features.source import NO_FIELDS, Edit, EditResult, FeatureVersion
from providers.features.store.connections import StoreConnection
from providers.features.store.encoding import encode_features, geometries_in
from providers.features.store.geopackage import decode_geometries, quote
from providers.features.store.handles import open_store
from providers.features.store.history_tables import (
    build_moment,
    columns_of,
    has_history,
    is_wide,
    stored_moment,
)
from providers.features.store.layout import StoreFacts
from providers.features.store.reader import FeatureStore
from providers.features.store.select import boxes_of
from providers.features.store.values import shown_values

MAXIMUM_DIRTY = 256  # boxes of `dirty_since`
_KEPT = 8  # past states of one store that stay open


class PastStore(FeatureStore):
    """A store as it was at a change. Everything but `edit` works as on the present store."""

    is_past = True

    def __init__(self, present: FeatureStore, change: int, count: int) -> None:
        """`change` is one of `chengtu_transaction`, `count` the number of features then."""
        self._then = (present.facts, change, count)
        super().__init__(present.path)

    def edit(self, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
        """The past cannot be edited: raises ReadOnlySource."""
        raise ReadOnlySource("A past state cannot be edited")

    def history(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS
    ) -> list[FeatureVersion]:
        """All versions of a feature, later ones too."""
        return versions_of(open_store(self.path), feature_id, crs, hidden)

    def at(self, asof: str) -> FeatureStore | None:
        """The store as it was at another instant."""
        return store_at(open_store(self.path), asof)

    def _open(self) -> StoreConnection:
        connection = super()._open()
        connection.execute("PRAGMA query_only = 0")
        for statement in _views(connection, *self._then):
            connection.execute(statement)
        connection.execute("PRAGMA query_only = 1")
        return connection


def _views(connection: sqlite3.Connection, facts: StoreFacts, change: int, count: int) -> Iterator[str]:
    """Temporary views that stand before the tables of the same names. The numbers are integers of our own."""
    held = f"past_since <= {change:d} AND past_until > {change:d}"
    for table in ("feature", "fragment"):
        columns = ", ".join(columns_of(connection, table))
        yield (
            f"CREATE TEMP VIEW {table} AS SELECT {columns} FROM main.{table} AS present WHERE NOT EXISTS"  # noqa: S608 - our own or quoted names
            f" (SELECT 1 FROM main.chengtu_edited e WHERE e.key = present.key AND e.since > {change:d})"
            f" UNION ALL SELECT {columns} FROM main.{table}_past WHERE {held}"
        )
    yield (
        "CREATE TEMP VIEW big AS SELECT id, minx, maxx, miny, maxy FROM main.big"  # noqa: S608 - our own numbers
        f" UNION ALL SELECT key, minx, maxx, miny, maxy FROM main.fragment_past WHERE {is_wide(facts)} AND {held}"
    )
    yield (
        "CREATE TEMP VIEW big_rowid AS SELECT rowid FROM main.big_rowid"  # noqa: S608 - our own numbers
        f" UNION ALL SELECT key FROM main.fragment_past WHERE {is_wide(facts)} AND {held}"
    )
    yield (
        f"CREATE TEMP VIEW chengtu_state AS SELECT 'change' AS name, {change:d} AS value"
        f" UNION ALL SELECT 'count', {count:d}"
    )


def change_at(store: FeatureStore, asof: str) -> int | None:
    """The change of the last transaction committed at or before an RFC 3339 instant; None before the store was built.

    Raises InvalidParameter.
    """
    moment = _moment(asof)
    with store.snapshot() as connection:
        if not has_history(connection):
            return 0 if build_moment(connection) <= moment else None
        (change,) = connection.execute(
            "SELECT max(change) FROM main.chengtu_transaction WHERE time <= ?", (moment,)
        ).fetchone()
    return None if change is None else int(change)


_past: WeakKeyDictionary[FeatureStore, OrderedDict[int, PastStore]] = WeakKeyDictionary()
_lock = threading.Lock()


def store_at(store: FeatureStore, asof: str) -> FeatureStore | None:
    """The store as it was at an RFC 3339 instant: after the last transaction committed at or before it.

    None before the store was built. An instant to come gives the present state. Raises InvalidParameter.
    """
    moment = _moment(asof)
    with store.snapshot() as connection:
        if not has_history(connection):
            return store if build_moment(connection) <= moment else None
        row = connection.execute(
            "SELECT change, count FROM main.chengtu_transaction WHERE time <= ? ORDER BY change DESC LIMIT 1",
            (moment,),
        ).fetchone()
    return None if row is None else _past_store(store, *row)


def _past_store(store: FeatureStore, change: int, count: int) -> PastStore:
    with _lock:
        opened = _past.setdefault(store, OrderedDict())
        found = opened.get(change)
    if found is None:
        found = PastStore(store, change, count)
    with _lock:
        found = opened.setdefault(change, found)
        opened.move_to_end(change)
        while len(opened) > _KEPT:
            opened.popitem(last=False)
    return found


def _moment(asof: str) -> str:
    try:
        moment = datetime.fromisoformat(asof)
        if moment.tzinfo is None:
            raise ValueError("the zone is missing")
        return stored_moment(moment)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter("asof", asof, f"an RFC 3339 instant in UTC ({error})") from None


# --- the versions of one feature ---------------------------------------------------------------------------------------


def versions_of(
    store: FeatureStore, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS
) -> list[FeatureVersion]:
    """All versions of a feature, the latest first; after a delete comes an entry without version and body."""
    with store.snapshot() as connection:
        if has_history(connection):
            rows = connection.execute(
                _versions(store.facts, with_past=True), (feature_id, feature_id)
            ).fetchall()
        else:
            rows = connection.execute(_versions(store.facts, with_past=False), (feature_id,)).fetchall()
        stamps = _stamps(connection, {number for row in rows for number in row[:2]})
    bodies = _bodies(store, rows, crs, hidden)
    found: list[FeatureVersion] = []
    later: int | None = None  # the change at which the version after this one began
    for (since, until, version, *_), body in zip(rows, bodies, strict=True):
        if until is not None and until != later:
            time, author = stamps[until]
            found.append(
                FeatureVersion(None, time, None if later is None else stamps[later][0], author, None)
            )
        time, author = stamps[since]
        found.append(FeatureVersion(version, time, None if until is None else stamps[until][0], author, body))
        later = since
    return found


def _versions(facts: StoreFacts, *, with_past: bool) -> str:
    """Rows (since, until, version, id, body, geom, fields...), latest first."""
    columns = "".join(f", a.{quote(item.column)}" for item in facts.fields)
    since = "coalesce((SELECT since FROM chengtu_edited e WHERE e.key = a.key), 0)" if with_past else "0"
    present = (
        f"SELECT {since} AS since, NULL, a.version AS version, a.id, f.body, a.geom{columns}"  # noqa: S608 - quoted names
        " FROM feature a JOIN fragment f ON f.key = a.key WHERE a.id = ?"
    )
    past = (
        f" UNION ALL SELECT a.past_since, a.past_until, a.version, a.id, f.body, a.geom{columns}"  # noqa: S608 - quoted names
        " FROM feature_past a JOIN fragment_past f ON f.past_row = a.past_row WHERE a.id = ?"
    )
    return f"{present}{past if with_past else ''} ORDER BY since DESC"


def _stamps(connection: sqlite3.Connection, changes: set[int | None]) -> dict[int, tuple[str, str]]:
    """Time and author of transactions."""
    if not has_history(connection):
        return {0: (build_moment(connection), "")}
    statement = "SELECT time, author FROM chengtu_transaction WHERE change = ?"
    found = {}
    for change in changes - {None}:
        row = (
            connection.execute(statement, (change,)).fetchone()
            or connection.execute(
                "SELECT time, author FROM chengtu_transaction ORDER BY change LIMIT 1"
            ).fetchone()
        )
        found[int(change or 0)] = (str(row[0]), str(row[1]))
    return found


def _bodies(
    store: FeatureStore, rows: Sequence[tuple[Any, ...]], crs: str, hidden: frozenset[str]
) -> list[bytes]:
    if crs in (CRS84, CRS84H) and not hidden:
        return [row[4] for row in rows]
    if not rows:
        return []
    fields = store.facts.fields
    _, _, _, ids, _, blobs, *values = zip(*rows, strict=True)
    geometries = geometries_in(decode_geometries(blobs), store.storage, reference_system(crs))
    shown = [(item, column) for item, column in zip(fields, values, strict=True) if item.name not in hidden]
    columns = [shown_values(item, column) for item, column in shown]
    return encode_features(ids, geometries, [item.name for item, _ in shown], columns)


# --- what edits have touched -------------------------------------------------------------------------------------------

_TOUCHED = (
    "SELECT minx, miny, maxx, maxy FROM fragment_past WHERE past_until > ? AND minx IS NOT NULL",
    # Not as a join: SQLite would look at every feature of the collection first, to build a filter for it.
    "SELECT minx, miny, maxx, maxy FROM fragment WHERE minx IS NOT NULL"
    " AND key IN (SELECT key FROM chengtu_edited WHERE since > ?)",
)

_CHANGED = """
SELECT key FROM chengtu_edited WHERE since > :since AND since <= :until
UNION SELECT key FROM fragment_past WHERE past_until > :since AND past_until <= :until
UNION SELECT key FROM fragment_past WHERE past_until > :since AND past_since > :since AND past_since <= :until
ORDER BY key
"""


def dirty_since(store: FeatureStore, change: int) -> list[BBox]:
    """CRS84 boxes of everything that edits after `change` touched, where it was and where it is; [] without any.

    At most `MAXIMUM_DIRTY`: where there are more, neighbours are joined, so that the boxes cover more than what changed.
    """
    with store.snapshot() as connection:
        if not has_history(connection):
            return []
        rows = [row for statement in _TOUCHED for row in connection.execute(statement, (change,))]
    boxes = np.unique(np.array(rows, dtype=np.float64).reshape(-1, 4), axis=0)
    return [BBox(*box) for box in _joined(boxes, store.facts).tolist()]


def changed_keys(store: FeatureStore, since: int, until: int | None = None) -> NDArray[np.int64]:
    """Keys (n,), ascending, of the features that edits after the change `since`, and not after `until`, made, altered or deleted.

    A feature that moved may have had another key before: both are told. [] without any.
    """
    last = sys.maxsize if until is None else until
    with store.snapshot() as connection:
        if not has_history(connection):
            return np.empty(0, dtype=np.int64)
        rows = connection.execute(_CHANGED, {"since": since, "until": last}).fetchall()
    return np.array(rows, dtype=np.int64).reshape(-1)


def _joined(boxes: NDArray[np.float64], facts: StoreFacts) -> NDArray[np.float64]:
    """Boxes in Z-order of their centres, joined in runs of equal length."""
    if len(boxes) <= MAXIMUM_DIRTY:
        return boxes
    order = np.argsort(facts.space.numbers((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2))
    boxes = boxes[order]
    starts = np.unique(np.linspace(0, len(boxes), MAXIMUM_DIRTY, endpoint=False).astype(np.int64))
    low, high = np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)
    return np.concatenate([low, high], axis=1)


def touched_since(store: FeatureStore, change: int, box: BBox) -> bool:
    """Whether an edit after `change` touched anything whose envelope, before or after, meets the box."""
    with store.snapshot() as connection:
        if not has_history(connection):
            return False
        for west, south, east, north in boxes_of(box):
            for statement in _TOUCHED:
                found = connection.execute(
                    f"SELECT 1 FROM ({statement}) WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ? LIMIT 1",  # noqa: S608 - our own text
                    (change, west, east, south, north),
                ).fetchone()
                if found is not None:
                    return True
    return False
