"""A glTF asset: the container (.glb or .gltf), its buffers and buffer views (glTF 2.0, clauses 3.6 and 4.4)."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from typing import Any

import orjson

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.meshopt import MeshoptError, decode_view

# Required extensions whose meaning this checker knows, or that change nothing it looks at.
EXTENSIONS_READ = {
    "KHR_mesh_quantization",
    "KHR_draco_mesh_compression",
    "KHR_texture_transform",
    "KHR_texture_basisu",
    "KHR_materials_unlit",
    "KHR_materials_specular",
    "KHR_materials_ior",
    "KHR_materials_clearcoat",
    "KHR_materials_transmission",
    "KHR_materials_emissive_strength",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_lights_punctual",
    "EXT_mesh_features",
    "EXT_instance_features",
    "EXT_structural_metadata",
    "EXT_mesh_gpu_instancing",
    "EXT_meshopt_compression",
    "EXT_texture_webp",
    "CESIUM_RTC",
    "CESIUM_primitive_outline",
}
MESHOPT = ("EXT_meshopt_compression",)
_JSON, _BINARY = 0x4E4F534A, 0x004E4942

type Resource = Callable[[str], bytes | None]
"""The bytes of what a URI in the asset refers to, None where there is nothing."""


class Gltf:
    """A glTF document with its buffers. `asset` is the whole .glb's or .gltf's document."""

    def __init__(
        self, document: dict[str, Any], binary: bytes | None, resource: Resource, findings: FileFindings
    ) -> None:
        self.document = document
        self.findings = findings
        self.resource = resource
        self._views: dict[int, bytes | None] = {}
        self._buffers = [
            self._buffer(number, buffer, binary) for number, buffer in enumerate(self.list_of("buffers"))
        ]

    def list_of(self, name: str) -> list[dict[str, Any]]:
        """A top-level array of the document, empty where it is missing; what is no object in it is an empty one."""
        value = self.document.get(name, [])
        return (
            [entry if isinstance(entry, dict) else {} for entry in value] if isinstance(value, list) else []
        )

    def extension(self, name: str) -> dict[str, Any]:
        """A top-level extension object, empty where it is missing."""
        return object_of(object_of(self.document, "extensions"), name)

    def requires(self, name: str) -> bool:
        """Whether a reader must know this extension."""
        return name in self.document.get("extensionsRequired", [])

    def entry(self, name: str, number: Any) -> dict[str, Any] | None:
        """The object of a top-level array, None where there is none of this number."""
        entries = self.list_of(name)
        return entries[number] if is_index(number, len(entries)) else None

    def resolve(self, uri: str) -> bytes | None:
        """What a URI refers to, data URIs included."""
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except binascii.Error:
                return None
        return self.resource(uri)

    def view(self, number: Any) -> bytes | None:
        """The bytes of a buffer view (decoded where they are compressed), None where it cannot be read."""
        if not isinstance(number, int):
            return None
        if number not in self._views:
            self._views[number] = self._read_view(number)
        return self._views[number]

    def view_start(self, number: Any) -> int | None:
        """Where a buffer view starts in its buffer."""
        view = self.entry("bufferViews", number)
        return None if view is None else integer(view.get("byteOffset", 0))

    def _buffer(self, number: int, buffer: dict[str, Any], binary: bytes | None) -> bytes:
        declared, uri = integer(buffer.get("byteLength")), buffer.get("uri")
        if any(object_of(object_of(buffer, "extensions"), name).get("fallback") for name in MESHOPT):
            return b""  # holds nothing: its views are decoded from others
        content = self.resolve(uri) if isinstance(uri, str) else binary if number == 0 else None
        if content is None:
            self.findings.add("gltf-buffer", f"buffer {number} cannot be read")
            return b""
        # A chunk is padded by up to 3 bytes, where property tables are inside by up to 7.
        longest = declared + 7 if uri is None else max(len(content), declared)
        self.findings.require(
            1 <= declared <= len(content) <= longest,
            "gltf-buffer",
            f"buffer of {declared} bytes in {len(content)}",
        )
        return content

    def _read_view(self, number: int) -> bytes | None:
        view = self.entry("bufferViews", number)
        if view is None:
            return None
        for name in MESHOPT:
            packed = object_of(object_of(view, "extensions"), name)
            if packed:
                content = self._slice(packed)
                return None if content is None else self._unpacked(number, packed, content, view)
        return self._slice(view)

    def _slice(self, view: dict[str, Any]) -> bytes | None:
        buffer, start = integer(view.get("buffer")), integer(view.get("byteOffset", 0))
        end = start + integer(view.get("byteLength"))
        if not 0 <= buffer < len(self._buffers) or not 0 <= start < end <= len(self._buffers[buffer]):
            return None
        return self._buffers[buffer][start:end]

    def _unpacked(
        self, number: int, packed: dict[str, Any], content: bytes, view: dict[str, Any]
    ) -> bytes | None:
        try:
            decoded = decode_view(content, packed)
        except MeshoptError as error:
            self.findings.add("gltf-meshopt", f"buffer view {number}: {error}")
            return None
        length = integer(view.get("byteLength"))
        self.findings.require(
            len(decoded) == length,
            "gltf-meshopt",
            f"buffer view {number}: {len(decoded)} bytes, not {length}",
        )
        return decoded

    def check(self) -> None:
        """Version, extensions and buffer views."""
        findings = self.findings
        version = object_of(self.document, "asset").get("version")
        findings.require(version == "2.0", "gltf-asset", f"asset.version is {version!r}, not '2.0'")
        used, required = (
            set(self.document.get(name, [])) for name in ("extensionsUsed", "extensionsRequired")
        )
        findings.require(required <= used, "gltf-extensions", "extensionsRequired names what is not used")
        unknown = sorted(required - EXTENSIONS_READ)
        findings.require(not unknown, "gltf-extensions", f"required extensions {unknown} are not known here")
        undeclared = sorted(set(_extensions(self.document)) - used)
        findings.require(
            not undeclared, "gltf-extensions", f"{undeclared} are there, but not in extensionsUsed"
        )
        for number, view in enumerate(self.list_of("bufferViews")):
            self._check_view(number, view)

    def _check_view(self, number: int, view: dict[str, Any]) -> None:
        readable = self.view(number) is not None
        self.findings.require(
            readable, "gltf-buffer-view", f"buffer view {number} ends after its buffer, or has none"
        )
        stride = view.get("byteStride")
        right = stride is None or (isinstance(stride, int) and 4 <= stride <= 252 and stride % 4 == 0)
        self.findings.require(right, "gltf-buffer-view", f"buffer view {number} has byteStride {stride!r}")


def read_gltf(content: bytes, resource: Resource, findings: FileFindings) -> Gltf | None:
    """A .glb or .gltf; None where it cannot be read any further."""
    if content[:1] == b"{":
        document = _document(content, findings)
        return None if document is None else Gltf(document, None, resource, findings)
    if not findings.require(len(content) >= 20, "glb-header", f"{len(content)} bytes are no glb"):
        return None
    magic, version, length, json_length, json_type = struct.unpack_from("<4sIIII", content)
    findings.require(magic == b"glTF", "glb-header", f"magic is {magic!r}, needed is b'glTF'")
    if not findings.require(version == 2, "glb-header", f"version is {version}, needed is 2"):
        return None
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
    document = _document(content[20 : 20 + json_length], findings)
    if document is None:
        return None
    metadata = object_of(object_of(document, "extensions"), "EXT_structural_metadata")
    right, binary = _binary_chunk(content, 20 + json_length, findings, tables="propertyTables" in metadata)
    return Gltf(document, binary, resource, findings) if right else None


def _document(content: bytes, findings: FileFindings) -> dict[str, Any] | None:
    try:
        document = orjson.loads(content.rstrip(b" \0"))
    except orjson.JSONDecodeError as error:
        findings.add("glb-json", str(error))
        return None
    if isinstance(document, dict):
        return document
    findings.add("glb-json", "not an object")
    return None


def _binary_chunk(
    content: bytes, start: int, findings: FileFindings, *, tables: bool
) -> tuple[bool, bytes | None]:
    """Whether the rest of the file can be read, and the binary chunk, None where there is none."""
    if len(content) < start + 8:
        return True, None
    length, kind = struct.unpack_from("<II", content, start)
    findings.require(kind == _BINARY, "glb-chunk", "the second chunk is not BIN")
    findings.require(length % 4 == 0, "glb-alignment", f"binary chunk of {length} bytes, needed is n x 4")
    if tables and start % 8:
        findings.remark("glb-alignment", "64-bit values of a property table are read faster at n x 8 bytes")
    whole = start + 8 + length <= len(content)
    findings.require(whole, "glb-chunk", "the binary chunk runs out of the file")
    return whole, content[start + 8 : start + 8 + length]


def _extensions(value: Any) -> list[str]:
    """The names of all extensions that are used in a document."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            extensions = one.get("extensions")
            found += extensions if isinstance(extensions, dict) else ()
            waiting += (inside for name, inside in one.items() if name != "extras")
        elif isinstance(one, list) and one and isinstance(one[0], dict | list):
            waiting += one
    return found


def object_of(value: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object, empty where it is missing or something else."""
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def is_index(value: Any, count: int) -> bool:
    """Whether this is a place in a list of `count` entries."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def integer(value: Any) -> int:
    """A whole number, -1 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
