"""One tile's points as binary glTF 2.0: quantised positions, linear colours, dimensions as metadata; or as clients that know
no extension of glTF want them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.las.layout import Records
from pointclouds.tilesets.attributes import POINT_CLASS, PointAttribute, schema_of
from pointclouds.tilesets.colours import Colours
from pointclouds.tilesets.local_frame import column_extremes

_POINTS_MODE: Final = 0
_UNSIGNED_BYTE, _UNSIGNED_SHORT, _FLOAT = 5121, 5123, 5126
_ARRAY_BUFFER: Final = 34962
_STEPS: Final = 65535
_SMALLEST_EXTENT: Final = 1e-3
_LARGEST_QUANTISED: Final = 131.0
"""Metres: a step is 2 mm then, and a point is at most 1 mm from its place."""
_ALIGNMENT: Final = 4
GENERATOR: Final = "Chengtu"

Positions = npt.NDArray[np.float64]


class GlbWriter:
    """Collects vertex attributes, then packs one primitive of points (or triangles) on one node."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": GENERATOR},
            "accessors": [],
            "bufferViews": [],
        }
        self._parts: list[bytes] = []
        self._size = 0

    def view(self, data: bytes, stride: int | None = None) -> int:
        """Add bytes; the number of their buffer view. `stride` of vertex attributes."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        if stride is not None:
            view |= {"byteStride": stride, "target": _ARRAY_BUFFER}
        self.document["bufferViews"].append(view)
        padded = data + bytes(-len(data) % _ALIGNMENT)
        self._parts.append(padded)
        self._size += len(padded)
        return len(self.document["bufferViews"]) - 1

    def attribute(
        self,
        rows: npt.NDArray[Any],
        component: int,
        kind: str,
        *,
        normalized: bool = False,
        ends: bool = False,
    ) -> int:
        """Add a vertex attribute (n, k) or (n,); the number of its accessor. Rows are padded to four bytes, as glTF wants them."""
        columns = 1 if rows.ndim == 1 else rows.shape[1]
        width = -(-columns * rows.itemsize // _ALIGNMENT) * _ALIGNMENT // rows.itemsize
        if width == columns:
            padded = np.ascontiguousarray(rows)
        else:
            padded = np.zeros((len(rows), width), rows.dtype)
            padded[:, :columns] = rows.reshape(len(rows), columns)
        accessor: dict[str, Any] = {
            "bufferView": self.view(padded.tobytes(), width * rows.itemsize),
            "componentType": component,
            "count": len(rows),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if ends:
            low, high = column_extremes(rows)
            accessor |= {"min": low.tolist(), "max": high.tolist()}
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def pack(self, primitive: dict[str, Any], node: dict[str, Any]) -> bytes:
        """The file."""
        self.document |= {
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, **node}],
            "meshes": [{"primitives": [primitive]}],
            "buffers": [{"byteLength": self._size}],
        }
        return pack_glb(self.document, b"".join(self._parts))


def pack_glb(document: dict[str, Any], binary: bytes) -> bytes:
    """Header and chunks, padded to four bytes: JSON with spaces, binary data with zeros (glTF 2.0, section 4.4.3)."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = [struct.pack("<I4s", len(text), b"JSON"), text]
    if binary:
        binary += bytes(-len(binary) % 4)
        chunks += [struct.pack("<I4s", len(binary), b"BIN\0"), binary]
    total = 12 + sum(len(chunk) for chunk in chunks)
    return b"".join((struct.pack("<4sII", b"glTF", 2, total), *chunks))


def empty_glb() -> bytes:
    """A tile of which a filter leaves nothing: a scene is not needed (glTF 2.0, section 3.5)."""
    return pack_glb({"asset": {"version": "2.0", "generator": GENERATOR}}, b"")


def y_up(positions: Positions) -> Positions:
    """z up turned into y up, as glTF has it and 3D Tiles expects it."""
    return np.stack((positions[:, 0], positions[:, 2], -positions[:, 1]), axis=1)


def point_glb(
    positions: Positions, colours: Colours, records: Records, attributes: Sequence[PointAttribute] = ()
) -> bytes:
    """A primitive of points.

    Args:
        positions: (n, 3) metres, z up; quantised to 16 bits of their own box, which the node's scale and translation undo
            (KHR_mesh_quantization). In a box so large that this would be coarser than a millimetre they are 32-bit floats: points
            of coarse tiles stay where they are when finer ones come.
        colours: (n, 3) uint8 or uint16, linear.
        records: (n,) whose dimensions become `attributes`, property attributes of EXT_structural_metadata.
    """
    if not len(positions):
        return empty_glb()
    writer = GlbWriter()
    turned = y_up(positions)
    low, high = column_extremes(turned)
    extent = np.maximum(high - low, _SMALLEST_EXTENT)
    if extent.max() > _LARGEST_QUANTISED:
        return plain_point_glb(positions, colours, records, attributes)
    quantised = np.rint((turned - low) * (_STEPS / extent)).astype(np.uint16)
    named = {"POSITION": writer.attribute(quantised, _UNSIGNED_SHORT, "VEC3", ends=True)}
    node = {"translation": low.tolist(), "scale": (extent / _STEPS).tolist()}
    _add_colours(writer, named, colours)
    writer.document["extensionsUsed"] = ["KHR_mesh_quantization", "KHR_materials_unlit"]
    writer.document["extensionsRequired"] = ["KHR_mesh_quantization"]
    return writer.pack(_described(writer, named, records, attributes), node)


def plain_point_glb(
    positions: Positions, colours: Colours, records: Records, attributes: Sequence[PointAttribute] = ()
) -> bytes:
    """The same with positions as 32-bit floats around the node's translation, for clients without KHR_mesh_quantization."""
    if not len(positions):
        return empty_glb()
    writer = GlbWriter()
    turned = y_up(positions)
    centre = np.mean(column_extremes(turned), axis=0)
    floats = (turned - centre).astype(np.float32)
    named = {"POSITION": writer.attribute(floats, _FLOAT, "VEC3", ends=True)}
    _add_colours(writer, named, colours)
    writer.document["extensionsUsed"] = ["KHR_materials_unlit"]
    return writer.pack(_described(writer, named, records, attributes), {"translation": centre.tolist()})


def _add_colours(writer: GlbWriter, named: dict[str, int], colours: Colours) -> None:
    shades = np.full((len(colours), 4), np.iinfo(colours.dtype).max, colours.dtype)
    shades[:, :3] = colours
    component = _UNSIGNED_BYTE if shades.itemsize == 1 else _UNSIGNED_SHORT
    named["COLOR_0"] = writer.attribute(shades, component, "VEC4", normalized=True)


def _described(
    writer: GlbWriter, named: dict[str, int], records: Records, attributes: Sequence[PointAttribute]
) -> dict[str, Any]:
    """The primitive, with its dimensions."""
    document = writer.document
    document["materials"] = [{"extensions": {"KHR_materials_unlit": {}}}]
    primitive: dict[str, Any] = {"mode": _POINTS_MODE, "material": 0, "attributes": named}
    if attributes:
        for one in attributes:
            named[one.attribute] = writer.attribute(one.column(records), one.component, "SCALAR")
        properties = {one.id: {"attribute": one.attribute} for one in attributes}
        document["extensions"] = {
            "EXT_structural_metadata": {
                "schema": schema_of(attributes),
                "propertyAttributes": [{"class": POINT_CLASS, "properties": properties}],
            }
        }
        document["extensionsUsed"].append("EXT_structural_metadata")
        primitive["extensions"] = {"EXT_structural_metadata": {"propertyAttributes": [0]}}
    return primitive
