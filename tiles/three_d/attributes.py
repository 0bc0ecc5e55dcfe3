"""Attribute columns as EXT_structural_metadata property tables.

A column is typed once for the whole tileset (`schema`), so that every tile carries the same class. Missing values become the
property's `noData` sentinel.

Specification: EXT_structural_metadata and 3D Metadata Specification 1.0 (binary table format: values, string offsets,
booleans packed into bits, least significant first).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_INT32 = np.iinfo(np.int32)
_LARGEST_EXACT_INTEGER = 2**53
_USUAL_NO_DATA = -9999.0
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CHARACTER_OUTSIDE_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class PropertyColumn:
    """One typed column. `schema` is the class property of the metadata schema.

    Numbers: `values` (n,) little-endian. Booleans: `values` (n,) bool. Strings: `values` is the UTF-8 text (uint8) and
    `offsets` (n + 1,) int64 its limits, else None.
    """

    id: str
    name: str
    schema: dict[str, Any]
    values: NDArray[Any]
    offsets: NDArray[np.int64] | None = None

    def take(self, order: NDArray[np.intp]) -> PropertyColumn:
        """The column with its rows in `order`."""
        if self.offsets is None:
            return PropertyColumn(self.id, self.name, self.schema, self.values[order])
        taken = _as_arrow_strings(self.values, self.offsets).take(pa.array(order))
        return string_column(self.id, self.name, self.schema, taken)

    def stored(self) -> tuple[bytes, bytes | None, str | None]:
        """(values, string offsets, offset type), as EXT_structural_metadata stores them."""
        if self.offsets is not None:
            limits = self.offsets
            kind = np.dtype("<u2") if limits[-1] - limits[0] <= 0xFFFF else np.dtype("<u4")
            text = self.values[limits[0] : limits[-1]].tobytes()
            return text, (limits - limits[0]).astype(kind).tobytes(), f"UINT{kind.itemsize * 8}"
        if self.values.dtype == np.bool_:
            return np.packbits(self.values, bitorder="little").tobytes(), None, None
        return self.values.tobytes(), None, None


@dataclass(frozen=True, slots=True)
class PropertyTable:
    """All columns of one class of features, rows in the order of the features."""

    class_id: str
    columns: tuple[PropertyColumn, ...]
    count: int

    def take(self, order: NDArray[np.intp]) -> PropertyTable:
        """The table with its rows in `order`."""
        return PropertyTable(self.class_id, tuple(column.take(order) for column in self.columns), len(order))

    def schema(self) -> dict[str, Any]:
        """The class, as it stands in the schema of every tile."""
        return {"properties": {column.id: column.schema for column in self.columns}}


def property_id(name: str) -> str:
    """An identifier of the metadata schema ([A-Za-z_][A-Za-z0-9_]*) for any name; other characters become u<hex>."""
    if _IDENTIFIER.fullmatch(name):
        return name
    spelled = _CHARACTER_OUTSIDE_IDENTIFIER.sub(_spell_out, re.sub(r"[ \-]", "_", name))
    joined = re.sub(r"_+", "_", spelled).strip("_") or "field"
    return joined if _IDENTIFIER.fullmatch(joined) else f"_{joined}"


def _spell_out(match: re.Match[str]) -> str:
    return f"_u{ord(match.group()):04x}_"


def unique_id(identifier: str, taken: dict[str, None]) -> str:
    """`identifier`, with a number where it is in `taken`; then it is too."""
    candidate, number = identifier, 1
    while candidate in taken:
        candidate, number = f"{identifier}_{number}", number + 1
    taken[candidate] = None
    return candidate


def as_arrow(values: Sequence[object] | NDArray[Any]) -> pa.Array:
    """An Arrow array of any sequence; what has no common type becomes text."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    quick = _quick_array(values)
    if quick is not None:
        return quick
    try:
        return pa.array(values, from_pandas=True)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        OverflowError,
        UnicodeEncodeError,
    ):
        return pa.array([_as_text(value) for value in values], pa.large_string())


def _quick_array(values: Sequence[object] | NDArray[Any]) -> pa.Array | None:
    """Plain values as Arrow buffers; None for everything else.

    `pa.array` loads pandas at its first call where that is installed, which takes longer than typing a small city.
    """
    if isinstance(values, np.ndarray):
        if values.dtype == np.float64 and values.ndim == 1:
            return _numbers_array(pa.float64(), np.ascontiguousarray(values), None)
        return None
    kinds = set(map(type, values))
    if len(kinds) > 2 or not (kinds - {NoneType}) or not len(values):
        return None
    try:
        if kinds <= {str, NoneType}:
            return _text_buffers(values)
        if kinds <= {int, NoneType}:
            whole = np.array([0 if value is None else value for value in values], dtype=np.int64)
            return _numbers_array(pa.int64(), whole, _present(values, kinds))
        if kinds <= {float, NoneType}:
            return _numbers_array(pa.float64(), np.array(values, dtype=np.float64), _present(values, kinds))
    except (OverflowError, UnicodeEncodeError):
        pass
    return None


