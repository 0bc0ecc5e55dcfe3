"""Attributes of a vector tile layer: the key and value tables, and each feature's tags.

Vector Tile Specification 2.1 clause 4.4: a feature carries pairs of indexes into the layer's keys and values. Equal values
of equal type are stored once, whichever column they come from.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.errors import VectorTileError
from tiles.vector.message import Tags
from tiles.vector.varint import joined_bytes, length_delimited, long_varint_words, varint

_KINDS = (str, int, float, bool)
_VALUE_KEY = 4 << 3 | 2
_STRING_KEY, _FLOAT_KEY, _DOUBLE_KEY = 1 << 3 | 2, 2 << 3 | 5, 3 << 3 | 1
_UNSIGNED_KEY, _SIGNED_KEY, _BOOLEAN_KEY = 5 << 3, 6 << 3, 7 << 3
_LARGEST_SINGLE = 3.4e38  # a larger one keeps its eight bytes
_FEW = 8  # values that are encoded one by one sooner than as an array
_SHORT_STRING = [bytes((_VALUE_KEY, size + 2, _STRING_KEY, size)) for size in range(126)]


def encode_tags(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]], selected: NDArray[np.intp], total: int
) -> Tags:
    """Tags of the features `selected` (indexes into the columns, which hold `total` values each).

    None and NaN are left out. Raises VectorTileError where a column's length is not `total`.
    """
    table = _ValueTable()
    keys: list[str] = []
    coded: list[NDArray[np.int64]] = []
    for name, column in columns.items():
        if len(column) != total:
            raise VectorTileError(f"column {name!r} has {len(column)} values for {total} features")
        codes = table.code(_cells(column, selected))
        if (codes >= 0).any():
            keys.append(name)
            coded.append(codes)
    if not keys:
        return Tags((), np.empty((selected.size, 0), dtype=np.int32), b"")
    return Tags(tuple(keys), table.indexes(np.stack(coded, axis=1)), table.encode())


def _cells(column: Sequence[Any] | NDArray[Any], selected: NDArray[np.intp]) -> list[Any]:
    """The selected values as Python objects, times as ISO 8601 text."""
    if isinstance(column, np.ndarray):
        chosen = column[selected]
        if chosen.dtype.kind == "M":
            texts = np.datetime_as_string(chosen).tolist()
            return [None if missing else text for text, missing in zip(texts, np.isnat(chosen), strict=True)]
        cells: list[Any] = chosen.tolist()
        return cells
    if len(column) == selected.size:
        return list(column)
    return [column[index] for index in selected.tolist()]


class _ValueTable:
    """Distinct values by type.

    A code is 4 * (number within its type) + (position of the type in _KINDS), -1 for nothing: 1, 1.0 and True are equal in
    Python but not in a tile.
    """

    def __init__(self) -> None:
        self._numbers: list[defaultdict[Any, int]] = [defaultdict(count(i, 4).__next__) for i in range(4)]

    def code(self, cells: list[Any]) -> NDArray[np.int64]:
        """Codes of the values of one column; new values enter the table."""
        kinds = set(map(type, cells))
        some = kinds - {type(None)}
        if len(some) == 1 and (kind := some.pop()) in _KINDS:
            if kind is float:
                return self._code_floats(cells)
            if kind is not int or _fits(cells):
                return self._code_plain(cells, self._numbers[_KINDS.index(kind)], None in cells)
        plain = map(_plain, cells)
        codes = [-1 if v is None else self._numbers[_KINDS.index(type(v))][v] for v in plain]
        return np.array(codes, dtype=np.int64)

    def _code_floats(self, cells: list[Any]) -> NDArray[np.int64]:
        numbers = np.array(cells, dtype=np.float64)
        missing = np.isnan(numbers)
        distinct, inverse = np.unique(np.where(missing, 0.0, numbers), return_inverse=True)
        codes = _looked_up(distinct.tolist(), self._numbers[2])[inverse]
        return np.where(missing, -1, codes)

    @staticmethod
    def _code_plain(cells: list[Any], numbers: defaultdict[Any, int], gaps: bool) -> NDArray[np.int64]:
        if gaps:
            return np.array([-1 if cell is None else numbers[cell] for cell in cells], dtype=np.int64)
        return _looked_up(cells, numbers)

    def indexes(self, codes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Positions in the encoded table of the codes; -1 stays -1."""
        sizes = [len(numbers) for numbers in self._numbers]
        offsets = np.cumsum([0, *sizes[:3]])
        return np.where(codes >= 0, (codes >> 2) + offsets[codes & 3], -1).astype(np.int32)

    def encode(self) -> bytes:
        """All `values` fields of the layer, type after type."""
        texts, integers, floats, booleans = (list(numbers) for numbers in self._numbers)
        return b"".join(
            (
                _encode_strings(texts),
                _encode_integers(integers),
                _encode_floats(np.array(floats, dtype=np.float64)),
                *(bytes((_VALUE_KEY, 2, _BOOLEAN_KEY, value)) for value in booleans),
            )
        )


def _looked_up(cells: list[Any], numbers: defaultdict[Any, int]) -> NDArray[np.int64]:
    """The number of each value; runs without a line of Python a value."""
    return np.fromiter(map(numbers.__getitem__, cells), np.int64, len(cells))


