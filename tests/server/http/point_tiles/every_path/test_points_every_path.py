"""Counts, classes and places of points equal those of the source on every way out, before and after edits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.cli import run
from server.http.app import create_app
from server.settings import load_settings

CODE = "EPSG:7415"
NATIVE = "http://www.opengis.net/def/crs/EPSG/0/28992"
BASE = "/t/demo/ogc/collections"
POLYGON = {
    "type": "Polygon",
    "coordinates": [
        [[4.3661, 52.0115], [4.36655, 52.0115], [4.36655, 52.0118], [4.3663, 52.01175], [4.3661, 52.0115]]
    ],
}
LOW, HIGH = 5.0, 12.0


@dataclass
class World:
    """A home that the command line filled, and a server over it."""

    folder: Path
    home: Path
    client: Any
    flights: list[Path]

    def command(self, *arguments: str) -> None:
        assert run([*arguments, "--home", str(self.home)]) == 0

    def publish(self, name: str, files: Sequence[Path], *more: str) -> None:
        named = ["--tenant", "demo", "--id", name, "--title", name]
        self.command("publish", *map(str, files), *named, *more)

    @property
    def token(self) -> str:
        return f"Bearer {(self.home / 'operator.token').read_text().strip()}"


def new_world(folder: Path, wsgi_client: Any, flights: list[Path]) -> World:
    home = folder / "home"
    assert run(["tenants", "add", "demo", "--title", "Demo", "--home", str(home)]) == 0
    return World(
        folder, home, wsgi_client(create_app(load_settings((), {"CHENGTU_DATA_HOME": str(home)}))), flights
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, flight: Any, wsgi_client: Any) -> World:
    """`one`, a COPC of two flights; `tiles`, a mosaic of the same; a third flight that waits."""
    folder = tmp_path_factory.mktemp("every_path")
    flights = [flight(folder / f"f{column}.las", column, 4_000, CODE) for column in range(3)]
    made = new_world(folder, wsgi_client, flights)
    made.publish("one", flights[:2])
    made.publish("tiles", flights[:2], "--mosaic")
    return made


@pytest.fixture(scope="module")
def source(world: World, numpy_says: Any) -> Any:
    return numpy_says.read_sources(world.flights[:2])


def compare(found: Iterable[tuple[str, Any]], expected: Any, scale: float = 0.001) -> None:
    """Each way's histogram is the expected one; where it tells places, these are all the same too."""
    places = expected.sorted_places(scale)
    for way, points in found:
        assert points.histogram() == expected.histogram(), way
        if points.places is not None:
            assert np.array_equal(points.sorted_places(scale), places), way


@pytest.mark.parametrize("name", ["one", "tiles"])
def test_all_points_on_every_way(name: str, world: World, ways: Any, source: Any) -> None:
    assert set(source.histogram()) == {1, 2, 6, 7}
    compare(ways(world.client, f"{BASE}/{name}").all(), source)


@pytest.mark.parametrize("name", ["one", "tiles"])
@pytest.mark.parametrize("kind", ["box", "solid", "filter"])
def test_a_subset_on_every_way(
    name: str, kind: str, world: World, ways: Any, source: Any, numpy_says: Any
) -> None:
    subset = {
        "box": lambda: numpy_says.box(source, CODE),
        "solid": lambda: numpy_says.solid(source, NATIVE),
        "filter": lambda: numpy_says.filter(source),
    }[kind]()
    assert 0 < subset.mask.sum() < len(source.classes)
    compare(ways(world.client, f"{BASE}/{name}").selecting(subset.question), source.where(subset.mask))


@pytest.mark.parametrize("name", ["one", pytest.param("tiles", marks=pytest.mark.acceptance)])
def test_a_change_of_classes_reaches_every_way_and_can_be_taken_back(
    name: str, world: World, ways: Any, source: Any, numpy_says: Any
) -> None:
    mask = numpy_says.area_mask(source, CODE, POLYGON, LOW, HIGH) & (source.classes == 6)
    assert 100 < mask.sum() < (source.classes == 6).sum()
    reply = world.client.request(
        "POST", f"{BASE}/{name}/pointcloud/reclassify", reclassification(), Authorization=world.token,
        Content_Type="application/json",
    )  # fmt: skip
    assert reply.status == 200, reply.body
    all_ways = ways(world.client, f"{BASE}/{name}")
    compare(all_ways.all(), source.with_class(mask, 17))
    world.command("restore", f"demo.{name}", "1")
    compare(all_ways.all(), source)


def reclassification() -> bytes:
    heights = {"low": LOW, "high": HIGH}
    return json.dumps({"polygon": POLYGON, "heights": heights, "from": [6], "to": 17}).encode()


