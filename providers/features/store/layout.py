"""Tables of ours in a store file, and the facts about the collection that it carries.

`feature` (GeoPackage layer)  key, id, version, geom, attributes
`fragment`                    key, CRS84 envelope, zoom, GeoJSON Feature bytes; same keys, written in the same transaction
`big`                         R-tree of the few features wider or higher than the half sizes of `StoreFacts`
`chengtu_meta`, `chengtu_state`

The first edit adds the tables of `providers.features.store.history`: past rows, which present rows are newer than the build,
and transactions.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from providers.errors import StoreCorrupt
from providers.features.schema import FieldDefinition
from providers.features.store.zorder import KeySpace

FORMAT = 2
OWN_COLUMNS = ("key", "id", "version", "geom", "past_row", "past_since", "past_until")
OWN_TABLES = ("fragment", "big", "chengtu_meta", "chengtu_state")
TABLES = """
CREATE TABLE fragment (key INTEGER PRIMARY KEY, minx REAL, miny REAL, maxx REAL, maxy REAL, zoom INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE TABLE chengtu_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE chengtu_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class StoreFacts:
    """What a reader has to know before its first query; written once, when the store is built.

    `space` is the grid of the keys. `half_width` and `half_height` (degrees) are half the largest envelope outside `big`.
    `bbox` is CRS84 (4 numbers), CRS84h (6), or () without any geometry. `full_zoom` is the WebMercatorQuad zoom from which
    tiles hold every feature. `integer_ids`: every id is a decimal integer below 2**53, so vector tiles can carry it.
    """

    fields: tuple[FieldDefinition, ...]
    storage_crs: str
    storage_wkt: str
    time_field: str | None
    geometry_type: str
    has_z: bool
    bbox: tuple[float, ...]
    space: KeySpace
    half_width: float
    half_height: float
    full_zoom: int
    integer_ids: bool

    def write(self, connection: sqlite3.Connection) -> None:
        """Store the facts."""
        text = orjson.dumps(asdict(self) | {"space": tuple(self.space), "format": FORMAT}).decode()
        connection.execute("INSERT OR REPLACE INTO chengtu_meta VALUES ('store', ?)", (text,))

    @classmethod
    def read(cls, connection: sqlite3.Connection, path: Path) -> StoreFacts:
        """The facts of an open store. Raises StoreCorrupt where they are absent, or of a later format."""
        try:
            row = connection.execute("SELECT value FROM chengtu_meta WHERE name = 'store'").fetchone()
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(
                f"{path.name}: not a feature store ({error}); publish the collection again"
            ) from error
        if row is None:
            raise StoreCorrupt(
                f"{path.name}: the feature store was never finished; publish the collection again"
            )
        value: dict[str, Any] = orjson.loads(row[0])
        found = value.pop("format")
        if found != FORMAT:
            raise StoreCorrupt(f"{path.name}: feature store of format {found}; this release reads {FORMAT}")
        value["fields"] = tuple(FieldDefinition(**item) for item in value["fields"])
        value["bbox"] = tuple(value["bbox"])
        value["space"] = KeySpace(*value["space"])
        return cls(**value)
