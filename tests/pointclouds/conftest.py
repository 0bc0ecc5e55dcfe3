"""Synthetic scans, and helpers to look into what is built from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest

from pointclouds.copc.writer import write_copc

MakeScan = Callable[..., Path]


def _fill(las: laspy.LasData, count: int, seed: int, origin: tuple[float, float, float], size: float) -> None:
    """A slope with boxes on it, in flight lines of rising GPS time."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, size, count)
    y = random.uniform(0, size, count)
    roof = (np.floor(x / size * 8) % 2 == 0) & (np.floor(y / size * 8) % 2 == 0)
    z = 0.05 * x + np.where(roof, size / 12, 0) + random.normal(0, 0.02, count)
    las.x, las.y, las.z = x + origin[0], y + origin[1], z + origin[2]
    las.intensity = random.integers(0, 4000, count)
    las.number_of_returns = random.integers(1, 6, count)
    las.return_number = np.minimum(random.integers(1, 6, count), las.number_of_returns)
    las.classification = np.where(roof, 6, 2)
    las.user_data = random.integers(0, 255, count)
    las.point_source_id = random.integers(1, 4, count)
    las.scan_direction_flag = random.integers(0, 2, count)
    las.edge_of_flight_line = random.integers(0, 2, count)
    las.synthetic = random.integers(0, 2, count)
    las.withheld = random.integers(0, 2, count)
    names = set(las.point_format.dimension_names)
    angle = "scan_angle_rank" if "scan_angle_rank" in names else "scan_angle"
    las[angle] = random.integers(-20, 20, count)
    if "gps_time" in names:
        las.gps_time = np.sort(random.uniform(1e5, 2e5, count))
    for name in {"red", "green", "blue", "nir"} & names:
        las[name] = random.integers(0, 65535, count)
    for name in las.point_format.extra_dimension_names:
        las[name] = random.integers(0, 100, (count, 3) if las[name].ndim > 1 else count)


@pytest.fixture(scope="session")
def make_scan() -> MakeScan:
    """Write a LAS or LAZ file: make_scan(path, count=..., point_format=..., version=..., crs=..., extra=[...])."""

    def make(
        path: Path,
        count: int = 2000,
        point_format: int = 1,
        version: str = "1.2",
        *,
        crs: str | None = "EPSG:28992",
        extra: list[tuple[str, str]] | None = None,
        scale: float = 0.001,
        origin: tuple[float, float, float] = (84900.0, 447500.0, 2.0),
        size: float = 100.0,
        seed: int = 7,
    ) -> Path:
        header = laspy.LasHeader(point_format=point_format, version=version)
        header.scales, header.offsets = [scale] * 3, [float(np.floor(value)) for value in origin]
        for name, kind in extra or []:
            header.add_extra_dim(laspy.ExtraBytesParams(name, kind))
        if crs is not None:
            header.add_crs(pyproj.CRS(crs))
        las = laspy.LasData(header)
        if count:
            las.points = laspy.ScaleAwarePointRecord.zeros(count, header=header)
            _fill(las, count, seed, origin, size)
        las.write(path)
        return path

    return make


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory, make_scan: MakeScan) -> Path:
    """A LAZ of 60,000 points, format 3, RD New."""
    return make_scan(tmp_path_factory.mktemp("scan") / "scan.laz", 60_000, point_format=3)


@pytest.fixture(scope="session")
def copc(tmp_path_factory: pytest.TempPathFactory, scan: Path) -> Path:
    """The scan as COPC, with heights above NAP; never to be changed."""
    path = tmp_path_factory.mktemp("copc") / "scan.copc.laz"
    write_copc(scan, path, crs="EPSG:7415")
    return path


@pytest.fixture(scope="session")
def sorted_points() -> Callable[..., np.ndarray[Any, Any]]:
    """All points of a file as sorted rows of the named laspy dimensions, for comparing sets of points."""

    def rows(source: Path | Any, names: list[str]) -> np.ndarray[Any, Any]:
        las = laspy.read(source) if isinstance(source, Path) else source
        columns = np.stack([np.asarray(las[name], np.float64) for name in names], axis=1)
        return columns[np.lexsort(columns.T)]

    return rows
