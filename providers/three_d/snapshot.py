"""A copy of the features that a tileset is made of, where they are stored elsewhere: PostGIS, GeoParquet, OGR files, services.

Taken once when the tileset is built, page by page, so that its tiles can be made by key as fast as from the embedded store, and
stay one state of the data whatever happens to the source. Keys are 63 bits of a hash of the feature's id: the same feature has
the same key in every snapshot.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyproj
import shapely

from providers.errors import StoreCorrupt, StoreMissing, UnsupportedQuery
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns, FeatureSource
from providers.three_d.object_features import CHUNK, FeatureRows, heights_in_metres, in_order
from tiles.three_d.objects import Keys
from tiles.three_d.vertical import vertical_unit

FORMAT = 1
_PART = 20_000
_NEEDED = "needs features that are stored here"

type Progress = Callable[[int], None]
"""Hears how many features are copied."""


def key_of(feature_id: str) -> int:
    """The key of a feature: 63 bits."""
    return int.from_bytes(hashlib.blake2b(feature_id.encode(), digest_size=8).digest()) >> 1


def take_snapshot(source: FeatureSource, path: Path, progress: Progress | None = None) -> int:
    """Copy all features of `source` to `path`; their number. `progress` may raise to stop it.

    A finished copy of the same state of the source is kept as it is. Raises what the source raises.
    """
    change = str(source.change())
    if _is_finished(path, change):
        with closing(_connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM object").fetchone()[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    fields = source.schema.fields
    columns = "".join(f", c{number}" for number in range(len(fields)))
    count = 0
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            f"CREATE TABLE object (key INTEGER PRIMARY KEY, id TEXT NOT NULL, geom BLOB{columns})"
        )
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("BEGIN")
        for page in pages_of(source):
            count += insert_page(connection, page, fields)
            if progress is not None:
                progress(count)
        described = {
            "format": FORMAT,
            "change": change,
            "crs": source.storage.crs.to_wkt(),
            "bbox": list(source.bbox),
            "fields": [{**asdict(item), "constraints": {}} for item in fields],
        }
        connection.execute("INSERT INTO meta VALUES ('snapshot', ?)", (orjson.dumps(described).decode(),))
        connection.execute("COMMIT")
    draft.replace(path)
    return count


def refresh_snapshot(source: FeatureSource, path: Path, ids: Sequence[str]) -> Keys:
    """Bring some features of a snapshot up to date with their source, after an edit; their keys (n,).

    Raises what the source raises.
    """
    fields = source.schema.fields
    keys = [key_of(name) for name in ids]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("BEGIN IMMEDIATE")
        for name, key in zip(ids, keys, strict=True):
            connection.execute("DELETE FROM object WHERE key = ?", (key,))
            found = source.item(name)
            if found is not None:
                insert_page(connection, _as_columns(name, found.body, source, fields), fields)
        connection.execute("COMMIT")
    return np.array(keys, dtype=np.int64)


class SnapshotFeatures:
    """The features of a snapshot (`ObjectFeatures`)."""

    def __init__(self, path: Path, asof: str | None = None) -> None:
        """Raises StoreMissing, StoreCorrupt; UnsupportedQuery for an instant of the past."""
        if asof is not None:
            raise UnsupportedQuery(
                f"The past of a 3D tileset {_NEEDED}; leave asof out", "asof", "no asof here"
            )
        if not path.is_file():
            raise StoreMissing(f"There is no {path.name}; build the 3D tileset again with `chengtu build-3d`")
        self._connection = _connect(path)
        described = _described(self._connection, path)
        self.crs = pyproj.CRS.from_wkt(described["crs"])
        self._unit = vertical_unit(self.crs)
        self.fields = tuple(FieldDefinition(**item) for item in described["fields"])
        self.bbox: tuple[float, ...] = tuple(described["bbox"])

    def count(self) -> int | None:
        """Features in the snapshot."""
        return int(self._connection.execute("SELECT count(*) FROM object").fetchone()[0])

    def chunks(self) -> Iterator[FeatureRows]:
        """All features, some thousands at a time."""
        last = -1
        while True:
            rows = self._connection.execute(
                "SELECT * FROM object WHERE key > ? ORDER BY key LIMIT ?", (last, CHUNK)
            ).fetchall()
            if rows:
                last = rows[-1][0]
                yield self._rows(rows)
            if len(rows) < CHUNK:
                return

    def rows(self, keys: Keys) -> FeatureRows:
        """The features of these keys, in their order; those that are gone are left out."""
        ordered = sorted(keys.tolist())
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(ordered), _PART):
            asked = orjson.dumps(ordered[start : start + _PART])
            rows += self._connection.execute(
                "SELECT o.* FROM json_each(?) AS asked CROSS JOIN object o ON o.key = asked.value", (asked,)
            ).fetchall()
        return in_order(self._rows(rows), keys)

    def values(self, field: str) -> list[Any]:
        """One column of all features."""
        number = next(index for index, item in enumerate(self.fields) if item.name == field)
        return [row[0] for row in self._connection.execute(f"SELECT c{number:d} FROM object")]  # noqa: S608 - a number

    def _rows(self, rows: Sequence[tuple[Any, ...]]) -> FeatureRows:
        if not rows:
            none: dict[str, list[Any]] = {item.name: [] for item in self.fields}
            return FeatureRows(np.empty(0, dtype=np.int64), [], np.empty(0, dtype=object), none)
        keys, ids, blobs, *values = zip(*rows, strict=True)
        columns = {
            item.name: [None if value is None else bool(value) for value in column]
            if item.type == "boolean"
            else list(column)
            for item, column in zip(self.fields, values, strict=True)
        }
        geometries = np.asarray(shapely.from_wkb(np.array(blobs, dtype=object)), dtype=object)
        geometries = heights_in_metres(geometries, self._unit)
        return FeatureRows(np.array(keys, dtype=np.int64), list(ids), geometries, columns)


def pages_of(source: FeatureSource) -> Iterator[FeatureColumns]:
    """All features of a source, page by page."""
    query = ItemQuery(limit=CHUNK)
    while True:
        page = source.columns(query)
        if len(page.columns):
            yield page.columns
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)


def insert_page(
    connection: sqlite3.Connection, page: FeatureColumns, fields: Sequence[FieldDefinition]
) -> int:
    """Write features into a snapshot that does not have them; their number."""
    marks = ", ".join("?" * (3 + len(fields)))
    blobs = shapely.to_wkb(page.geometries).tolist()
    columns = [[stored_value(value) for value in page.columns[item.name]] for item in fields]
    keys = [key_of(name) for name in page.ids]
    # A feature may come twice where the source changes while it is read: the first counts.
    statement = f"INSERT OR IGNORE INTO object VALUES ({marks})"  # noqa: S608 - question marks
    return connection.executemany(statement, zip(keys, page.ids, blobs, *columns, strict=True)).rowcount


def stored_value(value: Any) -> Any:
    """A JSON value as a snapshot keeps it."""
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    # SQLite keeps no integer beyond 64 bits.
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _as_columns(
    name: str, body: bytes, source: FeatureSource, fields: Sequence[FieldDefinition]
) -> FeatureColumns:
    """One GeoJSON Feature as columns, its geometry in the source's CRS."""
    from providers.features.crs import reference_system
    from providers.features.query import CRS84
    from providers.features.store.encoding import geometries_in

    feature: Mapping[str, Any] = orjson.loads(body)
    given = feature.get("geometry")
    shape = np.array([None if given is None else shapely.geometry.shape(given)], dtype=object)
    placed = geometries_in(shape, reference_system(CRS84), source.storage)
    properties = feature.get("properties") or {}
    return FeatureColumns(
        [key_of(name)], [name], placed, {item.name: [properties.get(item.name)] for item in fields}
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA mmap_size = 2147418112")
    return connection


def _described(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'snapshot'").fetchone()
        described: dict[str, Any] = orjson.loads(row[0])
    except (sqlite3.DatabaseError, TypeError, orjson.JSONDecodeError) as error:
        raise StoreCorrupt(f"{path.name}: not a snapshot of features ({error})") from error
    if described.get("format") != FORMAT:
        raise StoreCorrupt(
            f"{path.name}: a snapshot of format {described.get('format')}; this release reads {FORMAT}"
        )
    return described


def _is_finished(path: Path, change: str) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(_connect(path)) as connection:
            return bool(_described(connection, path)["change"] == change)
    except StoreCorrupt:
        return False
