"""OGC API - Styles over HTTP: lists, encodings, editing, defaults, legends, glyphs and sprites."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

MAPBOX = "application/vnd.mapbox.style+json"
RED = {
    "version": 8,
    "name": "Red boxes",
    "sources": {},
    "layers": [{"id": "a", "type": "fill", "source": "x", "paint": {"fill-color": "#ff0000"}}],
}
SLD = """<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld"><NamedLayer><Name>plots</Name><UserStyle>
<FeatureTypeStyle><Rule><PolygonSymbolizer><Fill><CssParameter name="fill">#0000ff</CssParameter></Fill></PolygonSymbolizer>
</Rule></FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>"""


def auth(city: Any) -> dict[str, str]:
    return {"AUTHORIZATION": f"Bearer {city.token}"}


def put(client: Any, city: Any, id_: str, content: Any = RED, **headers: str) -> Any:
    return client.request(
        "PUT",
        f"/t/demo/ogc/styles/{id_}",
        json.dumps(content).encode(),
        CONTENT_TYPE=MAPBOX,
        **auth(city),
        **headers,
    )


def test_styles_of_the_installation_are_listed_and_read_only(editing_client: Any, editing_city: Any) -> None:
    for root in ("/ogc", "/t/demo/ogc"):
        document = editing_client.json(f"{root}/styles")
        entry = next(one for one in document["styles"] if one["id"] == "buildings")
        assert {one["rel"] for one in entry["links"]} >= {"stylesheet", "describedby", "preview"}
    reply = put(editing_client, editing_city, "buildings")
    assert reply.status == 405
    assert "GET" in reply.headers["Allow"]


def test_a_collection_lists_what_can_draw_it_with_its_default(editing_client: Any) -> None:
    document = editing_client.json("/t/demo/ogc/collections/plots/styles")
    ids = [one["id"] for one in document["styles"]]
    assert document["default"] == ids[0] == "polygon"
    assert "dem" not in ids
    assert "buildings" in ids
    assert editing_client.get("/t/demo/ogc/collections/secret/styles").status == 404


@pytest.mark.parametrize(
    ("f", "media_type"),
    [
        ("mapbox", MAPBOX),
        ("sld10", "application/vnd.ogc.sld+xml;version=1.0"),
        ("sld11", "application/vnd.ogc.sld+xml;version=1.1"),
        ("chengtu", "application/vnd.chengtu.style+yaml"),
        ("html", "text/html; charset=utf-8"),
    ],
)
def test_a_style_is_given_in_every_encoding(editing_client: Any, f: str, media_type: str) -> None:
    for url in ("/ogc/styles/buildings", "/t/demo/ogc/collections/plots/styles/buildings"):
        reply = editing_client.get(f"{url}?f={f}")
        assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
        if f.startswith("sld"):
            ElementTree.fromstring(reply.body)
        assert editing_client.get(f"{url}?f={f}", IF_NONE_MATCH=reply.headers.get("ETag", "x")).status in (
            200,
            304,
        )


def test_the_style_of_a_collection_names_our_tiles_glyphs_and_sprites(editing_client: Any) -> None:
    style = editing_client.json("/t/demo/ogc/collections/plots/styles/buildings")
    root = "http://city.example:8000"
    assert style["sources"]["collection"]["tiles"][0].startswith(
        f"{root}/t/demo/ogc/collections/plots/tiles/WebMercatorQuad/"
    )
    assert style["glyphs"] == f"{root}/fonts/{{fontstack}}/{{range}}.pbf"
    assert editing_client.get(style["sprite"].removeprefix(root) + ".json").status == 200
    assert {one["source-layer"] for one in style["layers"]} == {"plots"}


def test_a_style_lives(editing_client: Any, editing_city: Any) -> None:
    assert put(editing_client, editing_city, "life").status == 201
    url = "/t/demo/ogc/styles/life"
    reply = editing_client.get(url)
    assert reply.json == RED
    assert editing_client.get("/ogc/styles/demo.life").json == RED
    assert editing_client.get("/t/other/ogc/styles/life").status == 404
    assert put(editing_client, editing_city, "life").status == 428
    etag = reply.headers["ETag"]
    green = json.loads(json.dumps(RED).replace("#ff0000", "#00ff00"))
    assert put(editing_client, editing_city, "life", green, IF_MATCH=etag).status == 204
    assert put(editing_client, editing_city, "life", RED, IF_MATCH=etag).status == 412
    sld = editing_client.get(f"{url}?f=sld10").body.decode()
    assert "#00ff00" in sld
    assert editing_client.json(f"{url}/metadata")["version"] == "2"
    removed = editing_client.request("DELETE", url, **auth(editing_city))
    assert removed.status == 204
    assert editing_client.get(url).status == editing_client.get(f"{url}/legend").status == 404
    assert editing_client.request("DELETE", url, **auth(editing_city)).status == 404


def test_posting_takes_the_id_and_refuses_a_second_one(editing_client: Any, editing_city: Any) -> None:
    def post(query: str) -> Any:
        return editing_client.request(
            "POST",
            f"/t/demo/ogc/styles{query}",
            SLD.encode(),
            CONTENT_TYPE="application/vnd.ogc.sld+xml",
            **auth(editing_city),
        )

    assert post("?id=posted&dry-run=true").status == 204
    assert editing_client.get("/t/demo/ogc/styles/posted").status == 404
    reply = post("?id=posted&collections=plots")
    assert reply.status == 201
    assert reply.headers["Location"].endswith("/t/demo/ogc/styles/posted")
    assert post("?id=posted").status == 409
    assert post("?id=polygon").status == 409
    assert post("?id=Not%20an%20id").status == 400
    assert post("?id=x&collections=nothing").status == 400
    assert "posted" in [
        one["id"] for one in editing_client.json("/t/demo/ogc/collections/plots/styles")["styles"]
    ]
    assert "posted" not in [
        one["id"] for one in editing_client.json("/t/demo/ogc/collections/open/styles")["styles"]
    ]
    assert editing_client.get("/t/demo/ogc/collections/open/styles/posted").status == 404


def test_the_default_of_a_collection_is_set_and_unset(editing_client: Any, editing_city: Any) -> None:
    url = "/t/demo/ogc/collections/open/styles"

    def patch(body: str) -> int:
        kind = "application/merge-patch+json"
        return int(
            editing_client.request(
                "PATCH", url, body.encode(), CONTENT_TYPE=kind, **auth(editing_city)
            ).status
        )

    assert patch('{"default": "buildings"}') == 204
    assert editing_client.json(url)["default"] == "buildings"
    assert patch('{"default": "nothing"}') == 400
    assert patch("[1]") == 400
    assert patch('{"default": null}') == 204
    assert editing_client.json(url)["default"] == "polygon"


def test_strict_handling_refuses_what_lenient_notes(editing_client: Any, editing_city: Any) -> None:
    layers = [*RED["layers"], {"id": "h", "type": "heatmap", "source": "x"}]  # type: ignore[misc]  # a list of layers
    content = RED | {"layers": layers}
    strict = put(editing_client, editing_city, "strict", content, PREFER="handling=strict")
    assert strict.status == 400
    assert b"heatmap" in strict.body
    lenient = put(editing_client, editing_city, "lenient", content, PREFER="handling=lenient")
    assert lenient.status == 201
    assert "heatmap" in lenient.headers["X-Style-Note"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (MAPBOX, b"", 400),
        (MAPBOX, b"\xff", 400),
        (MAPBOX, b"[]", 400),
        (MAPBOX, b'{"version": 7, "layers": []}', 400),
        (MAPBOX, b'{"version": 8, "layers": []}', 400),
        (MAPBOX, b'{"version": 8, "layers": [1]}', 400),
        (MAPBOX, b'{"version":8,"layers":' + b"[" * 5000, 400),
        ("application/vnd.ogc.sld+xml", b"<a/>", 400),
        ("application/vnd.ogc.sld+xml", b'<!DOCTYPE a [<!ENTITY b "c">]><StyledLayerDescriptor/>', 400),
        ("application/vnd.chengtu.style+yaml", b"a: &a [1]\nb: *a", 400),
        ("application/vnd.chengtu.style+yaml", b"!!python/object/apply:os.getcwd []", 400),
        ("text/plain", b"x", 415),
    ],
)
def test_bad_bodies_are_refused(
    editing_client: Any, editing_city: Any, content_type: str, body: bytes, status: int
) -> None:
    reply = editing_client.request(
        "PUT", "/t/demo/ogc/styles/bad", body, CONTENT_TYPE=content_type, **auth(editing_city)
    )
    assert reply.status == status, reply.body
    assert editing_client.get("/t/demo/ogc/styles/bad").status == 404


def test_only_operators_write(editing_client: Any) -> None:
    for method, url in (
        ("POST", "/t/demo/ogc/styles"),
        ("PUT", "/t/demo/ogc/styles/x"),
        ("DELETE", "/t/demo/ogc/styles/x"),
        ("PATCH", "/t/demo/ogc/collections/plots/styles"),
    ):
        assert editing_client.request(method, url, b"{}", CONTENT_TYPE=MAPBOX).status == 403


def test_legends(editing_client: Any) -> None:
    url = "/t/demo/ogc/collections/plots/styles/buildings/legend"
    small = Image.open(io.BytesIO(editing_client.get(f"{url}?f=png").body))
    large = Image.open(io.BytesIO(editing_client.get(f"{url}?f=png&scale=2").body))
    assert large.height > 1.8 * small.height
    assert next(one["title"] for one in editing_client.json(f"{url}?f=json")["rules"]) == "residential"
    assert b"<figure" in editing_client.get(f"{url}?f=html").body
    for scale in ("0", "nan", "5", "x"):
        assert editing_client.get(f"{url}?scale={scale}").status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fonts/Chengtu Sans/0-255.pbf", 200),
        ("/fonts/No Such Font,Other/256-511.pbf", 200),
        ("/fonts/a/1-256.pbf", 400),
        ("/fonts/a/0-511.pbf", 400),
        ("/fonts/a/65536-65791.pbf", 400),
        ("/fonts/a/0-255.png", 404),
        (f"/fonts/{'a' * 201}/0-255.pbf", 400),
        ("/sprites/city.png", 200),
        ("/sprites/city@2x.json", 200),
        ("/sprites/city@3x.json", 404),
        ("/sprites/..%2fcity.json", 404),
    ],
)
def test_glyphs_and_sprites(editing_client: Any, path: str, status: int) -> None:
    assert editing_client.get(path.replace(" ", "%20")).status == status


def test_letters_that_are_made_already_wait_for_nobody(
    editing_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.http import fonts
    from tiles.cache import Places

    assert editing_client.get("/fonts/a/0-255.pbf").status == 200
    places = Places(1, 0, 20.0, "letters")
    monkeypatch.setattr(fonts, "_MAKING", places)
    with places.taken():  # somebody else's letters are being made, and nobody may wait
        assert editing_client.get("/fonts/a/0-255.pbf").status == 200
        refused = editing_client.get("/fonts/a/1280-1535.pbf")
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
    assert editing_client.get("/fonts/a/1280-1535.pbf").status == 200


def test_what_is_private_is_kept_out_of_shared_caches_and_of_metadata(
    editing_client: Any, editing_city: Any
) -> None:
    legend = "/t/demo/ogc/collections/secret/styles/polygon/legend"
    for form in ("png", "json", "html"):
        assert editing_client.get(f"{legend}?f={form}").status == 404
        reply = editing_client.request("GET", f"{legend}?f={form}", **auth(editing_city))
        assert reply.status == 200
        assert "public" not in reply.headers["Cache-Control"]
    reply = editing_client.request(
        "PUT",
        "/t/demo/ogc/styles/both?collections=plots,secret",
        json.dumps(RED).encode(),
        CONTENT_TYPE=MAPBOX,
        **auth(editing_city),
    )
    assert reply.status in (201, 204), reply.body
    metadata = "/t/demo/ogc/styles/both/metadata"
    reply = editing_client.request("GET", metadata, **auth(editing_city))
    assert json.loads(reply.body)["collections"] == ["plots", "secret"]
    assert editing_client.json(metadata)["collections"] == ["plots"]
    editing_client.request("DELETE", "/t/demo/ogc/styles/both", **auth(editing_city))
