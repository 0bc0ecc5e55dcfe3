"""Where things are on maps: a raster of known pixels in every CRS, and maps that are the mosaic of their tiles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_bounds

from server.http.app import create_app
from server.publish.map_conformance import raster_map_conformance
from server.registry.catalogue import Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings
from tiles.grids import TileId, grid, tile_range

WEST, SOUTH, EAST, NORTH = 113.0, 22.0, 115.0, 23.0
RED = (114.375, 22.875)
"""The middle of the one red pixel: 8 x 4 pixels of a quarter of a degree, column 5, row 0."""
URL = "/t/demo/ogc/collections/known"


def write_known(path: Path) -> None:
    bands = np.full((3, 4, 8), 60, dtype=np.uint8)
    bands[:, 0, 5] = (255, 0, 0)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=8,
        height=4,
        count=3,
        dtype="uint8",
        crs="EPSG:4326",
        transform=from_bounds(WEST, SOUTH, EAST, NORTH, 8, 4),
        photometric="RGB",
    ) as file:
        file.write(bands)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Any]:
    """A server with one raster."""
    home = tmp_path_factory.mktemp("known")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    bands = [{"name": name, "dtype": "uint8", "interpretation": name} for name in ("red", "green", "blue")]
    coverage = {
        "dtype": "uint8",
        "bands": bands,
        "width": 8,
        "height": 4,
        "resolution": 0.25,
        "crs": "EPSG:4326",
    }
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        with staging_folder(home) as folder:
            staged = folder / "generation"
            staged.mkdir()
            write_known(staged / "coverage.tif")
            style = "ortho"
            tested = raster_map_conformance(
                staged,
                "coverage.tif",
                coverage,
                (WEST, SOUTH, EAST, NORTH),
                "EPSG:4326",
                style,
                settings.styles_directory,
            )
            assert not tested.failed
            registry.publish(
                CollectionDraft(
                    tenant="demo",
                    id="known",
                    titles={"en": "Known", "zh": "已知"},
                    bbox=(WEST, SOUTH, EAST, NORTH),
                    storage_crs="http://www.opengis.net/def/crs/EPSG/0/4326",
                ),
                [
                    Representation(RepresentationKind.COVERAGE, "coverage.tif", 0, properties=coverage),
                    Representation(
                        RepresentationKind.MAP,
                        "coverage.tif",
                        0,
                        properties={"style": style, "conformance": tested.passed},
                    ),
                ],
                staged,
                False,
            )
        yield wsgi_client(create_app(settings))


def picture(reply: Any) -> np.ndarray:
    assert reply.status == 200, reply.body[:300]
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGBA")).astype(int)


@pytest.mark.parametrize(
    "crs", ["OGC:CRS84", "EPSG:4326", "EPSG:4490", "EPSG:3857", "EPSG:4547", "EPSG:32650"]
)
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_a_known_pixel_lies_where_it_belongs_in_every_crs(known: Any, crs: str, form: str) -> None:
    reply = known.get(f"{URL}/map?crs={crs}&width=800&f={form}")
    shown = picture(reply)
    corners = [float(number) for number in reply.headers["Content-Bbox"].split(",")]
    if crs in ("EPSG:4326", "EPSG:4490", "EPSG:4547"):  # the authority has the northing or latitude first
        corners = [corners[1], corners[0], corners[3], corners[2]]
    minx, miny, maxx, maxy = corners
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(*RED)
    column = int((x - minx) / (maxx - minx) * shown.shape[1])
    row = int((maxy - y) / (maxy - miny) * shown.shape[0])
    assert shown[row, column, 0] - shown[row, column, 1] > 100, shown[row, column]
    red = shown[..., 0] - shown[..., 1] > 100
    rows, columns = np.nonzero(red)
    assert (abs(rows.mean() - row), abs(columns.mean() - column)) < (12, 12)
    assert red.mean() < 0.08  # one pixel of 32


@pytest.mark.parametrize(
    "query",
    [
        "bbox=114.25,22.75,114.5,23",
        "bbox=22.75,114.25,23,114.5&bbox-crs=EPSG:4326",
        "subset=Lon(114.25:114.5),Lat(22.75:23)",
        "subset=Lat(22.75:23),Lon(114.25:114.5)&subset-crs=EPSG:4326",
        "center=114.375,22.875&scale-denominator=100000&height=50",
        "center=22.875,114.375&center-crs=EPSG:4326&scale-denominator=100000&height=50",
    ],
)
def test_boxes_subsets_and_centers_have_the_order_of_their_crs(known: Any, query: str) -> None:
    shown = picture(known.get(f"{URL}/map?{query}&width=50"))
    middle = shown[shown.shape[0] // 2, 25]
    assert middle[0] - middle[1] > 100


@pytest.mark.parametrize(
    ("grid_id", "zoom"), [("WebMercatorQuad", 9), ("WorldCRS84Quad", 8), ("CGCS2000Quad", 9)]
)
@pytest.mark.parametrize("collection", ["known", "boxes"])
def test_a_map_is_the_mosaic_of_its_tiles(
    known: Any, client: Any, grid_id: str, zoom: int, collection: str
) -> None:
    server = known if collection == "known" else client
    url = f"/t/demo/ogc/collections/{collection}"
    tiling = grid(grid_id)
    found = tile_range(grid_id, (113.9, 22.6, 114.1, 22.8), zoom)
    left, top = found.min_column, found.min_row
    mosaic = np.zeros((512, 512, 4), dtype=int)
    for row in range(2):
        for column in range(2):
            reply = server.get(f"{url}/map/tiles/{grid_id}/{zoom}/{top + row}/{left + column}?f=png")
            mosaic[row * 256 : row * 256 + 256, column * 256 : column * 256 + 256] = picture(reply)
    first, last = tiling.bounds(TileId(zoom, left, top)), tiling.bounds(TileId(zoom, left + 1, top + 1))
    box = (first.minx, last.miny, last.maxx, first.maxy)
    if tiling.north_first:
        box = (box[1], box[0], box[3], box[2])
    numbers = ",".join(map(repr, box))
    crs = tiling.authority_code
    whole = picture(server.get(f"{url}/map?bbox={numbers}&bbox-crs={crs}&crs={crs}&width=512&height=512"))
    shown = (mosaic[..., 3] > 0) | (whole[..., 3] > 0)
    assert shown.any()
    difference = np.abs(mosaic - whole)[shown].max(axis=-1)
    # Tiles of features have a palette; rasters are warped from another corner: a few pixels at edges differ.
    assert (difference > 40).mean() < 0.03


def test_dataset_tiles_are_the_tiles_of_their_collections(known: Any) -> None:
    tile = "map/tiles/WebMercatorQuad/9/223/418"
    assert np.array_equal(picture(known.get(f"{URL}/{tile}")), picture(known.get(f"/ogc/{tile}")))


def test_conformance_of_the_raster_is_what_it_passed(known: Any) -> None:
    classes = known.json(URL)["conformsTo"]
    maps = {uri.rpartition("/")[2] for uri in classes if "ogcapi-maps-1/" in uri}
    assert {"core", "scaling", "spatial-subsetting", "crs", "collection-map", "styled-map", "png"} <= maps
    assert "datetime" not in maps  # it has none
    assert set(classes) & set(known.json("/ogc/conformance")["conformsTo"])