def _present(values: Sequence[object], kinds: set[type]) -> NDArray[np.bool_] | None:
    """Which values are there; None where all are."""
    if NoneType not in kinds:
        return None
    return np.fromiter((value is not None for value in values), dtype=np.bool_, count=len(values))


def _numbers_array(kind: pa.DataType, values: NDArray[Any], present: NDArray[np.bool_] | None) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [_bitmap(present), pa.py_buffer(values)])


def _bitmap(present: NDArray[np.bool_] | None) -> pa.Buffer | None:
    return None if present is None else pa.py_buffer(np.packbits(present, bitorder="little"))


def _text_buffers(values: Sequence[Any]) -> pa.Array:
    present = _present(values, set(map(type, values)))
    known = values if present is None else ["" if value is None else value for value in values]
    joined = "".join(known)
    data = joined.encode()
    # One byte a character: the lengths of the texts are those of their bytes.
    pieces = known if len(data) == len(joined) else [text.encode() for text in known]
    limits = np.zeros(len(known) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(known)), out=limits[1:])
    buffers = [_bitmap(present), pa.py_buffer(limits), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(known), buffers)


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        # A lone surrogate (a source's undecodable byte) has no UTF-8 form.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return str(value)


def typed_column(identifier: str, name: str, array: pa.Array, semantic: str | None) -> PropertyColumn:
    """A column typed by its own values."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_boolean(kind) and array.null_count == 0:
        values = array.to_numpy(zero_copy_only=False)
        return PropertyColumn(identifier, name, {"type": "BOOLEAN", "name": name}, values)
    if pa.types.is_integer(kind):
        column = _integer_column(identifier, name, array)
        if column is not None:
            return column
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _float_column(identifier, name, array.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return _string_property(identifier, name, text_array(array), semantic)


def text_array(array: pa.Array) -> pa.Array:
    """Any Arrow array as large_string; dates and times as ISO 8601."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        spelled = array.cast(pa.string())
        return pc.replace_substring(spelled, " ", "T").cast(pa.large_string())
    simple = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_date(kind)
    if simple or pa.types.is_time(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return array.cast(pa.large_string())
    return pa.array([_as_text(value) for value in array.to_pylist()], pa.large_string())


def _integer_column(identifier: str, name: str, array: pa.Array) -> PropertyColumn | None:
    """INT32 where all values fit, else FLOAT64 where those are exact, else None (the caller writes text)."""
    limits = pc.min_max(array).as_py()
    low, high = limits["min"] or 0, limits["max"] or 0
    if max(abs(low), abs(high)) > _LARGEST_EXACT_INTEGER:
        return None
    values = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if low <= _INT32.min or high > _INT32.max:
        return _float_column(identifier, name, np.where(missing, np.nan, values.astype(np.float64)))
    schema: dict[str, Any] = {"type": "SCALAR", "componentType": "INT32", "name": name}
    numbers = values.astype("<i4")
    if missing.any():
        schema["noData"] = int(_INT32.min)
        numbers[missing] = _INT32.min
    return PropertyColumn(identifier, name, schema, numbers)


def _float_column(identifier: str, name: str, values: NDArray[np.float64]) -> PropertyColumn:
    """FLOAT32 where that loses nothing, else FLOAT64; what is not finite is missing."""
    finite = np.isfinite(values)
    known = values[finite]
    with np.errstate(over="ignore"):
        exact = bool((known.astype(np.float32).astype(np.float64) == known).all())
    kind = np.dtype("<f4" if exact else "<f8")
    schema: dict[str, Any] = {"type": "SCALAR", "componentType": f"FLOAT{kind.itemsize * 8}", "name": name}
    if not finite.all():
        sentinel = _USUAL_NO_DATA if not (known == _USUAL_NO_DATA).any() else float(np.finfo(kind).min)
        schema["noData"] = sentinel
        values = np.where(finite, values, sentinel)
    return PropertyColumn(identifier, name, schema, values.astype(kind))


def _string_property(identifier: str, name: str, array: pa.Array, semantic: str | None) -> PropertyColumn:
    schema: dict[str, Any] = {"type": "STRING", "name": name}
    if semantic is not None:
        schema["semantic"] = semantic
    if array.null_count:
        schema["noData"] = ""
        array = pc.fill_null(array, "")
    return string_column(identifier, name, schema, array)


def string_column(identifier: str, name: str, schema: dict[str, Any], array: pa.Array) -> PropertyColumn:
    """A column of an Arrow array of large strings without a missing one."""
    _, offsets, text = array.buffers()
    limits = np.frombuffer(offsets, dtype=np.int64, count=len(array) + 1, offset=array.offset * 8)
    data = np.frombuffer(text, dtype=np.uint8) if text is not None and text.size else np.empty(0, np.uint8)
    return PropertyColumn(identifier, name, schema, data, limits)


def _as_arrow_strings(values: NDArray[Any], offsets: NDArray[np.int64]) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
