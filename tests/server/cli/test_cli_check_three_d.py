"""`chengtu check --3d`: collections, folders, files and addresses; exit codes, JSON, and what is served now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli import run

Command = Callable[..., tuple[int, str, str]]


def houses() -> dict[str, object]:
    features = []
    for number in range(30):
        x, y = 116.30 + number % 6 * 4e-4, 39.90 + number // 6 * 4e-4
        ring = [[x, y], [x + 2e-4, y], [x + 2e-4, y + 2e-4], [x, y + 2e-4], [x, y]]
        features.append(
            {
                "type": "Feature",
                "id": f"h{number}",
                "properties": {"height": 6.0 + number, "name": f"楼{number}"},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
    return {"type": "FeatureCollection", "features": features}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with `demo.houses` in three dimensions and `demo.flat` without."""
    folder = tmp_path_factory.mktemp("three-d")
    (folder / "houses.geojson").write_text(json.dumps(houses()))
    place = ["--home", str(folder / "home")]
    assert run(["tenants", "add", "demo", "--title", "City", *place]) == 0
    common = [str(folder / "houses.geojson"), "--tenant", "demo", *place]
    assert (
        run(
            [
                "publish",
                *common,
                "--id",
                "houses",
                "--title",
                "Houses",
                "--height-field",
                "height",
            ]
        )
        == 0
    )
    assert run(["publish", *common, "--id", "flat", "--title", "Flat"]) == 0
    return folder / "home"


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `chengtu check ARGUMENTS` on the home."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["check", *arguments, "--home", str(home)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def tiles_of(home: Path) -> Path:
    return next(home.glob("collections/demo/houses/g*/3dtiles"))


def test_every_collection_is_checked_as_files_and_as_served(command: Command) -> None:
    code, out, said = command("--3d")
    assert (code, out) == (0, "")
    assert "demo.houses 3D Tiles, files: no fault in" in said
    assert "demo.houses 3D Tiles, as served: no fault in" in said
    assert "30 features" in said
    assert said.endswith("No faults found.\n")


def test_json_has_counts_and_findings(command: Command) -> None:
    code, out, _ = command("--3d", "demo.houses", "--json")
    documents = json.loads(out)
    assert code == 0
    assert [one["target"] for one in documents] == [
        "demo.houses 3D Tiles, files",
        "demo.houses 3D Tiles, as served",
    ]
    assert all(one["complete"] and one["counts"]["features"] == 30 for one in documents)


def test_an_address_a_folder_and_one_tile(command: Command, home: Path) -> None:
    folder = tiles_of(home)
    tile = min(folder.rglob("*.glb"))
    address = "http://city.example/t/demo/ogc/collections/houses/3dtiles/tileset.json"
    code, _, said = command("--3d", address, str(folder), str(folder / "tileset.json"), str(tile))
    assert code == 0
    assert said.count("no fault in") == 4


def test_faults_are_told_and_counted(command: Command, home: Path) -> None:
    folder = tiles_of(home)
    tile = min(folder.rglob("*.glb"))
    whole = tile.read_bytes()
    try:
        tile.write_bytes(whole[:-8])
        code, out, said = command("--3d", str(folder))
        assert code == 1
        assert "glb-header" in out
        assert "file-gzip" in out
        assert "faults found." in said
        code, out, said = command("--3d", str(folder), "--most", "1", "--json")
        (document,) = json.loads(out)
        assert (code, document["complete"]) == (1, False)
        assert sum(one["severity"] == "error" for one in document["findings"]) == 1
    finally:
        tile.write_bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--3d", "demo.nothing"), 1, "neither a folder, a file, an address nor a collection"),
        (("--3d", "demo.flat"), 1, "a collection without 3D Tiles or terrain"),
        (("--3d", "demo.houses", "--most", "-1"), 2, "most"),
        (("demo.houses",), 2, "chengtu check --3d demo.houses"),
        (("--3d", "http://city.example/t/demo/ogc/collections/flat/3dtiles/tileset.json"), 1, "file-missing"),
    ],
)
def test_what_cannot_be_checked_is_said(
    command: Command, arguments: tuple[str, ...], code: int, says: str
) -> None:
    found, out, said = command(*arguments)
    assert found == code
    assert says in out + said


def test_a_folder_without_a_tileset(command: Command, tmp_path: Path) -> None:
    code, _, said = command("--3d", str(tmp_path))
    assert code == 1
    assert "neither tileset.json nor layer.json" in said
