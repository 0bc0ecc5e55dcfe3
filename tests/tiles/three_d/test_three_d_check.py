"""The checker finds every fault that is put into a good tileset."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tiles.three_d.check import Finding, check_tileset

ROOT_GLB = "content/0/0/0.glb"
ROOT_SUBTREE = "subtrees/0/0/0.subtree"


def rules(folder: Path) -> set[str]:
    return {finding.rule for finding in check_tileset(folder)}


def edit_json(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tileset.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(orjson.dumps(document))
    path.with_name("tileset.json.gz").unlink()


def set_at(document: dict[str, Any], where: str, value: Any) -> None:
    *path, last = where.split(".")
    for step in path:
        document = document[step]
    document[last] = value


@pytest.mark.parametrize(
    ("where", "value", "rule"),
    [
        ("asset", {"version": "0.0"}, "tileset-asset"),
        ("asset", None, "tileset-asset"),
        ("geometricError", -1.0, "tileset-error"),
        ("geometricError", 0.5, "tileset-error-order"),
        ("root.geometricError", "large", "tileset-error"),
        ("root.geometricError", 1e9, "tileset-error-order"),
        ("root", [], "tileset-root"),
        ("root.refine", "GROW", "tileset-refine"),
        ("root.boundingVolume", {}, "tileset-volume"),
        ("root.boundingVolume", {"region": [0.5, 1.0, 0.4, 0.9, 0.0, 1.0]}, "tileset-volume"),
        ("root.boundingVolume", {"region": [0.43, 1.05, 0.44, 1.06, 0.0, 1.0]}, "volume-content"),
        ("root.boundingVolume", {"sphere": [0.0, 0.0, 0.0, 0.0]}, "tileset-volume"),
        ("root.content", {"uri": "content/fixed.glb"}, "implicit-template"),
        ("root.implicitTiling.subdivisionScheme", "KDTREE", "implicit-scheme"),
        ("root.implicitTiling.subdivisionScheme", "OCTREE", "implicit-template"),
        ("root.implicitTiling.availableLevels", 1, "implicit-levels"),
        ("root.implicitTiling.availableLevels", 0, "implicit-levels"),
        ("root.implicitTiling.subtreeLevels", 40, "implicit-levels"),
        ("root.implicitTiling.subtreeLevels", 1, "file-unused"),
        ("root.implicitTiling.subtrees", {"uri": "no/{level}/{x}/{y}.subtree"}, "file-missing"),
        ("root.children", [], "implicit-children"),
    ],
)
def test_faults_of_the_tileset_json(where: str, value: Any, rule: str, damaged: Path) -> None:
    edit_json(damaged, lambda document: set_at(document, where, value))
    assert rule in rules(damaged)


def test_a_file_that_is_no_json(damaged: Path) -> None:
    (damaged / "tileset.json").write_text("{")
    assert "tileset-json" in rules(damaged)
    (damaged / "tileset.json").write_text("[]")
    assert "tileset-json" in rules(damaged)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert check_tileset(tmp_path) == [Finding("tileset.json", "file-missing", "tileset.json does not exist")]


def test_files_that_are_missing_unused_or_differ(damaged: Path) -> None:
    last = sorted(damaged.glob("content/1/**/*.glb"))[-1]
    last.unlink()
    (damaged / "content/7/7").mkdir(parents=True)
    (damaged / "content/7/7/7.glb").write_bytes(b"")
    packed = damaged / "tileset.json.gz"
    packed.write_bytes(gzip.compress(b"{}"))
    assert rules(damaged) == {"file-missing", "file-unused", "file-gzip"}


def test_a_compressed_sibling_that_is_truncated(damaged: Path) -> None:
    packed = damaged / (ROOT_GLB + ".gz")
    packed.write_bytes(packed.read_bytes()[:-100])
    assert rules(damaged) == {"file-gzip"}


def rewrite_subtree(folder: Path, change: Callable[[dict[str, Any], bytearray], None]) -> None:
    path = folder / ROOT_SUBTREE
    content = path.read_bytes()
    length = int.from_bytes(content[8:16], "little")
    document, binary = json.loads(content[24 : 24 + length]), bytearray(content[24 + length :])
    change(document, binary)
    text = orjson.dumps(document)
    text += b" " * (-len(text) % 8)
    sizes = len(text).to_bytes(8, "little") + len(binary).to_bytes(8, "little")
    path.write_bytes(content[:8] + sizes + text + bytes(binary))
    path.with_name(path.name + ".gz").unlink()


def put(where: str, value: Any) -> Callable[[dict[str, Any], bytearray], None]:
    return lambda document, binary: set_at(document, where, value)


SUBTREE_FAULTS: list[tuple[str, Callable[[dict[str, Any], bytearray], None], str]] = [
    ("no root", put("tileAvailability", {"constant": 0}), "subtree-tiles"),
    ("no contents", put("contentAvailability", [{"constant": 0}]), "file-unused"),
    ("children", put("childSubtreeAvailability", {"constant": 1}), "file-missing"),
    ("missing", put("childSubtreeAvailability", None), "subtree-availability"),
    ("no stream", put("tileAvailability", {"bitstream": 9}), "subtree-availability"),
]


@pytest.mark.parametrize(("name", "change", "rule"), SUBTREE_FAULTS, ids=[case[0] for case in SUBTREE_FAULTS])
def test_faults_of_a_subtree(
    name: str, change: Callable[[dict[str, Any], bytearray], None], rule: str, damaged: Path
) -> None:
    rewrite_subtree(damaged, change)
    assert rule in rules(damaged)


def test_subtree_bits_counts_and_padding(damaged: Path, tmp_path: Path) -> None:
    from tiles.three_d.check.findings import FileFindings
    from tiles.three_d.check.subtree import SubtreeForm, read_subtree

    def found(document: dict[str, Any], binary: bytes, levels: int = 2) -> set[str]:
        text = orjson.dumps(document)
        text += b" " * (-len(text) % 8)
        head = b"subt" + (1).to_bytes(4, "little") + len(text).to_bytes(8, "little")
        findings = FileFindings("x.subtree")
        whole = head + len(binary).to_bytes(8, "little") + text + binary
        read_subtree(whole, SubtreeForm(levels, 2, 1, {}), lambda uri: None, findings)
        return {finding.rule for finding in findings.found}

    def streams(
        tile: int, content: int, counts: tuple[int, int], second_at: int = 8
    ) -> tuple[dict[str, Any], bytes]:
        views = [
            {"buffer": 0, "byteOffset": 0, "byteLength": 1},
            {"buffer": 0, "byteOffset": second_at, "byteLength": 1},
        ]
        document = {
            "buffers": [{"byteLength": 16}],
            "bufferViews": views,
            "tileAvailability": {"bitstream": 0, "availableCount": counts[0]},
            "contentAvailability": [{"bitstream": 1, "availableCount": counts[1]}],
            "childSubtreeAvailability": {"constant": 0},
        }
        binary = bytearray(16)
        binary[0], binary[second_at] = tile, content
        return document, bytes(binary)

    assert found(*streams(0b00111, 0b00101, (3, 2))) == set()
    assert found(*streams(0b00111, 0b00101, (3, 1))) == {"subtree-count"}
    assert found(*streams(0b00110, 0b00010, (2, 1))) == {"subtree-tiles"}
    assert found(*streams(0b00011, 0b00101, (2, 2))) == {"subtree-contents"}
    assert found(*streams(0b1100111, 0b00101, (3, 2))) == {"subtree-availability"}
    assert "subtree-alignment" in found(*streams(0b00111, 0b00101, (3, 2), second_at=4))
    # Three levels: the tile 5 of level two stands without tile 0 of level one.
    parentless = {
        "tileAvailability": {"bitstream": 0},
        "buffers": [{"byteLength": 8}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 3}],
    }
    document = parentless | {
        "contentAvailability": [{"constant": 0}],
        "childSubtreeAvailability": {"constant": 0},
    }
    assert found(document, bytes([0b00100001, 0, 0, 0, 0, 0, 0, 0]), levels=3) == {"subtree-tiles"}


def test_headers_of_a_subtree(damaged: Path) -> None:
    path = damaged / ROOT_SUBTREE
    content = path.read_bytes()
    path.with_name(path.name + ".gz").unlink()
    for broken in (b"", b"SUBT" + content[4:], content[:4] + b"\x02" + content[5:], content[:-8]):
        path.write_bytes(broken)
        assert "subtree-header" in rules(damaged)


def primitive(document: dict[str, Any]) -> dict[str, Any]:
    return document["meshes"][0]["primitives"][0]  # type: ignore[no-any-return]


def table(document: dict[str, Any]) -> dict[str, Any]:
    return document["extensions"]["EXT_structural_metadata"]["propertyTables"][0]  # type: ignore[no-any-return]


def position(document: dict[str, Any]) -> dict[str, Any]:
    return document["accessors"][primitive(document)["attributes"]["POSITION"]]  # type: ignore[no-any-return]


def overwrite(name: str, content: bytes) -> Callable[[dict[str, Any], bytearray], None]:
    """Overwrite the start of a vertex attribute's view."""

    def change(document: dict[str, Any], binary: bytearray) -> None:
        view = document["bufferViews"][
            document["accessors"][primitive(document)["attributes"][name]]["bufferView"]
        ]
        binary[view["byteOffset"] : view["byteOffset"] + len(content)] = content

    return change


