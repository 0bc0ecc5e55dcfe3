"""Ground by cloth simulation: the library of CSF's authors in a child, with PDAL around it and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pyproj
import pytest
import rasterio

from pointclouds.errors import (
    NothingLeftError,
    PdalAbsentError,
    PipelineFailedError,
    PipelineLimitError,
    PipelineRefusedError,
)
from pointclouds.pdal import Limits, Pdal, Stage
from pointclouds.pdal.cloth import cloth_version, find_ground, ignored_ranges
from pointclouds.pdal.handover import (
    ResultSource,
    layout_of,
    only_own,
    write_cloud_points,
    write_source_points,
)
from pointclouds.pdal.parts import Job, run_job
from pointclouds.pdal.rasters import grid_over, raster_stages, raster_writer
from pointclouds.pdal.steps import StepContext, make_step, parse_step, stages_of
from pointclouds.sources import LasSource

Run = Callable[..., laspy.LasData]
MEBIBYTE = 1024**2


def _share_right(found: laspy.LasData, scene) -> float:  # type: ignore[no-untyped-def] # a fixture's own class
    numbers = np.asarray(found.gps_time).astype(int)
    return float(((np.asarray(found.classification) == 2) == scene.is_ground[numbers]).mean())


def test_ground_is_found_without_pdal(run_steps: Run, known_scene) -> None:
    found, source = run_steps("ground:method=csf", pdal=None), laspy.read(known_scene.path)
    assert _share_right(found, known_scene) > 0.95
    assert set(np.unique(found.classification)) == {1, 2}
    # Nothing but the class is touched, and the order stays.
    for name in ("X", "Y", "Z", "intensity", "gps_time", "return_number", "quality", "gain"):
        assert (np.asarray(found[name]) == np.asarray(source[name])).all(), name
    assert [one.to_epsg() for one in found.header.parse_crs().sub_crs_list] == [28992, 5709]
    assert found.header.scales.tolist() == [0.001] * 3


def test_filters_of_pdal_before_and_after_it(run_steps: Run, known_scene) -> None:
    found = run_steps(
        "reproject:crs=EPSG:32631", "outliers:method=radius,radius=3,neighbours=4,keep=true", "ground:method=csf",
        "height",
    )  # fmt: skip
    numbers = np.asarray(found.gps_time).astype(int)
    assert len(numbers) == len(known_scene.x)
    codes = np.asarray(found.classification)
    assert known_scene.is_noise[numbers[codes == 7]].sum() == 12
    assert _share_right(found, known_scene) > 0.95
    true = known_scene.z[numbers] - (
        2 + 0.03 * known_scene.x[numbers] + 0.5 * np.sin(known_scene.y[numbers] / 15)
    )
    assert np.percentile(np.abs(np.asarray(found.HeightAboveGround) - true), 95) < 0.3
    assert list(found.point_format.extra_dimension_names) == ["quality", "gain", "HeightAboveGround"]
    assert (np.asarray(found.quality) == numbers % 1000).all()
    # The file between the two programs is in the new CRS: ground is found among the new places.
    assert [one.to_epsg() for one in found.header.parse_crs().sub_crs_list] == [32631, 5709]
    transformer = pyproj.Transformer.from_crs("EPSG:28992", "EPSG:32631", always_xy=True)
    assert abs(np.mean(found.x) - transformer.transform(84_030.0, 447_030.0)[0]) < 5


def test_a_terrain_model_of_it(pdal: Pdal, handed, tmp_path: Path) -> None:
    grid = grid_over(84_000, 447_000, 84_060, 447_060, 2.0)
    layout = handed.layout
    stages = (*stages_of(parse_step("ground:method=csf"), StepContext(layout.crs)), *raster_stages("dtm"))
    job = Job(stages, layout, layout.crs, raster_writer("dtm", grid))
    run_job(pdal, job, handed.path, tmp_path / "dtm.tif", Limits(60))
    with rasterio.open(tmp_path / "dtm.tif") as raster:
        heights = raster.read(1, masked=True)
    # No roof (8 m) is in it.
    assert heights.count() > 0.85 * heights.size
    assert heights.max() < 5
    with pytest.raises(PdalAbsentError, match="csf alone"):
        run_job(None, job, handed.path, tmp_path / "none.tif", Limits(60))
    assert not (tmp_path / "none.tif").exists()


def test_a_block_keeps_its_own_points(known_scene, tmp_path: Path) -> None:
    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.cloud.query import PointQuery
    from pointclouds.copc.writer import write_copc
    from pointclouds.pdal.handover import layout_of_cloud

    write_copc(known_scene.path, tmp_path / "pointcloud.copc.laz")
    cloud = open_cloud(tmp_path / "pointcloud.copc.laz")
    layout = layout_of_cloud(cloud)
    handed, output = tmp_path / "handed.las", tmp_path / "own.laz"
    write_cloud_points(cloud, PointQuery(), layout, handed, 100_000, lambda x, y: x < 84_030)
    ground = stages_of(make_step("ground", {"method": "csf"}), StepContext(layout.crs))
    job = Job((*ground, only_own()), layout, layout.crs, Stage("writers.las"))
    run_job(None, job, handed, output, Limits(60))
    found = laspy.read(output)
    numbers = np.asarray(found.gps_time).astype(int)
    assert set(numbers) == set(np.flatnonzero(np.round(known_scene.x, 3) < 30))
    assert _share_right(found, known_scene) > 0.95
    assert list(found.point_format.extra_dimension_names) == ["quality", "gain"]
    assert (np.asarray(found.quality) == numbers % 1000).all()
    source = ResultSource(output, layout.crs)
    assert [name for name, _ in source.description.extra] == ["quality", "gain"]
    nobody = tmp_path / "nobody.las"
    write_cloud_points(cloud, PointQuery(), layout, nobody, 100_000, lambda x, y: x < 0)
    with pytest.raises(NothingLeftError):
        run_job(None, job, nobody, tmp_path / "none.laz", Limits(60))
    assert not (tmp_path / "none.laz").exists()


def test_options_have_their_effect(run_steps: Run, known_scene) -> None:
    # Trees, roofs and noise are up to 90 m above the ground; what is ignored is none.
    high = run_steps(
        "ground:method=csf,threshold=200,smooth=false,iterations=100,ignore=Intensity[0:999],GpsTime(15000:]",
        pdal=None,
    )
    left_out = (np.asarray(high.intensity) < 1000) | (np.asarray(high.gps_time) > 15_000)
    assert ((np.asarray(high.classification) == 2) == ~left_out).all()
    # A cloth of one wide mesh does not follow the wave.
    coarse = run_steps("ground:method=csf,resolution=40,threshold=0.05,rigidness=1", pdal=None)
    assert 100 < (coarse.classification == 2).sum() < 0.7 * known_scene.is_ground.sum()


def _small(path: Path, xyz: np.ndarray, **dimensions: object) -> Path:
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales = [0.001] * 3
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    for name, values in dimensions.items():
        setattr(las, name, values)
    las.write(path)
    return path


def test_noise_and_first_returns_are_no_ground(tmp_path: Path) -> None:
    flat = np.random.default_rng(2).uniform(0, 20, (2_000, 3)) * [1, 1, 0.001]
    codes = np.full(2_000, 6, np.uint8)
    codes[:100], codes[100:200] = 7, 18
    numbers = np.ones(2_000, np.uint8)
    returns = np.full(2_000, 1, np.uint8)
    numbers[200:300] = 2
    given = _small(
        tmp_path / "in.las", flat, classification=codes, return_number=returns, number_of_returns=numbers
    )
    find_ground(
        {"ignore": "Classification[7:7],Classification[18:18]"}, given, tmp_path / "out.las", Limits(30)
    )
    found = np.asarray(laspy.read(tmp_path / "out.las").classification)
    assert found[:100].tolist() == [7] * 100
    assert found[100:200].tolist() == [18] * 100
    assert found[200:300].tolist() == [1] * 100
    assert (found[300:] == 2).all()
    with pytest.raises(PipelineFailedError, match="no last returns"):
        find_ground({"ignore": "Z[:]"}, given, tmp_path / "none.las", Limits(30))
    assert not (tmp_path / "none.las").exists()


def test_one_point_is_no_crash(tmp_path: Path) -> None:
    given = _small(tmp_path / "in.las", np.array([[1.0, 2.0, 3.0]]))
    find_ground({}, given, tmp_path / "out.las", Limits(30))
    assert len(laspy.read(tmp_path / "out.las").points) == 1


def test_limits_hold_and_nothing_is_left_behind(tmp_path: Path) -> None:
    corners = np.array([[0.0, 0, 0], [900_000, 900_000, 1]])
    given = _small(tmp_path / "in.las", corners)
    output = tmp_path / "out.laz"
    with pytest.raises(PipelineFailedError, match="larger resolution"):
        find_ground({"resolution": 1.0}, given, output, Limits(30))
    with pytest.raises(PipelineLimitError, match=r"more memory than its 0\.49 GiB"):
        find_ground({"resolution": 200.0}, given, output, Limits(30, 500 * MEBIBYTE))
    with pytest.raises(PipelineLimitError, match=r"longer than its 0\.1 seconds"):
        find_ground({}, given, output, Limits(0.1))
    assert {path.name for path in tmp_path.iterdir()} == {"in.las"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Classification[7:7]", [("classification", 1.0, 7, 7, True, True, False)]),
        ("Z!(1.5:]", [("z", 1.0, 1.5, None, False, True, True)]),
        (
            "ScanAngleRank[:-20), gain[ 2 : 3 ]",
            [("scan_angle", 0.006, None, -20, True, False, False), ("gain", 1.0, 2, 3, True, True, False)],
        ),
    ],
)
def test_ranges_are_pdals(text: str, found: list[tuple[object, ...]]) -> None:
    limit = 1.7976931348623157e308
    names = ("name", "factor", "low", "high", "low_in", "high_in", "negated")
    expected = [dict(zip(names, one, strict=True)) for one in found]
    for one in expected:
        one["low"] = -limit if one["low"] is None else one["low"]
        one["high"] = limit if one["high"] is None else one["high"]
    assert ignored_ranges(text) == expected


@pytest.mark.parametrize("text", ["Z[1:2]&X[0:1]", "Z", "/etc/passwd", "Z[a:b]"])
def test_ranges_that_are_refused(text: str) -> None:
    with pytest.raises(PipelineRefusedError, match="ranges with commas"):
        ignored_ranges(text)


def test_the_library_has_a_version() -> None:
    assert cloth_version().startswith("cloth-simulation-filter 1.")


@pytest.mark.acceptance
@pytest.mark.parametrize(("part", "agreement"), [(1, 0.97), (2, 0.965)])
def test_it_agrees_with_the_producer_of_ahn3(
    sample_data: Path, tmp_path: Path, part: int, agreement: float
) -> None:
    path = sample_data / f"delft/ahn3/ahn3_cropped_{part}.laz"
    source = LasSource(path, pyproj.CRS("EPSG:7415"))
    layout = layout_of(source.description, pyproj.CRS("EPSG:7415"))
    write_source_points(source, layout, tmp_path / "in.las", 10_000_000)
    (stage,) = stages_of(parse_step("ground:method=csf"), StepContext(layout.crs))
    find_ground(stage.options, tmp_path / "in.las", tmp_path / "out.las", Limits(120))
    theirs = np.asarray(laspy.read(path).classification) == 2
    ours = np.asarray(laspy.read(tmp_path / "out.las").classification) == 2
    assert (ours == theirs).mean() > agreement
    assert (ours & theirs).sum() > 0.985 * theirs.sum()
