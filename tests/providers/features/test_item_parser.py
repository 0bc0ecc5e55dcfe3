"""The query string of items: what is understood, and how everything else is refused."""

from __future__ import annotations

import base64
import math
import subprocess
import sys
from typing import Any

import pytest

from providers.errors import InvalidParameter, StaleCursor
from providers.features.crs import CRS84H
from providers.features.parser import (
    QueryLimits,
    cursor_mark,
    decode_cursor,
    encode_cursor,
    parse_bbox,
    parse_datetime,
    parse_item_crs,
    parse_item_query,
    parse_search_body,
)
from providers.features.query import CRS84, BBox, ItemQuery, SortKey, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
SCHEMA = CollectionSchema(
    fields=(
        FieldDefinition("名称", "string"),
        FieldDefinition("height", "number"),
        FieldDefinition("floors", "integer"),
        FieldDefinition("listed", "boolean"),
        FieldDefinition("built", "string", "date"),
        FieldDefinition("updated", "string", "date-time"),
        FieldDefinition("secret", "string"),
    ),
    time_field="updated",
)
LIMITS = QueryLimits(default=10, maximum=1000, maximum_offset=5000)


def parse(*pairs: tuple[str, str], generation: int = 3) -> ItemQuery:
    return parse_item_query(list(pairs), SCHEMA, LIMITS, generation, frozenset({"secret"}))


def test_nothing_asked_is_the_first_page() -> None:
    assert parse() == ItemQuery(limit=10)
    assert parse(("f", "json"), ("lang", "zh")) == ItemQuery(limit=10)
    assert parse_item_query({"limit": "5"}, SCHEMA) == ItemQuery(limit=5)


@pytest.mark.parametrize(
    ("text", "limit"), [("1", 1), ("999", 999), ("1000", 1000), ("1001", 1000), ("9" * 18, 1000)]
)
def test_limit_is_lowered_to_the_maximum(text: str, limit: int) -> None:
    assert parse(("limit", text)).limit == limit


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1,2,3,4", BBox(1, 2, 3, 4)),
        ("-180,-90,180,90", BBox(-180, -90, 180, 90)),
        ("1.5,2,1.5,2", BBox(1.5, 2, 1.5, 2)),
        ("170,-10,-170,10", BBox(170, -10, -170, 10)),
        ("1,2,-50,3,4,100", BBox(1, 2, 3, 4)),
        (" 1, 2,3 ,4", BBox(1, 2, 3, 4)),
    ],
)
def test_bbox(value: str, expected: BBox) -> None:
    assert parse(("bbox", value)).bbox == expected


