"""The checker on whole tilesets: metadata of tiles, several contents, tilesets within tilesets, old formats, files of others."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiles.three_d.check import CallFiles, check_content_bytes, check_tileset, inspect_tileset

OTHERS = Path(__file__).parents[3] / "data" / "three_d"
REGION = [0.43, 1.05, 0.44, 1.06, 0.0, 100.0]
RADIUS = 6_378_137.0


def rules(folder: Path) -> set[str]:
    return {finding.rule for finding in check_tileset(folder)}


def glb_at(new_asset: Callable[[], Any], place: tuple[float, float, float], size: float = 10.0) -> bytes:
    """A triangle of `size` metres at a place of the tile's frame (z up)."""
    made = new_asset()
    corners = np.array([[0, 0, 0], [size, 0, 0], [0, size, 0]])
    made.mesh({"POSITION": made.accessor(corners, bounds=True)})
    x, y, z = place
    made.node(mesh=0, translation=[x, z, -y])
    return made.glb()  # type: ignore[no-any-return]


def box(centre: tuple[float, float, float], half: float) -> dict[str, list[float]]:
    return {"box": [*centre, half, 0, 0, 0, half, 0, 0, 0, half]}


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def tileset(root: dict[str, Any], error: float = 100.0, **more: Any) -> dict[str, Any]:
    return {"asset": {"version": "1.1"}, "geometricError": error, "root": root, **more}


def tile(centre: tuple[float, float, float], half: float, error: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"boundingVolume": box(centre, half), "geometricError": error, **more}


def padded(text: bytes, before: int) -> bytes:
    return text + b" " * (-(before + len(text)) % 8)


def legacy(magic: bytes, table: dict[str, Any], binary: bytes, batch: dict[str, Any], rest: bytes) -> bytes:
    """A tile of 3D Tiles 1.0."""
    header = 32 if magic == b"i3dm" else 28
    features = padded(json.dumps(table).encode(), header)
    binary += b"\0" * (-len(binary) % 8)
    attributes = padded(json.dumps(batch).encode(), 0) if batch else b""
    rest += b"\0" * (-len(rest) % 8)
    body = features + binary + attributes + rest
    head = struct.pack("<4s6I", magic, 1, header + len(body), len(features), len(binary), len(attributes), 0)
    return head + (struct.pack("<I", 1) if header == 32 else b"") + body


@pytest.fixture
def nested(tmp_path: Path, new_asset: Callable[[], Any]) -> Path:
    """A root with two contents, and a child that is another tileset with a box for its content."""
    near, far = glb_at(new_asset, (0, 0, 0)), glb_at(new_asset, (50, 0, 0))
    inner = tile(
        (50, 0, 0), 20, 5, refine="REPLACE", content={"uri": "far.glb", "boundingVolume": box((55, 0, 0), 15)}
    )
    root = tile(
        (0, 0, 0),
        100,
        50,
        refine="ADD",
        contents=[{"uri": "near.glb", "group": 0}, {"uri": "near.glb?v=3", "metadata": {"class": "part"}}],
        children=[tile((50, 0, 0), 30, 10, content={"uri": "inner/tileset.json"})],
    )
    schema = {"id": "s", "classes": {"part": {"properties": {"name": {"type": "STRING"}}}}}
    groups = [{"class": "part", "properties": {"name": "houses"}}]
    files = {
        "tileset.json": tileset(root, schema=schema, groups=groups),
        "near.glb": near,
        "inner/tileset.json": tileset(inner, 10),
        "inner/far.glb": far,
    }
    return write(tmp_path / "nested", files)


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((folder / name).read_bytes())
    change(document)
    (folder / name).write_text(json.dumps(document))


