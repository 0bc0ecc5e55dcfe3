"""Tiles of a mosaic: names, boxes, the overview, the virtual point cloud, work in processes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.nodes import load_nodes, nodes_path
from pointclouds.cloud.summary import box84
from pointclouds.copc.check import check_copc
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import BuildCancelledError, EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.mosaic import overview as overviews
from pointclouds.mosaic.boxes import boxes_in_crs84
from pointclouds.mosaic.building import dated, description_of, layout_of
from pointclouds.mosaic.overview import Change, write_overview
from pointclouds.mosaic.tiles import NAME, free_name
from pointclouds.mosaic.vpc import virtual_point_cloud
from pointclouds.mosaic.workers import in_processes


@pytest.mark.parametrize(
    ("file", "taken", "name"),
    [
        ("C_37EN1.LAZ", (), "C_37EN1"),
        ("a.copc.laz", (), "a"),
        ("航带 1.las", (), "1"),
        ("航带.las", (), "tile"),
        ("../x/y.laz", (), "x_y"),
        ("a.laz", ("a",), "a_2"),
        ("a.laz", ("a", "a_2"), "a_3"),
        ("overview.laz", (), "overview_2"),
        ("x" * 100 + ".laz", (), "x" * 64),
        ("x" * 100 + ".laz", ("x" * 64,), "x" * 62 + "_2"),
    ],
)
def test_names_of_tiles_can_stand_in_an_address(file: str, taken: tuple[str, ...], name: str) -> None:
    assert free_name(file, taken) == name
    assert NAME.fullmatch(name)


def test_boxes_of_many_tiles_are_those_of_each(mosaic: Cloud) -> None:
    crs = pyproj.CRS("EPSG:28992")
    boxes = [tile.box for tile in mosaic.tiles]
    assert np.allclose(boxes_in_crs84(boxes, crs), [box84(box, crs) for box in boxes], atol=1e-8)
    assert boxes_in_crs84([], crs).shape == (0, 6)


def test_the_overview_holds_points_of_all_tiles_and_is_evenly_thinned(
    mosaic: Cloud, all_records: Any
) -> None:
    found = mosaic.overview
    assert found is not None
    assert check_copc(found.path) == []
    points = all_records(found.path)
    assert found.count == len(points)
    every = np.concatenate([all_records(tile.path) for tile in mosaic.tiles])
    assert np.isin(points, every).all()
    steps = round(found.facts["spacing"] / mosaic.scale[0])
    cells = np.stack([points[name] // steps for name in "XYZ"], axis=1)
    assert len(np.unique(cells, axis=0)) == len(points)
    with CopcFile(found.path) as copc:
        low, high = np.array(copc.header.bbox).reshape(2, 3)
    for tile in mosaic.tiles:  # no tile is left out
        assert (np.array(tile.box[:3]) <= high).all()
        assert (np.array(tile.box[3:]) >= low).all()


def test_the_overview_stays_within_its_limit(
    mosaic: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overviews, "FEWEST_POINTS", 900)
    monkeypatch.setattr(overviews, "_SHARE", 1_000)
    assert overviews.limit_of(mosaic.tiles) == 900
    found = write_overview(mosaic.tiles, tmp_path / "o.copc.laz", tmp_path)
    assert 300 < found.count <= 900
    monkeypatch.setattr(overviews, "MOST_POINTS", 500)
    assert write_overview(mosaic.tiles, tmp_path / "p.copc.laz", tmp_path).count <= 500


def test_after_an_edit_only_the_places_that_changed_are_chosen_anew(
    mosaic: Cloud, tmp_path: Path, all_records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overviews, "_LARGE_CHANGE", 0.5)
    read: list[str] = []
    plain = overviews._Thinned.add_tile
    monkeypatch.setattr(
        overviews._Thinned,
        "add_tile",
        lambda self, tile, boxes: (read.append(tile.name), plain(self, tile, boxes))[1],
    )
    before = mosaic.overview
    assert before is not None
    gone, *left = mosaic.tiles
    found = write_overview(left, tmp_path / "o.copc.laz", tmp_path, Change(before, (gone.box,)))
    points = all_records(found.path)
    assert found.facts["spacing"] == before.facts["spacing"]
    assert not np.isin(points, all_records(gone.path)).any()
    assert np.isin(points, all_records(before.path)).mean() > 0.99
    assert gone.name not in read

    # and back: as if it had never been away, but for the choice among points of one cube
    again = write_overview(mosaic.tiles, tmp_path / "p.copc.laz", tmp_path, Change(found, (gone.box,)))
    assert abs(again.count - before.count) < 0.02 * before.count


def test_an_overview_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(EmptyPointCloudError):
        write_overview([], tmp_path / "o.copc.laz", tmp_path)


def test_a_mosaic_has_one_layout(mosaic: Cloud) -> None:
    layouts = [description_of(layout_of(tile.path)) for tile in (*mosaic.tiles, mosaic.overview)]
    assert all(one == layouts[0] for one in layouts)
    assert layouts[0].point_format == 7


def test_times_of_a_tile_follow_its_gps_time(mosaic: Cloud) -> None:
    tile = mosaic.tiles[0]
    assert dated(tile).start is None  # seconds of a week
    standard = replace(tile, gps=(3e8, 3e8 + 60), facts={**tile.facts, "gps_time": "standard"})
    assert (dated(standard).start, dated(standard).end) == ("2021-03-17T07:06:22Z", "2021-03-17T07:07:22Z")
    assert dated(replace(standard, start="2020-01-01T00:00:00Z")).start == "2020-01-01T00:00:00Z"
    assert dated(replace(standard, gps=(0.0, 0.0))).start is None


def test_a_virtual_point_cloud_is_what_its_readers_ask_for(mosaic: Cloud) -> None:
    boxes = boxes_in_crs84([tile.box for tile in mosaic.tiles], mosaic.crs)
    document = virtual_point_cloud(
        mosaic,
        boxes,
        lambda tile: f"https://x.example/{tile.name}.copc.laz",
        "https://x.example/o.copc.laz",
        "2020-01-01T00:00:00Z",
    )
    assert document["type"] == "FeatureCollection"
    assert sum(item["properties"]["pc:count"] for item in document["features"]) == mosaic.count
    for item, tile in zip(document["features"], mosaic.tiles, strict=True):
        assert item["type"] == "Feature"
        assert item["stac_version"] == "1.0.0"
        assert next(iter(item["assets"].values()))["href"].endswith(f"{tile.name}.copc.laz")
        assert item["assets"]["overview"]["roles"] == ["overview"]
        assert item["properties"]["proj:bbox"] == list(tile.box)
        assert pyproj.CRS(item["properties"]["proj:wkt2"]).equals(mosaic.crs)
        assert item["properties"]["proj:epsg"] == 28992
        assert item["properties"]["datetime"]
        names = {one["name"]: (one["size"], one["type"]) for one in item["properties"]["pc:schemas"]}
        assert names["X"] == (8, "floating")
        assert names["Classification"] == (1, "unsigned")
    json.dumps(document, allow_nan=False)


# --- work in processes ---------------------------------------------------------------------------------------------------


def test_jobs_are_all_done_here_or_in_processes() -> None:
    expected = {number: abs(number - 5) for number in range(9)}
    jobs = [number - 5 for number in range(9)]
    assert dict(in_processes(abs, jobs, 1, lambda: False)) == expected
    assert dict(in_processes(abs, jobs, 2, lambda: False)) == expected


def test_an_error_of_one_job_ends_all() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_processes(int, ["1", "x", "2"], 2, lambda: False))


def test_a_crash_is_told() -> None:
    with pytest.raises(UnreadablePointCloudError, match="ended unexpectedly"):
        list(in_processes(os._exit, [3, 3], 2, lambda: False))


@pytest.mark.parametrize("processes", [1, 2])
def test_work_that_is_cancelled_ends(processes: int) -> None:
    with pytest.raises(BuildCancelledError):
        list(in_processes(abs, list(range(100)), processes, lambda: True))


def test_a_table_stands_beside_every_tile(mosaic: Cloud) -> None:
    for tile in (*mosaic.tiles, mosaic.overview):
        assert tile is not None
        assert load_nodes(nodes_path(tile.path)).count == tile.count
