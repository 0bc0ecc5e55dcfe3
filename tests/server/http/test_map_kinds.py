"""WMS and WMTS over every kind of source: a series of images, a GeoParquet file in place, a map of another server."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_bounds

from server.cli import run
from server.http.app import create_app
from server.settings import load_settings

BOX = (24.9, 60.1, 25.1, 60.2)
DAYS = ("20240101", "20240601", "20250101")


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images with values 10, 20, 30 and a strip without any, and a GeoParquet file of two squares."""
    folder = tmp_path_factory.mktemp("kinds")
    for number, day in enumerate(DAYS):
        values = np.full((1, 64, 64), 10 * (number + 1), np.float32)
        values[:, :8] = -9999
        options = {
            "width": 64,
            "height": 64,
            "count": 1,
            "dtype": "float32",
            "crs": "EPSG:4326",
            "nodata": -9999,
        }
        with rasterio.open(
            folder / f"temp_{day}.tif", "w", driver="GTiff", transform=from_bounds(*BOX, 64, 64), **options
        ) as file:
            file.write(values)
            file.set_band_description(1, "temperature")
    shapes = shapely.box([24.92, 25.02], [60.12, 60.12], [24.96, 25.06], [60.16, 60.16])
    geo = b'{"version":"1.0.0","primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","geometry_types":["Polygon"]}}}'
    table = pa.table({"geometry": pa.array(shapely.to_wkb(shapes)), "name": ["west", "east"]})
    pq.write_table(table.replace_schema_metadata({b"geo": geo}), folder / "squares.parquet")
    return folder


@pytest.fixture(scope="module")
def upstream(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the WMS of another city, with the series of images."""
    home = tmp_path_factory.mktemp("upstream")
    rasters = [str(files / f"temp_{day}.tif") for day in DAYS]
    assert run(["tenants", "add", "far", "--title", "Far", "--home", str(home)]) == 0
    options = [
        "--tenant",
        "far",
        "--id",
        "temp",
        "--title",
        "Temperature",
        "--time",
        "temp_%Y%m%d",
        "--home",
        str(home),
    ]
    assert run(["publish", *rasters, *options]) == 0
    application = create_app(load_settings((), {}, {"data.home": home}))
    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/t/far"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def maps(files: Path, upstream: str, tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Any:
    """A city whose layers are of other kinds than the embedded store."""
    home = tmp_path_factory.mktemp("kinds_home")
    host = upstream.split("/")[2]
    (home / "chengtu.yml").write_text(f"sources: {{file_roots: ['{files}'], allowed_hosts: ['{host}']}}\n")
    common = ["--tenant", "near", "--home", str(home), "--config", str(home / "chengtu.yml")]
    assert run(["tenants", "add", "near", "--title", "Near", *common[2:]]) == 0
    rasters = [str(files / f"temp_{day}.tif") for day in DAYS]
    assert run(["publish", *rasters, "--id", "temp", "--title", "T", "--time", "temp_%Y%m%d", *common]) == 0
    squares = f"parquet:{files / 'squares.parquet'}"
    assert run(["register", squares, "--id", "squares", "--title", "Squares", *common]) == 0
    remote = f"wms:{upstream}/maps/service#temp"
    assert run(["register", remote, "--id", "cascade", "--title", "Cascade", *common]) == 0
    settings = load_settings((home / "chengtu.yml",), {}, {"data.home": home})
    return wsgi_client(create_app(settings))


def url(layer: str, request: str = "GetMap", **changes: str) -> str:
    parameters = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": request,
        "LAYERS": layer,
        "QUERY_LAYERS": layer,
        "STYLES": "",
        "CRS": "CRS:84",
        "BBOX": ",".join(map(str, BOX)),
        "WIDTH": "200",
        "HEIGHT": "100",
        "FORMAT": "image/png",
        "INFO_FORMAT": "application/json",
        "TRANSPARENT": "TRUE",
        "I": "40",
        "J": "50",
    }
    return "/t/near/maps/service?" + urlencode(parameters | changes)


def pixels(reply: Any) -> Any:
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png"), reply.body[:300]
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGBA"))


def test_the_capabilities_tell_the_kinds(maps: Any) -> None:
    text = maps.get("/t/near/maps/service?REQUEST=GetCapabilities").body.decode()
    layers = {re.search("<Name>(.*?)</Name>", one)[1]: one for one in text.split("<Layer ")[1:]}
    assert set(layers) == {"temp", "squares", "cascade"}
    assert 'opaque="0"' in layers["temp"], "it has pixels without data"
    assert "2024-01-01T00:00:00Z,2024-06-01T00:00:00Z,2025-01-01T00:00:00Z</Dimension>" in layers["temp"]
    assert 'cascaded="1"' in layers["cascade"]
    assert 'queryable="1"' in layers["squares"]


def test_a_series_has_its_values_and_its_times(maps: Any) -> None:
    latest = maps.get(url("temp"))
    assert latest.headers["Warning"].startswith('99 - "Default value used: time=2025-01-01T00:00:00Z')
    drawn = pixels(latest)
    assert drawn[50, 100, 3] == 255
    assert drawn[3, 100, 3] == 0, "no data is transparent"
    for time, value in (("", 30.0), ("2024-06-01", 20.0), ("2024-01-01T00:00:00Z", 10.0)):
        [feature] = maps.get(url("temp", "GetFeatureInfo", TIME=time)).json["features"]
        assert feature["properties"]["temperature"] == value
    assert maps.get(url("temp", "GetFeatureInfo", J="3")).json["features"] == []
    path = "/t/near/maps/wmts/1.0.0/temp/default/{}/WebMercatorQuad/10/{}/{}.png"
    row, column = 296, 582
    tiles = {maps.get(path.format(time, row, column)).body for time in ("2024-01-01T00:00:00Z", "default")}
    assert all(body.startswith(b"\x89PNG") for body in tiles)
    assert maps.get(path.format("1990", row, column)).status == 400


def test_a_file_in_place_is_drawn_and_asked(maps: Any) -> None:
    drawn = pixels(maps.get(url("squares")))
    assert drawn[60, 40, 3] > 0
    assert drawn[60, 90, 3] == 0
    [feature] = maps.get(url("squares", "GetFeatureInfo", J="60")).json["features"]
    assert feature["properties"]["name"] == "west"
    tile = maps.get("/t/near/maps/wmts/1.0.0/squares/default/WebMercatorQuad/10/296/582.png")
    assert pixels(tile)[..., 3].any()


def test_another_servers_map_is_drawn_and_asked(maps: Any) -> None:
    drawn, direct = pixels(maps.get(url("cascade"))), pixels(maps.get(url("temp")))
    assert (np.abs(drawn.astype(int) - direct.astype(int)) > 40).any(axis=-1).mean() < 0.05
    [feature] = maps.get(url("cascade", "GetFeatureInfo")).json["features"]
    assert feature["properties"]["temperature"] == 30.0
    assert feature["layer"] == "cascade"
    legend = maps.get("/t/near/maps/service?REQUEST=GetLegendGraphic&LAYER=cascade")
    assert legend.headers["Content-Type"] == "image/png"
    together = pixels(maps.get(url("temp,cascade,squares", STYLES=",,")))
    assert together[60, 40].tolist() != direct[60, 40].tolist()


def test_every_legend_is_an_image(maps: Any) -> None:
    for layer in ("temp", "squares"):
        legend = maps.get(f"/t/near/maps/service?REQUEST=GetLegendGraphic&LAYER={layer}")
        assert legend.headers["Content-Type"] == "image/png"
