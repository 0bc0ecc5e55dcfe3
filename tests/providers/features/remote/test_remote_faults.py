"""Remote services that fail, lie or change: one collection is out of order, and says so; nothing else is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from providers.errors import AnswerTooLarge, InvalidParameter, SourceUnavailable, StoreError, UnsupportedQuery
from providers.features.cql2 import parse_filter
from providers.features.query import BBox, ItemQuery, SortKey
from providers.features.remote import describe_remote, list_layers, open_arcgis, open_features, open_wfs
from providers.features.remote.facts import FactsKeeper, LastGood
from providers.features.source import Ability
from providers.features.sources import close_sources, configure_sources, open_source, source_settings


class Switch:
    """A WSGI application that a test can break."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.broken: Callable[[dict[str, Any], Any], list[bytes]] | None = None
        self.change: Callable[[str, bytes], bytes] = lambda path, body: body

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if self.broken is not None:
            return self.broken(environ, start_response)
        body = b"".join(self.application(environ, start_response))
        return [self.change(environ["PATH_INFO"], body)]


def answers(status: str, kind: str, body: bytes) -> Callable[[dict[str, Any], Any], list[bytes]]:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", kind)])
        return [body]

    return application


@pytest.fixture
def switched(serve: Callable[[Any], str], ogc_api: Callable[..., Any]) -> tuple[str, Switch]:
    """An OGC API - Features service that can be broken."""
    switch = Switch(ogc_api()[1])
    return serve(switch), switch


def description_of(url: str, **others: Any) -> dict[str, Any]:
    return {"store": "features", "url": url, "layer": "towers", **others}


BROKEN = [
    ("502 Bad Gateway", "text/html", b"<html>bad gateway</html>"),
    ("500 Internal Server Error", "application/json", b"{}"),
    ("200 OK", "text/html", b"<html>Please log in</html>"),
    ("200 OK", "application/json", b"not json"),
    ("200 OK", "application/json", b"[1, 2]"),
    ("200 OK", "application/json", b"[" * 100_000),
    ("200 OK", "application/geo+json", b'{"type": "FeatureCollection"}'),
    ("200 OK", "application/geo+json", b'{"type": "FeatureCollection", "features": [1]}'),
    (
        "200 OK",
        "application/geo+json",
        b'{"features": [{"type": "Feature", "properties": {}, "geometry": null}]}',
    ),
    (
        "200 OK",
        "application/geo+json",
        b'{"features": [{"id": 1, "properties": {}, "geometry": {"type": "Point", "coordinates": ["a"]}}]}',
    ),
    (
        "200 OK",
        "application/geo+json",
        b'{"features": [{"id": 1, "properties": {"floors": "many"}, "geometry": null}]}',
    ),
    ("200 OK", "application/geo+json", b'{"features": [{"id": 1, "properties": 3, "geometry": null}]}'),
    (
        "200 OK",
        "application/geo+json",
        b'{"features": [{"id": 1, "properties": {}}, {"id": 1, "properties": {}}]}',
    ),
    ("403 Forbidden", "application/json", b'{"detail": "no"}'),
]


@pytest.mark.parametrize(("status", "kind", "body"), BROKEN)
def test_broken_answers_make_items_unavailable_and_nothing_else(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], status: str, kind: str, body: bytes
) -> None:
    url, switch = switched
    source = open_features(description_of(url), settings_for(url))
    assert source.page(ItemQuery(limit=2)).bodies
    switch.broken = answers(status, kind, body)
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:"):
        source.page(ItemQuery(limit=2))
    assert source.schema.field("floors") is not None
    assert source.facts.title == "Towers"
    switch.broken = None
    assert source.page(ItemQuery(limit=2)).bodies


