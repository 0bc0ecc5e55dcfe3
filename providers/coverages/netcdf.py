"""A selection as NetCDF-4 by the CF conventions (1.10), written by rows into a file, so that memory stays bounded.

h5netcdf and the HDF5 library below it are imported when the first NetCDF is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.coverages.instants import epoch_seconds
from providers.coverages.reading import slabs
from providers.coverages.selection import Selection
from tiles.rasters.source import RasterBand, RasterSource

NETCDF = "application/x-netcdf"
_CHUNK = 256
_RESERVED = ("x", "y", "time", "crs")


def write_netcdf(source: RasterSource, selection: Selection, path: Path) -> None:
    """Write one variable a band over time (where there is one that was not sliced), y and x; cells without data are _FillValue.

    Raises RasterError.
    """
    import h5netcdf

    with h5netcdf.File(str(path), "w") as out:
        out.attrs["Conventions"] = "CF-1.10"
        dimensions = _add_axes(out, selection)
        _add_crs(out, selection)
        variables = [_add_band(out, selection, band, dimensions) for band in selection.bands]
        for slab in slabs(source, selection):
            rows = slice(slab.row, slab.row + slab.block.values.shape[1])
            for index, variable in enumerate(variables):
                part = _filled(slab.block.values[index], slab.block.valid[index], variable)
                if "time" in dimensions:
                    variable[slab.instant, rows, :] = part
                else:
                    variable[rows, :] = part


def variable_name(band: RasterBand) -> str:
    """The name of a band's variable: its own; with "band_" in front where it starts with no letter or is that of an axis."""
    return band.name if band.name[:1].isalpha() and band.name not in _RESERVED else f"band_{band.name}"


def _add_axes(out: Any, selection: Selection) -> tuple[str, ...]:
    rows, columns = selection.shape
    west, south, east, north = selection.bounds
    geographic = selection.reference.horizontal.is_geographic
    timed = selection.timed and "time" not in selection.sliced
    out.dimensions = {"y": rows, "x": columns} | ({"time": len(selection.instants)} if timed else {})
    half_x, half_y = (east - west) / columns / 2, (north - south) / rows / 2
    names = (
        ("longitude", "latitude") if geographic else ("projection_x_coordinate", "projection_y_coordinate")
    )
    units = ("degrees_east", "degrees_north") if geographic else (_unit(selection),) * 2
    centres = (
        np.linspace(west + half_x, east - half_x, columns),
        np.linspace(north - half_y, south + half_y, rows),
    )
    for axis, name, unit, values in zip("xy", names, units, centres, strict=True):
        variable = out.create_variable(axis, (axis,), data=values)
        variable.attrs.update(standard_name=name, units=unit, axis=axis.upper())
    if selection.timed:
        _add_time(out, selection, timed=timed)
    return ("time", "y", "x") if timed else ("y", "x")


def _unit(selection: Selection) -> str:
    unit = selection.reference.horizontal.axis_info[0].unit_name
    return "m" if unit == "metre" else unit


def _add_time(out: Any, selection: Selection, *, timed: bool) -> None:
    seconds = np.array([epoch_seconds(one) for one in selection.instants if one is not None], np.int64)
    if timed:
        variable = out.create_variable("time", ("time",), data=seconds)
        variable.attrs["axis"] = "T"
    else:
        variable = out.create_variable("time", (), data=seconds[0])
    variable.attrs.update(
        standard_name="time", units="seconds since 1970-01-01T00:00:00Z", calendar="proleptic_gregorian"
    )


def _add_crs(out: Any, selection: Selection) -> None:
    variable = out.create_variable("crs", (), data=np.int32(0))
    attributes = selection.reference.horizontal.to_cf()
    attributes["crs_wkt"] = selection.reference.horizontal.to_wkt()
    variable.attrs.update(attributes)


def _add_band(out: Any, selection: Selection, band: RasterBand, dimensions: tuple[str, ...]) -> Any:
    dtype = np.dtype(band.dtype)
    rows, columns = selection.shape
    chunks = (*(1 for _ in dimensions[2:]), min(rows, _CHUNK), min(columns, _CHUNK))
    variable = out.create_variable(
        variable_name(band),
        dimensions,
        dtype,
        fillvalue=_fill_value(band, dtype),
        chunks=chunks,
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    variable.attrs.update(long_name=band.title or band.name, grid_mapping="crs")
    if band.unit:
        variable.attrs["units"] = band.unit
    if selection.timed and "time" not in dimensions:
        variable.attrs["coordinates"] = "time"
    return variable


def _fill_value(band: RasterBand, dtype: np.dtype[Any]) -> Any:
    """The value of cells without data; None for integers of which any may be data."""
    if np.issubdtype(dtype, np.floating):
        return dtype.type(np.nan)
    if band.nodata is None or not float(band.nodata).is_integer():
        return None
    limits = np.iinfo(dtype)
    return dtype.type(band.nodata) if limits.min <= band.nodata <= limits.max else None


def _filled(values: NDArray[Any], valid: NDArray[np.bool_], variable: Any) -> NDArray[Any]:
    fill = variable.attrs.get("_FillValue")
    typed = values.astype(variable.dtype, copy=False)
    if fill is None or valid.all():
        return typed
    return np.where(valid, typed, np.asarray(fill, variable.dtype))
