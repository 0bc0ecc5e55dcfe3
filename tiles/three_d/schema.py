"""The typed columns of a tileset's property tables, found in a stream and kept, so that every tile has the same class.

A builder of the schema sees all values once, some thousands at a time, and keeps a few numbers a column. The schema then
types the rows of any tile, at publish, after an edit, for a filter. A value that came with an edit and fits its type no
longer (a number beyond 32 bits, a first missing value) widens that column in the tiles that hold it; nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tiles.three_d.attributes import (
    PropertyColumn,
    PropertyTable,
    as_arrow,
    property_id,
    string_column,
    text_array,
    typed_column,
    unique_id,
)
from tiles.three_d.errors import AttributeTableError

_INT32 = np.iinfo(np.int32)
_LARGEST_EXACT_INTEGER = 2**53
_USUAL_NO_DATA = -9999.0
NO_EPOCH = -float(2**53)
"""Stands for a missing time in the columns of seconds since 1970."""
EPOCH_SUFFIX = "_epoch"
_NO_TITLES: Mapping[str, str] = MappingProxyType({})

type Column = Sequence[object] | NDArray[Any] | pa.Array


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """What is known of a property beside its values.

    `name` is the column's; `titles` are names to show by language ("en", "zh"), or "" for one whose language is not known;
    `unit` a symbol ("m"); `type` a JSON Schema type, None to go by the values; `format` "date", "date-time" or None.
    `source` is the key of its values where that is not the name: two properties may have one name.
    """

    name: str
    titles: Mapping[str, str] = field(default_factory=lambda: _NO_TITLES, hash=False)
    unit: str | None = None
    type: str | None = None
    format: str | None = None
    source: str | None = None

    @property
    def key(self) -> str:
        """The key of its values in the columns."""
        return self.name if self.source is None else self.source

    def title(self) -> str:
        """One name to show."""
        return next((self.titles[key] for key in ("", "zh", "en") if self.titles.get(key)), self.name)


@dataclass(frozen=True, slots=True)
class TypedProperty:
    """A property of the class. `kind` is "BOOLEAN", "INT32", "FLOAT32", "FLOAT64", "STRING" or "EPOCH".

    `source` is the column its values come from; `schema` the class property of EXT_structural_metadata.
    """

    id: str
    name: str
    source: str
    kind: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The class of a tileset's objects. Pickles, and goes to JSON and back."""

    class_id: str
    properties: tuple[TypedProperty, ...]

    def table(self, ids: Sequence[str], columns: Mapping[str, Column]) -> PropertyTable:
        """The property table of these objects, in the order of `ids` (n); `columns` have n values each.

        A column that is absent has no values. Raises AttributeTableError where a length differs.
        """
        arrays: dict[str, pa.Array] = {"": as_arrow(ids) if len(ids) else pa.nulls(0, pa.large_string())}
        for name, values in columns.items():
            if len(values) != len(ids):
                raise AttributeTableError(
                    f"column {name!r} has {len(values)} values for {len(ids)} objects; give one value per object"
                )
            arrays[name] = as_arrow(values)
        absent = pa.nulls(len(ids))
        typed = tuple(_typed(item, arrays.get(item.source, absent)) for item in self.properties)
        return PropertyTable(self.class_id, typed, len(ids))

    def names(self) -> dict[str, str]:
        """The names that people know, by the ids of the properties."""
        return {item.id: item.name for item in self.properties}

    def to_json(self) -> dict[str, Any]:
        """The schema as a JSON object."""
        return {
            "class": self.class_id,
            "properties": [
                {
                    "id": item.id,
                    "name": item.name,
                    "source": item.source,
                    "kind": item.kind,
                    "schema": dict(item.schema),
                }
                for item in self.properties
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TableSchema:
        """The schema of a JSON object."""
        return cls(document["class"], tuple(TypedProperty(**item) for item in document["properties"]))


class SchemaBuilder:
    """Finds the types of columns while their values go by. The id of the objects is always the first property."""

    def __init__(self, class_id: str, specs: Sequence[PropertySpec]) -> None:
        """`specs` are the columns, in the order in which they are to stand."""
        self._class_id = class_id
        self._specs = tuple(specs)
        self._seen = {spec.key: _Seen() for spec in specs}

    def add(self, columns: Mapping[str, Column]) -> None:
        """Look at some values of the columns."""
        for name, values in columns.items():
            seen = self._seen.get(name)
            if seen is not None:
                seen.add(as_arrow(values))

    def finish(self) -> TableSchema:
        """The types that hold all values seen."""
        taken: dict[str, None] = {}
        identifier = unique_id("id", taken)
        found = [
            TypedProperty(identifier, "id", "", "STRING", {"type": "STRING", "name": "id", "semantic": "ID"})
        ]
        for spec in self._specs:
            kind, no_data = self._seen[spec.key].kind(spec)
            found.append(_property(unique_id(property_id(spec.name), taken), spec, kind, no_data))
            if spec.format in ("date", "date-time"):
                epoch = unique_id(property_id(spec.name + EPOCH_SUFFIX), taken)
                found.append(_epoch_property(epoch, spec))
        return TableSchema(self._class_id, tuple(found))


@dataclass(slots=True)
class _Seen:
    """What the values of one column have been so far."""

    kinds: set[str] = field(default_factory=set)
    has_null: bool = False
    low: int = 0
    high: int = 0
    is_single: bool = True
    has_usual_no_data: bool = False

    def add(self, array: pa.Array) -> None:
        kind = array.type
        self.has_null = self.has_null or array.null_count > 0
        if pa.types.is_null(kind) or len(array) == 0:
            return
        if pa.types.is_boolean(kind):
            self.kinds.add("boolean")
        elif pa.types.is_integer(kind):
            self.kinds.add("integer")
            limits = pc.min_max(array).as_py()
            self.low = min(self.low, limits["min"] or 0)
            self.high = max(self.high, limits["max"] or 0)
        elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self.kinds.add("number")
            self._add_floats(floats_of(array))
        else:
            self.kinds.add("string")

    def _add_floats(self, values: NDArray[np.float64]) -> None:
        finite = np.isfinite(values)
        self.has_null = self.has_null or not finite.all()
        known = values[finite]
        self.is_single = self.is_single and _is_single(known)
        self.has_usual_no_data = self.has_usual_no_data or bool((known == _USUAL_NO_DATA).any())

    def kind(self, spec: PropertySpec) -> tuple[str, Any]:
        """The type of the property, and what stands for a missing value (None where none is missing)."""
        kinds = self.kinds or {spec.type or "string"}
        if kinds == {"boolean"} and not self.has_null:
            return "BOOLEAN", None
        if kinds == {"integer"} and _INT32.min < self.low and self.high <= _INT32.max:
            return "INT32", int(_INT32.min) if self.has_null else None
        if kinds == {"integer"} and max(-self.low, self.high) <= _LARGEST_EXACT_INTEGER:
            return "FLOAT64", self._float_no_data("FLOAT64")
        if kinds <= {"integer", "number"} and "number" in kinds:
            # Integers of other chunks were not looked at as floats: those above 2**24 may not be single.
            single = self.is_single and max(-self.low, self.high) <= 2**24
            kind = "FLOAT32" if single else "FLOAT64"
            return kind, self._float_no_data(kind)
        return "STRING", "" if self.has_null else None

    def _float_no_data(self, kind: str) -> float | None:
        if not self.has_null:
            return None
        if not self.has_usual_no_data and not self.low <= _USUAL_NO_DATA <= self.high:
            return _USUAL_NO_DATA
        return float(np.finfo(np.float32 if kind == "FLOAT32" else np.float64).min)


def _property(identifier: str, spec: PropertySpec, kind: str, no_data: Any) -> TypedProperty:
    schema = {**_SHAPES[kind], **_said(spec)}
    if kind == "STRING" and spec.name.lower() == "name":
        schema["semantic"] = "NAME"
    if no_data is not None:
        schema["noData"] = no_data
    return TypedProperty(identifier, spec.title(), spec.key, kind, schema)


def _epoch_property(identifier: str, spec: PropertySpec) -> TypedProperty:
    title = f"{spec.title()} (s)"
    schema = {
        "type": "SCALAR",
        "componentType": "FLOAT64",
        "name": title,
        "description": f"{spec.title()}: seconds since 1970-01-01T00:00:00Z",
        "noData": NO_EPOCH,
    }
    return TypedProperty(identifier, title, spec.key, "EPOCH", schema)


def _said(spec: PropertySpec) -> dict[str, Any]:
    """Names and unit as a class property says them; the specification has no key for a unit."""
    said: dict[str, Any] = {"name": spec.title()}
    known = {language: title for language, title in spec.titles.items() if language and title}
    unit = f" ({spec.unit})" if spec.unit else ""
    if len(known) > 1 or unit:
        said["description"] = " / ".join(dict.fromkeys(known.values()) or [spec.title()]) + unit
    extras: dict[str, Any] = {}
    if known:
        extras["titles"] = known
    if spec.unit:
        extras["unit"] = spec.unit
    if spec.title() != spec.name:
        extras["field"] = spec.name
    return {**said, "extras": extras} if extras else said


_SHAPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "BOOLEAN": {"type": "BOOLEAN"},
        "INT32": {"type": "SCALAR", "componentType": "INT32"},
        "FLOAT32": {"type": "SCALAR", "componentType": "FLOAT32"},
        "FLOAT64": {"type": "SCALAR", "componentType": "FLOAT64"},
        "STRING": {"type": "STRING"},
    }
)