def test_several_contents_groups_and_tilesets_within(nested: Path) -> None:
    report = inspect_tileset(nested)
    assert report.findings == ()
    assert (report.counts["contents"], report.counts["tilesets"], report.counts["tiles"]) == (3, 2, 3)


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("tileset.json", lambda d: d["root"]["contents"][0].update(group=1), "tileset-group"),
        ("tileset.json", lambda d: d["groups"][0].update({"class": "whole"}), "metadata-class"),
        ("tileset.json", lambda d: d["groups"][0]["properties"].update(size=1), "metadata-property"),
        ("tileset.json", lambda d: d["root"].update(content={"uri": "near.glb"}), "tileset-contents"),
        ("tileset.json", lambda d: d["asset"].update(version="1.0"), "tileset-version"),
        (
            "tileset.json",
            lambda d: d["root"]["children"][0].update(boundingVolume=box((50, 0, 0), 5)),
            "volume-content",
        ),
        ("tileset.json", lambda d: d["root"].update(transform=[1.0] * 16), "tileset-transform"),
        (
            "tileset.json",
            lambda d: d["root"]["children"][0]["content"].update(uri="tileset.json"),
            "tileset-circle",
        ),
        (
            "tileset.json",
            lambda d: d["root"]["contents"][0].update(uri="https://example.org/a.glb"),
            "content-uri",
        ),
        ("tileset.json", lambda d: d["root"]["contents"][0].update(uri="none.glb"), "file-missing"),
        ("tileset.json", lambda d: d["root"].update(children=[7]), "tileset-root"),
        ("tileset.json", lambda d: d["root"].update(children=5), "unreadable"),
        ("tileset.json", lambda d: d.update(extensionsRequired=["X"]), "tileset-extensions"),
        ("inner/tileset.json", lambda d: d.update(geometricError=11), "tileset-error-order"),
        (
            "inner/tileset.json",
            lambda d: d["root"]["content"].update(boundingVolume=box((0, 0, 0), 5)),
            "volume-content",
        ),
        ("inner/tileset.json", lambda d: d["root"].update(viewerRequestVolume={}), "tileset-volume"),
    ],
)
def test_faults_of_nested_tilesets(nested: Path, name: str, change: Any, rule: str) -> None:
    edit(nested, name, change)
    assert rule in rules(nested)


def test_a_volume_of_an_extension_is_a_remark(nested: Path) -> None:
    cell = {"extensions": {"3DTILES_bounding_volume_S2": {"token": "3"}}}
    edit(nested, "tileset.json", lambda document: document["root"].update(boundingVolume=cell))
    report = inspect_tileset(nested)
    assert (report.findings, [one.rule for one in report.remarks]) == ((), ["volume-unread"])


def test_it_stops_after_as_many_faults_as_asked(nested: Path) -> None:
    (nested / "near.glb").write_bytes(b"glTF")
    (nested / "inner" / "far.glb").unlink()
    assert len(inspect_tileset(nested).findings) == 3
    report = inspect_tileset(nested, most=1)
    assert (len(report.findings), report.complete) == (1, False)
    assert report.summary().startswith("stopped after 1 fault; seen so far: ")


def test_a_tileset_that_answers_requests(nested: Path) -> None:
    asked = []

    def fetch(path: str) -> bytes | None:
        asked.append(path)
        file = nested / path.partition("?")[0]
        return file.read_bytes() if file.is_file() else None

    report = inspect_tileset(CallFiles(fetch))
    assert report.findings == ()
    assert set(asked) == {"tileset.json", "near.glb", "near.glb?v=3", "inner/tileset.json", "inner/far.glb"}


def quadtree(
    folder: Path, new_asset: Callable[[], Any], facts: dict[str, tuple[dict[str, Any], Any]]
) -> Path:
    """A region with one tile at each of two levels and a table of the tiles; `facts`: property, its definition, rows."""
    west, south, east, north = REGION[:4]
    files: dict[str, Any] = {}
    for name, longitude, latitude in (
        ("c/0/0/0.glb", (west + east) / 2, (south + north) / 2),
        ("c/1/1/0.glb", west + (east - west) * 0.7, south + (north - south) * 0.2),
    ):
        files[name] = glb_at(new_asset, ecef(longitude, latitude, 50.0), 5.0)
    binary, views, columns = (
        bytearray(b"\x05" + b"\0" * 7),
        [{"buffer": 0, "byteOffset": 0, "byteLength": 1}],
        {},
    )
    for name, (_, rows) in facts.items():
        packed = np.asarray(rows, "<f8").tobytes()
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(packed)})
        columns[name] = {"values": len(views) - 1}
        binary += packed
    document = {
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "tileAvailability": {"bitstream": 0, "availableCount": 2},
        "contentAvailability": [{"bitstream": 0}],
        "childSubtreeAvailability": {"constant": 0},
        "propertyTables": [{"class": "tile", "count": 2, "properties": columns}],
        "tileMetadata": 0,
    }
    text = padded(json.dumps(document).encode(), 0)
    files["s/0/0/0.subtree"] = (
        struct.pack("<4sIQQ", b"subt", 1, len(text), len(binary)) + text + bytes(binary)
    )
    root = {
        "boundingVolume": {"region": REGION},
        "geometricError": 40.0,
        "refine": "ADD",
        "content": {"uri": "c/{level}/{x}/{y}.glb"},
        "implicitTiling": {
            "subdivisionScheme": "QUADTREE",
            "subtreeLevels": 2,
            "availableLevels": 2,
            "subtrees": {"uri": "s/{level}/{x}/{y}.subtree"},
        },
    }
    classes = {"tile": {"properties": {name: stated for name, (stated, _) in facts.items()}}}
    files["tileset.json"] = tileset(root, schema={"id": "t", "classes": classes})
    return write(folder, files)


