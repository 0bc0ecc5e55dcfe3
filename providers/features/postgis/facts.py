"""What a collection's description and the database together say: table, fields, reference system, versions."""

from __future__ import annotations

import time
from dataclasses import dataclass

from providers.errors import StoreError
from providers.features.crs import CRS84H, ReferenceSystem, reference_system
from providers.features.postgis.boxes import slack_of
from providers.features.postgis.changes import change_statement, has_counter
from providers.features.postgis.columns import Column, Kind
from providers.features.postgis.fragments import fragment_is_current
from providers.features.postgis.pools import Connection
from providers.features.postgis.select import Selector
from providers.features.postgis.tables import Table, extent_of, read_table
from providers.features.query import CRS84
from providers.features.schema import CollectionSchema

_SERVED_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:4490")


@dataclass(frozen=True, slots=True)
class Description:
    """What the registry says about the table, checked."""

    connection: str
    table: str
    schema: str = "public"
    id: str | None = None
    geometry: str | None = None
    time: str | None = None
    fragment: str | None = None
    version: str | None = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Facts:
    """What was found in the database."""

    table: Table
    fields: dict[str, Column]
    schema: CollectionSchema
    storage: ReferenceSystem
    selector: Selector
    extent: tuple[float, ...]
    fragment: str | None
    change: bytes
    version_sql: str
    read_at: float


def read_facts(connection: Connection, description: Description) -> Facts:
    """Look up table, fields, extent and what is installed beside it. Raises StoreError."""
    table = read_table(
        connection, description.schema, description.table, description.id, description.geometry
    )
    fields = _chosen_fields(table, description)
    storage = table.geometry.storage if table.geometry is not None else reference_system(CRS84)
    time_field = _time_field(fields, description)
    extent = extent_of(connection, table)
    slack = slack_of(table.geometry, extent) if table.geometry is not None else (0.0, 0.0)
    return Facts(
        table=table,
        fields=fields,
        schema=_schema(table, fields, storage, time_field),
        storage=storage,
        selector=Selector(table, fields, time_field, slack),
        extent=extent,
        fragment=fragment_is_current(connection, table, fields, description.fragment),
        change=change_statement(table, counted=has_counter(connection, table)),
        version_sql=_version_sql(table, description),
        read_at=time.monotonic(),
    )


def _chosen_fields(table: Table, description: Description) -> dict[str, Column]:
    if description.fields is not None:
        unknown = [name for name in description.fields if name not in table.columns]
        if unknown:
            raise StoreError(
                f"{table.schema}.{table.name} has no columns {unknown} that can be shown; it has: {', '.join(table.columns)}"
            )
        chosen = set(description.fields)
        return {name: column for name, column in table.columns.items() if name in chosen}
    left_out = {table.key.name, description.fragment, description.version}
    return {name: column for name, column in table.columns.items() if name not in left_out}


def _time_field(fields: dict[str, Column], description: Description) -> str | None:
    if description.time is None:
        return None
    column = fields.get(description.time)
    if column is None or column.field.format is None:
        times = ", ".join(name for name, each in fields.items() if each.field.format) or "none"
        raise StoreError(
            f"{description.time!r} is no date or timestamp column of {description.table}; there are: {times}"
        )
    return description.time


def _schema(
    table: Table, fields: dict[str, Column], storage: ReferenceSystem, time_field: str | None
) -> CollectionSchema:
    has_z = table.geometry is not None and table.geometry.has_z
    uris = [
        CRS84H if has_z else CRS84,
        CRS84,
        *(reference_system(code).uri for code in _SERVED_CRS),
        storage.uri,
    ]
    return CollectionSchema(
        fields=tuple(column.field for column in fields.values()),
        storage_crs=storage.uri,
        time_field=time_field,
        geometry_type=table.geometry.type_name if table.geometry is not None else "Geometry",
        supported_crs=tuple(dict.fromkeys(uri for uri in uris if uri)),
    )


def _version_sql(table: Table, description: Description) -> str:
    if description.version is None:
        # xmin is the transaction that wrote the row. The rows of views have none, those of partitioned tables cannot give it
        # back from an INSERT: their content speaks for them.
        return "a.xmin::text" if table.has_row_versions else "md5(a::text)"
    column = table.columns.get(description.version)
    if column is None or column.kind is not Kind.INTEGER:
        raise StoreError(
            f"The version column {description.version!r} of {table.name} has to be an integer column"
        )
    return f"coalesce({column.sql}, 0)::text"
