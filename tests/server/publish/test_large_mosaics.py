"""Many flight tiles as one collection: an edit reads what it changes, a question opens the tiles it is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import shapely

from pointclouds.cloud import cloud as clouds
from pointclouds.cloud.cloud import open_cloud
from server.http.app import create_flask, make_services
from server.publish import PublishRequest, publish
from server.publish.point_cloud_edits import add_files, remove_tiles
from server.publish.point_cloud_reclassify import ClassChange, reclassify
from server.registry.catalogue import RepresentationKind
from server.registry.registry import Registry, open_registry
from server.settings import Settings, load_settings

WEST, SOUTH, SIZE, COLUMNS, COUNT = 500_000.0, 4_400_000.0, 100.0, 50, 60
BASE = "/t/demo/ogc/collections/flights"
SIZES = [24, pytest.param(2_000, marks=[pytest.mark.acceptance, pytest.mark.timeout(1_800)])]


def scan(folder: Path, number: int) -> Path:
    path = folder / f"t{number:05d}.laz"
    random = np.random.default_rng(number)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([WEST, SOUTH, 0.0])
    header.add_crs(pyproj.CRS("EPSG:32650"))
    points = laspy.LasData(header)
    row, column = divmod(number, COLUMNS)
    points.x = WEST + SIZE * column + random.uniform(1, SIZE - 1, COUNT)
    points.y = SOUTH + SIZE * row + random.uniform(1, SIZE - 1, COUNT)
    points.z = random.uniform(0, 9, COUNT)
    points.classification = np.full(COUNT, 2, np.uint8)
    points.return_number = points.number_of_returns = np.ones(COUNT, np.uint8)
    points.write(path)
    return path


@dataclass
class Flights:
    settings: Settings
    registry: Registry
    folder: Path
    tiles: int
    client: Any

    @property
    def where(self) -> tuple[Registry, Settings, str, str]:
        return self.registry, self.settings, "demo", "flights"

    def get(self, path: str) -> Any:
        answer = self.client.get(f"{BASE}{path}")
        assert answer.status_code == 200, answer.data[:300]
        return answer

    def json(self, path: str) -> Any:
        return json.loads(self.get(path).data)


@pytest.fixture(scope="module", params=SIZES)
def flights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flights]:
    folder, tiles = tmp_path_factory.mktemp("flights"), request.param
    processes = 1 if tiles < 100 else 2
    home = tmp_path_factory.mktemp("city") / "home"
    settings = load_settings((), {}, {"data.home": home, "points.build_processes": processes})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo")
        files = tuple(scan(folder, number) for number in range(tiles))
        publish(
            PublishRequest(files=files, tenant="demo", id="flights", titles={"en": "x"}), registry, settings
        )
    client = create_flask(make_services(settings)).test_client()
    with open_registry(settings) as registry:
        yield Flights(settings, registry, folder, tiles, client)


@dataclass
class Opened:
    files: list[str]
    tables: list[str]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """What is opened from now on, nothing being kept from before."""
    found = Opened([], [])
    file, table = clouds.CopcFile, clouds.load_nodes
    monkeypatch.setattr(clouds, "_FILES", clouds._Kept(256))
    monkeypatch.setattr(clouds, "_NODES", clouds._Kept(256))
    monkeypatch.setattr(clouds, "CopcFile", lambda path: found.files.append(path.name) or file(path))
    monkeypatch.setattr(clouds, "load_nodes", lambda path: found.tables.append(path.name) or table(path))
    return found


def box(column: int, row: int, margin: float = 5.0) -> str:
    """The middle of a tile in CRS84."""
    forth = pyproj.Transformer.from_crs(32650, 4326, always_xy=True)
    x, y = WEST + SIZE * column, SOUTH + SIZE * row
    west, south = forth.transform(x + margin, y + margin)
    east, north = forth.transform(x + SIZE - margin, y + SIZE - margin)
    return f"{west},{south},{east},{north}"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    "question",
    [
        "/points?limit=5",
        "/points?max-points=1000",
        "/points/statistics",
        "/pointcloud?limit=1000",
        "/pointcloud.vpc",
        "/3dtiles/tileset.json",
    ],
)
def test_questions_to_the_whole_open_few_tiles(flights: Flights, opened: Opened, question: str) -> None:
    before = resident_bytes()
    flights.get(question)
    assert len(opened.files) + len(opened.tables) <= 6
    assert resident_bytes() - before < 100 << 20


def test_statistics_of_the_whole_are_exact(flights: Flights) -> None:
    found = flights.json("/points/statistics")
    assert (found["count"], found["exact"], found["pointsRead"]) == (COUNT * flights.tiles, True, 0)
    assert [(one["code"], one["count"]) for one in found["classes"]] == [(2, COUNT * flights.tiles)]


def test_a_small_box_opens_its_own_tile(flights: Flights, opened: Opened) -> None:
    column, row = 7, (flights.tiles - 1) // COLUMNS
    found = flights.json(f"/points?bbox={box(column, row)}&limit=100")
    assert 0 < found["numberReturned"] < COUNT
    name = f"t{row * COLUMNS + column:05d}"
    assert {one["id"].split(".")[0] for one in found["features"]} == {name}
    others = {
        one for one in (*opened.files, *opened.tables) if not one.startswith((name, "t00000", "overview"))
    }
    assert others == set()


def test_the_tileset_leads_to_every_tile(flights: Flights) -> None:
    found: set[str] = set()
    waiting = ["tileset.json"]
    while waiting:
        nodes = [flights.json(f"/3dtiles/{waiting.pop()}")["root"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("children", ())
            uri = node.get("content", {}).get("uri", "").removeprefix("../")
            if uri.startswith("groups/"):
                waiting.append(uri)
            elif uri.startswith("tiles/"):
                found.add(uri.split("/")[1])
    assert found == {f"t{number:05d}" for number in range(flights.tiles)}


def test_edits_open_what_they_change(flights: Flights, opened: Opened, tmp_path: Path) -> None:
    """Remove a tile, put it back, change classes in another: of the others the self-test looks into four, the overview into neighbours."""
    before = resident_bytes()
    remove_tiles(*flights.where, ["t00003"], "li")
    kept = open_cloud_of(flights)
    assert kept.table is not None
    assert (len(kept.tiles), kept.count) == (flights.tiles - 1, COUNT * (flights.tiles - 1))
    add_files(*flights.where, [scan(tmp_path, 3)], "li")
    area = shapely.box(WEST + 510, SOUTH + 10, WEST + 590, SOUTH + 90)
    reclassify(*flights.where, ClassChange(area=area, to=6, crs="EPSG:32650"), "li")
    after = open_cloud_of(flights)
    assert after.count == COUNT * flights.tiles
    assert after.table is not None
    totals = dict(
        zip(after.table.tiles.classes, after.table.tiles.class_counts.sum(axis=0).tolist(), strict=True)
    )
    assert set(totals) == {2, 6}
    assert totals[2] + totals[6] == after.count
    assert 0 < totals[6] < COUNT
    found = flights.registry.collection("demo", "flights")
    assert found is not None
    report = found.representations[RepresentationKind.POINT_CLOUD].properties["report"]
    assert {code: one["count"] for code, one in report["classes"].items()} == {
        str(code): n for code, n in totals.items()
    }
    assert len(opened.files) + len(opened.tables) < 75
    assert resident_bytes() - before < 300 << 20


def open_cloud_of(flights: Flights) -> clouds.Cloud:
    found = flights.registry.collection("demo", "flights")
    assert found is not None
    return open_cloud(found.path_of(RepresentationKind.POINT_CLOUD))
