"""Protocol Buffers' base-128 numbers for whole arrays at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type Numbers = NDArray[np.uint64]
type Counts = NDArray[np.int64]


def varint_sizes(numbers: Numbers) -> Counts:
    """Bytes each number takes, 1 to 10; same shape as `numbers`."""
    sizes = np.ones(numbers.shape, dtype=np.int64)
    if numbers.size == 0:
        return sizes
    largest = int(numbers.max())
    limit = 1 << 7
    while limit <= largest:
        sizes += numbers >= np.uint64(limit)
        limit <<= 7
    return sizes


def encode_varints(numbers: Numbers, sizes: Counts) -> bytes:
    """The numbers one after the other; `sizes` is what varint_sizes said about them."""
    if numbers.size == 0:
        return b""
    ends = np.cumsum(sizes)
    starts = ends - sizes
    encoded = np.empty(int(ends[-1]), dtype=np.uint8)
    encoded[starts] = numbers.astype(np.uint8) & np.uint8(0x7F)
    position = 0
    while (longer := np.flatnonzero(sizes > position + 1)).size:
        # Each round looks only at the numbers that go on: most end after one byte or two.
        numbers, starts, sizes = numbers[longer] >> np.uint64(7), starts[longer], sizes[longer]
        encoded[starts + position] |= np.uint8(0x80)
        position += 1
        encoded[starts + position] = numbers.astype(np.uint8) & np.uint8(0x7F)
    return encoded.tobytes()


def varint(number: int) -> bytes:
    """One non-negative number."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def length_delimited(field: int, content: bytes) -> bytes:
    """A field of wire type 2: its key, the length, the content."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def zigzag(signed: NDArray[np.int64]) -> Numbers:
    """Signed numbers folded to unsigned ones: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return ((signed << 1) ^ (signed >> 63)).astype(np.uint64)
