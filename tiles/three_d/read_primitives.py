"""Primitives out of a glb: triangles as numbers, with quantisation and Draco undone."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError
from tiles.three_d.glb_document import GlbDocument, ReadLimits, as_numbers
from tiles.three_d.objects import Material, Texture

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")


class ReadPrimitive(NamedTuple):
    """Triangles as stored, before the node's matrix: glTF axes (y up).

    `positions` and `normals` (v, 3), `texture_coordinates` (v, 2) or None, `feature_ids` (v,) -1 where there are none,
    `surface_ids` (v,) rows of the second property table or None, `colours` (v, 3 or 4) or None, `triangles` (t, 3).
    """

    positions: NDArray[np.float64]
    normals: NDArray[np.float64]
    texture_coordinates: NDArray[np.float64] | None
    feature_ids: NDArray[np.int64]
    surface_ids: NDArray[np.int64] | None
    colours: NDArray[np.float64] | None
    triangles: NDArray[np.int64]
    material: Material


@dataclass(slots=True)
class PrimitiveReader:
    """Reads the primitives of one document; textures and materials are made once."""

    document: GlbDocument
    limits: ReadLimits
    vertices: int = 0
    _materials: dict[int, tuple[Material, dict[str, Any]]] = field(default_factory=dict)

    def read(self, primitive: dict[str, Any]) -> ReadPrimitive | None:
        """One primitive, None where it draws no triangles (points, lines). Raises GlbError."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in primitive.get("attributes", {}):
            return None
        values, triangles = self._arrays(primitive, mode)
        positions = values["POSITION"]
        count = len(positions)
        self.vertices += count
        if self.vertices > self.limits.vertices:
            raise GlbError(f"the glb holds more than {self.limits.vertices} vertices, the most that is read")
        if positions.shape[1] != 3 or any(len(array) != count for array in values.values()):
            raise GlbError("the attributes of a primitive have different lengths")
        if not np.isfinite(positions).all():
            raise GlbError("a position of the glb is not a number")
        if triangles.size and not 0 <= int(triangles.min()) <= int(triangles.max()) < count:
            raise GlbError(f"an index of the glb is outside its {count} vertices")
        material, info = self._material(primitive.get("material"))
        ids = _feature_attributes(primitive)
        found = ReadPrimitive(
            positions,
            values.get("NORMAL", np.zeros((0, 3))),
            _coordinates(values, info) if material.texture is not None else None,
            _ids_of(values, ids[0], count) if ids else np.full(count, -1, dtype=np.int64),
            _ids_of(values, ids[1], count) if len(ids) > 1 else None,
            values.get("COLOR_0"),
            triangles,
            material,
        )
        return found if len(found.normals) == count else _flat_shaded(found)

    def _arrays(
        self, primitive: dict[str, Any], mode: int
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        attributes = primitive["attributes"]
        draco = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
        if draco is not None:
            return self._decompressed(attributes, draco)
        most = self.limits.vertices
        values = {name: self.document.numbers(number, most) for name, number in attributes.items()}
        corners = np.arange(len(values["POSITION"]))
        if "indices" in primitive:
            corners = self.document.indices(primitive["indices"], 6 * most)
        return values, _as_triangles(corners, mode)

    def _decompressed(
        self, attributes: dict[str, Any], draco: dict[str, Any]
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        from tiles.three_d.draco import decode_draco

        decoded = decode_draco(bytes(self.document.view(draco.get("bufferView"))), self.limits.vertices)
        values = {}
        for name, number in draco.get("attributes", {}).items():
            if number not in decoded.attributes:
                raise GlbError(f"the Draco mesh has no attribute {number!r} ({name})")
            accessor = self.document.entry("accessors", attributes.get(name))
            values[name] = as_numbers(decoded.attributes[number], normalised=bool(accessor.get("normalized")))
        if "POSITION" not in values:
            raise GlbError("a Draco mesh of the glb has no positions")
        return values, decoded.triangles

    def _material(self, number: object) -> tuple[Material, dict[str, Any]]:
        """A material and the texture info of its base colour."""
        if number is None:
            return Material((1.0, 1.0, 1.0, 1.0), 1.0, 1.0), {}
        entry = self.document.entry("materials", number)
        assert isinstance(number, int)
        if number not in self._materials:
            surface = entry.get("pbrMetallicRoughness", {})
            info = surface.get("baseColorTexture", {})
            red, green, blue, alpha = (float(part) for part in surface.get("baseColorFactor", (1, 1, 1, 1)))
            material = Material(
                (red, green, blue, alpha),
                float(surface.get("metallicFactor", 1.0)),
                float(surface.get("roughnessFactor", 1.0)),
                bool(entry.get("doubleSided", False)),
                self._texture(info["index"]) if "index" in info else None,
            )
            self._materials[number] = material, info
        return self._materials[number]

    def _texture(self, number: object) -> Texture | None:
        """The image of a texture; None where it is of a kind that is not read (such as KTX2)."""
        texture = self.document.entry("textures", number)
        webp = texture.get("extensions", {}).get("EXT_texture_webp", {})
        source = webp.get("source", texture.get("source"))
        if source is None:
            return None
        image = self.document.entry("images", source)
        if "bufferView" in image:
            media, content = image.get("mimeType"), bytes(self.document.view(image["bufferView"]))
        else:
            media, content = _from_data_uri(str(image.get("uri", "")))
        return Texture(media, content) if media in _MEDIA_TYPES else None


def _from_data_uri(uri: str) -> tuple[str, bytes]:
    head, _, body = uri.partition(";base64,")
    if not head.startswith("data:") or not body:
        raise GlbError("a texture of the glb lies in another file; put all into one .glb")
    try:
        return head.removeprefix("data:"), base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise GlbError(f"a texture of the glb cannot be read ({error})") from error


def _as_triangles(corners: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """Triangles (t, 3) of the corners of a list, strip or fan; corners that are left over are none."""
    if mode == _TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    count = max(len(corners) - 2, 0)
    if mode == _FAN:
        return np.column_stack(
            (np.repeat(corners[:1], count), corners[1 : count + 1], corners[2 : count + 2])
        )
    found = np.column_stack((corners[:count], corners[1 : count + 1], corners[2 : count + 2]))
    found[1::2] = found[1::2, [1, 0, 2]]
    return found


def _feature_attributes(primitive: dict[str, Any]) -> list[str | None]:
    """The attributes of feature ids by property table: None where a vertex's number is its id."""
    entries = primitive.get("extensions", {}).get("EXT_mesh_features", {}).get("featureIds", [])
    by_table: dict[int, str | None] = {}
    for entry in entries:
        if "propertyTable" in entry and "texture" not in entry:
            name = f"_FEATURE_ID_{entry['attribute']}" if "attribute" in entry else None
            by_table.setdefault(int(entry["propertyTable"]), name)
    return [by_table[table] for table in sorted(by_table)]


def _ids_of(values: dict[str, NDArray[np.float64]], name: str | None, count: int) -> NDArray[np.int64]:
    if name is None:
        return np.arange(count, dtype=np.int64)
    if name not in values:
        raise GlbError(f"the glb names {name}, which no primitive has")
    return np.rint(values[name][:, 0]).astype(np.int64)


def _coordinates(values: dict[str, NDArray[np.float64]], info: dict[str, Any]) -> NDArray[np.float64] | None:
    """Texture coordinates with KHR_texture_transform applied: scale, then rotation, then offset."""
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    found = values.get(f"TEXCOORD_{transform.get('texCoord', info.get('texCoord', 0))}")
    if found is None:
        return None
    if not transform:
        return found
    angle = float(transform.get("rotation", 0.0))
    cos, sin = np.cos(angle), np.sin(angle)
    turned = (found * np.array(transform.get("scale", (1.0, 1.0)))) @ np.array([[cos, -sin], [sin, cos]])
    return np.asarray(turned + np.array(transform.get("offset", (0.0, 0.0))))


def _flat_shaded(found: ReadPrimitive) -> ReadPrimitive:
    """A primitive without normals: each triangle gets its own corners and its own normal (glTF 2.0, 3.7.2.1)."""
    corners = found.triangles.ravel()
    points = found.positions[corners].reshape(-1, 3, 3)
    across = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    normals = np.where(length > 0.0, across / np.where(length > 0.0, length, 1.0), [0.0, 1.0, 0.0])
    coordinates, surfaces, colours = found.texture_coordinates, found.surface_ids, found.colours
    return ReadPrimitive(
        found.positions[corners],
        np.repeat(normals, 3, axis=0),
        None if coordinates is None else coordinates[corners],
        found.feature_ids[corners],
        None if surfaces is None else surfaces[corners],
        None if colours is None else colours[corners],
        np.arange(len(corners)).reshape(-1, 3),
        found.material,
    )
