"""PNG files (ISO/IEC 15948) written with isa-l: an eighth of the time that zlib takes at its lowest level, and smaller.

Pillow tries five filters on every line and packs with zlib: 8 ms for a tile of a photograph. Here the filter is chosen once an
image, lines are filtered by numpy and packed by isa-l, both without the interpreter's lock
(docs/decisions/0016-speed-of-maps.md).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tiles.maps.source import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _PALETTE, _RGBA = 2, 3, 6
_NONE, _UP = 0, 2
_LEVEL = 2
_STRIP_BYTES = 1 << 20
"""Lines that are filtered at once: a large map is not held a second time."""
_ALIKE = 0.5
"""The share of pixels that equal their left neighbour from which on a drawing is told from a photograph."""


def encode_png(pixels: Pixels) -> bytes:
    """RGBA pixels (h, w, 4) as PNG, every value kept; without alpha where all are opaque."""
    height, width = pixels.shape[:2]
    filter_type = _NONE if _is_drawing(pixels) else _UP
    if (pixels[..., 3] == 255).all():
        return _file(pixels[..., :3], _RGB, (height, width), filter_type)
    return _file(pixels, _RGBA, (height, width), filter_type)


def encode_png_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """Places (h, w) in a table of at most 256 colours (n, 4), RGBA, as PNG with a palette."""
    palette = _chunk(b"PLTE", colours[:, :3].tobytes())
    alpha = colours[:, 3]
    opaque_from = len(alpha) - int(np.argmax(alpha[::-1] != 255)) if (alpha != 255).any() else 0
    if opaque_from:
        palette += _chunk(b"tRNS", alpha[:opaque_from].tobytes())
    return _file(indices[..., None], _PALETTE, indices.shape, _NONE, palette)


def _is_drawing(pixels: Pixels) -> bool:
    """Whether areas have one colour: their lines repeat as they are, and filtered ones do not."""
    if not pixels.flags.c_contiguous:
        pixels = np.ascontiguousarray(pixels)
    whole = pixels.view(np.uint32)[..., 0]
    return bool(np.count_nonzero(whole[:, 1:] == whole[:, :-1]) > _ALIKE * whole.size)


def _file(
    samples: NDArray[np.uint8],
    colour_type: int,
    size: tuple[int, ...],
    filter_type: int,
    palette: bytes = b"",
) -> bytes:
    height, width = size[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            palette,
            _chunk(b"IDAT", _packed_lines(samples, filter_type)),
            _chunk(b"IEND", b""),
        )
    )


def _packed_lines(samples: NDArray[np.uint8], filter_type: int) -> bytes:
    """All lines (h, w, samples a pixel), each behind its filter type, as one zlib stream."""
    height, width, depth = samples.shape
    line = width * depth
    step = max(1, _STRIP_BYTES // (line + 1))
    compressor = isal_zlib.compressobj(_LEVEL)
    parts: list[bytes] = []
    above = np.zeros(line, dtype=np.uint8)
    for first in range(0, height, step):
        lines = np.ascontiguousarray(samples[first : first + step]).reshape(-1, line)
        filtered = np.empty((len(lines), line + 1), dtype=np.uint8)
        filtered[:, 0] = filter_type
        if filter_type == _UP:
            np.subtract(lines[0], above, out=filtered[0, 1:])
            np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
            above = lines[-1]
        else:
            filtered[:, 1:] = lines
        parts.append(compressor.compress(filtered))
    parts.append(compressor.flush())
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
