"""Rows of a feature store by their keys, and single columns: for what is derived from features and made again in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from providers.features.schema import FieldDefinition
from providers.features.store.geopackage import quote
from providers.features.store.select import Payload, Row
from providers.features.store.values import shown_values

if TYPE_CHECKING:
    from providers.features.store.reader import FeatureStore

_KEYS = 20_000  # looked up at once
_VALUES = 100_000  # of one column read at once


def read_keys(store: FeatureStore, keys: Sequence[int], payload: Payload) -> list[Row]:
    """Rows of these keys, ascending; keys without a feature are left out."""
    # The keys come first: a lookup each. As one bound text they need no limit on the number of parameters.
    statement = f"SELECT a.key{payload.columns} FROM json_each(?) AS asked CROSS JOIN feature a ON a.key = asked.value"  # noqa: S608 - quoted names
    ordered = sorted(keys)
    rows: list[Row] = []
    for start in range(0, len(ordered), _KEYS):
        asked = orjson.dumps(ordered[start : start + _KEYS])
        with store.borrowed() as connection:
            rows += connection.execute(statement, (asked,)).fetchall()
    return rows


def column(store: FeatureStore, field: FieldDefinition) -> list[Any]:
    """The values of one field of all features, ascending by key."""
    statement = f"SELECT a.key, a.{quote(field.column)} FROM feature a WHERE a.key > ? ORDER BY a.key LIMIT ?"  # noqa: S608 - quoted names
    values: list[Any] = []
    last = -1
    while True:
        with store.borrowed() as connection:
            rows = connection.execute(statement, (last, _VALUES)).fetchall()
        values += shown_values(field, [value for _, value in rows])
        if len(rows) < _VALUES:
            return values
        last = rows[-1][0]
