"""Binary glTF: header, chunks, buffer views, accessors, and the checks on them (glTF 2.0, clauses 3.6 and 4.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_EXTENSIONS_READ = {
    "KHR_mesh_quantization",
    "EXT_mesh_features",
    "EXT_structural_metadata",
    "KHR_materials_unlit",
    "EXT_instance_features",
}
# int8 normals are off by at most half a step in each axis.
_UNIT_TOLERANCE = 0.02
_JSON, _BINARY = 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, slots=True)
class Glb:
    """A glTF document and its binary chunk."""

    document: dict[str, Any]
    binary: bytes

    def list_of(self, name: str) -> list[dict[str, Any]]:
        """A top-level array of the document, empty where it is missing."""
        value = self.document.get(name, [])
        return value if isinstance(value, list) else []


def read_glb(content: bytes, findings: FileFindings) -> Glb | None:
    """Header and chunks; None where the file cannot be read any further."""
    if not findings.require(len(content) >= 20, "glb-header", f"{len(content)} bytes are no glb"):
        return None
    magic, version, length, json_length, json_type = struct.unpack_from("<4sIIII", content)
    findings.require(magic == b"glTF", "glb-header", f"magic is {magic!r}, needed is b'glTF'")
    findings.require(version == 2, "glb-header", f"version is {version}, needed is 2")
    findings.require(
        length == len(content), "glb-header", f"length says {length}, the file has {len(content)}"
    )
    findings.require(json_type == _JSON, "glb-chunk", "the first chunk is not JSON")
    findings.require(
        json_length % 4 == 0, "glb-alignment", f"JSON chunk of {json_length} bytes, needed is n x 4"
    )
    if not findings.require(
        20 + json_length <= len(content), "glb-chunk", "the JSON chunk runs out of the file"
    ):
        return None
    try:
        document = orjson.loads(content[20 : 20 + json_length])
    except orjson.JSONDecodeError as error:
        findings.add("glb-json", str(error))
        return None
    if not isinstance(document, dict):
        findings.add("glb-json", "not an object")
        return None
    metadata = document.get("extensions", {}).get("EXT_structural_metadata", {})
    binary = _binary_chunk(content, 20 + json_length, findings, tables="propertyTables" in metadata)
    return None if binary is None else Glb(document, binary)


def _binary_chunk(content: bytes, start: int, findings: FileFindings, *, tables: bool) -> bytes | None:
    if len(content) < start + 8:
        return b""
    length, kind = struct.unpack_from("<II", content, start)
    findings.require(kind == _BINARY, "glb-chunk", "the second chunk is not BIN")
    findings.require(length % 4 == 0, "glb-alignment", f"binary chunk of {length} bytes, needed is n x 4")
    findings.require(
        not tables or (start + 8) % 8 == 0,
        "glb-alignment",
        "property tables need the binary data at n x 8 bytes",
    )
    whole = start + 8 + length <= len(content)
    if not findings.require(whole, "glb-chunk", "the binary chunk runs out of the file"):
        return None
    return content[start + 8 : start + 8 + length]


def check_document(glb: Glb, findings: FileFindings) -> None:
    """Version, extensions, buffer and buffer views."""
    asset = glb.document.get("asset")
    findings.require(
        isinstance(asset, dict) and asset.get("version") == "2.0", "gltf-asset", "asset.version is not 2.0"
    )
    used, required = glb.document.get("extensionsUsed", []), glb.document.get("extensionsRequired", [])
    findings.require(
        set(required) <= set(used), "gltf-extensions", "extensionsRequired names what is not used"
    )
    unknown = set(required) - _EXTENSIONS_READ
    findings.require(
        not unknown, "gltf-extensions", f"required extensions {sorted(unknown)} are not readable here"
    )
    buffers = glb.list_of("buffers")
    if buffers:
        declared = buffers[0].get("byteLength", 0)
        fits = declared <= len(glb.binary) <= declared + 7
        findings.require(fits, "gltf-buffer", f"buffer of {declared} bytes in a chunk of {len(glb.binary)}")
    for number, view in enumerate(glb.list_of("bufferViews")):
        end = view.get("byteOffset", 0) + view.get("byteLength", 0)
        inside = 0 <= view.get("byteOffset", 0) < end <= len(glb.binary)
        findings.require(
            inside, "gltf-buffer-view", f"buffer view {number} ends at {end} of {len(glb.binary)} bytes"
        )


def view_bytes(glb: Glb, number: Any) -> bytes | None:
    """The bytes of a buffer view, None where it does not exist or runs out of the buffer."""
    views = glb.list_of("bufferViews")
    if not isinstance(number, int) or not 0 <= number < len(views):
        return None
    start = int(views[number].get("byteOffset", 0))
    end = start + int(views[number].get("byteLength", 0))
    return glb.binary[start:end] if 0 <= start < end <= len(glb.binary) else None


def read_accessor(glb: Glb, number: Any, findings: FileFindings) -> NDArray[Any] | None:
    """The values of an accessor (count, width) as stored; None, and a finding, where they cannot be read."""
    accessors = glb.list_of("accessors")
    if not isinstance(number, int) or not 0 <= number < len(accessors):
        findings.add("gltf-accessor", f"accessor {number!r} does not exist")
        return None
    accessor = accessors[number]
    kind = _COMPONENTS.get(accessor.get("componentType", 0))
    width = _WIDTHS.get(accessor.get("type", ""))
    content = view_bytes(glb, accessor.get("bufferView"))
    if kind is None or width is None or content is None:
        findings.add("gltf-accessor", f"accessor {number} has no readable type or buffer view")
        return None
    item = np.dtype(kind).itemsize
    view = glb.list_of("bufferViews")[accessor["bufferView"]]
    offset, stride = int(accessor.get("byteOffset", 0)), int(view.get("byteStride", item * width))
    count = int(accessor.get("count", 0))
    start = offset + int(view.get("byteOffset", 0))
    findings.require(
        start % item == 0, "gltf-alignment", f"accessor {number} starts at {start}, not n x {item}"
    )
    needed = offset + stride * (count - 1) + item * width
    if not findings.require(
        count >= 1 and needed <= len(content),
        "gltf-accessor-range",
        f"accessor {number} needs {needed} bytes of a view of {len(content)}",
    ):
        return None
    values: NDArray[Any] = np.ndarray((count, width), kind, content, offset, (stride, item))
    _check_bounds(accessor, values, number, findings)
    return values


def _check_bounds(
    accessor: dict[str, Any], values: NDArray[Any], number: int, findings: FileFindings
) -> None:
    for name, found in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
        stated = accessor.get(name)
        if stated is not None and not (
            len(stated) == len(found) and np.array_equal(np.asarray(stated, dtype=found.dtype), found)
        ):
            findings.add(
                "gltf-accessor-bounds", f"accessor {number} says {name} {stated}, it is {found.tolist()}"
            )


def check_vertex_alignment(glb: Glb, name: str, number: int, findings: FileFindings) -> None:
    """Vertex attributes start and step at multiples of four bytes (glTF 2.0, 3.6.2.4)."""
    accessor = glb.list_of("accessors")[number]
    view = glb.list_of("bufferViews")[accessor["bufferView"]]
    width = _WIDTHS[accessor["type"]] * np.dtype(_COMPONENTS[accessor["componentType"]]).itemsize
    aligned = accessor.get("byteOffset", 0) % 4 == 0 and view.get("byteStride", width) % 4 == 0
    findings.require(aligned, "gltf-alignment", f"{name} does not step at multiples of 4 bytes")


def check_unit_normals(values: NDArray[Any], findings: FileFindings) -> None:
    """Normals have length 1, as far as their component type can say."""
    scale = 127.0 if values.dtype == np.int8 else 32767.0 if values.dtype == np.int16 else 1.0
    length = np.linalg.norm(values.astype(np.float64) / scale, axis=1)
    worst = float(np.abs(length - 1.0).max())
    findings.require(worst < _UNIT_TOLERANCE, "gltf-normals", f"a normal's length is off by {worst:.3f}")
