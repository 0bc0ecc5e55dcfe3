"""Elevation models as they come: whatever their CRS, unit, type and place, each becomes terrain or says why not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from tiles.terrain import (
    ElevationModel,
    HeightSampler,
    TerrainError,
    TerrainTiles,
    build_terrain,
    sample_heights,
)
from tiles.terrain.build import JOURNAL_FILE
from tiles.terrain.check import check_terrain, check_tiles
from tiles.terrain.surface import Surface
from tiles.terrain.tiling import GEOGRAPHIC, MERCATOR, Availability, TileRange, few_boxes, world_boxes
from tiles.terrain.water import WaterGround, WaterRule, open_water
from tiles.three_d import VerticalReference

HILL = 500_000.0, 3_380_000.0


def write(path: Path, values: Any, crs: str, transform: Any, **more: Any) -> Path:
    values = np.asarray(values)
    units, scale = more.pop("units", None), more.pop("scale", None)
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[1], height=values.shape[0], count=1,
        dtype=values.dtype.name, crs=crs, transform=transform, **more,
    ) as out:  # fmt: skip
        out.write(values, 1)
        if units is not None:
            out.units = (units,)
        if scale is not None:
            out.scales, out.offsets = (scale[0],), (scale[1],)
    return path


def hills(size: int = 64, dtype: str = "float32") -> Any:
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return (100.0 + 20.0 * np.sin(x / 7.0) + 10.0 * np.cos(y / 5.0)).astype(dtype)


SQUARE = from_origin(*HILL, 20.0, 20.0)
MODELS: dict[str, tuple[Any, str, Any, dict[str, Any]]] = {
    "integers": (hills(dtype="int16"), "EPSG:4547", SQUARE, {"nodata": -32768}),
    "bytes": (hills(dtype="uint8"), "EPSG:4547", SQUARE, {}),
    "doubles with NaN": (np.where(hills() > 120, np.nan, hills()).astype("float64"), "EPSG:4547", SQUARE, {}),
    "turned": (hills(), "EPSG:4547", SQUARE @ Affine.rotation(30), {}),
    "rows from the south": (hills(), "EPSG:4547", Affine(20, 0, HILL[0], 0, 20, HILL[1]), {}),
    "one pixel": (np.full((1, 1), 7.5, "float32"), "EPSG:4547", SQUARE, {}),
    "one row": (hills()[:1], "EPSG:4547", SQUARE, {}),
    "CGCS2000 degrees": (hills(), "EPSG:4490", from_origin(114.0, 30.5, 1e-4, 1e-4), {}),
    "at the antimeridian": (hills(), "EPSG:32660", from_origin(545_000.0, 8_000_000.0, 2000.0, 2000.0), {}),
    "degrees beyond 180": (hills(), "EPSG:4326", from_origin(179.0, -16.0, 0.03, 0.03), {}),
    "all the world": (hills(), "EPSG:4326", from_origin(-180.0, 90.0, 360 / 64, 180 / 64), {}),
    "the world from 0": (hills(), "EPSG:4326", from_origin(0.0, 90.0, 360 / 64, 180 / 64), {}),
    "a pole": (hills(), "EPSG:3413", from_origin(-640_000.0, 640_000.0, 20_000.0, 20_000.0), {}),
    "the other pole": (hills(), "EPSG:3031", from_origin(-640_000.0, 640_000.0, 20_000.0, 20_000.0), {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_becomes_a_terrain_without_faults(name: str, tmp_path: Path) -> None:
    values, crs, transform, more = MODELS[name]
    model = write(tmp_path / "dem.tif", values, crs, transform, **more)
    # Every level of the whole world has four times the tiles of the one above.
    summary = build_terrain(tmp_path / "t", model, max_zoom=2 if "world" in name else 3)
    assert check_terrain(tmp_path / "t") == []
    assert np.nanmin(values) - 1 <= summary.bbox84h[2] <= summary.bbox84h[5] <= np.nanmax(values) + 1
    with TerrainTiles.open(tmp_path / "t") as terrain:
        layer = terrain.layer_json(MERCATOR)
        assert (
            check_tiles(layer, lambda z, x, y: terrain.tile(z, x, y, "WebMercatorQuad"), most_tiles=24) == []
        )
        places = terrain.surface.model.outline(4)[2:3]
        assert np.isfinite(places).all()


@pytest.mark.parametrize(
    ("name", "middle"),
    [("degrees beyond 180", -179.9), ("at the antimeridian", 180.0), ("the world from 0", -90.0)],
)
def test_heights_on_both_sides_of_the_antimeridian(name: str, middle: float, tmp_path: Path) -> None:
    values, crs, transform, more = MODELS[name]
    model = write(tmp_path / "dem.tif", values, crs, transform, **more)
    with ElevationModel(model) as opened:
        surface = Surface(opened, VerticalReference.ellipsoidal())
        south, north = surface.bounds[1], surface.bounds[3]
        lonlat = np.array([[middle, (south + north) / 2]])
        assert np.isfinite(surface.sampled(lonlat)).all()
        ranges = Availability(GEOGRAPHIC, surface.boxes(), 3).ranges(3)
        assert {one.west for one in ranges} >= {0}
        assert max(one.east for one in ranges) == 15


@pytest.mark.parametrize(
    ("more", "metres"),
    [
        ({"units": "ft"}, 30.48),
        ({"units": "US survey foot"}, 100 * 1200 / 3937),
        ({"units": "metre"}, 100.0),
        ({"units": "cm"}, 1.0),
        ({"scale": (0.1, -1000.0)}, -990.0),
        ({"crs": "EPSG:4547+5737"}, 100.0),
        ({"crs": "EPSG:2263+6360"}, 100 * 1200 / 3937),
    ],
)
def test_units_scales_and_offsets(more: dict[str, Any], metres: float, tmp_path: Path) -> None:
    crs = more.pop("crs", "EPSG:4547")
    transform = from_origin(990_000, 210_000, 60, 60) if "2263" in crs else SQUARE
    model = write(tmp_path / "dem.tif", np.full((8, 8), 100.0, "float32"), crs, transform, **more)
    with ElevationModel(model) as opened:
        assert opened.heights(opened.outline(2)[:1]) == pytest.approx(metres, rel=1e-6)


def test_a_compound_crs_is_lifted_by_what_it_says(tmp_path: Path) -> None:
    """Metres of the 1985 height datum, taken as EGM96 where PROJ has no grid of it; and said."""
    model = write(tmp_path / "dem.tif", hills(), "EPSG:4547+5737", SQUARE)
    summary = build_terrain(tmp_path / "t", model, vertical=VerticalReference.automatic(), max_zoom=5)
    plain = build_terrain(tmp_path / "p", model, max_zoom=5)
    assert summary.bbox84h[2] - plain.bbox84h[2] == pytest.approx(-14.0, abs=5.0)
    assert "EGM96" in summary.height_reference


@pytest.mark.parametrize(
    ("values", "more", "said"),
    [
        (hills(), {"units": "fathoms of the sea"}, "not known; allowed are"),
        (np.full((4, 4), -9999.0, "float32"), {"nodata": -9999.0}, "only gaps"),
        (np.full((4, 4), np.nan, "float32"), {}, "only gaps"),
        (np.full((4, 4), 3.4e38, "float32"), {}, "only gaps"),
        (np.ones((4, 4), "complex64"), {}, "no band of real numbers"),
    ],
)
def test_models_that_say_why_not(values: Any, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = write(tmp_path / "dem.tif", values, "EPSG:4547", SQUARE, **more)
    with pytest.raises(TerrainError, match=said):
        build_terrain(tmp_path / "t", model)


def test_a_build_that_was_stopped_goes_on(tmp_path: Path) -> None:
    model = write(tmp_path / "dem.tif", hills(), "EPSG:4547", SQUARE)

    class Stopped(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done > 5:
            raise Stopped

    with pytest.raises(Stopped):
        build_terrain(tmp_path / "t", model, report=stop)
    assert (tmp_path / "t" / JOURNAL_FILE).is_file()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").rglob("*.terrain")}
    heard: list[int] = []
    again = build_terrain(tmp_path / "t", model, report=lambda done, total: heard.append(done))
    assert heard[0] > 5
    assert not (tmp_path / "t" / JOURNAL_FILE).exists()
    whole = build_terrain(tmp_path / "w", model)
    assert (again.tile_count, again.bytes, again.gzip_bytes) == (
        whole.tile_count,
        whole.bytes,
        whole.gzip_bytes,
    )
    assert sum(path.stat().st_mtime_ns == stamp for path, stamp in made.items()) >= 5
    # Of something else nothing is taken over.
    other = build_terrain(tmp_path / "t", model, max_zoom=3)
    assert (other.tile_count, other.max_zoom) == (5, 3)


def test_files_stop_at_a_level_and_tiles_do_not(tmp_path: Path) -> None:
    model = write(tmp_path / "dem.tif", hills(), "EPSG:4547", SQUARE)
    summary = build_terrain(tmp_path / "t", model, prebuilt=6)
    assert summary.prebuilt == 6 < summary.max_zoom
    assert {int(path.parts[-3]) for path in (tmp_path / "t").rglob("*.terrain")} == set(range(7))
    whole = build_terrain(tmp_path / "w", model)
    with TerrainTiles.open(tmp_path / "t") as terrain:
        one = terrain.availability().ranges(whole.max_zoom)[0]
        made = terrain.tile(whole.max_zoom, one.west, one.south)
        assert made == (tmp_path / "w" / f"{whole.max_zoom}/{one.west}/{one.south}.terrain").read_bytes()
        assert terrain.tile(whole.max_zoom, one.west - 1, one.south) is None


def test_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "dem.tif", hills(), "EPSG:4547", SQUARE)
    monkeypatch.setattr("tiles.terrain.build._WORTH_PROCESSES", 1)
    build_terrain(tmp_path / "two", model, max_zoom=10, processes=2)
    build_terrain(tmp_path / "one", model, max_zoom=10)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.terrain"))
    assert all(
        (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in files
    )


def test_the_drawn_ground_stays_near_the_model(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(80), np.arange(80))
    model = write(
        tmp_path / "dem.tif",
        (50 + 30 * np.sin(x / 20) * np.cos(y / 15)).astype("float32"),
        "EPSG:4547",
        SQUARE,
    )
    build_terrain(tmp_path / "t", model, vertical=VerticalReference.offset(-14.0), prebuilt=3)
    with TerrainTiles.open(tmp_path / "t") as terrain:
        west, south, east, north = terrain.surface.bounds
        random = np.random.default_rng(5)
        lonlat = np.column_stack((
            random.uniform(west + (east - west) / 8, east - (east - west) / 8, 400),
            random.uniform(south + (north - south) / 8, north - (north - south) / 8, 400),
        ))  # fmt: skip
        drawn = terrain.mesh_heights(lonlat)
        model_heights = terrain.ground_to_ellipsoid(lonlat, terrain.own_heights(lonlat))
        assert np.abs(drawn - model_heights).max() < terrain.largest_difference + 0.1
        assert np.isnan(terrain.mesh_heights(np.array([[0.0, 0.0], [np.nan, 1.0]]))).all()


def test_a_sampler_keeps_its_file_and_travels(tmp_path: Path) -> None:
    model = write(tmp_path / "dem.tif", hills(), "EPSG:4547", SQUARE)
    xy = np.array([[HILL[0] + 333.0, HILL[1] - 444.0], [HILL[0] - 1e6, HILL[1]]])
    with HeightSampler(model, "EPSG:4547") as sampler:
        heights = sampler(xy)
        moved = pickle.loads(pickle.dumps(sampler))
        assert moved.heights(xy)[0] == heights[0] == sample_heights(model, xy, "EPSG:4547")[0]
        moved.close()
    assert np.isnan(heights[1])
    assert sampler.heights(xy)[0] == heights[0]
    sampler.close()


def test_boxes_become_tiles_that_overlap_nowhere() -> None:
    random = np.random.default_rng(2)
    corners = random.uniform((-170, -80), (160, 70), (300, 2))
    boxes = few_boxes([(x, y, x + 3.0, y + 2.0) for x, y in corners.tolist()])
    assert len(boxes) <= 256
    available = Availability(GEOGRAPHIC, boxes, 7)
    for level in range(8):
        wide, high = GEOGRAPHIC.size(level)
        covered = np.zeros((wide, high), dtype=np.int64)
        for one in available.ranges(level):
            covered[one.west : one.east + 1, one.south : one.north + 1] += 1
        assert covered.max() == 1
        for x, y in corners.tolist():
            at = GEOGRAPHIC.range_of((x + 1.5, y + 1.0, x + 1.5, y + 1.0), level)
            assert covered[at.west, at.south] == 1
            assert available.has(level, at.west, at.south)
        pieces = list(available.blocks(level, 16))
        assert sum(piece.size for piece in pieces) == covered.sum()
    assert available.count() == sum(one.size for level in range(8) for one in available.ranges(level))
    assert available.ranges(8) == ()


def test_boxes_across_the_antimeridian() -> None:
    assert world_boxes(170.0, -10.0, 190.0, 10.0) == (
        (170.0, -10.0, 180.0, 10.0),
        (-180.0, -10.0, -170.0, 10.0),
    )
    assert world_boxes(-200.0, -95.0, 170.0, 95.0) == ((-180.0, -90.0, 180.0, 90.0),)
    assert world_boxes(181.0, 0.0, 182.0, 1.0) == ((-179.0, 0.0, -178.0, 1.0),)
    assert TileRange(0, 0, 3, 1).size == 8


@pytest.mark.parametrize(
    ("rule", "low", "gap", "expected"),
    [
        (WaterRule("level", 0.0), -5.0, False, b"\xff"),
        (WaterRule("level", -10.0), -5.0, False, b"\x00"),
        (WaterRule("nodata"), -5.0, False, b"\x00"),
        (WaterRule("nodata"), np.nan, True, b"\xff"),
        (WaterRule("nodata"), np.nan, False, b"\x00"),
        (WaterRule("level", 0.0), np.nan, True, b"\x00"),
    ],
)
def test_water_by_height(rule: WaterRule, low: float, gap: bool, expected: bytes, tmp_path: Path) -> None:
    inside = np.full((67, 67), gap or np.isfinite(low))
    ground = WaterGround((0.0, 0.0, 1.0, 1.0), np.full((67, 67), low), inside)
    assert open_water(rule, tmp_path).mask(ground) == expected


def test_a_shore_lies_where_the_slope_meets_the_level(tmp_path: Path) -> None:
    """Water in the south: the mask's last rows."""
    heights = np.repeat(np.arange(67.0)[:, None] - 1.0, 67, axis=1)
    ground = WaterGround((0.0, 0.0, 1.0, 1.0), heights, np.ones((67, 67), dtype=bool))
    mask = np.frombuffer(open_water(WaterRule("level", 16.0), tmp_path).mask(ground), np.uint8).reshape(
        256, 256
    )
    assert (mask[-63:] == 255).all()
    assert (mask[:-65] == 0).all()
