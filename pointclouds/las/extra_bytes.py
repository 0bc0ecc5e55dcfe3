"""The description of an extra dimension in the extra bytes record (LAS 1.4 R15, tables 24 and 25)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

STRUCT_SIZE: Final = 192
LONGEST_NAME: Final = 32
_DATA_TYPES: Final = {
    "u1": 1,
    "i1": 2,
    "u2": 3,
    "i2": 4,
    "u4": 5,
    "i4": 6,
    "u8": 7,
    "i8": 8,
    "f4": 9,
    "f8": 10,
}


def describe(name: str, dtype: np.dtype[Any], text: str = "") -> bytes:
    """The 192 bytes for one dimension of one number, without scale and offset.

    Raises:
        ValueError: a dtype LAS has no code for, or a name of more than 32 bytes in UTF-8.
    """
    raw = name.encode("utf-8")
    if not raw or len(raw) > LONGEST_NAME:
        raise ValueError(f"a dimension's name has 1 to {LONGEST_NAME} bytes, {name!r} has {len(raw)}")
    try:
        code = _DATA_TYPES[dtype.newbyteorder("<").str[1:]]
    except KeyError:
        raise ValueError(f"LAS has no data type for {dtype}") from None
    described = text.encode("utf-8")[:LONGEST_NAME].ljust(LONGEST_NAME, b"\0")
    return b"\0\0" + bytes((code, 0)) + raw.ljust(LONGEST_NAME, b"\0") + bytes(124) + described


def fitting_name(name: str, taken: frozenset[str] | set[str]) -> str:
    """`name` made fit for a dimension: printable, at most 32 bytes, and not one of `taken`."""
    cleaned = "".join(letter for letter in name.strip() if letter.isprintable()) or "dimension"
    number = 1
    while True:
        tail = "" if number == 1 else f"_{number}"
        short = cleaned.encode("utf-8")[: LONGEST_NAME - len(tail)].decode("utf-8", "ignore") + tail
        if short not in taken:
            return short
        number += 1
