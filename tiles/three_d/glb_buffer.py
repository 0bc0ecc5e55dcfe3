"""The binary chunk of a glb while it grows, and the file around it.

Every buffer view starts at a multiple of 8 bytes, counted from the start of the file as well as of the buffer, because property
tables ask for it (EXT_structural_metadata, "Binary table format").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.placement import y_up

GLB_MAGIC = b"glTF"
JSON_CHUNK = b"JSON"
BINARY_CHUNK = b"BIN\x00"

BYTE, UNSIGNED_BYTE, SHORT, UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5120, 5121, 5122, 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


@dataclass(slots=True)
class GlbBuffer:
    """The binary chunk, and the glTF objects that point into it."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, content: bytes, *, target: int | None = None, stride: int | None = None) -> int:
        """Append `content`; the number of its buffer view."""
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        if stride is not None:
            entry["byteStride"] = stride
        if target is not None:
            entry["target"] = target
        self.data += content
        self.data += b"\x00" * (-len(self.data) % 8)
        self.views.append(entry)
        return len(self.views) - 1

    def accessor(self, view: int | None, component: int, count: int, kind: str, **more: Any) -> int:
        """Describe values; the number of their accessor. `view` None: they lie in a compressed primitive."""
        where = {} if view is None else {"bufferView": view}
        self.accessors.append({**where, "componentType": component, "count": count, "type": kind, **more})
        return len(self.accessors) - 1

    def vectors(self, values: NDArray[np.float64], *, bounded: bool = False) -> int:
        """An accessor of 32-bit floats (n, 2 to 4); `bounded` states their limits, as POSITION must."""
        floats = np.ascontiguousarray(values, dtype="<f4")
        width = floats.shape[1]
        view = self.view(floats.tobytes(), target=ARRAY_BUFFER, stride=4 * width)
        limits = limits_of(floats) if bounded else {}
        return self.accessor(view, FLOAT, len(floats), f"VEC{width}", **limits)

    def normals(self, normals: NDArray[np.float64]) -> int:
        """An accessor of unit vectors (n, 3; east, north, up) in steps of 1/127, y up."""
        packed = np.zeros((len(normals), 4), dtype=np.int8)
        packed[:, :3] = np.rint(y_up(normals) * 127.0)
        view = self.view(packed.tobytes(), target=ARRAY_BUFFER, stride=4)
        return self.accessor(view, BYTE, len(normals), "VEC3", normalized=True)

    def feature_ids(self, ids: NDArray[Any]) -> int:
        """An accessor of ids (n,), each in 4 bytes."""
        kind, component = feature_id_type(int(ids.max()))
        packed = np.zeros((len(ids), 4 // kind.itemsize), dtype=kind)
        packed[:, 0] = ids
        view = self.view(packed.tobytes(), target=ARRAY_BUFFER, stride=4)
        return self.accessor(view, component, len(ids), "SCALAR")

    def indices(self, triangles: NDArray[np.int64], vertices: int) -> int:
        """An accessor of vertex indices; 65,535 is no index of 16 bits (it restarts a primitive)."""
        kind, component = ("<u2", UNSIGNED_SHORT) if vertices <= 0xFFFF else ("<u4", UNSIGNED_INT)
        content = np.ascontiguousarray(triangles, dtype=kind)
        view = self.view(content.tobytes(), target=ELEMENT_ARRAY_BUFFER)
        return self.accessor(view, component, content.size, "SCALAR")


def limits_of(values: NDArray[Any]) -> dict[str, list[float]]:
    """min and max of an accessor, as POSITION needs them."""
    # Column by column: numpy is eight times slower along the first axis of narrow rows.
    columns = [values[:, axis] for axis in range(values.shape[1])]
    return {"min": [one.min().item() for one in columns], "max": [one.max().item() for one in columns]}


def feature_id_type(highest: int) -> tuple[np.dtype[Any], int]:
    """The smallest component type that glTF allows for ids up to `highest` (no 32-bit integers in attributes)."""
    if highest <= 0xFF:
        return np.dtype("<u1"), UNSIGNED_BYTE
    return (np.dtype("<u2"), UNSIGNED_SHORT) if highest <= 0xFFFF else (np.dtype("<f4"), FLOAT)


def pack_glb(document: bytes, binary: bytes) -> bytes:
    """Header and chunks; the JSON is padded so that the binary data start at a multiple of 8 bytes of the file."""
    document += b" " * (-(len(document) + 28) % 8)
    length = 28 + len(document) + len(binary)
    return b"".join(
        (
            GLB_MAGIC,
            (2).to_bytes(4, "little"),
            length.to_bytes(4, "little"),
            len(document).to_bytes(4, "little"),
            JSON_CHUNK,
            document,
            len(binary).to_bytes(4, "little"),
            BINARY_CHUNK,
            binary,
        )
    )
