"""The bytes of a tile as they are kept: whether they are whole, and vector tiles as gzip.

A vector tile is kept as one gzip member (RFC 1952) whose extra field says how long the member is, so that a cut one is told
without unpacking it; everything that reads gzip reads it.
"""

from __future__ import annotations

import struct
import zlib

_GZIP = b"\x1f\x8b\x08"
_EXTRA_FLAG = 4
_HEADER = struct.Struct(
    "<3sBIBBHccHI"
)  # magic and method, flags, time, hints, system, extra: length, name, its length, value
_NAME = (b"C", b"T")
_TRAILER = struct.Struct("<II")  # CRC 32 and length of what is packed
_MOST_RATIO = 1040  # deflate packs no better than 1 to 1032
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def packed(body: bytes) -> bytes:
    """A vector or terrain tile as gzip; one that is gzip already stays as it is."""
    from isal import isal_zlib

    if body[:3] == _GZIP:
        return body
    deflater = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    content = deflater.compress(body) + deflater.flush()
    length = _HEADER.size + len(content) + _TRAILER.size
    header = _HEADER.pack(_GZIP, _EXTRA_FLAG, 0, 0, 255, 8, *_NAME, 4, length)
    return header + content + _TRAILER.pack(zlib.crc32(body), len(body))


def holds_nothing(body: bytes) -> bool:
    """Whether a gzip member packs no bytes."""
    return len(body) <= 64 and body[:3] == _GZIP and _TRAILER.unpack_from(body, len(body) - 8)[1] == 0


def is_whole(body: bytes, extension: str) -> bool:
    """Whether the bytes begin and end as a tile of that extension does. Costs the same for every size."""
    return _CHECKS[extension](body)


def _whole_png(body: bytes) -> bool:
    return body.startswith(_PNG) and body.endswith(_PNG_END)


def _whole_jpeg(body: bytes) -> bool:
    return body.startswith(b"\xff\xd8\xff") and body.endswith(b"\xff\xd9")


def _whole_webp(body: bytes) -> bool:
    # The RIFF header counts what follows its first 8 bytes; an odd number is padded.
    if len(body) < 20 or body[:4] != b"RIFF" or body[8:12] != b"WEBP":
        return False
    (counted,) = struct.unpack_from("<I", body, 4)
    return len(body) - 8 in (counted, counted + (counted & 1))


def _whole_gzip(body: bytes) -> bool:
    if len(body) < 18 or body[:3] != _GZIP:
        return False
    if body[3] == _EXTRA_FLAG and len(body) >= _HEADER.size:
        *_, first, second, size, length = _HEADER.unpack_from(body)
        if (first, second) == _NAME and size == 4:
            return bool(length == len(body))
    (unpacked,) = struct.unpack_from("<I", body, len(body) - 4)
    return bool(
        unpacked <= _MOST_RATIO * len(body)
    )  # made elsewhere: as good as can be told without unpacking


_CHECKS = {
    "png": _whole_png,
    "jpeg": _whole_jpeg,
    "webp": _whole_webp,
    "mvt": _whole_gzip,
    "terrain": _whole_gzip,
    "glb": _whole_gzip,
    "b3dm": _whole_gzip,
    "i3s": _whole_gzip,
}