def break_offsets(document: dict[str, Any], binary: bytearray) -> None:
    view = document["bufferViews"][table(document)["properties"]["id"]["stringOffsets"]]
    binary[view["byteOffset"] : view["byteOffset"] + 2] = b"\xff\xff"


def break_text(document: dict[str, Any], binary: bytearray) -> None:
    view = document["bufferViews"][table(document)["properties"]["id"]["values"]]
    binary[view["byteOffset"]] = 0xFF


def misalign_table(document: dict[str, Any], binary: bytearray) -> None:
    view = document["bufferViews"][table(document)["properties"]["height"]["values"]]
    view["byteOffset"] -= 2


def drop_position_bounds(document: dict[str, Any], binary: bytearray) -> None:
    del position(document)["min"]


def rename_class(document: dict[str, Any], binary: bytearray) -> None:
    table(document)["class"] = "tree"


def add_property(document: dict[str, Any], binary: bytearray) -> None:
    table(document)["properties"]["colour"] = table(document)["properties"]["id"]


def fewer_rows(document: dict[str, Any], binary: bytearray) -> None:
    table(document)["count"] -= 1


def fewer_features(document: dict[str, Any], binary: bytearray) -> None:
    entry = primitive(document)["extensions"]["EXT_mesh_features"]["featureIds"][0]
    entry["featureCount"] = 1
    table(document)["count"] = 1


