"""The checker finds nothing in a good terrain, and what is wrong in a broken one."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from tiles.terrain import build_terrain
from tiles.terrain.check import check_terrain
from tiles.terrain.check_tile import check_tile
from tiles.terrain.mesh import TileMesh, read_tile
from tiles.terrain.tiling import GEOGRAPHIC
from tiles.terrain.water import WaterRule

SIZE, PIXEL = 96, 40.0


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    values = (50.0 + 40.0 * np.sin(x / 9.0) * np.cos(y / 7.0)).astype("float32")
    with rasterio.open(
        folder / "dem.tif", "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32",
        crs="EPSG:4547", transform=from_origin(500_000.0, 3_380_000.0, PIXEL, PIXEL),
    ) as out:  # fmt: skip
        out.write(values, 1)
    build_terrain(folder / "t", folder / "dem.tif", water=WaterRule("level", 30.0))
    return folder / "t"


def test_a_good_terrain_has_no_findings(good: Path) -> None:
    assert check_terrain(good) == []
    assert check_terrain(good, most_tiles=20) == []


@pytest.fixture
def broken(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "t")
    return tmp_path / "t"


def deepest_tile(folder: Path) -> Path:
    return max(folder.glob("*/*/*.terrain"), key=lambda path: (int(path.parts[-3]), path.stat().st_size))


def patched(at: int, form: str, *values: Any) -> Callable[[bytes], bytes]:
    """Numbers written over the content from a place on."""

    def change(content: bytes) -> bytes:
        data = bytearray(content)
        struct.pack_into(form, data, at, *values)
        return bytes(data)

    return change


TILES: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("cut short", "format", lambda content: content[:-7]),
    ("only a header", "format", lambda content: content[:88]),
    ("empty", "format", lambda content: b""),
    ("no numbers", "header", patched(0, "<d", float("nan"))),
    ("center elsewhere", "center", patched(0, "<3d", 0.0, 0.0, 6.3e6)),
    ("upside down heights", "heights", patched(24, "<2f", 90.0, 10.0)),
    ("heights of space", "heights", patched(24, "<2f", 0.0, 90_000.0)),
    ("small sphere", "sphere", patched(56, "<d", 10.0)),
    ("large sphere", "sphere", patched(56, "<d", 1e7)),
    ("negative sphere", "sphere", patched(56, "<d", -1.0)),
    ("horizon inside", "horizon", patched(64, "<3d", 0.1, 0.1, 0.1)),
    ("horizon on the other side", "horizon", patched(64, "<3d", 1.0, 0.0, 0.0)),
    ("too many vertices", "format", patched(88, "<I", 10**9)),
    ("vertices out of range", "range", patched(92, "<H", 65534)),
]


@pytest.mark.parametrize(
    ("rule", "change"), [pytest.param(rule, change, id=name) for name, rule, change in TILES]
)
def test_broken_bytes(broken: Path, rule: str, change: Callable[[bytes], bytes]) -> None:
    path = deepest_tile(broken)
    path.write_bytes(change(path.read_bytes()))
    path.with_name(path.name + ".gz").unlink()
    found = check_terrain(broken)
    name = path.relative_to(broken).as_posix()
    assert (name, rule) in {(one.file, one.rule) for one in found}, found[:5]


@pytest.fixture(scope="module")
def mesh(good: Path) -> TileMesh:
    path = deepest_tile(good)
    z, x, y = int(path.parts[-3]), int(path.parts[-2]), int(path.stem)
    return read_tile(path.read_bytes(), GEOGRAPHIC.box(z, x, y))


def without_last_triangle(mesh: TileMesh) -> TileMesh:
    return replace(mesh, triangles=mesh.triangles[:-1])


def edge(mesh: TileMesh, side: int, values: Any) -> TileMesh:
    edges = list(mesh.edges)
    edges[side] = np.asarray(values, dtype=np.int64)
    return replace(mesh, edges=tuple(edges))


def extension(mesh: TileMesh, number: int, content: bytes | None) -> TileMesh:
    kept = {key: value for key, value in mesh.extensions.items() if key != number}
    return replace(mesh, extensions=kept if content is None else {**kept, number: content})


MESHES: list[tuple[str, str, Callable[[TileMesh], TileMesh]]] = [
    ("a hole", "cover", without_last_triangle),
    ("no triangles", "mesh", lambda m: replace(m, triangles=m.triangles[:0])),
    ("an index too far", "indices", lambda m: replace(m, triangles=np.where(m.triangles == 5, 10**6, m.triangles))),
    ("a vertex nobody uses", "indices", lambda m: replace(m, triangles=np.where(m.triangles == 5, 6, m.triangles))),
    ("turned over", "winding", lambda m: replace(m, triangles=m.triangles[:, ::-1])),
    ("twice", "cover", lambda m: replace(m, triangles=np.concatenate((m.triangles, m.triangles[:1])))),
    ("two vertices at one place", "mesh", lambda m: replace(m, u=np.where(np.arange(len(m.u)) == 9, m.u[8], m.u), v=np.where(np.arange(len(m.v)) == 9, m.v[8], m.v))),
    ("an edge with one too few", "edges", lambda m: edge(m, 0, m.edges[0][1:])),
    ("an edge from inside", "edges", lambda m: edge(m, 3, [*m.edges[3], m.triangles[0, 0] + 10**5])),
    ("western and eastern edge changed", "edges", lambda m: edge(edge(m, 0, m.edges[2]), 2, m.edges[0])),
    ("normals missing", "normals", lambda m: extension(m, 1, None)),
    ("too few normals", "normals", lambda m: extension(m, 1, m.extensions[1][:-2])),
    ("normals downwards", "normals", lambda m: extension(m, 1, bytes(255 - one for one in m.extensions[1]))),
    ("water missing", "water", lambda m: extension(m, 2, None)),
    ("water of another size", "water", lambda m: extension(m, 2, b"\xff" * 100)),
    ("an extension nobody knows", "extension", lambda m: extension(m, 99, b"")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "change"), [pytest.param(rule, change, id=name) for name, rule, change in MESHES]
)
def test_broken_meshes(mesh: TileMesh, rule: str, change: Callable[[TileMesh], TileMesh]) -> None:
    promised = ["octvertexnormals", "watermask", "metadata"]
    assert check_tile(mesh, promised) == []
    assert rule in {name for name, _ in check_tile(change(mesh), promised)}


LAYERS: list[tuple[str, str, dict[str, Any]]] = [
    ("another format", "format", {"format": "heightmap-1.0"}),
    ("rows from the north", "scheme", {"scheme": "slippyMap"}),
    ("another tiling", "projection", {"projection": "EPSG:4547"}),
    ("no template", "tiles", {"tiles": ["{z}/{x}.terrain"]}),
    ("no tiles", "tiles", {"tiles": []}),
    ("no version", "version", {"version": None}),
    ("no box", "bounds", {"bounds": [0, 0, 1]}),
    ("a box of metres", "valid_bounds", {"valid_bounds": [500000, 3000000, 500001, 3000001]}),
    ("metadata every half level", "metadataAvailability", {"metadataAvailability": 0.5}),
    ("an extension nobody knows", "extensions", {"extensions": ["metadata", "smell"]}),
    ("metadata promised and not named", "extensions", {"extensions": ["octvertexnormals", "watermask"]}),
    ("nothing available", "available", {"available": None}),
    ("one root", "available", {"available": [[{"startX": 0, "startY": 0, "endX": 0, "endY": 0}]]}),
    ("a range outside", "available", {"available": [[{"startX": 0, "startY": 0, "endX": 2, "endY": 0}]]}),
    ("a range without an end", "available", {"available": [[{"startX": 0}]]}),
]


@pytest.mark.parametrize(
    ("rule", "change"), [pytest.param(rule, change, id=name) for name, rule, change in LAYERS]
)
def test_broken_descriptions(broken: Path, rule: str, change: dict[str, Any]) -> None:
    path = broken / "layer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert ("layer.json", rule) in {(one.file, one.rule) for one in check_terrain(broken)}


def test_tiles_that_are_missing_or_too_many(broken: Path) -> None:
    path = deepest_tile(broken)
    path.unlink()
    stray = broken / "3/0/0.terrain"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"")
    rules = {(one.file, one.rule) for one in check_terrain(broken)}
    assert {(path.relative_to(broken).as_posix(), "missing"), ("3/0/0.terrain", "stray")} <= rules


def test_a_sibling_that_holds_something_else(broken: Path) -> None:
    path = deepest_tile(broken)
    path.with_name(path.name + ".gz").write_bytes(b"nothing")
    assert {one.rule for one in check_terrain(broken)} == {"compressed"}


def test_cracks_between_neighbours_and_levels(broken: Path) -> None:
    """A tile lifted by a few metres gapes beside its neighbours, one lifted by kilometres below its skirts too."""
    path = deepest_tile(broken)
    content = path.read_bytes()
    low, high = struct.unpack_from("<2f", content, 24)
    path.write_bytes(patched(24, "<2f", low + 3.0, high + 3.0)(content))
    path.with_name(path.name + ".gz").unlink()
    messages = [one.message for one in check_terrain(broken) if one.rule == "crack"]
    assert messages
    assert not any("above" in message for message in messages)
    path.write_bytes(patched(24, "<2f", low + 5000.0, high + 5000.0)(content))
    assert any("above" in one.message for one in check_terrain(broken) if one.rule == "crack")


def test_metadata_that_do_not_say_what_is_there(broken: Path) -> None:
    path = broken / "0/1/0.terrain"
    content = path.read_bytes()
    at = content.index(b'{"available"')
    path.write_bytes(content[:at] + content[at:].replace(b'"endX":', b'"endY":', 1))
    path.with_name(path.name + ".gz").unlink()
    assert "metadata" in {one.rule for one in check_terrain(broken)}


def test_folders_that_are_no_terrain(tmp_path: Path) -> None:
    assert [one.rule for one in check_terrain(tmp_path)] == ["layer"]
    (tmp_path / "layer.json").write_text("[]")
    assert [one.rule for one in check_terrain(tmp_path)] == ["layer"]
