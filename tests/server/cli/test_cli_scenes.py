"""`chengtu scenes`: what it lists, adds, removes and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from server.cli import run

Command = Callable[..., tuple[int, str, str]]


def scene(path: Path, value: int) -> Path:
    profile = {
        "driver": "GTiff",
        "width": 64,
        "height": 64,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32650",
    }
    transform = from_origin(500_000 + value * 640, 4_400_000, 10, 10)
    with rasterio.open(path, "w", transform=transform, nodata=0, **profile) as file:
        file.write(np.full((1, 64, 64), value, dtype="uint8"))
    return path


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `chengtu scenes ARGUMENTS` on a home with the mosaic `demo.image` of d1 and d2."""
    monkeypatch.setenv("CHENGTU_DATA_HOME", str(tmp_path / "home"))
    files = [str(scene(tmp_path / f"d{number}.tif", number)) for number in (1, 2)]
    assert run(["tenants", "add", "demo", "--title", "City"]) == 0
    assert run(["publish", *files, "--tenant", "demo", "--id", "image", "--title", "Image"]) == 0

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["scenes", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_scenes_come_and_go(command: Command, tmp_path: Path) -> None:
    assert [one["name"] for one in json.loads(command("list", "demo.image", "--json")[1])] == ["d2", "d1"]
    code, _, said = command("add", "demo.image", str(scene(tmp_path / "d3.tif", 3)))
    assert (code, "demo.image has 3 scenes now." in said) == (0, True)
    code, listed, _ = command("list", "demo.image", "--limit", "1")
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["d3"]
    code, _, said = command("remove", "demo.image", "d1.tif", "d3")
    assert (code, "demo.image has 1 scenes now." in said) == (0, True)
    assert [one["name"] for one in json.loads(command("list", "demo.image", "--json")[1])] == ["d2"]

    for arguments, says in (
        (("list", "image"), "TENANT.COLLECTION"),
        (("list", "demo.nope"), "nope"),
        (("remove", "demo.image", "d9"), "d9"),
        (("remove", "demo.image", "d2"), "unpublish"),
        (("add", "demo.image", str(tmp_path / "none.tif")), "none.tif"),
    ):
        code, out, said = command(*arguments)
        assert (code, out, says in said, "Traceback" in said) == (1, "", True, False), said
    assert [one["name"] for one in json.loads(command("list", "demo.image", "--json")[1])] == ["d2"]
