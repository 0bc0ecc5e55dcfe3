"""Protocol Buffers' base-128 numbers for whole arrays at once.

An array of numbers becomes an array of 32-bit words that hold their bytes, low byte first, and an array that says how many of
the four bytes count: words are put together by columns, and one selection of bytes at the end gives the stream.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

type Numbers = NDArray[np.uint32]
type Sizes = NDArray[np.uint8]

LARGEST = (1 << 28) - 1
"""The largest number that fits one word."""
_CONTINUED = np.array([0, 0, 0x80, 0x8080, 0x808080], dtype=np.uint32)
_FOUR_BYTES = np.array([[place < size for place in range(4)] for size in range(5)])
_TWO_BYTES = np.ascontiguousarray(_FOUR_BYTES[:3, :2])


def varint_words(numbers: Numbers) -> tuple[Numbers, Sizes]:
    """Words and their sizes (1 to 4 bytes) of numbers up to LARGEST; both have the shape of `numbers`."""
    largest = int(numbers.max(initial=0))
    if largest < 1 << 7:
        return numbers, np.ones(numbers.shape, dtype=np.uint8)
    if largest < 1 << 14:
        two = numbers > 0x7F
        words = numbers + (numbers & 0x3F80)  # the upper seven bits move up by one
        words |= two.astype(np.uint32) << np.uint32(7)
        return words, two.view(np.uint8) + np.uint8(1)
    sizes = np.ones(numbers.shape, dtype=np.uint8)
    words = numbers & np.uint32(0x7F)
    for place in range(1, 4):
        longer = numbers >> np.uint32(7 * place)
        if largest >> 7 * place == 0:
            break
        words |= (longer & np.uint32(0x7F)) << np.uint32(8 * place)
        sizes += longer > 0
    return words | _CONTINUED[sizes], sizes


def long_varint_words(numbers: NDArray[np.uint64]) -> tuple[Numbers, Sizes]:
    """Words of numbers up to 2^64 - 1: shape (n, 3), as ten bytes may be needed; all sizes are 0 beyond a number's end."""
    lengths = np.ones(numbers.shape, dtype=np.uint8)
    content = np.zeros((numbers.size, 12), dtype=np.uint8)
    rest = numbers
    for place in range(10):
        content[:, place] = rest.astype(np.uint8) & 0x7F
        rest = rest >> np.uint64(7)
        longer = rest > 0
        if not longer.any():
            break
        content[longer, place] |= 0x80
        lengths += longer
    sizes = np.clip(lengths[:, None].astype(np.int64) - [0, 4, 8], 0, 4).astype(np.uint8)
    return content.view("<u4").astype(np.uint32), sizes


def joined_bytes(words: Numbers, sizes: Sizes) -> NDArray[np.uint8]:
    """The bytes of all words one after the other."""
    flat = np.ascontiguousarray(words).reshape(-1)
    if sys.byteorder == "big":
        flat = flat.byteswap()
    counts = sizes.reshape(-1)
    # flatnonzero and take: a third of the time that selecting by the flags themselves takes.
    if int(counts.max(initial=0)) < len(
        _TWO_BYTES
    ):  # half of the work where no upper half of a word is needed
        return flat.astype("<u2").view(np.uint8)[np.flatnonzero(_TWO_BYTES.take(counts, axis=0))]
    return flat.view(np.uint8)[np.flatnonzero(_FOUR_BYTES.take(counts, axis=0))]


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


def zigzag(signed: NDArray[np.int32]) -> Numbers:
    """Signed numbers folded to unsigned ones: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return ((signed << 1) ^ (signed >> 31)).view(np.uint32)
