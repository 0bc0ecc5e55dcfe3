"""Coverages: parts of a raster by box, axis, band and size; what is refused; both encodings agree."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from providers.coverages.answers import CoverageAnswer
from providers.coverages.answers import answer_coverage as fitted
from providers.coverages.opening import source_at
from providers.coverages.provider import ChengtuCoverageProvider
from providers.coverages.request import parse_coverage_request
from providers.coverages.schema import coverage_schema, spatial_grid
from providers.coverages.selection import select
from providers.errors import AnswerTooLarge, InvalidParameter
from tiles.errors import RasterError
from tiles.rasters import close_rasters

EPSG_3879 = "http://www.opengis.net/def/crs/EPSG/0/3879"
WEST, NORTH = 25_496_000.0, 6_673_000.0


@pytest.fixture(scope="module")
def heights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 x 80 pixels of 10 m: value = 1000 * row + column; pixel (0, 0) is no data. Overviews at 2 and 4."""
    path = tmp_path_factory.mktemp("coverage") / "heights.tif"
    values = np.arange(80)[:, None] * 1000.0 + np.arange(100)[None, :]
    values[0, 0] = -9999
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=100,
        height=80,
        count=2,
        dtype="float32",
        crs="EPSG:3879",
        transform=from_origin(WEST, NORTH, 10, 10),
        nodata=-9999,
        tiled=True,
        blockxsize=16,
        blockysize=16,
    ) as out:
        out.write(values.astype("float32"), 1)
        out.write((values * 2).astype("float32"), 2)
        out.set_band_description(1, "height")
        out.set_band_unit(1, "m")
        out.set_band_description(2, "double")
        out.build_overviews([2, 4], Resampling.average)
    return path


class Made:
    """An answer, made."""

    def __init__(self, answer: CoverageAnswer) -> None:
        self.headers = answer.headers
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "answer"
            answer.write(file)
            self.body = file.read_bytes()


def answer_coverage(path: Path, parameters: dict[str, str], form: str) -> Made:
    return Made(fitted(source_at(path), list(parameters.items()), form))


def _json(path: Path, **parameters: str) -> dict[str, object]:
    asked = {name.replace("_", "-"): value for name, value in parameters.items()}
    return json.loads(answer_coverage(path, asked, "covjson").body)  # type: ignore[no-any-return] # JSON


def test_subset_gives_exactly_the_pixels(heights: Path) -> None:
    answer = _json(
        heights, subset=f"E({WEST + 20}:{WEST + 50}),N({NORTH - 30}:{NORTH - 10})", properties="height"
    )
    assert answer["domain"]["axes"] == {  # type: ignore[index] # JSON
        "x": {"start": WEST + 25, "stop": WEST + 45, "num": 3},
        "y": {"start": NORTH - 15, "stop": NORTH - 25, "num": 2},
    }
    assert answer["ranges"] == {
        "height": {
            "type": "NdArray",
            "dataType": "float",
            "axisNames": ["y", "x"],
            "shape": [2, 3],
            "values": [1002.0, 1003.0, 1004.0, 2002.0, 2003.0, 2004.0],
        }
    }


def test_the_labels_of_a_subset_say_its_crs(heights: Path) -> None:
    own = (WEST + 205, NORTH - 145, WEST + 295, NORTH - 55)
    west, south, east, north = transform_bounds("EPSG:3879", "OGC:CRS84", *own)
    by_box = answer_coverage(heights, {"bbox": f"{west},{south},{east},{north}"}, "gtiff")
    for subset in (
        f"Lat({south}:{north}),Lon({west}:{east})",
        f"Long({west}:{east}),Lat({south}:{north})",
        f"longitude({west}:{east}),latitude({south}:{north})",
    ):
        by_labels = answer_coverage(heights, {"subset": subset}, "gtiff")
        assert by_labels.headers["Content-Bbox"] == by_box.headers["Content-Bbox"]
        assert by_labels.body == by_box.body
    for first, second in (("E", "N"), ("x", "y"), ("Easting", "Northing")):
        subset = f"{first}({own[0]}:{own[2]}),{second}({own[1]}:{own[3]})"
        values = _json(heights, subset=subset, properties="height")["ranges"]
        assert values["height"]["values"][0] == 5020.0  # type: ignore[index] # JSON


