"""The rows of one state of Parquet files: keys first, then the columns of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.features.in_place import cursor_key, visible_fields
from providers.features.parquet.conditions import FILE_STEP, HIGHEST_KEY
from providers.features.parquet.database import run
from providers.features.parquet.geometry import decode_column
from providers.features.parquet.state import ParquetState, id_sql, relation_of
from providers.features.query import BBox, Cursor, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns

_LISTED_KEYS = 10_000  # as many keys are named in one statement; more rows are read in one pass
_INT64 = 1 << 63


def page_of(
    state: ParquetState, query: ItemQuery, hidden: frozenset[str]
) -> tuple[FeatureColumns, Cursor | None, int | None]:
    """The features of a page, where the next one begins, and the number matched where it is known."""
    fields = visible_fields(state.schema, query.properties, hidden)
    keys, sorted_values = _page_keys(state, query, hidden)
    more = len(keys) > query.limit
    keys = keys[: query.limit]
    cursor: Cursor | None = None
    if more and len(keys):
        cursor = (*(values[len(keys) - 1] for values in sorted_values), int(keys[-1]))
    columns = rows_of(state, keys, fields, with_geometry=not query.skip_geometry)
    return columns, cursor, _cheap_count(state, query, more=more, returned=len(keys))


def matched(state: ParquetState, query: ItemQuery, hidden: frozenset[str]) -> int:
    """The exact number of features that the conditions select."""
    conditions = state.conditions()
    found = conditions.of(query, state.schema.time_field, hidden)
    if not found:
        return state.count
    statement = f"SELECT count(*) AS n FROM {state.relation} WHERE {' AND '.join(found)}"  # noqa: S608 - quoted names, bound values
    return int(run(state.folder, statement, conditions.arguments.values)["n"][0].as_py())


def keys_of_id(state: ParquetState, feature_id: str) -> NDArray[np.int64]:
    """The key of one feature, or none."""
    none = np.empty(0, dtype=np.int64)
    number = _whole_number(feature_id)
    if state.id_field is None:
        if number is None or not 0 <= number <= HIGHEST_KEY:
            return none
        file, row = divmod(number, FILE_STEP)
        exists = file < len(state.files) and row < state.rows[file]
        return np.array([number], dtype=np.int64) if exists else none
    column = state.columns[state.id_field]
    value: Any = feature_id
    compared = id_sql(state)
    if column.definition.type == "integer":
        if number is None:
            return none
        value, compared = number, column.value
    statement = f"SELECT {state.key} AS key FROM {state.relation} WHERE {compared} = $1 LIMIT 1"  # noqa: S608 - quoted names
    return np.asarray(run(state.folder, statement, [value])["key"], dtype=np.int64)


def _whole_number(text: str) -> int | None:
    """The number that is written so, and not otherwise ("7", not "07")."""
    if len(text) > 20 or not text.removeprefix("-").isdecimal() or not text.isascii():
        return None
    number = int(text)
    return number if str(number) == text and -_INT64 <= number < 2 * _INT64 else None


def read_rows(
    state: ParquetState, bbox: BBox | None, fields: Sequence[FieldDefinition], limit: int
) -> FeatureColumns:
    """Features whose envelope meets the box, ascending by key; limit -1 is none."""
    if bbox is None and 0 <= limit <= _LISTED_KEYS:
        return rows_of(state, _counted_keys(state, None, 0, limit), fields, with_geometry=True)
    conditions = state.conditions()
    where = f" WHERE {conditions.meets(bbox)}" if bbox is not None else ""
    most = f" LIMIT {limit}" if limit >= 0 else ""
    order = conditions.order(ItemQuery())
    tail = f"{state.relation}{where} ORDER BY {order}{most}"
    if limit < 0 or limit > _LISTED_KEYS:
        statement = f"SELECT {_wanted(state, fields, with_geometry=True)} FROM {tail}"  # noqa: S608 - quoted names
        table = run(state.folder, statement, conditions.arguments.values)
        return _as_columns(state, [table], fields, None, with_geometry=True)
    table = run(state.folder, f"SELECT {state.key} AS key FROM {tail}", conditions.arguments.values)  # noqa: S608 - quoted
    return rows_of(state, np.asarray(table["key"], dtype=np.int64), fields, with_geometry=True)


def rows_of(
    state: ParquetState, keys: NDArray[np.int64], fields: Sequence[FieldDefinition], *, with_geometry: bool
) -> FeatureColumns:
    """The features of these keys, in their order."""
    wanted = _wanted(state, fields, with_geometry=with_geometry)
    tables = []
    numbers, rows = np.divmod(np.asarray(keys, dtype=np.int64), FILE_STEP)
    for number in np.unique(numbers).tolist():
        here = np.sort(rows[numbers == number])
        relation = f"(SELECT *, {number} AS file_index FROM {relation_of((state.files[number],))})"  # noqa: S608 - quoted
        for part in np.split(here, range(_LISTED_KEYS, len(here), _LISTED_KEYS)):
            statement = f"SELECT {wanted} FROM {relation} WHERE {_are(part)}"  # noqa: S608 - quoted names, whole numbers
            tables.append(run(state.folder, statement))
    return _as_columns(state, tables, fields, keys, with_geometry=with_geometry)


def _are(rows: NDArray[np.int64]) -> str:
    """Ascending row numbers as a condition that statistics of row groups can answer."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return f"file_row_number BETWEEN {first} AND {last}"
    return f"file_row_number IN ({', '.join(map(str, rows.tolist()))})"