def other_table(document: dict[str, Any], binary: bytearray) -> None:
    primitive(document)["extensions"]["EXT_mesh_features"]["featureIds"][0]["propertyTable"] = 4


def require_a_property(document: dict[str, Any], binary: bytearray) -> None:
    classes = document["extensions"]["EXT_structural_metadata"]["schema"]["classes"]
    classes["building"]["properties"]["roof"] = {"type": "STRING", "required": True}


def undeclared_quantisation(document: dict[str, Any], binary: bytearray) -> None:
    document["extensionsRequired"] = []


def unknown_extension(document: dict[str, Any], binary: bytearray) -> None:
    document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    document["extensionsUsed"] = ["KHR_draco_mesh_compression"]


def moved(document: dict[str, Any], binary: bytearray) -> None:
    document["nodes"][0]["translation"][0] += 700.0


def sunk(document: dict[str, Any], binary: bytearray) -> None:
    document["nodes"][0]["translation"] = [part * 0.99999 for part in document["nodes"][0]["translation"]]


def grown(document: dict[str, Any], binary: bytearray) -> None:
    document["nodes"][0]["rotation"] = [2.0 * part for part in document["nodes"][0]["rotation"]]


def long_accessor(document: dict[str, Any], binary: bytearray) -> None:
    position(document)["count"] += 1