def test_labels_of_a_coverage_in_degrees_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "degrees.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=10,
        height=10,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=from_origin(24.0, 61.0, 0.1, 0.1),
    ) as out:
        out.write(np.arange(100, dtype="float32").reshape(10, 10), 1)
    answer = _json(path, subset="Lat(60.8:*),Lon(24.2:24.4)")
    assert next(iter(answer["ranges"].values()))["values"] == [2.0, 3.0, 12.0, 13.0]  # type: ignore[attr-defined] # JSON


def test_no_data_is_null(heights: Path) -> None:
    answer = _json(heights, subset=f"E({WEST}:{WEST + 20}),N({NORTH - 10}:*)", properties="1")
    assert answer["ranges"]["height"]["values"] == [None, 1.0]  # type: ignore[index] # JSON


def test_bbox_in_degrees_and_in_the_own_crs_agree(heights: Path) -> None:
    # The authority's axis order of EPSG:3879 is north, east.
    own = f"{NORTH - 100},{WEST + 200},{NORTH - 50},{WEST + 300}"
    by_own = answer_coverage(heights, {"bbox": own, "bbox-crs": EPSG_3879}, "gtiff")
    assert (
        by_own.headers["Content-Bbox"]
        == f"{NORTH - 100:.12g},{WEST + 200:.12g},{NORTH - 50:.12g},{WEST + 300:.12g}"
    )
    assert by_own.headers["Content-Crs"] == f"<{EPSG_3879}>"
    with MemoryFile(by_own.body) as memory, memory.open() as part:
        assert (part.width, part.height, part.count) == (10, 5, 2)
        assert part.read(1)[0, 0] == 5020
        assert (part.nodata, part.descriptions, part.units[0]) == (-9999, ("height", "double"), "m")
        assert part.crs.to_epsg() == 3879
        west, south, east, north = transform_bounds(part.crs, "OGC:CRS84", *part.bounds)
    by_degrees = answer_coverage(heights, {"bbox": f"{west},{south},{east},{north}"}, "gtiff")
    with MemoryFile(by_degrees.body) as memory, memory.open() as part:
        assert part.read(1)[1:-1, 1:-1].shape >= (4, 8)
        assert 5020 in part.read(1)


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({}, (80, 100)),
        ({"scale-factor": "4"}, (20, 25)),
        ({"scale-size": "E(10)"}, (80, 10)),
        ({"scale-size": "N(4)"}, (4, 100)),
        ({"scale-axes": "E(10),N(4)"}, (20, 10)),
        ({"scale-axes": "x(4)"}, (80, 25)),
        ({"scale-size": "E(7),N(9)"}, (9, 7)),
        ({"scale-factor": "0.5"}, (160, 200)),
    ],
)
def test_scaling(heights: Path, parameters: dict[str, str], shape: tuple[int, int]) -> None:
    with MemoryFile(answer_coverage(heights, parameters, "gtiff").body) as memory, memory.open() as part:
        assert (part.height, part.width) == shape
        assert part.bounds == (WEST, NORTH - 800, WEST + 1000, NORTH)


