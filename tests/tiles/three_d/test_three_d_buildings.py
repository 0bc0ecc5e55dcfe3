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

from tiles.three_d import ObjectProblem, TilesetSummary, VerticalReference
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import NothingToBuildError, PlacementError
from tiles.three_d.footprints import clean_footprints
from tiles.three_d.glb import Compression, GlbOptions
from tiles.three_d.placement import as_crs
from tiles.three_d.read_glb import read_glb
from tiles.three_d.report import ProblemLog, Survivors

Built = tuple[Path, TilesetSummary]
COURTYARD = 5


@pytest.fixture
def one_house(build_footprints: Any, tmp_path: Path) -> Any:
    """Builds one polygon 10 m high on a ground of 5 m."""

    def build(polygon: Any, crs: str = "EPSG:3879", **more: Any) -> TilesetSummary:
        summary: TilesetSummary = build_footprints(tmp_path, [polygon], crs, [10.0], 5.0, ids=["a"], **more)
        return summary

    return build


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


def test_a_courtyard_stays_open(
    one_house: Any, city: Any, tmp_path: Path, read_tile: Any, volume_of: Any
) -> None:
    one_house(city.footprints[COURTYARD])
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
    crs: str, x: float, y: float, one_house: Any, tmp_path: Path, read_tile: Any
) -> None:
    summary = one_house(shapely.box(x, y, x + 30, y + 20), crs)
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


def test_degrees_and_the_antimeridian(build_footprints: Any, tmp_path: Path) -> None:
    boxes = [
        shapely.box(179.9990, -17.0, 179.9992, -16.9998),
        shapely.box(-179.9992, -17.0, -179.9990, -16.9998),
    ]
    summary = build_footprints(tmp_path, boxes, "EPSG:4326", [9.0, 9.0])
    assert check_tileset(tmp_path) == []
    assert summary.bbox84h[0] == pytest.approx(179.9990)
    assert summary.bbox84h[3] == pytest.approx(-179.9990)
    assert summary.geometric_error < 400.0
    region = json.loads((tmp_path / "tileset.json").read_text())["root"]["boundingVolume"]["region"]
    assert region[0] > region[2]


def test_base_heights_are_lifted_by_the_stated_offset(one_house: Any) -> None:
    house = shapely.box(25_496_000, 6_672_000, 25_496_010, 6_672_010)
    summary = one_house(house, vertical=VerticalReference.offset(17.25, "N2000, city centre"))
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
    ("missing", None, "no geometry", "skipped"),
    ("empty", shapely.Polygon(), "no geometry", "skipped"),
    ("point", shapely.Point(25_496_000, 6_672_000), "not a polygon", "skipped"),
    (
        "line",
        shapely.LineString([(25_496_000, 6_672_000), (25_496_010, 6_672_000)]),
        "not a polygon",
        "skipped",
    ),
    ("nan", NOT_A_NUMBER, "not a number", "skipped"),
    (
        "flat",
        shapely.Polygon([(25_496_000, 6_672_000), (25_496_010, 6_672_000), (25_496_005, 6_672_000)]),
        "without an area",
        "skipped",
    ),
    ("far", shapely.box(9e30, 9e30, 9.1e30, 9.1e30), "outside the area of its CRS", "skipped"),
    ("bow tie", BOW_TIE, "mended (Self-intersection", "repaired"),
]


@pytest.mark.parametrize(("name", "polygon", "says", "action"), BAD, ids=[case[0] for case in BAD])
def test_a_bad_footprint_is_reported_and_the_rest_stays(
    name: str, polygon: Any, says: str, action: str
) -> None:
    log = ProblemLog()
    clean = clean_footprints([SQUARE, polygon], as_crs("EPSG:3879"), Survivors.all_of(["good", name], log))
    assert [(problem.id, problem.action) for problem in log.listed] == [(name, action)]
    assert says in log.listed[0].problem
    assert clean.kept.tolist() == ([0] if action == "skipped" else [0, 1])
    assert shapely.is_valid(clean.geometries).all()