def test_dead_service_is_shown_from_the_last_good_copy(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], tmp_path: Path
) -> None:
    url, switch = switched
    settings = settings_for(url, cache_directory=tmp_path)
    before = open_features(description_of(url), settings).facts
    switch.broken = answers("503 Busy", "text/plain", b"")
    after = open_features(description_of(url), settings)  # another process, later
    assert after.facts == before
    assert after.bbox == before.bbox
    with pytest.raises(SourceUnavailable):
        after.page(ItemQuery())
    assert after.count() is None


def test_dead_service_that_was_never_seen(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], tmp_path: Path
) -> None:
    url, switch = switched
    switch.broken = answers("503 Busy", "text/plain", b"")
    source = open_features(description_of(url), settings_for(url, cache_directory=tmp_path))
    with pytest.raises(SourceUnavailable):
        _ = source.schema
    switch.broken = None
    assert source.schema.field("floors") is not None


def test_copy_that_cannot_be_read_is_replaced(
    switched: tuple[str, Switch],
    settings_for: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, _ = switched
    settings = settings_for(url, cache_directory=tmp_path)
    facts = open_features(description_of(url), settings).facts
    (copy,) = (tmp_path / "remote").iterdir()
    for broken in (b"", b"null", b"{}", copy.read_bytes()[:-20], b'{"layout": 0}'):
        copy.write_bytes(broken)
        with caplog.at_level(logging.WARNING):
            assert open_features(description_of(url), settings).facts == facts
        assert orjson.loads(copy.read_bytes())["title"] == "Towers"
    assert [item.suffix for item in copy.parent.iterdir()] == [".json"]


def test_old_metadata_is_served_while_it_is_read_anew(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], tmp_path: Path
) -> None:
    url, _ = switched
    facts = open_features(description_of(url), settings_for(url, cache_directory=tmp_path)).facts
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def discover() -> Any:
        begun.set()
        assert go_on.wait(10)
        done.set()
        return replace(facts, title="New")

    last_good = LastGood(tmp_path / "other", b"key")
    last_good.save(facts)
    keeper = FactsKeeper(discover, last_good, seconds=0)
    assert keeper.facts().title == "Towers"  # at once, although the service has not answered
    assert begun.wait(10)
    assert keeper.facts().title == "Towers"
    go_on.set()
    assert done.wait(10)
    kept = last_good.load()
    while kept is None or kept[0].title != "New":
        kept = last_good.load()


def test_schema_change_is_noticed(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], tmp_path: Path
) -> None:
    url, switch = switched
    source = open_features(description_of(url), settings_for(url, cache_directory=tmp_path))
    change = source.change()

    def renamed(path: str, body: bytes) -> bytes:
        return body.replace(b'"floors":{"type":"integer"}', b'"floors":{"type":"string"}').replace(
            b'"floors":9', b'"floors":"nine"'
        )

    switch.change = renamed
    with pytest.raises(SourceUnavailable, match="'floors' holds 'nine'"):
        source.page(ItemQuery(limit=60))
    source.keeper.read_now()
    floors = source.schema.field("floors")
    assert floors is not None
    assert floors.type == "string"
    assert source.change() != change
    assert len(source.page(ItemQuery(limit=60)).bodies) == 60


def test_exchanged_axes_are_noticed(switched: tuple[str, Switch], settings_for: Callable[..., Any]) -> None:
    url, switch = switched
    source = open_features(description_of(url), settings_for(url))
    assert source.page(ItemQuery(limit=1)).bodies

    def exchange(path: str, body: bytes) -> bytes:
        document = orjson.loads(body)
        for feature in document.get("features", []):
            ring = feature["geometry"]["coordinates"][0]
            feature["geometry"]["coordinates"] = [[[y, x] for x, y in ring]]
        return orjson.dumps(document)

    switch.change = exchange
    with pytest.raises(SourceUnavailable, match="longitude and latitude"):
        source.page(ItemQuery(bbox=BBox(113.8, 22.6, 114.2, 22.9)))


