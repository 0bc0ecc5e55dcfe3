"""Point clouds published as one COPC or a mosaic, and edited: new generations that share what an edit does not touch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import shapely

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.cloud.mosaic_table import BOXES_FILE, TILES_FILE
from pointclouds.copc.check import check_copc
from pointclouds.copc.reader import CopcFile
from pointclouds.las.times import gps_of
from server.errors import PublishInProgress, UnknownCollection
from server.publish import PublishRequest, ReadingOptions, publish
from server.publish import point_clouds as building
from server.publish.errors import CrsError, OptionError, PublishCancelled
from server.publish.point_cloud_edits import add_files, remove_tiles
from server.publish.point_cloud_listing import describe_cloud, list_tiles, validation_of
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.point_cloud_reclassify import (
    ClassChange,
    area_of_geojson,
    native_area,
    parse_area,
    reclassify,
)
from server.publish.request import SceneOptions
from server.registry.catalogue import Collection, Interval, RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock
from server.registry.registry import Registry, open_registry
from server.settings import Settings, load_settings

WEST, SOUTH, SIZE = 500_000.0, 4_400_000.0, 40.0
CRS = "EPSG:32650"
TILES = ("a", "b", "c")
COUNT = 3_000


def scan(path: Path, column: int, *, crs: str | None = CRS, count: int = COUNT) -> Path:
    """A flat ground with boxes of 5 m on it, flown one day after the tile before."""
    random = np.random.default_rng(column)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([WEST, SOUTH, 0.0])
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    if crs:
        header.add_crs(pyproj.CRS(crs))
    cloud = laspy.LasData(header)
    x, y = random.uniform(0, SIZE, count), random.uniform(0, SIZE, count)
    roof = (x % 20 < 8) & (y % 20 < 8)
    cloud.x, cloud.y = WEST + SIZE * column + x, SOUTH + y
    cloud.z = 50 + np.where(roof, 5.0, 0.0) + random.normal(0, 0.01, count)
    cloud.classification = np.where(roof, 1, 2).astype("uint8")
    start = gps_of(datetime(2024, 5, 1, tzinfo=UTC))
    cloud.gps_time = start + 86_400 * column + np.sort(random.uniform(0, 60, count))
    cloud.return_number = np.ones(count, np.uint8)
    cloud.number_of_returns = np.ones(count, np.uint8)
    cloud.write(path)
    return path


class Survey:
    """A home with a mosaic `tiles` of three tiles and a cloud `one` of a single COPC."""

    def __init__(self, home: Path, files: Path, registry: Registry, settings: Settings) -> None:
        self.home, self.files, self.registry, self.settings = home, files, registry, settings
        self.where = (registry, settings, "beijing")

    def publish(self, *names: str, collection: str, **options: Any) -> Collection:
        request = PublishRequest(
            files=tuple(self.files / name for name in names),
            tenant="beijing",
            id=collection,
            titles={"en": "Survey"},
            scene=options.pop("scene", SceneOptions()),
            **options,
        )
        return publish(request, self.registry, self.settings).collection

    def collection(self, name: str) -> Collection:
        found = self.registry.collection("beijing", name)
        assert found is not None
        return found

    def cloud(self, name: str) -> Cloud:
        return open_cloud(self.collection(name).path_of(RepresentationKind.POINT_CLOUD))

    def leftovers(self) -> list[Path]:
        return [*(self.home / "staging").glob("*"), *self.registry.orphaned_generations()]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survey]:
    files = tmp_path_factory.mktemp("scans")
    for column, name in enumerate((*TILES, "d")):
        scan(files / f"{name}.laz", column)
    settings = load_settings(
        (), {}, {"data.home": tmp_path_factory.mktemp("city") / "home", "points.build_processes": 1}
    )
    with open_registry(settings) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
        made = Survey(settings.home, files, registry, settings)
        made.publish(
            *(f"{name}.laz" for name in TILES), collection="tiles", points=PointCloudOptions(mosaic=True)
        )
        made.publish("a.laz", collection="one")
        yield made


def inodes(cloud: Cloud) -> dict[str, int]:
    return {tile.name: tile.path.stat().st_ino for tile in cloud.tiles}


def classes(path: Path) -> Any:
    with CopcFile(path) as copc:
        records = np.concatenate([copc.read_node(entry) for entry in copc.entries])
        return copc.coordinates(records), records["Classification"]


def test_every_file_becomes_a_tile(survey: Survey) -> None:
    collection, cloud = survey.collection("tiles"), survey.cloud("tiles")
    assert cloud.is_mosaic
    assert [tile.name for tile in cloud.tiles] == list(TILES)
    assert [tile.count for tile in cloud.tiles] == [COUNT] * 3
    assert [tile.facts["source"] for tile in cloud.tiles] == [f"{name}.laz" for name in TILES]
    assert [tile.start[:10] for tile in cloud.tiles if tile.start] == [
        "2024-05-01",
        "2024-05-02",
        "2024-05-03",
    ]
    assert cloud.overview is not None
    assert all(check_copc(tile.path) == [] for tile in (*cloud.tiles, cloud.overview))
    properties = collection.representations[RepresentationKind.POINT_CLOUD].properties
    assert properties["count"] == 3 * COUNT == sum(properties["classes"].values())
    assert (properties["mosaic"], properties["tiles"], properties["gps_time"]) == (True, 3, "standard")
    assert properties["report"]["count"] == 3 * COUNT
    assert collection.interval is not None
    assert (collection.interval.start or "")[:10] == "2024-05-01"
    assert (collection.interval.end or "")[:10] == "2024-05-03"
    assert {RepresentationKind.TILESET_3D, RepresentationKind.COVERAGE} <= set(collection.representations)
    assert survey.leftovers() == []


def test_one_file_stays_one_copc_with_its_times(survey: Survey) -> None:
    cloud = survey.cloud("one")
    assert not cloud.is_mosaic
    assert (survey.collection("one").interval or ("",))[0][:10] == "2024-05-01"
    assert (
        survey.collection("one").representations[RepresentationKind.POINT_CLOUD].properties["overview"]
        is None
    )


def test_a_copc_is_kept_byte_for_byte(survey: Survey, tmp_path: Path) -> None:
    kept = survey.cloud("one").tiles[0].path
    (survey.files / "kept.copc.laz").write_bytes(kept.read_bytes())
    survey.publish("kept.copc.laz", collection="kept", scene=SceneOptions(point_tiles=False))
    assert survey.cloud("kept").tiles[0].path.read_bytes() == kept.read_bytes()
    assert RepresentationKind.TILESET_3D not in survey.collection("kept").representations


@pytest.mark.parametrize(("files", "is_mosaic"), [(1, False), (2, False), (3, True)])
def test_many_files_become_a_mosaic_by_themselves(
    survey: Survey, monkeypatch: pytest.MonkeyPatch, files: int, is_mosaic: bool
) -> None:
    monkeypatch.setattr(building, "MOSAIC_FILES", 3)
    monkeypatch.setattr(building, "add_derived", lambda *_: None)
    names = [f"{name}.laz" for name in TILES[:files]]
    reading = ReadingOptions(time="2020-02-03")
    survey.publish(*names, collection="many", replace=True, reading=reading)
    assert survey.cloud("many").is_mosaic is is_mosaic
    assert survey.collection("many").interval == Interval("2020-02-03T00:00:00Z", "2020-02-03T00:00:00Z")
    assert survey.cloud("many").count == files * COUNT


def test_times_of_a_tag_are_for_rasters(survey: Survey) -> None:
    with pytest.raises(OptionError, match="is for rasters"):
        survey.publish("a.laz", collection="tag", reading=ReadingOptions(time="tag"))


# --- edits ---------------------------------------------------------------------------------------------------------------


def test_adding_and_removing_tiles_leaves_the_others_alone(survey: Survey) -> None:
    before, generation = inodes(survey.cloud("tiles")), survey.collection("tiles").generation
    added = add_files(*survey.where, "tiles", [survey.files / "d.laz"], "li")
    cloud = survey.cloud("tiles")
    assert inodes(cloud) == before | {"d": cloud.tiles[3].path.stat().st_ino}
    assert cloud.count == 4 * COUNT
    assert cloud.overview is not None
    assert cloud.overview.box[3] > WEST + 3.9 * SIZE
    assert added.entry["tiles"] == ["d"]
    assert (added.entry["who"], added.entry["before"]) == ("li", generation)
    assert (survey.collection("tiles").interval or ("", ""))[1][:10] == "2024-05-04"

    removed = remove_tiles(*survey.where, "tiles", ["b", "d"], "wang")
    cloud = survey.cloud("tiles")
    assert inodes(cloud) == {name: before[name] for name in ("a", "c")}
    assert removed.entry["points"] == 2 * COUNT
    assert (
        removed.collection.bbox[2 + len(removed.collection.bbox) // 2 - 2] < added.collection.bbox[3] + 1e-9
    )
    edits = describe_cloud(survey.registry, "beijing", "tiles")["edits"]
    assert [(edit["what"], edit["who"]) for edit in edits[-2:]] == [("added", "li"), ("removed", "wang")]

    survey.registry.restore_generation("beijing", "tiles", generation)
    assert inodes(survey.cloud("tiles")) == before
    assert survey.leftovers() == []


def test_a_single_copc_becomes_a_mosaic_by_the_first_tile_added(survey: Survey) -> None:
    survey.publish("a.laz", collection="grown")
    before = survey.cloud("grown").tiles[0].path.stat().st_ino
    add_files(*survey.where, "grown", [survey.files / "b.laz"], "li")
    cloud = survey.cloud("grown")
    assert inodes(cloud)["grown"] == before
    assert [tile.name for tile in cloud.tiles] == ["b", "grown"]
    assert cloud.tiles[1].start is not None
    assert not (survey.collection("grown").directory / "pointcloud.copc.laz").exists()
    assert survey.collection("grown").representations[RepresentationKind.COVERAGE].path == "pointcloud.sqlite"
    assert [tile.count for tile in list_tiles(survey.registry, "beijing", "grown")] == [COUNT, COUNT]
    assert validation_of(survey.registry, "beijing", "grown").as_json()["count"] == 2 * COUNT


def test_a_file_takes_the_place_of_the_tile_of_its_name(survey: Survey) -> None:
    generation = survey.collection("tiles").generation
    (survey.files / "again").mkdir()
    again = scan(survey.files / "again" / "b.laz", 1, count=500)
    with pytest.raises(OptionError, match="--replace"):
        add_files(*survey.where, "tiles", [again], "li")
    before = inodes(survey.cloud("tiles"))
    add_files(*survey.where, "tiles", [again], "li", replace_tiles=True)
    after = inodes(survey.cloud("tiles"))
    assert {name for name in after if after[name] != before[name]} == {"b"}
    assert survey.cloud("tiles").count == 2 * COUNT + 500
    survey.registry.restore_generation("beijing", "tiles", generation)


@pytest.mark.parametrize("name", ["tiles", "one"])
def test_points_of_a_polygon_get_another_class(survey: Survey, name: str) -> None:
    generation, before = survey.collection(name).generation, survey.cloud(name)
    area = shapely.Polygon([(WEST + 2, SOUTH + 2), (WEST + 38, SOUTH + 2), (WEST + 38, SOUTH + 30)])
    edit = reclassify(*survey.where, name, ClassChange(area, 6, frozenset({1}), low=52.0, crs=CRS), "li")
    cloud = survey.cloud(name)
    for old, new in zip(before.tiles, cloud.tiles, strict=True):
        xyz, was = classes(old.path)
        inside = shapely.intersects_xy(area, xyz[:, 0], xyz[:, 1]) & (was == 1) & (xyz[:, 2] >= 52)
        assert np.array_equal(classes(new.path)[1], np.where(inside, 6, was))
        assert (old.path.stat().st_ino == new.path.stat().st_ino) is not inside.any()
    assert edit.entry["changed"] == {"1": edit.entry["points"]}
    properties = edit.collection.representations[RepresentationKind.POINT_CLOUD].properties
    assert properties["classes"]["6"] == edit.entry["points"] > 0
    assert sum(properties["classes"].values()) == cloud.count
    if cloud.overview is not None:
        assert before.overview is not None
        xyz, was = classes(before.overview.path)
        inside = shapely.intersects_xy(area, xyz[:, 0], xyz[:, 1]) & (was == 1) & (xyz[:, 2] >= 52)
        assert np.array_equal(classes(cloud.overview.path)[1], np.where(inside, 6, was))
    survey.registry.restore_generation("beijing", name, generation)
    assert (
        "6"
        not in survey.collection(name).representations[RepresentationKind.POINT_CLOUD].properties["classes"]
    )


def test_heights_above_the_clouds_own_ground(survey: Survey) -> None:
    generation, box = survey.collection("one").generation, survey.collection("one").bbox
    area = shapely.box(box[0], box[1], box[3], box[4])
    edit = reclassify(*survey.where, "one", ClassChange(area, 6, low=2.0, ground="points"), "li")
    assert edit.entry["above"] == "ground"
    xyz, now = classes(survey.cloud("one").tiles[0].path)
    inner = (np.abs(xyz[:, :2] - (WEST + 20, SOUTH + 20)) < 18).all(axis=1)
    assert np.array_equal(now[inner] == 6, xyz[inner, 2] > 52)
    survey.registry.restore_generation("beijing", "one", generation)


def test_no_generation_is_made_where_nothing_changes(survey: Survey) -> None:
    generation = survey.collection("tiles").generation
    edit = reclassify(*survey.where, "tiles", ClassChange(shapely.box(0, 0, 1, 1), 6), "li")
    assert not edit.is_new
    assert survey.collection("tiles").generation == generation
    assert survey.leftovers() == []


FAR = shapely.box(116, 39, 118, 41)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (ClassChange(FAR, 300), "300 is no class"),
        (ClassChange(shapely.box(WEST, SOUTH, WEST + 1, SOUTH + 1), 6), "no degrees.*Name its CRS"),
        (ClassChange(FAR, 6, crs="EPSG:banana"), "knows no CRS 'EPSG:banana'"),
        (ClassChange(FAR, 6, low=3.0, high=2.0), "no range"),
        (ClassChange(FAR, 6, ground="points"), "lowest or a highest"),
        (ClassChange(FAR, 6, low=1.0, ground=Path(__file__)), "."),
        (ClassChange(shapely.LineString([(0, 0), (1, 1)]), 6), "a LineString"),
    ],
)
def test_changes_that_cannot_be_are_refused(survey: Survey, change: ClassChange, says: str) -> None:
    generation = survey.collection("tiles").generation
    with pytest.raises(OptionError, match=says):
        reclassify(*survey.where, "tiles", change, "li")
    assert survey.collection("tiles").generation == generation
    assert survey.leftovers() == []


def test_a_budget_of_points(survey: Survey) -> None:
    with pytest.raises(OptionError, match="may read 8,999"):
        reclassify(*survey.where, "tiles", ClassChange(FAR, 6), "li", most_points=8_999)
    generation = survey.collection("tiles").generation
    assert reclassify(*survey.where, "tiles", ClassChange(FAR, 6), "li", most_points=9_000).is_new
    survey.registry.restore_generation("beijing", "tiles", generation)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("POLYGON((", "neither WKT nor GeoJSON"),
        ("{", "neither WKT nor GeoJSON"),
        ('{"type": "Point", "coordinates": [1, 2]}', "Polygon or MultiPolygon"),
        ('{"type": "Polygon"}', "no GeoJSON polygon"),
        ('{"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5]]]}', "no GeoJSON polygon"),
        ('{"type": "Feature", "geometry": null}', "Polygon or MultiPolygon"),
    ],
)
def test_areas_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        parse_area(text)


def test_areas_in_all_their_forms() -> None:
    square = shapely.box(0, 0, 1, 1)
    assert parse_area(square.wkt).equals(square)
    assert parse_area(shapely.to_geojson(square)).equals(square)
    feature = {"type": "Feature", "geometry": json.loads(shapely.to_geojson(square))}
    assert area_of_geojson(feature).equals(square)


def test_files_in_another_crs_are_reprojected(survey: Survey, tmp_path: Path) -> None:
    survey.publish("a.laz", collection="moved", points=PointCloudOptions(mosaic=True))
    west, south = pyproj.Transformer.from_crs(32650, 32651, always_xy=True).transform(WEST + 100, SOUTH)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([west, south, 0.0])
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    header.add_crs(pyproj.CRS("EPSG:32651"))
    other = laspy.LasData(header)
    random = np.random.default_rng(1)
    other.x, other.y = west + random.uniform(0, 40, 500), south + random.uniform(0, 40, 500)
    other.z = random.uniform(0, 9, 500)
    other.write(tmp_path / "zone51.laz")
    edit = add_files(*survey.where, "moved", [tmp_path / "zone51.laz"], "li")
    assert any(
        "reprojected from WGS 84 / UTM zone 51N to WGS 84 / UTM zone 50N" in one for one in edit.warnings
    )
    cloud = survey.cloud("moved")
    tile = cloud.tile("zone51")
    assert tile is not None
    places = classes(tile.path)[0]
    back = pyproj.Transformer.from_crs(32651, 32650, always_xy=True).transform(
        np.array(other.x), np.array(other.y)
    )
    assert np.sort(places[:, 0]) == pytest.approx(np.sort(back[0]), abs=0.002)
    assert np.sort(places[:, 1]) == pytest.approx(np.sort(back[1]), abs=0.002)


def test_edits_of_tiles_that_cannot_be(survey: Survey, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no tile x"):
        remove_tiles(*survey.where, "tiles", ["x"], "li")
    with pytest.raises(OptionError, match="One has to stay"):
        remove_tiles(*survey.where, "tiles", TILES, "li")
    with pytest.raises(OptionError, match="no mosaic"):
        remove_tiles(*survey.where, "one", ["pointcloud"], "li")
    with pytest.raises(UnknownCollection):
        remove_tiles(*survey.where, "nothing", ["x"], "li")
    other = scan(tmp_path / "other.laz", 0, crs=None)
    with pytest.raises(CrsError, match="names no coordinate reference system"):
        add_files(*survey.where, "tiles", [other], "li")
    heights = scan(tmp_path / "heights.laz", 0, crs="EPSG:32650+5773")
    with pytest.raises(CrsError, match="Heights that count from elsewhere"):
        add_files(*survey.where, "tiles", [heights], "li")
    text = tmp_path / "a.geojson"
    text.write_text('{"type": "Point", "coordinates": [1, 2]}')
    with pytest.raises(OptionError, match="are point clouds"):
        add_files(*survey.where, "tiles", [text], "li")
    assert survey.leftovers() == []


def test_one_edit_at_a_time(survey: Survey) -> None:
    lock = try_lock(publish_lock_file(survey.home, "beijing", "tiles"))
    assert lock is not None
    try:
        with pytest.raises(PublishInProgress):
            remove_tiles(*survey.where, "tiles", ["a"], "li")
    finally:
        lock.release()


def test_an_edit_that_is_stopped_leaves_what_was_served(survey: Survey) -> None:
    generation, before = survey.collection("tiles").generation, inodes(survey.cloud("tiles"))
    stop = [False]

    def interrupt(stage: str, _fraction: float) -> None:
        if stage == "syncing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_tiles(*survey.where, "tiles", ["a"], "li", report=interrupt)
    stop[0] = True
    with pytest.raises(PublishCancelled):
        add_files(*survey.where, "tiles", [survey.files / "d.laz"], "li", cancelled=lambda: stop[0])
    assert survey.collection("tiles").generation == generation
    assert inodes(survey.cloud("tiles")) == before
    assert survey.leftovers() == []


# --- killed --------------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from server.publish import PublishRequest, publish
from server.publish.point_cloud_options import PointCloudOptions
from server.registry.registry import open_registry
from server.settings import load_settings

home, *files = map(Path, sys.argv[1:])
settings = load_settings((), {}, {"data.home": home, "points.build_processes": 1})

def kill(stage, fraction):
    if stage == "pointcloud" and fraction > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

with open_registry(settings) as registry:
    request = PublishRequest(files=tuple(files), tenant="beijing", id="killed", titles={"en": "Survey"},
                             points=PointCloudOptions(mosaic=True))
    publish(request, registry, settings, kill)
"""


