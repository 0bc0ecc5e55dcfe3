"""3d-tiles-tools and Khronos' validator read what we write for new clients and for old ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiles.three_d.glb import Compression, GlbOptions, write_tile
from tiles.three_d.mesh import Mesh, SurfaceClass
from tiles.three_d.models import MODELS
from tiles.three_d.objects import InstancePart, Material, MeshPart, Texture
from tiles.three_d.placement import LocalFrame
from tiles.three_d.plain_glb import plain_glb
from tiles.three_d.read_glb import read_glb
from tiles.three_d.schema import PropertySpec, SchemaBuilder
from tiles.three_d.subset import subset_glb
from tiles.three_d.version10 import version10_tile

pytestmark = pytest.mark.clients

FRAME = LocalFrame.at(114.3, 30.6, 25.0)
COUNT = 8


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A textured roof, glass, walls with classes, and trees turned any way."""
    image = tmp_path_factory.mktemp("image") / "roof.png"
    Image.new("RGB", (8, 8), (180, 90, 60)).save(image)
    corner = np.array([[0.0, 0.0, 3.0], [9.0, 0.0, 3.0], [9.0, 6.0, 3.0], [0.0, 6.0, 3.0]])
    points = (corner[None] + np.arange(COUNT)[:, None, None] * [12.0, 5.0, 1.0]).reshape(-1, 3)
    triangles = (np.arange(COUNT)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    up = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    ids = np.repeat(np.arange(COUNT), 4)
    plain = Mesh(points, up, ids, triangles)
    classed = Mesh(
        np.subtract(points, [0.0, 0.0, 2.0]),
        up,
        ids,
        triangles,
        np.zeros(len(points), np.uint8),
        (SurfaceClass("RoofSurface", (0.6, 0.1, 0.1)),),
    )
    turns = np.random.default_rng(1).normal(size=(3, 4))
    trees = InstancePart(
        MODELS["conifer"].parts,
        np.random.default_rng(2).uniform(-50.0, 50.0, (3, 3)),
        turns / np.linalg.norm(turns, axis=1, keepdims=True),
        np.array([[1.0, 1.0, 1.0], [1.5, 1.5, 1.5], [1.0, 1.0, 2.0]]),
        np.array([5, 6, 7]),
    )
    texture = Texture("image/png", image.read_bytes())
    return [
        MeshPart(
            plain,
            Material(texture=texture),
            np.tile([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]], (COUNT, 1)),
        ),
        MeshPart(Mesh(np.add(points, [0.0, 0.0, 1.0]), up, ids, triangles), Material((0.4, 0.6, 0.8, 0.5))),
        MeshPart(classed, Material()),
        trees,
    ]


@pytest.fixture(scope="module")
def table() -> Any:
    columns = {"名称": [f"楼{number}" for number in range(COUNT)], "levels": list(range(COUNT))}
    builder = SchemaBuilder("building", [PropertySpec(name) for name in columns])
    builder.add(columns)
    return builder.finish().table([str(number) for number in range(COUNT)], columns)


def test_the_validator_finds_nothing_in_any_form(
    parts: list[Any], table: Any, tmp_path: Path, root: Path, run: Any
) -> None:
    keep = np.arange(COUNT) % 2 == 1
    for compression in Compression:
        whole = write_tile(parts, FRAME, table, GlbOptions(compression=compression))
        (tmp_path / f"{compression}.glb").write_bytes(whole)
        (tmp_path / f"{compression}_some.glb").write_bytes(subset_glb(whole, keep) or b"")
        (tmp_path / f"{compression}_plain.glb").write_bytes(plain_glb(whole))
    report = json.loads(run("node", str(root / "tests" / "clients" / "gltf_validate.mjs"), str(tmp_path)))
    assert (report["files"], report["errors"], report["warnings"]) == (6, 0, 0), report["messages"]


@pytest.mark.parametrize(
    ("command", "chosen", "suffix"),
    [("convertB3dmToGlb", slice(0, 3), "b3dm"), ("convertI3dmToGlb", slice(3, 4), "i3dm")],
)
def test_old_formats_mean_the_same_places(
    parts: list[Any],
    table: Any,
    tmp_path: Path,
    run: Any,
    root: Path,
    command: str,
    chosen: slice,
    suffix: str,
) -> None:
    """What 3d-tiles-tools make of the tile has its triangles where ours has them, on the globe."""
    whole = write_tile(parts[chosen], FRAME, table)
    old, new = tmp_path / f"tile.{suffix}", tmp_path / "tile.glb"
    old.write_bytes(version10_tile(whole))
    tools = root / "node_modules" / "3d-tiles-tools" / "build" / "src" / "cli" / "main.js"
    run("node", str(tools), command, "-f", "-i", str(old), "-o", str(new))
    mine, ids = read_glb(whole).triangles()
    theirs, their_ids = read_glb(new.read_bytes()).triangles()
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() < 1e-3
    if suffix == "b3dm":
        assert (ids == their_ids).all()
    found = read_glb(new.read_bytes()).table
    assert found is not None
    assert {column.name for column in found.columns} >= {"id", "levels"}


def test_cmpt_splits(parts: list[Any], table: Any, tmp_path: Path, run: Any, root: Path) -> None:
    both = tmp_path / "both.cmpt"
    both.write_bytes(version10_tile(write_tile(parts, FRAME, table)))
    tools = root / "node_modules" / "3d-tiles-tools" / "build" / "src" / "cli" / "main.js"
    run("node", str(tools), "splitCmpt", "-f", "-i", str(both), "-o", str(tmp_path / "part"))
    assert sorted(path.suffix for path in tmp_path.glob("part*")) == [".b3dm", ".i3dm"]
