"""One tile's mesh and attributes as a binary glTF 2.0 file.

Extensions: KHR_mesh_quantization (int16 positions, int8 normals), EXT_mesh_features (a feature id per vertex),
EXT_structural_metadata (the property table). Every buffer view starts at a multiple of 8 bytes, counted from the start
of the file as well as of the buffer, because property tables ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyColumn, PropertyTable
from tiles.three_d.mesh import Mesh, SurfaceClass
from tiles.three_d.placement import LocalFrame, y_up

GLB_MAGIC = b"glTF"
JSON_CHUNK = b"JSON"
BINARY_CHUNK = b"BIN\x00"

BYTE, UNSIGNED_BYTE, SHORT, UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5120, 5121, 5122, 5123, 5125, 5126
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963

# A finer step than a centimetre only costs bytes; a coarser one than 4 cm is seen, so wide tiles keep 32-bit floats.
FINEST_STEP = 0.01
COARSEST_STEP = 0.04
_INT16_MAX = 32767
# Corners a vertex may be repeated for, on average, before indices are kept.
_MOST_REPEATED = 1.8


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a tileset is drawn. `colour` is linear red, green, blue (0-1); `palette` colours surfaces by class."""

    colour: tuple[float, float, float] = (0.72, 0.70, 0.66)
    palette: tuple[SurfaceClass, ...] = ()
    double_sided: bool = False
    metallic: float = 0.0
    roughness: float = 0.9