def test_more_than_was_asked_for(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], ogc_api: Any
) -> None:
    url, switch = switched
    source = open_features(description_of(url), settings_for(url))
    assert source.schema
    large = b'{"type":"FeatureCollection","features":[' + b",".join(
        b'{"type":"Feature","id":%d,"geometry":null,"properties":{}}' % i for i in range(20)
    ) + b"]}"  # fmt: skip
    switch.broken = answers("200 OK", "application/geo+json", large)
    with pytest.raises(SourceUnavailable, match="20 features where 5 were asked for"):
        source.page(ItemQuery(limit=5))


def test_too_large_an_answer(switched: tuple[str, Switch], settings_for: Callable[..., Any]) -> None:
    url, switch = switched
    source = open_features(description_of(url), settings_for(url))
    assert source.schema
    switch.broken = answers("200 OK", "application/geo+json", b" " * (65 << 20))
    with pytest.raises(AnswerTooLarge, match="ask for fewer"):
        source.page(ItemQuery(limit=5))


@pytest.mark.parametrize(
    "cursor",
    [
        ("filter=secret%3D's1'",), ("Filter=x",), ("secret=s1",), ("bbox=0,0,1,1",), ("properties=secret",), ("sortby=secret",), ("f=html",),
        ("a",), ("a" * 3000 + "=b",), (1,), (None,), (), ("offset=3&filter=x",), ("filter-lang=x",), ("limit=9",), ("offset=3", "offset=3"),
    ],
)  # fmt: skip
def test_forged_cursors_cannot_ask_about_anything(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], cursor: Any
) -> None:
    url, _ = switched
    source = open_features(description_of(url), settings_for(url))
    with pytest.raises((InvalidParameter, UnsupportedQuery), match="'cursor'"):
        source.page(ItemQuery(cursor=cursor))


@pytest.mark.parametrize(
    "cursor",
    [("1 OR 1=1",), ("page from -1",), ("page from 1 OR 1",), (1.5,), (None,), (True, 1), ("page from ",)],
)
def test_forged_cursors_of_a_feature_server(
    arcgis: Callable[..., Any], settings_for: Callable[..., Any], cursor: Any
) -> None:
    url, _ = arcgis()
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    with pytest.raises(InvalidParameter, match="cursor"):
        source.page(ItemQuery(cursor=cursor))


@pytest.mark.parametrize(
    "href",
    [
        "http://169.254.169.254/collections/towers/items?x=1",
        "/other?offset=2",
        "?limit=3",
        "?filter=x&limit=3",
    ],
)
def test_next_links_lead_nowhere_else(
    switched: tuple[str, Switch], settings_for: Callable[..., Any], href: str
) -> None:
    """The host in a link is never asked: a page is continued at the collection's own items, or not at all."""
    url, switch = switched
    source = open_features(description_of(url), settings_for(url))
    assert source.schema

    def relink(path: str, body: bytes) -> bytes:
        document = orjson.loads(body)
        document["links"] = [{"rel": "next", "href": href}]
        return orjson.dumps(document)

    switch.change = relink
    if "169.254" in href:
        assert source.page(ItemQuery(limit=3)).cursor == ("x=1",)
    else:
        with pytest.raises(SourceUnavailable, match="next link"):
            source.page(ItemQuery(limit=3))


def test_service_without_filters(ogc_api: Callable[..., Any], settings_for: Callable[..., Any]) -> None:
    url, server = ogc_api(conforms=())
    source = open_features(description_of(url), settings_for(url))
    assert not {Ability.FILTER, Ability.Q} & source.abilities
    with pytest.raises(UnsupportedQuery, match=r"'filter'.*\(features\)"):
        source.page(ItemQuery(filter=parse_filter("floors > 3", "cql2-text", source.schema)))
    with pytest.raises(UnsupportedQuery, match=r"'q'.*\(features\)"):
        source.page(ItemQuery(q=("a",)))
    found = source.page(ItemQuery(equals={"name": "Tower 7"}))
    assert len(found.bodies) == 1
    assert server.requests[-1][1]["name"] == "Tower 7"


