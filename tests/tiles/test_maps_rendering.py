"""Maps as pixels: features, rasters, composition, encodings, and the handles behind them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_bounds

from tiles.crs import transformer
from tiles.errors import (
    MapAreaError,
    MapSizeError,
    MapSourceError,
    StyleError,
    UnsupportedCrs,
    UnsupportedImageFormat,
)
from tiles.leases import LeaseStore
from tiles.maps import (
    MapSource,
    RasterMapSource,
    VectorMapSource,
    compose,
    encode_image,
    image_formats,
    load_style,
    map_image,
    parse_style,
)
from tiles.maps import vector_source as vector_module
from tiles.maps.fonts import map_fonts
from tiles.maps.images import draw_watermark, parse_colour
from tiles.maps.raster_colours import hillshade
from tiles.maps.source import MapRequest, Pixels, check_request
from tiles.maps.style_model import RasterStyle
from tiles.rasters import cog as raster_module

STYLES = Path(__file__).parents[2] / "config" / "styles"
RED = parse_style({"rules": [{"symbols": [{"polygon": {"fill": "#ff0000"}}]}]})
WORLD = (0.0, 0.0, 10.0, 10.0)


def write_features(
    path: Path, features: list[tuple[Any, dict[str, Any]]], crs: str, fields: dict[str, str]
) -> Path:
    schema = {"geometry": "Unknown", "properties": fields}
    with fiona.open(path, "w", driver="GPKG", layer="feature", crs=crs, schema=schema) as target:
        for geometry, values in features:
            target.write({"geometry": geometry.__geo_interface__, "properties": values})
    return path


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A square in each quarter of (0, 0, 10, 10), one unit from the edges, with a kind and a Chinese name."""
    kinds = {(0, 0): "a", (5, 0): "b", (0, 5): "O'c", (5, 5): None}
    features = [
        (shapely.box(x + 1, y + 1, x + 4, y + 4), {"kind": kind, "名称": "建筑", "height": float(x + y)})
        for (x, y), kind in kinds.items()
    ]
    return write_features(
        tmp_path / "squares.gpkg", features, "EPSG:4326", {"kind": "str", "名称": "str", "height": "float"}
    )


def quarters(pixels: Pixels) -> list[tuple[int, ...]]:
    """Colours in the middle of south-west, south-east, north-west, north-east."""
    height, width = pixels.shape[:2]
    places = ((0.75, 0.25), (0.75, 0.75), (0.25, 0.25), (0.25, 0.75))
    return [tuple(pixels[int(height * y), int(width * x)].tolist()) for y, x in places]


NOTHING = (0, 0, 0, 0)


def test_features_lie_where_they_are(squares: Path) -> None:
    source: MapSource = VectorMapSource(squares, crs="EPSG:4326", style=RED)
    pixels = source.render(WORLD, "CRS:84", 100, 100)
    assert pixels.shape == (100, 100, 4)
    assert pixels.dtype == np.uint8
    assert quarters(pixels) == [(255, 0, 0, 255)] * 4
    assert tuple(pixels[50, 50]) == NOTHING
    assert tuple(pixels[0, 0]) == NOTHING
    # 4 squares of 30 x 30 of 100 x 100 pixels.
    assert abs(int((pixels[..., 3] > 127).sum()) - 3600) < 60
    assert not source.render((20, 20, 30, 30), "CRS:84", 50, 50).any()


def test_rules_choose_by_field(squares: Path) -> None:
    style = parse_style(
        {
            "rules": [
                {"where": {"kind": "a"}, "symbols": [{"polygon": {"fill": "#010203"}}]},
                {"where": {"use": ["O'c"]}, "symbols": [{"polygon": {"fill": "#040506"}}]},
                {"where": {"missing": 1}, "symbols": [{"polygon": {"fill": "#ffffff"}}]},
                {"otherwise": True, "symbols": [{"polygon": {"fill": "#070809"}}]},
            ]
        }
    )
    source = VectorMapSource(squares, crs="EPSG:4326", style=style, columns={"use": "kind"})
    assert quarters(source.render(WORLD, "CRS:84", 100, 100)) == [
        (1, 2, 3, 255), (7, 8, 9, 255), (4, 5, 6, 255), (7, 8, 9, 255),
    ]  # fmt: skip


