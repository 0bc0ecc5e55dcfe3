"""Khronos' own validator finds no error in any tile that is written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tiles.three_d.glb import Compression, GlbOptions, write_tile
from tiles.three_d.objects import Material, MeshPart
from tiles.three_d.placement import LocalFrame
from tiles.three_d.schema import SchemaBuilder
from tiles.three_d.underground.profiles import Section
from tiles.three_d.underground.sweep import Pieces, sweep

pytestmark = pytest.mark.clients


def errors(root: Path, folder: Path) -> dict[str, int]:
    """How often each message of an error or a warning came, over every tile below `folder`."""
    files = sorted(folder.rglob("*.glb"))
    assert files
    script = root / "tests" / "clients" / "gltf_validate.mjs"
    done = subprocess.run(
        ["node", str(script), str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    found = json.loads(done.stdout)
    assert found["files"] == len(files)
    assert (done.returncode == 0) == (found["errors"] == 0)
    messages: dict[str, int] = found["messages"]
    return messages if found["errors"] else {}


def test_buildings(root: Path, built: Any) -> None:
    assert errors(root, built[0]) == {}


def test_wide_tiles_with_float_positions(
    build_footprints: Any, root: Path, tmp_path: Path, read_tile: Any
) -> None:
    far_apart = [shapely.box(x, 6_672_000, x + 20, 6_672_020) for x in (25_490_000, 25_510_000)]
    build_footprints(tmp_path, far_apart, "EPSG:3879", [9.0, 8.0])
    document = read_tile(tmp_path / "content/0/0/0.glb").document
    assert document["accessors"][0]["componentType"] == 5126
    assert errors(root, tmp_path) == {}


@pytest.mark.parametrize("compression", list(Compression))
def test_pipes(compression: Compression, root: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    start = generator.uniform(-200.0, 200.0, (200, 3))
    pieces = Pieces(
        start, start + generator.uniform(1.0, 20.0, (200, 3)), *generator.uniform(0.1, 2.0, (2, 200)),
        np.arange(200), np.zeros(200, dtype=np.bool_),
    )  # fmt: skip
    parts = [MeshPart(sweep(pieces, section), Material()) for section in Section]
    table = SchemaBuilder("pipes", []).finish().table([str(number) for number in range(200)], {})
    content = write_tile(parts, LocalFrame.at(24.9, 60.2, 0.0), table, GlbOptions(compression=compression))
    (tmp_path / "pipes.glb").write_bytes(content)
    assert errors(root, tmp_path) == {}


def test_the_validator_does_find_errors(root: Path, damaged: Path, edit_glb: Any) -> None:
    """The script itself is not blind."""

    def change(document: dict[str, Any], binary: bytearray) -> None:
        document["accessors"][0]["min"][0] -= 1

    path = damaged / "content/0/0/0.glb"
    edit_glb(path, change)
    assert errors(root, damaged)
    path.unlink()
    assert errors(root, damaged) == {}  # it was that file alone