def test_a_killed_publish_goes_on_with_the_tiles_it_had(survey: Survey) -> None:
    files = [survey.files / f"{name}.laz" for name in TILES]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(survey.home), *map(str, files)], check=False, env={**os.environ}
    )
    assert done.returncode == -signal.SIGKILL
    assert survey.registry.collection("beijing", "killed") is None
    (staging,) = (survey.home / "staging").iterdir()
    built = {path.name: path.stat().st_ino for path in (staging / "generation" / "points").glob("*.copc.laz")}
    assert len(built) == 2
    survey.publish(
        *(f"{name}.laz" for name in TILES), collection="killed", points=PointCloudOptions(mosaic=True)
    )
    cloud = survey.cloud("killed")
    assert cloud.count == 3 * COUNT
    assert {tile.path.name: tile.path.stat().st_ino for tile in cloud.tiles}.items() >= built.items()
    tiles = [f"{name}.copc.laz{end}" for name in (*TILES, "overview") for end in ("", ".nodes")]
    there = sorted(path.name for path in (cloud.path.parent / "points").iterdir())
    assert there == sorted([*tiles, TILES_FILE, BOXES_FILE])
    assert survey.leftovers() == []


def test_areas_that_would_have_to_be_repaired_are_refused() -> None:
    dutch: Any = SimpleNamespace(crs=pyproj.CRS("EPSG:28992"))
    square = shapely.box(4.365, 52.011, 4.366, 52.012)
    assert native_area(square, "OGC:CRS84", dutch).is_valid
    crossed = shapely.Polygon([(4.365, 52.011), (4.366, 52.012), (4.366, 52.011), (4.365, 52.012)])
    turn = np.linspace(0, 2 * np.pi, 100_001, endpoint=False)
    corners = shapely.Polygon(np.column_stack([4.365 + np.cos(turn), 52.011 + np.sin(turn)]))
    for area, message in (
        (shapely.MultiPolygon([square] * 50), "no valid polygon"),
        (crossed, "no valid polygon"),
        (corners, "more than 100,000 corners"),
    ):
        with pytest.raises(OptionError, match=message):
            native_area(area, "OGC:CRS84", dutch)
