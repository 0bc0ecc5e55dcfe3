"""Helpers for arrays of unequal pieces: pieces lie one after the other in a flat array, limits say where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def spans(begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.int64]:
    """The indices begin[0]..end[0]-1, begin[1]..end[1]-1, and so on, as one array."""
    sizes: NDArray[np.int64] = (end - begin).astype(np.int64)
    if sizes.sum() == 0:
        return np.empty(0, dtype=np.int64)
    result: NDArray[np.int64] = np.arange(int(sizes.sum()), dtype=np.int64)
    result += np.repeat(begin.astype(np.int64) - (np.cumsum(sizes) - sizes), sizes)
    return result


def limits(sizes: NDArray[Any] | list[int]) -> NDArray[np.int64]:
    """Limits (n + 1,) of pieces of the given sizes (n,)."""
    result: NDArray[np.int64] = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(np.asarray(sizes, dtype=np.int64), out=result[1:])
    return result


def following(rings: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every corner the index of the next one in its ring; `rings` are limits starting at 0, no ring is empty."""
    result: NDArray[np.int64] = np.arange(1, int(rings[-1]) + 1, dtype=np.int64)
    result[rings[1:] - 1] = rings[:-1]
    return result
