"""Coverages over time: instants, spans, slices; NetCDF that xarray and GDAL read; PNG; other CRSs; tiles."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray
from PIL import Image
from rasterio.transform import from_origin

from providers.coverages.answers import FORMS, CoverageAnswer, answer_coverage
from providers.coverages.errors import OutsideCoverage
from providers.coverages.opening import source_at
from providers.coverages.request import CoverageRequest
from providers.coverages.schema import temporal_grid
from providers.coverages.tiles import select_tile
from providers.errors import AnswerTooLarge, InvalidParameter
from tiles.errors import UnknownInstant
from tiles.grids import TileId, tile_bounds, tile_range

DAYS = tuple(f"2024-05-{day:02d}T00:00:00Z" for day in range(1, 11))
WEST, NORTH = 500_000.0, 4_000_000.0


@pytest.fixture(scope="module")
def series(array_source: Any) -> Any:
    """Ten days of 6 x 8 cells of 10 m: 1000 * day + 10 * row + column; cell (0, 0) is no data."""
    day, row, column = np.ogrid[0:10, 0:6, 0:8]
    values = (1000 * day + 10 * row + column).astype(np.float32)[:, None]
    values[:, 0, 0, 0] = -1
    return array_source(values, "EPSG:32650", (WEST, NORTH), 10.0, instants=DAYS, nodata=-1.0)


def _json(made: Any, source: Any, query: str) -> Any:
    return json.loads(made(source, query, "covjson"))


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ("", range(10)),
        ("datetime=2024-05-03T00:00:00Z/2024-05-05T00:00:00Z", (2, 3, 4)),
        ("datetime=../2024-05-02T12:00:00Z", (0, 1)),
        ("datetime=2024-05-09T00:00:00Z/..", (8, 9)),
        ("datetime=2024-05-04", (3,)),
        ("datetime=2024-05-04/2024-05-05", (3, 4)),
        ('subset=time("2024-05-03T00:00:00Z":"2024-05-05T00:00:00Z")', (2, 3, 4)),
        ('subset=time("2024-05-09":*)', (8, 9)),
        ("subset=time(*)", range(10)),
        ("datetime=2024-05-03T08:00:00%2B08:00".replace("%2B", "+"), (2,)),
    ],
)
def test_spans_trim_the_axis_of_time(series: Any, made: Any, query: str, days: Any) -> None:
    answer = _json(made, series, query)
    assert answer["domain"]["axes"]["t"]["values"] == [DAYS[day] for day in days]
    values = np.array(answer["ranges"]["height"]["values"], dtype=float).reshape(len(days), 6, 8)
    assert values[:, 5, 7].tolist() == [1000 * day + 57 for day in days]
    assert np.isnan(values[:, 0, 0]).all()


@pytest.mark.parametrize(
    "query",
    [
        "datetime=2024-05-03T00:00:00Z",
        'subset=time("2024-05-03T00:00:00Z")',
        "subset=time(2024-05-03T00:00:00Z)",
    ],
)
def test_an_instant_is_a_slice(series: Any, made: Any, query: str) -> None:
    answer = _json(made, series, query)
    assert answer["ranges"]["height"]["axisNames"] == ["y", "x"]
    assert answer["domain"]["axes"]["t"]["values"] == [DAYS[2]]
    assert answer["ranges"]["height"]["values"][:2] == [None, 2001.0]


def test_slices_of_space_lose_an_axis(series: Any, made: Any) -> None:
    answer = _json(made, series, f"subset=E({WEST + 25}),N({NORTH - 39}),time(2024-05-02T00:00:00Z)")
    assert answer["ranges"]["height"] == {
        "type": "NdArray",
        "dataType": "float",
        "axisNames": [],
        "shape": [],
        "values": [1032.0],
    }
    line = _json(made, series, f"subset=N({NORTH - 60})&subset=time(2024-05-01T00:00:00Z)")
    assert line["ranges"]["height"]["axisNames"] == ["x"]
    # The far edge belongs to the last cell.
    assert line["ranges"]["height"]["values"] == [float(50 + column) for column in range(8)]


def test_an_unknown_instant_names_those_near(series: Any) -> None:
    with pytest.raises(UnknownInstant, match="2024-05-03T00:00:00Z"):
        answer_coverage(series, [("datetime", "2024-05-03T11:00:00Z")])
    with pytest.raises(OutsideCoverage, match="2024-05-10"):
        answer_coverage(series, [("datetime", "2025-01-01/2025-02-01")])


def test_geotiff_holds_the_newest_state_or_each_instant_of_a_span(series: Any, made: Any) -> None:
    with rasterio.open(io.BytesIO(made(series, "", "gtiff"))) as part:
        assert part.count == 1
        assert part.read(1)[5, 7] == 9057
        assert part.nodata == -1
    with rasterio.open(io.BytesIO(made(series, "datetime=2024-05-01/2024-05-02", "gtiff"))) as part:
        assert part.descriptions == (f"height {DAYS[0]}", f"height {DAYS[1]}")
        assert part.tags(2)["time"] == DAYS[1]
        assert part.read()[:, 5, 7].tolist() == [57, 1057]


def test_values_are_counted_over_time(series: Any) -> None:
    with pytest.raises(AnswerTooLarge, match="10 instants"):
        answer_coverage(series, [("scale-axes", "E(0.01),N(0.01)")], "covjson")


def test_netcdf_is_what_xarray_expects(series: Any, made: Any, tmp_path: Path) -> None:
    made(series, "", "netcdf")
    with xarray.open_dataset(tmp_path / "answer.netcdf", engine="h5netcdf") as data:
        assert data.sizes == {"time": 10, "y": 6, "x": 8}
        assert data.time.values[3] == np.datetime64("2024-05-04T00:00:00")
        assert data.x.values[[0, -1]].tolist() == [WEST + 5, WEST + 75]
        assert data.y.values[[0, -1]].tolist() == [NORTH - 5, NORTH - 55]
        found = data.height.sel(time="2024-05-04", x=WEST + 15, y=NORTH - 25, method="nearest")
        assert float(found) == 3021
        assert np.isnan(data.height.values[:, 0, 0]).all()
        assert data.height.attrs["grid_mapping"] == "crs" or "grid_mapping" in data.height.encoding
        assert "WGS 84 / UTM zone 50N" in data.crs.attrs["crs_wkt"]
        assert data.attrs["Conventions"] == "CF-1.10"


def test_netcdf_is_what_gdal_expects(array_source: Any, made: Any, tmp_path: Path) -> None:
    values = np.arange(2 * 30 * 40, dtype=np.uint8).reshape(1, 2, 30, 40)
    source = array_source(values, "EPSG:32650", (WEST, NORTH), 10.0)
    made(source, "", "netcdf")
    with rasterio.open(f"netcdf:{tmp_path / 'answer.netcdf'}:green") as part:
        assert part.crs.to_epsg() == 32650
        assert part.transform == from_origin(WEST, NORTH, 10, 10)
        np.testing.assert_array_equal(part.read(1), values[0, 1])


def test_png_holds_bytes_and_nothing_else(array_source: Any, series: Any, made: Any) -> None:
    values = np.random.default_rng(1).integers(0, 255, (1, 3, 20, 30)).astype(np.uint8)
    values[0, :, 4, 5] = 255
    source = array_source(values, "EPSG:32650", (WEST, NORTH), 10.0, nodata=255)
    picture = np.asarray(Image.open(io.BytesIO(made(source, "", "png"))))
    np.testing.assert_array_equal(picture[:, :, :3], values[0].transpose(1, 2, 0))
    assert (picture[4, 5, 3], picture[0, 0, 3]) == (0, 255)
    with pytest.raises(InvalidParameter, match="png for one band or three"):
        made(series, "", "png")


@pytest.mark.parametrize(
    ("instants", "grid"),
    [
        ((), None),
        (DAYS, {"cellsCount": 10, "firstCoordinate": DAYS[0], "resolution": "PT86400S"}),
        ((DAYS[0], DAYS[1], DAYS[4]), {"cellsCount": 3, "coordinates": [DAYS[0], DAYS[1], DAYS[4]]}),
    ],
)
def test_the_grid_of_time(array_source: Any, instants: Any, grid: Any) -> None:
    values = np.zeros((max(len(instants), 1), 1, 2, 2), np.uint8)
    source = array_source(values, "EPSG:32650", (WEST, NORTH), 10.0, instants=instants)
    assert temporal_grid(source.description) == grid


@pytest.fixture(scope="module")
def slope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float cells whose value is their easting: a transformation has to find it again."""
    path = tmp_path_factory.mktemp("slope") / "slope.tif"
    eastings = WEST + 5 + np.arange(400) * 10
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=400,
        height=300,
        count=1,
        dtype="float64",
        crs="EPSG:32650",
        transform=from_origin(WEST, NORTH, 10, 10),
    ) as out:
        out.write(np.broadcast_to(eastings, (300, 400)), 1)
    return path


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "OGC:CRS84", "EPSG:4490", "EPSG:32649"])
def test_the_answer_in_another_crs(slope: Path, made: Any, crs: str) -> None:
    source = source_at(slope)
    answer = answer_coverage(source, [("crs", crs)])
    with rasterio.open(io.BytesIO(made(source, f"crs={crs}", "gtiff"))) as part:
        assert pyproj.CRS.from_wkt(part.crs.to_wkt()).equals(crs, ignore_axis_order=True)
        row, column = part.height // 2, part.width // 3
        x, y = part.xy(row, column)
        easting, _ = pyproj.Transformer.from_crs(crs, "EPSG:32650", always_xy=True).transform(x, y)
        assert part.read(1)[row, column] == pytest.approx(easting, abs=10)
        edges = [float(edge) for edge in answer.headers["Content-Bbox"].split(",")]
        swapped = crs in ("EPSG:4326", "EPSG:4490")
        expected = part.bounds if not swapped else [part.bounds[i] for i in (1, 0, 3, 2)]
        assert edges == pytest.approx(list(expected))
        # As many cells as the raster has there, about.
        assert 0.8 < part.width * part.height / (400 * 300) < 1.3


def test_tiles_have_the_cells_of_their_matrix(slope: Path, tmp_path: Path) -> None:
    source = source_at(slope)
    found = tile_range("WebMercatorQuad", source.description.footprint, 13)
    tile = TileId(13, found.min_column, found.min_row)
    selection = select_tile(source, "WebMercatorQuad", tile, CoverageRequest())
    CoverageAnswer(source, selection, "gtiff").write(tmp_path / "tile.tif")
    with rasterio.open(tmp_path / "tile.tif") as part:
        assert (part.width, part.height) == (256, 256)
        assert part.bounds == pytest.approx(tile_bounds("WebMercatorQuad", tile))
        assert part.crs.to_epsg() == 3857


def test_every_form_is_named_in_the_answers_of_the_server() -> None:
    from server.http.negotiation import MEDIA_TYPES

    assert set(FORMS) <= set(MEDIA_TYPES)