@pytest.mark.parametrize("name", ["tiles", pytest.param("one", marks=pytest.mark.acceptance)])
def test_a_flight_that_comes_and_goes_is_on_every_way(
    name: str, world: World, ways: Any, source: Any, numpy_says: Any
) -> None:
    """To the COPC it is added as to a mosaic, which the collection becomes."""
    all_ways = ways(world.client, f"{BASE}/{name}")
    world.command("points", "add", f"demo.{name}", str(world.flights[2]))
    more = numpy_says.read_sources(world.flights)
    compare(all_ways.all(), more)
    subset = numpy_says.box(more, CODE)
    compare(all_ways.selecting(subset.question), more.where(subset.mask))
    world.command("points", "remove", f"demo.{name}", world.flights[2].stem)
    compare(all_ways.all(), source)


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("names", "crs", "options", "scale"),
    [
        (["pointcloud/autzen_trim.laz"], None, [], 0.01),
        (["delft/ahn3/ahn3_cropped_1.laz", "delft/ahn3/ahn3_cropped_2.laz"], CODE, [], 0.001),
        (["delft/ahn3/ahn3_cropped_1.laz", "delft/ahn3/ahn3_cropped_2.laz"], CODE, ["--mosaic"], 0.001),
    ],
    ids=["autzen", "delft", "delft_mosaic"],
)
def test_real_scans_on_every_way(
    names: list[str],
    crs: str | None,
    options: list[str],
    scale: float,
    sample_data: Path,
    tmp_path: Path,
    wsgi_client: Any,
    ways: Callable[..., Any],
    numpy_says: Any,
) -> None:
    files = [sample_data / name for name in names]
    real = numpy_says.read_sources(files)
    world = new_world(tmp_path, wsgi_client, [])
    world.publish("real", files, *options, *(["--crs", crs] if crs else []))
    all_ways = ways(world.client, f"{BASE}/real")
    compare(all_ways.all(), real, scale)
    subsets = [numpy_says.filter(real), numpy_says.solid(real, NATIVE) if crs else numpy_says.plane(real)]
    for subset in subsets:
        assert 0 < subset.mask.sum() < len(real.classes)
        compare(all_ways.selecting(subset.question), real.where(subset.mask), scale)


@pytest.mark.acceptance
def test_buildings_of_a_city_model_stand_on_the_ground_of_the_points(
    sample_data: Path, tmp_path: Path, wsgi_client: Any
) -> None:
    """Delft's CityJSON and AHN3, both in EPSG:7415: floors at the ground beside them. The model's flat roofs are low ones, at about
    the twentieth part of the roof points; half of these points are more than four metres above them."""
    world = new_world(tmp_path, wsgi_client, [])
    model = sample_data / "cityjson" / "delft.json"
    world.publish("points", sorted((sample_data / "delft" / "ahn3").glob("*.laz")), "--crs", CODE)
    world.publish("model", [model])
    spans = heights_of_buildings(json.loads(model.read_text()))
    corners = [[4.364, 52.010], [4.3695, 52.010], [4.3695, 52.0135], [4.364, 52.0135], [4.364, 52.010]]
    area = {"type": "Polygon", "coordinates": [corners]}
    asked = {"collection": "points", "features": "model", "classes": [6], "area": area}
    reply = world.client.request(
        "POST", "/t/demo/ogc/processes/point-cloud-zonal/execution", json.dumps({"inputs": asked}).encode(),
        Content_Type="application/json",
    )  # fmt: skip
    assert reply.status == 200, reply.body[:500]
    found = {one["id"]: one["properties"] for one in reply.json["features"] if one["id"] in spans}
    known = {name: facts for name, facts in found.items() if facts["points"] >= 200}
    assert len(known) == 114
    floors = [facts["ground"] - spans[name][0] for name, facts in known.items()]
    roofs = [facts["percentile50"] - spans[name][1] for name, facts in known.items()]
    assert abs(np.median(floors)) < 0.15
    assert 4.2 < np.median(roofs) < 4.3
    assert min(roofs) > 0


def heights_of_buildings(model: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Floor and roof of each building of a CityJSON of solids."""
    z = (
        np.array(model["vertices"])[:, 2] * model["transform"]["scale"][2]
        + model["transform"]["translate"][2]
    )
    spans = {}
    for name, one in model["CityObjects"].items():
        if one["type"] == "Building":
            shells = one["geometry"][0]["boundaries"]
            own = z[[corner for shell in shells for face in shell for ring in face for corner in ring]]
            spans[name] = (float(own.min()), float(own.max()))
    return spans
