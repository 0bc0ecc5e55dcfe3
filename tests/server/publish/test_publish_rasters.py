"""Rasters become COGs that say where they are, what nodata is, and what values they hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.transform import Affine, from_origin
from rio_cogeo.cogeo import cog_validate

from server.publish.errors import OptionError
from server.registry.catalogue import RepresentationKind


def write(path: Path, values: np.ndarray[Any, Any], *, driver: str = "GTiff", **options: Any) -> Path:
    bands, height, width = values.shape
    with (
        warnings.catch_warnings(action="ignore"),
        rasterio.open(
            path, "w", driver=driver, width=width, height=height, count=bands, dtype=values.dtype, **options
        ) as file,
    ):
        file.write(values)
    return path


def ramp(size: int = 600, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return np.fromfunction(lambda _, y, x: x + y, (1, size, size)).astype(dtype)


PLACE = {"crs": "EPSG:32650", "transform": from_origin(500000, 4400000, 10, 10)}


def test_a_raster_becomes_a_cog(publisher: Any, tmp_path: Path) -> None:
    values = ramp()
    values[0, 0, 0] = -9999
    path = write(tmp_path / "a.tif", values, nodata=-9999, **PLACE)

    result = publisher.publish(path)

    collection = result.collection
    cog = collection.path_of(RepresentationKind.COVERAGE)
    with rasterio.open(cog) as opened:
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert opened.overviews(1) == [2, 4]
        assert opened.nodata == -9999
        assert opened.crs.to_epsg() == 32650
        np.testing.assert_array_equal(opened.read(), values)
    properties = collection.representations[RepresentationKind.COVERAGE].properties
    assert properties["dtype"] == "float32"
    assert (properties["width"], properties["height"], properties["resolution"]) == (600, 600, [10.0, 10.0])
    assert properties["crs"] == collection.storage_crs == "http://www.opengis.net/def/crs/EPSG/0/32650"
    (band,) = properties["bands"]
    told = {key: band[key] for key in ("name", "title", "unit", "nodata", "minimum", "maximum", "dtype")}
    assert told == {
        "name": "1", "title": "Band 1", "unit": None, "nodata": -9999.0, "minimum": 1.0, "maximum": 1198.0,
        "dtype": "float32",
    }  # fmt: skip
    known = values[values != -9999].astype(np.float64)
    assert band["mean"] == pytest.approx(known.mean())
    assert band["deviation"] == pytest.approx(known.std())
    assert band["valid_share"] == pytest.approx(known.size / values.size)
    assert band["percentile_2"] == pytest.approx(np.percentile(known, 2), rel=0.01)
    assert sum(band["histogram"]["counts"]) == known.size
    assert (properties["store"], "instants" in properties) == ("cog", False)
    assert cog_validate(cog, quiet=True)[0]
    assert collection.representations[RepresentationKind.MAP].properties["style"] == "dem"
    assert collection.bbox == pytest.approx((117.0, 39.694, 117.070, 39.749), abs=0.002)
    assert result.count is None


def test_nan_is_nodata(publisher: Any, tmp_path: Path) -> None:
    values = ramp(64)
    values[0, :5] = np.nan
    result = publisher.publish(write(tmp_path / "a.tif", values, **PLACE))
    with rasterio.open(result.collection.path_of(RepresentationKind.COVERAGE)) as opened:
        assert np.isnan(opened.nodata)
    band = result.collection.representations[RepresentationKind.COVERAGE].properties["bands"][0]
    assert (band["nodata"], band["minimum"]) == ("NaN", 5.0)


def test_pictures_and_palettes(publisher: Any, tmp_path: Path) -> None:
    picture = np.repeat(ramp(64, "uint8"), 3, axis=0)
    result = publisher.publish(write(tmp_path / "a.tif", picture, **PLACE), collection="photo")
    assert result.collection.representations[RepresentationKind.MAP].properties["style"] == "ortho"
    path = write(tmp_path / "b.tif", ramp(64, "uint8") % 4, **PLACE)
    with rasterio.open(path, "r+") as opened:
        opened.write_colormap(1, {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255), 3: (9, 9, 9)})
        opened.colorinterp = [ColorInterp.palette]
    result = publisher.publish(path, collection="classes")
    with rasterio.open(result.collection.path_of(RepresentationKind.COVERAGE)) as opened:
        assert opened.colormap(1)[1] == (0, 255, 0, 255)


def test_other_formats_and_a_world_file(publisher: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", ramp(64, "uint8"), driver="PNG")
    for extra in tmp_path.glob("*.aux.xml"):
        extra.unlink()
    (tmp_path / "a.pgw").write_text("10\n0\n0\n-10\n500005\n4399995\n")
    result = publisher.publish(path, reading={"crs": "EPSG:32650"})
    with rasterio.open(result.collection.path_of(RepresentationKind.COVERAGE)) as opened:
        assert opened.transform == from_origin(500000, 4400000, 10, 10)
    grid = tmp_path / "grid.asc"
    grid.write_text("ncols 2\nnrows 2\nxllcorner 500000\nyllcorner 4400000\ncellsize 10\n1 2\n3 4\n")
    result = publisher.publish(grid, collection="grid", reading={"crs": "EPSG:32650"})
    assert (
        result.collection.representations[RepresentationKind.COVERAGE].properties["bands"][0]["maximum"] == 4
    )


def test_rotated_and_control_points_are_put_upright(publisher: Any, tmp_path: Path) -> None:
    turned = PLACE["transform"] @ Affine.rotation(30)
    result = publisher.publish(write(tmp_path / "a.tif", ramp(64), crs="EPSG:32650", transform=turned))
    with rasterio.open(result.collection.path_of(RepresentationKind.COVERAGE)) as opened:
        assert (opened.transform.b, opened.transform.d) == (0, 0)
    assert any("resampled" in warning for warning in result.warnings)
    points = [
        GroundControlPoint(row, column, 500000 + 10 * column, 4400000 - 10 * row)
        for row, column in ((0, 0), (0, 64), (64, 0), (64, 64))
    ]
    path = write(tmp_path / "b.tif", ramp(64))
    with warnings.catch_warnings(action="ignore"), rasterio.open(path, "r+") as opened:
        opened.gcps = (points, rasterio.crs.CRS.from_epsg(32650))
    result = publisher.publish(path, collection="points")
    with rasterio.open(result.collection.path_of(RepresentationKind.COVERAGE)) as opened:
        assert opened.bounds.left == pytest.approx(500000, abs=20)
        assert opened.read(1)[30, 30] == pytest.approx(60, abs=3)


def test_a_terrain_of_a_dem(publisher: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", ramp(128), **PLACE)
    result = publisher.publish(path, scene={"terrain": True})
    terrain = result.collection.representations[RepresentationKind.TERRAIN]
    assert (result.collection.directory / terrain.path).is_file()
    assert terrain.properties["max_zoom"] >= terrain.properties["min_zoom"]
    assert "ellipsoid" in terrain.properties["height_reference"]
    assert len(result.collection.bbox) == 6
    assert result.collection.bbox[5] == pytest.approx(254, abs=2)
    two = write(tmp_path / "b.tif", np.repeat(ramp(64), 2, axis=0), **PLACE)
    with pytest.raises(OptionError, match="this one has 2"):
        publisher.publish(two, collection="two", scene={"terrain": True})


def test_a_vrt_is_refused_even_when_called_a_raster(publisher: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", ramp(16), **PLACE)
    vrt = tmp_path / "b.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path / 'a.tif'}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(OptionError, match="driver VRT, which is not published"):
        publisher.publish(vrt, reading={"format": "raster"})