def test_filter_beyond_the_declared_classes(
    ogc_api: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    classes = ("cql2-text", "basic-cql2")
    parts = ("filter", "features-filter")
    conforms = tuple(f"http://www.opengis.net/spec/cql2/1.0/conf/{name}" for name in classes) + tuple(
        f"http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/{name}" for name in parts
    )
    url, _ = ogc_api(conforms=conforms)
    source = open_features(description_of(url), settings_for(url))
    assert source.page(ItemQuery(filter=parse_filter("floors > 3", "cql2-text", source.schema))).bodies
    for text, needed in {
        "name LIKE 'a%'": "advanced-comparison-operators",
        "CASEI(name) = CASEI('a')": "case-insensitive",
        "floors * 2 > 3": "arithmetic",
        "floors > height": "property-property",
        "S_TOUCHES(geometry, POINT(1 1))": "spatial-functions",
        "pow(floors, 2) > 3": "arithmetic",
    }.items():
        with pytest.raises(UnsupportedQuery, match=needed):
            source.page(ItemQuery(filter=parse_filter(text, "cql2-text", source.schema)))


def test_hidden_fields_are_not_even_asked_for(
    arcgis: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    url, server = arcgis()
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    assert source.page(ItemQuery(limit=1), frozenset({"secret"})).bodies
    assert "secret" not in server.requests[-1]["outFields"]


def test_values_never_become_sql(arcgis: Callable[..., Any], settings_for: Callable[..., Any]) -> None:
    url, server = arcgis()
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    attack = "x' OR 1=1; DROP TABLE t; --"
    assert not source.page(ItemQuery(equals={"name": attack})).bodies
    assert "name = 'x'' OR 1=1; DROP TABLE t; --'" in server.requests[-1]["where"]
    with pytest.raises(UnsupportedQuery, match="control characters"):
        source.page(ItemQuery(equals={"name": "a\x00b"}))


def test_layer_with_names_that_are_no_names(
    arcgis: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    fields = [
        {"name": "OBJECTID", "type": "esriFieldTypeOID"},
        {"name": "name; DROP TABLE t", "type": "esriFieldTypeString"},
        {"name": "高度", "type": "esriFieldTypeDouble"},
        {"name": "blob", "type": "esriFieldTypeBlob"},
    ]
    url, _ = arcgis(fields=fields, timeInfo=None)
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    assert [item.name for item in source.schema.fields] == ["OBJECTID", "高度"]


def test_layer_without_paging_and_order(arcgis: Callable[..., Any], settings_for: Callable[..., Any]) -> None:
    url, _ = arcgis(advancedQueryCapabilities={})
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    assert not {Ability.CURSOR, Ability.OFFSET, Ability.SORTBY} & source.abilities
    with pytest.raises(UnsupportedQuery, match="'sortby'"):
        source.page(ItemQuery(sortby=(SortKey("floors"),)))
    with pytest.raises(UnsupportedQuery, match="'limit'"):
        source.page(ItemQuery(limit=30))


def test_errors_of_a_feature_server(
    arcgis: Callable[..., Any], serve: Callable[[Any], str], settings_for: Callable[..., Any]
) -> None:
    url, server = arcgis()
    source = open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    assert source.schema
    for error, told in (
        ({"code": 499, "message": "Token Required"}, "credentials"),
        ({"code": 500, "message": "Boom"}, "Boom"),
    ):
        server.document = lambda path, asked, error=error: {"error": error}
        with pytest.raises(SourceUnavailable, match=told):
            source.page(ItemQuery())


CAPABILITIES = b'<WFS_Capabilities version="2.0.0" xmlns="http://www.opengis.net/wfs/2.0"/>'
XXE = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><WFS_Capabilities version="2.0.0">&e;</WFS_Capabilities>'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not XML"), (b"<a", "not XML"), (b"<html/>", "'html'"), (CAPABILITIES, "lack a required part"), (XXE, "document type|not XML"),
        (b'<WFS_Capabilities version="1.0.0"/>', "1.0.0"), (b"<ows:ExceptionReport xmlns:ows='x'/>", "ExceptionReport"),
    ],
)  # fmt: skip
def test_capabilities_that_are_none(
    serve: Callable[[Any], str], settings_for: Callable[..., Any], body: bytes, told: str
) -> None:
    url = serve(answers("200 OK", "text/xml", body))
    source = open_wfs({"store": "wfs", "url": url, "layer": "towers"}, settings_for(url))
    with pytest.raises(SourceUnavailable, match=told):
        _ = source.schema


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layer": None}, "names no layer"), ({"url": None}, "names no url"), ({"version": "3.0"}, "2.0.0"), ({"axes": "zz"}, "xy or yx"),
        ({"surprise": 1}, "surprise"), ({"fresh_seconds": 0}, "fresh_seconds"), ({"credentials": "nobody"}, "nobody"),
        ({"credentials": "odd"}, "bearer TOKEN"), ({"credentials": "broken"}, "bearer TOKEN"),
    ],
)  # fmt: skip
def test_descriptions_that_cannot_be_used(
    settings_for: Callable[..., Any], changes: dict[str, Any], told: str
) -> None:
    url = "http://127.0.0.1:1/wfs"
    settings = settings_for(url, connections={"odd": "hush", "broken": "bearer a\r\nX: hush"})
    with pytest.raises(StoreError, match=told) as caught:
        open_wfs({"store": "wfs", "url": url, "layer": "a"} | changes, settings)
    assert "hush" not in str(caught.value)


