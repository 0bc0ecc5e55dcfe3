"""The data set: building-like polygons in Shenzhen's extent, clustered as city blocks are, with eight attributes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

WEST, SOUTH, EAST, NORTH = 113.8, 22.65, 114.1, 22.85
KINDS = ("住宅", "商业", "办公", "工业", "学校", "医院", "仓储")
STREETS = (
    "深南大道",
    "滨海路",
    "科技园路",
    "前海路",
    "南山大道",
    "福永路",
    "沙井路",
    "西乡大道",
    "创业路",
    "宝安大道",
)
_BATCH = 20_000


def _corners(random: np.random.Generator, count: int) -> np.ndarray:
    """Closed rings, shape (count, 7, 2): irregular hexagons of 8 to 35 metres' reach."""
    blocks = random.uniform((WEST + 0.01, SOUTH + 0.01), (EAST - 0.01, NORTH - 0.01), (400, 2))
    scattered = random.uniform((WEST, SOUTH), (EAST, NORTH), (count, 2))
    clustered = blocks[random.integers(0, 400, count)] + random.normal(0, (0.004, 0.003), (count, 2))
    centres = np.where(random.random((count, 1)) < 0.6, clustered, scattered)
    centres = np.clip(centres, (WEST + 4e-4, SOUTH + 4e-4), (EAST - 4e-4, NORTH - 4e-4))
    turn = random.uniform(0, 2 * np.pi, (count, 1))
    angles = turn + np.arange(6) * (np.pi / 3)
    reach = random.uniform(8e-5, 3e-4, (count, 1)) * random.uniform(0.7, 1.0, (count, 6))
    ring = centres[:, None, :] + np.stack((np.cos(angles) * reach, np.sin(angles) * reach), axis=2)
    return np.round(np.concatenate((ring, ring[:, :1]), axis=1), 7)


def batches(count: int, seed: int = 20260101) -> Iterator[tuple[Any, dict[str, list[Any]]]]:
    """Polygons and columns, 20,000 at a time; equal for equal arguments."""
    random = np.random.default_rng(seed)
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        polygons = shapely.polygons(_corners(random, size))
        kind, street = random.integers(0, len(KINDS), size), random.integers(0, len(STREETS), size)
        number = random.integers(1, 999, size)
        height = np.round(random.gamma(3, 8, size) + 3, 1)
        day = random.integers(0, 700, size)
        yield (
            polygons,
            {
                "name": [
                    f"{STREETS[s]}{n}号{KINDS[k]}楼" for s, n, k in zip(street, number, kind, strict=True)
                ],
                "address": [f"深圳市宝安区{STREETS[s]}{n}号" for s, n in zip(street, number, strict=True)],
                "kind": [KINDS[k] for k in kind],
                "height": height.tolist(),
                "floors": np.maximum(1, (height / 3.2).astype(int)).tolist(),
                "year_built": random.integers(1980, 2026, size).tolist(),
                "energy": np.round(random.uniform(20, 400, size), 2).tolist(),
                "updated": [str(np.datetime64("2024-01-01") + np.timedelta64(int(d), "D")) for d in day],
            },
        )


def plain_geopackage(store: Path, target: Path) -> None:
    """The same features as a GeoPackage of OGR's own making, for the peers."""
    if target.exists():
        return
    query = (
        "SELECT CAST(id AS INTEGER) AS gid, geom, name, address, kind, height, floors, year_built, energy, updated "
        "FROM feature"
    )
    aside = target.with_name("unfinished.gpkg")
    aside.unlink(missing_ok=True)
    command = ["ogr2ogr", "-f", "GPKG", str(aside), str(store), "-dialect", "SQLITE", "-sql", query]
    command += ["-nln", "buildings", "-lco", "FID=id", "-lco", "SPATIAL_INDEX=YES"]
    subprocess.run(command, check=True)
    aside.rename(target)