@pytest.mark.parametrize(
    "value",
    [
        "1,2,3",
        "1,2,3,4,5",
        "a,b,c,d",
        "",
        "1,2,3,nan",
        "1,2,inf,4",
        "1,5,3,4",
        "1,2,3,91",
        "1,2,181,4",
        "1,2,9,3,4,5",
        "1e400,0,0,0",
        "1,2,3,4,5,6,7",
    ],
)
def test_bbox_that_is_none(value: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(("bbox", value))
    assert (caught.value.name, caught.value.value) == ("bbox", value)
    assert caught.value.allowed


def test_bbox_crs_has_the_axis_order_of_its_authority() -> None:
    box = BBox(113.9, 22.5, 114.1, 22.7)
    assert parse(("bbox", "22.5,113.9,22.7,114.1"), ("bbox-crs", EPSG + "4326")).bbox == box
    assert parse(("bbox-crs", CRS84), ("bbox", "113.9,22.5,114.1,22.7")).bbox == box
    degrees = parse(("bbox", "22.5,113.9,22.7,114.1"), ("bbox-crs", EPSG + "4490")).bbox
    assert degrees == pytest.approx(box, abs=1e-6)
    around = parse(("bbox", "2490000,490000,2510000,510000"), ("bbox-crs", EPSG + "4547")).bbox
    assert around == pytest.approx((113.903, 22.506, 114.097, 22.687), abs=2e-3)
    mercator = parse_bbox("12679000,2570000,12702000,2594000", EPSG + "3857")
    assert mercator == pytest.approx((113.89739, 22.48620, 114.10401, 22.68526), abs=1e-5)


@pytest.mark.parametrize(
    ("value", "crs"),
    [
        ("510000,490000,2490000,2510000,1", EPSG + "4547"),
        ("2510000,490000,2490000,510000", EPSG + "4547"),
        ("1e30,1e30,2e30,2e30", EPSG + "3857"),
    ],
)
def test_bbox_in_another_crs_that_is_none(value: str, crs: str) -> None:
    with pytest.raises(InvalidParameter, match="bbox"):
        parse_bbox(value, crs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CRS84, CRS84),
        (CRS84H, CRS84H),
        (EPSG + "4547", EPSG + "4547"),
        ("https://www.opengis.net/def/crs/EPSG/0/3857", EPSG + "3857"),
        ("http://www.opengis.net/def/crs/EPSG/9.9.1/4490", EPSG + "4490"),
        ("urn:ogc:def:crs:EPSG::4326", EPSG + "4326"),
        ("[EPSG:4326]", EPSG + "4326"),
    ],
)
def test_crs(value: str, expected: str) -> None:
    assert parse(("crs", value)).crs == expected
    assert parse_item_crs([("crs", value), ("f", "json"), ("lang", "en")], SCHEMA) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "WGS84",
        EPSG + "0",
        EPSG + "999999",
        EPSG + "5773",
        EPSG + "4978",
        "http://example.org/EPSG/0/4326",
        EPSG + "4326/../1",
        EPSG + "4" * 40,
        "http://www.opengis.net/def/crs/OGC/1.3/CRS27",
    ],
)
@pytest.mark.parametrize("name", ["crs", "bbox-crs"])
def test_crs_that_is_none(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match="CRS URI") as caught:
        parse((name, value), ("bbox", "1,2,3,4"))
    assert caught.value.name == name


