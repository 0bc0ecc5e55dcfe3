"""Surfaces of geological layers as rasters: one coverage of all of them, and their layers as volumes in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.publish.building import Built, Task
from server.publish.errors import DamagedFile, OptionError
from server.publish.formats import FORMATS
from server.publish.inputs import Input
from server.publish.raster_cogs import write_cog

LAYERS_FILE = "layers.tif"


def build_layers(task: Task) -> Built:
    """Write the surfaces as the bands of one COG, from above, and the layers between them as a 3D tileset.

    Several files become one on the grid of the first, in the order in which they were given. Raises OptionError where they
    are no surfaces, and what writing a coverage raises.
    """
    from server.publish.rasters import COVERAGE_FILE, single_coverage
    from server.publish.scenes import scene_of
    from server.publish.underground import prepare_layers

    if task.request.scene.underground.kind != "geology":
        raise OptionError(
            f"--underground {task.request.scene.underground.kind} is made of features; of rasters it makes geology."
        )
    item = task.inputs[0] if len(task.inputs) == 1 else _stacked(task)
    notes: list[str] = []
    cog = write_cog(
        item, task.folder / COVERAGE_FILE, task.request, task.settings, task.workspace,
        lambda fraction: task.stage("coverage", fraction), notes,
    )  # fmt: skip
    built = single_coverage(task, cog, notes)
    prepared = prepare_layers([task.folder / COVERAGE_FILE], task.request.scene, task.folder)
    scene = scene_of(task, prepared.recipe)
    built.representations.append(scene.representation)
    built.bbox = scene.bbox
    built.warnings += [*prepared.warnings, *scene.warnings]
    return built


def _stacked(task: Task) -> Input:
    """All bands of all inputs as one raster on the grid of the first, gaps as NaN. Raises OptionError, DamagedFile."""
    import numpy as np
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.vrt import WarpedVRT

    target = task.workspace / LAYERS_FILE
    try:
        with rasterio.open(task.inputs[0].path) as first:
            if first.crs is None and task.request.reading.crs is None:
                raise OptionError(f"{task.inputs[0].name} has no CRS. Name it with --crs.")
            crs = first.crs or rasterio.crs.CRS.from_user_input(task.request.reading.crs)
            counts = [_band_count(item.path) for item in task.inputs]
            profile = {
                "driver": "GTiff", "dtype": "float32", "count": sum(counts), "crs": crs, "nodata": np.nan,
                "transform": first.transform, "width": first.width, "height": first.height,
                "tiled": True, "compress": "deflate", "BIGTIFF": "IF_SAFER",
            }  # fmt: skip
            grid = {"crs": crs, "transform": first.transform, "width": first.width, "height": first.height}
            with rasterio.open(target, "w", **profile) as stack:
                band = 0
                for item in task.inputs:
                    with rasterio.open(item.path) as source:
                        own = source.crs or crs
                        with WarpedVRT(source, src_crs=own, resampling=Resampling.bilinear, **grid) as warped:
                            for number in range(1, source.count + 1):
                                band += 1
                                _copy_band(warped, number, stack, band, source.scales, source.offsets)
                                stack.set_band_description(band, _described(source, number, item.path))
    except RasterioError as error:
        raise DamagedFile(f"The surfaces of the layers cannot be read: {error}.") from error
    return Input(target, FORMATS["raster"], f"{task.inputs[0].name} and {len(task.inputs) - 1} more")


def _band_count(path: Path) -> int:
    import rasterio

    with rasterio.open(path) as source:
        return int(source.count)


def _copy_band(
    source: Any, number: int, target: Any, band: int, scales: Sequence[float], offsets: Sequence[float]
) -> None:
    """Copy a band block by block, in metres, gaps as NaN. `source` and `target` are open rasterio datasets."""
    import numpy as np

    for _, window in target.block_windows(1):
        read = source.read(number, window=window, masked=True, out_dtype="float32")
        values = np.ma.filled(read, np.nan) * scales[number - 1] + offsets[number - 1]
        target.write(values.astype("float32"), band, window=window)


def _described(source: Any, number: int, path: Path) -> str:
    described = source.descriptions[number - 1]
    if described:
        return str(described)
    return path.stem if source.count == 1 else f"{path.stem} {number}"
