"""What is written is what is read back: every kind of part, compressed and not, and what cannot be written."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest

from tiles.three_d.errors import GlbError, NothingToBuildError
from tiles.three_d.glb import Compression, GlbOptions, write_tile
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import InstancePart, Material, MeshPart, Texture
from tiles.three_d.plain_glb import plain_glb
from tiles.three_d.read_glb import flattened, read_glb

STEP = 0.01


def document_of(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", content, 12)
    found: dict[str, Any] = orjson.loads(content[20 : 20 + length])
    return found


def corners(parts: Any) -> np.ndarray:
    """Corners (t, 9) of all triangles, sorted so that sets of triangles compare; first corner smallest."""
    found = [part.mesh.positions[part.mesh.triangles] for part in flattened(list(parts))]
    triangles = np.concatenate(found)
    middle = triangles.mean(axis=1)
    return triangles[np.lexsort(middle.round(1).T)].mean(axis=1)


def values(table: Any) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for column in table.columns:
        if column.offsets is None:
            rows[column.id] = column.values.tolist()
        else:
            text, limits = column.values.tobytes(), column.offsets.tolist()
            rows[column.id] = [text[a:b].decode() for a, b in pairwise(limits)]
    return rows


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (GlbOptions("© 城图"), STEP / 2),
        (GlbOptions("© 城图", Compression.DRACO), STEP),
        (GlbOptions("© 城图", plain=True), 1e-4),
    ],
    ids=["quantised", "draco", "plain"],
)
def test_a_tile_comes_back(tile: Any, options: GlbOptions, tolerance: float) -> None:
    found = read_glb(write_tile(tile.parts, tile.frame, tile.table, options))
    assert found.attribution == "© 城图"
    assert np.abs(found.frame.origin - tile.frame.origin).max() < 1e-6
    assert found.table is not None
    assert values(found.table) == values(tile.table)
    assert [type(part) for part in found.parts] == [MeshPart, MeshPart, MeshPart, InstancePart]
    for part, given in zip(found.parts[:3], tile.parts[:3], strict=True):
        for feature in np.unique(given.mesh.feature_ids):
            mine, theirs = (
                one.mesh.positions[
                    one.mesh.triangles[one.mesh.feature_ids[one.mesh.triangles[:, 0]] == feature]
                ]
                for one in (part, given)
            )
            assert mine.shape == theirs.shape
            low, high = mine.reshape(-1, 3).min(axis=0), mine.reshape(-1, 3).max(axis=0)
            assert np.abs(low - theirs.reshape(-1, 3).min(axis=0)).max() <= tolerance * 1.01
            assert np.abs(high - theirs.reshape(-1, 3).max(axis=0)).max() <= tolerance * 1.01
    roof, glass = found.parts[0], found.parts[2]
    assert [entry.name for entry in roof.mesh.palette] == ["RoofSurface", "WallSurface"]
    assert roof.mesh.palette[0].colour == (1.0, 0.0, 0.0)
    up = roof.mesh.normals[:, 2] > 0.9
    assert (roof.mesh.classes == np.where(up, 0, 1)).all()
    assert glass.material == tile.parts[2].material


def test_textures_and_their_coordinates_come_back(tile: Any, image: Texture) -> None:
    content = write_tile(tile.parts, tile.frame, tile.table)
    part = read_glb(content).parts[1]
    assert isinstance(part, MeshPart)
    assert part.material.texture == image
    assert part.texture_coordinates is not None
    assert np.abs(np.unique(part.texture_coordinates.round(3))).tolist() == [0.5, 1.5, 2.5]
    document = document_of(content)
    assert document["materials"][1]["alphaMode"] == "MASK"
    assert document["materials"][2]["alphaMode"] == "BLEND"
    assert "KHR_texture_transform" in document["extensionsRequired"]


def test_coordinates_that_repeat_a_texture_very_often_stay_floats(
    make_boxes: Any, make_table: Any, tile: Any, image: Texture
) -> None:
    mesh = replace(make_boxes(2), classes=None)
    coordinates = np.tile([[0.0, 0.0], [900.0, 0.0], [900.0, 7.0], [0.0, 7.0]], (10, 1))
    part = MeshPart(mesh, Material(texture=image), coordinates)
    document = document_of(write_tile([part], tile.frame, make_table(2)))
    number = document["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    assert document["accessors"][number]["componentType"] == 5126
    assert "KHR_texture_transform" not in document["extensionsUsed"]


def test_webp_goes_by_its_extension(make_boxes: Any, make_table: Any, tile: Any) -> None:
    texture = Texture("image/webp", b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f\x00\x00\x00\x10")
    part = MeshPart(make_boxes(1), Material(texture=texture), np.zeros((20, 2)))
    content = write_tile([part], tile.frame, make_table(1))
    document = document_of(content)
    assert "EXT_texture_webp" in document["extensionsRequired"]
    assert "source" not in document["textures"][0]
    assert document["materials"][0]["alphaMode"] == "MASK"
    again = read_glb(content).parts[0]
    assert isinstance(again, MeshPart)
    assert again.material.texture == texture


def test_instances_come_back_and_share_their_model(tile: Any) -> None:
    trees = tile.parts[3]
    two = [replace(trees, feature_ids=trees.feature_ids), trees]
    content = write_tile([*two], tile.frame, tile.table)
    document = document_of(content)
    assert (len(document["nodes"]), len(document["meshes"])) == (1, 1)
    part = read_glb(content).parts[0]
    assert isinstance(part, InstancePart)
    assert part.feature_ids.tolist() == [9, 10, 11, 10] * 2
    assert np.abs(part.positions[:4] - trees.positions).max() < 1e-4
    same = np.abs((part.rotations[:4] * trees.rotations).sum(axis=1))
    assert same.min() > 1 - 1e-8
    assert np.abs(part.scales[:4] - trees.scales).max() < 1e-6


def test_upright_instances_of_usual_size_need_neither_rotation_nor_scale(tile: Any) -> None:
    trees = tile.parts[3]
    plain = replace(trees, rotations=np.tile([0.0, 0.0, 0.0, 1.0], (4, 1)), scales=np.ones((4, 3)))
    extension = document_of(write_tile([plain], tile.frame, tile.table))["nodes"][0]["extensions"]
    assert sorted(extension["EXT_mesh_gpu_instancing"]["attributes"]) == ["TRANSLATION", "_FEATURE_ID_0"]


def test_plain_tiles_need_no_extension_and_have_one_node(tile: Any) -> None:
    whole = write_tile(tile.parts, tile.frame, tile.table)
    plain = plain_glb(whole)
    document = document_of(plain)
    assert "extensionsRequired" not in document
    assert len(document["nodes"]) == 1
    kinds = {
        name: document["accessors"][number]["componentType"]
        for primitive in document["meshes"][0]["primitives"]
        for name, number in primitive["attributes"].items()
    }
    assert {kinds[name] for name in ("POSITION", "NORMAL", "TEXCOORD_0")} == {5126}
    before, ids_before = read_glb(whole).triangles()
    after, ids_after = read_glb(plain).triangles()
    assert len(before) == len(after)
    assert sorted(ids_before.tolist()) == sorted(ids_after.tolist())
    assert np.abs(before.reshape(-1, 3).min(axis=0) - after.reshape(-1, 3).min(axis=0)).max() < 1e-3


@pytest.mark.parametrize(("vertices", "component"), [(65_535, 5123), (65_536, 5125)])
def test_indices_widen_after_65535_vertices(
    tile: Any, make_table: Any, make_boxes: Any, vertices: int, component: int
) -> None:
    """A fan of triangles around one vertex shares its vertices, so it keeps indices."""
    angle = np.linspace(0.0, 6.28, vertices - 1)
    points = np.vstack(
        [[[0.0, 0.0, 0.0]], np.column_stack((np.cos(angle), np.sin(angle), 0 * angle)) * 100.0]
    )
    rim = np.arange(1, vertices - 1)
    mesh = replace(
        make_boxes(1),
        positions=points,
        normals=np.tile([0.0, 0.0, 1.0], (vertices, 1)),
        feature_ids=np.zeros(vertices, dtype=np.int64),
        triangles=np.column_stack((0 * rim, rim, rim + 1)),
        classes=None,
    )
    content = write_tile([MeshPart(mesh, Material())], tile.frame, make_table(1))
    document = document_of(content)
    indices = document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]
    assert indices["componentType"] == component
    assert read_glb(content).triangles()[0].shape == (vertices - 2, 3, 3)


def test_more_features_than_16_bits_count(tile: Any, make_table: Any) -> None:
    count = 65_537
    mesh = Mesh(
        np.random.default_rng(1).uniform(-100.0, 100.0, (3 * count, 3)),
        np.tile([0.0, 0.0, 1.0], (3 * count, 1)),
        np.repeat(np.arange(count), 3),
        np.arange(3 * count).reshape(-1, 3),
    )
    content = write_tile([MeshPart(mesh, Material())], tile.frame, make_table(count))
    found = read_glb(content)
    assert found.table is not None
    assert found.table.count == count
    assert np.array_equal(np.unique(found.triangles()[1]), np.arange(count))


def test_what_cannot_be_written_is_an_error(tile: Any, make_boxes: Any) -> None:
    mesh = make_boxes(2)
    broken = replace(mesh, positions=np.where(np.arange(40)[:, None] == 7, np.nan, mesh.positions))
    empty = replace(mesh, triangles=np.empty((0, 3), dtype=np.int64))
    with pytest.raises(GlbError, match="not a number"):
        write_tile([MeshPart(broken, Material())], tile.frame, tile.table)
    for texture, coordinates, said in (
        (Texture("image/gif", b"GIF89a"), np.zeros((40, 2)), "image/gif"),
        (Texture("image/jpeg", b"\xff\xd8"), np.full((40, 2), np.nan), "texture coordinate"),
    ):
        part = MeshPart(mesh, Material(texture=texture), coordinates)
        with pytest.raises(GlbError, match=said):
            write_tile([part], tile.frame, tile.table)
    with pytest.raises(GlbError, match="no place"):
        write_tile([replace(tile.parts[3], positions=np.full((4, 3), np.inf))], tile.frame, tile.table)
    nowhere = replace(
        tile.parts[3],
        positions=np.empty((0, 3)),
        rotations=np.empty((0, 4)),
        scales=np.empty((0, 3)),
        feature_ids=np.empty(0, dtype=np.int64),
    )
    for parts in ([], [MeshPart(empty, Material())], [nowhere]):
        with pytest.raises(NothingToBuildError, match="leave it out"):
            write_tile(parts, tile.frame, tile.table)
