"""Numbers and sizes of sections out of what surveys write: 300, "DN300", "1000X800", "300 mm"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_NUMBER = re.compile(r"[^\d+\-.]*([+-]?\d+(?:[.,]\d+)?)")
_SIZE = re.compile(r"[^\d]*(\d+(?:[.,]\d+)?)\s*(?:[xX×*＊хХ]\s*(\d+(?:[.,]\d+)?))?")
LARGEST_IN_METRES = 20.0
"""No section is wider than this (m), and no network has a median size of 20 mm: so a median above it means millimetres."""


def numbers_of(values: Sequence[Any]) -> Numbers:
    """Values as float64 (n,), NaN where there is no number; of text its first number counts ("6", "H=12.5 m", "3;4")."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.fromiter((_number(value) for value in values), dtype=np.float64, count=len(values))
    if numbers.ndim != 1:
        return np.full(len(values), np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    found = _NUMBER.match(value) if isinstance(value, str) else None
    return float(found.group(1).replace(",", ".")) if found else np.nan


def sizes_of(values: Sequence[Any]) -> tuple[Numbers, Numbers]:
    """Widths and heights (n,) of sections in the unit of the data; height NaN where one number is given: it is round."""
    try:
        widths = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = [_size(value) for value in values]
        both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]
    if widths.ndim != 1:
        widths = np.full(len(values), np.nan)
    return np.where(np.isfinite(widths), widths, np.nan), np.full(len(values), np.nan)


def _size(value: object) -> tuple[float, float]:
    if isinstance(value, int | float):
        return float(value), np.nan
    if not isinstance(value, str):
        return np.nan, np.nan
    if value.strip().startswith("-"):
        return _number(value), np.nan
    found = _SIZE.match(value)
    if found is None:
        return np.nan, np.nan
    width, height = found.groups()
    return float(width.replace(",", ".")), float(height.replace(",", ".")) if height else np.nan


def unit_of(sizes: Numbers) -> float:
    """Metres per unit of these sizes (n,): 0.001 where their median is above 20, else 1."""
    known = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return 0.001 if len(known) and float(np.median(known)) > LARGEST_IN_METRES else 1.0
