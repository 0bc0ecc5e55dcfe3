"""Publish rasters: a cloud-optimised GeoTIFF, and a terrain where one is asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_BaseError  # what rasterio lets through of GDAL has no public name
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from server.publish.building import TILE_MATRIX_SETS, Built, Task
from server.publish.errors import CrsError, DamagedFile, EmptyDataset, OptionError
from server.publish.failures import probe_storage
from server.publish.formats import RASTER_DRIVERS
from server.publish.gdal_messages import hear_gdal
from server.publish.inputs import Input
from server.publish.reference_systems import (
    bounds_in_crs84,
    crs_identifier,
    identified_crs,
    required_crs,
    stored_crs,
)
from server.publish.scenes import vertical_reference
from server.publish.styles import chosen_style
from server.registry.catalogue import Representation, RepresentationKind

COVERAGE_FILE = "coverage.tif"
TERRAIN_FOLDER = "terrain"
TERRAIN_FILE = "terrain/layer.json"
_CREATION = {
    "driver": "COG",
    "COMPRESS": "DEFLATE",
    "PREDICTOR": "YES",
    "BLOCKSIZE": "512",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "2",
    "STATISTICS": "NO",
}


def build_raster(task: Task) -> Built:
    """Write the input as a COG and describe it. Raises PublishError and its kinds, and TerrainError."""
    if len(task.inputs) > 1:
        raise OptionError(
            f"One raster file makes a collection; {len(task.inputs)} were given. Merge them first (gdal_merge.py, "
            "rio merge), or publish them one by one."
        )
    item = task.inputs[0]
    task.stage("reading")
    path = task.folder / COVERAGE_FILE
    with _gdal_errors(item, task.folder), ExitStack() as stack:
        source = stack.enter_context(rasterio.open(item.path))
        _check_driver(source, item)
        notes: list[str] = []
        prepared, crs, bounds84 = _prepared(stack, source, item, task, notes)
        task.stage("coverage")
        _write_cog(prepared, path)
        task.stage("coverage", 0.5)
    with _gdal_errors(item, task.folder), rasterio.open(path) as coverage:
        properties = _describe(coverage, task, item, crs_identifier(crs))
        kind = _map_kind(coverage, is_terrain=task.request.scene.terrain)
    style = chosen_style(task.request, kind, task.settings)
    built = Built(
        bbox=bounds84,
        storage_crs=crs_identifier(crs),
        representations=[
            Representation(RepresentationKind.COVERAGE, COVERAGE_FILE, 0, 0, properties),
            Representation(
                RepresentationKind.MAP,
                COVERAGE_FILE,
                0,
                0,
                {"style": style, "tile_matrix_sets": TILE_MATRIX_SETS},
            ),
        ],
        warnings=notes,
    )
    if task.request.scene.terrain:
        _add_terrain(task, built, path, len(properties["bands"]))
    return built


@contextmanager
def _gdal_errors(item: Input, folder: Path) -> Iterator[None]:
    """Give GDAL's errors our names; errors GDAL only logs count too, because it goes on with half a picture.

    Whether a failed copy ran out of space in `folder` GDAL does not say: that is tried out. Raises DamagedFile, OSError.
    """
    with warnings.catch_warnings(), hear_gdal("rasterio") as heard:
        # What has no place on Earth is refused with words of ours.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, CPLE_BaseError) as error:
            probe_storage(folder)
            raise _failure(item, heard.errors[0] if heard.errors else str(error)) from error
        if heard.errors:
            probe_storage(folder)
            raise _failure(item, heard.errors[0])


def _failure(item: Input, said: str) -> DamagedFile:
    said = " ".join(said.split()).replace(str(item.path), item.name)
    return DamagedFile(f"{item.name} cannot be read as a raster: it is truncated or damaged (GDAL: {said}).")


def _check_driver(source: Any, item: Input) -> None:
    """Refuse what could name other files or servers, and containers of several rasters. Raises OptionError."""
    if source.driver not in RASTER_DRIVERS:
        raise OptionError(
            f"{item.name} is of GDAL's driver {source.driver}, which is not published. Allowed: {', '.join(RASTER_DRIVERS)}."
        )
    if source.count == 0:
        raise EmptyDataset(
            f"{item.name} has no bands of its own ({len(source.subdatasets)} rasters are inside). Convert one of them to "
            "GeoTIFF, and publish that."
        )


def _prepared(
    stack: ExitStack, source: Any, item: Input, task: Task, notes: list[str]
) -> tuple[Any, pyproj.CRS, tuple[float, float, float, float]]:
    """The dataset to copy: north up, with its CRS and nodata said; its CRS and its box in CRS84."""
    if any(name.startswith("complex") for name in source.dtypes):
        raise OptionError(
            f"{item.name} holds complex numbers, which are not served. Publish a real part or amplitude."
        )
    points, points_crs = source.gcps
    crs = stored_crs(
        required_crs(_crs_of(source.crs or points_crs, item), task.request.reading.crs, item.name)
    )
    rotated = source.transform.b != 0 or source.transform.d != 0
    if source.transform.is_identity and not points:
        raise CrsError(
            f"{item.name} says no place on Earth: it has neither a geotransform nor ground control points. Publish it with a "
            "world file beside it."
        )
    wkt = crs.to_wkt()
    if points or rotated or source.transform.e > 0:
        how = "ground control points" if points else "a rotated or south-up grid"
        notes.append(f"{item.name} has {how}: it was resampled to a grid with north up.")
        prepared = stack.enter_context(
            WarpedVRT(
                source,
                src_crs=wkt,
                crs=wkt,
                src_nodata=_nodata(source),
                nodata=_nodata(source),
                add_alpha=False,
            )
        )
    else:
        prepared = _virtual_copy(stack, source, task.workspace / "source.vrt", wkt)
    bounds = bounds_in_crs84(prepared.bounds, crs, item.name)
    return prepared, crs, bounds


def _crs_of(found: Any, item: Input) -> pyproj.CRS | None:
    if not found:
        return None
    try:
        return identified_crs(pyproj.CRS.from_wkt(found.to_wkt()))
    except CRSError as error:
        raise CrsError(f"The CRS of {item.name} is not understood. Name the right one with --crs.") from error


def _nodata(source: Any) -> float | None:
    """The nodata value said in the file; NaN for floating point without one, because NaN never is data."""
    if source.nodata is None and source.dtypes[0].startswith("float"):
        return math.nan
    value: float | None = source.nodata
    return value


def _virtual_copy(stack: ExitStack, source: Any, path: Path, wkt: str) -> Any:
    """The same pixels by reference, with CRS and nodata set: the COG driver copies what the dataset says."""
    rasterio.shutil.copy(source, path, driver="VRT")
    with rasterio.open(path, "r+") as opened:
        opened.crs = rasterio.crs.CRS.from_wkt(wkt)
        nodata = _nodata(source)
        if nodata is not None:
            opened.nodata = nodata
    return stack.enter_context(rasterio.open(path))


def _write_cog(source: Any, path: Path) -> None:
    categories = source.colorinterp[0] is ColorInterp.palette
    rasterio.shutil.copy(
        source, path, **_CREATION, OVERVIEW_RESAMPLING="NEAREST" if categories else "AVERAGE"
    )


def _describe(coverage: Any, task: Task, item: Input, crs_uri: str) -> dict[str, Any]:
    """Properties of the COVERAGE representation; reads every block once, for the exact range of each band."""
    low = np.full(coverage.count, np.inf)
    high = np.full(coverage.count, -np.inf)
    blocks = [window for _, window in coverage.block_windows(1)]
    for number, window in enumerate(blocks, 1):
        _extend_range(coverage.read(window=window, masked=True), low, high)
        if number % 16 == 0 or number == len(blocks):
            task.stage("coverage", 0.5 + 0.5 * number / len(blocks))
    if not (low <= high).any():
        raise EmptyDataset(f"{item.name} has no data: every pixel is nodata.")
    return {
        "dtype": coverage.dtypes[0],
        "bands": [
            _band(coverage, index, float(low[index]), float(high[index])) for index in range(coverage.count)
        ],
        "width": coverage.width,
        "height": coverage.height,
        "resolution": [abs(value) for value in coverage.res],
        "crs": crs_uri,
    }


def _extend_range(block: Any, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    for index, band in enumerate(block):
        values = band.compressed()
        values = values[np.isfinite(values)]
        if len(values):
            low[index] = min(low[index], float(values.min()))
            high[index] = max(high[index], float(values.max()))


def _band(coverage: Any, index: int, low: float, high: float) -> dict[str, Any]:
    nodata = coverage.nodatavals[index]
    return {
        "name": str(index + 1),
        "title": coverage.descriptions[index] or f"Band {index + 1}",
        "unit": coverage.units[index] or None,
        # JSON has no NaN.
        "nodata": "NaN" if nodata is not None and math.isnan(nodata) else nodata,
        "minimum": low if low <= high else None,
        "maximum": high if low <= high else None,
    }


def _map_kind(coverage: Any, *, is_terrain: bool) -> str:
    """Which default style: "dem" for heights, "raster" for one band of anything else, "image" for pictures."""
    if coverage.count > 1 or coverage.colorinterp[0] is ColorInterp.palette:
        return "image"
    return "dem" if is_terrain or coverage.dtypes[0].startswith("float") else "raster"


def _add_terrain(task: Task, built: Built, coverage: Path, bands: int) -> None:
    if bands != 1:
        raise OptionError(f"A terrain is made of a raster with one band of heights; this one has {bands}.")
    from tiles.terrain import build_terrain

    task.stage("terrain")
    summary = build_terrain(
        task.folder / TERRAIN_FOLDER,
        coverage,
        vertical=vertical_reference(task.request.scene),
        attribution=task.request.attribution,
        report=lambda done, total: task.stage("terrain", done / total if total else 1.0),
    )
    built.bbox = tuple(summary.bbox84h)
    built.representations.append(
        Representation(
            RepresentationKind.TERRAIN,
            TERRAIN_FILE,
            0,
            0,
            {
                "min_zoom": summary.min_zoom,
                "max_zoom": summary.max_zoom,
                "height_reference": summary.height_reference,
            },
        )
    )
