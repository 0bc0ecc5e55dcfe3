"""One state of the files of a Parquet source: what was found when they were opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from providers.errors import StoreCorrupt, StoreError, StoreMissing
from providers.features.crs import ReferenceSystem
from providers.features.in_place import (
    bounds_in_crs84,
    check_named_fields,
    identity_of,
    make_schema,
)
from providers.features.parquet.columns import ParquetColumn, checks_of, column_of, quote
from providers.features.parquet.conditions import FILE_STEP, Conditions, Place
from providers.features.parquet.database import run
from providers.features.parquet.geometry import (
    GeoMetadata,
    extent_sql,
    geometry_output,
    geometry_sql,
    read_geo_metadata,
)
from providers.features.schema import CollectionSchema

OPENING_SECONDS = 120.0  # every value of some columns is looked at once
_MAXIMUM_FILES = 4096


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of a source, in the order of their names. Raises StoreMissing, StoreError."""
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise StoreMissing(f"There is no Parquet file or folder {path.name!r}")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".parquet" and file.is_file())
    if not files:
        raise StoreMissing(f"The folder {path.name!r} holds no .parquet file")
    if len(files) > _MAXIMUM_FILES:
        raise StoreError(
            f"The folder {path.name!r} holds {len(files)} Parquet files; at most {_MAXIMUM_FILES} are read"
        )
    return tuple(files)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class ParquetState:
    """Files, and what is in them. `folder` holds them all; `rows` counts by file; `types` are DuckDB's by column name."""

    identity: str
    folder: Path
    files: tuple[Path, ...]
    rows: tuple[int, ...]
    types: Mapping[str, str]
    metadata: GeoMetadata
    columns: Mapping[str, ParquetColumn]
    place: Place
    schema: CollectionSchema
    id_field: str | None

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS of the geometries."""
        return self.metadata.storage

    @cached_property
    def count(self) -> int:
        """Features in all files."""
        return sum(self.rows)

    @cached_property
    def relation(self) -> str:
        """All files as a table of SQL."""
        return relation_of(self.files)

    @cached_property
    def geometry(self) -> str:
        """SQL of what `decode_column` makes geometries of."""
        return geometry_output(self.metadata, self.types[self.metadata.column])

    @property
    def key(self) -> str:
        """SQL of the unique key."""
        return "file_row_number" if len(self.files) == 1 else f"file_index * {FILE_STEP} + file_row_number"

    def conditions(self) -> Conditions:
        """A builder of the conditions of one statement."""
        return Conditions(self.columns, self.place, one_file=len(self.files) == 1)


def relation_of(files: tuple[Path, ...]) -> str:
    """Files as a table of SQL, with the row number of each row."""
    names = ", ".join(_text(str(file)) for file in files)
    return f"read_parquet([{names}], file_row_number = true, hive_partitioning = false)"


def load_state(
    path: Path,
    id_field: str | None,
    time_field: str | None,
    stated: ReferenceSystem | None,
    file_roots: Sequence[Path] = (),
) -> ParquetState:
    """Look at the files; those below one of `file_roots` share one database. Raises StoreMissing, StoreCorrupt, StoreError."""
    files = files_of(path)
    identity = identity_of(files)
    folder = next((root for root in file_roots if path.is_relative_to(root)), files[0].parent)
    relation = relation_of(files)
    statement = f"DESCRIBE SELECT * FROM {relation}"  # noqa: S608 - names of files, quoted
    described = run(folder, statement, (), OPENING_SECONDS)
    types = dict(zip(described["column_name"].to_pylist(), described["column_type"].to_pylist(), strict=True))
    types.pop("file_row_number", None)
    metadata = read_geo_metadata(_geo_value(folder, files[0]), types, path.name, stated)
    left_out = {metadata.column, metadata.covering_column, *metadata.others}
    found = [column_of(name, kind) for name, kind in types.items() if name not in left_out]
    columns = {column.definition.name: column for column in found if column is not None}
    if id_field is not None and types.get(id_field, "").startswith(("BLOB", "STRUCT", "MAP")):
        raise StoreError(f"{path.name!r}: the field {id_field!r} holds no values that can be ids")
    check_named_fields(
        list(columns), id_field, time_field, [column.definition for column in columns.values()], path.name
    )
    geometry = geometry_sql(metadata, types[metadata.column])
    columns, place = _survey(folder, relation, columns, metadata, geometry)
    shown = {name: column for name, column in columns.items() if name != id_field}
    fields = tuple(column.definition for column in shown.values())
    schema = make_schema(fields, metadata.storage, time_field, metadata.geometry_type)
    if id_field is not None:
        columns = {**shown, id_field: columns[id_field]}
    return ParquetState(
        identity=identity,
        folder=folder,
        files=files,
        rows=_rows(folder, files),
        types=types,
        metadata=metadata,
        columns=columns,
        place=place,
        schema=schema,
        id_field=id_field,
    )


def _geo_value(folder: Path, file: Path) -> bytes | None:
    statement = f"SELECT value FROM parquet_kv_metadata([{_text(str(file))}]) WHERE key = 'geo'::BLOB"  # noqa: S608 - a file name of ours, quoted
    values = run(folder, statement)["value"].to_pylist()
    return values[0] if values else None


def _rows(folder: Path, files: tuple[Path, ...]) -> tuple[int, ...]:
    names = ", ".join(_text(str(file)) for file in files)
    table = run(folder, f"SELECT file_name, num_rows FROM parquet_file_metadata([{names}])")  # noqa: S608 - quoted
    counts = dict(zip(table["file_name"].to_pylist(), table["num_rows"].to_pylist(), strict=True))
    return tuple(int(counts[str(file)]) for file in files)


def _survey(
    folder: Path,
    relation: str,
    columns: Mapping[str, ParquetColumn],
    metadata: GeoMetadata,
    geometry: str,
) -> tuple[dict[str, ParquetColumn], Place]:
    """Look at every value once: which columns need care, and where the geometries lie."""
    sides = metadata.covering or extent_sql(geometry)
    aggregates = [
        *(f"{function}({side})" for function, side in zip(("min", "min", "max", "max"), sides, strict=True)),
        f"max({sides[2]} - {sides[0]} + {sides[3]} - {sides[1]})",
        *checks_of(list(columns.values())),
    ]
    named = ", ".join(f"{aggregate} AS a{number}" for number, aggregate in enumerate(aggregates))
    table = run(folder, f"SELECT {named} FROM {relation}", (), OPENING_SECONDS)  # noqa: S608 - quoted names
    values: list[Any] = [table.column(number)[0].as_py() for number in range(len(aggregates))]
    checked = {
        name: column if sound else column.with_care()
        for (name, column), sound in zip(columns.items(), values[5:], strict=True)
    }
    bounds = values[:4]
    if any(number is None for number in bounds):
        return checked, Place(geometry, metadata.covering, metadata.storage, (), (), 0.0)
    if not all(abs(number) < float("inf") for number in bounds):
        raise StoreCorrupt("The bounding boxes of a GeoParquet file are not finite")
    bounds = [float(number) for number in bounds]
    bbox = bounds_in_crs84(bounds, metadata.storage)
    return checked, Place(
        geometry, metadata.covering, metadata.storage, tuple(bounds), bbox, float(values[4])
    )


def id_sql(state: ParquetState) -> str:
    """SQL of the id as text."""
    if state.id_field is None:
        return f"CAST({state.key} AS VARCHAR)"
    return f"CAST({quote(state.id_field)} AS VARCHAR)"
