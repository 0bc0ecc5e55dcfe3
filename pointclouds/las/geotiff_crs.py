"""A CRS that a LAS file defines by GeoTIFF keys and parameters, as GDAL understands them (GeoTIFF 1.1, OGC 19-008r4)."""

from __future__ import annotations

import struct
import warnings
from typing import Final

import pyproj
from pyproj.exceptions import CRSError

_SHORT, _LONG, _DOUBLE, _ASCII = 3, 4, 12, 2
_PROJECTION_KEYS: Final = (3074, 3075)
"""A conversion by code, or the method of one given by parameters."""


def user_defined_crs(
    directory: bytes, doubles: bytes, texts: bytes, keys: dict[int, int]
) -> pyproj.CRS | None:
    """The CRS of a key directory with its parameters; None where the projection is not defined in it, or GDAL finds none.

    Args:
        directory, doubles, texts: the data of the records 34735, 34736 and 34737.
        keys: the directory's short values.
    """
    if not any(keys.get(key) for key in _PROJECTION_KEYS):
        return None
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.MemoryFile(_tiff(directory, doubles, texts)) as memory, memory.open() as opened:
                wkt = opened.crs.to_wkt() if opened.crs else ""
        crs = pyproj.CRS.from_wkt(wkt) if wkt else None
    except (RasterioError, CRSError, ValueError):
        return None
    return crs if crs is not None and crs.is_projected else None


def _tiff(directory: bytes, doubles: bytes, texts: bytes) -> bytes:
    """A TIFF of one pixel with these keys: the container in which GDAL knows how to read them."""
    shorts = directory[: len(directory) // 8 * 8]
    pixel, place = struct.pack("<3d", 1, 1, 0), struct.pack("<6d", 0, 0, 0, 0, 0, 0)
    tags: list[tuple[int, int, int, bytes]] = [
        (256, _SHORT, 1, struct.pack("<H", 1)),
        (257, _SHORT, 1, struct.pack("<H", 1)),
        (258, _SHORT, 1, struct.pack("<H", 8)),
        (259, _SHORT, 1, struct.pack("<H", 1)),
        (262, _SHORT, 1, struct.pack("<H", 1)),
        (273, _LONG, 1, struct.pack("<I", 8)),
        (277, _SHORT, 1, struct.pack("<H", 1)),
        (278, _SHORT, 1, struct.pack("<H", 1)),
        (279, _LONG, 1, struct.pack("<I", 1)),
        (33550, _DOUBLE, 3, pixel),
        (33922, _DOUBLE, 6, place),
        (34735, _SHORT, len(shorts) // 2, shorts),
    ]
    if len(doubles) >= 8:
        tags.append((34736, _DOUBLE, len(doubles) // 8, doubles[: len(doubles) // 8 * 8]))
    if texts:
        tags.append((34737, _ASCII, len(texts), texts))
    body, entries = b"\0\0", b""
    first = 8 + len(body) + 2 + 12 * len(tags) + 4
    values = b""
    for tag, kind, count, data in tags:
        if len(data) <= 4:
            entries += struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
        else:
            entries += struct.pack("<HHII", tag, kind, count, first + len(values))
            values += data + b"\0" * (len(data) % 2)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    return start + body + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + values
