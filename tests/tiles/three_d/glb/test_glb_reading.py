"""Reading glbs that others made, and those that are none."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest

from tiles.three_d.errors import GlbError
from tiles.three_d.glb import Compression, GlbOptions, write_tile
from tiles.three_d.glb_buffer import pack_glb
from tiles.three_d.objects import InstancePart, MeshPart
from tiles.three_d.read_glb import ReadLimits, read_glb, read_model
from tiles.three_d.subset import property_rows, subset_glb


def triangle(**changes: Any) -> bytes:
    """One triangle around the origin, without normals, x to the right, y up."""
    binary = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0]], dtype="<f4").tobytes()
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [2, 3, 0],
            }
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "buffers": [{"byteLength": len(binary)}],
    }
    return pack_glb(orjson.dumps(document | changes), binary)


def test_a_model_of_a_user_stands_upright() -> None:
    (part,) = read_model(triangle())
    assert part.mesh.positions[:, 2].max() == 3.0
    assert part.mesh.normals.tolist() == [[0.0, -1.0, 0.0]] * 3
    assert part.mesh.feature_ids.tolist() == [0, 0, 0]
    assert part.material.colour == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("nodes", "high"),
    [
        ([{"children": [1], "scale": [2, 2, 2]}, {"mesh": 0, "translation": [0, 1, 0]}], 8.0),
        ([{"mesh": 0, "matrix": [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]}], 12.0),
        ([{"mesh": 0, "rotation": [0, 0, 0.7071067811865475, 0.7071067811865476]}], 2.0),
        ([{"mesh": 0, "scale": [-1, 1, 1]}], 3.0),
    ],
)
def test_nodes_place_their_meshes(nodes: list[dict[str, Any]], high: float) -> None:
    (part,) = read_model(triangle(nodes=nodes))
    assert part.mesh.positions[:, 2].max() == pytest.approx(high)
    a, b, c = part.mesh.positions[part.mesh.triangles[0]]
    assert np.dot(np.cross(b - a, c - a), part.mesh.normals[0]) > 0.0


@pytest.mark.parametrize(("mode", "count"), [(4, 1), (5, 1), (6, 1), (0, 0), (1, 0)])
def test_strips_and_fans_are_triangles_points_and_lines_are_left_out(mode: int, count: int) -> None:
    primitive = {"attributes": {"POSITION": 0}, "mode": mode}
    assert len(read_glb(triangle(meshes=[{"primitives": [primitive]}])).triangles()[0]) == count


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "text": b"<html>not a model</html>" * 4,
    "version 1": b"glTF" + struct.pack("<IIII", 1, 20, 0, 0x4E4F534A),
    "cut off": triangle()[:-20],
    "no json": pack_glb(b"{", b""),
    "a list": pack_glb(b"[]", b""),
    "a circle": triangle(nodes=[{"mesh": 0, "children": [0]}]),
    "missing node": triangle(scenes=[{"nodes": [7]}]),
    "missing mesh": triangle(meshes=[]),
    "missing view": triangle(bufferViews=[]),
    "negative": triangle(bufferViews=[{"buffer": 0, "byteOffset": -4, "byteLength": 36}]),
    "too long": triangle(bufferViews=[{"buffer": 0, "byteLength": 3600}]),
    "too many": triangle(
        accessors=[{"bufferView": 0, "componentType": 5126, "count": 10**9, "type": "VEC3"}]
    ),
    "odd type": triangle(accessors=[{"bufferView": 0, "componentType": 1, "count": 3, "type": "VEC3"}]),
    "stride": triangle(bufferViews=[{"buffer": 0, "byteLength": 36, "byteStride": -12}]),
    "external": triangle(buffers=[{"byteLength": 36, "uri": "file:///etc/passwd"}]),
    "texts": triangle(nodes="many"),
    "rotation": triangle(nodes=[{"mesh": 0, "rotation": ["a", "b", "c", "d"]}]),
    "infinite": triangle(nodes=[{"mesh": 0, "scale": [1e308, 1e308, 1e308], "translation": [1e308, 0, 0]}]),
    "attributes": triangle(meshes=[{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": "x"}}]}]),
    "primitives": triangle(meshes=[{"primitives": 5}]),
    "indices": triangle(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "indices": 0}]}]),
    "draco": triangle(
        meshes=[
            {
                "primitives": [
                    {
                        "attributes": {"POSITION": 0},
                        "extensions": {
                            "KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}
                        },
                    }
                ]
            }
        ]
    ),
    "texture elsewhere": triangle(
        materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        textures=[{"source": 0}],
        images=[{"uri": "http://example.org/a.png"}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}],
    ),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_is_one_error(content: bytes) -> None:
    with pytest.raises(GlbError):
        read_model(content)


def test_limits_hold_at_their_number() -> None:
    whole = triangle()
    assert read_model(whole, ReadLimits(bytes=len(whole), vertices=3, nodes=1))
    for limits in (ReadLimits(bytes=len(whole) - 1), ReadLimits(vertices=2), ReadLimits(nodes=0)):
        with pytest.raises(GlbError, match=r"at most|are read|most that is read"):
            read_model(whole, limits)


def test_a_tile_is_no_model(tile: Any) -> None:
    with pytest.raises(GlbError, match="stands on the globe"):
        read_model(write_tile(tile.parts, tile.frame, tile.table))


@pytest.mark.parametrize("compression", Compression)
def test_a_subset_is_the_same_tile_with_fewer_features(tile: Any, compression: Compression) -> None:
    content = write_tile(tile.parts, tile.frame, tile.table, GlbOptions(compression=compression))
    keep = np.array([True, False, False, True] * 3)
    part = subset_glb(content, keep)
    assert part is not None
    whole, ids = read_glb(content).triangles()
    rest, rest_ids = read_glb(part).triangles()
    chosen = keep[ids]
    assert sorted(np.flatnonzero(keep)[rest_ids].tolist()) == sorted(ids[chosen].tolist())
    for one, number in enumerate(np.flatnonzero(keep).tolist()):
        mine, theirs = rest[rest_ids == one].mean(axis=1), whole[ids == number].mean(axis=1)
        assert np.abs(np.sort(mine, axis=0) - np.sort(theirs, axis=0)).max() < 1e-6
    before, after = property_rows(content), property_rows(part)
    assert before is not None
    assert after is not None
    taken = before.take(np.flatnonzero(keep))
    for mine_column, column in zip(after.columns, taken.columns, strict=True):
        assert np.array_equal(mine_column.values, column.values), column.id
        assert mine_column.schema == column.schema
    again = read_glb(part)
    assert [type(one) for one in again.parts] == [MeshPart, MeshPart, MeshPart, InstancePart]


@pytest.mark.parametrize(("kept", "kinds"), [(0, 2), (7, 1), (10, 1)], ids=["house", "textured", "tree"])
def test_a_subset_leaves_out_what_nothing_uses(tile: Any, kept: int, kinds: int) -> None:
    content = write_tile(tile.parts, tile.frame, tile.table)
    keep = np.zeros(12, dtype=np.bool_)
    keep[kept] = True
    part = subset_glb(content, keep)
    assert part is not None
    found = read_glb(part)
    assert len(found.parts) == kinds
    (length,) = struct.unpack_from("<I", part, 12)
    document = orjson.loads(part[20 : 20 + length])
    assert ("images" in document) == (kept == 7)
    assert set(found.triangles()[1].tolist()) == {0}


def test_subsets_of_all_and_of_nothing(tile: Any) -> None:
    content = write_tile(tile.parts, tile.frame, tile.table)
    assert subset_glb(content, np.ones(12, dtype=np.bool_)) is content
    assert subset_glb(content, np.zeros(12, dtype=np.bool_)) is None
    with pytest.raises(GlbError, match="12 features"):
        subset_glb(content, np.ones(11, dtype=np.bool_))
    with pytest.raises(GlbError):
        subset_glb(b"glTF", np.ones(1, dtype=np.bool_))