def ecef(longitude: float, latitude: float, height: float) -> tuple[float, float, float]:
    flattening = 1 / 298.257223563
    squared = flattening * (2 - flattening)
    normal = RADIUS / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    across = (normal + height) * np.cos(latitude)
    up = (normal * (1 - squared) + height) * np.sin(latitude)
    return float(across * np.cos(longitude)), float(across * np.sin(longitude)), float(up)


def numbers(semantic: str, count: int = 1) -> dict[str, Any]:
    stated: dict[str, Any] = {"type": "SCALAR", "componentType": "FLOAT64", "semantic": semantic}
    return stated | ({"array": True, "count": count} if count > 1 else {})


def around(share: tuple[float, float], low: float, high: float) -> list[float]:
    """A small region around a place told as shares of the whole."""
    x, y = REGION[0] + 0.01 * share[0], REGION[1] + 0.01 * share[1]
    return [x - 1e-5, y - 1e-5, x + 1e-5, y + 1e-5, low, high]


WHOLE, SMALL = around((0.5, 0.5), 40, 60), around((0.7, 0.2), 40, 60)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"error": (numbers("TILE_GEOMETRIC_ERROR"), [40, 5])}, set()),
        ({"error": (numbers("TILE_GEOMETRIC_ERROR"), [40, 41])}, {"tileset-error-order"}),
        ({"error": (numbers("TILE_GEOMETRIC_ERROR"), [99, 5])}, {"tileset-error-order"}),
        ({"error": (numbers("TILE_GEOMETRIC_ERROR"), [40, -5])}, {"metadata-semantic"}),
        ({"region": (numbers("TILE_BOUNDING_REGION", 6), [[*REGION[:4], 40, 60], SMALL])}, set()),
        ({"region": (numbers("TILE_BOUNDING_REGION", 6), [WHOLE, SMALL])}, {"volume-content"}),
        ({"region": (numbers("TILE_BOUNDING_REGION", 6), [REGION, WHOLE])}, {"volume-content"}),
        ({"region": (numbers("TILE_BOUNDING_REGION", 6), [REGION, [1, 1, 0, 0, 9, 2]])}, {"tileset-volume"}),
        ({"region": (numbers("TILE_BOUNDING_REGION", 5), [REGION[:5], REGION[:5]])}, {"metadata-semantic"}),
        (
            {
                "low": (numbers("TILE_MINIMUM_HEIGHT"), [40, 49.9]),
                "high": (numbers("TILE_MAXIMUM_HEIGHT"), [60, 55.1]),
            },
            set(),
        ),
        ({"low": (numbers("TILE_MINIMUM_HEIGHT"), [40, 52])}, {"volume-content"}),
        ({"low": (numbers("TILE_MINIMUM_HEIGHT") | {"noData": -9}, [40, -9])}, set()),
        (
            {
                "low": (numbers("TILE_MINIMUM_HEIGHT"), [40, 40]),
                "high": (numbers("TILE_MAXIMUM_HEIGHT"), [60, 30]),
            },
            {"metadata-semantic", "volume-content"},
        ),
        (
            {
                "sphere": (
                    numbers("TILE_BOUNDING_SPHERE", 4),
                    [[*ecef(0.435, 1.055, 50), 40000], [*ecef(0.437, 1.052, 50), 20]],
                )
            },
            set(),
        ),
        (
            {
                "sphere": (
                    numbers("TILE_BOUNDING_SPHERE", 4),
                    [[*ecef(0.435, 1.055, 50), 40000], [*ecef(0.437, 1.052, 50), 2]],
                )
            },
            {"volume-content"},
        ),
        ({"refine": (numbers("TILE_REFINE"), [0, 2])}, {"metadata-semantic"}),
        ({"own": (numbers("CITY_BLOCK"), [0, 2])}, set()),
    ],
)
def test_metadata_of_tiles(
    facts: Any, expected: set[str], tmp_path: Path, new_asset: Callable[[], Any]
) -> None:
    assert rules(quadtree(tmp_path, new_asset, facts)) == expected