def test_rules_choose_by_range(squares: Path) -> None:
    rule = {"where": {"height": {"min": 5, "max": 10}}, "symbols": [{"polygon": {"fill": "#010203"}}]}
    source = VectorMapSource(squares, crs="EPSG:4326", style=parse_style({"rules": [rule]}))
    drawn = (1, 2, 3, 255)
    assert quarters(source.render(WORLD, "CRS:84", 100, 100)) == [NOTHING, drawn, drawn, NOTHING]


def test_rules_end_at_their_zoom_levels(squares: Path) -> None:
    style = parse_style({"rules": [{"min_zoom": 6, "symbols": [{"polygon": {"fill": "#ff0000"}}]}]})
    source = VectorMapSource(squares, crs="EPSG:4326", style=style)
    for zoom, drawn in ((5, False), (6, True), (7, True)):
        half = 128 * 360 / 256 / 2**zoom
        assert source.render((3 - half, 3 - half, 3 + half, 3 + half), "CRS:84", 256, 256).any() == drawn, (
            zoom
        )


@pytest.mark.parametrize("stored", ["EPSG:3857", "EPSG:3879", "EPSG:4490", "EPSG:28992", "EPSG:4547"])
@pytest.mark.parametrize(
    "asked", ["EPSG:3857", "CRS:84", "EPSG:4490", "http://www.opengis.net/def/crs/EPSG/0/4326"]
)
def test_stored_and_asked_crs_may_differ(tmp_path: Path, stored: str, asked: str) -> None:
    """A disc of 100 m around a place of the CRS's own area is drawn where pyproj says it is."""
    places = {"EPSG:28992": (4.36, 52.0), "EPSG:4547": (114.1, 22.55), "EPSG:4490": (114.1, 22.55)}
    longitude, latitude = places.get(stored, (24.94, 60.17))
    to_stored = transformer("OGC:CRS84", stored)
    angle = np.linspace(0, 2 * np.pi, 40)
    ring = np.column_stack(
        to_stored.transform(
            longitude + 100 * np.cos(angle) / 111320 / np.cos(np.radians(latitude)),
            latitude + 100 * np.sin(angle) / 111320,
        )
    )
    path = write_features(tmp_path / "disc.gpkg", [(shapely.Polygon(ring), {})], stored, {})
    x, y = transformer("OGC:CRS84", asked).transform(longitude, latitude)
    metres = 1 / 111320 if asked != "EPSG:3857" else 1 / np.cos(np.radians(latitude))
    half = 150 * metres
    pixels = VectorMapSource(path, crs=stored, style=RED).render(
        (x - half, y - half, x + half, y + half), asked, 300, 300
    )
    rows = np.nonzero(pixels[..., 3] > 127)[0]
    columns = np.nonzero(pixels[..., 3] > 127)[1]
    assert abs(rows.mean() - 149.5) < 2
    assert abs(columns.mean() - 149.5) < 2


def test_labels_are_drawn_in_chinese(squares: Path) -> None:
    style = parse_style(
        {"rules": [{"symbols": [{"label": {"field": "名称", "size": 14, "fill": "#000000"}}]}]}
    )
    pixels = VectorMapSource(squares, crs="EPSG:4326", style=style).render(WORLD, "CRS:84", 400, 400)
    assert bool(pixels.any()) == bool(map_fonts().faces)


def test_points_and_lines_are_drawn(tmp_path: Path) -> None:
    features = [(shapely.Point(2, 5), {"name": "x"}), (shapely.LineString([(5, 1), (5, 9)]), {"name": None})]
    path = write_features(tmp_path / "any.gpkg", features, "EPSG:4326", {"name": "str"})
    pixels = VectorMapSource(path, crs="EPSG:4326", style=load_style("any", STYLES)).render(
        WORLD, "CRS:84", 100, 100
    )
    assert pixels[50, 20, 3] > 0
    assert pixels[50, 50, 3] > 0
    assert pixels[50, 80, 3] == 0


def test_an_empty_table_is_an_empty_map(tmp_path: Path) -> None:
    path = write_features(tmp_path / "empty.gpkg", [], "EPSG:4326", {"name": "str"})
    assert not VectorMapSource(path, crs="EPSG:4326", style=RED).render(WORLD, "CRS:84", 20, 20).any()


