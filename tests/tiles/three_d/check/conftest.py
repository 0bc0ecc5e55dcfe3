"""Makes glTF assets piece by piece with code that has nothing to do with the writer."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


class Asset:
    """A glTF document with its binary part."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "extensionsUsed": [],
            "extensionsRequired": [],
            "bufferViews": [],
            "accessors": [],
            "meshes": [],
            "nodes": [],
            "scenes": [{"nodes": []}],
        }

    def view(self, content: bytes, **more: Any) -> int:
        """A buffer view at the next multiple of eight bytes."""
        self.binary += b"\0" * (-len(self.binary) % 8)
        entry = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content), **more}
        self.binary += content
        self.document["bufferViews"].append(entry)
        return len(self.document["bufferViews"]) - 1

    def accessor(self, values: Any, kind: str = "f4", *, bounds: bool = False, **more: Any) -> int:
        """An accessor over a view of its own."""
        array = np.asarray(values, dtype=f"<{kind}")
        array = array.reshape(len(array), -1)
        width = array.shape[1] * array.dtype.itemsize
        if width % 4 and not more.pop("indices", False):
            padded = np.zeros((len(array), -width % 4 + width), np.uint8)
            padded[:, :width] = np.frombuffer(array.tobytes(), np.uint8).reshape(len(array), -1)
            view = self.view(padded.tobytes(), byteStride=padded.shape[1])
        else:
            more.pop("indices", None)
            view = self.view(array.tobytes())
        entry = {
            "bufferView": view,
            "componentType": KINDS[kind],
            "count": len(array),
            "type": SHAPES[array.shape[1]],
            **more,
        }
        if bounds:
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.document["accessors"].append(entry)
        return len(self.document["accessors"]) - 1

    def mesh(self, attributes: dict[str, int], **more: Any) -> int:
        """A mesh of one primitive."""
        self.document["meshes"].append({"primitives": [{"attributes": attributes, **more}]})
        return len(self.document["meshes"]) - 1

    def node(self, **more: Any) -> int:
        """A node of the scene."""
        self.document["nodes"].append(more)
        number = len(self.document["nodes"]) - 1
        self.document["scenes"][0]["nodes"].append(number)
        return number

    def use(self, *names: str, required: bool = False) -> None:
        """Name extensions."""
        self.document["extensionsUsed"] += names
        if required:
            self.document["extensionsRequired"] += names

    def glb(self) -> bytes:
        """The asset as a file."""
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 8)
        document = {name: value for name, value in self.document.items() if value}
        document["buffers"] = [{"byteLength": len(binary)}]
        text = json.dumps(document).encode()
        text += b" " * (-(len(text) + 28) % 8)
        head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(binary), len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


# A roof of two planes: six vertices, four triangles.
CORNERS = np.array([[0, 0, 0], [8, 0, 0], [8, 3, 2], [0, 3, 2], [8, 0, 4], [0, 0, 4]], dtype=np.float32)
TRIANGLES = np.array([0, 1, 2, 0, 2, 3, 3, 2, 4, 3, 4, 5])


def picture(kind: str = "PNG", size: int = 4) -> bytes:
    """A small image."""
    held = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 120, np.uint8)).save(held, kind)
    return held.getvalue()


@pytest.fixture
def asset() -> Asset:
    """A textured, lit roof with a feature id a vertex and a table of two features."""
    made = Asset()
    made.use("EXT_mesh_features", "EXT_structural_metadata")
    normals = np.tile(np.array([0.0, 1.0, 0.0]), (6, 1))
    coordinates = CORNERS[:, [0, 2]] / 8
    attributes = {
        "POSITION": made.accessor(CORNERS, bounds=True),
        "NORMAL": made.accessor(normals),
        "TEXCOORD_0": made.accessor(coordinates),
        "_FEATURE_ID_0": made.accessor([0, 0, 0, 1, 1, 1], "u2"),
    }
    features = {"featureCount": 2, "attribute": 0, "propertyTable": 0}
    made.mesh(
        attributes,
        indices=made.accessor(TRIANGLES, "u2", indices=True),
        material=0,
        extensions={"EXT_mesh_features": {"featureIds": [features]}},
    )
    made.node(mesh=0)
    made.document["images"] = [{"bufferView": made.view(picture()), "mimeType": "image/png"}]
    made.document["samplers"] = [{"magFilter": 9729, "wrapS": 10497}]
    made.document["textures"] = [{"source": 0, "sampler": 0}]
    made.document["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "roughnessFactor": 0.9}}
    ]
    text = "屋顶roof".encode()
    made.document["extensions"] = {
        "EXT_structural_metadata": {
            "schema": {
                "id": "city",
                "enums": {"kind": {"values": [{"name": "none", "value": 0}, {"name": "tile", "value": 3}]}},
                "classes": {
                    "roof": {
                        "properties": {
                            "name": {"type": "STRING", "required": True},
                            "height": {"type": "SCALAR", "componentType": "FLOAT64", "min": 0, "max": 50},
                            "cover": {"type": "ENUM", "enumType": "kind"},
                            "slopes": {"type": "SCALAR", "componentType": "FLOAT32", "array": True},
                            "corner": {"type": "VEC2", "componentType": "INT16", "array": True, "count": 2},
                            "flat": {"type": "BOOLEAN"},
                            "tags": {"type": "STRING", "array": True},
                            "share": {
                                "type": "SCALAR",
                                "componentType": "UINT8",
                                "normalized": True,
                                "scale": 100,
                            },
                            "gap": {"type": "SCALAR", "componentType": "INT32", "noData": -1, "min": 0},
                        }
                    }
                },
            },
            "propertyTables": [
                {
                    "class": "roof",
                    "count": 2,
                    "properties": {
                        "name": {
                            "values": made.view(text),
                            "stringOffsets": made.view(np.array([0, 6, 10], "<u4").tobytes()),
                        },
                        "height": {
                            "values": made.view(np.array([4.5, 31.0], "<f8").tobytes()),
                            "min": 4.5,
                            "max": 31.0,
                        },
                        "cover": {"values": made.view(np.array([0, 3], "<u2").tobytes())},
                        "slopes": {
                            "values": made.view(np.array([0.1, 0.2, 0.3], "<f4").tobytes()),
                            "arrayOffsets": made.view(np.array([0, 1, 3], "u1").tobytes()),
                            "arrayOffsetType": "UINT8",
                        },
                        "corner": {"values": made.view(np.arange(8, dtype="<i2").tobytes())},
                        "flat": {"values": made.view(b"\x02")},
                        "tags": {
                            "values": made.view(b"abc"),
                            "arrayOffsets": made.view(np.array([0, 2, 3], "<u4").tobytes()),
                            "stringOffsets": made.view(np.array([0, 1, 1, 3], "<u2").tobytes()),
                            "stringOffsetType": "UINT16",
                        },
                        "share": {"values": made.view(b"\x00\xff"), "min": 0.0, "max": 100.0},
                        "gap": {"values": made.view(np.array([-1, 7], "<i4").tobytes())},
                    },
                }
            ],
        }
    }
    return made


@pytest.fixture
def new_asset() -> Callable[[], Asset]:
    """Makes an empty asset."""
    return Asset


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    """Makes a small image of a format."""
    return picture