def _typed(item: TypedProperty, array: pa.Array) -> PropertyColumn:
    if item.kind == "EPOCH":
        return PropertyColumn(item.id, item.name, dict(item.schema), epochs(array).astype("<f8"))
    if item.kind == "STRING":
        return _text(item, array)
    values = _booleans(array) if item.kind == "BOOLEAN" else _numbers(item, array)
    if values is not None:
        return PropertyColumn(item.id, item.name, dict(item.schema), values)
    return _widened(item, array)


def _text(item: TypedProperty, array: pa.Array) -> PropertyColumn:
    text = text_array(array)
    schema = dict(item.schema)
    if text.null_count:
        schema.setdefault("noData", "")
        text = pc.fill_null(text, "")
    return string_column(item.id, item.name, schema, text)


def _booleans(array: pa.Array) -> NDArray[np.bool_] | None:
    if not pa.types.is_boolean(array.type) or array.null_count:
        return None
    values: NDArray[np.bool_] = array.to_numpy(zero_copy_only=False)
    return values


def _numbers(item: TypedProperty, array: pa.Array) -> NDArray[Any] | None:
    """The values in the property's type, None where they do not fit."""
    kind = array.type
    no_data = item.schema.get("noData")
    if pa.types.is_null(kind):
        return None if no_data is None else np.full(len(array), no_data, dtype=_DTYPES[item.kind])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    if item.kind == "INT32":
        return _integers(array, no_data)
    if pa.types.is_integer(kind) and max(map(abs, _limits(array))) > _LARGEST_EXACT_INTEGER:
        return None
    values = floats_of(array)
    finite = np.isfinite(values)
    if item.kind == "FLOAT32" and not _is_single(values[finite]):
        return None
    if not finite.all():
        if no_data is None or (values[finite] == no_data).any():
            return None
        values = np.where(finite, values, no_data)
    return values.astype(_DTYPES[item.kind])


