"""A binary glTF taken apart: JSON, buffer views, accessors. Everything that reads a glb starts here.

Files may come from users: lengths, numbers and types are checked before anything of their size is made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much of a glb is read; more is refused, for a small file can ask for very much memory."""

    bytes: int = 256 * _MEBIBYTE
    vertices: int = 10_000_000
    instances: int = 1_000_000
    nodes: int = 100_000


@dataclass(frozen=True, slots=True)
class GlbDocument:
    """A glTF document and its binary chunk."""

    json: dict[str, Any]
    binary: memoryview

    @classmethod
    def parse(cls, content: bytes, limits: ReadLimits) -> GlbDocument:
        """Header and chunks. Raises GlbError."""
        if len(content) > limits.bytes:
            raise GlbError(f"the glb has {len(content)} bytes; at most {limits.bytes} are read")
        if len(content) < 20:
            raise GlbError(f"{len(content)} bytes are no glb")
        magic, version, length, json_length, kind = struct.unpack_from("<4sIIII", content)
        if magic != b"glTF" or version != 2 or kind != _JSON:
            raise GlbError(f"this is no binary glTF 2.0 (it starts with {magic!r}, version {version})")
        start = 20 + json_length
        if length > len(content) or start > length:
            raise GlbError(
                f"the glb says {length} bytes, its JSON ends at {start}; the file has {len(content)}"
            )
        try:
            document = orjson.loads(content[20:start])
        except orjson.JSONDecodeError as error:
            raise GlbError(f"the JSON of the glb cannot be read ({error})") from error
        if not isinstance(document, dict):
            raise GlbError("the JSON of the glb is no object")
        return cls(document, _binary_chunk(content, start, length))

    def list_of(self, name: str) -> list[dict[str, Any]]:
        """A top-level array of objects. Raises GlbError where it is something else."""
        value = self.json.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise GlbError(f"{name} of the glb is no list of objects")
        return value

    def entry(self, name: str, number: object) -> dict[str, Any]:
        """One object of a top-level array. Raises GlbError where there is none of that number."""
        entries = self.list_of(name)
        if not isinstance(number, int) or not 0 <= number < len(entries):
            raise GlbError(f"{name} has {len(entries)} entries, asked is number {number!r}")
        return entries[number]

    def view(self, number: object) -> memoryview:
        """The bytes of a buffer view. Raises GlbError where it runs out of the file or lies in another file."""
        entry = self.entry("bufferViews", number)
        buffer = self.entry("buffers", entry.get("buffer", 0))
        if entry.get("buffer", 0) != 0 or "uri" in buffer:
            raise GlbError("the glb keeps data in another file; put all into one .glb")
        start, length = entry.get("byteOffset", 0), entry.get("byteLength", 0)
        if not (isinstance(start, int) and isinstance(length, int)) or start < 0 or length < 1:
            raise GlbError(f"buffer view {number} has no readable place")
        if start + length > len(self.binary):
            raise GlbError(f"buffer view {number} ends at {start + length} of {len(self.binary)} bytes")
        return self.binary[start : start + length]

    def accessor(self, number: object, most: int) -> NDArray[Any]:
        """The values of an accessor (count, width) as stored, not copied. Raises GlbError."""
        accessor = self.entry("accessors", number)
        kind, width = COMPONENTS.get(accessor.get("componentType", 0)), WIDTHS.get(accessor.get("type", ""))
        count, offset = accessor.get("count", 0), accessor.get("byteOffset", 0)
        if kind is None or width is None or "sparse" in accessor or not isinstance(count, int):
            raise GlbError(f"accessor {number} is of a kind that is not read (sparse, or no known type)")
        if not 1 <= count <= most or not isinstance(offset, int) or offset < 0:
            raise GlbError(f"accessor {number} has {count} values; from 1 to {most} are read")
        if "bufferView" not in accessor:
            return np.zeros((count, width), dtype=kind)
        content = self.view(accessor["bufferView"])
        item = np.dtype(kind).itemsize
        stride = self.entry("bufferViews", accessor["bufferView"]).get("byteStride", item * width)
        if (
            not isinstance(stride, int)
            or stride < item
            or offset + stride * (count - 1) + item * width > len(content)
        ):
            raise GlbError(f"accessor {number} runs out of its buffer view of {len(content)} bytes")
        return np.ndarray((count, width), kind, content, offset, (stride, item))

    def indices(self, number: object, most: int) -> NDArray[np.int64]:
        """The values of an accessor of vertex indices (count,). Raises GlbError."""
        values = self.accessor(number, most)
        if values.dtype.kind != "u" or values.shape[1] != 1:
            raise GlbError(f"accessor {number} has no indices but values of type {values.dtype}")
        return values[:, 0].astype(np.int64)

    def numbers(self, number: object, most: int) -> NDArray[np.float64]:
        """The values of an accessor (count, width) as they are meant: normalised integers as -1 to 1."""
        values = self.accessor(number, most)
        return as_numbers(values, normalised=bool(self.entry("accessors", number).get("normalized")))

    def extension(self, name: str) -> dict[str, Any]:
        """A top-level extension, empty where the file has none."""
        found = self.json.get("extensions", {}).get(name, {})
        return found if isinstance(found, dict) else {}


def as_numbers(values: NDArray[Any], *, normalised: bool) -> NDArray[np.float64]:
    """Stored values as float64; normalised integers as -1 to 1 (glTF 2.0, 3.11)."""
    numbers = values.astype(np.float64)
    if normalised and values.dtype.kind in "iu":
        numbers /= np.iinfo(values.dtype).max
        if values.dtype.kind == "i":
            np.maximum(numbers, -1.0, out=numbers)
    return numbers


def _binary_chunk(content: bytes, start: int, end: int) -> memoryview:
    if end < start + 8:
        return memoryview(b"")
    length, kind = struct.unpack_from("<II", content, start)
    if kind != _BINARY or start + 8 + length > end:
        raise GlbError("the binary chunk of the glb runs out of the file")
    return memoryview(content)[start + 8 : start + 8 + length]
