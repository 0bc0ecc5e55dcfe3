"""Footprints of an embedded store to 3D Tiles on disk: buildings a CPU-second, bytes a building, memory of all processes.

    python -m benchmarks.three_d_build --count 100000
    python -m benchmarks.three_d_build --count 1000000 --processes 2     # the acceptance test's size

The CPU time is that of this process and of those it starts, from opening the store to the last file; the store is made before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.features.schema import FieldDefinition
from providers.features.store.writer import FeatureStoreWriter
from providers.three_d.footprints import FootprintRecipe
from providers.three_d.object_features import FeaturesAt
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.build_tile import TileOptions
from tiles.three_d.glb import GlbOptions

_BATCH = 20_000
_WEST, _SOUTH = 113.8, 22.5
_USES = ("residential", "commercial", "office", "industrial", "school", "hospital")
_STREETS = ("深南大道", "滨海路", "科技园路", "前海路", "南山大道", "福永路", "沙井路", "西乡大道")
FIELDS = (
    FieldDefinition("height", "number"),
    FieldDefinition("levels", "integer"),
    FieldDefinition("use", "string"),
    FieldDefinition("street", "string"),
    FieldDefinition("year_built", "integer"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. `peak_memory_mb` is the sum over all processes at its highest (proportional set size)."""

    buildings: int
    tiles: int
    cpu_seconds: float
    wall_seconds: float
    buildings_per_cpu_second: float
    gzip_bytes_per_building: float
    bytes_per_building: float
    peak_memory_mb: float


def houses(random: np.random.Generator, count: int, side: float) -> NDArray[np.object_]:
    """Star-shaped houses (n,) of 4 to 8 corners and 8 to 35 m, spread over `side` degrees."""
    centres = np.array([_WEST, _SOUTH]) + random.uniform(0.0, side, (count, 2))
    corners = random.integers(4, 9, count)
    reach = random.uniform(4e-5, 1.8e-4, count)
    turn = random.uniform(0.0, 2.0 * np.pi, count)
    owner = np.repeat(np.arange(count), corners)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(corners) - corners, corners)
    angle = turn[owner] + number * 2.0 * np.pi / corners[owner]
    far = reach[owner] * random.uniform(0.75, 1.0, len(owner))
    xy = np.round(centres[owner] + np.column_stack((np.cos(angle), np.sin(angle))) * far[:, None], 8)
    return np.asarray(shapely.polygons(shapely.linearrings(xy, indices=owner)))


def write_store(path: Path, count: int, seed: int = 20260101) -> None:
    """An embedded store of `count` houses, as dense as a city; equal for equal arguments."""
    random = np.random.default_rng(seed)
    side = 0.3 * (count / 100_000) ** 0.5
    with FeatureStoreWriter(path, fields=FIELDS, storage_crs="OGC:CRS84") as writer:
        for start in range(0, count, _BATCH):
            size = min(_BATCH, count - start)
            height = np.round(random.gamma(3.0, 5.0, size) + 3.0, 1)
            use, street = random.integers(0, len(_USES), size), random.integers(0, len(_STREETS), size)
            columns = {
                "height": height,
                "levels": np.maximum(1, height // 3.2).astype(np.int64),
                "use": [_USES[number] for number in use],
                "street": [_STREETS[number] for number in street],
                "year_built": random.integers(1950, 2026, size),
            }
            writer.add(houses(random, size, side), columns, [f"b{start + n}" for n in range(size)])
        writer.finish()


def measure(generation: Path, processes: int | None) -> Figures:
    """Build the tileset of `<generation>/features.gpkg`."""
    for name in ("3dtiles", "scene"):
        shutil.rmtree(generation / name, ignore_errors=True)
    recipe = FootprintRecipe(FeaturesAt(generation), height_field="height")
    options = BuildOptions(TileOptions(GlbOptions(attribution="benchmark")), processes=processes)
    with _Memory() as memory:
        cpu, wall = _cpu_seconds(), time.perf_counter()
        summary = build_tileset(generation / "3dtiles", generation / "scene", recipe, options)
        wall = time.perf_counter() - wall
        cpu = _cpu_seconds() - cpu
    count = summary.feature_count
    return Figures(
        buildings=count,
        tiles=summary.tile_count,
        cpu_seconds=round(cpu, 2),
        wall_seconds=round(wall, 2),
        buildings_per_cpu_second=round(count / cpu),
        gzip_bytes_per_building=round(summary.gzip_bytes / count, 1),
        bytes_per_building=round(summary.bytes / count, 1),
        peak_memory_mb=round(memory.peak / 2**20, 1),
    )


def _cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class _Memory:
    """Watches the memory of this process and its children; pages that they share count once."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.peak = max(self.peak, sum(map(_own_bytes, _family())))


def _family() -> list[int]:
    """This process and all below it."""
    found = [os.getpid()]
    for number in found:
        for task in Path(f"/proc/{number}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _own_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    # Pages of files (the store, the plan) are the kernel's cache: it takes them back when others need memory.
    wanted = [line.split()[1] for line in lines if line.startswith("Pss_Anon:")]
    return sum(map(int, wanted)) * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100_000, help="buildings")
    parser.add_argument("--processes", type=int, help="at most so many; one a core otherwise")
    parser.add_argument(
        "--folder", type=Path, help="where the store is made, and kept; a temporary folder otherwise"
    )
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        generation = (asked.folder or Path(temporary)) / f"houses-{asked.count}"
        generation.mkdir(parents=True, exist_ok=True)
        if not (generation / "features.gpkg").exists():
            write_store(generation / "features.gpkg", asked.count)
        print(json.dumps(asdict(measure(generation, asked.processes)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
