"""One raster file to one valid cloud optimised GeoTIFF: what is refused, what is put right, and what it then holds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import rasterio.shutil
from pyproj.exceptions import CRSError
from rasterio._err import CPLE_BaseError  # what rasterio lets through of GDAL has no public name
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from server.publish.errors import BuildError, CrsError, DamagedFile, EmptyDataset, OptionError
from server.publish.failures import probe_storage
from server.publish.formats import RASTER_DRIVERS
from server.publish.gdal_messages import hear_gdal
from server.publish.inputs import Input
from server.publish.reference_systems import bounds_in_crs84, identified_crs, required_crs, stored_crs
from server.publish.request import PublishRequest
from server.settings import Settings
from tiles.rasters.datasets import FileFacts, file_facts, modified_ns
from tiles.rasters.statistics import file_statistics

_CREATION = {
    "driver": "COG",
    "COMPRESS": "DEFLATE",
    "PREDICTOR": "YES",
    "BLOCKSIZE": "256",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "2",
    "STATISTICS": "NO",
}
_MOST_BANDS = 1024


@dataclass(frozen=True, slots=True)
class Cog:
    """A file that was written. `bounds84` is its box in CRS84; `bands` are items of the registry's `bands`."""

    path: Path
    facts: FileFacts
    crs: pyproj.CRS
    bounds84: tuple[float, float, float, float]
    bands: list[dict[str, Any]]
    statistics: list[dict[str, Any]]
    when: str | None


def write_cog(
    item: Input,
    path: Path,
    request: PublishRequest,
    settings: Settings,
    workspace: Path,
    report: Callable[[float], None],
    notes: list[str],
) -> Cog:
    """Copy the input to a COG at `path`, check it and compute its statistics. `report` hears 0 to 1, and may raise.

    `notes` gets a sentence for everything that was put right. Raises InputError and its kinds, BuildError.
    """
    with gdal_errors(item, path.parent), ExitStack() as stack:
        source = stack.enter_context(rasterio.open(item.path))
        _check(source, item, settings)
        when = source.tags().get("TIFFTAG_DATETIME") or source.tags().get("ACQUISITIONDATETIME")
        prepared, crs, bounds84 = _prepared(stack, source, item, request, workspace, notes)
        report(0.0)
        copy_as_cog(prepared, path)
    report(0.5)
    check_cog(path, item.name)
    with gdal_errors(item, path.parent):
        facts = file_facts(path, modified_ns(path))
        statistics = file_statistics(path, lambda fraction: report(0.5 + fraction / 2))
    if not any(one["count"] for one in statistics):
        raise EmptyDataset(f"{item.name} has no data: every pixel is nodata.")
    return Cog(path, facts, crs, bounds84, band_properties(facts, statistics), statistics, when)


@contextmanager
def gdal_errors(item: Input, folder: Path) -> Iterator[None]:
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


def _check(source: Any, item: Input, settings: Settings) -> None:
    """Refuse what could name other files or servers, containers of several rasters, and what would not fit."""
    if source.driver not in RASTER_DRIVERS:
        raise OptionError(
            f"{item.name} is of GDAL's driver {source.driver}, which is not published. Allowed: {', '.join(RASTER_DRIVERS)}."
        )
    if source.count == 0:
        raise EmptyDataset(
            f"{item.name} has no bands of its own ({len(source.subdatasets)} rasters are inside). Convert one of them to "
            "GeoTIFF, and publish that."
        )
    if source.count > _MOST_BANDS:
        raise OptionError(
            f"{item.name} has {source.count:,} bands. Allowed are {_MOST_BANDS:,}: publish it in parts."
        )
    if any(name.startswith("complex") for name in source.dtypes):
        raise OptionError(
            f"{item.name} holds complex numbers, which are not served. Publish a real part or amplitude."
        )
    if len(set(source.dtypes)) > 1:
        raise OptionError(
            f"{item.name} has bands of several types ({', '.join(sorted(set(source.dtypes)))}). Publish those of each type on "
            "their own, or convert them to one."
        )
    declared = source.width * source.height * sum(np.dtype(name).itemsize for name in source.dtypes)
    check_declared_size(declared, item.path.stat().st_size, item.name, settings)


def check_declared_size(declared: int, stored: int, name: str, settings: Settings) -> None:
    """Refuse a file that unpacks to far more than its size lets expect. Raises DamagedFile."""
    limits = settings.publish
    if declared > limits.max_uncompressed_bytes and declared > stored * limits.max_compression_ratio:
        raise DamagedFile(
            f"{name} declares {declared / 1e9:,.1f} GB of pixels in a file of {stored / 1e6:,.1f} MB. Allowed are "
            f"{limits.max_uncompressed_bytes / 1e9:,.1f} GB (publish.max_uncompressed_bytes), or a ratio of "
            f"{limits.max_compression_ratio} (publish.max_compression_ratio)."
        )


