"""A selection as GeoTIFF: tiled, compressed, written by rows into a file, so that memory stays bounded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window

from providers.coverages.reading import Slab, slabs
from providers.coverages.selection import Selection
from providers.errors import InvalidParameter
from tiles.rasters.source import RasterBand, RasterSource

GEOTIFF = "image/tiff; application=geotiff"
_TILE = 256
_COLOURS = ["red", "green", "blue"]


def write_geotiff(source: RasterSource, selection: Selection, path: Path) -> None:
    """Write a GeoTIFF: bands of the first instant, then of the next; nodata, names, units, colours and times are kept.

    Cells without data hold the bands' nodata value; where they have none, a mask says which. Raises RasterError.
    """
    nodata = _nodata(selection)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **_profile(selection, nodata)) as out,
    ):
        _describe(out, selection)
        for slab in slabs(source, selection):
            _write(out, selection, slab, nodata)


def _profile(selection: Selection, nodata: float | None) -> dict[str, Any]:
    rows, columns = selection.shape
    names = [band.name for band in selection.bands]
    tiled = rows > _TILE or columns > _TILE
    dtype = _dtype(selection)
    return {
        "driver": "GTiff",
        "width": columns,
        "height": rows,
        "count": len(selection.bands) * len(selection.instants),
        "dtype": dtype,
        "crs": selection.reference.crs.to_wkt(),
        "transform": transform_of(selection),
        "nodata": nodata,
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 3 if dtype.startswith("float") else 2,
        "bigtiff": "if_safer",
        "photometric": "RGB" if names == _COLOURS and dtype in ("uint8", "uint16") else "MINISBLACK",
        **({"tiled": True, "blockxsize": _TILE, "blockysize": _TILE} if tiled else {}),
    }


def transform_of(selection: Selection) -> Affine:
    """From (column, row) of the answer to (x, y) of its CRS."""
    west, south, east, north = selection.bounds
    rows, columns = selection.shape
    return Affine((east - west) / columns, 0.0, west, 0.0, (south - north) / rows, north)


def _dtype(selection: Selection) -> str:
    kinds = {band.dtype for band in selection.bands}
    return str(np.result_type(*(np.dtype(kind) for kind in kinds)))


def _nodata(selection: Selection) -> float | None:
    """The value of cells without data: that of the bands where they agree; NaN for floating point; None for a mask."""
    values = {band.nodata for band in selection.bands if band.nodata is not None}
    if len(values) == 1 and _fits(next(iter(values)), _dtype(selection)):
        return next(iter(values))
    return float("nan") if _dtype(selection).startswith("float") else None


def _fits(value: float, dtype: str) -> bool:
    if dtype.startswith("float"):
        return True
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max  # NaN is no integer


def _describe(out: Any, selection: Selection) -> None:
    number = 0
    for instant in selection.instants:
        for band in selection.bands:
            number += 1
            name = band.name if len(selection.instants) == 1 else f"{band.name} {instant}"
            out.set_band_description(number, name)
            out.set_band_unit(number, band.unit)
            if instant is not None:
                out.update_tags(number, time=instant)
    _colour(out, selection.bands)


def _colour(out: Any, bands: tuple[RasterBand, ...]) -> None:
    if len(bands) == 1 and out.count == 1 and bands[0].colours and out.dtypes[0] in ("uint8", "uint16"):
        out.write_colormap(1, dict(bands[0].colours))


def _write(out: Any, selection: Selection, slab: Slab, nodata: float | None) -> None:
    values, valid = slab.block.values, slab.block.valid
    window = Window(0, slab.row, values.shape[2], values.shape[1])
    first = slab.instant * len(selection.bands) + 1
    if nodata is not None and not valid.all():
        values = np.where(valid, values, np.array(nodata).astype(out.dtypes[0]))
    out.write(
        values.astype(out.dtypes[0], copy=False),
        indexes=list(range(first, first + len(selection.bands))),
        window=window,
    )
    if nodata is None and slab.instant == 0 and not valid.all():
        # One mask for all bands is what GeoTIFF knows: a cell is data where any band has it.
        out.write_mask(valid.any(axis=0).astype(np.uint8) * 255, window=window)


# --- PNG -----------------------------------------------------------------------------------------------------------------


def write_png(source: RasterSource, selection: Selection, path: Path) -> None:
    """The values themselves as PNG (Coverages, requirement class PNG): one or three bands of 8 or 16 bits, transparent without data.

    Raises InvalidParameter for other bands and for more instants than one, RasterError.
    """
    dtype = _dtype(selection)
    if dtype not in ("uint8", "uint16") or len(selection.bands) not in (1, 3) or len(selection.instants) > 1:
        raise InvalidParameter(
            "f",
            "png",
            "png for one band or three of whole numbers from 0 to 255 or 65535 at one instant; gtiff, netcdf and covjson hold all",
        )
    parts = [slab.block for slab in slabs(source, selection)]
    values = np.concatenate([part.values for part in parts], axis=1).astype(dtype, copy=False)
    valid = np.concatenate([part.valid for part in parts], axis=1).any(axis=0)
    with_alpha = values if valid.all() else np.concatenate([values, _alpha(valid, dtype)[None]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # PNG says no place: Content-Bbox does
        rows, columns = selection.shape
        with (
            rasterio.Env(GDAL_PAM_ENABLED=False),
            rasterio.open(
                path, "w", driver="PNG", width=columns, height=rows, count=len(with_alpha), dtype=dtype
            ) as out,
        ):
            out.write(with_alpha)


def _alpha(valid: NDArray[np.bool_], dtype: str) -> NDArray[Any]:
    alpha: NDArray[Any] = valid.astype(dtype) * np.iinfo(dtype).max
    return alpha
