"""Publishing what lies under the ground: pipes, wells, tunnels, boreholes, bodies, geology, and SWMM networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from providers.three_d.recipes import read_recipe
from server.publish import PublishResult
from server.publish.errors import OptionError
from server.publish.underground_options import UndergroundOptions
from server.registry.catalogue import RepresentationKind
from tiles.three_d.attributes import PropertyTable
from tiles.three_d.check import check_tileset
from tiles.three_d.read_glb import read_glb

type Rows = list[tuple[str, Any, dict[str, Any]]]
LON, LAT = 116.39, 39.90


def collection(path: Path, rows: Rows) -> Path:
    features = [
        {"type": "Feature", "geometry": {"type": kind, "coordinates": places}, "properties": values}
        for kind, places, values in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def raster(path: Path, *heights: float, names: tuple[str, ...] = (), size: int = 40) -> Path:
    """Bands that slope eastwards by 1 m from these heights."""
    slope = np.linspace(0.0, 1.0, size)[None].repeat(size, axis=0)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=len(heights), dtype="float32",
        crs="EPSG:4326", transform=from_origin(LON - 0.01, LAT + 0.01, 0.02 / size, 0.02 / size), nodata=-9999.0,
    ) as file:  # fmt: skip
        for band, height in enumerate(heights, 1):
            file.write((slope + height).astype("float32"), band)
            if names:
                file.set_band_description(band, names[band - 1])
    return path


def objects(result: PublishResult) -> list[dict[str, Any]]:
    """Rows of the property tables of all tiles, by the names that people know."""
    path = result.collection.path_of(RepresentationKind.TILESET_3D)
    assert check_tileset(path.parent) == []
    found: list[dict[str, Any]] = []
    for tile in sorted(path.parent.glob("content/**/*.glb")):
        table = read_glb(tile.read_bytes()).table
        assert table is not None
        found += rows_of(table)
    return found


def rows_of(table: PropertyTable) -> list[dict[str, Any]]:
    columns = {}
    for column in table.columns:
        if column.offsets is None:
            columns[column.id] = column.values.tolist()
        else:
            text, limits = column.values.tobytes(), column.offsets.tolist()
            columns[column.id] = [text[a:b].decode() for a, b in pairwise(limits)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def kind_of(result: PublishResult) -> str:
    return str(result.collection.representations[RepresentationKind.TILESET_3D].properties["content"])


@pytest.fixture
def made(publisher: Any, tmp_path: Path) -> Callable[..., PublishResult]:
    """Publishes features with options of the underground; other scene options by name."""

    def call(
        rows: Rows, kind: str | None, scene: dict[str, Any] | None = None, **options: Any
    ) -> PublishResult:
        below = UndergroundOptions(kind=kind, **options)
        path = collection(tmp_path / "data.geojson", rows)
        result: PublishResult = publisher.publish(path, scene={"underground": below, **(scene or {})})
        return result

    return call


def line(**values: Any) -> tuple[str, Any, dict[str, Any]]:
    return "LineString", [[LON, LAT], [LON + 0.001, LAT], [LON + 0.001, LAT + 0.001]], values


def test_lines_and_wells_of_a_chinese_survey_are_recognised(made: Callable[..., PublishResult]) -> None:
    rows: Rows = [
        line(管径="300", 起点埋深=1.5, 终点埋深=2.5, 管类="WS", 材质="PVC", 井深=None),
        line(管径="1000X800", 起点埋深=3.0, 终点埋深=3.0, 管类="电力", 材质="砖", 井深=None),
        ("Point", [LON, LAT], {"管径": None, "起点埋深": None, "终点埋深": None, "管类": "WS", "井深": 2.6}),
    ]
    result = made(rows, "pipes")
    assert kind_of(result) == "pipes"
    found = objects(result)
    sizes = sorted((round(row["section_width"], 3), round(row["section_height"], 3)) for row in found)
    assert sizes == [(0.3, 0.3), (0.7, 0.7), (1.0, 0.8)]
    said = " ".join(result.warnings)
    for words in (
        "管径 (diameter)",
        "终点埋深 (end_depth)",
        "管类 (kind)",
        "管径 was taken as millimetres",
        "CJJ 61",
    ):
        assert words in said
    # The gravity line lies on its bottom, the cable trench hangs on its top; the well is the deepest but one.
    assert result.collection.bbox[2] == pytest.approx(-3.8, abs=0.35)
    assert result.collection.bbox[5] == pytest.approx(0.06, abs=0.01)


def test_what_was_recognised_can_be_said_otherwise(made: Callable[..., PublishResult]) -> None:
    rows: Rows = [line(管径=300, 埋深=2.0, 另=5.0)]
    result = made(rows, "pipes", fields={"start_depth": "另"}, depth_to="top", size_unit="mm")
    assert "埋深" not in " ".join(result.warnings)
    assert result.collection.bbox[5] == pytest.approx(-5.0, abs=0.2)


def test_pipes_follow_the_ground_of_a_raster(made: Callable[..., PublishResult], tmp_path: Path) -> None:
    result = made([line(d=0.3, depth=2.0)], None, scene={
        "diameter_field": "d", "depth_field": "depth", "ground": raster(tmp_path / "dem.tif", 40.0),
    })  # fmt: skip
    # From the middle of the raster 0.001 degrees to the east the ground rises from 40.5 by 0.05 m.
    assert result.collection.bbox[2] == pytest.approx(38.5, abs=0.35)
    assert result.collection.bbox[5] == pytest.approx(38.55, abs=0.35)
    recipe = read_recipe(result.collection.path_of(RepresentationKind.TILESET_3D).parents[1])
    assert recipe.kind == "pipes"


def test_broken_pipes_are_told_and_the_rest_is_built(made: Callable[..., PublishResult]) -> None:
    rows: Rows = [
        line(d=0.3, depth=2.0),
        line(d=-0.3, depth=2.0),
        line(d=None, depth=2.0),
        line(d=0.3, depth=None),
    ]
    result = made(rows, None, scene={"diameter_field": "d", "depth_field": "depth"})
    assert [row["depth"] for row in objects(result)] == [2.0]
    assert any(text.startswith("3 objects are not in the 3D tileset") for text in result.warnings)


@pytest.mark.parametrize(
    ("diameter", "depth", "reason"),
    [
        (1e300, 1.0, "wider than"),
        (1.0, 1e300, "more than 20,000 m"),
        (1.0, -1e9, "more than 20,000 m"),
        (201.0, 1.0, "wider than"),
    ],
)
def test_absurd_numbers_cost_one_line_only(
    made: Callable[..., PublishResult], diameter: float, depth: float, reason: str
) -> None:
    # Three usual ones, so that the median does not read as millimetres.
    rows: Rows = [*(line(dn=0.5, depth=2.0) for _ in range(3)), line(dn=diameter, depth=depth)]
    result = made(rows, None, scene={"diameter_field": "dn", "depth_field": "depth"})
    assert len(objects(result)) == 3
    assert any(reason in warning for warning in result.warnings)


def test_tunnels_are_hollow(made: Callable[..., PublishResult]) -> None:
    result = made([line(name="line 1", depth=20.0)], "tunnels", section_size=(6.0, 5.0), wall=0.4)
    assert kind_of(result) == "tunnels"
    (row,) = objects(result)
    assert (row["section_width"], row["section_height"], row["name"]) == (6.0, 5.0, "line 1")
    bbox = result.collection.bbox
    assert bbox[5] - bbox[2] > 5.0


def test_boreholes_of_a_list_of_intervals(made: Callable[..., PublishResult]) -> None:
    intervals = [
        {"from": 0, "to": 2.5, "lithology": "杂填土"},
        {"from": 9, "to": 2.5, "lithology": "粉质黏土"},
        {"from": 8, "to": 12, "lithology": "sand"},
        {"from": "x", "to": 12, "lithology": "sand"},
    ]
    rows: Rows = [
        ("Point", [LON, LAT], {"孔号": "ZK1", "孔口高程": 45.0, "intervals": json.dumps(intervals)}),
        ("Point", [LON, LAT + 0.001], {"孔号": "ZK2", "孔口高程": 45.0, "intervals": "no list"}),
    ]
    result = made(rows, "boreholes")
    found = objects(result)
    assert [(row["from_depth"], row["to_depth"], row["interval_lithology"]) for row in found] == [
        (0.0, 2.5, "杂填土"),
        (2.5, 9.0, "粉质黏土"),
        (9.0, 12.0, "sand"),
    ]
    assert len({row["id"] for row in found}) == 1
    bbox = result.collection.bbox
    assert (bbox[2], bbox[5]) == pytest.approx((33.0, 45.0), abs=0.1)
    assert any("1 objects are not in the 3D tileset" in text for text in result.warnings)


def test_boreholes_of_a_feature_an_interval(made: Callable[..., PublishResult]) -> None:
    rows: Rows = [
        ("Point", [LON, LAT, 30.0], {"hole_id": "B1", "to": 3.0, "thickness": 3.0, "soil": "fill"}),
        ("Point", [LON, LAT, 30.0], {"hole_id": "B1", "to": 8.0, "thickness": 5.0, "soil": "clay"}),
        ("Point", [LON, LAT, 30.0], {"hole_id": "B1", "to": 8.0, "thickness": None, "soil": "clay"}),
    ]
    found = objects(made(rows, "boreholes"))
    assert sorted((row["from_depth"], row["to_depth"]) for row in found) == [(0.0, 3.0), (3.0, 8.0)]


def test_bodies_between_top_and_bottom(made: Callable[..., PublishResult]) -> None:
    ring = [[LON, LAT], [LON + 0.001, LAT], [LON + 0.001, LAT + 0.001], [LON, LAT + 0.001], [LON, LAT]]
    rows: Rows = [
        ("Polygon", [ring], {"name": "station", "顶板高程": 30.0, "底板高程": 18.0}),
        ("Polygon", [ring], {"name": "upside down", "顶板高程": 1.0, "底板高程": 18.0}),
        ("Polygon", [ring], {"name": "unknown", "顶板高程": None, "底板高程": None}),
    ]
    result = made(rows, "bodies")
    assert [(row["name"], row["body_height"]) for row in objects(result)] == [("station", 12.0)]
    assert (result.collection.bbox[2], result.collection.bbox[5]) == pytest.approx((18.0, 30.0), abs=0.1)


HOLES: Rows = [
    (
        "Point",
        [LON + east, LAT + north, 40.0],
        {"log": json.dumps([{"from": 0, "to": 3 + east * 1000, "lithology": "fill"},
                            {"from": 3 + east * 1000, "to": 20, "lithology": "clay"}])},
    )
    for east, north in ((0.0, 0.0), (0.002, 0.0), (0.0, 0.002), (0.002, 0.002), (0.001, 0.0011))
]  # fmt: skip


@pytest.mark.parametrize("method", ["idw", "linear"])
def test_layers_between_boreholes(made: Callable[..., PublishResult], method: str) -> None:
    result = made(HOLES, "geology", interpolation=method)
    found = objects(result)
    assert {(row["layer"], row["order"]) for row in found} == {("fill", 1), ("clay", 2)}
    fill = [row for row in found if row["layer"] == "fill"]
    assert min(row["least_thickness"] for row in fill) >= 3.0 - 1e-3
    assert max(row["greatest_thickness"] for row in fill) <= 5.0 + 1e-3
    assert any("interpolated between 5 boreholes" in text for text in result.warnings)


def test_too_few_boreholes_make_no_layers(made: Callable[..., PublishResult]) -> None:
    with pytest.raises(OptionError, match="need three of them with intervals; 2 can be used"):
        made(HOLES[:2], "geology")


@pytest.mark.parametrize("files", [1, 3])
def test_layers_of_rasters(publisher: Any, tmp_path: Path, files: int) -> None:
    if files == 1:
        paths = [raster(tmp_path / "ground.tif", 50.0, 40.0, 20.0, names=("fill", "clay", "rock"))]
    else:
        sizes = {"a-fill.tif": (50.0, 40), "b-clay.tif": (40.0, 25), "c-rock.tif": (20.0, 40)}
        paths = [raster(tmp_path / name, height, size=size) for name, (height, size) in sizes.items()]
    result = publisher.publish(*paths, scene={"underground": UndergroundOptions(kind="geology")})
    assert {RepresentationKind.COVERAGE, RepresentationKind.TILESET_3D} <= set(result.kinds)
    found = objects(result)
    names = {row["layer"] for row in found}
    assert names == ({"fill", "clay"} if files == 1 else {"a-fill", "b-clay"})
    thick = {row["layer"][-4:]: row["thickness"] for row in found}
    assert thick == pytest.approx({"fill": 10.0, "clay": 20.0}, abs=0.1)
    assert (result.collection.bbox[2], result.collection.bbox[5]) == pytest.approx((20.0, 51.0), abs=0.2)


@pytest.mark.parametrize(
    ("heights", "options", "message"),
    [
        ((50.0,), {}, "one surface was given"),
        ((50.0, 40.0), {"layers": ("a", "b")}, "2 names of layers were given for 2 surfaces"),
        ((50.0, 40.0), {"kind": "pipes"}, "--underground pipes is made of features"),
    ],
)
def test_rasters_that_make_no_layers(
    publisher: Any, tmp_path: Path, heights: tuple[float, ...], options: dict[str, Any], message: str
) -> None:
    path = raster(tmp_path / "layers.tif", *heights)
    with pytest.raises(OptionError, match=message):
        publisher.publish(path, scene={"underground": UndergroundOptions(**{"kind": "geology", **options})})


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("bodies", [line(d=1)], "needs polygons; these are LineString"),
        ("pipes", [line(d=0.3)], "No field of diameters was found"),
        ("pipes", [line(管径=0.3)], "Pipes need a depth field"),
        ("boreholes", [("Point", [LON, LAT], {"a": 1})], "need a field with lists of intervals"),
        ("bodies", [("Polygon", [[[0, 0], [0, 1], [1, 0], [0, 0]]], {"a": 1})], "height or the depth of their bottom"),
        ("pipes", [line(**{"管径": 0.3, "起点埋深(m)": 1, "终点埋深(cm)": 100})], "have different units"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(
    made: Callable[..., PublishResult], kind: str, rows: Rows, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        made(rows, kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {"start_depth": "nothing"}}, "no field 'nothing' for start_depth"),
        ({"fields": {"hole": "管径"}}, "--field-means hole=管径 does nothing here"),
        ({"colours": {"clay": "#00FF00"}}, "no kind of line 'clay'"),
    ],
)
def test_options_that_do_not_fit(
    made: Callable[..., PublishResult], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        made([line(管径=0.3, 埋深=1.0)], "pipes", **options)


SWMM = """
[OPTIONS]
FLOW_UNITS           CFS   ; feet
LINK_OFFSETS         DEPTH
[JUNCTIONS]
;;Name Elevation MaxDepth
J1     100       10        0 0 0
J2     90        0
[OUTFALLS]
O1     80        FREE
[CONDUITS]
C1     J1 J2 400 0.01 0 2
C2     J2 O1 400 0.01 0 0
C3     J2 LOST 400 0.01 0 0
[XSECTIONS]
C1     CIRCULAR     3  0 0 0 1
C2     RECT_CLOSED  4  6 0 0 1
[COORDINATES]
J1     500000 3400000
J2     500100 3400000
O1     500200 3400000
[VERTICES]
C1     500050 3400020
"""


def test_a_swmm_network(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "city.inp"
    path.write_text(SWMM)
    result = publisher.publish(
        path, reading={"crs": "EPSG:4547"}, scene={"underground": UndergroundOptions(kind="pipes")}
    )
    found = {row["name"]: row for row in objects(result)}
    assert set(found) == {"C1", "C2", "J1", "J2", "O1"}
    assert (found["C1"]["section_width"], found["C2"]["section_width"], found["C2"]["section_height"]) == (
        pytest.approx((0.9144, 1.8288, 1.2192))
    )
    assert (found["C1"]["start_invert"], found["C1"]["end_invert"]) == pytest.approx((30.48, 28.0416))
    # J2 has no depth of its own: up to the top of the highest link, 90 + 2 + 3 feet.
    assert found["J2"]["cover_level"] == pytest.approx(95 * 0.3048)
    said = " ".join(result.warnings)
    assert "1 links of city.inp were left out" in said


LOCAL = "+proj=tmerc +lat_0=30 +lon_0=114 +datum=WGS84 +units=m"
UTILITIES = Path(__file__).parents[4] / "shared" / "data" / "utilities"


@pytest.mark.parametrize("name", ["model_full_features.inp", "model_lids.inp", "swmm.inp"])
@pytest.mark.skipif(not UTILITIES.is_dir(), reason="the shared data are not here")
def test_shared_swmm_networks(publisher: Any, name: str) -> None:
    result = publisher.publish(
        UTILITIES / name,
        reading={"crs": LOCAL},
        scene={"underground": UndergroundOptions(kind="pipes")},
    )
    assert objects(result)
