"""A surface whose heights are known everywhere: a slope with a house and a tree, 130,000 points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointclouds.cloud.cloud import open_cloud
from pointclouds.rasters import PointRaster

EDGE = 80.0
WEST, SOUTH = 84_900.3, 447_500.7


@dataclass(frozen=True)
class Slope:
    """The cloud, its points, and what it was made of."""

    path: Path
    x: Any
    y: Any
    z: Any
    codes: Any
    intensity: Any
    returns: Any
    withheld: Any

    @staticmethod
    def ground(x: Any, y: Any) -> Any:
        """The height of the slope."""
        return 3.0 + 0.10 * (x - WEST) + 0.05 * (y - SOUTH)

    @staticmethod
    def in_house(x: Any, y: Any, margin: float = 0.0) -> Any:
        """20 x 20 m in the middle, 10 m high; its roof is flat."""
        return (np.abs(x - WEST - 40) < 10 - margin) & (np.abs(y - SOUTH - 40) < 10 - margin)

    def raster(self, **options: Any) -> PointRaster:
        return PointRaster(open_cloud(self.path), **options)


@pytest.fixture(scope="session")
def slope(tmp_path_factory: pytest.TempPathFactory, write_points: Callable[..., Path]) -> Slope:
    random = np.random.default_rng(11)
    count = 130_000
    x = np.round(WEST + random.uniform(0, EDGE, count), 3)
    y = np.round(SOUTH + random.uniform(0, EDGE, count), 3)
    house = Slope.in_house(x, y)
    z = np.where(house, 20.0, Slope.ground(x, y))
    codes = np.where(house, 6, 2)
    returns = np.ones(count, int)
    # A tree: first returns at 4 to 8 m over the ground, and the last ones of the same pulses on it.
    tree = np.hypot(x - WEST - 65, y - SOUTH - 65) < 6
    first = tree & (random.uniform(size=count) < 0.5)
    z[first] += random.uniform(4, 8, int(first.sum()))
    codes[first] = 5
    returns[tree & ~first] = 2
    noise = random.uniform(size=count) < 0.001
    z[noise], codes[noise] = 90.0, 18
    withheld = (random.uniform(size=count) < 0.001) & ~noise
    z[withheld] = 70.0
    intensity = random.integers(0, 4000, count)
    path = write_points(
        tmp_path_factory.mktemp("slope") / "slope.copc.laz",
        x, y, z, classification=codes, intensity=intensity, return_number=returns, number_of_returns=2,
        withheld=withheld.astype(int),
    )  # fmt: skip
    return Slope(path, x, y, np.round(z, 3), codes, intensity, returns, withheld)
