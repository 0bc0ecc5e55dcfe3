"""Maps of the whole server: names of kept tiles, tenants' watermark and clip, areas and hidden fields, styles, times, legends."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from server.errors import InvalidMapPolicy
from server.http.app import make_services
from server.http.map_sources import OPEN, MapSources, policy_of
from server.http.map_view import ServerMapView
from server.http.scope import Scope
from server.identity.decision import ANONYMOUS, Decision
from server.registry.catalogue import Interval
from tiles.errors import StyleError, UnknownInstant, UnknownStyle
from tiles.grids import TileId, tile_range
from tiles.mapproxy import TimeDimension
from tiles.mapproxy.capabilities_wms import wms_capabilities
from tiles.mapproxy.capabilities_wmts import wmts_capabilities

BOX = (113.80, 22.60, 114.10, 22.80)
HALF = "POLYGON((113.95 22.5, 114.2 22.5, 114.2 22.9, 113.95 22.9, 113.95 22.5))"


@pytest.fixture(scope="module")
def services(city: Any) -> Any:
    return make_services(city.settings)


@pytest.fixture
def policy(city: Any) -> Iterator[Any]:
    """Sets the policy of tenant demo, and takes it away in the end."""
    yield lambda watermark, clip: city.registry.set_map_policy("demo", watermark, clip)
    city.registry.set_map_policy("demo", None, None)


def get_map(**changes: str) -> str:
    parameters = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": "GetMap",
        "LAYERS": "boxes",
        "STYLES": "",
        "CRS": "CRS:84",
        "BBOX": ",".join(map(str, BOX)),
        "WIDTH": "600",
        "HEIGHT": "400",
        "FORMAT": "image/png",
        "TRANSPARENT": "TRUE",
    }
    return "/t/demo/maps/service?" + urlencode(parameters | changes)


def alpha(reply: Any) -> Any:
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png"), reply.body[:300]
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGBA"))[..., 3]


def test_a_clip_ends_every_map_at_once(client: Any, policy: Any, services: Any, city: Any) -> None:
    whole = alpha(client.get(get_map()))
    assert whole[:, :299].any()
    tiles = tile_range("WebMercatorQuad", BOX, 11)
    tile = f"/t/demo/maps/wmts/1.0.0/boxes/default/WebMercatorQuad/11/{tiles.min_row}/{tiles.min_column}.png"
    ogc = f"/t/demo/ogc/collections/boxes/map/tiles/WebMercatorQuad/11/{tiles.min_row}/{tiles.min_column}"
    before = client.get(tile)
    assert client.get(ogc).body == before.body, "one tile, the same kept bytes"
    policy(None, HALF)
    cut = alpha(client.get(get_map()))
    assert not cut[:, :299].any()
    assert ((cut[:, 301:] > 0) == (whole[:, 301:] > 0)).all()
    assert client.get(tile).body != before.body, "kept tiles carry the policy in their names"
    assert client.get(ogc).body == client.get(tile).body
    # Nothing is told of what is not shown.
    question = {"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "boxes", "INFO_FORMAT": "application/json"}
    rows, columns = np.nonzero(whole[:, :280])
    pixel = {"I": str(columns[0]), "J": str(rows[0])}
    assert client.get(get_map(**question, **pixel)).json["features"] == []
    policy(None, None)
    assert client.get(get_map(**question, **pixel)).json["features"]


def test_a_watermark_stands_on_every_map(client: Any, policy: Any) -> None:
    plain = client.get(get_map()).body
    policy("城市测绘 Survey", None)
    marked = client.get(get_map())
    assert marked.body != plain
    assert (alpha(marked) > 0).sum() > (alpha(client.get(get_map(LAYERS="boxes"))) > 0).sum() - 1
    policy(None, None)
    assert client.get(get_map()).body == plain


@pytest.mark.parametrize(
    ("watermark", "clip"),
    [
        ("", None),
        ("  ", None),
        ("a" * 81, None),
        ("two\nlines", None),
        (None, ""),
        (None, "POINT(1 1)"),
        (None, "POLYGON EMPTY"),
        (None, "POLYGON((0 0, 200 0, 200 10, 0 0))"),
        (None, "POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))"),
        (None, "DROP TABLE tenant"),
    ],
)
def test_policies_that_are_none(city: Any, watermark: str | None, clip: str | None) -> None:
    with pytest.raises(InvalidMapPolicy):
        city.registry.set_map_policy("demo", watermark, clip)
    assert city.registry.tenant("demo").map_watermark is None


def test_forms_tell_apart_what_gives_other_bytes(services: Any, city: Any, policy: Any) -> None:
    collection = services.catalogue.current().find("demo", "boxes")

    def form(decision: Decision = OPEN, **options: Any) -> str:
        return str(services.maps.drawing(collection, decision, **options).form)

    plain = form()
    assert plain.startswith("map-polygon-")
    assert form(Decision(True, key="operator")) == plain, "who sees the same shares the tile"
    others = {
        form(Decision(True, frozenset({"name"}))),
        form(Decision(True, area=HALF)),
        form(Decision(True, frozenset({"name"}), HALF)),
        form(style_id="any"),
        form(instant="2010-01-01T00:00:00Z"),
        form(instant="2010-01-01T00:00:00Z/2011-01-01T00:00:00Z"),
    }
    policy("text", None)
    others.add(form())
    policy(None, HALF)
    others.add(form())
    assert len(others | {plain}) == 9
    tileset = services.maps.tileset(
        collection, Decision(True), None, "WebMercatorQuad", "png", "2010-01-01T00:00:00Z"
    )
    assert "@20100101T000000Z.r" in tileset.form


def test_an_area_and_hidden_fields_of_a_decision(services: Any, tmp_path: Any) -> None:
    catalogue = services.catalogue.current()
    collection = catalogue.find("demo", "boxes")
    whole = services.maps.source(collection).render(BOX, "CRS:84", 300, 200)
    held = services.maps.source(collection, None, Decision(True, area=HALF)).render(BOX, "CRS:84", 300, 200)
    assert whole[:, :149, 3].any()
    assert not held[:, :149, 3].any()
    assert (held[:, 151:] == whole[:, 151:]).all()
    # Labels of a field that is hidden are not drawn.
    inside = tuple(catalogue.find("demo", "boxes").bbox[:2])
    near = (inside[0], inside[1], inside[0] + 0.01, inside[1] + 0.01)
    shown = services.maps.source(collection).render(near, "CRS:84", 1000, 1000)
    hidden = services.maps.source(collection, None, Decision(True, frozenset({"name"}))).render(
        near, "CRS:84", 1000, 1000
    )
    assert (shown != hidden).any()
    assert policy_of(Decision(True, area=HALF), None).areas == (HALF,)


def test_a_broken_style_leaves_the_last_good_look(
    services: Any, city: Any, monkeypatch: Any, caplog: Any
) -> None:
    import server.http.map_sources as module

    catalogue = services.catalogue.current()
    collection = catalogue.find("demo", "boxes")
    sources = MapSources(services.catalogue, services.maps.styles_dir)
    good = sources.drawing(collection)
    with monkeypatch.context() as patch:

        def broken(*_arguments: Any) -> Any:
            raise StyleError("line 3 of the style cannot be read")

        patch.setattr(module, "resolve_style", broken)
        later = replace(catalogue, revision=catalogue.revision + 1)
        assert sources.drawing(collection, catalogue=later) is good
        assert "last good look" in caplog.text
        with pytest.raises(StyleError):
            MapSources(services.catalogue, services.maps.styles_dir).drawing(collection)
    with pytest.raises(UnknownStyle):
        sources.drawing(collection, style_id="nothing")


def test_a_block_of_tiles_holds_its_labels_together(services: Any) -> None:
    collection = services.catalogue.current().find("demo", "boxes")
    drawing = services.maps.drawing(collection)
    tileset = drawing.tileset("WebMercatorQuad", "png")
    tiles = tile_range("WebMercatorQuad", BOX, 18)
    tile = TileId(18, tiles.min_column | 1, tiles.min_row | 1)
    drawn = drawing.draw(tileset, tile)
    assert len(drawn) == 4, "names are shown from level 17 on"
    assert (drawn[0][0].x, drawn[0][0].y) == (tile.x, tile.y)
    assert drawing.block_name(tileset, tile)[1:] == (18, tile.x - 1, tile.y - 1)
    low = tile_range("WebMercatorQuad", BOX, 12)
    assert len(drawing.draw(tileset, TileId(12, low.min_column, low.min_row))) == 1


def test_times_choose_features(services: Any) -> None:
    source = services.maps.source(services.catalogue.current().find("demo", "boxes"))

    def drawn(instant: str | None) -> int:
        return int((source.render(BOX, "CRS:84", 600, 400, instant=instant)[..., 3] > 0).sum())

    some = drawn("2003-01-01T00:00:00Z/2006-12-31T23:59:59Z")
    assert 0 < drawn("2003-01-01T00:00:00Z") < some < drawn(None)
    assert drawn("2020-01-01T00:00:00Z/..") + drawn("../2019-12-31T00:00:00Z") >= drawn(None)
    assert drawn("1850-01-01T00:00:00Z") == 0
    with pytest.raises(UnknownInstant):
        drawn("2003'; DROP TABLE feature; --")


def test_the_extent_of_features_with_a_time_is_a_dimension(services: Any) -> None:
    catalogue = services.catalogue.current()
    timed = replace(catalogue.find("demo", "boxes"), interval=Interval("2000-01-01", "2024-01-01"))
    later = replace(catalogue, collections={("demo", "boxes"): timed})
    view = ServerMapView(services, Scope("demo"), later, ANONYMOUS, "http://city.example")
    layer = view.layer("boxes")
    assert layer is not None
    assert layer.time == TimeDimension(start="2000-01-01", end="2024-01-01")
    assert (
        ServerMapView(services, Scope("demo"), catalogue, ANONYMOUS, "http://a").layer("boxes").time is None
    )
    assert view.layer("secret") is None
    assert not view.allows("nothing")


def test_a_legend_is_an_image(client: Any) -> None:
    reply = client.get(
        "/t/demo/maps/service?REQUEST=GetLegendGraphic&LAYER=boxes&STYLE=any&FORMAT=image/png&LANGUAGE=zh"
    )
    assert Image.open(io.BytesIO(reply.body)).size[0] > 20


def test_ten_thousand_layers_are_one_document(services: Any, city: Any) -> None:
    catalogue = services.catalogue.current()
    one = catalogue.find("demo", "boxes")
    many = {("demo", f"c{number}"): replace(one, id=f"c{number}") for number in range(500)}
    view = ServerMapView(
        services, Scope("demo"), replace(catalogue, collections=many, revision=10**9), ANONYMOUS, "http://a"
    )
    for document in (wms_capabilities(view, "1.3.0"), wmts_capabilities(view)):
        assert document.count(b"<Layer") >= 500
        assert b"TileMatrixSetLimits" not in document
        assert len(document) / 500 < 6000
