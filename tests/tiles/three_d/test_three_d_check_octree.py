"""The checker reads octrees: a point tileset is good as built, and every fault put into it is found."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiles.three_d.check import check_tileset

HALF = 64.0


def points_glb(local: np.ndarray) -> bytes:
    """Points (n, 3) of the tile's frame (z up) as a glb of POINTS with float positions."""
    up = np.stack((local[:, 0], local[:, 2], -local[:, 1]), axis=1).astype("<f4")
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": len(up),
                "type": "VEC3",
                "min": up.min(axis=0).tolist(),
                "max": up.max(axis=0).tolist(),
            }
        ],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": up.nbytes}],
        "buffers": [{"byteLength": up.nbytes}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + up.nbytes, len(text), 0x4E4F534A)
    return head + text + struct.pack("<II", up.nbytes, 0x004E4942) + up.tobytes()


def subtree(tiles: list[int], boxes: np.ndarray | None) -> bytes:
    """Two levels of an octree: bit 0 is the root, then eight children in Morton order."""
    bits = np.zeros(9, np.uint8)
    bits[tiles] = 1
    packed = np.packbits(bits, bitorder="little").tobytes().ljust(8, b"\0")
    document: dict[str, Any] = {
        "buffers": [{"byteLength": 8}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 2}],
        "tileAvailability": {"bitstream": 0, "availableCount": len(tiles)},
        "contentAvailability": [{"bitstream": 0, "availableCount": len(tiles)}],
        "childSubtreeAvailability": {"constant": 0},
    }
    if boxes is not None:
        packed += boxes.astype("<f8").tobytes()
        document["bufferViews"].append({"buffer": 0, "byteOffset": 8, "byteLength": boxes.nbytes})
        document["buffers"][0]["byteLength"] = len(packed)
        document["propertyTables"] = [
            {"class": "tile", "count": len(boxes), "properties": {"itsBox": {"values": 1}}}
        ]
        document["tileMetadata"] = 0
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<4sIQQ", b"subt", 1, len(text), len(packed)) + text + packed


def box(centre: tuple[float, float, float], half: float) -> list[float]:
    return [*centre, half, 0.0, 0.0, 0.0, half, 0.0, 0.0, 0.0, half]


def write(folder: Path, *, boxes: np.ndarray | None = None, tiles: tuple[int, ...] = (0, 6)) -> Path:
    """A cube of 128 m on the equator. Bit 6 is the child at x=1, y=0, z=1 (Morton index 5)."""
    octree = {
        "boundingVolume": {"box": box((0.0, 0.0, 0.0), HALF)},
        "geometricError": 10.0,
        "content": {"uri": "c/{level}/{x}/{y}/{z}.glb"},
        "implicitTiling": {
            "subdivisionScheme": "OCTREE",
            "subtreeLevels": 2,
            "availableLevels": 2,
            "subtrees": {"uri": "s/{level}/{x}/{y}/{z}.subtree"},
        },
    }
    document: dict[str, Any] = {
        "asset": {"version": "1.1"},
        "geometricError": 20.0,
        "root": {
            # East, north, up at longitude 0, latitude 0.
            "transform": [0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 6378137, 0, 0, 1],
            "boundingVolume": {"box": box((0.0, 0.0, 0.0), HALF)},
            "geometricError": 20.0,
            "refine": "ADD",
            "children": [octree],
        },
    }
    if boxes is not None:
        stated = {
            "type": "SCALAR",
            "componentType": "FLOAT64",
            "array": True,
            "count": 12,
            "semantic": "TILE_BOUNDING_BOX",
        }
        document["schema"] = {"id": "t", "classes": {"tile": {"properties": {"itsBox": stated}}}}
    files = {
        "tileset.json": json.dumps(document).encode(),
        "s/0/0/0/0.subtree": subtree(list(tiles), boxes),
        "c/0/0/0/0.glb": points_glb(np.array([[-60.0, -60.0, -60.0], [60.0, 60.0, 60.0]])),
        "c/1/1/0/1.glb": points_glb(np.array([[5.0, -60.0, 5.0], [60.0, -5.0, 60.0]])),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def rules(folder: Path) -> set[str]:
    return {finding.rule for finding in check_tileset(folder)}


def test_a_good_octree_has_no_findings(tmp_path: Path) -> None:
    assert check_tileset(write(tmp_path / "plain")) == []
    own = np.array([box((0, 0, 0), 61.0), box((32.0, -32.0, 32.0), 29.0)])
    assert check_tileset(write(tmp_path / "own", boxes=own)) == []


@pytest.mark.parametrize("place", ["0/0/1", "1/1/1", "1/0/0", "0/1/0"])
def test_content_in_another_eighth_is_found(tmp_path: Path, place: str) -> None:
    bit = 1 + sum(int(axis) << number for number, axis in enumerate(place.split("/")))
    folder = write(tmp_path, tiles=(0, bit))
    target = folder / f"c/1/{place}.glb"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / "c/1/1/0/1.glb", target)
    assert rules(folder) == {"volume-content"}


def test_the_boxes_of_the_tile_metadata_are_what_counts(tmp_path: Path) -> None:
    small = np.array([box((0, 0, 0), 61.0), box((32.0, -32.0, 32.0), 20.0)])
    found = check_tileset(write(tmp_path / "small", boxes=small))
    assert [(one.file, one.rule) for one in found] == [("c/1/1/0/1.glb", "volume-content")]
    # One box too few for the tiles that are there.
    assert "subtree-metadata" in rules(write(tmp_path / "short", boxes=small[:1]))


def test_missing_and_forgotten_files_are_found(tmp_path: Path) -> None:
    folder = write(tmp_path)
    shutil.copy(folder / "c/1/1/0/1.glb", folder / "c/1/1/0/0.glb")
    assert rules(folder) == {"file-unused"}
    (folder / "c/1/1/0/1.glb").unlink()
    assert rules(folder) == {"file-unused", "file-missing"}


def test_a_template_without_z_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = folder / "tileset.json"
    path.write_text(path.read_text().replace("c/{level}/{x}/{y}/{z}.glb", "c/{level}/{x}/{y}.glb"))
    assert "implicit-template" in rules(folder)


def test_a_tile_without_its_parent_is_found(tmp_path: Path) -> None:
    assert "subtree-tiles" in rules(write(tmp_path, tiles=(6,)))
