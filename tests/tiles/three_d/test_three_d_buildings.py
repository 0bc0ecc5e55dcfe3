"""Footprints raised to blocks: what is drawn stands where and as high as it should, and every object is accounted for."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from tiles.three_d import ObjectProblem, TilesetSummary, VerticalReference, build_buildings
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import AttributeTableError, NothingToBuildError, PlacementError

Built = tuple[Path, TilesetSummary]
COURTYARD = 5


def one_house(out: Path, polygon: Any, crs: str = "EPSG:3879", **more: Any) -> TilesetSummary:
    return build_buildings(out, [polygon], crs, [10.0], 5.0, ids=["a"], columns={}, **more)


def test_the_checker_has_nothing_to_say(built: Built) -> None:
    assert check_tileset(built[0]) == []


def test_every_house_is_drawn_once_with_its_attributes(built: Built, city: Any, read_tile: Any) -> None:
    folder, summary = built
    rows = [row for path in sorted(folder.rglob("*.glb")) for row in read_tile(path).rows]
    assert summary.feature_count == len(city.ids) == len(rows)
    assert summary.levels > 1
    by_id = {row["id"]: row for row in rows}
    assert sorted(by_id) == sorted(city.ids)
    for number in (0, 1, 2, 2303):
        row = by_id[city.ids[number]]
        assert row["height"] == city.heights[number]
        assert row["name"] == city.columns["name"][number]
        assert row["levels"] == city.columns["levels"][number]
        assert row["u6750_u8d28"] == city.columns["材质"][number]
    assert summary.properties["u6750_u8d28"] == "材质"


def test_houses_enclose_the_volume_of_their_prism(
    built: Built, city: Any, read_tile: Any, volume_of: Any
) -> None:
    """Roof and walls are closed and face outwards: their signed volume over the ground is area times height."""
    rank = {identifier: number for number, identifier in enumerate(city.ids)}
    for path in sorted(built[0].rglob("*.glb"))[-2:]:
        tile = read_tile(path)
        for feature in range(0, len(tile.rows), 37):
            number = rank[tile.rows[feature]["id"]]
            expected = city.footprints[number].area * city.heights[number]
            # EPSG:3879 is up to 0.2 per mille longer than the ground here; positions are rounded to centimetres.
            assert volume_of(tile, feature) == pytest.approx(expected, rel=0.01)


def test_a_courtyard_stays_open(city: Any, tmp_path: Path, read_tile: Any, volume_of: Any) -> None:
    one_house(tmp_path, city.footprints[COURTYARD])
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    assert volume_of(tile, 0) == pytest.approx((30 * 30 - 10 * 10) * 10.0, rel=0.005)
    # Walls: eight edges of two triangles.
    level = np.abs(tile.normals @ (tile.ecef[0] / np.linalg.norm(tile.ecef[0]))) < 0.1
    assert level.sum() == 8 * 6


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        ("EPSG:3879", 25_496_500.0, 6_672_500.0),
        ("EPSG:4547", 500_300.0, 2_492_000.0),
        ("EPSG:28992", 84_700.0, 447_500.0),
        ("EPSG:3857", 2_776_000.0, 8_437_000.0),
        ("EPSG:26915", 429_400.0, 5_150_600.0),
        ("EPSG:2193", 1_757_000.0, 5_920_000.0),
    ],
)
def test_corners_lie_where_proj_puts_them(
    crs: str, x: float, y: float, tmp_path: Path, read_tile: Any
) -> None:
    summary = one_house(tmp_path, shapely.box(x, y, x + 30, y + 20), crs)
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(
        [x, x + 30, x + 30, x], [y, y, y + 20, y + 20]
    )
    for east, north in zip(longitude, latitude, strict=True):
        offset = (tile.place[:, :2] - [east, north]) * [111_320 * np.cos(np.radians(north)), 111_320]
        at_corner = tile.place[np.linalg.norm(offset, axis=1) < 0.02, 2]
        assert at_corner.min() == pytest.approx(5.0, abs=0.02)
        assert at_corner.max() == pytest.approx(15.0, abs=0.02)
    assert summary.bbox84h[2] == pytest.approx(5.0)
    assert summary.bbox84h[5] == pytest.approx(15.0)
    assert "WGS 84" in summary.height_reference


def test_degrees_and_the_antimeridian(tmp_path: Path, read_tile: Any) -> None:
    boxes = [
        shapely.box(179.9990, -17.0, 179.9992, -16.9998),
        shapely.box(-179.9992, -17.0, -179.9990, -16.9998),
    ]
    summary = build_buildings(tmp_path, boxes, "EPSG:4326", [9.0, 9.0], 0.0, ids=["w", "e"], columns={})
    assert check_tileset(tmp_path) == []
    assert summary.bbox84h[0] == pytest.approx(179.9990)
    assert summary.bbox84h[3] == pytest.approx(-179.9990)
    assert summary.geometric_error < 400.0
    region = json.loads((tmp_path / "tileset.json").read_text())["root"]["boundingVolume"]["region"]
    assert region[0] > region[2]


def test_base_heights_are_lifted_by_the_stated_offset(tmp_path: Path) -> None:
    house = shapely.box(25_496_000, 6_672_000, 25_496_010, 6_672_010)
    summary = one_house(tmp_path, house, vertical=VerticalReference.offset(17.25, "N2000, city centre"))
    assert summary.bbox84h[2] == pytest.approx(22.25)
    assert "+17.250 m" in summary.height_reference
    assert "N2000, city centre" in summary.height_reference


SQUARE = shapely.box(25_496_000, 6_672_000, 25_496_010, 6_672_010)
# As it comes out of a file; only the second corner is broken.
NOT_A_NUMBER = shapely.transform(SQUARE, lambda xy: np.where(np.arange(len(xy))[:, None] == 1, np.nan, xy))
BOW_TIE = shapely.Polygon(
    [(25_496_000, 6_672_000), (25_496_010, 6_672_010), (25_496_010, 6_672_000), (25_496_000, 6_672_010)]
)
BAD = [
    ("missing", None, 10.0, "no geometry", "skipped"),
    ("empty", shapely.Polygon(), 10.0, "no geometry", "skipped"),
    (
        "line",
        shapely.LineString([(25_496_000, 6_672_000), (25_496_010, 6_672_000)]),
        10.0,
        "not a polygon",
        "skipped",
    ),
    (
        "nan",
        NOT_A_NUMBER,
        10.0,
        "not a number",
        "skipped",
    ),
    (
        "flat",
        shapely.Polygon([(25_496_000, 6_672_000), (25_496_010, 6_672_000), (25_496_005, 6_672_000)]),
        10.0,
        "without an area",
        "skipped",
    ),
    ("far", shapely.box(9e30, 9e30, 9.1e30, 9.1e30), 10.0, "outside the area of its CRS", "skipped"),
    ("no height", SQUARE, float("nan"), "no height above 0", "skipped"),
    ("zero", SQUARE, 0.0, "no height above 0", "skipped"),
    ("negative", SQUARE, -3.0, "no height above 0", "skipped"),
    ("bow tie", BOW_TIE, 10.0, "mended (Self-intersection", "repaired"),
]


@pytest.mark.parametrize(("name", "polygon", "height", "says", "action"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_object_is_reported_and_the_rest_is_built(
    name: str, polygon: Any, height: float, says: str, action: str, tmp_path: Path
) -> None:
    heard: list[ObjectProblem] = []
    summary = build_buildings(
        tmp_path,
        [SQUARE, polygon],
        "EPSG:3879",
        [5.0, height],
        0.0,
        ids=["good", name],
        columns={"use": ["home", "shed"]},
        report=heard.append,
    )
    assert [(problem.id, problem.action) for problem in heard] == [(name, action)]
    assert says in heard[0].problem
    assert summary.problems == tuple(heard)
    assert summary.feature_count == (1 if action == "skipped" else 2)
    assert (summary.skipped, summary.repaired) == ((1, 0) if action == "skipped" else (0, 1))
    assert check_tileset(tmp_path) == []


def test_unknown_ground_is_reported(tmp_path: Path) -> None:
    summary = build_buildings(
        tmp_path, [SQUARE, SQUARE], "EPSG:3879", [5.0, 5.0], [1.0, float("nan")], ids=["a", "b"], columns={}
    )
    assert [problem.problem for problem in summary.problems] == ["height of the ground is unknown here"]


def test_multipolygons_and_doubles_are_drawn(tmp_path: Path, read_tile: Any, volume_of: Any) -> None:
    two = shapely.MultiPolygon([SQUARE, shapely.box(25_496_050, 6_672_000, 25_496_060, 6_672_010)])
    summary = build_buildings(
        tmp_path, [two, SQUARE, SQUARE], "EPSG:3879", [10.0] * 3, 0.0, ids=["m", "d1", "d2"], columns={}
    )
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    number = [row["id"] for row in tile.rows].index("m")
    assert summary.feature_count == 3
    assert volume_of(tile, number) == pytest.approx(2000.0, rel=0.01)


def test_nothing_to_build_says_why(tmp_path: Path) -> None:
    with pytest.raises(NothingToBuildError, match=r"none of the 1 footprints.*no geometry"):
        one_house(tmp_path, None)


def test_no_objects_at_all(tmp_path: Path) -> None:
    with pytest.raises(NothingToBuildError, match="none of the 0 footprints"):
        build_buildings(tmp_path, [], "EPSG:3879", [], 0.0, ids=[], columns={})


@pytest.mark.parametrize("crs", ["EPSG:999999", "not a crs", "EPSG:4978"])
def test_a_crs_that_cannot_be_placed_is_refused(crs: str, tmp_path: Path) -> None:
    with pytest.raises(PlacementError):
        one_house(tmp_path, SQUARE, crs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": ["a"]}, "1 ids for 2 objects"),
        ({"heights": [1.0]}, "heights has shape"),
        ({"columns": {"use": ["x"]}}, "column 'use' has 1 values for 2 objects"),
    ],
)
def test_lengths_must_agree(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"heights": [1.0, 2.0], "ids": ["a", "b"], "columns": {}} | change
    with pytest.raises(AttributeTableError, match=says.replace("(", r"\(")):
        build_buildings(
            tmp_path,
            [SQUARE, SQUARE],
            "EPSG:3879",
            given["heights"],
            0.0,
            ids=given["ids"],
            columns=given["columns"],
        )


def test_files_have_a_compressed_sibling_and_are_reproducible(
    built: Built, city: Any, tmp_path: Path
) -> None:
    folder, summary = built
    plain = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"]
    assert Counter(path.suffix for path in plain) == {".json": 1, ".subtree": 1, ".glb": summary.tile_count}
    packed = 0
    for path in plain:
        sibling = path.with_name(path.name + ".gz")
        assert gzip.decompress(sibling.read_bytes()) == path.read_bytes()
        packed += sibling.stat().st_size
    assert sum(path.stat().st_size for path in plain) == summary.bytes
    assert packed == summary.gzip_bytes
    build_buildings(
        tmp_path, city.footprints, "EPSG:3879", city.heights, city.base, ids=city.ids, columns=city.columns
    )
    for path in folder.rglob("*.gz"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_house_with_attributes_costs_few_bytes(built: Built) -> None:
    """The size to reach is 210 bytes with ids and five attributes on random shapes; these regular ones need less."""
    assert built[1].gzip_bytes / built[1].feature_count < 210.0


def test_the_view_from_afar_shows_the_largest(built: Built, read_tile: Any) -> None:
    """The root holds large houses; what is missing there is no larger than its geometric error."""
    folder, summary = built
    root = json.loads((folder / "tileset.json").read_text())["root"]
    first = read_tile(folder / "content/0/0/0.glb")
    assert len(first.rows) > 100
    assert summary.geometric_error >= root["geometricError"] > 0.0
    below = [row["height"] for path in folder.glob("content/1/**/*.glb") for row in read_tile(path).rows]
    assert max(below) <= root["geometricError"]


def test_attribution_travels_with_every_tile(tmp_path: Path, read_tile: Any) -> None:
    one_house(tmp_path, SQUARE, attribution="© OpenStreetMap contributors")
    assert (
        read_tile(tmp_path / "content/0/0/0.glb").document["asset"]["copyright"]
        == "© OpenStreetMap contributors"
    )


def test_more_than_a_thousand_problems_are_counted_but_not_all_listed(tmp_path: Path) -> None:
    count = 1001
    heard: list[ObjectProblem] = []
    summary = build_buildings(
        tmp_path,
        [SQUARE, *[None] * count],
        "EPSG:3879",
        [5.0] * (count + 1),
        0.0,
        ids=[str(number) for number in range(count + 1)],
        columns={},
        report=heard.append,
    )
    assert summary.skipped == len(heard) == count
    assert len(summary.problems) == 1000
