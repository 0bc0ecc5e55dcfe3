"""Tilesets of maps: their lists, their documents, TileJSON; of a collection, the dataset, and styles."""

from __future__ import annotations

from typing import Any

import pytest

from tiles.grids import own_grid_ids

ORIGINS = (
    "/ogc/collections/demo.boxes",
    "/t/demo/ogc/collections/boxes",
    "/t/demo/ogc/collections/boxes/styles/line",
    "/ogc",
    "/t/demo/ogc/styles/line",
)
HOST = "http://city.example:8000"


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_listed_tileset_is_there_with_limits_center_and_working_links(client: Any, origin: str) -> None:
    listed = client.json(f"{origin}/map/tiles")["tilesets"]
    names = [one["links"][0]["href"].rpartition("/")[2] for one in listed]
    assert {"WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad", *own_grid_ids()} <= set(names)
    for name in names:
        document = client.json(f"{origin}/map/tiles/{name}")
        assert document["dataType"] == "map"
        assert document["crs"].startswith("http://www.opengis.net/def/crs/")
        longitude, latitude = document["centerPoint"]["coordinates"]
        assert 113 < longitude < 115
        assert 22 < latitude < 23
        limits = {one["tileMatrix"]: one for one in document["tileMatrixSetLimits"]}
        zoom = document["centerPoint"]["tileMatrix"]
        assert zoom in limits
        templates = [link["href"] for link in document["links"] if link.get("templated")]
        assert {template.partition("?f=")[2][:3] for template in templates} == {"png", "jpe", "web"}
        address = (
            templates[0]
            .removeprefix(HOST)
            .format(tileMatrix=zoom, tileRow=limits[zoom]["minTileRow"], tileCol=limits[zoom]["minTileCol"])
        )
        reply = client.get(address)
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "image/png"
        assert client.get(document["links"][0]["href"].removeprefix(HOST)).status == 200
        for layer in document["layers"]:
            assert layer["dataType"] == "map"
            geodata = next(link["href"] for link in layer["links"] if link["rel"] == "geodata")
            assert client.get(geodata.removeprefix(HOST)).status == 200
    assert ("style" in client.json(f"{origin}/map/tiles/WebMercatorQuad")) == ("/styles/" in origin)


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("f", ["png", "jpeg", "webp"])
def test_tilejson_and_tiles_in_every_format(client: Any, origin: str, f: str) -> None:
    document = client.json(f"{origin}/map/tiles/WebMercatorQuad?f=tilejson")
    assert document["tilejson"] == "3.0.0"
    west, south, east, north = document["bounds"]
    assert west < document["center"][0] < east
    assert south < document["center"][1] < north
    address = document["tiles"][0].removeprefix(HOST).format(z=10, y=445, x=835).replace("f=png", f"f={f}")
    reply = client.get(address)
    assert reply.headers["Content-Type"] == f"image/{f}"
    again = client.get(address, IF_NONE_MATCH=reply.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_time_and_collections_go_on_into_the_addresses_of_tiles(client: Any) -> None:
    url = "/ogc/map/tiles/WebMercatorQuad?collections=demo.boxes&datetime=2010-01-01/2012-01-01"
    document = client.json(url)
    template = next(link["href"] for link in document["links"] if link.get("templated"))
    assert template.endswith("&collections=demo.boxes&datetime=2010-01-01/2012-01-01")
    tile = "/map/tiles/WebMercatorQuad/10/445/835"
    own = f"/ogc/collections/demo.boxes{tile}"
    timed = client.get(f"{own}?datetime=2010-01-01/2012-01-01").body
    assert timed == client.get(f"/ogc{tile}?collections=demo.boxes&datetime=2010-01-01/2012-01-01").body
    assert timed != client.get(own).body
    assert client.get(f"{own}?datetime=2010-01-01/2012-01-01").body == timed


def test_a_tileset_as_a_page(client: Any) -> None:
    for origin in ORIGINS:
        page = client.get(f"{origin}/map/tiles?f=html")
        assert page.status == 200
        assert page.headers["Content-Type"].startswith("text/html")
