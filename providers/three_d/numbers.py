"""Numbers out of attribute values as people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER = re.compile(r"\s*([+-]?\d+(?:[.,]\d+)?)")


def numbers_of(values: Sequence[Any]) -> NDArray[np.float64]:
    """Values as float64 (n,), NaN where there is no number; of text its first number counts ("6", "12.5 m", "3;4")."""
    kinds = set(map(type, values))
    if kinds <= {int, float, type(None)}:
        # None becomes NaN; an integer that no float holds raises.
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            pass
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: Any) -> float:
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if isinstance(value, str) and (found := _NUMBER.match(value)):
        return float(found.group(1).replace(",", "."))
    return float("nan")
