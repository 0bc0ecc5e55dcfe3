"""Ready steps by the real PDAL, on a scene where the right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from pointclouds.errors import NothingLeftError, PipelineFailedError, PipelineRefusedError
from pointclouds.pdal import Limits, Pdal, Stage, run_pipeline
from pointclouds.pdal.allowed import check_pipeline
from pointclouds.pdal.handover import ResultSource
from pointclouds.pdal.rasters import grid_over, raster_stages, raster_writer
from pointclouds.pdal.running import csf_ends
from pointclouds.pdal.steps import StepContext, crs_after, make_step, parse_step, stages_of

Run = Callable[..., laspy.LasData]


def _numbers(las: laspy.LasData) -> np.ndarray:
    """Which points of the scene these are."""
    return np.asarray(las.gps_time).astype(int)


@pytest.mark.parametrize("method", ["smrf", "pmf"])
def test_ground_is_found(run_steps: Run, known_scene, method: str) -> None:
    found = run_steps(f"ground:method={method}")
    numbers = _numbers(found)
    assert len(numbers) == len(known_scene.x)
    right = (np.asarray(found.classification) == 2) == known_scene.is_ground[numbers]
    assert right.mean() > 0.95
    assert set(np.unique(found.classification)) == {1, 2}


def test_a_users_csf_is_right_or_refused_at_once(run_stages: Run, known_scene, pdal: Pdal) -> None:
    """PDAL's CSF in Debian 11 never ends: it is found out before it takes the memory and the time of a run."""
    stages = check_pipeline(
        [{"type": "filters.assign", "assignment": "Classification[:]=1"}, {"type": "filters.csf"}]
    )
    if pdal.version == "2.2.0" and not csf_ends(pdal):
        with pytest.raises(PipelineFailedError, match=r"CSF of this build.*step ground:method=csf"):
            run_stages(stages)
        return
    found = run_stages(stages)
    right = (np.asarray(found.classification) == 2) == known_scene.is_ground[_numbers(found)]
    assert right.mean() > 0.95


def test_noise_is_not_taken_for_ground(run_stages: Run, handed) -> None:
    classified = Stage("filters.assign", {"assignment": ["Classification[:]=18"]})
    ground = stages_of(make_step("ground", {}), StepContext(handed.layout.crs))
    with pytest.raises(PipelineFailedError, match="returns"):
        run_stages([classified, *ground])


def test_a_copy_keeps_every_number(run_stages: Run, known_scene) -> None:
    found, source = run_stages([]), laspy.read(known_scene.path)
    order = np.argsort(found.gps_time)
    for name in ("X", "Y", "Z", "intensity", "classification", "return_number", "quality", "gain"):
        assert (np.asarray(found[name])[order] == np.asarray(source[name])).all(), name
    assert list(found.point_format.extra_dimension_names) == ["quality", "gain"]
    assert found.header.scales.tolist() == [0.001] * 3
    crs = found.header.parse_crs()
    assert [one.to_epsg() for one in crs.sub_crs_list] == [28992, 5709]


def test_outliers_go_and_others_stay(run_steps: Run, known_scene) -> None:
    found = _numbers(run_steps("outliers:method=radius,radius=3,neighbours=4"))
    assert not known_scene.is_noise[found].any()
    assert len(found) > 0.98 * len(known_scene.x)
    kept = run_steps("outliers:method=radius,radius=3,neighbours=4,keep=true")
    assert len(kept) == len(known_scene.x)
    assert known_scene.is_noise[_numbers(kept)[np.asarray(kept.classification) == 7]].sum() == 12


@pytest.mark.parametrize("method", ["nearest", "delaunay"])
def test_heights_above_ground(run_steps: Run, known_scene, method: str) -> None:
    from_corner = known_scene
    found = run_steps("ground", f"height:method={method}")
    numbers = _numbers(found)
    true = from_corner.z[numbers] - (
        2 + 0.03 * from_corner.x[numbers] + 0.5 * np.sin(from_corner.y[numbers] / 15)
    )
    error = np.abs(np.asarray(found.HeightAboveGround) - true)
    assert np.percentile(error, 50) < 0.05
    assert np.percentile(error, 95) < 0.3
    assert list(found.point_format.extra_dimension_names) == ["quality", "gain", "HeightAboveGround"]


def test_thinning_keeps_the_distance(run_steps: Run) -> None:
    found = run_steps("thin:radius=2")
    tree = shapely.STRtree(shapely.points(np.asarray(found.x), np.asarray(found.y)))
    near = tree.query_nearest(tree.geometries, exclusive=True, return_distance=True)
    places = np.stack([found.x, found.y, found.z], axis=1)
    apart = np.linalg.norm(places[near[0][0]] - places[near[0][1]], axis=1)
    assert len(found) < 2_500
    assert apart.min() >= 2.0
    voxels = run_steps("thin:cell=3")
    cells = np.floor(np.stack([voxels.x, voxels.y, voxels.z], axis=1) / 3).astype(int)
    assert len(voxels) < 3_000
    assert len(np.unique(cells, axis=0)) > 0.5 * len(voxels)