def test_averages_are_of_all_pixels(heights: Path) -> None:
    answer = _json(
        heights, scale_size="E(1),N(1)", subset=f"E({WEST + 10}:*),N(*:{NORTH - 10})", properties="height"
    )
    rows, columns = np.arange(1, 80), np.arange(1, 100)
    # The box starts one pixel in, where the overviews' pixels do not: their edge pixels weigh a little too much.
    assert answer["ranges"]["height"]["values"][0] == pytest.approx(  # type: ignore[index] # JSON
        1000 * rows.mean() + columns.mean(), rel=0.02
    )


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"bbox": "1,2,3"}, "bbox"),
        ({"bbox": "a,b,c,d"}, "bbox"),
        ({"bbox": "24,60,25,61", "bbox-crs": "http://example.org/crs"}, "bbox-crs"),
        ({"bbox": "24,60,25,61", "subset": "E(0:1)"}, "subset"),
        ({"subset": "E(9:5)"}, "subset"),
        ({"subset": "z(0:1)"}, "subset"),
        ({"subset": "E(0:1),x(0:1)"}, "subset"),
        ({"subset": "E(0:1"}, "subset"),
        ({"subset": "E(0:1),Lat(60:61)"}, "subset"),
        ({"properties": "depth"}, "properties"),
        ({"properties": "1,1"}, "properties"),
        ({"scale-size": "E(0)"}, "scale-size"),
        ({"scale-size": "E(99999)"}, "scale-size"),
        ({"scale-size": "q(5)"}, "scale-size"),
        ({"scale-factor": "0"}, "scale-factor"),
        ({"scale-factor": "nan"}, "scale-factor"),
        ({"scale-factor": "2", "scale-size": "E(5)"}, "scale-size"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_parameters_are_named(heights: Path, parameters: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        answer_coverage(heights, parameters, "covjson")
    assert caught.value.name == name


def test_budget_at_the_limit_and_one_below(heights: Path) -> None:
    coverage = source_at(heights).description
    assert select(parse_coverage_request([]), coverage, 16_000).shape == (80, 100)
    with pytest.raises(AnswerTooLarge, match="scale-factor"):
        select(parse_coverage_request([]), coverage, 15_999)


def test_a_huge_answer_is_refused_before_it_is_read(heights: Path) -> None:
    with pytest.raises(AnswerTooLarge):
        answer_coverage(heights, {"scale-size": "E(16384),N(16384)"}, "gtiff")


def test_unknown_form_is_refused(heights: Path) -> None:
    with pytest.raises(InvalidParameter, match="gtiff, netcdf"):
        answer_coverage(heights, {}, "jp2")


def test_schema_and_grids(heights: Path) -> None:
    description = source_at(heights).description
    schema = coverage_schema(description)["properties"]
    assert list(schema) == ["height", "double"]
    assert schema["height"]["type"] == "number"
    assert (schema["height"]["x-ogc-propertySeq"], schema["height"]["x-ogc-unit"]) == (1, "m")
    assert schema["height"]["x-ogc-nullValues"] == [-9999.0]
    spatial = spatial_grid(description)
    # EPSG:3879 names northing first.
    assert spatial["storageCrsBbox"] == [[NORTH - 800, WEST, NORTH, WEST + 1000]]
    assert spatial["grid"][0] == {"cellsCount": 80, "resolution": -10.0, "firstCoordinate": NORTH - 5}
    assert spatial["grid"][1] == {"cellsCount": 100, "resolution": 10.0, "firstCoordinate": WEST + 5}


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(RasterError):
        _ = source_at(tmp_path / "none.tif").description
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    with pytest.raises(RasterError):
        _ = source_at(text).description


def test_many_threads_read_alike(heights: Path) -> None:
    def first_value(row: int) -> float:
        asked = {
            "subset": f"E({WEST}:{WEST + 10}),N({NORTH - row * 10 - 10}:{NORTH - row * 10})",
            "properties": "height",
        }
        values: list[float] = json.loads(answer_coverage(heights, asked, "covjson").body)["ranges"]["height"][
            "values"
        ]
        return values[0]

    rows = [1 + index % 79 for index in range(160)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first_value, rows)) == [row * 1000.0 for row in rows]


def test_plugin_answers_like_the_direct_call(heights: Path) -> None:
    plugin = ChengtuCoverageProvider(
        {
            "name": "c",
            "type": "coverage",
            "data": str(heights),
            "format": {"name": "GTiff", "mimetype": "image/tiff"},
        }
    )
    assert list(plugin.fields) == ["height", "double"]
    subsets = {"E": [WEST + 20, WEST + 50], "N": [NORTH - 30, NORTH - 10]}
    document = plugin.query(properties=["1"], subsets=subsets, format_="json")
    assert document == _json(
        heights, subset=f"E({WEST + 20}:{WEST + 50}),N({NORTH - 30}:{NORTH - 10})", properties="1"
    )
    assert plugin.query(format_="GTiff") == answer_coverage(heights, {}, "gtiff").body
    with pytest.raises(InvalidParameter):
        plugin.query(subsets={"E": [5.0]}, format_="json")


@pytest.fixture(autouse=True, scope="module")
def _closed() -> object:
    yield
    close_rasters()
