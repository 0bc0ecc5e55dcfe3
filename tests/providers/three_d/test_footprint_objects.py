"""Footprints as a source of buildings: heights, ground, broken objects, edits, processes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from providers.errors import StoreMissing
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import open_store
from providers.three_d.footprints import FootprintRecipe, FootprintSource
from providers.three_d.ground import GROUND_FILE, clip_ground
from providers.three_d.numbers import numbers_of
from providers.three_d.object_features import FeaturesAt, language_of, property_specs, unit_of
from providers.three_d.recipes import RECIPES, read_recipe, write_recipe
from providers.three_d.source_state import SourceState
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.objects import Detail
from tiles.three_d.placement import LocalFrame
from tiles.three_d.plan import join_outlines
from tiles.three_d.vertical import VerticalReference

HEIGHT = FieldDefinition("height", "number")
FIELDS = (
    HEIGHT,
    FieldDefinition("levels", "integer"),
    FieldDefinition("from_height", "number"),
    FieldDefinition("ground", "number"),
    FieldDefinition("built", "string", "date", title="Year of construction"),
    FieldDefinition("名称", "string", title="名称"),
)


def square(number: int, size: float = 2e-4) -> shapely.Polygon:
    west = 116.39 + number * 5e-4
    return shapely.box(west, 39.9, west + size, 39.9 + size)


def columns(count: int, **given: Any) -> dict[str, list[Any]]:
    plain = {
        "height": [10.0] * count,
        "levels": [3] * count,
        "from_height": [None] * count,
        "ground": [50.0] * count,
        "built": ["1987-05-01"] * count,
        "名称": [f"楼{number}" for number in range(count)],
    }
    return {**plain, **given}


def opened(generation: Path, **options: Any) -> FootprintSource:
    options.setdefault("height_field", "height")
    return FootprintRecipe(FeaturesAt(generation), **options).open()


def outlines(source: FootprintSource) -> Any:
    return join_outlines(source.outlines())


def reported(source: FootprintSource) -> dict[str, str]:
    return {item.id: f"{item.action}: {item.problem}" for item in source.problems.listed}


def test_heights_come_from_the_field_the_storeys_or_the_default(make_store: Any) -> None:
    heights = [12.5, None, 0.0, -3.0]
    levels = [9, 4, 2, None]
    generation = make_store([square(n) for n in range(4)], columns(4, height=heights, levels=levels), FIELDS)
    found = outlines(opened(generation, levels_field="levels", default_height=6.0))
    assert sorted((found.tops - found.bottoms).round(3).tolist()) == sorted([12.5, 4 * 3.2, 2 * 3.2, 6.0])


def test_a_missing_height_is_told_for_each_object(make_store: Any) -> None:
    generation = make_store(
        [square(n) for n in range(5)],
        columns(5, height=[None, 0.0, 2000.0, 2000.1, 1e300]),
        FIELDS,
        ids=["none", "zero", "tallest", "too tall", "huge"],
    )
    source = opened(generation)
    assert len(outlines(source)) == 1
    assert reported(source) == {
        "none": "skipped: no height above 0 is given",
        "zero": "skipped: no height above 0 is given",
        "too tall": "skipped: a height above 2000 m",
        "huge": "skipped: a height above 2000 m",
    }


def test_parts_that_begin_above_the_ground(make_store: Any) -> None:
    generation = make_store(
        [square(n) for n in range(3)],
        columns(3, from_height=[4.0, 10.0, -1.0]),
        FIELDS,
        ids=["part", "nothing left", "below"],
    )
    source = opened(generation, min_height_field="from_height")
    found = outlines(source)
    assert found.bottoms.tolist() == [4.0, 0.0, 0.0]
    assert reported(source) == {
        "nothing left": "repaired: its lowest height is not below its height: drawn from the ground"
    }
    frame = LocalFrame.at(116.39, 39.9, 0.0)
    sizes = []
    for key in found.keys.tolist():
        (part,) = source.load(np.array([key])).parts(frame, Detail.LOD1)
        sizes.append(len(part.mesh.triangles))
    # Walls and roof; whoever stands above a passage has a floor too.
    assert sizes == [8 + 2 + 2, 8 + 2, 8 + 2]
    (part,) = source.load(found.keys[:1]).parts(frame, Detail.LOD1)
    floor = part.mesh.normals[:, 2] < -0.9
    assert floor.sum() == 4
    assert part.mesh.positions[floor, 2] == pytest.approx([4.0] * 4, abs=0.01)


def test_the_ground_of_a_field_is_the_median_where_it_is_missing(make_store: Any) -> None:
    generation = make_store(
        [square(n) for n in range(4)], columns(4, ground=[40.0, 50.0, 60.0, None]), FIELDS
    )
    found = outlines(opened(generation, base_field="ground"))
    assert sorted(found.bottoms.tolist()) == [40.0, 50.0, 50.0, 60.0]


@pytest.mark.parametrize("ground", [-1e9, 20_000.0])
def test_an_impossible_ground_is_told(make_store: Any, ground: float) -> None:
    generation = make_store([square(0), square(1)], columns(2, ground=[ground, 5.0]), FIELDS, ids=["a", "b"])
    source = opened(generation, base_field="ground")
    assert len(outlines(source)) == 1
    assert reported(source) == {"a": "skipped: the height of its ground cannot be"}


def dem(path: Path, width: int = 400, missing: bool = False) -> Path:
    heights = np.tile(np.arange(width, dtype="float32"), (width, 1))
    if missing:
        heights[:] = -9999.0
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=width, count=1, dtype="float32", nodata=-9999.0,
        crs="EPSG:4326", transform=from_origin(116.3, 40.0, 5e-4, 5e-4),
    ) as file:  # fmt: skip
        file.write(heights, 1)
    return path


def test_the_ground_of_a_raster_is_kept_with_the_tileset(make_store: Any, tmp_path: Path) -> None:
    generation = make_store([square(n) for n in range(3)], columns(3), FIELDS)
    raster = dem(tmp_path / "dem.tif")
    median = clip_ground(raster, (116.39, 39.9, 116.392, 39.901), generation / GROUND_FILE)
    assert 180 <= median <= 190
    raster.unlink()
    with rasterio.open(generation / GROUND_FILE) as kept:
        assert kept.width < 50
    source = opened(generation, ground=GROUND_FILE, default_ground=median)
    found = outlines(source)
    # Columns of 5e-4 degrees, whose middles have the heights 0, 1, 2 ...
    expected = (found.boxes[:, [0, 2]].mean(axis=1) - 116.3) / 5e-4 - 0.5
    assert found.bottoms == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("bbox", "missing"), [((10.0, 50.0, 10.1, 50.1), False), ((116.39, 39.9, 116.4, 39.91), True)]
)
def test_a_ground_without_heights_there(tmp_path: Path, bbox: Any, missing: bool) -> None:
    with pytest.raises(ThreeDError, match="no height at any of these features"):
        clip_ground(dem(tmp_path / "dem.tif", missing=missing), bbox, tmp_path / "clip.tif")


def test_a_ground_that_is_no_raster(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no raster")
    with pytest.raises(ThreeDError, match="cannot be read"):
        clip_ground(tmp_path / "a.tif", (0.0, 0.0, 1.0, 1.0), tmp_path / "clip.tif")


BOWTIE = shapely.Polygon([(116.39, 39.9), (116.391, 39.901), (116.391, 39.9), (116.39, 39.901)])
INSIDE_OUT = shapely.Polygon(
    [(116.393, 39.9), (116.393, 39.901), (116.394, 39.901), (116.394, 39.9)],
    [[(116.3933, 39.9003), (116.3933, 39.9006), (116.3936, 39.9006), (116.3936, 39.9003)]],
)
DOUBLE = shapely.Polygon(
    [
        (116.395, 39.9),
        (116.395, 39.9),
        (116.396, 39.9),
        (116.396, 39.901),
        (116.396, 39.901),
        (116.395, 39.901),
    ]
)
FLAT = shapely.Polygon([(116.397, 39.9), (116.398, 39.9), (116.399, 39.9)])


def test_broken_polygons_are_mended_or_told(make_store: Any, tmp_path: Path) -> None:
    shapes = [
        BOWTIE, INSIDE_OUT, DOUBLE, FLAT, None, shapely.Point(116.39, 39.9),
        shapely.LineString([(116.39, 39.9), (116.4, 39.9)]), shapely.Polygon(),
        shapely.box(116.0, 39.0, 117.0, 40.0), shapely.MultiPolygon([square(30), square(40)]), square(50),
        shapely.force_3d(square(60), 7.0),
    ]  # fmt: skip
    names = [
        "bowtie", "inside out", "double", "flat", "none", "point", "line", "empty", "wide", "two", "good", "3d",
    ]  # fmt: skip
    generation = make_store(shapes, columns(len(shapes)), FIELDS, ids=names)
    source = opened(generation)
    summary = build_tileset(
        generation / "3dtiles", generation / "scene", FootprintRecipe(FeaturesAt(generation), "height"),
        BuildOptions(processes=1),
    )  # fmt: skip
    assert check_tileset(generation / "3dtiles") == []
    outlines(source)
    told = reported(source)
    assert told.pop("bowtie").startswith("repaired: invalid polygon mended")
    assert told.pop("flat").startswith("skipped: footprint without an area")
    assert told == {
        "none": "skipped: no geometry",
        "point": "skipped: not a polygon",
        "line": "skipped: not a polygon",
        "empty": "skipped: no geometry",
        "wide": "skipped: a footprint wider than 20 km",
    }
    assert (summary.feature_count, summary.skipped, summary.repaired) == (6, 6, 1)


def test_nothing_but_broken(make_store: Any) -> None:
    generation = make_store([FLAT, None], columns(2), FIELDS)
    with pytest.raises(NothingToBuildError, match=r"footprint without an area|no geometry"):
        build_tileset(
            generation / "3dtiles", generation / "scene", FootprintRecipe(FeaturesAt(generation), "height")
        )


def test_load_gives_what_is_asked_in_its_order(make_store: Any) -> None:
    generation = make_store([square(n) for n in range(6)], columns(6), FIELDS)
    source = opened(generation)
    keys = outlines(source).keys
    asked = np.array([keys[4], 10**15, keys[0], keys[2]])
    loaded = source.load(asked)
    assert loaded.keys.tolist() == [keys[4], keys[0], keys[2]]
    assert loaded.table.count == 3
    assert loaded.outlines().keys.tolist() == loaded.keys.tolist()
    assert source.load(np.empty(0, dtype=np.int64)).outlines().keys.size == 0
    names = {column.id: column for column in loaded.table.columns}
    assert set(names) >= {"id", "height", "levels", "built", "built_epoch", "u540d_u79f0"}
    assert names["built_epoch"].values.tolist() == [546825600.0] * 3
    assert names["built"].name == "Year of construction"


def test_what_the_first_reading_found_is_kept(make_store: Any) -> None:
    generation = make_store([square(n) for n in range(3)], columns(3), FIELDS)
    source = opened(generation)
    assert SourceState.read(generation) is None
    keys = outlines(source).keys
    kept = SourceState.read(generation)
    assert kept is not None
    other = opened(generation)
    assert other.height_reference == source.height_reference == kept.height_reference
    assert other.load(keys).table.schema() == source.load(keys).table.schema()
    (generation / "scene/source.json").write_text("{}")
    with pytest.raises(ThreeDError, match="broken"):
        opened(generation)


def test_an_edit_shows_and_the_past_stays(make_store: Any) -> None:
    generation = make_store([square(n) for n in range(3)], columns(3), FIELDS, ids=["a", "b", "c"])
    source = opened(generation)
    keys = outlines(source).keys
    store = open_store(generation / "features.gpkg")
    with store.borrowed() as connection:
        before = connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')").fetchone()[0]
    store.edit([Edit(EditKind.UPDATE, "b", properties={"height": 33.0, "levels": 2**40, "built": None})])
    loaded = source.load(keys)
    assert sorted((loaded.outlines().tops - loaded.outlines().bottoms).tolist()) == [10.0, 10.0, 33.0]
    wider = next(column for column in loaded.table.columns if column.id == "levels")
    assert 2**40 in wider.values.tolist()
    recipe = FootprintRecipe(FeaturesAt(generation), height_field="height")
    past = replace(recipe, features=replace(recipe.features, asof=before)).open()
    assert (past.load(keys).outlines().tops == 10.0).all()
    with pytest.raises(StoreMissing, match="no state"):
        replace(recipe, features=replace(recipe.features, asof="1999-01-01T00:00:00Z")).open()


@pytest.mark.parametrize(
    "vertical", [VerticalReference.ellipsoidal(), VerticalReference.offset(12.5, "survey")]
)
def test_recipes_come_back(make_store: Any, vertical: VerticalReference) -> None:
    generation = make_store([square(0)], columns(1), FIELDS)
    recipe = FootprintRecipe(
        FeaturesAt(generation), "height", "levels", 6.0, "from_height", "ground", vertical=vertical,
        titles={"height": "Height (m)"},
    )  # fmt: skip
    write_recipe(generation, recipe)
    assert read_recipe(generation) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2, "kind": "footprints"}', '{"version": 1, "kind": "x"}']
)
def test_recipes_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    with pytest.raises(ThreeDError, match="chengtu build-3d"):
        read_recipe(tmp_path)
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene/recipe.json").write_text(text)
    with pytest.raises(ThreeDError, match="chengtu build-3d"):
        read_recipe(tmp_path)


def test_every_kind_of_recipe_is_there() -> None:
    import importlib

    for kind, place in RECIPES.items():
        module, _, name = place.partition(":")
        assert getattr(importlib.import_module(module), name).kind == kind


def test_in_a_zone_of_cgcs2000(make_store: Any) -> None:
    shapes = [shapely.box(500_000 + n * 60, 4_417_000, 500_030 + n * 60, 4_417_020) for n in range(3)]
    generation = make_store(shapes, columns(3), FIELDS, crs="EPSG:4548")
    source = opened(generation)
    found = outlines(source)
    assert sorted(found.boxes[:, 0]) == pytest.approx([117.0, 117.0007, 117.0014], abs=2e-4)
    assert "taken as WGS 84" in source.height_reference


def test_several_processes_write_the_same_files(make_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3000
    low = np.random.default_rng(5).uniform((116.3, 39.8), (116.5, 40.0), (count, 2))
    shapes = shapely.box(*low.T, *(low + 2e-4).T)
    generation = make_store(shapes, columns(count), FIELDS)
    recipe = FootprintRecipe(FeaturesAt(generation), height_field="height")
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_WORTH_A_PROCESS", 100)
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_AT_ONCE", 100)
    for name, processes in (("one", 1), ("two", 2)):
        build_tileset(
            generation / name, generation / "scene", recipe, BuildOptions(processes=processes, capacity=2000)
        )
    files = [path for path in (generation / "one").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert path.read_bytes() == (generation / "two" / path.relative_to(generation / "one")).read_bytes()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, np.nan]),
        (["6", "12.5 m", "3;4", "-2,5", "x", "", None], [6.0, 12.5, 3.0, -2.5, np.nan, np.nan, np.nan]),
        ([True, "7"], [1.0, 7.0]),
        ([10**400, 1], [np.inf, 1.0]),
        ([], []),
    ],
)
def test_numbers(values: list[Any], expected: list[float]) -> None:
    assert numbers_of(values).tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("title", "unit", "language"),
    [
        ("Height (m)", "m", "en"),
        ("高度（米）", "米", "zh"),
        ("Diameter [mm]", "mm", "en"),
        ("Name (in two words)", None, "en"),
        ("Plain", None, "en"),
    ],
)
def test_units_stand_in_titles(title: str, unit: str | None, language: str) -> None:
    assert (unit_of(title), language_of(title)) == (unit, language)
    (spec,) = property_specs([HEIGHT], {"height": title})
    assert (spec.unit, spec.title()) == (unit, title)
