"""WMTS by query and by path, TMS, tiles by z/x/y and KML: one tile, the same bytes in each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from owslib.wmts import WebMapTileService

from tiles.grids import TileId, china_grids, grid, grid_ids, tile_range
from tiles.mapproxy.layer_grids import grids_of
from tiles.mapproxy.time_dimension import TimeDimension

HELSINKI = (24.9, 60.1, 25.0, 60.2)
SHENZHEN = (113.8, 22.5, 114.3, 22.8)


def wmts_of(ask: Any) -> Any:
    return WebMapTileService(
        "http://city.example/maps/wmts", xml=ask("/wmts/1.0.0/WMTSCapabilities.xml").body
    )


def test_owslib_reads_the_capabilities(ask: Any) -> None:
    by_query = ask("/wmts", "SERVICE=WMTS&REQUEST=GetCapabilities&ACCEPTVERSIONS=2.0.0,1.0.0").body
    assert by_query == ask("/wmts/1.0.0/WMTSCapabilities.xml").body
    wmts = wmts_of(ask)
    assert set(wmts.contents) == {"city.buildings", "city.streets", "city.ortho"}
    entry = wmts.contents["city.buildings"]
    assert (entry.title, entry.abstract) == ('Buildings <of> the "city" & more', "建筑 & <b>")
    assert {name: style["isDefault"] for name, style in entry.styles.items()} == {
        "plain": True,
        "night": False,
    }
    assert "GetLegendGraphic" in entry.styles["night"]["legend"]
    assert set(entry.formats) == {"image/png", "image/jpeg", "image/webp"}
    assert set(entry.tilematrixsetlinks) == {*grid_ids(), "CGCS2000Quad"}
    zones = {name for name in wmts.contents["city.ortho"].tilematrixsetlinks if "GK3" in name}
    assert zones == {"CGCS2000GK3Zone38", "CGCS2000GK3CM114E"}
    limits = entry.tilematrixsetlinks["WebMercatorQuad"].tilematrixlimits["12"]
    tiles = tile_range("WebMercatorQuad", HELSINKI, 12)
    assert (limits.mintilerow, limits.maxtilerow) == (tiles.min_row, tiles.max_row)
    [dimension] = wmts.contents["city.ortho"].dimensions.values()
    assert dimension["default"] == "2025-01-01T00:00:00Z"
    assert len(dimension["values"]) == 3
    degrees = wmts.tilematrixsets["WorldCRS84Quad"]
    assert (degrees.crs, degrees.tilematrix["0"].topleftcorner) == (
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        (-180.0, 90.0),
    )
    zone = wmts.tilematrixsets["CGCS2000GK3CM114E"]
    assert zone.crs == "urn:ogc:def:crs:EPSG::4547"
    assert zone.tilematrix["0"].scaledenominator == pytest.approx(16384 / 0.00028)


def test_every_template_leads_to_what_it_says(ask: Any) -> None:
    found = set()
    for name, entry in wmts_of(ask).contents.items():
        box = SHENZHEN if name == "city.ortho" else HELSINKI
        tiles = tile_range("WebMercatorQuad", box, 12)
        values = {
            "Style": next(iter(entry.styles)),
            "TileMatrixSet": "WebMercatorQuad",
            "TileMatrix": "12",
            "TileRow": str(tiles.min_row),
            "TileCol": str(tiles.min_column),
            "Time": "2024-06-01T00:00:00Z",
            "I": "100",
            "J": "200",
        }
        for resource in entry.resourceURLs:
            path = re.sub(r"\{(\w+)\}", lambda match, values=values: values[match[1]], resource["template"])
            answer = ask(path.removeprefix("http://city.example/maps"))
            assert (answer.status, answer.media_type) == (200, resource["format"]), path
            found.add(resource["resourceType"])
    assert found == {"tile", "FeatureInfo"}


@pytest.mark.parametrize("tms_id", [*grid_ids(), "CGCS2000Quad", "CGCS2000GK3Zone38", "CGCS2000GK3CM114E"])
def test_a_tile_is_drawn_once_for_all_protocols(ask: Any, view: Any, get_tile: Any, tms_id: str) -> None:
    pyramid = grid(tms_id)
    tiles = tile_range(tms_id, SHENZHEN, 13)
    tile = TileId(13, tiles.min_column, tiles.min_row)
    answer = ask(f"/wmts/1.0.0/city.ortho/default/{tms_id}/13/{tile.y}/{tile.x}.png")
    assert answer.image.size == (256, 256)
    [(box, crs, _, _, _)] = view.sources["ortho"].asked
    assert (box, crs) == (tuple(pyramid.bounds(tile)), pyramid.authority_code)
    below = pyramid.matrix_size(13)[1] - 1 - tile.y
    others = [
        ask(
            "/wmts",
            get_tile(LAYER="city.ortho", TILEMATRIXSET=tms_id, TILEMATRIX=13, TILEROW=tile.y, TILECOL=tile.x),
        ),
        ask(f"/tms/1.0.0/city.ortho/{tms_id}/13/{tile.x}/{below}.png"),
        ask(f"/tiles/1.0.0/city.ortho/{tms_id}/13/{tile.x}/{tile.y}.png"),
        ask(f"/xyz/city.ortho/{tms_id}/13/{tile.x}/{tile.y}.png"),
    ]
    if tms_id in grid_ids():
        others.append(ask(f"/kml/city.ortho/{tms_id}/13/{tile.x}/{below}.png"))
    assert all(other.body == answer.body for other in others)
    assert len(view.sources["ortho"].asked) == 1
    same = ask(
        f"/xyz/city.ortho/{tms_id}/13/{tile.x}/{tile.y}.png", HTTP_IF_NONE_MATCH=answer.headers["etag"]
    )
    assert (same.status, same.body) == (304, b"")
    head = ask(f"/xyz/city.ortho/{tms_id}/13/{tile.x}/{tile.y}.png", REQUEST_METHOD="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(answer.body)))


def test_styles_times_and_missing_parameters(ask: Any, view: Any, get_tile: Any) -> None:
    night = ask("/wmts", get_tile(STYLE="night"))
    assert night.image.getpixel((9, 9)) == (10, 10, 10, 255)
    # ogc-client leaves out VERSION; others leave out more.
    for left_out in ({"VERSION": None}, {"STYLE": None}, {"FORMAT": None}, {"SERVICE": None}):
        assert ask("/wmts", get_tile(**left_out)).status == 200
    assert ask("/service", get_tile(VERSION=None)).status == 200
    tiles = tile_range("WebMercatorQuad", SHENZHEN, 12)
    place = {"LAYER": "city.ortho", "TILEROW": tiles.min_row, "TILECOL": tiles.min_column}
    assert ask("/wmts", get_tile(**place, TIME="2024-01-01T00:00:00Z")).status == 200
    path = f"WebMercatorQuad/12/{tiles.min_row}/{tiles.min_column}.png"
    assert ask(f"/wmts/1.0.0/city.ortho/default/2024-01-01T00:00:00Z/{path}").status == 200
    assert [one[4] for one in view.sources["ortho"].asked] == ["2024-01-01T00:00:00Z"]
    # The latest image is the default, under one name however it is asked.
    for asked in ("2025-01-01T00:00:00Z", "default", "current"):
        assert ask(f"/wmts/1.0.0/city.ortho/default/{asked}/{path}").status == 200
    assert len(view.sources["ortho"].asked) == 2


def test_information_of_a_tile(ask: Any, get_tile: Any) -> None:
    tiles = tile_range("WebMercatorQuad", (24.94, 60.14, 24.96, 60.16), 16)
    place = {"TILEMATRIX": 16, "TILEROW": tiles.min_row + 1, "TILECOL": tiles.min_column + 1}
    question = get_tile(REQUEST="GetFeatureInfo", INFOFORMAT="application/json", I=10, J=10, **place)
    assert b'"small"' in ask("/wmts", question).body
    refused = ask("/wmts", question | {"LAYER": "city.ortho"})
    assert b"OperationNotSupported" in refused.body


def test_tms_documents_describe_the_tiles_as_they_are_served(ask: Any) -> None:
    [service] = ask("/tms").root.iter("TileMapService")
    assert service.get("href") == "http://city.example/maps/tms/1.0.0/"
    hrefs = [one.get("href") for one in ask("/tms/1.0.0/").root.iter("TileMap")]
    assert len(hrefs) == 3 + 3 + 5
    for href in hrefs:
        root = ask(href.removeprefix("http://city.example/maps")).root
        zero = next(one for one in root.iter("TileSet") if one.get("order") == "0")
        pyramid = grid(href.rpartition("/")[2])
        assert float(zero.get("units-per-pixel")) == pytest.approx(pyramid.cell_size(0))
        origin = root.find("Origin")
        lowest = pyramid.bounds(TileId(0, 0, pyramid.matrix_size(0)[1] - 1))
        assert (float(origin.get("x")), float(origin.get("y"))) == pytest.approx((lowest.minx, lowest.miny))


@pytest.mark.parametrize("tms_id", grid_ids())
def test_a_kml_overlay_leads_down_to_tiles(ask: Any, tms_id: str) -> None:
    space = "{http://www.opengis.net/kml/2.2}"
    path = f"/kml/city.buildings/{tms_id}"
    for depth in range(3):
        answer = ask(path)
        assert answer.media_type == "application/vnd.google-earth.kml+xml"
        links = [
            one.text.removeprefix("http://city.example/maps") for one in answer.root.iter(f"{space}href")
        ]
        images = [one for one in links if one.endswith(".png")]
        documents = [one for one in links if one.endswith(".kml")]
        assert 1 <= len(images) == len(documents) <= 4, depth
        assert ask(images[0]).image.size == (256, 256)
        path = documents[0]
    assert ask(f"/kml/city.buildings/{tms_id}/22/0/0.kml").status == 404, "nothing lies below the last level"


def test_grids_of_ones_own_are_offered_with_their_own_corners(ask: Any, view: Any, own_grid: Any) -> None:
    assert own_grid in [one.id for one in grids_of(HELSINKI)]
    view.hidden = {"nothing, but documents of its own"}
    matrix_set = wmts_of(ask).tilematrixsets[own_grid]
    assert matrix_set.tilematrix["1"].tilewidth == 512
    pyramid = grid(own_grid)
    tile = TileId(1, 0, 0)
    answer = ask(f"/wmts/1.0.0/city.buildings/default/{own_grid}/1/0/0.png")
    assert answer.status == 200
    assert view.sources["buildings"].asked[-1][0] == tuple(pyramid.bounds(tile))


@pytest.fixture
def own_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set of Helsinki's own CRS whose levels have tiles of different sizes."""
    from dataclasses import replace

    from tiles import grids
    from tiles.grids import Matrix

    base = grid("CGCS2000GK3CM114E")
    made = replace(
        base,
        id="CityGrid",
        crs="http://www.opengis.net/def/crs/EPSG/0/3879",
        authority_code="EPSG:3879",
        max_zoom=1,
        area=None,
        matrices=(
            Matrix(0, 64.0, 25_440_000.0, 6_720_000.0, 4, 4, 256, 256),
            Matrix(1, 32.0, 25_440_000.0, 6_720_000.0, 4, 4, 512, 512),
        ),
    )
    monkeypatch.setitem(grids._own, "CityGrid", made)
    monkeypatch.setitem(grids._own_documents, "CityGrid", {})
    return "CityGrid"


def test_there_are_zones_of_china_to_choose_from() -> None:
    assert len(china_grids()) == 43
    assert {one.id for one in grids_of(HELSINKI)} >= {"WebMercatorQuad", "CGCS2000Quad"}


def test_a_long_series_finds_its_neighbours() -> None:
    days = tuple(f"2024-{month:02}-01T00:00:00Z" for month in range(1, 13))
    series = TimeDimension(days)
    assert series.choose("2024-03-16").instant in ("2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z")
    assert series.choose("2024-03").instant == "2024-03-01T00:00:00Z"
    assert series.choose("2024-03-01/2024-05-15").instant == "2024-05-01T00:00:00Z"
