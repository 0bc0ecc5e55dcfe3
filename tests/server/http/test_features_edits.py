"""Create, replace, update, delete, batches: what clients are told, and what everyone reads afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

C = "/t/demo/ogc/collections/plots"
ITEMS = f"{C}/items"
GEOJSON = "application/geo+json"
PATCH = "application/merge-patch+json"
SQUARE = [[[113.9, 22.6], [113.91, 22.6], [113.91, 22.61], [113.9, 22.61], [113.9, 22.6]]]


def feature(**properties: Any) -> dict[str, Any]:
    values = {"name": "新楼", "kind": "office", "height": 12.5, "built": "2024-05-01"} | properties
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": SQUARE},
        "properties": values,
    }


@pytest.fixture
def send(editing_client: Any, editing_city: Any) -> Callable[..., Any]:
    """Sends JSON as the operator."""

    def call(method: str, url: str, document: Any = None, **headers: str) -> Any:
        body = b"" if document is None else json.dumps(document).encode()
        given = {"authorization": f"Bearer {editing_city.token}", "content_type": GEOJSON} | headers
        return editing_client.request(method, url, body, **given)

    return call


@pytest.fixture
def made(send: Callable[..., Any]) -> tuple[str, str]:
    """(URL, ETag) of a new feature."""
    reply = send("POST", ITEMS, feature())
    assert reply.status == 201, reply.body
    path = reply.headers["Location"].partition("city.example:8000")[2]
    return path, reply.headers["ETag"]


def test_a_new_feature_is_there_for_everyone(
    made: Any, editing_client: Any, editing_slow_client: Any
) -> None:
    url, etag = made
    for lane in (editing_client, editing_slow_client):
        reply = lane.get(url)
        assert reply.status == 200
        assert reply.headers["ETag"] == etag
        assert reply.json["properties"]["name"] == "新楼"
        assert reply.json["geometry"]["coordinates"] == SQUARE


def test_the_etag_of_a_page_changes_with_an_edit(send: Any, editing_client: Any, made: Any) -> None:
    before = editing_client.get(ITEMS).headers["ETag"]
    assert editing_client.get(ITEMS, if_none_match=before).status == 304
    assert send("DELETE", made[0], if_match=made[1]).status == 204
    assert editing_client.get(ITEMS, if_none_match=before).status == 200


def test_replacing_needs_the_version_that_was_seen(send: Any, made: Any) -> None:
    url, etag = made
    assert send("PUT", url, feature(height=20.0)).status == 428
    first = send("PUT", url, feature(height=20.0), if_match=etag)
    assert (first.status, first.body) == (204, b"")
    assert first.headers["ETag"] != etag
    stale = send("PUT", url, feature(height=30.0), if_match=etag)
    assert stale.status == 412
    assert stale.headers["Content-Type"] == "application/problem+json"
    assert send("GET", url).json["properties"]["height"] == 20.0


@pytest.mark.parametrize(
    "query", ["", "?f=html", "?f=csv", "?crs=http://www.opengis.net/def/crs/EPSG/0/4490", "?lang=zh"]
)
def test_the_etag_of_any_form_is_good_for_if_match(send: Any, made: Any, query: str) -> None:
    url, etag = made
    shown = send("GET", url + query)
    tag = shown.headers.get("ETag", etag)
    assert tag.startswith('"')  # strong
    assert send("PATCH", url, {"properties": {"height": 1.5}}, content_type=PATCH, if_match=tag).status == 204


@pytest.mark.parametrize(
    "tag",
    ['"1.99-abc"', 'W/"1.1-abc"', "1.1", '"x"', '"7.1-abc"', '""', '"1.1', "W/", '"1.1.1-a"', "'1.1'", "é"],
)
def test_other_tags_do_not_match(send: Any, made: Any, tag: str) -> None:
    assert send("DELETE", made[0], if_match=tag).status == 412
    assert send("GET", made[0]).status == 200


def test_if_match_takes_a_list_and_a_star(send: Any, made: Any) -> None:
    url, etag = made
    listed = send(
        "PATCH", url, {"properties": {"height": 2.0}}, content_type=PATCH, if_match=f'"0.0-a", {etag}'
    )
    assert listed.status == 204
    assert send("DELETE", url, if_match="*").status == 204
    assert send("GET", url).status == 404
    assert send("DELETE", url, if_match="*").status == 412
    assert send("DELETE", url).status == 404


def test_if_none_match_keeps_a_version_from_being_edited(send: Any, made: Any) -> None:
    url, etag = made
    for tag in (etag, f"W/{etag}", "*", f'"x", {etag}'):
        assert send("PUT", url, feature(), if_none_match=tag, if_match=etag).status == 412
    assert send("PUT", url, feature(), if_none_match='"1.77-a"', if_match=etag).status == 204


def test_a_merge_patch_changes_what_it_names(send: Any, made: Any) -> None:
    url, etag = made
    patch = {"properties": {"kind": "商业", "built": None}}
    reply = send("PATCH", url, patch, content_type=PATCH, if_match=etag, prefer="return=representation")
    assert reply.status == 200
    assert reply.headers["Preference-Applied"] == "return=representation"
    assert reply.json["properties"] == {"name": "新楼", "kind": "商业", "height": 12.5, "built": None}
    assert reply.headers["ETag"] == send("GET", url).headers["ETag"]


def test_coordinates_in_another_crs(send: Any, editing_client: Any) -> None:
    moved = feature()
    moved["geometry"]["coordinates"] = [[[y, x] for x, y in SQUARE[0]]]
    crs = "http://www.opengis.net/def/crs/EPSG/0/4326"
    reply = send("POST", ITEMS, moved, content_crs=f"<{crs}>", prefer="return=representation")
    assert reply.status == 201, reply.body
    assert reply.json["geometry"]["coordinates"] == SQUARE
    assert reply.headers["Content-Crs"] == "<http://www.opengis.net/def/crs/OGC/1.3/CRS84>"
    wrong = send("POST", ITEMS, moved, content_crs="<http://www.opengis.net/def/crs/EPSG/0/1>")
    assert wrong.status == 400
    assert wrong.json["parameter"] == "Content-Crs"


def test_put_makes_nothing_unless_the_collection_says_so(send: Any) -> None:
    assert send("PUT", f"{ITEMS}/999999", feature()).status == 404
    assert send("PUT", f"{ITEMS}/999999", feature(), if_match="*").status == 412


def test_put_makes_a_feature_where_the_collection_says_so(send: Any) -> None:
    items = "/t/demo/ogc/collections/open/items"
    reply = send("PUT", f"{items}/777777", feature(), if_none_match="*")
    assert reply.status == 201, reply.body
    assert reply.headers["Location"].endswith("/items/777777")
    assert send("PUT", f"{items}/777777", feature(), if_none_match="*").status == 412
    assert send("PUT", f"{items}/777777", feature(height=3.0)).status == 204  # this one demands no If-Match
    assert send("GET", "/t/demo/ogc/collections/open").json["supportsNonAutogeneratedResourceIds"] is True


def test_a_taken_id_is_a_conflict(send: Any) -> None:
    taken = feature() | {"id": "1"}
    reply = send("POST", ITEMS, taken)
    assert reply.status == 409, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_faults_of_a_feature_are_all_told(send: Any) -> None:
    wrong = feature(height="tall", built="yesterday", colour="red")
    wrong["geometry"] = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}
    reply = send("POST", ITEMS, wrong)
    assert reply.status == 422
    pointers = {fault["pointer"] for fault in reply.json["errors"]}
    assert {"/properties/height", "/properties/built", "/properties/colour"} <= pointers
    assert any(pointer.startswith("/geometry") for pointer in pointers)
    assert all(fault["detail"] for fault in reply.json["errors"])


@pytest.mark.parametrize(
    ("method", "content_type", "header"),
    [
        ("POST", "text/plain", "Accept-Post"),
        ("POST", "", "Accept-Post"),
        ("POST", "application/xml", "Accept-Post"),
        ("PATCH", "application/json-patch+json", "Accept-Patch"),
        ("PATCH", GEOJSON, "Accept-Patch"),
        ("PUT", PATCH, "Accept-Post"),
    ],
)
def test_other_media_types_are_refused(
    send: Any, made: Any, method: str, content_type: str, header: str
) -> None:
    url = ITEMS if method == "POST" else made[0]
    reply = send(method, url, feature(), content_type=content_type, if_match=made[1])
    assert reply.status == 415
    assert reply.headers[header]
    coded = send(method, url, feature(), content_encoding="gzip", if_match=made[1])
    assert coded.status == 415


def test_rights(editing_client: Any, send: Any, made: Any) -> None:
    body = json.dumps(feature()).encode()
    url, etag = made
    for method, address, kind in (
        ("POST", ITEMS, GEOJSON),
        ("PUT", url, GEOJSON),
        ("PATCH", url, PATCH),
        ("DELETE", url, GEOJSON),
        ("POST", f"{C}/transactions", "application/json"),
    ):
        nobody = editing_client.request(method, address, body, content_type=kind, if_match=etag)
        assert nobody.status == 401, (method, nobody.body)
        assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
        wrong = editing_client.request(method, address, body, content_type=kind, authorization="Bearer x" * 4)
        assert wrong.status == 401
    hidden = editing_client.request(
        "POST", "/t/demo/ogc/collections/secret/items", body, content_type=GEOJSON
    )
    assert hidden.status == 404
    assert send("GET", url).headers["ETag"] == etag


def test_a_read_only_collection_says_so(send: Any) -> None:
    frozen = "/t/demo/ogc/collections/frozen"
    for method, url in (
        ("POST", f"{frozen}/items"),
        ("PUT", f"{frozen}/items/1"),
        ("PATCH", f"{frozen}/items/1"),
        ("DELETE", f"{frozen}/items/1"),
        ("POST", f"{frozen}/transactions"),
        ("DELETE", "/t/demo/ogc/collections/catalogue/items/x"),
    ):
        reply = send(method, url, feature())
        assert reply.status == 405, (method, url, reply.body)
        assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert send("OPTIONS", f"{frozen}/items/1").headers["Allow"] == "GET, HEAD, OPTIONS"


def test_options_tell_what_who_asks_can_do(send: Any, editing_client: Any, made: Any) -> None:
    one = send("OPTIONS", made[0])
    assert one.status == 204
    assert one.headers["Allow"] == "GET, HEAD, OPTIONS, PUT, PATCH, DELETE"
    assert one.headers["Accept-Patch"] == PATCH
    assert GEOJSON in send("OPTIONS", ITEMS).headers["Accept-Post"]
    assert editing_client.request("OPTIONS", made[0]).headers["Allow"] == "GET, HEAD, OPTIONS"
    preflight = editing_client.request("OPTIONS", made[0], access_control_request_method="PATCH")
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in preflight.headers["Access-Control-Allow-Headers"]


def test_a_batch_is_made_as_a_whole(send: Any, made: Any, editing_client: Any) -> None:
    url, etag = made
    feature_id = url.rpartition("/")[2]
    before = editing_client.get(f"{ITEMS}?resulttype=hits").json["numberMatched"]
    batch = {
        "transaction": [
            {"action": "create", "feature": feature(name="a")},
            {
                "action": "update",
                "id": feature_id,
                "version": etag,
                "feature": {"properties": {"height": 9.5}},
            },
            {"action": "create", "feature": feature(name="b")},
        ]
    }
    reply = send("POST", f"{C}/transactions", batch, content_type="application/json")
    assert reply.status == 200, reply.body
    assert [one["action"] for one in reply.json["results"]] == ["create", "update", "create"]
    assert reply.json["counts"]["create"] == 2
    assert editing_client.get(f"{ITEMS}?resulttype=hits").json["numberMatched"] == before + 2
    assert send("GET", url).headers["ETag"] == reply.json["results"][1]["etag"]


def test_a_batch_with_one_fault_makes_nothing(send: Any, made: Any, editing_client: Any) -> None:
    url, etag = made
    feature_id = url.rpartition("/")[2]
    state = editing_client.get(ITEMS).headers["ETag"]
    stale = {"action": "delete", "id": feature_id, "version": etag.replace(".1-", ".41-")}
    for last, status in (
        (stale, 412),
        ({"action": "delete", "id": feature_id, "version": '"99.1-a"'}, 412),
        ({"action": "delete", "id": feature_id}, 428),
        ({"action": "delete", "id": "no-such", "version": 1}, 404),
        ({"action": "create", "feature": feature(height="x")}, 422),
        ({"action": "create", "feature": feature() | {"id": "1"}}, 409),
        ({"action": "upsert"}, 422),
    ):
        batch = {"transaction": [{"action": "create", "feature": feature()}, last]}
        reply = send("POST", f"{C}/transactions", batch, content_type="application/json")
        assert reply.status == status, (last, reply.body)
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert editing_client.get(ITEMS).headers["ETag"] == state


def test_a_feature_collection_is_a_batch_of_new_features(send: Any) -> None:
    batch = {"type": "FeatureCollection", "features": [feature(name=str(i)) for i in range(3)]}
    reply = send("POST", f"{C}/transactions", batch)
    assert reply.status == 200, reply.body
    assert reply.json["counts"]["create"] == 3


def test_the_collection_document_follows_edits(send: Any, editing_client: Any) -> None:
    far = feature()
    far["geometry"] = {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}
    count = editing_client.get(f"{ITEMS}?resulttype=hits").json["numberMatched"]
    assert send("POST", ITEMS, far).status == 201
    document = editing_client.get(C).json
    assert document["itemCount"] == count + 1
    assert document["extent"]["spatial"]["bbox"][0][:2] == [1.0, 1.0]


def test_history_and_old_states(send: Any, made: Any, editing_client: Any, editing_slow_client: Any) -> None:
    url, etag = made
    changed = send("PATCH", url, {"properties": {"height": 77.5}}, content_type=PATCH, if_match=etag)
    assert send("DELETE", url, if_match=changed.headers["ETag"]).status == 204
    history = editing_client.get(f"{url}/history").json
    assert [one["deleted"] for one in history["versions"]] == [True, False, False]
    assert history["numberMatched"] == 3
    second, first = history["versions"][1:]
    assert (second["feature"]["properties"]["height"], first["feature"]["properties"]["height"]) == (
        77.5,
        12.5,
    )
    assert first["until"] == second["since"]
    assert first["author"] == "operator"
    for lane in (editing_client, editing_slow_client):
        for version in (first, second):
            old = lane.get(f"{url}?asof={version['since']}")
            assert old.status == 200, old.body
            assert old.json["properties"] == version["feature"]["properties"]
        assert lane.get(url).status == 404
        page = lane.get(f"{ITEMS}?asof={second['since']}&filter=height=77.5")
        assert page.json["numberReturned"] == 1
    paged = editing_client.get(f"{url}/history?limit=1&offset=1").json
    assert [one["version"] for one in paged["versions"]] == [second["version"]]
    assert editing_client.get(f"{url}/history?f=html").status == 200
    assert editing_client.get(f"{ITEMS}/nobody/history").status == 404


def test_the_link_of_a_feature_leads_to_its_history(editing_client: Any) -> None:
    links = {link["rel"]: link["href"] for link in editing_client.get(f"{ITEMS}/1").json["links"]}
    assert links["version-history"].endswith("/items/1/history")


def test_asof_reaches_into_an_earlier_generation(editing_city: Any, editing_client: Any, send: Any) -> None:
    editing_city.publish("renewed", count=5)
    items = "/t/demo/ogc/collections/renewed/items"
    url = f"{items}/1"
    changed = send("PATCH", url, {"properties": {"name": "old"}}, content_type=PATCH, if_match="*")
    assert changed.status == 204, changed.body
    since = editing_client.get(f"{url}/history").json["versions"][0]["since"]
    editing_city.publish("renewed", count=3, replace=True)
    assert editing_client.get(f"{items}?resulttype=hits").json["numberMatched"] == 3
    assert send("DELETE", url, if_match=changed.headers["ETag"]).status == 412
    page = editing_client.get(f"{items}?asof={since}&limit=2")
    assert page.status == 200, page.body
    following = next(link["href"] for link in page.json["links"] if link["rel"] == "next")
    rest = editing_client.get(following.partition("city.example:8000")[2])
    assert page.json["numberReturned"] == 2
    assert editing_client.get(f"{items}?asof={since}&resulttype=hits").json["numberMatched"] == 5
    assert rest.status == 200, rest.body
    assert editing_client.get(f"{url}?asof={since}").json["properties"]["name"] == "old"
