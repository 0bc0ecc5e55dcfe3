"""Terrain: quantized-mesh tiles with normals a CPU-second, whole job from a COG to files; beside it the same mesh simplifier with the
encoder of `quantized-mesh-encoder`, where that is installed; heights sampled a second.

`python -m benchmarks.terrain [FOLDER]` makes its elevation model once (6,000 x 6,000 pixels of 2 m) and prints one line a measurement.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import io
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from tiles.terrain import HeightSampler, TerrainTiles, build_terrain
from tiles.terrain.quantized_mesh import GRID
from tiles.terrain.tiling import GEOGRAPHIC

SIDE, PIXEL, LEVEL = 6_000, 2.0, 16
_STRIP = 500


def make_model(path: Path) -> None:
    """Write hills with rough ground on them as a COG, unless it is there."""
    if path.is_file():
        return
    random = np.random.default_rng(3)
    aside = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "float32", "crs": "EPSG:4547",
        "transform": from_origin(500_000.0, 3_380_000.0, PIXEL, PIXEL), "tiled": True,
    }  # fmt: skip
    with rasterio.open(aside, "w", **profile) as out:
        for top in range(0, SIDE, _STRIP):
            y, x = np.mgrid[top : top + _STRIP, 0:SIDE].astype("float32")
            heights = 300 + 80 * np.sin(x / 300) * np.cos(y / 420) + 20 * np.sin(x / 37 + y / 61)
            heights += random.normal(0, 0.3, heights.shape)
            out.write(heights.astype("float32"), 1, window=((top, top + _STRIP), (0, SIDE)))
    rasterio.shutil.copy(aside, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES")
    aside.unlink()


def cpu_seconds() -> float:
    """CPU time of this process and its ended children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a piece of work, and what it gave."""
    start = cpu_seconds()
    result = work()
    return cpu_seconds() - start, result


def ours(model: Path, folder: Path, processes: int) -> str:
    """The whole job, from a COG to files with their compressed siblings."""
    shutil.rmtree(folder, ignore_errors=True)
    seconds, summary = timed(lambda: build_terrain(folder, model, max_zoom=LEVEL, processes=processes))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"build, {processes} process(es): {summary.tile_count} tiles, {summary.tile_count / seconds:.0f} a CPU-second, "
        f"{summary.gzip_bytes / summary.tile_count:.0f} B each gzipped, {memory:.0f} MB"
    )


def peer(folder: Path) -> str:
    """The tiles of the deepest level by pymartini and quantized-mesh-encoder, from our samples: reading is not counted."""
    if importlib.util.find_spec("quantized_mesh_encoder") is None:
        return "quantized-mesh-encoder: not installed"
    from pymartini import Martini, rescale_positions

    # By name: type checkers do not have it, only the environment of a comparison.
    encode = importlib.import_module("quantized_mesh_encoder").encode
    normals_of = importlib.import_module("quantized_mesh_encoder.extensions").VertexNormalsExtension

    martini = Martini(GRID)
    with TerrainTiles.open(folder, whole=True) as terrain:
        one = terrain.availability().ranges(LEVEL)[0]
        places = [
            (x, y) for x in range(one.west + 4, one.west + 20) for y in range(one.south + 4, one.south + 20)
        ]
        samples = [terrain.surface.samples(GEOGRAPHIC, LEVEL, x, y, 1)[0] for x, y in places]
        error = terrain.error_of(LEVEL)

    def work() -> int:
        size = 0
        for sample in samples:
            heights = sample.heights[1:-1, 1:-1][::-1].astype("float32")
            vertices, triangles = martini.create_tile(heights).get_mesh(error)
            box = (sample.west, sample.south, sample.east, sample.north)
            positions = rescale_positions(vertices, heights, bounds=box)
            out = io.BytesIO()
            normals = normals_of(indices=triangles, positions=positions)
            encode(out, positions, triangles, bounds=box, extensions=(normals,))
            size += len(gzip.compress(out.getvalue(), 4))
        return size

    seconds, size = timed(work)
    return (
        f"pymartini + quantized-mesh-encoder (encoding and gzip only, edges not kept): {len(samples) / seconds:.0f} a CPU-second, "
        f"{size / len(samples):.0f} B each gzipped"
    )


def sampling(model: Path) -> str:
    """A million heights at random places of the model."""
    with rasterio.open(model) as dataset:
        west, south, east, north = dataset.bounds
        crs = dataset.crs.to_wkt()
    random = np.random.default_rng(1)
    places = np.column_stack((random.uniform(west, east, 10**6), random.uniform(south, north, 10**6)))
    with HeightSampler(model, crs) as sampler:
        first, _ = timed(lambda: sampler.heights(places))
        again, _ = timed(lambda: sampler.heights(places))
    return f"sampling: {1 / first:.1f} M places a CPU-second with reading, {1 / again:.1f} M from memory"


def main(folder: Path) -> None:
    """Run all and print."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "dem.tif"
    make_model(model)
    for processes in (1, 2):
        print(ours(model, folder / "terrain", processes), flush=True)
    print(peer(folder / "terrain"), flush=True)
    print(sampling(model), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir(), "chengtu-terrain"))
