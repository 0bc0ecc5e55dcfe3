"""The real PDAL, and a scene whose ground is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import numpy.typing as npt
import pyproj
import pytest

from pointclouds.pdal import Limits, Pdal, Stage, find_pdal
from pointclouds.pdal.handover import Layout, las_writer, layout_of, write_source_points
from pointclouds.pdal.parts import Job, run_job
from pointclouds.pdal.steps import StepContext, crs_after, parse_step, stages_of
from pointclouds.sources import LasSource

Floats = npt.NDArray[np.float64]
CRS = "EPSG:28992+5709"
SIZE = 60.0
ORIGIN = (84_000.0, 447_000.0)


@pytest.fixture(scope="session")
def pdal(pdal_command: str) -> Pdal:
    """The real PDAL."""
    found = find_pdal(pdal_command)
    assert found is not None, f"{pdal_command} does not answer"
    return found


def ground_height(x: Floats, y: Floats) -> Floats:
    """A slope with a wave, metres; x and y from the corner of the scene."""
    return np.asarray(2 + 0.03 * x + 0.5 * np.sin(y / 15))


@dataclass(frozen=True)
class KnownScene:
    """A scan: `x`, `y` from its corner, `z`, which points are ground, which lie far above; GPS time is a point's number."""

    path: Path
    x: Floats
    y: Floats
    z: Floats
    is_ground: npt.NDArray[np.bool_]
    is_noise: npt.NDArray[np.bool_]


@pytest.fixture(scope="session")
def known_scene(tmp_path_factory: pytest.TempPathFactory) -> KnownScene:
    random = np.random.default_rng(11)
    count = 16_000
    x, y = random.uniform(0, SIZE, count), random.uniform(0, SIZE, count)
    ground = ground_height(x, y)
    roof = ((x // 15) % 2 == 1) & ((y // 15) % 2 == 1)
    tree = (random.uniform(size=count) < 0.1) & ~roof
    noise = np.arange(count) < 12
    z = ground + np.where(roof, 8.0, 0.0) + np.where(tree, random.uniform(2, 6, count), 0.0)
    z += random.normal(0, 0.02, count) + np.where(noise, random.uniform(60, 90, count), 0.0)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [*ORIGIN, 0]
    header.add_crs(pyproj.CRS(CRS))
    header.add_extra_dim(laspy.ExtraBytesParams("quality", "u2"))
    header.add_extra_dim(
        laspy.ExtraBytesParams("gain", "i2", scales=np.array([0.5]), offsets=np.array([3.0]))
    )
    las = laspy.LasData(header)
    las.x, las.y, las.z = x + ORIGIN[0], y + ORIGIN[1], z
    las.gps_time = np.arange(count, dtype=np.float64)
    las.return_number = las.number_of_returns = np.ones(count, np.uint8)
    las.classification = np.full(count, 5, np.uint8)
    las.intensity = np.arange(count) % 5000
    las.quality = np.arange(count) % 1000
    las.gain = np.arange(count) % 100
    path = tmp_path_factory.mktemp("scene") / "scene.laz"
    las.write(path)
    return KnownScene(path, x, y, z, ~roof & ~tree & ~noise, noise)


@dataclass(frozen=True)
class Handed:
    """The scene as PDAL gets it."""

    path: Path
    layout: Layout


@pytest.fixture(scope="session")
def handed(known_scene: KnownScene, tmp_path_factory: pytest.TempPathFactory) -> Handed:
    source = LasSource(known_scene.path)
    layout = layout_of(source.description, source.description.crs or pyproj.CRS(CRS))
    path = tmp_path_factory.mktemp("handed") / "handed.las"
    assert write_source_points(source, layout, path, 100_000) == len(known_scene.x)
    return Handed(path, layout)


RunStages = Callable[..., laspy.LasData]


@pytest.fixture
def run_stages(pdal: Pdal, handed: Handed, tmp_path: Path) -> RunStages:
    """Run stages on the scene: run_stages([Stage(...)], limits=..., files=...) -> what came out. pdal=None: without it."""

    def run(stages: Sequence[Stage], crs: pyproj.CRS | None = None, **options: Any) -> laspy.LasData:
        output = tmp_path / "out.laz"
        coloured, after = options.pop("coloured", False), crs or handed.layout.crs
        writer = las_writer(handed.layout, after, stages, coloured=coloured)
        job = Job(tuple(stages), handed.layout, after, writer, coloured, options.pop("files", {}))
        limits = options.pop("limits", Limits(seconds=60))
        run_job(options.pop("pdal", pdal), job, options.pop("handed", handed.path), output, limits, **options)
        return laspy.read(output)

    return run


@pytest.fixture
def run_steps(run_stages: RunStages, handed: Handed) -> RunStages:
    """Run ready steps on the scene: run_steps("ground", "height") -> what came out."""

    def run(*texts: str, **options: Any) -> laspy.LasData:
        steps = [parse_step(text) for text in texts]
        stages = [stage for step in steps for stage in stages_of(step, StepContext(handed.layout.crs))]
        return run_stages(stages, crs_after(steps, handed.layout.crs), **options)

    return run
