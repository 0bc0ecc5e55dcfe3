"""NetCDF, HDF5 and Zarr after the CF conventions become coverages and time series."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from server.publish.errors import DamagedFile, LayerChoice, OptionError, PathOutside, PublishError
from server.registry.catalogue import Interval, RepresentationKind
from tiles.rasters import RasterSource, open_raster

LON, LAT = np.arange(110.0, 114.0, 0.5), np.arange(30.0, 33.0, 0.5)
TIMES = np.array(["2024-05-01T00:00", "2024-05-01T06:30", "2024-05-02T00:00"], dtype="datetime64[ns]")


def grid(times: int = 3) -> xarray.Dataset:
    """Temperature: 100 x instant + 10 x row from the south + column, packed in 16 bits, one cell without data."""
    values = (
        100.0 * np.arange(times)[:, None, None]
        + 10.0 * np.arange(LAT.size)[None, :, None]
        + np.arange(LON.size)
    )
    values[:, 0, 0] = np.nan
    dataset = xarray.Dataset(
        {"t2m": (("time", "lat", "lon"), values, {"long_name": "Temperature", "units": "degC"})},
        {
            "time": TIMES[:times],
            "lat": ("lat", LAT, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", LON, {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )
    dataset["t2m"].encoding = {"dtype": "int16", "scale_factor": 0.1, "add_offset": 5.0, "_FillValue": -32768}
    dataset["time"].encoding = {"units": "hours since 2024-01-01", "dtype": "float64"}
    return dataset


def write(dataset: xarray.Dataset, path: Path, version: int = 0) -> Path:
    with warnings.catch_warnings(action="ignore"):
        if version:
            dataset = dataset.copy()
            dataset.to_zarr(path, zarr_format=version, consolidated=version == 2)
        else:
            dataset.to_netcdf(path, engine="h5netcdf")
    return path


def raster_of(collection: Any) -> RasterSource:
    kept = collection.representations[RepresentationKind.COVERAGE]
    return open_raster(collection.directory, kept.path, kept.properties)


@pytest.mark.parametrize("kind", ["netcdf", "zarr 2", "zarr 3", "zipped zarr"])
def test_a_time_series(publisher: Any, tmp_path: Path, kind: str) -> None:
    if kind == "netcdf":
        path = write(grid(), tmp_path / "era.nc")
    else:
        path = write(grid(), tmp_path / "era.zarr", 2 if kind == "zarr 2" else 3)
    if kind == "zipped zarr":
        path = Path(shutil.make_archive(str(tmp_path / "era"), "zip", path))
    collection = publisher.publish(path).collection
    assert collection.interval == Interval("2024-05-01T00:00:00Z", "2024-05-02T00:00:00Z")
    raster = raster_of(collection)
    description = raster.description
    assert description.instants == ("2024-05-01T00:00:00Z", "2024-05-01T06:30:00Z", "2024-05-02T00:00:00Z")
    assert description.bounds == pytest.approx((109.75, 29.75, 113.75, 32.75))
    assert (description.width, description.height, description.crs.to_epsg()) == (8, 6, 4326)
    (band,) = description.bands
    assert (band.name, band.unit, band.dtype) == ("t2m", "degC", "float32")
    for number, instant in enumerate((*description.instants, None)):
        block = raster.read(description.bounds, (6, 8), [1], instant=instant)
        expected = 100 * min(number, 2) + 10 * np.arange(6)[::-1, None] + np.arange(8)
        assert not block.valid[0, 5, 0]
        assert np.abs(block.values[0] - expected)[block.valid[0]].max() < 0.06
    assert publisher.leftovers() == []


def test_one_instant_projected_in_kilometres_with_depths(publisher: Any, tmp_path: Path) -> None:
    values = np.arange(2 * 4 * 5, dtype=np.float32).reshape(2, 4, 5)
    dataset = xarray.Dataset(
        {
            "salt": (("depth", "y", "x"), values, {"grid_mapping": "crs", "units": "1e-3"}),
            "crs": ((), 0, {
                "grid_mapping_name": "transverse_mercator", "latitude_of_projection_origin": 0.0,
                "longitude_of_central_meridian": 117.0, "scale_factor_at_central_meridian": 0.9996,
                "false_easting": 500000.0, "false_northing": 0.0, "semi_major_axis": 6378137.0,
                "inverse_flattening": 298.257223563,
            }),
        },
        {
            "x": ("x", np.arange(500.0, 505.0), {"standard_name": "projection_x_coordinate", "units": "km"}),
            "y": ("y", np.arange(4400.0, 4396.0, -1), {"standard_name": "projection_y_coordinate", "units": "km"}),
            "depth": ("depth", [0.0, 10.5], {"units": "m", "positive": "down"}),
        },
    )  # fmt: skip
    result = publisher.publish(write(dataset, tmp_path / "sea.nc"))
    properties = result.collection.representations[RepresentationKind.COVERAGE].properties
    assert (properties["store"], [band["name"] for band in properties["bands"]]) == (
        "cog",
        ["salt_0", "salt_10_5"],
    )
    assert properties["resolution"] == [1000, 1000]
    raster = raster_of(result.collection)
    assert raster.description.bounds == pytest.approx((499500, 4396500, 504500, 4400500))
    block = raster.read(raster.description.bounds, (4, 5), [2])
    assert np.array_equal(block.values[0], values[1])


def test_longitudes_to_360(publisher: Any, tmp_path: Path) -> None:
    values = np.tile(np.arange(36.0), (18, 1))
    dataset = xarray.Dataset(
        {"v": (("lat", "lon"), values)},
        {"lat": ("lat", np.arange(-85.0, 90, 10)), "lon": ("lon", np.arange(0.0, 360, 10))},
    )
    result = publisher.publish(write(dataset, tmp_path / "w.nc"))
    raster = raster_of(result.collection)
    assert any("-180 to 180" in warning for warning in result.warnings)
    found, valid = raster.sample(np.array([-90.0, 0.0, 170.0]), np.array([5.0, 5.0, 5.0]), [1])
    assert valid.all()
    assert found.tolist() == [[27, 0, 17]]


def test_a_variable_is_chosen(publisher: Any, tmp_path: Path) -> None:
    dataset = grid(1)
    dataset["flat"] = dataset["t2m"].isel(time=0)
    path = write(dataset, tmp_path / "two.nc")
    with pytest.raises(LayerChoice, match=r"t2m, flat.*--layer"):
        publisher.publish(path)
    with pytest.raises(LayerChoice, match="no gridded variable 'snow'"):
        publisher.publish(path, reading={"layer": "snow"})
    result = publisher.publish(path, reading={"layer": "flat"})
    assert result.collection.interval is None


def uneven(dataset: xarray.Dataset) -> xarray.Dataset:
    return dataset.assign_coords(lon=[*LON[:-1], LON[-1] + 0.2])


def without_axes(dataset: xarray.Dataset) -> xarray.Dataset:
    return dataset.rename(lon="a", lat="b").drop_vars(["a", "b"])


@pytest.mark.parametrize(
    ("change", "said"), [(uneven, "no even grid"), (without_axes, "no variable on a grid")]
)
def test_what_is_no_grid_is_refused(publisher: Any, tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        publisher.publish(write(change(grid()), tmp_path / "x.nc"))
    assert publisher.leftovers() == []


def test_files_that_lead_to_others_are_refused(publisher: Any, tmp_path: Path) -> None:
    other = write(grid(), tmp_path / "secret.nc")
    for kind in ("link", "virtual", "external"):
        path = write(grid(), tmp_path / f"{kind}.nc")
        with h5py.File(path, "a") as file:
            if kind == "link":
                file["more"] = h5py.ExternalLink(str(other), "/t2m")
            elif kind == "virtual":
                layout = h5py.VirtualLayout((3, 6, 8), "i2")
                layout[:] = h5py.VirtualSource(str(other), "t2m", (3, 6, 8))
                file.create_virtual_dataset("more", layout)
            else:
                file.create_dataset("more", (4,), "i2", external=[(str(tmp_path / "raw.bin"), 0, 8)])
        with pytest.raises(PathOutside, match="more of"):
            publisher.publish(path)
    store = write(grid(), tmp_path / "s.zarr", 3)
    (store / "more").symlink_to(other)
    with pytest.raises(PathOutside, match="symbolic link"):
        publisher.publish(store)


def test_code_in_a_zarr_store_is_not_run(publisher: Any, tmp_path: Path) -> None:
    store = write(grid(), tmp_path / "s.zarr", 2)
    metadata = store / "t2m" / ".zarray"
    document = json.loads(metadata.read_text())
    document["filters"] = [{"id": "pickle", "protocol": 5}]
    metadata.write_text(json.dumps(document))
    with pytest.raises(OptionError, match="pickle"):
        publisher.publish(store)


def test_a_grid_centred_on_meridian_and_poles_keeps_its_values(publisher: Any, tmp_path: Path) -> None:
    lat, lon = np.arange(90.0, -91, -10), np.arange(0.0, 360, 10)
    dataset = xarray.Dataset(
        {"v": (("lat", "lon"), lat[:, None] + np.zeros(36))}, {"lat": ("lat", lat), "lon": ("lon", lon)}
    )
    raster = raster_of(publisher.publish(write(dataset, tmp_path / "w.nc")).collection)
    assert raster.description.bounds == pytest.approx((-180, -90, 180, 90))
    found, valid = raster.sample(np.array([179.0, -179.0, 3.0]), np.array([89.0, -84.0, 12.0]), [1])
    assert valid.all()
    assert found.tolist() == [[90, -80, 10]]


@pytest.mark.parametrize("kind", ["torn", "not json", "chunk"])
def test_damaged_arrays(publisher: Any, tmp_path: Path, kind: str) -> None:
    if kind == "torn":
        path = write(grid(), tmp_path / "a.nc")
        path.write_bytes(path.read_bytes()[:3000])
    else:
        path = write(grid(), tmp_path / "a.zarr", 3)
        victim = path / "t2m" / "zarr.json" if kind == "not json" else next((path / "t2m" / "c").rglob("0"))
        while victim.is_dir():
            victim = next(victim.iterdir())
        victim.write_bytes(b"\x00nonsense")
    with pytest.raises(DamagedFile, match=r"a\.(nc|zarr)"):
        publisher.publish(path)
    assert publisher.leftovers() == []


def test_a_bomb_of_an_array(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "bomb.nc"
    with h5py.File(path, "w") as file:
        file.create_dataset("v", (200_000, 200_000), "f4", chunks=(1000, 1000), compression="gzip")
    with pytest.raises(PublishError, match="declares 160"):
        publisher.publish(path)