def _wanted(state: ParquetState, fields: Sequence[FieldDefinition], *, with_geometry: bool) -> str:
    shown = [f"{state.columns[field.name].shown} AS f{number}" for number, field in enumerate(fields)]
    geometry = [f"{state.geometry} AS geometry"] if with_geometry else []
    return ", ".join([f"{state.key} AS key", f"{id_sql(state)} AS id", *geometry, *shown])


def _as_columns(
    state: ParquetState,
    tables: Sequence[Any],
    fields: Sequence[FieldDefinition],
    keys: NDArray[np.int64] | None,
    *,
    with_geometry: bool,
) -> FeatureColumns:
    """Rows in the order of `keys`, or as they came."""
    import pyarrow as pa

    if not tables:
        return FeatureColumns([], [], np.empty(0, dtype=object), {field.name: [] for field in fields})
    table = pa.concat_tables(tables)
    if keys is not None:
        found = np.asarray(table["key"], dtype=np.int64)
        places = np.argsort(found, kind="stable")
        wanted = places[np.searchsorted(found, keys, sorter=places)]
        if not np.array_equal(wanted, np.arange(len(found))):
            table = table.take(pa.array(wanted))
    geometries = np.full(len(table), None, dtype=object)
    if with_geometry:
        geometries = decode_column(table["geometry"], state.metadata.encoding, state.files[0].name)
    values = {field.name: table[f"f{number}"].to_pylist() for number, field in enumerate(fields)}
    ids = ["" if value is None else value for value in table["id"].to_pylist()]
    return FeatureColumns(table["key"].to_pylist(), ids, geometries, values)


def _page_keys(
    state: ParquetState, query: ItemQuery, hidden: frozenset[str]
) -> tuple[NDArray[np.int64], list[list[Any]]]:
    """Keys of the page and of one feature more, and the values they are sorted by."""
    key = cursor_key(query, HIGHEST_KEY)
    conditions = state.conditions()
    found = conditions.of(query, state.schema.time_field, hidden)
    if not found and not query.sortby:
        return _counted_keys(state, key, query.offset, query.limit + 1), []
    found += conditions.after(query, key)
    where = f" WHERE {' AND '.join(found)}" if found else ""
    sorted_by = "".join(
        f", {state.columns[name].sorted} AS s{number}" for number, (name, _) in enumerate(query.sortby)
    )
    statement = (
        f"SELECT {state.key} AS key{sorted_by} FROM {state.relation}{where}"  # noqa: S608 - quoted names, bound values
        f" ORDER BY {conditions.order(query)} LIMIT {query.limit + 1} OFFSET {query.offset}"
    )
    table = run(state.folder, statement, conditions.arguments.values)
    values = [table[f"s{number}"].to_pylist() for number in range(len(query.sortby))]
    return np.asarray(table["key"], dtype=np.int64), values


def _counted_keys(state: ParquetState, after: int | None, offset: int, limit: int) -> NDArray[np.int64]:
    """Keys of a page without conditions, out of the numbers of rows alone."""
    starts = np.concatenate([[0], np.cumsum(state.rows)])
    first = offset
    if after is not None:
        number, row = divmod(after, FILE_STEP)
        first += (
            int(starts[number]) + min(row + 1, state.rows[number])
            if number < len(state.rows)
            else state.count
        )
    ordinals = np.arange(min(first, state.count), min(first + limit, state.count), dtype=np.int64)
    files = np.searchsorted(starts, ordinals, side="right") - 1
    return np.asarray(files * FILE_STEP + ordinals - starts[files], dtype=np.int64)


def _cheap_count(state: ParquetState, query: ItemQuery, *, more: bool, returned: int) -> int | None:
    """The number matched where it is stored, or where this one page holds the end of the answer."""
    if not (query.bbox or query.equals or query.datetime or query.filter or query.q):
        return state.count
    if more or query.cursor is not None or (query.offset and not returned):
        return None
    return query.offset + returned