def _integers(array: pa.Array, no_data: int | None) -> NDArray[Any] | None:
    if not pa.types.is_integer(array.type) or (array.null_count and no_data is None):
        return None
    low, high = _limits(array)
    if low <= _INT32.min or high > _INT32.max:
        return None
    filled = (
        pc.fill_null(array.cast(pa.int64()), int(_INT32.min)) if array.null_count else array.cast(pa.int64())
    )
    return _values(filled, np.int64).astype("<i4")


def _limits(array: pa.Array) -> tuple[int, int]:
    found = pc.min_max(array).as_py()
    return found["min"] or 0, found["max"] or 0


def _widened(item: TypedProperty, array: pa.Array) -> PropertyColumn:
    """A column whose values have outgrown its type, typed by what they are."""
    column = typed_column(item.id, item.name, array, None)
    kept = {name: item.schema[name] for name in ("description", "extras") if name in item.schema}
    return PropertyColumn(column.id, column.name, {**column.schema, **kept}, column.values, column.offsets)


def epochs(array: pa.Array) -> NDArray[np.float64]:
    """Seconds since 1970 (n,) of ISO 8601 dates and instants (without a zone: UTC), `NO_EPOCH` where there is none."""
    if pa.types.is_date(array.type) or pa.types.is_timestamp(array.type):
        return _seconds(array)
    texts = text_array(array)
    try:
        return _seconds(pc.replace_substring_regex(texts, pattern="Z$", replacement=""))
    except pa.ArrowInvalid:
        # One by one: some are no times, or have an offset.
        return np.array([_epoch(text) for text in texts.to_pylist()])


def _seconds(array: pa.Array) -> NDArray[np.float64]:
    moments = array.cast(pa.timestamp("ms")).cast(pa.int64())
    empty = int(NO_EPOCH) * 1000
    return _values(pc.fill_null(moments, empty), np.int64) / 1000.0


def _epoch(text: str | None) -> float:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return NO_EPOCH
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def floats_of(array: pa.Array) -> NDArray[np.float64]:
    """Numbers as float64 (n,), NaN where one is missing."""
    numbers = array.cast(pa.float64())
    return _values(pc.fill_null(numbers, float("nan")) if numbers.null_count else numbers, np.float64)


def _values(array: pa.Array, kind: type[np.generic]) -> NDArray[Any]:
    """The numbers of an Arrow array without a missing one (`to_numpy` would load pandas where that is installed)."""
    dtype = np.dtype(kind)
    if not len(array):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def _is_single(values: NDArray[np.float64]) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float32).astype(np.float64) == values).all())


_DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {"INT32": np.dtype("<i4"), "FLOAT32": np.dtype("<f4"), "FLOAT64": np.dtype("<f8")}
)
