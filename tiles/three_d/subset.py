"""The same tile with only some of its features, without decoding it: stored numbers are copied as they are.

So the filtered tile stands exactly where the whole one stands, and a filter costs little more than reading the file. Draco is undone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.errors import GlbError
from tiles.three_d.glb_buffer import ARRAY_BUFFER, GlbBuffer, limits_of, pack_glb
from tiles.three_d.glb_document import COMPONENTS, GlbDocument, ReadLimits
from tiles.three_d.read_tables import (
    EXTENSION,
    OFFSETS,
    SCALARS,
    booleans,
    class_of,
    fixed,
    read_table,
    strings,
    table_count,
    tables_of,
)

LIMITS = ReadLimits()
_WIDTHS = {"SCALAR": 1, "ENUM": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_DRACO = "KHR_draco_mesh_compression"


def property_rows(content: bytes) -> PropertyTable | None:
    """The property table of a glb alone, None where it has none. Raises GlbError."""
    return read_table(GlbDocument.parse(content, LIMITS))


def subset_glb(content: bytes, keep: NDArray[np.bool_]) -> bytes | None:
    """A glb with only the features marked in `keep` (n,), rows of its first property table; None where nothing is left.

    Raises GlbError where the glb cannot be read, or has not one row for each value of `keep`.
    """
    document = GlbDocument.parse(content, LIMITS)
    tables = tables_of(document)
    count = table_count(tables[0]) if tables else 0
    if keep.shape != (count,):
        raise GlbError(f"the glb has {count} features, the choice is of shape {keep.shape}")
    if keep.all():
        return content
    if not keep.any():
        return None
    try:
        return _Subset(document, keep).pack()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise GlbError(f"the glb is not built as glTF 2.0 says ({type(error).__name__}: {error})") from error


@dataclass(slots=True)
class _Subset:
    """A glTF while the chosen features are copied from `document`."""

    document: GlbDocument
    keep: NDArray[np.bool_]
    buffer: GlbBuffer = field(default_factory=GlbBuffer)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    _rows: NDArray[np.int64] = field(init=False)
    _views: dict[int, int] = field(default_factory=dict)
    _meshes: dict[int, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = np.cumsum(self.keep) - 1

    def pack(self) -> bytes | None:
        """The file, None where no geometry is left."""
        nodes = [self._node(node) for node in self.document.list_of("nodes")]
        if not self.meshes:
            return None
        result = dict(self.document.json)
        result |= {
            "nodes": nodes,
            "meshes": self.meshes,
            **self._looks(),
            "extensions": {**result.get("extensions", {}), EXTENSION: self._metadata()},
        }
        # Written again from what is copied; what nothing points to any more goes.
        for name in ("materials", "textures", "images"):
            if not result.get(name, True):
                del result[name]
        result |= {
            "accessors": self.buffer.accessors,
            "bufferViews": self.buffer.views,
            "buffers": [{"byteLength": len(self.buffer.data)}],
        }
        for name in ("extensionsUsed", "extensionsRequired"):
            result[name] = [entry for entry in result.get(name, []) if entry != _DRACO]
            if not result[name]:
                del result[name]
        return pack_glb(orjson.dumps(result), bytes(self.buffer.data))

    def _node(self, node: dict[str, Any]) -> dict[str, Any]:
        if "mesh" not in node:
            return node
        rest = {name: value for name, value in node.items() if name not in ("mesh", "extensions")}
        extensions = dict(node.get("extensions", {}))
        if "EXT_mesh_gpu_instancing" not in extensions:
            mesh = self._mesh(node["mesh"])
            return node | {"mesh": mesh} if mesh is not None else rest
        if not self._instances(extensions):
            return rest
        primitives = [
            self._primitive(primitive, None)
            for primitive in self.document.entry("meshes", node["mesh"])["primitives"]
        ]
        self.meshes.append({"primitives": [primitive for primitive in primitives if primitive]})
        return rest | {"mesh": len(self.meshes) - 1, "extensions": extensions}

    def _mesh(self, number: int) -> int | None:
        """The number of the mesh in the result, None where nothing of it is left."""
        if number not in self._meshes:
            mesh = self.document.entry("meshes", number)
            found = [self._primitive(primitive, _ids_name(primitive)) for primitive in mesh["primitives"]]
            primitives = [primitive for primitive in found if primitive]
            self._meshes[number] = len(self.meshes) if primitives else None
            if primitives:
                self.meshes.append({**mesh, "primitives": primitives})
        return self._meshes[number]

    def _primitive(self, primitive: dict[str, Any], ids_name: str | None) -> dict[str, Any] | None:
        """The primitive with only the triangles of kept features; all of them where it has no ids."""
        values, corners = self._stored(primitive)
        vertices: NDArray[np.intp] | slice = slice(None)
        if ids_name is not None:
            ids = self._checked(values[ids_name][:, 0])
            if corners is None:
                vertices = np.flatnonzero(np.repeat(self.keep[ids[::3]], 3))
                if not len(vertices):
                    return None
            else:
                chosen = self.keep[ids[corners[::3]]]
                corners = corners.reshape(-1, 3)[chosen].ravel()
                if not len(corners):
                    return None
                used = np.zeros(len(ids), dtype=np.bool_)
                used[corners] = True
                vertices, corners = np.flatnonzero(used), (np.cumsum(used) - 1)[corners]
            values[ids_name] = self._rows[ids][:, None].astype(values[ids_name].dtype)
        attributes = {
            name: self._accessor(array[vertices], primitive["attributes"][name])
            for name, array in values.items()
        }
        result = {**primitive, "attributes": attributes}
        if corners is not None:
            result["indices"] = self.buffer.indices(corners, len(next(iter(values.values()))))
        extensions = {
            name: value for name, value in primitive.get("extensions", {}).items() if name != _DRACO
        }
        if "EXT_mesh_features" in extensions:
            extensions["EXT_mesh_features"] = self._counted(extensions["EXT_mesh_features"])
        if extensions:
            result["extensions"] = extensions
        return result

    def _stored(self, primitive: dict[str, Any]) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64] | None]:
        """The attributes as stored, and the corners where there are indices."""
        attributes, most = primitive["attributes"], LIMITS.vertices
        draco = primitive.get("extensions", {}).get(_DRACO)
        if draco is None:
            values = {name: self.document.accessor(number, most) for name, number in attributes.items()}
            if "indices" not in primitive:
                return values, None
            return values, self.document.indices(primitive["indices"], 6 * most)
        from tiles.three_d.draco import decode_draco

        decoded = decode_draco(bytes(self.document.view(draco["bufferView"])), most)
        values = {}
        for name, number in draco["attributes"].items():
            kind = COMPONENTS[self.document.entry("accessors", attributes[name])["componentType"]]
            values[name] = decoded.attributes[number].astype(kind)
        return values, decoded.triangles.ravel()

    def _checked(self, stored: NDArray[Any]) -> NDArray[np.int64]:
        ids = stored.astype(np.int64)
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(self.keep):
            raise GlbError(f"a feature id of the glb is outside its {len(self.keep)} features")
        return ids

    def _accessor(self, values: NDArray[Any], number: int) -> int:
        """The values (n, k) as an accessor like number `number` of the document, each element at n x 4 bytes."""
        like = self.document.entry("accessors", number)
        width, item = values.shape[1], values.dtype.itemsize
        packed = np.zeros((len(values), -(-width * item // 4) * 4 // item), dtype=values.dtype)
        packed[:, :width] = values
        view = self.buffer.view(packed.tobytes(), target=ARRAY_BUFFER, stride=packed.shape[1] * item)
        more: dict[str, Any] = {"normalized": True} if like.get("normalized") else {}
        if "min" in like:
            more |= limits_of(packed[:, :width])
        return self.buffer.accessor(view, like["componentType"], len(values), like["type"], **more)

    def _counted(self, extension: dict[str, Any]) -> dict[str, Any]:
        """EXT_mesh_features or EXT_instance_features with the number of features that are left."""
        count = int(self.keep.sum())
        return {
            **extension,
            "featureIds": [
                {**entry, "featureCount": count} if entry.get("propertyTable", 0) == 0 else entry
                for entry in extension["featureIds"]
            ],
        }

    def _instances(self, extensions: dict[str, Any]) -> bool:
        """Put the instances of kept features into a node's extensions; False where none is left."""
        instancing = extensions["EXT_mesh_gpu_instancing"]
        values = {
            name: self.document.accessor(number, LIMITS.instances)
            for name, number in instancing["attributes"].items()
        }
        entry = extensions["EXT_instance_features"]["featureIds"][0]
        name = f"_FEATURE_ID_{entry['attribute']}"
        ids = self._checked(values[name][:, 0])
        chosen = self.keep[ids]
        if not chosen.any():
            return False
        values[name] = self._rows[ids][:, None].astype(values[name].dtype)
        attributes = {
            key: self._accessor(array[chosen], instancing["attributes"][key]) for key, array in values.items()
        }
        extensions["EXT_mesh_gpu_instancing"] = {**instancing, "attributes": attributes}
        extensions["EXT_instance_features"] = self._counted(extensions["EXT_instance_features"])
        return True

    def _looks(self) -> dict[str, Any]:
        """Materials, textures and images that are still used; primitives and materials are renumbered."""
        materials: dict[int, int] = {}
        textures: dict[int, int] = {}
        images: dict[int, int] = {}
        for mesh in self.meshes:
            for primitive in mesh["primitives"]:
                if "material" in primitive:
                    primitive["material"] = materials.setdefault(primitive["material"], len(materials))
        used_materials = [
            _renumbered(self.document.entry("materials", number), textures) for number in materials
        ]
        used_textures = []
        for number in textures:
            texture = dict(self.document.entry("textures", number))
            for holder in (texture, *texture.get("extensions", {}).values()):
                if "source" in holder:
                    holder["source"] = images.setdefault(holder["source"], len(images))
            used_textures.append(texture)
        used_images = []
        for number in images:
            image = dict(self.document.entry("images", number))
            if "bufferView" in image:
                image["bufferView"] = self._view(image["bufferView"])
            used_images.append(image)
        return {"materials": used_materials, "textures": used_textures, "images": used_images}

    def _view(self, number: int) -> int:
        """A buffer view copied whole, once."""
        if number not in self._views:
            self._views[number] = self.buffer.view(bytes(self.document.view(number)))
        return self._views[number]

    def _metadata(self) -> dict[str, Any]:
        """EXT_structural_metadata with the kept rows of the first table; other tables whole."""
        extension = self.document.extension(EXTENSION)
        first, *others = tables_of(self.document)
        tables = [self._first_table(first)]
        for table in others:
            properties = {
                name: {
                    key: self._view(value) if key in _VIEW_KEYS else value for key, value in stored.items()
                }
                for name, stored in table.get("properties", {}).items()
            }
            tables.append({**table, **({"properties": properties} if properties else {})})
        return {**extension, "propertyTables": tables}

    def _first_table(self, table: dict[str, Any]) -> dict[str, Any]:
        schemas, count = class_of(self.document, table), table_count(table)
        properties = {}
        for name, stored in table.get("properties", {}).items():
            kept = self._column(schemas[name], stored, count)
            if kept is not None:
                properties[name] = kept
        result = {key: value for key, value in table.items() if key != "properties"}
        result["count"] = int(self.keep.sum())
        return {**result, "properties": properties} if properties else result

    def _column(self, schema: dict[str, Any], stored: dict[str, Any], count: int) -> dict[str, Any] | None:
        """A property with the kept rows; None where only empty text is left."""
        width = int(schema.get("count", 1)) if schema.get("array") else 1
        if schema.get("array") and ("count" not in schema or schema["type"] in ("STRING", "BOOLEAN")):
            raise GlbError(f"property {schema.get('name')!r} is an array of varying length or of text")
        if schema["type"] == "STRING":
            return self._strings(stored, count)
        content = self.document.view(stored["values"])
        if schema["type"] == "BOOLEAN":
            bits = np.packbits(booleans(content, count)[self.keep], bitorder="little")
            return {"values": self.buffer.view(bits.tobytes())}
        # The values of an enum are integers, UINT16 where nothing else is said.
        kind = SCALARS[schema.get("componentType") or self._enum_type(schema)]
        rows = fixed(content, kind, count, _WIDTHS[schema["type"]] * width)[self.keep]
        return {**stored, "values": self.buffer.view(rows.tobytes())}

    def _enum_type(self, schema: dict[str, Any]) -> str:
        enums = self.document.extension(EXTENSION)["schema"].get("enums", {})
        return str(enums.get(schema.get("enumType"), {}).get("valueType", "UINT16"))

    def _strings(self, stored: dict[str, Any], count: int) -> dict[str, Any] | None:
        text, offsets = strings(self.document, stored, count)
        lengths = np.diff(offsets)
        kept_text = text[offsets[0] : offsets[-1]][np.repeat(self.keep, lengths)]
        if not len(kept_text):
            return None
        limits = np.concatenate(([0], np.cumsum(lengths[self.keep])))
        kind = OFFSETS[stored.get("stringOffsetType", "UINT32")]
        return {
            **stored,
            "values": self.buffer.view(kept_text.tobytes()),
            "stringOffsets": self.buffer.view(limits.astype(kind).tobytes()),
        }


_VIEW_KEYS = ("values", "stringOffsets", "arrayOffsets")


def _ids_name(primitive: dict[str, Any]) -> str | None:
    """The attribute whose ids are rows of the first table."""
    for entry in primitive.get("extensions", {}).get("EXT_mesh_features", {}).get("featureIds", []):
        if entry.get("propertyTable") == 0 and "attribute" in entry:
            return f"_FEATURE_ID_{entry['attribute']}"
    return None


def _renumbered(material: dict[str, Any], textures: dict[int, int]) -> dict[str, Any]:
    """A material whose textures have their new numbers, wherever in it they stand."""
    result: dict[str, Any] = {}
    for name, value in material.items():
        if name.endswith("Texture") and isinstance(value, dict):
            result[name] = {**value, "index": textures.setdefault(value["index"], len(textures))}
        else:
            result[name] = _renumbered(value, textures) if isinstance(value, dict) else value
    return result