def _prepared(
    stack: ExitStack, source: Any, item: Input, request: PublishRequest, workspace: Path, notes: list[str]
) -> tuple[Any, pyproj.CRS, tuple[float, float, float, float]]:
    """The dataset to copy: north up, with its CRS and nodata said; its CRS and its box in CRS84."""
    points, points_crs = source.gcps
    crs = stored_crs(required_crs(_crs_of(source.crs or points_crs, item), request.reading.crs, item.name))
    if source.transform.is_identity and not points:
        raise CrsError(
            f"{item.name} says no place on Earth: it has neither a geotransform nor ground control points. Publish it with a "
            "world file beside it."
        )
    _check_transform(source, item)
    wkt, nodata = crs.to_wkt(), _nodata(source, request.reading.nodata, item)
    rotated = source.transform.b != 0 or source.transform.d != 0
    mirrored = source.transform.e > 0 or source.transform.a < 0
    if points or rotated or mirrored:
        how = "ground control points" if points else "a rotated or south-up grid"
        notes.append(f"{item.name} has {how}: it was resampled to a grid with north up.")
        # Without a nodata value nothing else would tell the corners that the turned grid does not reach.
        alpha = nodata is None and ColorInterp.alpha not in source.colorinterp
        prepared = stack.enter_context(
            WarpedVRT(source, src_crs=wkt, crs=wkt, src_nodata=nodata, nodata=nodata, add_alpha=alpha)
        )
    else:
        prepared = _virtual_copy(stack, source, workspace / "source.vrt", wkt, nodata)
    bounds = bounds_in_crs84(prepared.bounds, crs, item.name)
    return prepared, crs, bounds


def _check_transform(source: Any, item: Input) -> None:
    transform = source.transform
    if not all(map(math.isfinite, transform[:6])) or transform.determinant == 0:
        raise CrsError(
            f"{item.name} has a geotransform that is none: {tuple(transform[:6])}. Give it a right one."
        )


def _crs_of(found: Any, item: Input) -> pyproj.CRS | None:
    if not found:
        return None
    try:
        return identified_crs(pyproj.CRS.from_wkt(found.to_wkt()))
    except CRSError as error:
        raise CrsError(f"The CRS of {item.name} is not understood. Name the right one with --crs.") from error


def _nodata(source: Any, asked: float | None, item: Input) -> float | None:
    """The nodata value asked for, else said in the file; NaN for floating point without one, because NaN never is data."""
    dtype = np.dtype(source.dtypes[0])
    if asked is not None:
        fits = dtype.kind == "f" or (
            math.isfinite(asked)
            and asked == int(asked)
            and np.iinfo(dtype).min <= asked <= np.iinfo(dtype).max
        )
        if not fits:
            raise OptionError(
                f"--nodata {asked:g} is no value of {item.name}, whose pixels are {dtype.name}."
            )
        return asked
    if source.nodata is None and dtype.kind == "f":
        return math.nan
    value: float | None = source.nodata
    return value


def _virtual_copy(stack: ExitStack, source: Any, path: Path, wkt: str, nodata: float | None) -> Any:
    """The same pixels by reference, with CRS and nodata set: the COG driver copies what the dataset says."""
    rasterio.shutil.copy(source, path, driver="VRT")
    with rasterio.open(path, "r+") as opened:
        opened.crs = rasterio.crs.CRS.from_wkt(wkt)
        if nodata is not None:
            opened.nodata = nodata
    return stack.enter_context(rasterio.open(path))


def copy_as_cog(source: Any, path: Path) -> None:
    """Write a dataset as a COG; codes are thinned, numbers averaged in its overviews."""
    categories = source.colorinterp[0] is ColorInterp.palette
    rasterio.shutil.copy(
        source, path, **_CREATION, OVERVIEW_RESAMPLING="NEAREST" if categories else "AVERAGE"
    )


def check_cog(path: Path, name: str) -> None:
    """Hold what was written to the rules of a COG. Raises BuildError."""
    from rio_cogeo.cogeo import cog_validate

    valid, errors, _warnings = cog_validate(path, quiet=True)
    if not valid:
        raise BuildError(f"The cloud optimised GeoTIFF of {name} is not sound: {'; '.join(errors)}.")


def band_properties(facts: FileFacts, statistics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items of the registry's `bands`: numbers of JSON, which has no NaN."""
    bands = []
    for band, known in zip(facts.bands, statistics, strict=True):
        nodata = band.nodata
        bands.append(
            {
                "name": band.name,
                "title": band.title or f"Band {band.number}",
                "unit": band.unit or None,
                "nodata": "NaN" if nodata is not None and math.isnan(nodata) else nodata,
                "dtype": band.dtype,
                "interpretation": band.interpretation,
                **(
                    {}
                    if band.colours is None
                    else {"colours": [[code, list(rgba)] for code, rgba in band.colours]}
                ),
                **{key: value for key, value in known.items() if key not in ("count", "pixels")},
            }
        )
    return bands
