"""Views, rights, paging and following the registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from server.http.app import create_app
from server.registry.catalogue import Access
from server.registry.registry import open_registry
from server.settings import load_settings


def test_landing_pages_link_to_what_exists(client: Any) -> None:
    for root in ("/ogc/", "/t/demo/ogc/"):
        landing = client.json(root)
        for link in landing["links"]:
            path = link["href"].removeprefix("http://city.example:8000")
            assert client.get(path).status == 200, path


def test_the_city_joins_tenant_and_collection(client: Any) -> None:
    city_ids = [c["id"] for c in client.json("/ogc/collections")["collections"]]
    assert city_ids == ["demo.boxes", "other.boxes"]
    assert [c["id"] for c in client.json("/t/demo/ogc/collections")["collections"]] == ["boxes"]
    in_city = client.json("/ogc/collections/demo.boxes/items?limit=3")
    in_tenant = client.json("/t/demo/ogc/collections/boxes/items?limit=3")
    assert in_city["features"] == in_tenant["features"]
    assert client.get("/t/other/ogc/collections/secret").status == 404
    assert client.get("/ogc/collections/boxes").status == 404


def test_every_link_of_a_collection_answers(client: Any) -> None:
    document = client.json("/ogc/collections/demo.boxes")
    for link in document["links"]:
        path = link["href"].removeprefix("http://city.example:8000")
        reply = client.get(path)
        assert reply.status == 200, (path, reply.body[:200])
        expected = link["type"].split(";")[0]
        assert reply.headers["Content-Type"].startswith(expected), (path, reply.headers["Content-Type"])


SECRET = "/t/demo/ogc/collections/secret"
SECRET_PATHS = [
    SECRET,
    "/ogc/collections/demo.secret",
    f"{SECRET}/items",
    f"{SECRET}/items/1",
    f"{SECRET}/items?f=html",
    f"{SECRET}/items?f=csv",
    f"{SECRET}/queryables",
    f"{SECRET}/schema",
    f"{SECRET}/tiles",
    f"{SECRET}/tiles/WebMercatorQuad",
    f"{SECRET}/tiles/WebMercatorQuad/10/445/835",
    f"{SECRET}/map",
    f"{SECRET}/map/tiles/WebMercatorQuad/10/445/835",
    f"{SECRET}/download/secret.gpkg",
    f"{SECRET}/download/secret.geojson",
    "/t/demo/ogc/collections/catalogue/items/secret",
    "/ogc/collections/catalogue/items/demo.secret",
]


@pytest.mark.parametrize("path", SECRET_PATHS)
def test_a_private_collection_is_the_operators_alone(client: Any, city: Any, path: str) -> None:
    hidden = client.get(path)
    assert hidden.status == 404
    unknown = client.get(path.replace("secret", "nothing"))
    assert unknown.status == 404
    assert hidden.body.replace(b"secret", b"nothing") == unknown.body
    shown = client.get(path, authorization=f"Bearer {city.token}")
    assert shown.status in (200, 204), shown.body[:300]
    assert "public" not in shown.headers.get("Cache-Control", "")


LISTS = [
    "/ogc/collections",
    "/t/demo/ogc/collections",
    "/ogc/collections?q=secret",
    "/",
    "/t/demo/",
    "/ogc/collections?f=html",
    "/ogc/collections/catalogue/items",
    "/ogc/collections/demo.boxes?f=html",
    "/t/demo/maps/service?service=WMS&request=GetCapabilities&version=1.3.0",
    "/t/demo/maps/wmts?service=WMTS&request=GetCapabilities",
]


@pytest.mark.parametrize("path", LISTS)
def test_no_list_names_a_private_collection(client: Any, city: Any, path: str) -> None:
    reply = client.get(path)
    assert reply.status == 200
    assert b"demo.secret" not in reply.body
    assert b"Boxes of secret" not in reply.body
    if "html" not in path and path.startswith("/ogc/collections"):
        assert b"secret" in client.get(path, authorization=f"Bearer {city.token}").body


def test_a_wrong_token_is_refused_everywhere(client: Any) -> None:
    for path in ("/ogc/collections", "/t/demo/ogc/collections/boxes/items", "/"):
        reply = client.get(path, authorization="Bearer wrong")
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_new_generation_is_seen_by_the_next_request(client: Any, city: Any) -> None:
    city.publish("moving", count=5)
    first = client.get("/t/demo/ogc/collections/moving/items")
    assert first.json["numberMatched"] == 5
    city.publish("moving", count=9, replace=True)
    second = client.get("/t/demo/ogc/collections/moving/items", if_none_match=first.headers["ETag"])
    assert (second.status, second.json["numberMatched"]) == (200, 9)
    city.registry.unpublish("demo", "moving")
    assert client.get("/t/demo/ogc/collections/moving/items").status == 404


def test_a_collection_made_private_vanishes_at_once(client: Any, city: Any) -> None:
    city.publish("closing", count=5)
    assert client.get("/t/demo/ogc/collections/closing/items").status == 200
    city.publish("closing", count=5, replace=True, access=Access.PRIVATE)
    assert client.get("/t/demo/ogc/collections/closing/items").status == 404
    city.registry.unpublish("demo", "closing")


def follow(client: Any, url: str) -> list[Any]:
    """All features, by the `next` links."""
    features: list[Any] = []
    for _ in range(1000):
        page = client.json(url)
        features += page["features"]
        onward = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not onward:
            return features
        url = onward[0].removeprefix("http://city.example:8000")
    raise AssertionError("the next links never end")


@pytest.mark.parametrize("query", ["limit=7", "limit=50&bbox=113.8,22.6,114.0,22.7", "limit=3&kind=office"])
def test_next_links_visit_every_feature_once(client: Any, query: str) -> None:
    base = "/t/demo/ogc/collections/boxes/items"
    once = client.json(f"{base}?{re.sub('limit=[0-9]+', 'limit=10000', query)}")["features"]
    paged = follow(client, f"{base}?{query}")
    assert [feature["id"] for feature in paged] == [feature["id"] for feature in once]
    assert len({feature["id"] for feature in paged}) == len(paged)


def test_collections_are_paged_and_filtered(client: Any) -> None:
    page = client.json("/ogc/collections?limit=1")
    assert (page["numberMatched"], page["numberReturned"]) == (2, 1)
    onward = next(link["href"] for link in page["links"] if link["rel"] == "next")
    rest = client.json(onward.removeprefix("http://city.example:8000"))
    assert [c["id"] for c in rest["collections"]] == ["other.boxes"]
    assert not [link for link in rest["links"] if link["rel"] == "next"]
    assert client.json("/ogc/collections?q=方块 other")["numberMatched"] == 1
    assert client.json("/ogc/collections?q=absent")["numberMatched"] == 0
    assert client.json("/ogc/collections?bbox=113,22,115,23")["numberMatched"] == 2
    assert client.json("/ogc/collections?bbox=0,0,1,1")["numberMatched"] == 0
    assert client.json("/ogc/collections?limit=100000")["numberReturned"] == 2
    for bad in ("limit=0", "limit=x", "offset=-1", "bbox=1", "nothing=1", "q=a&q=b"):
        assert client.get(f"/ogc/collections?{bad}").status == 400, bad


def test_an_entry_of_the_list_is_its_collection_without_further_formats(client: Any) -> None:
    """What a client chooses by is the same; the rest is one request away."""
    for entry in client.json("/ogc/collections")["collections"]:
        address = next(each["href"] for each in entry["links"] if each["rel"] == "self")
        whole = client.json(address.removeprefix("http://city.example:8000"))
        assert whole["conformsTo"]
        assert "conformsTo" not in entry
        for name in entry.keys() - {"links", "extent", "data_queries"}:
            assert entry[name] == whole[name], name
        links = [(each["rel"], each["href"]) for each in entry["links"]]
        more = [(each["rel"], each["href"]) for each in whole["links"]]
        assert [one for one in more if one in links] == links
        assert {relation for relation, _ in more} - {relation for relation, _ in links} == {"enclosure"}
        assert len(entry["links"]) < len(whole["links"]) / 1.5


def test_the_openapi_document_is_valid_and_flat(client: Any) -> None:
    reply = client.get("/t/demo/ogc/api")
    document = reply.json
    validate(document)
    assert len(reply.body) < 300_000
    references = re.findall(rb'"\$ref":"([^"]*)"', reply.body)
    assert references
    assert all(reference.startswith(b"#/") for reference in references)
    assert document["servers"] == [{"url": "http://city.example:8000/t/demo/ogc"}]
    operations = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(operations) == len(set(operations))


def test_every_path_of_the_openapi_document_is_routed(client: Any) -> None:
    document = client.json("/ogc/api")
    values = {
        "collectionId": "demo.boxes",
        "styleId": "polygon",
        "featureId": "1",
        "pointId": "pointcloud.0-0-0-0.0",
        "recordId": "demo.boxes",
        "locationId": "x",
        "processId": "buffer-clip",
        "tileMatrixSetId": "WebMercatorQuad",
        "tileMatrix": "10",
        "tileRow": "445",
        "tileCol": "835",
        "level": "10",
        "x": "835",
        "y": "445",
        "z": "0",
        "pointTile": "scan",
        "eptNode": "0-0-0-0",
        "encodingRGB": "mapbox",
        "nodeI3S": "1",
        "pageI3S": "0",
        "attributeI3S": "f_0",
        "name": "pointcloud",
    }
    needed = {"/profile": "?coords=POINT(113.9%2022.7)"}
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        reply = client.get("/ogc" + path.format(**values) + needed.get(path, ""))
        absent = b"demo.boxes' has no" in reply.body or b"there is no archive" in reply.body
        assert reply.status == 200 or absent, (path, reply.status, reply.body[:200])


def test_conformance_is_what_every_feature_collection_passed(client: Any) -> None:
    classes = client.get("/ogc/conformance").json["conformsTo"]
    assert len(set(classes)) == len(classes)
    listed = client.get("/ogc/collections?limit=1000").json["collections"]
    collections = [client.json(f"/ogc/collections/{one['id']}") for one in listed]
    of_features = [set(one["conformsTo"]) for one in collections if one.get("itemType") == "feature"]
    assert of_features
    everywhere = set.intersection(*of_features)
    listed = {uri for uri in classes if "ogcapi-features" in uri or "/cql2/" in uri}
    assert listed - {"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30"} == {
        uri for uri in everywhere if "ogcapi-features" in uri or "/cql2/" in uri
    }
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in listed
    assert "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2" in listed


def test_cors_and_preflight(client: Any) -> None:
    reply = client.get("/ogc/collections", origin="https://app.example")
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    preflight = client.request("OPTIONS", "/t/demo/ogc/collections/boxes/items", origin="https://app.example")
    assert preflight.status == 204
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]


def test_unknown_host_names_are_refused(client: Any) -> None:
    assert client.get("/ogc/", host="evil.example/x?").status == 400


@pytest.mark.parametrize(
    "path", ["/nothing", "/t/nobody/", "/ogc/nothing", "/t/demo/nothing", "/static/../secret"]
)
def test_unknown_paths_are_problems_for_programs_and_pages_for_people(client: Any, path: str) -> None:
    assert client.get(path).headers["Content-Type"] == "application/problem+json"
    page = client.get(path, accept="text/html")
    assert page.status == 404
    assert page.headers["Content-Type"].startswith("text/html")


def test_health(client: Any) -> None:
    assert client.json("/health/live") == {"status": "live"}
    assert client.json("/health/ready")["status"] == "ready"
    assert b"chengtu_collections" in client.get("/metrics").body


def test_a_worker_quicker_than_its_registry_becomes_ready_with_it(tmp_path: Path, wsgi_client: Any) -> None:
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(tmp_path / "home")})
    early = wsgi_client(create_app(settings))
    for path in ("/health/ready", "/ogc/collections", "/t/demo/ogc/collections/boxes/items"):
        assert early.get(path).status == 503, path
    open_registry(settings).close()
    assert early.get("/health/ready").status == 200
    assert early.json("/ogc/collections")["numberMatched"] == 0