@dataclass(slots=True)
class _Buffer:
    """The binary chunk while it grows, and the glTF objects that point into it."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, content: bytes, *, target: int | None = None, stride: int | None = None) -> int:
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        if stride is not None:
            entry["byteStride"] = stride
        if target is not None:
            entry["target"] = target
        self.data += content
        self.data += b"\x00" * (-len(self.data) % 8)
        self.views.append(entry)
        return len(self.views) - 1

    def accessor(self, view: int, component: int, count: int, kind: str, **more: Any) -> int:
        self.accessors.append(
            {"bufferView": view, "componentType": component, "count": count, "type": kind, **more}
        )
        return len(self.accessors) - 1


def write_glb(
    mesh: Mesh,
    frame: LocalFrame,
    table: PropertyTable,
    rows: tuple[int, int],
    appearance: Appearance,
    *,
    attribution: str = "",
) -> bytes:
    """The .glb of one tile. `rows` are start and stop of the tile's features in `table`; feature ids count from 0."""
    mesh, indexed = _lay_out(mesh)
    buffer = _Buffer()
    node = _node(frame)
    attributes = {
        "POSITION": _positions(buffer, mesh, node),
        "NORMAL": _normals(buffer, mesh.normals),
        "_FEATURE_ID_0": _feature_ids(buffer, mesh.feature_ids),
    }
    feature_ids = [{"featureCount": rows[1] - rows[0], "attribute": 0, "propertyTable": 0}]
    tables = [_table(buffer, table, rows)]
    classes = {table.class_id: table.schema()}
    if mesh.classes is not None and appearance.palette:
        attributes["COLOR_0"] = _colours(buffer, mesh.classes, appearance.palette)
        attributes["_FEATURE_ID_1"] = _feature_ids(buffer, mesh.classes)
        feature_ids.append({"featureCount": len(appearance.palette), "attribute": 1, "propertyTable": 1})
        tables.append(_palette_table(buffer, appearance.palette))
        classes["surface"] = {"properties": {"type": {"type": "STRING", "name": "type"}}}
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "material": 0,
        "mode": 4,
        "extensions": {"EXT_mesh_features": {"featureIds": feature_ids}},
    }
    if indexed:
        primitive["indices"] = _indices(buffer, mesh)
    document = {
        "asset": {
            "version": "2.0",
            "generator": "chengtu",
            **({"copyright": attribution} if attribution else {}),
        },
        "extensionsUsed": ["KHR_mesh_quantization", "EXT_mesh_features", "EXT_structural_metadata"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "extensions": {
            "EXT_structural_metadata": {
                "schema": {"id": "chengtu", "classes": classes},
                "propertyTables": tables,
            }
        },
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [primitive]}],
        "materials": [_material(appearance)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return _pack(orjson.dumps(document), bytes(buffer.data))


def _pack(document: bytes, binary: bytes) -> bytes:
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


def _lay_out(mesh: Mesh) -> tuple[Mesh, bool]:
    """The mesh with its triangles in the order of features, and whether it keeps indices.

    Flat-shaded meshes share few vertices; written out without indices they are a third larger in memory and a quarter
    smaller on the wire, for deflate folds repeated vertices but not running numbers (docs/decisions/0005).
    """
    order = np.argsort(mesh.feature_ids[mesh.triangles[:, 0]], kind="stable")
    triangles = mesh.triangles[order]
    if triangles.size > _MOST_REPEATED * len(mesh.positions):
        return replace(mesh, triangles=triangles), True
    corners = triangles.ravel()
    return Mesh(
        mesh.positions[corners],
        mesh.normals[corners],
        mesh.feature_ids[corners],
        np.arange(corners.size).reshape(-1, 3),
        None if mesh.classes is None else mesh.classes[corners],
    ), False


def _indices(buffer: _Buffer, mesh: Mesh) -> int:
    kind, component = ("<u2", UNSIGNED_SHORT) if len(mesh.positions) <= 0xFFFF else ("<u4", UNSIGNED_INT)
    content = np.ascontiguousarray(mesh.triangles, dtype=kind)
    view = buffer.view(content.tobytes(), target=_ELEMENT_ARRAY_BUFFER)
    return buffer.accessor(view, component, content.size, "SCALAR")


def _node(frame: LocalFrame) -> dict[str, Any]:
    translation, rotation = frame.node_transform()
    return {"mesh": 0, "translation": translation, "rotation": rotation}


def _positions(buffer: _Buffer, mesh: Mesh, node: dict[str, Any]) -> int:
    """POSITION: int16 steps with the step as the node's scale, or floats in metres where the tile is too wide."""
    points = y_up(mesh.positions)
    reach = float(np.abs(points).max())
    step = max(FINEST_STEP, reach / _INT16_MAX)
    count = len(points)
    if step > COARSEST_STEP:
        floats = points.astype("<f4")
        view = buffer.view(floats.tobytes(), target=_ARRAY_BUFFER, stride=12)
        low, high = floats.min(axis=0).tolist(), floats.max(axis=0).tolist()
        return buffer.accessor(view, FLOAT, count, "VEC3", min=low, max=high)
    node["scale"] = [step] * 3
    packed = np.zeros((count, 4), dtype="<i2")
    packed[:, :3] = np.rint(points / step)
    view = buffer.view(packed.tobytes(), target=_ARRAY_BUFFER, stride=8)
    low, high = packed[:, :3].min(axis=0).tolist(), packed[:, :3].max(axis=0).tolist()
    return buffer.accessor(view, SHORT, count, "VEC3", min=low, max=high)


def _normals(buffer: _Buffer, normals: NDArray[np.float64]) -> int:
    packed = np.zeros((len(normals), 4), dtype=np.int8)
    packed[:, :3] = np.rint(y_up(normals) * 127.0)
    view = buffer.view(packed.tobytes(), target=_ARRAY_BUFFER, stride=4)
    return buffer.accessor(view, BYTE, len(normals), "VEC3", normalized=True)


def _feature_ids(buffer: _Buffer, ids: NDArray[Any]) -> int:
    """Feature ids in the smallest component type that glTF allows for attributes (no 32-bit integers there)."""
    highest = int(ids.max())
    kind, component = ("<u1", UNSIGNED_BYTE) if highest <= 0xFF else ("<u2", UNSIGNED_SHORT)
    if highest > 0xFFFF:
        kind, component = "<f4", FLOAT
    per_vertex = 4 // np.dtype(kind).itemsize
    packed = np.zeros((len(ids), per_vertex), dtype=kind)
    packed[:, 0] = ids
    view = buffer.view(packed.tobytes(), target=_ARRAY_BUFFER, stride=4)
    return buffer.accessor(view, component, len(ids), "SCALAR")


def _colours(buffer: _Buffer, classes: NDArray[np.uint8], palette: tuple[SurfaceClass, ...]) -> int:
    shades = np.zeros((len(palette), 4), dtype=np.uint8)
    shades[:, :3] = np.rint(np.array([entry.colour for entry in palette]) * 255.0)
    view = buffer.view(shades[classes].tobytes(), target=_ARRAY_BUFFER, stride=4)
    return buffer.accessor(view, UNSIGNED_BYTE, len(classes), "VEC3", normalized=True)


def _table(buffer: _Buffer, table: PropertyTable, rows: tuple[int, int]) -> dict[str, Any]:
    properties = {}
    for column in table.columns:
        stored = _property(buffer, column, rows)
        if stored is not None:
            properties[column.id] = stored
    return {"class": table.class_id, "count": rows[1] - rows[0], "properties": properties}


def _property(buffer: _Buffer, column: PropertyColumn, rows: tuple[int, int]) -> dict[str, Any] | None:
    """The views of one column; None where it holds only empty text, for a buffer view may not be empty."""
    values, offsets, offset_type = column.rows(*rows)
    if not values:
        return None
    stored: dict[str, Any] = {"values": buffer.view(values)}
    if offsets is not None:
        stored["stringOffsets"] = buffer.view(offsets)
        stored["stringOffsetType"] = offset_type
    return stored


def _palette_table(buffer: _Buffer, palette: tuple[SurfaceClass, ...]) -> dict[str, Any]:
    texts = [entry.name.encode() for entry in palette]
    offsets = np.cumsum([0, *(len(text) for text in texts)]).astype("<u2")
    stored = {
        "values": buffer.view(b"".join(texts)),
        "stringOffsets": buffer.view(offsets.tobytes()),
        "stringOffsetType": "UINT16",
    }
    return {"class": "surface", "count": len(palette), "properties": {"type": stored}}


def _material(appearance: Appearance) -> dict[str, Any]:
    base = (1.0, 1.0, 1.0) if appearance.palette else appearance.colour
    return {
        "pbrMetallicRoughness": {
            "baseColorFactor": [*base, 1.0],
            "metallicFactor": appearance.metallic,
            "roughnessFactor": appearance.roughness,
        },
        "doubleSided": appearance.double_sided,
    }