def test_tiles_fit_together(squares: Path) -> None:
    source = VectorMapSource(squares, crs="EPSG:4326", style=RED)
    whole = source.render(WORLD, "CRS:84", 128, 128)
    halves = [source.render((x, 0, x + 5, 10), "CRS:84", 64, 128) for x in (0, 5)]
    assert np.array_equal(np.concatenate(halves, axis=1), whole)


@pytest.mark.parametrize("broken", ["missing", "torn", "text", "other table", "folder"])
def test_a_source_that_cannot_be_read_says_so(tmp_path: Path, squares: Path, broken: str) -> None:
    path, table = tmp_path / "x.gpkg", "feature"
    if broken == "torn":
        path.write_bytes(squares.read_bytes()[:5000])
    elif broken == "text":
        path.write_text("hello", encoding="utf-8")
    elif broken == "other table":
        path, table = squares, "nothing"
    elif broken == "folder":
        path.mkdir()
    with pytest.raises(MapSourceError, match=path.name):
        VectorMapSource(path, crs="EPSG:4326", style=RED, table=table).render(WORLD, "CRS:84", 10, 10)


def test_kinds_of_style_and_data_must_match(squares: Path) -> None:
    with pytest.raises(StyleError):
        VectorMapSource(squares, crs="EPSG:4326", style=load_style("dem", STYLES))
    with pytest.raises(StyleError):
        RasterMapSource(squares, style=RED)


@pytest.mark.parametrize(
    ("bbox", "crs", "width", "height", "error"),
    [
        (WORLD, "CRS:84", 0, 10, MapSizeError),
        (WORLD, "CRS:84", 10, 8193, MapSizeError),
        (WORLD, "CRS:84", 8192, 2049, MapSizeError),
        ((0, 0, 0, 1), "CRS:84", 10, 10, MapAreaError),
        ((0, 2, 1, 1), "CRS:84", 10, 10, MapAreaError),
        ((0, 0, float("nan"), 1), "CRS:84", 10, 10, MapAreaError),
        ((0, 0, float("inf"), 1), "CRS:84", 10, 10, MapAreaError),
        ((0, 0, 1e10, 1), "EPSG:3857", 10, 10, MapAreaError),
        (WORLD, "EPSG:0", 10, 10, UnsupportedCrs),
        (WORLD, "nonsense", 10, 10, UnsupportedCrs),
        (WORLD, "", 10, 10, UnsupportedCrs),
    ],
)
def test_requests_are_checked(
    squares: Path, bbox: Any, crs: str, width: int, height: int, error: type[Exception]
) -> None:
    for source in (
        VectorMapSource(squares, crs="EPSG:4326", style=RED),
        RasterMapSource(squares, style=load_style("dem", STYLES)),
    ):
        with pytest.raises(error):
            source.render(bbox, crs, width, height)
    with pytest.raises(error):
        map_image([], bbox, crs, width, height)


def test_the_largest_images_are_allowed() -> None:
    check_request(WORLD, "CRS:84", 8192, 2048)
    check_request(WORLD, "CRS:84", 4096, 4096)


