"""One node's points as binary glTF 2.0: quantised positions, linear colours, classification as metadata."""

import json
import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.tilesets.colours import Colours
from pointclouds.tilesets.local_frame import column_extremes

_POINTS_MODE: Final = 0
_UNSIGNED_BYTE, _UNSIGNED_SHORT = 5121, 5123
_ARRAY_BUFFER: Final = 34962
_STEPS: Final = 65535
_SMALLEST_EXTENT: Final = 1e-3

_SCHEMA: Final = {
    "id": "points",
    "classes": {
        "point": {
            "properties": {
                "classification": {"name": "Classification", "type": "SCALAR", "componentType": "UINT8"}
            }
        }
    },
}


def point_glb(
    positions: npt.NDArray[np.float64], colours: Colours, classification: npt.NDArray[np.uint8] | None = None
) -> bytes:
    """A GLB of one POINTS primitive.

    Args:
        positions: (n, 3) metres, z up; quantised to 16 bits of their own box, which the node's scale and
            translation undo (KHR_mesh_quantization). glTF is y up: axes are turned here, as 3D Tiles expects.
        colours: (n, 3) uint8 or uint16, linear.
        classification: (n,) becomes attribute _CLASSIFICATION, a property attribute of EXT_structural_metadata.
    """
    count = len(positions)
    turned = np.stack((positions[:, 0], positions[:, 2], -positions[:, 1]), axis=1)
    low, high = column_extremes(turned)
    extent = np.maximum(high - low, _SMALLEST_EXTENT)
    # Four columns: glTF wants every vertex attribute to start at a multiple of four bytes.
    quantised = np.zeros((count, 4), np.uint16)
    quantised[:, :3] = np.rint((turned - low) * (_STEPS / extent))
    shades = np.full((count, 4), np.iinfo(colours.dtype).max, colours.dtype)
    shades[:, :3] = colours
    parts = [quantised, shades]
    if classification is not None:
        codes = np.zeros((count, 4), np.uint8)
        codes[:, 0] = classification
        parts.append(codes)
    document = _document(quantised, shades, low, extent, classification is not None)
    return _pack(document, b"".join(part.tobytes() for part in parts))


def _document(
    quantised: npt.NDArray[np.uint16],
    shades: Colours,
    low: npt.NDArray[np.float64],
    extent: npt.NDArray[np.float64],
    classified: bool,
) -> dict[str, Any]:
    count = len(quantised)
    strides = [8, 4 * shades.itemsize] + ([4] if classified else [])
    starts = np.concatenate(([0], np.cumsum(strides))) * count
    lowest, highest = column_extremes(quantised[:, :3])
    colour_type = _UNSIGNED_BYTE if shades.itemsize == 1 else _UNSIGNED_SHORT
    accessors: list[dict[str, Any]] = [
        {
            "bufferView": 0,
            "componentType": _UNSIGNED_SHORT,
            "count": count,
            "type": "VEC3",
            "min": lowest.tolist(),
            "max": highest.tolist(),
        },
        {"bufferView": 1, "componentType": colour_type, "normalized": True, "count": count, "type": "VEC4"},
    ]
    primitive: dict[str, Any] = {
        "mode": _POINTS_MODE,
        "material": 0,
        "attributes": {"POSITION": 0, "COLOR_0": 1},
    }
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Chengtu"},
        "extensionsUsed": ["KHR_mesh_quantization", "KHR_materials_unlit"],
        "extensionsRequired": ["KHR_mesh_quantization"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": low.tolist(), "scale": (extent / _STEPS).tolist()}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "accessors": accessors,
        "bufferViews": [
            {
                "buffer": 0,
                "byteOffset": int(starts[index]),
                "byteLength": stride * count,
                "byteStride": stride,
                "target": _ARRAY_BUFFER,
            }
            for index, stride in enumerate(strides)
        ],
        "buffers": [{"byteLength": int(starts[-1])}],
    }
    if classified:
        accessors.append({"bufferView": 2, "componentType": _UNSIGNED_BYTE, "count": count, "type": "SCALAR"})
        primitive["attributes"]["_CLASSIFICATION"] = 2
        primitive["extensions"] = {"EXT_structural_metadata": {"propertyAttributes": [0]}}
        attribute = {"class": "point", "properties": {"classification": {"attribute": "_CLASSIFICATION"}}}
        document["extensions"] = {
            "EXT_structural_metadata": {"schema": _SCHEMA, "propertyAttributes": [attribute]}
        }
        document["extensionsUsed"].append("EXT_structural_metadata")
    return document


def _pack(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    # Chunks are padded to four bytes: JSON with spaces, binary data with zeros (glTF 2.0, section 4.4.3).
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        (
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", len(binary), b"BIN\0"),
            binary,
        )
    )
