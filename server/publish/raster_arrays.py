"""Publish multi-dimensional arrays (NetCDF-4, HDF5, Zarr by xarray) after the CF conventions.

Each instant becomes a COG: a single one a coverage, several a mosaic that shows the last instant unless another is asked for.
Why they are converted and not read in place: docs/decisions/0013-arrays-become-cogs.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyproj
import rasterio
from numpy.typing import NDArray
from pyproj.exceptions import CRSError
from rasterio.transform import from_origin

from server.publish.array_safety import check_hdf5, check_zarr
from server.publish.building import Built, Task
from server.publish.errors import CrsError, DamagedFile, EmptyDataset, LayerChoice, OptionError
from server.publish.formats import FORMATS
from server.publish.inputs import Input
from server.publish.raster_cogs import Cog, check_declared_size, write_cog
from server.publish.raster_times import instant_text
from server.publish.rasters import COVERAGE_FILE, build_mosaic_of, scene_file, single_coverage
from server.registry.catalogue import Interval
from tiles.rasters.mosaic_edits import SCENES_FOLDER

if TYPE_CHECKING:
    import xarray

_MOST_BANDS = 1024
_X_NAMES = frozenset({"x", "lon", "long", "longitude", "easting", "rlon"})
_Y_NAMES = frozenset({"y", "lat", "latitude", "northing", "rlat"})
_X_STANDARD = frozenset({"longitude", "projection_x_coordinate", "grid_longitude"})
_Y_STANDARD = frozenset({"latitude", "projection_y_coordinate", "grid_latitude"})
_UNEVEN = 0.02
"""Part of a step by which coordinates may differ from an even grid: what 32 bits and rounding in the file make of one."""


class _Band(NamedTuple):
    """A band of the result: a variable, and the place in its further dimension (None where it has none)."""

    variable: str
    along: str | None
    place: int
    name: str
    title: str
    unit: str


class _Grid(NamedTuple):
    """The horizontal grid: dimensions, their order to be north up and west to east, and where it lies."""

    x: str
    y: str
    columns: NDArray[np.intp]
    rows: NDArray[np.intp]
    transform: rasterio.Affine
    crs: pyproj.CRS | None


def build_arrays(task: Task) -> Built:
    """Write every instant of the inputs as a COG. Raises PublishError and its kinds."""
    task.stage("reading")
    notes: list[str] = []
    found: list[tuple[str, str | None, Cog]] = []
    for number, item in enumerate(task.inputs):
        share = number / len(task.inputs), 1 / len(task.inputs)
        with _opened(item, task) as dataset:
            found += _scenes(dataset, item, task, share, notes)
    instants = [instant for _, instant, _ in found]
    if len(found) > len(set(instants)):
        raise OptionError("Several arrays are of the same instant. Publish each as a collection of its own.")
    if len(found) > 1:
        return build_mosaic_of(task, found, notes, latest="instant")
    _, instant, cog = found[0]
    cog.path.rename(task.folder / COVERAGE_FILE)
    cog.path.parent.rmdir()
    built = single_coverage(task, cog, notes)
    if instant is not None:
        built.interval = Interval(instant, instant)
    return built


@contextmanager
def _opened(item: Input, task: Task) -> Iterator[xarray.Dataset]:
    """The dataset, once it names no other file and asks for no code. Raises DamagedFile, OptionError."""
    import xarray

    stored = check_zarr(item) if item.format.key == "zarr" else check_hdf5(item)
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if item.format.key == "zarr" else {
        "engine": "h5netcdf", "phony_dims": "sort"
    }  # fmt: skip
    try:
        with xarray.open_dataset(item.path, decode_timedelta=False, **options) as dataset:
            declared = sum(int(variable.nbytes) for variable in dataset.variables.values())
            check_declared_size(declared, stored, item.name, task.settings)
            yield dataset
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split()).replace(str(item.path), item.name)
        raise DamagedFile(f"{item.name} cannot be read as an array: {said[:300]}") from error


def _scenes(
    dataset: xarray.Dataset, item: Input, task: Task, share: tuple[float, float], notes: list[str]
) -> Iterator[tuple[str, str | None, Cog]]:
    variables = _variables(dataset, item, task.request.reading.layer)
    grid = _grid(dataset, variables[0], item, notes)
    time = _time_dimension(dataset, variables[0])
    bands = _bands(dataset, variables, {grid.x, grid.y, time}, item)
    folder = task.folder / SCENES_FOLDER
    folder.mkdir(exist_ok=True)
    count = 1 if time is None else int(dataset.sizes[time])
    if not count:
        raise EmptyDataset(f"{item.name} has no instants.")
    for index in range(count):
        instant = None if time is None else _instant(dataset[time].values[index], item)
        name = f"{item.path.stem}_{instant or 'all'}"
        slice_ = dataset if time is None else dataset.isel({time: index})
        source = _written(slice_, bands, grid, task.workspace / "slice.tif")
        if source is None:
            notes.append(f"{item.name} has no data at {instant}; it was left out.")
            continue
        part = Input(source, FORMATS["raster"], f"{item.name} at {instant}" if instant else item.name)

        def report(fraction: float, index: int = index) -> None:
            task.stage("coverage", 0.8 * (share[0] + share[1] * (index + fraction) / count))

        path = folder / scene_file(name)
        yield name, instant, write_cog(part, path, task.request, task.settings, task.workspace, report, notes)


def _variables(dataset: xarray.Dataset, item: Input, layer: str | None) -> list[str]:
    """Variables that become bands: the one asked for, else all that lie on a grid, if they have the same dimensions."""
    gridded = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if _axis(dataset, variable.dims, "x")
        and _axis(dataset, variable.dims, "y")
        and variable.dtype.kind in "iuf"
    ]
    if layer is not None:
        if layer not in gridded:
            raise LayerChoice(
                f"{item.name} has no gridded variable {layer!r}. It has: {', '.join(gridded) or 'none'}."
            )
        return [layer]
    if not gridded:
        raise OptionError(
            f"{item.name} has no variable on a grid of longitude and latitude, or of projected x and y, with one coordinate a "
            "column and a row. Curvilinear grids and swaths are to be resampled first."
        )
    if len({dataset[name].dims for name in gridded}) > 1:
        raise LayerChoice(
            f"{item.name} has variables of different dimensions: {', '.join(gridded)}. Choose one with --layer."
        )
    return gridded


def _axis(dataset: xarray.Dataset, dims: tuple[Any, ...], axis: str) -> str | None:
    """The dimension of an axis ("x" or "y"): by CF's attributes, else by its name."""
    names, standard, unit = (
        (_X_NAMES, _X_STANDARD, "degrees_e") if axis == "x" else (_Y_NAMES, _Y_STANDARD, "degrees_n")
    )
    for dim in dims:
        if dim not in dataset.coords or dataset[dim].ndim != 1 or dataset[dim].dtype.kind not in "iuf":
            continue
        attributes = dataset[dim].attrs
        said = attributes.get("standard_name") in standard or str(attributes.get("axis", "")).lower() == axis
        if said or str(attributes.get("units", "")).lower().startswith(unit) or str(dim).lower() in names:
            return str(dim)
    return None


