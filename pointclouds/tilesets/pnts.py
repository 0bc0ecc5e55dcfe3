"""One tile's points as 3D Tiles 1.0 has them: the tile format "Point Cloud" (OGC 18-053r2, clause 10)."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pointclouds.las.layout import Records
from pointclouds.tilesets.attributes import PointAttribute
from pointclouds.tilesets.colours import Colours, srgb
from pointclouds.tilesets.glb import Positions
from pointclouds.tilesets.local_frame import column_extremes

_HEADER: Final = struct.Struct("<4s6I")
_ALIGNMENT: Final = 8
_COMPONENTS: Final = {
    "u1": "UNSIGNED_BYTE",
    "i1": "BYTE",
    "u2": "UNSIGNED_SHORT",
    "i2": "SHORT",
    "f4": "FLOAT",
}


def point_pnts(
    positions: Positions, colours: Colours, records: Records, attributes: Sequence[PointAttribute] = ()
) -> bytes:
    """Points around RTC_CENTER with their colours (sRGB, as clients take them), dimensions in the batch table, one row a point.

    positions: (n, 3) metres, z up.
    """
    count = len(positions)
    table: dict[str, Any] = {"POINTS_LENGTH": count}
    binary = b""
    if count:
        centre = np.mean(column_extremes(positions), axis=0)
        floats = (positions - centre).astype("<f4").tobytes()
        table |= {"RTC_CENTER": centre.tolist(), "POSITION": {"byteOffset": 0}}
        table["RGB"] = {"byteOffset": len(floats)}
        binary = _padded(floats + srgb(colours).tobytes(), b"\0")
    batch: dict[str, Any] = {}
    values = b""
    for one in attributes if count else ():
        batch[one.id] = {
            "byteOffset": len(values),
            "componentType": _COMPONENTS[one.kind],
            "type": "SCALAR",
        }
        values += _padded(one.column(records).astype(f"<{one.kind}").tobytes(), b"\0")
    described = _text(table, _HEADER.size)
    properties = _text(batch, 0) if batch else b""
    total = _HEADER.size + len(described) + len(binary) + len(properties) + len(values)
    header = _HEADER.pack(b"pnts", 1, total, len(described), len(binary), len(properties), len(values))
    return b"".join((header, described, binary, properties, values))


def _padded(data: bytes, filler: bytes, before: int = 0) -> bytes:
    return data + filler * (-(before + len(data)) % _ALIGNMENT)


def _text(table: dict[str, Any], before: int) -> bytes:
    """JSON whose end, `before` bytes further on, is at a multiple of eight."""
    return _padded(json.dumps(table, separators=(",", ":")).encode(), b" ", before)