def test_a_table_with_too_few_rows(tmp_path: Path, new_asset: Callable[[], Any]) -> None:
    folder = quadtree(tmp_path, new_asset, {"error": (numbers("TILE_GEOMETRIC_ERROR"), [40, 5])})
    path = folder / "s" / "0" / "0" / "0.subtree"
    path.write_bytes(path.read_bytes().replace(b'"count": 2', b'"count": 1'))
    assert "subtree-metadata" in rules(folder)


def b3dm(model: bytes, *, length: Any = 2, **more: Any) -> bytes:
    batch = {"name": ["a", "b"], "height": {"byteOffset": 0, "componentType": "FLOAT", "type": "SCALAR"}}
    return legacy(b"b3dm", {"BATCH_LENGTH": length, **more}, b"", {"name": batch["name"]}, model)


def batched(new_asset: Callable[[], Any], ids: list[int]) -> bytes:
    made = new_asset()
    corners = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]])
    made.mesh({"POSITION": made.accessor(corners, bounds=True), "_BATCHID": made.accessor(ids)})
    made.node(mesh=0)
    return made.glb()  # type: ignore[no-any-return]


def found(content: bytes) -> set[str]:
    return {finding.rule for finding in check_content_bytes(content)}


def test_batched_models(new_asset: Callable[[], Any]) -> None:
    model = batched(new_asset, [0, 0, 1])
    good = b3dm(model, RTC_CENTER=[1, 2, 3])
    assert found(good) == set()
    assert found(b3dm(model, length=None)) == {"b3dm-batch", "table-values"}
    assert found(b3dm(model, length=1)) == {"b3dm-batch", "table-values"}
    assert found(b3dm(model, RTC_CENTER=[1, 2])) == {"table-values"}
    assert found(b3dm(batched(new_asset, [0, 0, 5]))) == {"b3dm-batch"}
    assert found(good[:20]) == {"b3dm-header"}
    assert found(good[:4] + b"\x02" + good[5:]) == {"b3dm-header"}
    assert "b3dm-header" in found(good[:-8])
    assert found(good + b"\0" * 8) == {"b3dm-header", "glb-header"}


def test_instanced_models(new_asset: Callable[[], Any]) -> None:
    model = glb_at(new_asset, (0, 0, 0))
    places = np.array([[0, 0, 0], [100, 0, 0]], "<f4").tobytes()
    table = {"INSTANCES_LENGTH": 2, "POSITION": {"byteOffset": 0}}
    assert found(legacy(b"i3dm", table, places, {}, model)) == set()
    assert found(legacy(b"i3dm", table, places[:12], {}, model)) == {"table-values", "i3dm-positions"}
    assert found(legacy(b"i3dm", {"POSITION": {"byteOffset": 0}}, places, {}, model)) == {"i3dm-instances"}
    turned = table | {"NORMAL_UP": {"byteOffset": 0}, "NORMAL_RIGHT": {"byteOffset": 0}}
    assert found(legacy(b"i3dm", turned, places, {}, model)) == {"i3dm-normals"}
    odd = table | {"SCALE": {"byteOffset": 2}}
    assert found(legacy(b"i3dm", odd, places, {}, model)) == {"table-alignment"}
    small = {"INSTANCES_LENGTH": 2, "POSITION_QUANTIZED": {"byteOffset": 0}}
    steps = np.array([[0, 0, 0], [65535, 0, 0]], "<u2").tobytes()
    volume = {"QUANTIZED_VOLUME_OFFSET": [0, 0, 0], "QUANTIZED_VOLUME_SCALE": [100, 1, 1]}
    assert found(legacy(b"i3dm", small | volume, steps, {}, model)) == set()
    assert found(legacy(b"i3dm", small, steps, {}, model)) == {"i3dm-positions"}