def test_reprojection_keeps_heights(run_steps: Run, known_scene) -> None:
    found = run_steps("reproject:crs=EPSG:32631")
    numbers = _numbers(found)
    transformer = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:32631", always_xy=True)
    x, y = transformer.transform(known_scene.x[numbers] + 84_000, known_scene.y[numbers] + 447_000)
    # PDAL 2.2 has its own PROJ and grids: a decimetre between two ways from the Dutch datum.
    assert np.abs(found.x - x).max() < 0.5
    assert np.abs(found.y - y).max() < 0.5
    assert np.abs(found.z - known_scene.z[numbers]).max() < 0.001
    assert found.header.parse_crs().sub_crs_list[0].to_epsg() == 32631


@pytest.mark.parametrize(
    ("crs", "words"),
    [
        ("EPSG:32631+5773", "heights as they are"),
        ("EPSG:4326", "not projected"),
        ("EPSG:999999", "PROJ knows"),
    ],
)
def test_reprojections_that_are_refused(crs: str, words: str) -> None:
    with pytest.raises(PipelineRefusedError, match=words):
        crs_after([parse_step(f"reproject:crs={crs}")], pyproj.CRS("EPSG:28992+5709"))


def test_colours_are_those_of_the_pixels(run_stages: Run, known_scene, tmp_path: Path, handed) -> None:
    photo = tmp_path / "photo.tif"
    pixels = np.random.default_rng(3).integers(1, 255, (3, 60, 60)).astype(np.uint8)
    with rasterio.open(
        photo, "w", driver="GTiff", width=60, height=60, count=3, dtype="uint8", crs="EPSG:28992",
        transform=from_origin(84_000, 447_060, 1, 1),
    ) as out:  # fmt: skip
        out.write(pixels)
    stages = stages_of(
        make_step("colourise", {"collection": "photo"}), StepContext(handed.layout.crs, raster="photo.tif")
    )
    found = run_stages(stages, files={"photo.tif": photo}, coloured=True)
    assert found.point_format.id == 7
    numbers = _numbers(found)
    column = np.floor(np.asarray(found.x) - 84_000).astype(int)
    row = np.floor(447_060 - np.asarray(found.y)).astype(int)
    for band, name in enumerate(("red", "green", "blue")):
        assert (np.asarray(found[name]) == pixels[band, row, column].astype(int) * 256).all()
    assert len(numbers) == len(known_scene.x)


def test_a_clip_is_what_brute_force_gives(run_stages: Run, known_scene, handed) -> None:
    ring = shapely.Polygon(
        [(10, 5), (50, 12), (42, 55), (20, 30), (10, 5)], [[(30, 20), (35, 20), (35, 28), (30, 20)]]
    )
    area = shapely.transform(ring, lambda xy: xy + np.array([84_000.0, 447_000.0]))
    stages = stages_of(
        make_step("clip", {"collection": "districts", "feature": "1"}),
        StepContext(handed.layout.crs, polygon=area),
    )
    found = set(_numbers(run_stages(stages)))
    source = laspy.read(known_scene.path)
    inside = shapely.contains_xy(area, np.asarray(source.x), np.asarray(source.y))
    assert found == set(np.flatnonzero(inside))
    assert len(found) > 1_000


def test_a_terrain_model_is_the_ground(pdal: Pdal, run_steps: Run, tmp_path: Path) -> None:
    run_steps("ground")
    output = tmp_path / "dtm.tif"
    grid = grid_over(84_000, 447_000, 84_060, 447_060, 1.0)
    run_pipeline(
        pdal,
        raster_stages("dtm"),
        [tmp_path / "out.laz"],
        output,
        Limits(60),
        writer=raster_writer("dtm", grid),
    )
    with rasterio.open(output) as raster:
        heights = raster.read(1, masked=True)
        assert (raster.shape, tuple(raster.bounds)) == ((60, 60), (84_000, 447_000, 84_060, 447_060))
    rows, columns = np.mgrid[0:60, 0:60]
    x, y = columns + 0.5, 60 - rows - 0.5
    true = 2 + 0.03 * x + 0.5 * np.sin(y / 15)
    error = np.ma.abs(heights - true)
    roof = ((x // 15) % 2 == 1) & ((y // 15) % 2 == 1)
    assert heights.count() > 0.9 * heights.size
    assert np.percentile(error[~roof].compressed(), 95) < 0.1
    assert error.max() < 0.8  # under roofs, from what is around them


def test_nothing_left_is_an_error_of_its_own(run_stages: Run) -> None:
    with pytest.raises(NothingLeftError, match="nothing is left"):
        run_stages([Stage("filters.range", {"limits": "Classification[99:99]"})])


def test_a_result_is_a_source_without_what_nobody_asked_for(pdal: Pdal, handed, tmp_path: Path) -> None:
    output = tmp_path / "all.laz"
    writer = Stage(
        "writers.las", {"minor_version": 4, "dataformat_id": 6, "extra_dims": "all", "scale_x": 0.001}
    )
    run_pipeline(pdal, [], [handed.path], output, Limits(60), writer=writer)
    source = ResultSource(output, handed.layout.crs, "scene")
    names = [name for name, _ in source.description.extra]
    assert names == ["quality", "gain"]
    chunks = list(source.chunks())
    assert sum(map(len, chunks)) == source.description.count
    assert all(chunk.dtype == source.description.dtype for chunk in chunks)