def odd_offset(document: dict[str, Any], binary: bytearray) -> None:
    position(document)["byteOffset"] = 1


def short_normals(document: dict[str, Any], binary: bytearray) -> None:
    document["accessors"][primitive(document)["attributes"]["NORMAL"]]["count"] -= 1


def no_triangles(document: dict[str, Any], binary: bytearray) -> None:
    for number in primitive(document)["attributes"].values():
        document["accessors"][number]["count"] -= 1


def high_index(document: dict[str, Any], binary: bytearray) -> None:
    document["bufferViews"].append({"buffer": 0, "byteOffset": 0, "byteLength": 12, "target": 34963})
    binary[0:12] = b"\xff\xff\xff\x00" * 3
    view = len(document["bufferViews"]) - 1
    document["accessors"].append({"bufferView": view, "componentType": 5125, "count": 3, "type": "SCALAR"})
    primitive(document)["indices"] = len(document["accessors"]) - 1


def no_mesh(document: dict[str, Any], binary: bytearray) -> None:
    document["nodes"][0]["mesh"] = 3


def no_node(document: dict[str, Any], binary: bytearray) -> None:
    document["scenes"][0]["nodes"] = [5]


def circle(document: dict[str, Any], binary: bytearray) -> None:
    document["nodes"][0]["children"] = [0]


def view_out_of_buffer(document: dict[str, Any], binary: bytearray) -> None:
    document["bufferViews"][-1]["byteLength"] += 1_000_000


def other_version(document: dict[str, Any], binary: bytearray) -> None:
    document["asset"]["version"] = "1.0"


def long_buffer(document: dict[str, Any], binary: bytearray) -> None:
    document["buffers"][0]["byteLength"] += 64


def short_values(document: dict[str, Any], binary: bytearray) -> None:
    document["bufferViews"][table(document)["properties"]["height"]["values"]]["byteLength"] -= 4


def lost_values(document: dict[str, Any], binary: bytearray) -> None:
    table(document)["properties"]["height"]["values"] = 99


GLB_FAULTS = [
    (overwrite("POSITION", b"\xff\x7f" * 3), "gltf-accessor-bounds"),
    (overwrite("NORMAL", b"\x00\x00\x00"), "gltf-normals"),
    (overwrite("_FEATURE_ID_0", b"\xff\xff"), "features-range"),
    (drop_position_bounds, "gltf-accessor-bounds"),
    (break_offsets, "metadata-offsets"),
    (break_text, "metadata-text"),
    (misalign_table, "metadata-alignment"),
    (rename_class, "metadata-class"),
    (add_property, "metadata-property"),
    (require_a_property, "metadata-property"),
    (fewer_rows, "features-table"),
    (fewer_rows, "metadata-values"),
    (fewer_features, "features-range"),
    (other_table, "features-table"),
    (undeclared_quantisation, "gltf-extensions"),
    (unknown_extension, "gltf-extensions"),
    (moved, "volume-content"),
    (sunk, "volume-content"),
    (grown, "gltf-node"),
    (long_accessor, "gltf-accessor-range"),
    (odd_offset, "gltf-alignment"),
    (short_normals, "gltf-attributes"),
    (no_triangles, "gltf-indices"),
    (high_index, "gltf-indices"),
    (no_mesh, "gltf-node"),
    (no_node, "gltf-node"),
    (circle, "gltf-node"),
    (view_out_of_buffer, "gltf-buffer-view"),
    (other_version, "gltf-asset"),
    (long_buffer, "gltf-buffer"),
    (short_values, "metadata-values"),
    (lost_values, "metadata-values"),
]


@pytest.mark.parametrize(
    ("change", "rule"), GLB_FAULTS, ids=[f"{change.__name__}-{rule}" for change, rule in GLB_FAULTS]
)
def test_faults_of_a_tile(change: Any, rule: str, damaged: Path, edit_glb: Any) -> None:
    """The fault is put into a small tile of the deepest level (its positions are quantised)."""
    path = sorted(damaged.glob("content/*/*/*.glb"))[-1]
    edit_glb(path, change)
    assert rule in rules(damaged)


