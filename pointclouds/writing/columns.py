"""Records as columns of natural values, and columns as text; nothing here is done point by point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.query import Batch
from pointclouds.las.dimensions import Dimension, coordinates
from pointclouds.las.layout import Column, Records, dimension

Doubles = npt.NDArray[np.float64]
Transform = Callable[[Doubles, Doubles, Doubles], tuple[Doubles, Doubles, Doubles]]
_MOST_DECIMALS: Final = 9
_ROWS: Final = 16_384
"""Points that are text at one time: a number takes 50 bytes as text of its own, and a node may have 100,000 points of 15 numbers."""


@dataclass(frozen=True)
class PointColumns:
    """x, y, z (n,) as they shall be written, rounded; `columns`: further dimensions by name, natural values (n,)."""

    x: Doubles
    y: Doubles
    z: Doubles
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class ColumnMaker:
    """Makes columns of records.

    `dimensions` besides positions, in the order of writing. `transform` of x, y, z where they are wanted in another system;
    `decimals` of x and y then (in the cloud's own system its scale tells).
    """

    cloud: Cloud
    dimensions: tuple[Dimension, ...]
    transform: Transform | None = None
    decimals: int = 3

    @property
    def names(self) -> tuple[str, ...]:
        """Names of `PointColumns.columns`: a dimension of several numbers gives several columns."""
        return tuple(name for one in self.dimensions for name in _names(one))

    @property
    def dtypes(self) -> dict[str, np.dtype[np.generic]]:
        """The numpy dtype of every column."""
        kinds: dict[str, np.dtype[np.generic]] = {}
        for one in self.dimensions:
            kind = np.dtype(np.float64) if one.is_scaled else np.dtype(one.dtype)
            kinds.update(dict.fromkeys(_names(one), kind))
        return kinds

    def __call__(self, records: Records) -> PointColumns:
        place = coordinates(records, self.cloud.scale, self.cloud.offset)
        x, y, z = place[:, 0], place[:, 1], place[:, 2]
        digits = list(map(decimals_of_values, self.cloud.scale, self.cloud.offset))
        if self.transform is not None:
            x, y, z = self.transform(x, y, z)
            digits = [self.decimals, self.decimals, max(digits[2], 3)]
        columns: dict[str, Column] = {}
        for one in self.dimensions:
            columns.update(_values(one, records))
        return PointColumns(np.round(x, digits[0]), np.round(y, digits[1]), np.round(z, digits[2]), columns)


def _names(one: Dimension) -> list[str]:
    return [one.name] if one.members == 1 else [f"{one.name}_{place}" for place in range(one.members)]


def _values(one: Dimension, records: Records) -> dict[str, Column]:
    if one.members == 1:
        values: Any = one.values(records)
        return {
            one.name: np.round(values, decimals_of_values(one.scale, one.offset)) if one.is_scaled else values
        }
    stored: Any = dimension(records, one.name).reshape(len(records), -1)
    parts = stored * one.scale + one.offset if one.is_scaled else stored
    return {name: parts[:, place] for place, name in enumerate(_names(one))}


def pieces(batches: Iterable[Batch]) -> Iterator[Records]:
    """The records of batches, few at a time."""
    for batch in batches:
        records = batch.records
        for start in range(0, len(records), _ROWS):
            yield records[start : start + _ROWS]


def decimals_of(step: float) -> int:
    """Decimals that tell multiples of a step apart: 3 for 0.001, 2 for 0.25."""
    for decimals in range(_MOST_DECIMALS):
        if abs(round(step, decimals) - step) <= abs(step) * 1e-9:
            return decimals
    return _MOST_DECIMALS


def decimals_of_values(scale: float, offset: float) -> int:
    """Decimals of the values that are multiples of a step from an offset on."""
    return max(decimals_of(scale), decimals_of(abs(offset)))


def texts(column: Column) -> list[bytes]:
    """Every number as JSON; what is no number as null."""
    if not len(column):
        return []
    return orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def joined(parts: Sequence[bytes | list[bytes]]) -> bytes:
    """Parts put together row by row: bytes are the same in all rows. At least one part is a list, all lists are equally long."""
    length = next(len(part) for part in parts if isinstance(part, list))
    columns: list[Iterator[bytes] | list[bytes]] = [
        repeat(part, length) if isinstance(part, bytes) else part for part in parts
    ]
    return b"".join(chain.from_iterable(zip(*columns, strict=True)))