def test_many_features_are_thinned_but_the_large_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more features than a screen is given, a share of the small ones goes, alike in neighbouring images."""
    monkeypatch.setattr(vector_module, "FEATURES_PER_SCREEN", 100)
    generator = np.random.default_rng(7)
    places = generator.uniform(0, 10, (2000, 2))
    small = [(shapely.box(x, y, x + 0.02, y + 0.02), {}) for x, y in places]
    path = write_features(tmp_path / "many.gpkg", [*small, (shapely.box(4, 4, 6, 6), {})], "EPSG:4326", {})
    source = VectorMapSource(path, crs="EPSG:4326", style=RED)
    far = source.render((-1, -1, 11, 11), "CRS:84", 600, 600)
    drawn = int((far[..., 3] > 0).sum())
    assert tuple(far[300, 300]) == (255, 0, 0, 255)
    large = 100 * 100
    assert large < drawn < large + 2000
    halves = [source.render((x, -1, x + 6, 11), "CRS:84", 300, 600) for x in (-1, 5)]
    assert np.array_equal(np.concatenate(halves, axis=1), far)
    # Close by, every one is there.
    x, y = places[17]
    near = source.render((x - 0.05, y - 0.05, x + 0.07, y + 0.07), "CRS:84", 120, 120)
    assert near[60, 60, 3] == 255


def test_threads_draw_what_they_were_asked(tmp_path: Path) -> None:
    paths = [
        write_features(tmp_path / f"{n}.gpkg", [(shapely.box(n, n, n + 1, n + 1), {})], "EPSG:4326", {})
        for n in range(6)
    ]
    wrong: list[int] = []

    def work(number: int) -> None:
        source = VectorMapSource(paths[number], crs="EPSG:4326", style=RED)
        for _ in range(15):
            pixels = source.render(WORLD, "CRS:84", 50, 50)
            rows, columns = np.nonzero(pixels[..., 3] > 127)
            if (columns.min(), rows.max()) != (number * 5, 49 - number * 5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number % 6,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_replaced_file_is_drawn_anew(tmp_path: Path) -> None:
    path = write_features(tmp_path / "a.gpkg", [(shapely.box(0, 0, 5, 10), {})], "EPSG:4326", {})
    source = VectorMapSource(path, crs="EPSG:4326", style=RED)
    assert quarters(source.render(WORLD, "CRS:84", 20, 20))[1] == NOTHING
    path.unlink()
    write_features(path, [(shapely.box(0, 0, 10, 10), {})], "EPSG:4326", {})
    os.utime(path, ns=(1, 1))
    assert quarters(source.render(WORLD, "CRS:84", 20, 20))[1] == (255, 0, 0, 255)


def test_mapnik_leaves_proj_to_the_other_libraries() -> None:
    """The wheel points PROJ_LIB at a folder without proj.db; after our import everyone still finds theirs."""
    code = (
        "import os; import tiles.maps.mapnik_library\n"
        "assert 'GDAL_DATA' not in os.environ and 'PROJ_LIB' not in os.environ\n"
        "from rasterio.warp import transform as a; from fiona.transform import transform as b; from pyproj import Transformer\n"
        "x = [f('EPSG:4547', 'EPSG:4326', [500000], [2500000])[0][0] for f in (a, b)]\n"
        "assert all(abs(v - 114) < 1e-9 for v in x), x\n"
        "print('fine')"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PROJ_", "GDAL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.stdout.strip() == "fine", done.stderr


def write_raster(
    path: Path, bands: np.ndarray[Any, Any], box: tuple[float, float, float, float], crs: str, **options: Any
) -> Path:
    height, width = bands.shape[1:]
    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "dtype": bands.dtype,
        "width": width,
        "height": height,
        "crs": crs,
    }
    overviews = options.pop("overviews", [])
    with rasterio.open(
        path, "w", transform=from_bounds(*box, width, height), **(profile | options)
    ) as target:
        target.write(bands)
        if overviews:
            target.build_overviews(overviews)
    return path


GREY = parse_style(
    {
        "raster": {
            "kind": "ramp",
            "span": [0, 100],
            "ramp": [[0, "#000000"], [1, "#ffffff"]],
            "resampling": "nearest",
        }
    }
)


def test_a_raster_lies_where_it_is_and_nodata_is_transparent(tmp_path: Path) -> None:
    values = np.full((1, 10, 10), 100, dtype=np.float32)
    values[0, :5, :5], values[0, 5:, 5:] = -9999, np.nan
    path = write_raster(tmp_path / "a.tif", values, WORLD, "EPSG:4326", nodata=-9999)
    pixels = RasterMapSource(path, style=GREY).render((-5, -5, 15, 15), "CRS:84", 80, 80)
    inner = pixels[20:60, 20:60]
    assert quarters(inner) == [(255, 255, 255, 255), NOTHING, NOTHING, (255, 255, 255, 255)]
    assert not pixels[:19].any()
    assert not pixels[:, 62:].any()


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:3879", "EPSG:4490"])
def test_a_raster_is_warped(tmp_path: Path, crs: str) -> None:
    """The middle of a gradient from west to east has the middle value in every CRS."""
    box = (24.9, 60.1, 25.1, 60.2)
    values = np.tile(np.linspace(0, 100, 200, dtype=np.float32), (1, 100, 1))
    path = write_raster(tmp_path / "a.tif", values, box, "EPSG:4326")
    west, south = transformer("OGC:CRS84", crs).transform(24.98, 60.14)
    east, north = transformer("OGC:CRS84", crs).transform(25.02, 60.16)
    pixels = RasterMapSource(path, style=GREY).render((west, south, east, north), crs, 64, 64)
    assert pixels[..., 3].all()
    assert abs(int(pixels[32, 32, 0]) - 127) <= 3
    assert int(pixels[32, 2, 0]) < int(pixels[32, 60, 0])


def test_overviews_serve_small_maps(tmp_path: Path) -> None:
    """Overviews that hold another value than the full resolution show which one was read."""
    path = write_raster(
        tmp_path / "a.tif", np.full((1, 512, 512), 100, np.float32), WORLD, "EPSG:4326", overviews=[2, 4, 8]
    )
    with rasterio.open(path, "r+") as target:
        target.write(np.zeros((1, 512, 512), np.float32))
    source = RasterMapSource(path, style=GREY)
    assert source.render(WORLD, "CRS:84", 64, 64)[32, 32, 0] == 255
    assert source.render((4, 4, 5, 5), "CRS:84", 64, 64)[32, 32, 0] == 0


def test_a_file_without_overviews_is_thinned_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.tile(np.linspace(0, 100, 3000, dtype=np.float32), (1, 3000, 1))
    path = write_raster(tmp_path / "a.tif", values, WORLD, "EPSG:4326", tiled=True)
    shapes: list[tuple[int, ...]] = []

    def gather(values: Any, *arguments: Any) -> Any:
        shapes.append(values.shape)
        return original(values, *arguments)

    original = raster_module.gather
    monkeypatch.setattr(raster_module, "gather", gather)
    pixels = RasterMapSource(path, style=GREY).render(WORLD, "CRS:84", 100, 100)
    assert max(shapes[0]) < 250
    expected = (np.arange(100) + 0.5) / 100 * 255
    assert np.abs(pixels[50, :, 0] - expected).max() < 3


def test_photographs_of_bytes_and_of_larger_numbers_look_alike(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    smooth = np.cumsum(generator.uniform(-2, 2, (3, 80, 80)), axis=2)
    bands = np.clip(120 + smooth, 1, 254).astype(np.uint8)
    style = parse_style({"raster": {"kind": "rgb", "span": [20, 220]}})
    images = []
    for name, values in (("a", bands), ("b", bands.astype(np.uint16))):
        path = write_raster(tmp_path / f"{name}.tif", values, (24.9, 60.1, 25.0, 60.2), "EPSG:4326", nodata=0)
        west, south = transformer("OGC:CRS84", "EPSG:3857").transform(24.88, 60.09)
        east, north = transformer("OGC:CRS84", "EPSG:3857").transform(24.96, 60.17)
        images.append(
            RasterMapSource(path, style=style).render((west, south, east, north), "EPSG:3857", 90, 90)
        )
    inside = (images[0][..., 3] > 0) & (images[1][..., 3] > 0)
    assert inside.mean() > 0.5
    assert ((images[0][..., 3] > 0) != (images[1][..., 3] > 0)).mean() < 0.02
    assert np.abs(images[0][inside].astype(int) - images[1][inside]).max() <= 3


def test_rgb_alpha_and_a_watermark(tmp_path: Path) -> None:
    bands = np.zeros((4, 64, 64), dtype=np.uint8)
    bands[0], bands[1], bands[3, :32] = 200, 100, 255
    path = write_raster(tmp_path / "a.tif", bands, WORLD, "EPSG:4326", photometric="RGB", alpha="YES")
    plain = RasterMapSource(path, style=load_style("ortho", STYLES))
    pixels = plain.render(WORLD, "CRS:84", 64, 64)
    assert tuple(pixels[10, 10]) == (200, 100, 0, 255)
    assert not pixels[40:].any()
    marked = RasterMapSource(path, style=load_style("ortho", STYLES), watermark="simulated / 模拟").render(
        WORLD, "CRS:84", 600, 600
    )
    assert not np.array_equal(marked, plain.render(WORLD, "CRS:84", 600, 600))


def test_classes_have_their_colours_alone(tmp_path: Path) -> None:
    values = np.repeat(np.array([[[1, 2, 3, 250]]], dtype=np.uint8), 4, axis=1)
    path = write_raster(tmp_path / "a.tif", values, (0, 0, 4, 4), "EPSG:4326")
    style = parse_style(
        {"raster": {"kind": "classes", "classes": {3: "#030303", 1: "#010101", 250: "#fafafa80"}}}
    )
    pixels = RasterMapSource(path, style=style).render((0, 0, 4, 4), "CRS:84", 40, 40)
    colours = [tuple(pixels[20, x].tolist()) for x in (5, 15, 25, 35)]
    assert colours == [(1, 1, 1, 255), NOTHING, (3, 3, 3, 255), (250, 250, 250, 128)]


def test_a_span_is_found_in_the_data(tmp_path: Path) -> None:
    style = load_style("grey", STYLES)
    values = np.linspace(500, 600, 100 * 100, dtype=np.float32).reshape(1, 100, 100)
    pixels = RasterMapSource(
        write_raster(tmp_path / "a.tif", values, WORLD, "EPSG:4326"), style=style
    ).render(WORLD, "CRS:84", 100, 100)
    assert pixels[0, 50, 0] < 5
    assert pixels[99, 50, 0] > 250
    for name, constant in (("b", 7.0), ("c", np.nan)):
        path = write_raster(
            tmp_path / f"{name}.tif", np.full((1, 9, 9), constant, np.float32), WORLD, "EPSG:4326"
        )
        assert RasterMapSource(path, style=style).render(WORLD, "CRS:84", 9, 9).any() == (name == "b")


def test_light_falls_from_the_north_west() -> None:
    style = RasterStyle("hillshade", (1,))
    rows, columns = np.mgrid[0:20, 0:20].astype(np.float32)
    flat = hillshade(np.zeros((20, 20), np.float32), (1, 1), style)
    to_north_west = hillshade((rows + columns) / 2, (1, 1), style)
    to_south_east = hillshade(-(rows + columns) / 2, (1, 1), style)
    assert np.allclose(flat, 1)
    assert to_north_west[10, 10] > 1 > to_south_east[10, 10]


def test_a_relief_has_no_seams(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:200, 0:200]
    heights = (20 * np.sin(rows / 9) * np.cos(columns / 11)).astype(np.float32)[None]
    path = write_raster(tmp_path / "a.tif", heights, (385000, 6670000, 385400, 6670400), "EPSG:3067")
    source = RasterMapSource(path, style=load_style("hillshade", STYLES))
    whole = source.render((385100, 6670100, 385300, 6670300), "EPSG:3067", 100, 100).astype(int)
    halves = [
        source.render((x, 6670100, x + 100, 6670300), "EPSG:3067", 50, 100).astype(int)
        for x in (385100, 385200)
    ]
    assert np.abs(np.concatenate(halves, axis=1) - whole).max() <= 1


@pytest.mark.parametrize("broken", ["missing", "torn", "text", "no crs", "bands"])
def test_a_raster_that_cannot_be_drawn_says_so(tmp_path: Path, broken: str) -> None:
    path, style = tmp_path / "x.tif", GREY
    values = np.ones((1, 600, 600), np.float32) * np.arange(600, dtype=np.float32)
    if broken == "torn":
        write_raster(path, values, WORLD, "EPSG:4326")
        path.write_bytes(path.read_bytes()[:30000])
    elif broken == "text":
        path.write_text("hello", encoding="utf-8")
    elif broken == "no crs":
        write_raster(path, values, WORLD, "")
    elif broken == "bands":
        write_raster(path, values, WORLD, "EPSG:4326")
        style = load_style("ortho", STYLES)
    with pytest.raises(MapSourceError, match=r"x\.tif"):
        RasterMapSource(path, style=style).render(WORLD, "CRS:84", 100, 100)


def test_composition_and_background() -> None:
    low, high = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    low[:], high[:, :2] = (255, 0, 0, 255), (0, 0, 255, 128)
    mixed = compose([low, high])
    assert tuple(mixed[0, 3]) == (255, 0, 0, 255)
    assert abs(int(mixed[0, 0, 2]) - 128) <= 1
    with pytest.raises(ValueError, match="at least one"):
        compose([])
    image = Image.open(io.BytesIO(map_image([], WORLD, "CRS:84", 8, 4, background="#00ff00")))
    assert image.size == (8, 4)
    assert image.convert("RGBA").getpixel((0, 0)) == (0, 255, 0, 255)
    with pytest.raises(StyleError):
        map_image([], WORLD, "CRS:84", 8, 4, background="green")


@pytest.mark.parametrize("media_type", image_formats())
def test_every_format_can_be_read_back(media_type: str) -> None:
    pixels = np.zeros((20, 30, 4), dtype=np.uint8)
    pixels[:, :15] = (200, 40, 40, 255)
    image = Image.open(io.BytesIO(encode_image(pixels, media_type)))
    assert image.size == (30, 20)
    assert Image.MIME[image.format or ""] == media_type.split(";")[0]
    red, green, _blue, alpha = image.convert("RGBA").getpixel((5, 5))  # type: ignore[misc]
    assert abs(red - 200) < 12
    assert abs(green - 40) < 12
    assert alpha == 255
    clear = image.convert("RGBA").getpixel((25, 5))
    assert clear == (255, 255, 255, 255) if media_type == "image/jpeg" else clear[3] == 0  # type: ignore[index]


def test_an_unknown_format_names_those_offered() -> None:
    with pytest.raises(UnsupportedImageFormat, match="image/webp"):
        encode_image(np.zeros((1, 1, 4), np.uint8), "image/gif")


def test_watermarks_continue_over_the_edge_of_tiles() -> None:
    ground = np.full((1024, 1024, 4), (10, 120, 10, 255), dtype=np.uint8)
    box = (1_000_000.0, 2_000_000.0, 1_001_024.0, 2_001_024.0)
    whole = draw_watermark(ground, "simulated / 模拟", MapRequest(box, "EPSG:3857", 1024, 1024))
    assert not np.array_equal(whole, ground)
    tiles = []
    for row in range(4):
        line = []
        for column in range(4):
            minx, maxy = box[0] + column * 256, box[3] - row * 256
            request = MapRequest((minx, maxy - 256, minx + 256, maxy), "EPSG:3857", 256, 256)
            line.append(draw_watermark(ground[:256, :256], "simulated / 模拟", request))
        tiles.append(np.concatenate(line, axis=1))
    assert np.array_equal(np.concatenate(tiles), whole)
    empty = np.zeros((600, 600, 4), np.uint8)
    assert not draw_watermark(empty, "x", MapRequest(box, "EPSG:3857", 600, 600)).any()


@pytest.mark.parametrize(
    "text", ["red", "", "#12", "#12345", "rgb(1,2,3)", "#12345g", "hsl(0,0%,0%)", 5, None]
)
def test_colours_are_hexadecimal(text: Any) -> None:
    with pytest.raises(StyleError):
        parse_colour(text)


def test_colours_of_three_six_and_eight_digits() -> None:
    assert parse_colour("#abc") == (170, 187, 204, 255)
    assert parse_colour("#010203") == (1, 2, 3, 255)
    assert parse_colour("#01020304") == (1, 2, 3, 4)


def test_leases_are_bounded_and_reused() -> None:
    made, closed = iter(range(100)), []
    store: LeaseStore[int] = LeaseStore(2, closed.append)
    with store.lease("a", lambda: next(made)) as first, store.lease("a", lambda: next(made)) as second:
        assert (first, second) == (0, 1)
        assert store.idle_count() == 0
    assert store.idle_count() == 2
    with store.lease("a", lambda: next(made)) as again:
        assert again in (0, 1)
    with store.lease("b", lambda: next(made)) as other:
        assert other == 2
    assert store.idle_count() == 2
    assert len(closed) == 1

    def fail() -> None:
        with store.lease("b", lambda: next(made)) as failing:
            assert failing == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert closed[-1] == 2
    store.clear()
    assert store.idle_count() == 0
    assert len(closed) == 3
    with pytest.raises(ValueError, match="at least one"):
        LeaseStore(0, closed.append)
