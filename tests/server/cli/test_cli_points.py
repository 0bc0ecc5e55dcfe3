"""`chengtu points`: what it lists, tells, adds, removes, changes and refuses; `restore` brings the one before back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest

from server.cli import run
from server.cli.points_commands import crs_name, sentence_of
from server.cli.representation_checks import what_is_wrong
from server.registry.catalogue import Representation, RepresentationKind

Command = Callable[..., tuple[int, str, str]]
WEST, SOUTH = 500_000.0, 4_400_000.0


def scan(path: Path, column: int) -> Path:
    random = np.random.default_rng(column)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([WEST, SOUTH, 0.0])
    header.add_crs(pyproj.CRS("EPSG:32650"))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y = WEST + 40 * column + random.uniform(0, 40, 800), SOUTH + random.uniform(0, 40, 800)
    cloud.z = random.uniform(0, 10, 800)
    cloud.classification = np.full(800, 2, np.uint8)
    cloud.return_number = cloud.number_of_returns = np.ones(800, np.uint8)
    cloud.write(path)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the mosaic `demo.scan` of s1 and s2."""
    folder = tmp_path_factory.mktemp("points")
    files = [str(scan(folder / f"s{number}.laz", number)) for number in (1, 2)]
    scan(folder / "s3.laz", 3)
    where = ["--home", str(folder / "home")]
    assert run(["tenants", "add", "demo", "--title", "City", *where]) == 0
    named = ["--tenant", "demo", "--id", "scan", "--title", "Scan", "--mosaic"]
    assert run(["publish", *files, *named, *where]) == 0
    return folder


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `chengtu ARGUMENTS` on the home."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*arguments, "--home", str(home / "home")])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def documents(command: Command) -> Any:
    code, out, _ = command("points", "list", "demo.scan", "--json")
    assert code == 0
    return json.loads(out)


def test_what_there_is(command: Command, tmp_path: Path) -> None:
    assert [(one["name"], one["count"], one["source"]) for one in documents(command)] == [
        ("s1", 800, "s1.laz"),
        ("s2", 800, "s2.laz"),
    ]
    assert command("points", "list", "demo.scan", "--limit", "1")[1].startswith("s1\t800\t")
    told = command("points", "info", "demo.scan")[1]
    assert "count\t1600" in told
    assert "crs\tWGS 84 / UTM zone 50N (http://www.opengis.net/def/crs/EPSG/0/32650)" in told
    assert "1,600" in command("points", "report", "demo.scan")[1]
    assert "点数: 1,600" in command("points", "report", "demo.scan", "--language", "zh")[1]
    assert json.loads(command("points", "report", "demo.scan", "--json")[1])["count"] == 1600
    gaps = tmp_path / "gaps.geojson"
    read = json.loads(
        command("points", "report", "demo.scan", "--json", "--read-points", "--gaps", str(gaps))[1]
    )
    assert read["points_read"]
    assert isinstance(read["duplicates"], int)
    assert json.loads(gaps.read_text())["type"] == "FeatureCollection"


