"""Malformed requests and payloads of features: each gets a problem document that names parameter, value and what is allowed."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest

C = "/t/demo/ogc/collections/plots"
ITEMS = f"{C}/items"
GEOJSON = "application/geo+json"
PATCH = "application/merge-patch+json"
JSON = "application/json"
EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
RING = [[113.9, 22.6], [113.91, 22.6], [113.91, 22.61], [113.9, 22.6]]
LONG = "x" * 5000
DEEP = 1_500_000  # with the members around them almost 10 MB

# --- parameters of items ---------------------------------------------------------------------------------------------

PARAMETERS: list[tuple[str, str]] = [
    *[
        ("limit", value)
        for value in ("0", "-1", "1.5", "1e3", "ten", "", "٣", "0x10", "1;DROP TABLE feature", "9" * 40)
    ],
    *[("offset", value) for value in ("-1", "1000001", "9" * 30, "1 OR 1=1", "", "NaN", "²")],
    *[("bbox", value) for value in ("", "1", "1,2,3", "1,2,3,4,5", "1,2,3,4,5,6,7", "a,b,c,d", "nan,0,1,1")],
    *[
        ("bbox", value)
        for value in ("inf,0,1,1", "0,1,1,0", "0,-91,1,1", "0,0,1,90.1", "181,0,182,1", "0,0,9,1,1,0")
    ],
    *[
        ("bbox", value)
        for value in ("0;0;1;1", "1,,2,3", "1e999,0,1,1", "0,0,1,'1'", "１,2,3,4,", "[0,0,1,1]")
    ],
    *[
        ("bbox-crs", value)
        for value in (f"{EPSG}4326", "EPSG:nothing", "", "' OR 1=1 --", f"{EPSG}0", "http://a/b")
    ],
    *[
        ("crs", value)
        for value in ("WGS84", f"{EPSG}999999", "", "http://169.254.169.254/", "../../etc/passwd", LONG)
    ],
    *[("crs", value) for value in (f"{EPSG}5773", f"{EPSG}4978", "urn:ogc:def:crs:EPSG::abc", "\x00")],
    *[
        ("datetime", value)
        for value in ("yesterday", "2020-13-01", "2020-02-30", "2020-01-01T25:00:00Z", "2020")
    ],
    *[
        ("datetime", value)
        for value in ("2020-01-02/2020-01-01", "a/b", "1/2/3", "2020-01-01T00:00:00", "", "٢٠٢٠-01-01")
    ],
    *[("properties", value) for value in ("nothing", "name,nothing", "name;kind", "*", "name,name' --")],
    *[("skipGeometry", value) for value in ("perhaps", "", "2", "null")],
    *[("resulttype", value) for value in ("all", "", "HITS")],
    *[
        ("cursor", value)
        for value in (
            "x",
            "",
            "e30",
            "WzFd",
            "WzEsMiwzLDRd",
            "..",
            "W10",
            LONG,
            "WzEsIjEnIE9SIDE9MSJd",
            "bnVsbA",
        )
    ],
    *[
        ("sortby", value)
        for value in ("nothing", "-", "", "name,,kind", "height desc", "geometry", "name;--", "+-name")
    ],
    *[("q", value) for value in ("", ",", " , ", LONG)],
    *[("asof", value) for value in ("now", "2020-01-01", "2199-01-01T00:00:00Z", "", "2020-01-01T00:00:00")],
    *[("height", value) for value in ("tall", "", "nan", "inf", "1_0", "0x1F", "1 OR 1=1", "９")],
    *[("built", value) for value in ("soon", "2020-99-99", "", "2020/01/01")],
    *[("filter-lang", value) for value in ("sql", "", "cql-text", "ecql")],
    *[("filter-crs", value) for value in ("nowhere", f"{EPSG}4326", "")],
    *[("unknown", value) for value in ("1", "")],
    *[
        (name, "1")
        for name in ("Limit", "BBOX", "name'", "1=1;--", "__proto__", "x" * 400, "é", "名", "\x00", "select")
    ],
]

CQL2_TEXT = [
    "",
    " ",
    "height",
    "height >",
    "height > > 1",
    "height = 'tall'",
    "height = TRUE",
    "nothing = 1",
    "name = 1",
    "name LIKE 5",
    "name LIKE '" + "%a" * 2000 + "'",
    "name BETWEEN 1 AND 2",
    "height BETWEEN 1",
    "height IN ()",
    "height IN (1, 'a')",
    "height IN (" + ",".join(["1"] * 3000) + ")",
    "NOT",
    "(" * 900 + "height=1" + ")" * 899,
    "NOT " * 900 + "height=1",
    "height=1 AND " * 550,
    "height = 1; DROP TABLE feature",
    "name = 'a' OR 1=1 --",
    "name = 'unfinished",
    'name = "quoted',
    "S_INTERSECTS(geometry, POINT(1))",
    "S_INTERSECTS(geometry, POINT(nan 1))",
    "S_INTERSECTS(geometry, POLYGON((0 0, 1 1)))",
    "S_INTERSECTS(geometry, POLYGON EMPTY)",
    "S_INTERSECTS(geometry, POINT(1e400 0))",
    "S_INTERSECTS(geometry, POINT(200 95))",
    "S_INTERSECTS(name, POINT(1 1))",
    "S_NEARBY(geometry, POINT(1 1))",
    "S_INTERSECTS(geometry)",
    "T_AFTER(built, DATE('soon'))",
    "T_AFTER(name, DATE('2020-01-01'))",
    "T_DURING(built, INTERVAL('2021-01-01','2020-01-01'))",
    "built > TIMESTAMP('2020-01-01')",
    "built > DATE('2020-02-30')",
    "A_CONTAINS(height, (1,2))",
    "system('id') = 1",
    "sleep(10) = 1",
    "height / 'a' = 1",
    "height ^ name = 1",
    "CASEI(height) = 'a'",
    "ACCENTI(name, name) = 'a'",
    "geometry = 1",
    "geometry IS NULL AND",
    "height = 1e999",
    "height = " + "9" * 5000,
    "\x00",
    "name = '\x00",
    "名 = 1",
    "${jndi:ldap://x}",
    "{{7*7}}",
]

CQL2_JSON: list[Any] = [
    "",
    "{",
    "[]",
    "null",
    "1",
    '"text"',
    "{}",
    '{"op":1,"args":[]}',
    '{"op":"=","args":[]}',
    '{"op":"=","args":[{"property":"height"}]}',
    '{"op":"=","args":[{"property":"nothing"},1]}',
    '{"op":"=","args":[{"property":"height"},"tall"]}',
    '{"op":"=","args":[{"property":"height"},{"property":["a"]}]}',
    '{"op":"=","args":[{"property":"height"},NaN]}',
    '{"op":"=","args":{"property":"height"}}',
    '{"op":"not","args":[]}',
    '{"op":"exec","args":[1]}',
    '{"op":"like","args":[{"property":"name"},{"a":1}]}',
    '{"op":"in","args":[{"property":"height"},3]}',
    '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Point"}]}',
    '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Point","coordinates":["a",1]}]}',
    '{"op":"s_intersects","args":[{"property":"geometry"},{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}]}',
    '{"op":"s_intersects","args":[{"property":"geometry"},{"bbox":[0,1]}]}',
    '{"op":"t_after","args":[{"property":"built"},{"date":"soon"}]}',
    '{"op":"t_during","args":[{"property":"built"},{"interval":["2020-01-01"]}]}',
    '{"op":"isNull","args":[1,2]}',
    "[" * 2000 + "]" * 2000,
    '{"op":"not","args":[' * 600 + "true" + "]}" * 600,
]

# --- bodies ----------------------------------------------------------------------------------------------------------


def feature(**changed: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [RING]},
        "properties": {"name": "n", "kind": "k", "height": 1.0, "built": "2020-01-01"},
    } | changed


def polygon(coordinates: Any, kind: str = "Polygon") -> dict[str, Any]:
    return feature(geometry={"type": kind, "coordinates": coordinates})


def properties(**changed: Any) -> dict[str, Any]:
    return feature(properties={"name": "n", "kind": "k", "height": 1.0, "built": "2020-01-01"} | changed)


FEATURES: list[Any] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"text"',
    b"\xff\xfe{}",
    b'{"type":"Feature","geometry":null,"properties":{"height":NaN}}',
    b'{"type":"Feature","geometry":null,"properties":{"height":1e999}}',
    b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    b"{" + b'"a":{' * DEEP + b"}" * DEEP + b"}",
    {},
    {"type": "Feature"},
    {"type": "FeatureCollection", "features": []},
    {"type": "Point", "coordinates": [1, 2]},
    feature(type="feature"),
    feature(type=["Feature"]),
    feature(properties=[]),
    feature(properties="x"),
    feature(geometry="POINT(1 1)"),
    feature(geometry=[]),
    feature(geometry={}),
    feature(geometry={"type": "Circle", "coordinates": [1, 1]}),
    feature(geometry={"type": "Polygon"}),
    feature(geometry={"type": ["Polygon"], "coordinates": [RING]}),
    feature(geometry={"type": "Point", "coordinates": [1, 1]}),
    feature(geometry={"type": "GeometryCollection", "geometries": "x"}),
    polygon([]),
    polygon([[]]),
    polygon([[[0, 0], [1, 1]]]),
    polygon([[[0, 0], [1, 0], [1, 1], [2, 2]]]),
    polygon([[["a", 0], [1, 0], [1, 1], ["a", 0]]]),
    polygon([[[0, None], [1, 0], [1, 1], [0, None]]]),
    polygon([[[0], [1], [1], [0]]]),
    polygon([[{"x": 1}, 2, 3, 4]]),
    polygon([[[0, 0, 0, 0, 0, 0], [1, 0], [1, 1], [0, 0]]]),
    polygon([[[500, 0], [501, 0], [501, 1], [500, 0]]]),
    polygon([[[0, 95], [1, 95], [1, 96], [0, 95]]]),
    polygon([[[1e308, 0], [1, 0], [1, 1], [1e308, 0]]]),
    polygon([[[True, False], [1, 0], [1, 1], [True, False]]]),
    polygon([RING] * 3, "MultiPolygon"),
    properties(height="tall"),
    properties(height=True),
    properties(height=[1]),
    properties(height={"a": 1}),
    properties(name=1),
    properties(name=["a"]),
    properties(name="x" * 200_000),
    properties(name="\x00"),
    properties(built="soon"),
    properties(built="2020-02-30"),
    properties(built=20200101),
    properties(nothing=1),
    properties(**{"name'; DROP TABLE feature; --": "x"}),
    feature(id=[1]),
    feature(id={"a": 1}),
    feature(id=""),
    feature(id="not a number"),
    feature(id=1.5),
]

PATCHES: list[Any] = [
    b"",
    b"[]",
    b"null",
    {"type": "Point"},
    {"id": "2"},
    {"properties": []},
    {"properties": {"height": "x"}},
    {"properties": {"nothing": 1}},
    {"geometry": {"type": "Polygon", "coordinates": "x"}},
    {"colour": "red"},
]

BATCHES: list[Any] = [
    b"",
    [],
    {},
    {"transaction": []},
    {"transaction": {}},
    {"transaction": [1]},
    {"transaction": [{"action": "drop"}]},
    {"transaction": [{"action": "delete"}]},
    {"transaction": [{"action": "delete", "id": [1], "version": 1}]},
    {"transaction": [{"action": "delete", "id": "1", "version": {}}]},
    {"transaction": [{"action": "delete", "id": "1", "version": True}]},
    {"transaction": [{"action": "create"}]},
    {"transaction": [{"action": "create", "feature": 1, "extra": 2}]},
    {"transaction": [{"action": "update", "id": "1", "version": 1, "feature": []}]},
    {"transaction": [{"action": "create", "feature": feature()}] * 5001},
    {"type": "FeatureCollection"},
    {"type": "FeatureCollection", "features": [1]},
]

SEARCHES: list[Any] = [
    b"",
    b"[]",
    b"null",
    b"{",
    {"limit": "x"},
    {"limit": 0},
    {"limit": 1.5},
    {"limit": True},
    {"bbox": [1, 2]},
    {"bbox": "x"},
    {"bbox": [0, 0, 1, None]},
    {"bbox": ["a", 0, 1, 1]},
    {"datetime": 5},
    {"filter": 5},
    {"filter": {"op": "nothing", "args": []}},
    {"filter": "height >", "filter-lang": "cql2-text"},
    {"filter-lang": ["x"]},
    {"sortby": 3},
    {"sortby": ["nothing"]},
    {"sortby": [{"field": "name", "direction": "up"}]},
    {"properties": "x"},
    {"properties": ["nothing"]},
    {"crs": 4326},
    {"asof": 5},
    {"asof": "soon"},
    {"q": 5},
    {"cursor": 5},
    {"cursor": "x"},
    {"unknown": 1},
    {"offset": -1},
    {"skipGeometry": "perhaps"},
]


def assert_named(reply: Any, parameter: str | None = None, statuses: tuple[int, ...] = (400,)) -> None:
    """A problem document that says what was asked, found and allowed."""
    assert reply.status in statuses, (reply.status, reply.body[:500])
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem = reply.json
    assert problem["status"] == reply.status
    assert problem["detail"]
    assert len(reply.body) < 60_000  # what was sent is not sent back
    if reply.status == 400:
        assert problem["parameter"]
        assert isinstance(problem["value"], str)
        assert problem["allowed"]
        if parameter is not None:
            assert problem["parameter"] == parameter
    if reply.status == 422:
        assert problem["errors"]
        assert all(fault["detail"] for fault in problem["errors"])


def test_the_table_is_long_enough() -> None:
    total = sum(map(len, (PARAMETERS, CQL2_TEXT, CQL2_JSON, FEATURES, PATCHES, BATCHES, SEARCHES)))
    assert total >= 150


def _short(value: Any) -> str:
    return repr(value)[:60]


@pytest.mark.parametrize(("name", "value"), PARAMETERS, ids=_short)
def test_parameters(editing_client: Any, editing_slow_client: Any, name: str, value: str) -> None:
    url = f"{ITEMS}?{urllib.parse.urlencode({name: value})}"
    hot, slow = editing_client.get(url), editing_slow_client.get(url)
    assert_named(hot, name[:200] if len(name) < 200 else None)
    assert hot.json == slow.json


@pytest.mark.parametrize("text", CQL2_TEXT, ids=_short)
def test_cql2_text(editing_client: Any, text: str) -> None:
    assert_named(editing_client.get(f"{ITEMS}?{urllib.parse.urlencode({'filter': text})}"))


@pytest.mark.parametrize("text", CQL2_JSON, ids=_short)
def test_cql2_json(editing_client: Any, text: str) -> None:
    asked = urllib.parse.urlencode({"filter": text, "filter-lang": "cql2-json"})
    if len(asked) < 8000:
        assert_named(editing_client.get(f"{ITEMS}?{asked}"))
    posted = editing_client.request("POST", ITEMS, text.encode(), content_type="application/query-cql-json")
    assert_named(posted)


@pytest.mark.parametrize(
    "query",
    [
        "name=%ff",
        "name=%c3%28",
        "%ff=1",
        "name=%ed%a0%80",
        "filter=name='%fe%ff'",
        "q=%80",
        "&".join(f"a{number}=1" for number in range(65)),
        "name=" + "x" * 9000,
    ],
    ids=_short,
)
def test_query_strings(editing_client: Any, editing_slow_client: Any, query: str) -> None:
    for lane in (editing_client, editing_slow_client):
        assert_named(lane.get(f"{ITEMS}?{query}"), "query string")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "gb18030"])
def test_bodies_of_another_encoding(editing_client: Any, editing_city: Any, encoding: str) -> None:
    text = json.dumps(properties(name="ÄÖ"), ensure_ascii=False)
    reply = _sent(editing_client, editing_city.token, "POST", ITEMS, text.encode(encoding), GEOJSON)
    assert_named(reply, "body")


def _sent(client: Any, token: str, method: str, url: str, document: Any, content_type: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {"authorization": f"Bearer {token}", "content_type": content_type, "if_match": "*"}
    if method == "POST":
        del headers["if_match"]
    return client.request(method, url, body, **headers)


@pytest.mark.parametrize("document", FEATURES, ids=_short)
def test_features(editing_client: Any, editing_city: Any, document: Any) -> None:
    state = editing_client.get(ITEMS).headers["ETag"]
    made = _sent(editing_client, editing_city.token, "POST", ITEMS, document, GEOJSON)
    assert_named(made, statuses=(400, 422))
    if not (isinstance(document, dict) and "id" in document):
        replaced = _sent(editing_client, editing_city.token, "PUT", f"{ITEMS}/1", document, GEOJSON)
        assert_named(replaced, statuses=(400, 422))
    assert editing_client.get(ITEMS).headers["ETag"] == state


@pytest.mark.parametrize("document", PATCHES, ids=_short)
def test_patches(editing_client: Any, editing_city: Any, document: Any) -> None:
    reply = _sent(editing_client, editing_city.token, "PATCH", f"{ITEMS}/1", document, PATCH)
    assert_named(reply, statuses=(400, 422))


@pytest.mark.parametrize("document", BATCHES, ids=_short)
def test_batches(editing_client: Any, editing_city: Any, document: Any) -> None:
    reply = _sent(editing_client, editing_city.token, "POST", f"{C}/transactions", document, JSON)
    assert_named(reply, statuses=(400, 422))


@pytest.mark.parametrize("document", SEARCHES, ids=_short)
def test_searches(editing_client: Any, document: Any) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    assert_named(editing_client.request("POST", f"{C}/search", body, content_type=JSON))


def test_a_body_larger_than_allowed(editing_client: Any, editing_city: Any) -> None:
    body = b'{"type":"Feature","properties":{"name":"' + b"x" * (11 << 20) + b'"}}'
    for url, kind in ((ITEMS, GEOJSON), (f"{C}/search", JSON), (ITEMS, "application/query-cql-json")):
        reply = _sent(editing_client, editing_city.token, "POST", url, body, kind)
        assert_named(reply, statuses=(413,))


@pytest.mark.parametrize(
    "box", ["170,-10,-170,10", "-180,80,180,90", "-180,-90,180,90", "180,0,180,0", "0,90,0,90"]
)
def test_boxes_at_the_edge_of_the_world_are_answered(editing_client: Any, box: str) -> None:
    assert editing_client.get(f"{ITEMS}?bbox={box}").status == 200


@pytest.mark.parametrize(
    "value", ["'; DROP TABLE feature; --", '" OR ""="', "%", "_", "\\", "*", "楼", "🏙", "a\nb"]
)
def test_sql_in_a_value_is_a_value(editing_client: Any, value: str) -> None:
    for asked in ({"name": value}, {"filter": "name = '" + value.replace("'", "''") + "'"}):
        reply = editing_client.get(f"{ITEMS}?{urllib.parse.urlencode(asked)}")
        assert reply.status == 200, reply.body
        assert reply.json["numberReturned"] == 0


def test_a_like_bomb_is_answered(editing_client: Any) -> None:
    pattern = "%a" * 15
    asked = urllib.parse.urlencode({"filter": f"name LIKE '{pattern}'"})
    assert editing_client.get(f"{ITEMS}?{asked}").json["numberReturned"] == 0
