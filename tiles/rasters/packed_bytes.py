"""Bilinear values of bytes: up to four bands of a pixel lie in one 64-bit number and are weighed by one multiplication.

Each band has 16 bits of its own, and weights are 256ths whose sum is 256: no band ever runs into the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

type Packed = NDArray[np.uint64]

BANDS_PACKED = 4
_NUMBER, _LANE = np.dtype("<u8"), np.dtype("<u2")
_HALF = np.uint64(0x0080_0080_0080_0080)
_BYTES = np.uint64(0x00FF_00FF_00FF_00FF)
_EIGHT = np.uint64(8)


class Neighbours(NamedTuple):
    """Along one axis: the place before each position, the step to the one after, and how far between them (0 to 1)."""

    before: NDArray[np.intp]
    step: int
    fraction: NDArray[np.floating[Any]]


def pack_bands(values: NDArray[np.uint8]) -> list[Packed]:
    """Bands (bands, height, width) as arrays (height, width), each of up to four of them."""
    return [_packed(values[first : first + BANDS_PACKED]) for first in range(0, len(values), BANDS_PACKED)]


def _packed(values: NDArray[np.uint8]) -> Packed:
    lanes = np.zeros((*values.shape[1:], BANDS_PACKED), dtype=_LANE)
    for band, layer in enumerate(values):
        lanes[..., band] = layer
    return lanes.view(_NUMBER)[..., 0]


def bilinear_points(packed: Sequence[Packed], x: Neighbours, y: Neighbours, found: NDArray[np.uint8]) -> None:
    """Values at points (rows, columns) that lie anywhere, into `found` (bands, rows, columns)."""
    fx, fy = _of_256(x.fraction).astype(np.int32), _of_256(y.fraction).astype(np.int32)
    both = (fx * fy + 128) >> 8
    weights = [weight.astype(_NUMBER) for weight in (256 - fx - fy + both, fx - both, fy - both, both)]
    width = packed[0].shape[1]
    at = y.before * width + x.before
    places = (at, at + x.step, at + y.step * width, at + (y.step * width + x.step))
    for group, numbers in enumerate(packed):
        total = numbers.take(places[0])
        total *= weights[0]
        for place, weight in zip(places[1:], weights[1:], strict=True):
            part = numbers.take(place)
            part *= weight
            total += part
        total += _HALF
        _unpack(total, found[group * BANDS_PACKED :])


def bilinear_lines(packed: Sequence[Packed], x: Neighbours, y: Neighbours, found: NDArray[np.uint8]) -> None:
    """Values where columns (of `x`) and rows (of `y`) cross: between lines first, and then along them."""
    fx = _of_256(x.fraction).astype(_NUMBER)
    fy = _of_256(y.fraction).astype(_NUMBER)[:, None]
    whole = np.uint64(256)
    for group, numbers in enumerate(packed):
        lines = numbers[y.before]
        lines *= whole - fy
        below = numbers[y.before + y.step]
        below *= fy
        lines += below
        lines += _HALF
        lines >>= _EIGHT
        lines &= _BYTES
        total = lines.take(x.before, axis=1)
        total *= whole - fx
        after = lines.take(x.before + x.step, axis=1)
        after *= fx
        total += after
        total += _HALF
        _unpack(total, found[group * BANDS_PACKED :])


def _of_256(fraction: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """In 256ths, ready to be cut to the nearest whole."""
    parts = fraction * 256
    parts += 0.5
    return parts


def _unpack(total: Packed, found: NDArray[np.uint8]) -> None:
    """The upper byte of each band's 16 bits."""
    parts = total.view(np.uint8).reshape(*total.shape, 2 * BANDS_PACKED)
    for band in range(min(BANDS_PACKED, len(found))):
        found[band] = parts[..., 2 * band + 1]