def test_edits_and_the_way_back(command: Command, home: Path) -> None:
    code, _, said = command("points", "add", "demo.scan", str(home / "s3.laz"))
    assert (code, "added s3 (800 points)" in said) == (0, True)
    code, _, said = command("points", "remove", "demo.scan", "s1.copc.laz")
    assert (code, "removed s1 (800 points)" in said) == (0, True)
    assert "chengtu restore demo.scan 2" in said
    assert [one["name"] for one in documents(command)] == ["s2", "s3"]

    area = home / "area.geojson"
    corners = [
        [WEST, SOUTH],
        [WEST + 100, SOUTH],
        [WEST + 100, SOUTH + 40],
        [WEST, SOUTH + 40],
        [WEST, SOUTH],
    ]
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    asked = [
        "--area",
        str(area),
        "--area-crs",
        "EPSG:32650",
        "--from",
        "2",
        "--to",
        "6",
        "--from-height",
        "5",
    ]
    code, _, said = command("points", "reclassify", "demo.scan", *asked)
    assert (code, "became class 6" in said) == (0, True)
    assert {code for one in documents(command) for code in one["classes"]} == {"2", "6"}
    code, _, said = command("points", "reclassify", "demo.scan", *asked)
    assert (code, "left as it is" in said) == (0, True)

    edits = json.loads(command("points", "info", "demo.scan", "--json")[1])["edits"]
    assert [edit["what"] for edit in edits] == ["added", "removed", "reclassified"]
    assert all(edit["who"] and edit["time"] for edit in edits)
    assert "became class 6" in command("points", "info", "demo.scan")[1]
    assert command("restore", "demo.scan", str(edits[0]["before"]))[0] == 0
    assert [one["name"] for one in documents(command)] == ["s1", "s2"]
    assert json.loads(command("points", "info", "demo.scan", "--json")[1])["edits"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["list", "demo.nothing"], 1, "has no published collection"),
        (["list", "demo"], 1, "TENANT.COLLECTION"),
        (["remove", "demo.scan", "s9"], 1, "has no tile s9"),
        (["remove", "demo.scan", "s1", "s2"], 1, "One has to stay"),
        (["add", "demo.scan", "nothing.laz"], 1, "nothing.laz"),
        (["reclassify", "demo.scan", "--area", "nothing.wkt", "--to", "6"], 1, "nothing.wkt"),
        (["reclassify", "demo.scan", "--area", "POINT(1 2)", "--to", "6"], 1, "a Point"),
        (["reclassify", "demo.scan", "--area", "POLYGON((0 0, 1 0, 1 1, 0 0))", "--to", "256"], 2, "255"),
        (
            ["reclassify", "demo.scan", "--area", "POLYGON((0 0, 1 0, 1 1, 0 0))", "--to", "6", "--above-ground",
             "--ground", "x.tif"],
            2,
            "do not go together",
        ),
    ],
)  # fmt: skip
def test_refusals(command: Command, arguments: list[str], code: int, says: str) -> None:
    found, _, said = command("points", *arguments)
    assert (found, says in said.replace("\n", " ")) == (code, True), said


def test_sentences_name_twenty_tiles_at_most() -> None:
    many = {"what": "removed", "tiles": [f"t{number}" for number in range(20)], "count": 25, "points": 9}
    assert sentence_of(many).endswith("t19 and 5 more (9 points)")
    assert sentence_of({"what": "reclassified", "to": 6, "points": 3, "changed": {"2": 3}}) == (
        "3 points became class 6 (3 of class 2)"
    )


def test_a_crs_without_a_code_is_told_by_its_name() -> None:
    text = (
        pyproj.CRS("EPSG:32650").to_wkt().replace('"EPSG",32650', '"OWN",1').replace("WGS 84 / UTM", "City")
    )
    assert crs_name(text) == "City zone 50N"


def test_a_check_finds_what_is_wrong_with_a_mosaic(command: Command, home: Path, tmp_path: Path) -> None:
    assert command("check")[0] == 0
    (generation,) = (home / "home" / "collections" / "demo" / "scan").glob("g000001")
    whole = Representation(RepresentationKind.POINT_CLOUD, "pointcloud.sqlite", 1, 0, {"count": 1_600})

    def spoiled(name: str, spoil: Callable[[Path], None]) -> str | None:
        folder = tmp_path / name
        shutil.copytree(generation, folder)
        spoil(folder)
        return what_is_wrong(folder / "pointcloud.sqlite", whole)

    def cut(folder: Path) -> None:
        file = folder / "points" / "s2.copc.laz"
        file.write_bytes(file.read_bytes()[:-200])

    assert spoiled("sound", lambda folder: None) is None
    assert "is not there" in str(spoiled("gone", lambda folder: (folder / "points" / "s1.copc.laz").unlink()))
    assert "s2.copc.laz" in str(spoiled("cut", cut))
    swapped = spoiled(
        "swapped",
        lambda folder: (
            (folder / "points" / "s1.copc.laz.nodes").write_bytes(
                (folder / "points" / "s2.copc.laz.nodes").read_bytes()
            )
            and None
        ),
    )
    assert "of another file" in str(swapped)
    fewer = Representation(RepresentationKind.POINT_CLOUD, "pointcloud.sqlite", 1, 0, {"count": 7})
    assert "7 were published" in str(what_is_wrong(generation / "pointcloud.sqlite", fewer))