def test_instances_of_a_tile_lie_in_its_volume(tmp_path: Path, new_asset: Callable[[], Any]) -> None:
    places = np.array([[0, 0, 0], [100, 0, 0]], "<f4").tobytes()
    table = {"INSTANCES_LENGTH": 2, "POSITION": {"byteOffset": 0}, "RTC_CENTER": [0, 0, 500]}
    content = legacy(b"i3dm", table, places, {}, glb_at(new_asset, (0, 0, 0)))
    root = tile((55, 0, 505), 55.1, content={"uri": "a.i3dm"}, refine="ADD")
    folder = write(
        tmp_path, {"tileset.json": tileset(root) | {"asset": {"version": "1.0"}}, "a.i3dm": content}
    )
    assert rules(folder) == set()
    edit(
        folder,
        "tileset.json",
        lambda document: document["root"].update(boundingVolume=box((50, 0, 505), 55.1)),
    )
    assert rules(folder) == {"volume-content"}


@pytest.mark.parametrize(
    ("more", "centre"),
    [
        ({}, (5, 5, 50)),
        # Along z stays the height of what stands along z: x to the east, y to the north.
        ({"NORMAL_RIGHT": [1, 0, 0], "NORMAL_UP": [0, 1, 0]}, (5, 5, 50)),
        ({"NORMAL_RIGHT": [0, 1, 0], "NORMAL_UP": [0, 0, 1]}, (50, 5, 5)),
        ({"NORMAL_RIGHT": [0, 1, 0], "NORMAL_UP": [-1, 0, 0]}, (-5, 5, 50)),
    ],
)
def test_how_instances_are_turned(
    more: dict[str, list[int]],
    centre: tuple[float, float, float],
    tmp_path: Path,
    new_asset: Callable[[], Any],
) -> None:
    """A mast of 100 m and a foot of 10 m by 10 m."""
    made = new_asset()
    made.mesh({"POSITION": made.accessor(np.array([[0, 0, 0], [10, 100, 0], [0, 0, -10]]), bounds=True)})
    made.node(mesh=0)
    table: dict[str, Any] = {"INSTANCES_LENGTH": 1, "POSITION": [0, 0, 0]} | more
    half = [50 if abs(one) == 50 else 5 for one in centre]
    bounds = {"box": [*centre, half[0], 0, 0, 0, half[1], 0, 0, 0, half[2]]}
    root = tile((0, 0, 0), 1, content={"uri": "a.i3dm"}, refine="ADD") | {"boundingVolume": bounds}
    content = legacy(b"i3dm", table, b"", {}, made.glb())
    document = tileset(root) | {"asset": {"version": "1.0"}}
    assert rules(write(tmp_path, {"tileset.json": document, "a.i3dm": content})) == set()


def test_composites_and_points(new_asset: Callable[[], Any]) -> None:
    points = np.array([[0, 0, 0], [1, 2, 3]], "<f4").tobytes()
    cloud = {"POINTS_LENGTH": 2, "POSITION": {"byteOffset": 0}}
    pnts = legacy(b"pnts", cloud, points, {}, b"")
    assert found(pnts) == set()
    assert found(legacy(b"pnts", cloud | {"POINTS_LENGTH": 3}, points, {}, b"")) == {
        "table-values",
        "pnts-positions",
    }
    assert found(legacy(b"pnts", cloud | {"BATCH_ID": {"byteOffset": 0}}, points, {}, b"")) == {"pnts-batch"}
    parts = pnts + b3dm(batched(new_asset, [0, 0, 1]))
    whole = struct.pack("<4s3I", b"cmpt", 1, 16 + len(parts), 2) + parts
    assert found(whole) == set()
    assert found(whole[:12] + struct.pack("<I", 3) + whole[16:]) == {"cmpt-header"}
    assert "cmpt-header" in found(whole + b"\0" * 8)


def test_what_py3dtiles_makes_of_points_is_good() -> None:
    report = inspect_tileset(OTHERS / "py3dtiles-points")
    assert (report.findings, report.counts["points"]) == ((), 598)


def test_what_py3dtiles_makes_of_houses_has_its_known_faults(tmp_path: Path) -> None:
    """No table of features, "add" in small letters, normals without vertices, y and z swapped."""
    folder = Path(shutil.copytree(OTHERS / "py3dtiles-houses", tmp_path / "copy"))
    assert rules(folder) == {
        "tileset-refine",
        "b3dm-alignment",
        "b3dm-batch",
        "gltf-attributes",
        "volume-content",
    }