def test_problems_of_objects_reach_the_summary(build_footprints: Any, tmp_path: Path) -> None:
    heard: list[ObjectProblem] = []
    polygons = [SQUARE, *(polygon for _, polygon, _, _ in BAD)]
    names = ["good", *(name for name, _, _, _ in BAD)]
    columns = {"use": names}
    summary = build_footprints(
        tmp_path, polygons, "EPSG:3879", [5.0] * len(names), ids=names, columns=columns, report=heard.append
    )
    assert summary.problems == tuple(heard)
    assert {problem.id for problem in heard} == set(names[1:])
    assert (summary.feature_count, summary.skipped, summary.repaired) == (2, len(BAD) - 1, 1)
    assert check_tileset(tmp_path) == []


def test_multipolygons_and_doubles_are_drawn(
    build_footprints: Any, tmp_path: Path, read_tile: Any, volume_of: Any
) -> None:
    two = shapely.MultiPolygon([SQUARE, shapely.box(25_496_050, 6_672_000, 25_496_060, 6_672_010)])
    summary = build_footprints(
        tmp_path, [two, SQUARE, SQUARE], "EPSG:3879", [10.0] * 3, ids=["m", "d1", "d2"]
    )
    tile = read_tile(tmp_path / "content/0/0/0.glb")
    number = [row["id"] for row in tile.rows].index("m")
    assert summary.feature_count == 3
    assert volume_of(tile, number) == pytest.approx(2000.0, rel=0.01)


def test_nothing_to_build_says_why(one_house: Any) -> None:
    with pytest.raises(NothingToBuildError, match="no geometry"):
        one_house(None)


@pytest.mark.parametrize("crs", ["EPSG:999999", "not a crs", "EPSG:4978"])
def test_a_crs_that_cannot_be_placed_is_refused(crs: str, one_house: Any) -> None:
    with pytest.raises(PlacementError):
        one_house(SQUARE, crs)


def test_files_have_a_compressed_sibling(built: Built) -> None:
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


def test_attribution_travels_with_every_tile(one_house: Any, tmp_path: Path, read_tile: Any) -> None:
    one_house(SQUARE, glb=GlbOptions(attribution="© OpenStreetMap contributors"))
    assert (
        read_tile(tmp_path / "content/0/0/0.glb").document["asset"]["copyright"]
        == "© OpenStreetMap contributors"
    )


def test_more_than_a_thousand_problems_are_counted_but_not_all_listed(
    build_footprints: Any, tmp_path: Path
) -> None:
    count = 1001
    heard: list[ObjectProblem] = []
    summary = build_footprints(
        tmp_path, [SQUARE, *[None] * count], "EPSG:3879", [5.0] * (count + 1), report=heard.append
    )
    assert summary.skipped == len(heard) == count
    assert len(summary.problems) == 1000


def test_a_compressed_city_is_the_same_city(
    built: Built, city: Any, build_footprints: Any, tmp_path: Path
) -> None:
    summary = build_footprints(
        tmp_path, city.footprints, "EPSG:3879", city.heights, city.base, ids=city.ids,
        columns=city.columns, glb=GlbOptions(compression=Compression.DRACO),
    )  # fmt: skip
    assert check_tileset(tmp_path) == []
    assert (summary.feature_count, summary.tile_count) == (built[1].feature_count, built[1].tile_count)
    assert summary.gzip_bytes < 0.7 * built[1].gzip_bytes
    for path in sorted(tmp_path.rglob("*.glb")):
        packed, plain = (read_glb(one.read_bytes()) for one in (path, built[0] / path.relative_to(tmp_path)))
        assert packed.table is not None
        assert plain.table is not None
        assert packed.table.schema() == plain.table.schema()
        there, ids = packed.triangles()
        expected, expected_ids = plain.triangles()
        assert np.bincount(ids).tolist() == np.bincount(expected_ids).tolist()
        for axis in range(3):
            assert there[..., axis].min() == pytest.approx(expected[..., axis].min(), abs=0.03)
            assert there[..., axis].max() == pytest.approx(expected[..., axis].max(), abs=0.03)