def _plain(value: Any) -> str | int | float | bool | None:
    """The value as one of the four types of a tile; None for what is left out."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, bool) or type(value) is str:
        return value
    if isinstance(value, int):
        return int(value) if _fits([value]) else str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _fits(integers: list[Any]) -> bool:
    """True where all lie in the 64-bit ranges a tile can hold (unsigned, or signed below zero)."""
    present = [value for value in integers if value is not None]
    return bool(min(present) >= -(1 << 63) and max(present) < 1 << 64)


def _encode_strings(texts: list[str]) -> bytes:
    fields = []
    for text in texts:
        # A lone surrogate (from a file in an unknown encoding) is no reason to lose the tile.
        content = text.encode("utf-8", "replace")
        if len(content) < len(_SHORT_STRING):
            fields.append(_SHORT_STRING[len(content)])
            fields.append(content)
        else:
            fields.append(length_delimited(4, length_delimited(1, content)))
    return b"".join(fields)


def _encode_integers(integers: list[int]) -> bytes:
    if not integers:
        return b""
    if max(integers) < 1 << 63:
        signed = np.array(integers, dtype=np.int64)
        negative = signed < 0
        numbers = np.where(negative, (signed << 1) ^ (signed >> 63), signed).astype(np.uint64)
    else:
        negative = np.array([value < 0 for value in integers], dtype=np.bool_)
        numbers = np.array([-2 * value - 1 if value < 0 else value for value in integers], dtype=np.uint64)
    words = np.empty((len(integers), 4), dtype=np.uint32)
    sizes = np.empty(words.shape, dtype=np.uint8)
    words[:, 1:], sizes[:, 1:] = long_varint_words(numbers)
    length = 1 + sizes[:, 1:].sum(axis=1, dtype=np.uint32)
    words[:, 0] = (
        _VALUE_KEY | length << 8 | np.where(negative, _SIGNED_KEY, _UNSIGNED_KEY).astype(np.uint32) << 16
    )
    sizes[:, 0] = 3
    return joined_bytes(words, sizes).tobytes()


def _encode_floats(numbers: NDArray[np.float64]) -> bytes:
    """Four bytes where they say the same number, else eight."""
    rows, used = _float_rows(numbers)
    return rows[used].tobytes()


def _float_rows(numbers: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A row of bytes for each number, and which of them count."""
    with np.errstate(over="ignore", under="ignore"):
        singles = numbers.astype("<f4")
    short = singles.astype(np.float64) == numbers
    rows = np.empty((numbers.size, 11), dtype=np.uint8)
    rows[:, 0] = _VALUE_KEY
    rows[:, 1] = np.where(short, 5, 9)
    rows[:, 2] = np.where(short, _FLOAT_KEY, _DOUBLE_KEY)
    rows[:, 3:] = numbers.astype("<f8").view(np.uint8).reshape(-1, 8)
    rows[short, 3:7] = singles.view(np.uint8).reshape(-1, 4)[short]
    used = np.ones(rows.shape, dtype=np.bool_)
    used[short, 7:] = False
    return rows, used


def encode_values(values: Sequence[Any]) -> list[bytes]:
    """The `values` field of a layer (clause 4.1) that holds each value; b"" for None and NaN, which a tile leaves out."""
    if len(values) < _FEW:
        return [_encode_value(value) for value in values]
    kinds = set(map(type, values))
    if kinds == {str}:
        return _encode_texts(values)
    if kinds == {float}:
        return _encode_each_float(values)
    if type(None) in kinds:
        bodies = iter(encode_values([value for value in values if value is not None]))
        return [b"" if value is None else next(bodies) for value in values]
    if len(kinds) > 1:
        return [_encode_value(value) for value in values]
    # Of one type, equal values have equal bytes (0.0 and -0.0 aside, which mean the same).
    encoded = {value: _encode_value(value) for value in set(values)}
    return [encoded[value] for value in values]


def _encode_texts(texts: Sequence[str]) -> list[bytes]:
    heads, most = _SHORT_STRING, len(_SHORT_STRING)
    contents = [text.encode("utf-8", "replace") for text in texts]
    return [
        heads[len(content)] + content
        if len(content) < most
        else length_delimited(4, length_delimited(1, content))
        for content in contents
    ]


def _encode_each_float(values: Sequence[float]) -> list[bytes]:
    numbers = np.array(values, dtype=np.float64)
    rows, used = _float_rows(numbers)
    used[np.isnan(numbers)] = False
    content, ends = rows[used].tobytes(), np.cumsum(used.sum(axis=1)).tolist()
    return [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _encode_value(value: Any) -> bytes:
    plain = _plain(value)
    if plain is None:
        return b""
    if isinstance(plain, str):
        return _encode_strings([plain])
    if isinstance(plain, bool):
        return bytes((_VALUE_KEY, 2, _BOOLEAN_KEY, plain))
    if isinstance(plain, int):
        key = bytes((_SIGNED_KEY if plain < 0 else _UNSIGNED_KEY,))
        return length_delimited(4, key + varint(-2 * plain - 1 if plain < 0 else plain))
    single = struct.pack("<f", plain) if abs(plain) <= _LARGEST_SINGLE else b""
    if single and struct.unpack("<f", single)[0] == plain:
        return length_delimited(4, bytes((_FLOAT_KEY,)) + single)
    return length_delimited(4, bytes((_DOUBLE_KEY,)) + struct.pack("<d", plain))