def test_positions_that_are_no_numbers(damaged: Path, edit_glb: Any) -> None:
    """Wide tiles carry floats, which can be NaN."""

    def change(document: dict[str, Any], binary: bytearray) -> None:
        position(document).update(componentType=5126)
        view = document["bufferViews"][position(document)["bufferView"]]
        view["byteStride"] = 12
        position(document)["count"] = view["byteLength"] // 12
        binary[view["byteOffset"] : view["byteOffset"] + 4] = np.float32(np.nan).tobytes()

    edit_glb(sorted(damaged.glob("content/*/*/*.glb"))[-1], change)
    assert "gltf-positions" in rules(damaged)


@pytest.mark.parametrize(
    ("at", "content", "rule"),
    [
        (0, b"GLTF", "glb-header"),
        (4, b"\x01", "glb-header"),
        (8, b"\x00", "glb-header"),
        (12, b"\x03", "glb-alignment"),
        (12, b"\xff\xff\xff\x7f", "glb-chunk"),
        (16, b"text", "glb-chunk"),
        (20, b"]", "glb-json"),
    ],
)
def test_headers_of_a_tile(at: int, content: bytes, rule: str, damaged: Path) -> None:
    path = damaged / ROOT_GLB
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(bytes(whole))
    path.with_name(path.name + ".gz").unlink()
    assert rule in rules(damaged)


@pytest.mark.parametrize("keep", [0, 11, 400, -4])
def test_truncated_tiles(keep: int, damaged: Path) -> None:
    path = damaged / ROOT_GLB
    path.write_bytes(path.read_bytes()[:keep])
    path.with_name(path.name + ".gz").unlink()
    assert rules(damaged) & {"glb-header", "glb-chunk"}


def test_explicit_tiles_boxes_and_spheres(built: Any, tmp_path: Path) -> None:
    """A hand-written tileset over one content: transform, children, content volumes and path containment."""
    (tmp_path / "a.glb").write_bytes((built[0] / ROOT_GLB).read_bytes())
    sphere = {"sphere": [2_885_000.0, 1_342_000.0, 5_509_000.0, 20_000.0]}
    tile: dict[str, Any] = {
        "boundingVolume": sphere,
        "geometricError": 100.0,
        "refine": "REPLACE",
        "children": [{"boundingVolume": sphere, "geometricError": 0.0, "content": {"uri": "a.glb"}}],
    }
    document: dict[str, Any] = {"asset": {"version": "1.1"}, "geometricError": 200.0, "root": tile}

    def run() -> set[str]:
        (tmp_path / "tileset.json").write_bytes(orjson.dumps(document))
        return rules(tmp_path)

    assert run() == set()
    child = tile["children"][0]
    child["content"]["boundingVolume"] = {
        "box": [2_885_000.0, 1_342_000.0, 5_509_000.0, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    }
    assert run() == {"volume-content"}
    del child["content"]["boundingVolume"]
    child["transform"] = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 90_000, 0, 0, 1]
    # A box or sphere moves with its tile, out of what its parent bounds; a region stays where it is.
    assert run() == {"volume-content"}
    tile["boundingVolume"] = {"sphere": [2_885_000.0, 1_342_000.0, 5_509_000.0, 200_000.0]}
    assert run() == set()
    whole = json.loads((built[0] / "tileset.json").read_text())["root"]["boundingVolume"]
    assert set(whole) == {"region"}
    child["content"]["boundingVolume"] = whole
    assert run() == {"volume-content"}
    del child["transform"]
    assert run() == set()
    child["content"]["uri"] = "../a.glb"
    assert run() == {"content-uri", "file-unused"}
    child["content"]["uri"] = "tileset.json"
    assert "tileset-circle" in run()
    child["content"] = {"uri": "a.glb"}
    document["asset"]["version"] = "1.0"
    assert run() == {"tileset-version"}
    document["extensionsUsed"] = ["3DTILES_content_gltf"]
    assert run() == set()
    child["geometricError"] = 101.0
    assert "tileset-error-order" in run()