def _grid(dataset: xarray.Dataset, variable: str, item: Input, notes: list[str]) -> _Grid:
    dims = dataset[variable].dims
    x, y = _axis(dataset, dims, "x"), _axis(dataset, dims, "y")
    if x is None or y is None:
        raise OptionError(f"{variable} of {item.name} is on no grid.")
    crs = _crs(dataset, variable, x, item)
    xs, ys = _metres(dataset, x, crs), _metres(dataset, y, crs)
    columns, rows = np.arange(xs.size), np.arange(ys.size)
    if crs is None or crs.is_geographic:
        xs, columns = _turned(xs, columns, x, item, notes)
        ys, rows = _within_poles(ys, rows, y, item)
    columns_order, rows_order = np.argsort(xs, kind="stable"), np.argsort(-ys, kind="stable")
    across, down = _step(xs[columns_order], x, item), _step(-ys[rows_order], y, item)
    west, north = float(xs[columns_order[0]]) - across / 2, float(ys[rows_order[0]]) + down / 2
    return _Grid(x, y, columns[columns_order], rows[rows_order], from_origin(west, north, across, down), crs)


def _turned(
    xs: NDArray[np.float64], columns: NDArray[np.intp], dim: str, item: Input, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Longitudes from -180 to 180; columns that lie across the 180th meridian become two halves."""
    step = _step(np.sort(xs), dim, item)
    if xs.max() + step / 2 <= 180.0 + 1e-6 and xs.min() - step / 2 >= -180.0 - 1e-6:
        return xs, columns
    if abs((xs.min() - step / 2 + 180.0) / step % 1.0 - 0.5) < 0.45:
        xs, columns = _halves(xs, step), np.repeat(columns, 2)
    notes.append(f"Longitudes of {item.name} were put from -180 to 180.")
    return (xs + 180.0) % 360.0 - 180.0, columns


def _within_poles(
    ys: NDArray[np.float64], rows: NDArray[np.intp], dim: str, item: Input
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Latitudes from pole to pole; rows that are centred on a pole become halves, of which one is on Earth."""
    step = _step(np.sort(ys), dim, item)
    if np.abs(ys).max() + step / 2 <= 90.0 + 1e-6 or np.abs(ys).max() > 90.0 + 1e-6:
        return ys, rows
    ys, rows = _halves(ys, step), np.repeat(rows, 2)
    on_earth = np.abs(ys) < 90.0
    return ys[on_earth], rows[on_earth]


def _halves(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """The centres of both halves of each cell."""
    return (values[:, None] + np.array([-0.25, 0.25]) * step).ravel()


def _metres(dataset: xarray.Dataset, dim: str, crs: pyproj.CRS | None) -> NDArray[np.float64]:
    """The coordinates in degrees, or in the unit of a projected CRS."""
    values = np.asarray(dataset[dim].values, dtype=np.float64)
    if (
        crs is not None
        and crs.is_projected
        and str(dataset[dim].attrs.get("units", "")).lower() in ("km", "kilometer")
    ):
        return values * 1000.0
    return values


def _step(values: NDArray[np.float64], dim: str, item: Input) -> float:
    """The even step of rising coordinates. Raises OptionError for one coordinate, and for an uneven grid."""
    if values.size < 2 or not np.isfinite(values).all():
        raise OptionError(
            f"{dim} of {item.name} has {values.size} usable coordinates; a grid needs two at least."
        )
    step = float(values[-1] - values[0]) / (values.size - 1)
    uneven = float(np.abs(np.diff(values) - step).max())
    if step <= 0 or uneven > _UNEVEN * step:
        raise OptionError(
            f"{dim} of {item.name} is no even grid (steps differ by {uneven:g}). Resample it first."
        )
    return step


def _crs(dataset: xarray.Dataset, variable: str, x: str, item: Input) -> pyproj.CRS | None:
    """The CRS of the grid mapping, else degrees where the axis is longitude; None where nothing tells."""
    attributes = dataset[variable].attrs | dataset[variable].encoding
    mapping = str(attributes.get("grid_mapping", "")).split(":")[0].strip() or "spatial_ref"
    if mapping in dataset.variables:
        said = dict(dataset[mapping].attrs)
        try:
            text = said.get("crs_wkt") or said.get("spatial_ref")
            return pyproj.CRS.from_wkt(str(text)) if text else pyproj.CRS.from_cf(said)
        except (CRSError, KeyError, TypeError, ValueError) as error:
            raise CrsError(
                f"The grid mapping {mapping} of {item.name} is not understood. Give the CRS with --crs."
            ) from error
    units = str(dataset[x].attrs.get("units", "")).lower()
    named = dataset[x].attrs.get("standard_name") == "longitude" or x.lower() in ("lon", "long", "longitude")
    return pyproj.CRS.from_epsg(4326) if units.startswith("degree") or named else None


def _time_dimension(dataset: xarray.Dataset, variable: str) -> str | None:
    for dim in dataset[variable].dims:
        if dim not in dataset.coords:
            continue
        if dataset[dim].dtype.kind == "M" or str(dataset[dim].attrs.get("axis", "")).upper() == "T":
            return str(dim)
        if dataset[dim].dtype.kind == "O":  # times of a calendar that numpy does not know
            return str(dim)
    return None


def _instant(value: Any, item: Input) -> str:
    """RFC 3339 in UTC. Raises OptionError for a date that other calendars have not."""
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise OptionError(f"{item.name} has an instant that is not a time.")
        return (
            f"{np.datetime_as_string(value, unit='s')}Z"
            if _whole_second(value)
            else f"{value.astype('datetime64[ms]')}Z"
        )
    try:
        return instant_text(datetime.fromisoformat(value.isoformat()).replace(tzinfo=UTC))
    except (AttributeError, ValueError) as error:
        raise OptionError(
            f"{item.name} has the instant {value}, which is no date of the usual calendar."
        ) from error


def _whole_second(value: np.datetime64) -> bool:
    return bool(value == value.astype("datetime64[s]"))


def _bands(dataset: xarray.Dataset, variables: list[str], known: set[str | None], item: Input) -> list[_Band]:
    """One band a variable and place of its further dimension (depth, level, ...)."""
    further = [str(dim) for dim in dataset[variables[0]].dims if dim not in known and dataset.sizes[dim] > 0]
    if len([dim for dim in further if dataset.sizes[dim] > 1]) > 1:
        raise OptionError(
            f"{', '.join(variables)} of {item.name} has the further dimensions {', '.join(further)}; only one may have several "
            "places. Cut it into files first."
        )
    along = next((dim for dim in further if dataset.sizes[dim] > 1), further[0] if further else None)
    bands = []
    for name in variables:
        attributes = dataset[name].attrs
        title, unit = str(attributes.get("long_name", name)), str(attributes.get("units", ""))
        if along is None:
            bands.append(_Band(name, None, 0, _plain(name), title, unit))
            continue
        places = dataset[along].values if along in dataset.coords else np.arange(dataset.sizes[along])
        unit_along = str(dataset[along].attrs.get("units", "")) if along in dataset.coords else ""
        bands += [
            _Band(name, along, index, _plain(f"{name}_{_said(place)}"), f"{title}, {along} {_said(place)} {unit_along}".strip(), unit)
            for index, place in enumerate(places)
        ]  # fmt: skip
    if len(bands) > _MOST_BANDS:
        raise OptionError(
            f"{item.name} would have {len(bands):,} bands. Allowed are {_MOST_BANDS:,}; choose one with --layer."
        )
    return bands


def _said(place: Any) -> str:
    return f"{place:g}" if isinstance(place, np.number | float | int) else str(place)


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:60] or "band"
    return plain if not plain[0].isdigit() else f"b{plain}"


def _written(dataset: xarray.Dataset, bands: list[_Band], grid: _Grid, path: Path) -> Path | None:
    """One instant as a plain GeoTIFF; None where it has no data at all."""
    wide = any(_is_wide(dataset[band.variable]) for band in bands)
    dtype = "float64" if wide else "float32"
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": grid.columns.size, "height": grid.rows.size, "count": len(bands), "dtype": dtype,
        "nodata": math.nan, "transform": grid.transform, "crs": None if grid.crs is None else grid.crs.to_wkt(),
        "bigtiff": "if_safer", "interleave": "band",
    }  # fmt: skip
    filled = False
    with rasterio.open(path, "w", **profile) as file:
        for number, band in enumerate(bands, 1):
            variable = dataset[band.variable]
            others = {dim: 0 for dim in variable.dims if dim not in (grid.x, grid.y, band.along)}
            if band.along is not None:
                others[band.along] = band.place
            values = variable.isel(others).transpose(grid.y, grid.x).values.astype(dtype)
            values = values[np.ix_(grid.rows, grid.columns)]
            values[~np.isfinite(values)] = np.nan
            filled |= bool(np.isfinite(values).any())
            file.write(values, number)
            file.set_band_description(number, band.name)
            if band.unit:
                file.set_band_unit(number, band.unit)
            file.update_tags(number, long_name=band.title)
    return path if filled else None


def _is_wide(variable: Any) -> bool:
    """Whether its numbers need 64 bits: packed ones and those of 32 bits do not."""
    stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
    packed = "scale_factor" in variable.encoding or "add_offset" in variable.encoding
    return (stored.itemsize == 8 and not packed) or (
        stored.kind in "iu" and stored.itemsize == 4 and not packed
    )
