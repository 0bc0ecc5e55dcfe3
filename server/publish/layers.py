"""The layers of a file: which there are in a SQLite database, and which one is meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from server.publish.errors import DamagedFile, EmptyDataset, LayerChoice


def has_journal(path: Path) -> bool:
    """Whether a write-ahead log beside the database holds what the file itself does not."""
    log = path.with_name(path.name + "-wal")
    return log.is_file() and log.stat().st_size > 0


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing; without locks where no one else has the database open for writing."""
    option = "" if has_journal(path) else "&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{option}", uri=True)


def sqlite_layers(path: Path) -> list[str]:
    """The feature tables of a GeoPackage or SpatiaLite file; [] where it lists none. Raises DamagedFile."""
    queries = (
        "SELECT table_name FROM gpkg_contents WHERE data_type = 'features' ORDER BY table_name",
        "SELECT f_table_name FROM geometry_columns ORDER BY f_table_name",
    )
    connection = connect_for_reading(path)
    try:
        for query in queries:
            try:
                return [name for (name,) in connection.execute(query)]
            except sqlite3.OperationalError:
                continue
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise DamagedFile(f"{path.name} is a damaged SQLite database: {error}.") from error
    finally:
        connection.close()
    return []


def chosen_layer(source: str, layers: Sequence[str], asked: str | None) -> str:
    """The layer that was asked for, or the only one. Raises EmptyDataset and LayerChoice."""
    if not layers:
        raise EmptyDataset(f"{source} holds no layer of features.")
    if asked is None and len(layers) == 1:
        return layers[0]
    if asked is not None and asked in layers:
        return asked
    found = "has no layer " + repr(asked) if asked else f"has {len(layers)} layers"
    raise LayerChoice(f"{source} {found}. Name one with --layer: {', '.join(layers)}.")
