"""What data queries find, before it is written in a format: grids of cells, and values at positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem
from tiles.rasters.source import Bounds

type Document = dict[str, Any]


@dataclass(frozen=True)
class Values:
    """The values of one parameter and which of them are data; the shape is that of what holds them."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Cells: values (times, rows, columns), row 0 the northernmost; times () for none, the shape has a first axis of 1 then."""

    bounds: Bounds
    times: tuple[str, ...]
    values: Mapping[str, Values]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        first = next(iter(self.values.values())).values
        return first.shape[1], first.shape[2]


@dataclass(frozen=True)
class Series:
    """One position: values (times); times () for none, the shape is (1,) then. `id` and `title` where it has a name."""

    x: float
    y: float
    times: tuple[str, ...]
    values: Mapping[str, Values]
    id: str = ""
    title: str = ""


@dataclass(frozen=True)
class Path:
    """Positions in the order of a line: values (positions). `distance` in metres from its start.

    `times` are those of each position where the line had times of its own; else `time` is one for all, None without.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    distance: NDArray[np.float64]
    values: Mapping[str, Values]
    time: str | None = None
    times: tuple[str, ...] = ()


type Sample = Grid | Series | Path


@dataclass(frozen=True)
class Samples:
    """All that a query found. `parameters` are CoverageJSON Parameter objects by name, in the order of the answer.

    `collected`: positions that were asked for as several are a collection also where one was found.
    """

    reference: ReferenceSystem
    parameters: Mapping[str, Document]
    found: Sequence[Sample]
    collected: bool = False