def test_bbox_crs_without_bbox() -> None:
    with pytest.raises(InvalidParameter, match="only together with bbox"):
        parse(("bbox-crs", CRS84))


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("2024-05-01T08:00:00Z", "2024-05-01T08:00:00Z", "2024-05-01T08:00:00Z"),
        ("2024-05-01T08:00:00+08:00", "2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z"),
        ("2024-05-01t08:00:00.25z", "2024-05-01T08:00:00.250Z", "2024-05-01T08:00:00.250Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999Z"),
        ("2024-05-01/2024-05-02", "2024-05-01T00:00:00Z", "2024-05-02T23:59:59.999Z"),
        ("2024-05-01T00:00:00Z/..", "2024-05-01T00:00:00Z", None),
        ("../2024-05-01T00:00:00Z", None, "2024-05-01T00:00:00Z"),
        ("/2024-05-01T00:00:00Z", None, "2024-05-01T00:00:00Z"),
        ("2024-05-01T00:00:00Z/", "2024-05-01T00:00:00Z", None),
        ("../..", None, None),
    ],
)
def test_datetime(value: str, start: str | None, end: str | None) -> None:
    assert parse(("datetime", value)).datetime == parse_datetime(value) == TimeInterval(start, end)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2024",
        "2024-13-01",
        "2024-02-30",
        "2024-05-01T25:00:00Z",
        "2024-05-01T08:00:00",
        "2024-05-02/2024-05-01",
        "a/b/c",
        "２０２４-05-01",
        "2024-05-01T08:00:00+25:00",
        "0001-01-01T00:00:00+08:00",
    ],
)
def test_datetime_that_is_none(value: str) -> None:
    with pytest.raises(InvalidParameter):
        parse(("datetime", value))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("名称", "深圳湾 1 号", "深圳湾 1 号"),
        ("名称", "", ""),
        ("height", "12.5", "12.5"),
        ("floors", "-3", "-3"),
        ("listed", "TRUE", "true"),
        ("listed", "0", "false"),
        ("built", "1999-12-31", "1999-12-31"),
        ("updated", "2024-05-01T08:00:00+08:00", "2024-05-01T00:00:00.000Z"),
    ],
)
def test_equality(name: str, value: str, text: str) -> None:
    assert parse((name, value)).equals == {name: text}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", "tall"),
        ("height", "nan"),
        ("floors", "1.5"),
        ("floors", "9" * 30),
        ("listed", "maybe"),
        ("built", "1999"),
        ("updated", "2024-05-01T08:00:00"),
    ],
)
def test_equality_of_the_wrong_type(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse((name, value))
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ([("limit", "0")], "limit"),
        ([("limit", "-1")], "limit"),
        ([("limit", "ten")], "limit"),
        ([("limit", "1_0")], "limit"),
        ([("limit", "１")], "limit"),
        ([("limit", "")], "limit"),
        ([("offset", "-1")], "offset"),
        ([("offset", "5001")], "offset"),
        ([("skipGeometry", "yes")], "skipGeometry"),
        ([("resulttype", "all")], "resulttype"),
        ([("properties", "height,depth")], "properties"),
        ([("properties", "secret")], "properties"),
        ([("secret", "x")], "secret"),
        ([("Limit", "1")], "Limit"),
        ([("limit", "+5")], "limit"),
        ([("limit", " 5")], "limit"),
        ([("limit", "5.0")], "limit"),
        ([("limit", "٣")], "limit"),
        ([("floors", "1_0")], "floors"),
        ([("floors", "+5")], "floors"),
        ([("floors", "１")], "floors"),
        ([("floors", str(1 << 63))], "floors"),
        ([("height", "1_0.5")], "height"),
        ([("height", "1e999")], "height"),
        ([("名称", "a\0b")], "名称"),
        ([("名称", "\ud800")], "名称"),
        ([("bbox", "1_0,2,30,4")], "bbox"),
        ([("bbox", "１,2,3,4")], "bbox"),
        ([("bbox", "+1,2,3,4")], "bbox"),
        ([("filter", "floors >")], "filter"),
        ([("filter", "")], "filter"),
        ([("filter", "secret = 'x'")], "filter"),
        ([("filter", "floors > 3"), ("filter-lang", "cql2-json")], "filter"),
        ([("filter", "floors > 3"), ("filter-lang", "ecql")], "filter-lang"),
        ([("filter", "floors > 3"), ("filter-crs", "EPSG:0")], "filter-crs"),
        ([("filter-lang", "cql2-text")], "filter-lang"),
        ([("filter-crs", CRS84)], "filter-crs"),
        ([("sortby", "")], "sortby"),
        ([("sortby", "depth")], "sortby"),
        ([("sortby", "-secret")], "sortby"),
        ([("sortby", "geometry")], "sortby"),
        ([("sortby", "--height")], "sortby"),
        ([("sortby", "height,-height")], "sortby"),
        ([("sortby", "height,")], "sortby"),
        ([("q", "")], "q"),
        ([("q", "a,,b")], "q"),
        ([("q", ",".join(map(str, range(17))))], "q"),
        ([("q", "x" * 201)], "q"),
        ([("q", "\0")], "q"),
        ([("asof", "2999-01-01T00:00:00Z")], "asof"),
        ([("asof", "2024-01-01")], "asof"),
        ([("asof", "2024-01-01T00:00:00")], "asof"),
        ([("asof", "2024-13-01T00:00:00Z")], "asof"),
        ([("asof", "yesterday")], "asof"),
        ([("offset", "1"), ("cursor", encode_cursor(3, (1,)))], "offset"),
        ([("limit", "1"), ("limit", "1")], "limit"),
        ([("floors", "1"), ("floors", "2")], "floors"),
    ],
)
def test_what_is_refused(pairs: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(*pairs)
    assert caught.value.name == name
    assert name in str(caught.value)
    assert "'secret'" not in caught.value.allowed.partition("]")[0]


def test_the_rest() -> None:
    query = parse(
        ("properties", "height,名称,height"),
        ("skipGeometry", "true"),
        ("offset", "5000"),
        ("resulttype", "hits"),
    )
    assert query == ItemQuery(properties=("height", "名称"), skip_geometry=True, offset=5000, hits_only=True)
    assert parse(("properties", "")).properties == ()


@pytest.mark.parametrize("key", [0, 1, (1 << 62) - 1])
def test_cursor_comes_back(key: int) -> None:
    token = encode_cursor(3, (key,))
    assert token.isascii()
    assert not set(token) & set("=&?#/+ ")
    assert decode_cursor(token, 3) == (key,)
    assert parse(("cursor", token)).cursor == (key,)


def test_cursor_of_another_generation_is_told_apart() -> None:
    with pytest.raises(StaleCursor, match="start again without cursor"):
        parse(("cursor", encode_cursor(2, (99,))))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "AAAA",
        "!" * 22,
        encode_cursor(3, (1,))[:-2],
        encode_cursor(3, (1,)) + "AA",
        encode_cursor(3, ()),
        base64.urlsafe_b64encode(b"[3,{}]").decode(),
        "é",
    ],
)
def test_cursor_that_is_none(token: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse(("cursor", token))
    assert not isinstance(caught.value, StaleCursor)


@pytest.mark.parametrize("pairs", [[("limit", "1")], [("crs", CRS84), ("crs", CRS84)], [("crs", "x")]])
def test_parameters_of_one_item(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidParameter):
        parse_item_crs(pairs, SCHEMA)


def test_limits_are_finite() -> None:
    assert math.isfinite(QueryLimits().maximum)
    assert parse_item_query([], SCHEMA).limit == QueryLimits().default


def test_filter_sort_search_and_state() -> None:
    query = parse(
        ("filter", "floors > 3"),
        ("sortby", "-height, 名称,+floors"),
        ("q", "楼, tower ,楼"),
        ("asof", "2024-05-01T08:00:00+08:00"),
    )
    assert query.filter is not None
    assert query.filter.text == "floors > 3"
    assert query.sortby == (SortKey("height", True), SortKey("名称"), SortKey("floors"))
    assert query.q == ("楼", "tower")
    assert query.asof == "2024-05-01T00:00:00.000000Z"


def test_filter_languages_and_crs() -> None:
    text = parse(("filter", "S_INTERSECTS(geometry, POINT(22.5 114))"), ("filter-crs", EPSG + "4490")).filter
    document = '{"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Point", "coordinates": [114, 22.5]}]}'
    found = parse(("filter", document), ("filter-lang", "cql2-json")).filter
    assert text is not None
    assert found is not None
    assert text.text == found.text == "S_INTERSECTS(geometry, POINT (114 22.5))"


def test_cursor_belongs_to_its_query() -> None:
    """A changed order or condition is told apart; a changed limit is none."""
    sorted_query = (("sortby", "-height"), ("filter", "floors > 3"))
    token = encode_cursor(3, (12.5, 7), cursor_mark(parse(*sorted_query)))
    assert parse(*sorted_query, ("cursor", token), ("limit", "5")).cursor == (12.5, 7)
    assert parse(("cursor", token), *sorted_query).cursor == (12.5, 7)
    for other in (
        (("sortby", "height"), ("filter", "floors > 3")),
        (("sortby", "-height"), ("filter", "floors > 4")),
        (("sortby", "-height"),),
        (*sorted_query, ("q", "x")),
        (),
    ):
        with pytest.raises(InvalidParameter, match="start without cursor"):
            parse(*other, ("cursor", token))


@pytest.mark.parametrize(
    ("sortby", "values"),
    [
        ("height", (1,)),
        ("height", (1, 2, 3)),
        ("height", ("tall", 3)),
        ("height", (True, 3)),
        ("height", (1.5, 2.5)),
        ("height", (1.5, None)),
        ("height", (1.5, True)),
        ("名称", (5, 3)),
        ("名称", ("a\0", 3)),
        ("listed", ("yes", 3)),
        ("built", ("yesterday", 3)),
        ("built", (1.5, 3)),
        ("floors", (1 << 63, 3)),
    ],
)
def test_forged_cursors(sortby: str, values: tuple[str | int | float | None, ...]) -> None:
    token = encode_cursor(3, values, cursor_mark(parse(("sortby", sortby))))
    with pytest.raises(InvalidParameter) as caught:
        parse(("sortby", sortby), ("cursor", token))
    assert caught.value.name == "cursor"


def search(document: dict[str, Any]) -> ItemQuery:
    return parse_search_body(document, SCHEMA, LIMITS, 3, frozenset({"secret"}))


def test_a_search_body_means_the_same_as_parameters() -> None:
    found = search(
        {
            "bbox": [113.5, 22, 114, 23],
            "datetime": "2024-05-01/..",
            "limit": 5,
            "skipGeometry": True,
            "properties": ["height", "名称"],
            "sortby": [{"field": "height", "direction": "desc"}, "名称", {"field": "floors"}],
            "q": ["楼", "tower"],
            "filter": {"op": ">", "args": [{"property": "floors"}, 3]},
            "listed": True,
            "floors": 5,
            "height": 2.5,
        }
    )
    assert found == parse(
        ("bbox", "113.5,22,114,23"),
        ("datetime", "2024-05-01/.."),
        ("limit", "5"),
        ("skipGeometry", "true"),
        ("properties", "height,名称"),
        ("sortby", "-height,名称,floors"),
        ("q", "楼,tower"),
        ("filter", "floors > 3"),
        ("listed", "true"),
        ("floors", "5"),
        ("height", "2.5"),
    )
    assert search({"filter": "floors > 3", "sortby": "-height"}) == parse(
        ("filter", "floors > 3"), ("sortby", "-height")
    )
    assert search({}) == parse()


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"limit": True}, "limit"),
        ({"limit": 5.0}, "limit"),
        ({"limit": None}, "limit"),
        ({"limit": [5]}, "limit"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": [1, 2, 3, "4"]}, "bbox"),
        ({"bbox": [1, 2, 3, True]}, "bbox"),
        ({"bbox": {"west": 1}}, "bbox"),
        ({"datetime": 2024}, "datetime"),
        ({"crs": 4326}, "crs"),
        ({"filter": None}, "filter"),
        ({"filter": []}, "filter"),
        ({"filter": {"op": "=", "args": [{"property": "secret"}, "x"]}}, "filter"),
        ({"filter": {"op": "="}}, "filter"),
        ({"filter-lang": "cql2-json"}, "filter-lang"),
        ({"sortby": {"field": "height", "direction": "up"}}, "sortby"),
        ({"sortby": [{"field": 5}]}, "sortby"),
        ({"sortby": [{"field": "height", "nulls": "first"}]}, "sortby"),
        ({"sortby": 5}, "sortby"),
        ({"properties": "height,depth"}, "properties"),
        ({"properties": ["secret"]}, "properties"),
        ({"properties": [5]}, "properties"),
        ({"q": [5]}, "q"),
        ({"q": []}, "q"),
        ({"skipGeometry": 5}, "skipGeometry"),
        ({"secret": "x"}, "secret"),
        ({"depth": 5}, "depth"),
        ({"height": None}, "height"),
        ({"height": [1]}, "height"),
        ({"floors": 1e300}, "floors"),
    ],
)
def test_search_bodies_that_are_refused(document: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        search(document)
    assert caught.value.name == name
    assert "secret" not in caught.value.allowed


def test_plain_queries_load_no_filter_parser() -> None:
    """Requests without a filter, most of all, must not wait for lark and pygeofilter."""
    code = (
        "import sys\n"
        "from providers.features.parser import parse_item_query\n"
        "from providers.features.schema import CollectionSchema\n"
        "parse_item_query({'bbox': '1,2,3,4', 'limit': '5'}, CollectionSchema(()))\n"
        "print([name for name in ('lark', 'pygeofilter', 'providers.features.cql2') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