def test_credentials_reach_the_service(
    serve: Callable[[Any], str], ogc_api: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    seen: list[str] = []
    inner = ogc_api()[1]

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.get("HTTP_AUTHORIZATION", "") + environ.get("HTTP_X_KEY", ""))
        return inner(environ, start_response)

    url = serve(application)
    settings = settings_for(url, connections={"a": "basic me:hush", "b": "header X-Key: hush"})
    for name, expected in (("a", "Basic bWU6aHVzaA=="), ("b", "hush")):
        described = describe_remote(description_of(url, credentials=name), settings)
        assert set(seen) == {expected}
        assert "hush" not in repr(described)
        seen.clear()


def test_describe_and_list(
    ogc_api: Callable[..., Any], arcgis: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    url, _ = ogc_api()
    described = describe_remote(description_of(url), settings_for(url))
    assert (described.title, described.attribution, described.licence) == (
        "Towers",
        "Bureau of Works",
        "CC-BY-4.0",
    )
    assert described.count == 60
    assert described.time_field == "updated"
    assert 113 < described.bbox[0] < described.bbox[2] < 115
    assert [item.id for item in list_layers({"store": "features", "url": url}, settings_for(url))] == [
        "towers"
    ]
    own = describe_remote(description_of(url, attribution="Us", licence="Own"), settings_for(url))
    assert (own.attribution, own.licence) == ("Us", "Own")
    url, _ = arcgis()
    assert [item.id for item in list_layers({"store": "arcgis", "url": url}, settings_for(url))] == ["0"]


def test_sources_are_opened_by_their_kind(
    ogc_api: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    url, _ = ogc_api()
    before = source_settings()
    configure_sources(settings_for(url))
    try:
        assert open_source(None, description_of(url)).kind == "features"
        with pytest.raises(SourceUnavailable, match="allowed_hosts"):
            _ = open_source(None, description_of("http://localhost:1")).schema
    finally:
        configure_sources(before)
        close_sources()


def test_validator_stands_for_its_time_only(
    ogc_api: Callable[..., Any], settings_for: Callable[..., Any]
) -> None:
    url, _ = ogc_api()
    source = open_features(description_of(url, fresh_seconds=10), settings_for(url))
    source._clock = lambda: 1000.0
    first = source.change()
    source._clock = lambda: 1009.9
    assert source.change() == first
    source._clock = lambda: 1010.0
    assert source.change() != first
