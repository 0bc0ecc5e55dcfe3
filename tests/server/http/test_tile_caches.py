"""Kept tiles as they are answered: both lanes alike, validators, coding, rights, and edits."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pytest
from PIL import Image

from server.http.app import create_flask, make_services
from server.http.hot_lane import HotLane
from server.http.tile_maker import shares

BOXES = "/t/demo/ogc/collections/boxes"
PLACE = "WebMercatorQuad/10/445/835"
VECTOR = f"{BOXES}/tiles/{PLACE}"
MAP = f"{BOXES}/map/tiles/{PLACE}"


def test_kept_tiles_are_answered_like_made_ones(client: Any) -> None:
    url = f"{VECTOR}?f=mvt"
    made, kept, packed = client.get(url), client.get(url), client.get(url, ACCEPT_ENCODING="gzip")
    assert made.status == kept.status == 200
    assert made.body == kept.body == gzip.decompress(packed.body)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in kept.headers


def test_map_tiles_of_drawn_shapes_have_a_palette(client: Any) -> None:
    drawn, read = client.get(f"{MAP}?f=png"), client.get(f"{MAP}?f=png")
    assert drawn.status == 200
    assert drawn.body == read.body
    assert Image.open(io.BytesIO(drawn.body)).mode == "P"


@pytest.mark.parametrize("url", [VECTOR, MAP])
def test_both_lanes_give_the_same_tile_and_validator(client: Any, slow_client: Any, url: str) -> None:
    made = slow_client.get(url, ACCEPT_ENCODING="gzip")
    kept = client.get(url, ACCEPT_ENCODING="gzip")
    assert (made.status, made.body) == (kept.status, kept.body)
    for name in ("ETag", "Cache-Control", "Content-Type", "Access-Control-Allow-Origin"):
        assert made.headers[name] == kept.headers[name], name


@pytest.mark.parametrize("url", [VECTOR, MAP])
def test_validators_are_strong_and_hold(client: Any, url: str) -> None:
    first = client.get(url, ACCEPT_ENCODING="gzip")
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    for header in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(url, ACCEPT_ENCODING="gzip", IF_NONE_MATCH=header)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert client.get(url, IF_NONE_MATCH='"other"').status == 200
    head = client.request("HEAD", url, ACCEPT_ENCODING="gzip")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(first.body))


def test_the_unpacked_form_has_a_validator_of_its_own(client: Any) -> None:
    packed, plain = client.get(VECTOR, ACCEPT_ENCODING="gzip"), client.get(VECTOR)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    for reply in (packed, plain):
        assert client.get(VECTOR, IF_NONE_MATCH=reply.headers["ETag"]).status == 304


@pytest.mark.parametrize("accepted", ["br", "gzip;q=0", "identity", ""])
def test_who_does_not_take_gzip_gets_it_unpacked(client: Any, accepted: str) -> None:
    reply = client.get(VECTOR, ACCEPT_ENCODING=accepted)
    assert "Content-Encoding" not in reply.headers
    assert reply.body[:1] == b"\x1a"


def test_public_tiles_may_be_kept_for_a_while_by_choice(city: Any, wsgi_client: Any, tmp_path: Any) -> None:
    from server.settings import load_settings

    settings = load_settings(
        (),
        {
            "CHENGTU_DATA_HOME": str(city.home),
            "CHENGTU_CACHE_DIRECTORY": str(tmp_path / "tiles"),
            "CHENGTU_CACHE_PUBLIC_SECONDS": "60",
        },
    )
    services = make_services(settings)
    client = wsgi_client(HotLane(services, create_flask(services)))
    for url in (VECTOR, MAP):
        for _ in range(2):  # made, kept
            assert client.get(url).headers["Cache-Control"] == "public, max-age=60"
    authorization = f"Bearer {city.token}"
    secret = VECTOR.replace("boxes", "secret")
    for _ in range(2):
        reply = client.get(secret, AUTHORIZATION=authorization)
        assert reply.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("kind", ["tiles", "map/tiles"])
def test_private_tiles_that_are_kept_are_still_private(city: Any, client: Any, kind: str) -> None:
    url = f"/t/demo/ogc/collections/secret/{kind}/{PLACE}"
    authorization = f"Bearer {city.token}"
    for _ in range(2):
        assert client.get(url, AUTHORIZATION=authorization).status in (200, 204)
        assert client.get(url).status == 404
        assert client.get(url, AUTHORIZATION="Bearer wrong").status == 401


def test_a_public_tile_is_one_for_everybody(city: Any, client: Any) -> None:
    own = client.get(MAP, AUTHORIZATION=f"Bearer {city.token}")
    assert own.headers["ETag"] == client.get(MAP).headers["ETag"]


def test_the_city_and_the_tenant_share_a_kept_tile(client: Any) -> None:
    tag = client.get(MAP).headers["ETag"]
    assert client.get(f"/ogc/collections/demo.boxes/map/tiles/{PLACE}").headers["ETag"] == tag
    assert client.get(f"/ogc/collections/other.boxes/map/tiles/{PLACE}").headers["ETag"] != tag


def test_map_services_answer_the_same_kept_tile(client: Any) -> None:
    kept = client.get(MAP)
    grid, zoom, row, column = PLACE.split("/")
    below = 2 ** int(zoom) - 1 - int(row)
    keys = (
        f"SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=boxes&STYLE=default&FORMAT=image/png"
        f"&TILEMATRIXSET={grid}&TILEMATRIX={zoom}&TILEROW={row}&TILECOL={column}"
    )
    for address in (
        f"wmts/1.0.0/boxes/default/{grid}/{zoom}/{row}/{column}.png",
        f"tms/1.0.0/boxes/{grid}/{zoom}/{column}/{below}.png",
        f"wmts?{keys}",
        f"service?{keys.replace('TILEROW', 'TileRow').replace('image/png', 'image%2Fpng')}",
    ):
        reply = client.get(f"/t/demo/maps/{address}")
        assert (reply.status, reply.headers["ETag"]) == (200, kept.headers["ETag"]), address
        assert reply.body == kept.body


def test_an_edit_renews_the_tiles_it_touches_and_no_others(editing_client: Any, editing_city: Any) -> None:
    """One worker; `test_tiles_of_workers.py` does it with two."""
    base = "/t/demo/ogc/collections/open"
    token = f"Bearer {editing_city.token}"
    here = [
        f"WebMercatorQuad/{zoom}/{int(y)}/{int(x)}" for zoom, y, x in _around(113.9501, 22.7001, (8, 12, 15))
    ]
    far = [f"WebMercatorQuad/15/{int(y)}/{int(x)}" for _, y, x in _around(120.5, 30.5, (15,))]
    urls = [f"{base}/{kind}/{place}" for kind in ("tiles", "map/tiles") for place in (*here, *far)]
    before = {url: editing_client.get(url) for url in urls}
    feature = (
        '{"type": "Feature", "properties": {"name": "new"}, "geometry": {"type": "Polygon", "coordinates":'
        " [[[113.95, 22.7], [113.952, 22.7], [113.952, 22.702], [113.95, 22.7]]]}}"
    )
    made = editing_client.request(
        "POST", f"{base}/items", feature.encode(), CONTENT_TYPE="application/geo+json", AUTHORIZATION=token
    )
    assert made.status == 201, made.body
    for url in urls:
        after = editing_client.get(url)
        touched = url.partition("tiles/")[2] in here
        assert (after.headers["ETag"] != before[url].headers["ETag"]) is touched, url
        assert (after.body != before[url].body) is touched, url


def _around(longitude: float, latitude: float, zooms: tuple[int, ...]) -> list[tuple[int, int, int]]:
    from tiles.grids import tile_range

    box = (longitude, latitude, longitude, latitude)
    ranges = [tile_range("WebMercatorQuad", box, zoom) for zoom in zooms]
    return [(one.zoom, one.min_row, one.min_column) for one in ranges]


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8, 16, 32, 64, 256])
@pytest.mark.parametrize(("renderings", "waiting"), [(1, 0), (2, 32), (8, 10_000)])
def test_some_threads_are_left_for_what_is_kept(threads: int, renderings: int, waiting: int) -> None:
    waits, slow, slow_waits = shares(threads, renderings, waiting)
    assert slow >= 1
    assert 0 <= waits <= waiting
    if threads >= 16 and renderings <= 2:
        assert renderings + waits + slow + slow_waits <= threads - threads // 8


def test_public_tiles_may_be_shown_while_they_are_made_anew(
    city: Any, wsgi_client: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cache.stale_seconds, one request waits for the new tile and the others get the old one, marked as such."""
    import threading

    from server.registry.registry import open_registry
    from server.settings import load_settings

    variables = {"CHENGTU_DATA_HOME": str(tmp_path), "CHENGTU_CACHE_STALE_SECONDS": "60"}
    settings = load_settings((), {**variables, "CHENGTU_CACHE_PUBLIC_SECONDS": "60"})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        town = type(city)(tmp_path, settings, registry)
        town.publish("open", count=10, more={"if_match_required": False})
        services = make_services(settings)
        client = wsgi_client(HotLane(services, create_flask(services)))
        url = f"/t/demo/ogc/collections/open/tiles/{PLACE}"
        old = client.get(url)
        corners = "[[[113.85, 22.7], [113.852, 22.7], [113.852, 22.702], [113.85, 22.7]]]"
        shape = f'{{"type": "Polygon", "coordinates": {corners}}}'
        feature = f'{{"type": "Feature", "properties": {{"name": "new"}}, "geometry": {shape}}}'
        reply = client.request(
            "POST",
            "/t/demo/ogc/collections/open/items",
            feature.encode(),
            CONTENT_TYPE="application/geo+json",
            AUTHORIZATION=f"Bearer {town.token}",
        )
        assert reply.status == 201, reply.body
        from server.http import tile_maker

        begun, go_on = threading.Event(), threading.Event()
        made = tile_maker.vector_tile

        def slowly(*given: Any, **named: Any) -> bytes:
            begun.set()
            assert go_on.wait(30)
            return made(*given, **named)

        monkeypatch.setattr(tile_maker, "vector_tile", slowly)
        new: list[Any] = []
        first = threading.Thread(target=lambda: new.append(client.get(url)))
        first.start()
        try:
            assert begun.wait(30)
            stale = client.get(url)
        finally:
            go_on.set()
            first.join(30)
        assert stale.body == old.body
        assert stale.headers["Cache-Control"] == "public, no-cache"
        assert stale.headers["Warning"].startswith("110 ")
        assert b"new" in new[0].body
        assert client.get(url).body == new[0].body
        assert "Warning" not in client.get(url).headers
