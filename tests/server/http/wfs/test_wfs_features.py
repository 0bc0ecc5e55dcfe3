"""GetFeature, GetPropertyValue and the stored query: what is selected, in which order, CRS and form."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from lxml import etree

WFS = "{http://www.opengis.net/wfs/2.0}"
GML = "{http://www.opengis.net/gml/3.2}"
DEMO = "{urn:chengtu:features:demo}"
BASE = "/t/demo/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=boxes"
BOX = (113.80, 22.60, 113.85, 22.65)
FES = 'xmlns="http://www.opengis.net/fes/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"'
TALL = f"<Filter {FES}><PropertyIsGreaterThan><ValueReference>height</ValueReference><Literal>80</Literal></PropertyIsGreaterThan></Filter>"


def ids(root: Any) -> list[str]:
    return [feature.get(f"{GML}id") for feature in root.iterfind(f"{WFS}member/*")]


def follow(client: Any, url: str) -> Any:
    parts = urlsplit(url)
    reply = client.get(f"{parts.path}?{parts.query}")
    assert reply.status == 200, reply.body[:300]
    return etree.fromstring(reply.body)


@pytest.fixture(scope="module")
def items(wfs_client: Any) -> list[dict[str, Any]]:
    """The same features by OGC API - Features, in its order."""
    found: list[dict[str, Any]] = []
    url = "/t/demo/ogc/collections/boxes/items?limit=40"
    while url:
        document = wfs_client.json(url)
        found += document["features"]
        url = next((link["href"] for link in document["links"] if link["rel"] == "next"), "")
        url = url.partition("8000")[2]
    assert len(found) == 250
    return found


def test_pages_by_next_links(wfs_client: Any, ask: Any, items: Any) -> None:
    page = ask("GetFeature", typeNames="chengtu:boxes")
    seen: list[str] = []
    pages = 0
    while True:
        pages += 1
        assert page.get("numberMatched") == "250"
        assert page.get("numberReturned") == str(len(ids(page)))
        seen += ids(page)
        if page.get("next") is None:
            break
        assert "CURSOR=" in page.get("next")
        page = follow(wfs_client, page.get("next"))
    assert seen == [f"boxes.{item['id']}" for item in items]
    assert pages == 7  # the page is 40
    before = follow(wfs_client, page.get("previous"))
    assert ids(before) == seen[200:240]


@pytest.mark.parametrize("start", [0, 1, 39, 40, 41, 249, 250, 1000])
def test_pages_by_index(ask: Any, items: Any, start: int) -> None:
    page = ask("GetFeature", typeNames="boxes", startIndex=str(start), count="3")
    assert ids(page) == [f"boxes.{item['id']}" for item in items[start : start + 3]]
    assert (page.get("next") is not None) == (start < 247)
    assert (page.get("previous") is not None) == (start > 0)


def test_pages_by_index_go_on_where_the_one_before_ended(
    ask: Any, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GDAL and QGIS read. After the first page the store is never told to skip."""
    from server.http.wfs import reading
    from server.http.wfs.resuming import PageEnds

    monkeypatch.setattr(reading, "page_ends", PageEnds())
    offsets: list[int] = []
    original = reading.columns_within

    def noted(source: Any, query: Any, *rest: Any, **more: Any) -> Any:
        offsets.append(query.offset)
        return original(source, query, *rest, **more)

    monkeypatch.setattr(reading, "columns_within", noted)
    seen: list[str] = []
    for start in range(0, 250, 40):
        seen += ids(ask("GetFeature", typeNames="boxes", startIndex=str(start), count="40"))
    assert seen == [f"boxes.{item['id']}" for item in items]
    assert offsets == [0] * 7
    # Another query does not go on from there.
    sorted_page = ask("GetFeature", typeNames="boxes", startIndex="40", count="2", sortBy="height")
    assert offsets[-1] == 40
    assert ids(sorted_page) != ids(ask("GetFeature", typeNames="boxes", startIndex="40", count="2"))


def test_page_ends_are_bounded() -> None:
    from providers.features.query import ItemQuery
    from server.http.wfs.resuming import PageEnds

    ends, query = PageEnds(kept=3), ItemQuery()
    for index in range(4):
        ends.keep("state", query, index, (index,))
    assert ends.find("state", query, 0) is None
    assert ends.find("state", query, 3) == (3,)
    assert ends.find("other", query, 3) is None


def test_first_pages_do_not_overlap_going_back(wfs_client: Any, ask: Any, items: Any) -> None:
    page = ask("GetFeature", typeNames="boxes", startIndex="2", count="5")
    before = follow(wfs_client, page.get("previous"))
    assert ids(before) == [f"boxes.{item['id']}" for item in items[:2]]


def test_count_above_the_page_is_the_page(ask: Any) -> None:
    assert len(ids(ask("GetFeature", typeNames="boxes", count="41"))) == 40
    assert len(ids(ask("GetFeature", typeNames="boxes", count="40"))) == 40


def test_hits(wfs_client: Any, ask: Any) -> None:
    page = ask("GetFeature", typeNames="boxes", resultType="hits")
    assert (page.get("numberMatched"), page.get("numberReturned"), len(page)) == ("250", "0", 0)
    assert len(ids(follow(wfs_client, page.get("next")))) == 40
    empty = ask("GetFeature", typeNames="boxes", count="0")
    assert (empty.get("numberMatched"), len(empty)) == ("250", 0)
    filtered = ask("GetFeature", typeNames="boxes", resultType="hits", filter=TALL)
    assert 0 < int(filtered.get("numberMatched")) < 250


# The same box in each form: the two with authority's order have latitude first.
BOXES = {
    "22.60,113.80,22.65,113.85": "the default CRS",
    "22.60,113.80,22.65,113.85,urn:ogc:def:crs:EPSG::4326": "URN",
    "22.60,113.80,22.65,113.85,http://www.opengis.net/def/crs/EPSG/0/4326": "URI",
    "113.80,22.60,113.85,22.65,EPSG:4326": "short form: longitude first",
    "113.80,22.60,113.85,22.65,http://www.opengis.net/gml/srs/epsg.xml#4326": "old URL: longitude first",
    "113.80,22.60,113.85,22.65,urn:ogc:def:crs:OGC:1.3:CRS84": "CRS84",
    "22.60,113.80,22.65,113.85,urn:ogc:def:crs:EPSG::4490": "CGCS2000",
    "113.80,22.60,113.85,22.65,EPSG:4490": "CGCS2000, longitude first",
}


@pytest.mark.parametrize("bbox", BOXES, ids=list(BOXES.values()))
def test_boxes_in_both_orders(ask: Any, items: Any, bbox: str) -> None:
    west, south, east, north = BOX
    inside = []
    for item in items:
        xs, ys = zip(*item["geometry"]["coordinates"][0], strict=True)
        if min(xs) <= east and max(xs) >= west and min(ys) <= north and max(ys) >= south:
            inside.append(f"boxes.{item['id']}")
    assert 5 < len(inside) < 40
    assert ids(ask("GetFeature", typeNames="boxes", bbox=bbox)) == inside


def corner(root: Any) -> tuple[float, float]:
    text = root.find(f".//{GML}posList").text.split()
    return float(text[0]), float(text[1])


@pytest.mark.parametrize(
    ("name", "north_first", "is_degrees"),
    [
        ("urn:ogc:def:crs:EPSG::4326", True, True),
        ("http://www.opengis.net/def/crs/EPSG/0/4490", True, True),
        ("EPSG:4490", False, True),
        ("EPSG:4326", False, True),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", False, True),
        ("EPSG:3857", False, False),
        ("urn:ogc:def:crs:EPSG::3857", False, False),
        ("urn:ogc:def:crs:EPSG::4547", True, False),
        ("EPSG:4547", False, False),
    ],
)
def test_reference_systems_and_axis_order(ask: Any, name: str, north_first: bool, is_degrees: bool) -> None:
    root = ask("GetFeature", typeNames="boxes", count="1", srsName=name)
    assert root.find(f".//{GML}Polygon").get("srsName") == name
    first, second = corner(root)
    north, east = (first, second) if north_first else (second, first)
    if is_degrees:
        assert (round(north, 1), round(east, 1)) == (22.6, 113.8)
    elif "3857" in name:
        assert (int(north // 1e5), int(east // 1e5)) == (25, 126)
    else:  # zone with the central meridian 114, false easting 500 km
        assert (int(north // 1e5), int(east // 1e5)) == (25, 4)


def test_properties_and_order(ask: Any) -> None:
    root = ask(
        "GetFeature", typeNames="boxes", propertyName="height,chengtu:name", sortBy="height DESC", count="5"
    )
    features = root.findall(f"{WFS}member/*")
    assert [etree.QName(one).localname for one in features[0]] == ["name", "height"]
    heights = [float(one.findtext(f"{DEMO}height")) for one in features]
    assert heights == sorted(heights, reverse=True)
    old_style = ask("GetFeature", typeNames="boxes", sortBy="kind A,height D", count="5")
    assert {one.findtext(f"{DEMO}kind") for one in old_style.iterfind(f"{WFS}member/*")} == {"office"}
    with_geometry = ask("GetFeature", typeNames="boxes", propertyName="geometry", count="1")
    assert [etree.QName(one).localname for one in with_geometry[0][0]] == ["geometry"]


def test_sorted_pages_go_on_by_cursor(wfs_client: Any, ask: Any) -> None:
    page = ask("GetFeature", typeNames="boxes", sortBy="height", count="30")
    following = follow(wfs_client, page.get("next"))
    heights = [float(text) for text in (*page.xpath("//*[local-name()='height']/text()"),
                                        *following.xpath("//*[local-name()='height']/text()"))]  # fmt: skip
    assert len(heights) == 60
    assert heights == sorted(heights)


def test_filters(ask: Any, items: Any) -> None:
    tall = [f"boxes.{item['id']}" for item in items if item["properties"]["height"] > 80]
    assert ids(ask("GetFeature", typeNames="boxes", filter=TALL)) == tall
    within = f"""<Filter {FES}><And><PropertyIsLike wildCard="*" singleChar="." escapeChar="!"><ValueReference>chengtu:name
      </ValueReference><Literal>楼 1*</Literal></PropertyIsLike><BBOX><ValueReference>geometry</ValueReference><gml:Envelope
      srsName="EPSG:4326"><gml:lowerCorner>113.8 22.6</gml:lowerCorner><gml:upperCorner>114 22.7</gml:upperCorner></gml:Envelope>
      </BBOX></And></Filter>"""
    found = ids(ask("GetFeature", typeNames="boxes", filter=within))
    expected = [
        f"boxes.{item['id']}"
        for item in items
        if item["properties"]["name"].startswith("楼 1")
        and min(x for x, _ in item["geometry"]["coordinates"][0]) <= 114
        and min(y for _, y in item["geometry"]["coordinates"][0]) <= 22.7
    ]
    assert found == expected[:40]
    assert len(expected) > 5


def test_resource_ids(ask: Any) -> None:
    by_filter = f'<Filter {FES}><ResourceId rid="boxes.7"/><ResourceId rid="boxes.12"/><ResourceId rid="other.7"/></Filter>'
    assert ids(ask("GetFeature", typeNames="boxes", filter=by_filter)) == ["boxes.7", "boxes.12"]
    assert ids(ask("GetFeature", resourceId="boxes.7,boxes.12,boxes.7")) == ["boxes.7", "boxes.12"]
    assert ids(ask("GetFeature", typeNames="boxes", resourceId="boxes.nobody")) == []
    assert ids(ask("GetFeature", resourceId="demo.boxes.7", view="")) == ["demo.boxes.7"]
    page = ask("GetFeature", resourceId="boxes.7,boxes.12,boxes.13", count="1", startIndex="1")
    assert (ids(page), page.get("numberMatched")) == (["boxes.12"], "3")
    assert "STARTINDEX=2" in page.get("next")


@pytest.mark.parametrize(
    "query",
    [
        "urn:ogc:def:query:OGC-WFS::GetFeatureById",
        "http://www.opengis.net/def/query/OGC-WFS/0/GetFeatureById",
    ],
)
def test_get_feature_by_id(ask: Any, query: str) -> None:
    root = ask("GetFeature", storedQuery_Id=query, ID="boxes.7")
    assert (root.tag, root.get(f"{GML}id")) == (f"{DEMO}boxes", "boxes.7")


def test_get_feature_by_id_in_other_forms(wfs_client: Any) -> None:
    url = "/t/demo/wfs?service=WFS&request=GetFeature&storedquery_id=urn:ogc:def:query:OGC-WFS::GetFeatureById&id=boxes.7"
    assert wfs_client.json(f"{url}&outputFormat=geojson")["id"] == "boxes.7"
    missing = wfs_client.get(url.replace("boxes.7", "boxes.70000"))
    assert missing.status == 404
    assert b'exceptionCode="NotFound"' in missing.body


def test_property_values(ask: Any, items: Any) -> None:
    for reference in ("name", "chengtu:name", "chengtu:boxes/chengtu:name", "/boxes/name"):
        root = ask("GetPropertyValue", typeNames="boxes", valueReference=reference, count="3")
        assert root.tag == f"{WFS}ValueCollection"
        assert [value.text for value in root.iterfind(f"{WFS}member/{DEMO}name")] == [
            item["properties"]["name"] for item in items[:3]
        ]
    values = ask("GetPropertyValue", typeNames="boxes", valueReference="@gml:id", count="2")
    assert [member.text for member in values] == [f"boxes.{item['id']}" for item in items[:2]]
    shape = ask("GetPropertyValue", typeNames="boxes", valueReference="geometry", count="2")
    assert len(shape.findall(f"{WFS}member/{DEMO}geometry/{GML}Polygon")) == 2
    assert (
        ask("GetPropertyValue", typeNames="boxes", valueReference="name", resultType="hits").get(
            "numberMatched"
        )
        == "250"
    )


def test_geojson(wfs_client: Any, items: Any) -> None:
    page = wfs_client.json(f"{BASE}&outputFormat=application/json&count=2")
    assert [feature["id"] for feature in page["features"]] == [f"boxes.{item['id']}" for item in items[:2]]
    assert page["features"][0]["geometry"] == items[0]["geometry"]
    assert page["features"][0]["properties"] == items[0]["properties"]
    assert (page["numberMatched"], page["numberReturned"]) == (250, 2)
    link = next(link["href"] for link in page["links"] if link["rel"] == "next")
    following = wfs_client.json(link.partition("8000")[2])
    assert [feature["id"] for feature in following["features"]] == [
        f"boxes.{item['id']}" for item in items[2:4]
    ]
    moved = wfs_client.json(f"{BASE}&outputFormat=json&count=1&srsName=urn:ogc:def:crs:EPSG::4490")
    assert moved["features"][0]["geometry"]["coordinates"][0][0][0] > 113  # longitude first in GeoJSON
    assert moved["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::4490"


def test_csv(wfs_client: Any) -> None:
    reply = wfs_client.get(f"{BASE}&outputFormat=csv&count=2&propertyName=name,kind")
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert reply.headers["OGC-NumberMatched"] == "250"
    assert reply.headers["OGC-NumberReturned"] == "2"
    lines = reply.body.decode().splitlines()
    assert lines[0].replace('"', "") == "id,name,kind,geometry" or lines[0].replace('"', "") == "id,name,kind"
    assert len(lines) == 3


def test_every_listed_format_answers(wfs_client: Any, ask: Any) -> None:
    root = ask("GetCapabilities")
    names = root.xpath("//*[@name='GetFeature']/*[@name='outputFormat']//*[local-name()='Value']/text()")
    assert len(names) > 5
    for name in names:
        reply = wfs_client.request(
            "GET", f"{BASE}&count=2&outputFormat={name.replace(' ', '%20')}"
        )  # the + of a media type as clients send it: not escaped
        assert reply.status == 200, (name, reply.body[:300])
        assert len(reply.body) > 50


def test_http(wfs_client: Any) -> None:
    whole = wfs_client.get(f"{BASE}&count=40")
    etag = whole.headers["ETag"]
    assert whole.headers["Access-Control-Allow-Origin"] == "*"
    again = wfs_client.get(f"{BASE}&count=40", If_None_Match=etag)
    assert (again.status, again.body) == (304, b"")
    head = wfs_client.request("HEAD", f"{BASE}&count=40")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    coded = wfs_client.get(f"{BASE}&count=40", Accept_Encoding="gzip")
    assert coded.headers["Content-Encoding"] == "gzip"
    assert len(etree.fromstring(gzip.decompress(coded.body))) == 40
    assert wfs_client.request("OPTIONS", "/wfs", Access_Control_Request_Method="POST").status == 204


@pytest.mark.parametrize("form", ["gml32", "json"])
def test_large_answers_go_out_in_pieces(wfs_client: Any, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    small = wfs_client.get(f"{BASE}&count=40&outputFormat={form}")
    monkeypatch.setattr("server.http.wfs.spool._IN_MEMORY", 1000)
    streamed = wfs_client.get(f"{BASE}&count=40&outputFormat={form}")
    assert len(streamed.body) == len(small.body) == int(streamed.headers["Content-Length"])
    assert streamed.headers["ETag"] == small.headers["ETag"]
    coded = wfs_client.get(f"{BASE}&count=40&outputFormat={form}", Accept_Encoding="gzip")
    assert len(gzip.decompress(coded.body)) == len(small.body)
    head = wfs_client.request("HEAD", f"{BASE}&count=40&outputFormat={form}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == streamed.headers["Content-Length"]


def test_pages_past_the_budget_are_whole(
    ask: Any, items: Any, monkeypatch: pytest.MonkeyPatch, wfs_settings: Any
) -> None:
    """GDAL takes a page that is shorter than it asked for as the last one: budgets must not shorten it."""
    from providers.features.page_budget import PageBudget
    from server.http.wfs import reading

    original = reading.columns_within
    pages: list[int] = []

    def tight(source: Any, query: Any, *rest: Any, **more: Any) -> Any:
        page = original(source, query, *rest, **more, budget=PageBudget(body_bytes=1000))
        pages.append(page.number_returned)
        return page

    monkeypatch.setattr(reading, "columns_within", tight)
    root = ask("GetFeature", typeNames="boxes", count="40")
    assert ids(root) == [f"boxes.{item['id']}" for item in items[:40]]
    assert len(pages) > 2
    # Past its time a page ends early, and says how to go on.
    monkeypatch.setattr(reading, "_SECONDS", -1)
    short = ask("GetFeature", typeNames="boxes", count="40")
    assert len(ids(short)) == pages[0] < 40
    assert f"STARTINDEX={pages[0]}" in short.get("next")


def test_long_answers_take_a_place(wfs_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from providers.features.page_budget import PageBudget
    from server.http.errors import Overloaded
    from server.http.places import Places
    from server.http.wfs import reading

    def full(self: Any) -> Any:
        raise Overloaded("busy")

    monkeypatch.setattr(Places, "taken", full)
    assert wfs_client.get(f"{BASE}&count=39").status == 200
    original = reading.columns_within
    monkeypatch.setattr(
        reading,
        "columns_within",
        lambda *given, **more: original(*given, **more, budget=PageBudget(body_bytes=1000)),
    )
    reply = wfs_client.get(f"{BASE}&count=38")
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "1"
    assert b"ExceptionReport" in reply.body


def test_awkward_names_and_values(ask: Any, wfs_client: Any) -> None:
    root = ask("GetFeature", typeNames="odd")
    assert len(set(ids(root))) == 5
    for identifier in ids(root):  # every id leads back to its feature
        by_id = ask("GetFeature", storedquery_id="urn:ogc:def:query:OGC-WFS::GetFeatureById", id=identifier)
        assert by_id.get(f"{GML}id") == identifier
    streets = {one.get(f"{GML}id"): one for one in root.iterfind(f"{WFS}member/*")}
    texts = sorted(one.findtext(f"{DEMO}addr_street") or "-" for one in streets.values())
    assert texts == sorted(["a < b & c > d", "\"quoted\" 'twice'", "-", "-", "line\nfeed\r\ufffd"])
    assert sorted(root.xpath("//*[local-name()='层数']/text()")) == sorted(["1", "-2", str(2**53 + 1), "0"])
    assert sorted(root.xpath("//*[local-name()='open']/text()")) == ["false", "false", "true", "true"]
    kinds = {etree.QName(one[0]).localname for one in root.iter(f"{DEMO}geom")}
    assert kinds == {"LineString", "Polygon", "MultiPoint", "MultiGeometry"}
    assert root.find(f".//{GML}LineString[@srsDimension='3']") is not None
    assert len(root.xpath("//@*[local-name()='id']")) == len(set(root.xpath("//@*[local-name()='id']")))


@pytest.mark.parametrize(
    ("name", "literal", "count"),
    [("chengtu:addr_street", "a < b & c > d", 1), ("_2nd_name", "x' OR '1'='1", 1), ("层数", "9007199254740993", 1), ("geometry", "a text", 1)],
)  # fmt: skip
def test_filters_by_awkward_names(ask: Any, name: str, literal: str, count: int) -> None:
    condition = etree.Element("{http://www.opengis.net/fes/2.0}Filter")
    equal = etree.SubElement(condition, "{http://www.opengis.net/fes/2.0}PropertyIsEqualTo")
    etree.SubElement(equal, "{http://www.opengis.net/fes/2.0}ValueReference").text = name
    etree.SubElement(equal, "{http://www.opengis.net/fes/2.0}Literal").text = literal
    root = ask("GetFeature", typeNames="odd", filter=etree.tostring(condition, encoding="unicode"))
    assert len(ids(root)) == count
    assert len(ids(ask("GetFeature", typeNames="odd", sortBy=name))) == 5
    shown = ask("GetFeature", typeNames="odd", propertyName=name)
    assert {etree.QName(one).localname for one in shown.iterfind(f"{WFS}member/*/*")} == {
        name.rpartition(":")[2]
    }


POST = """<wfs:GetFeature service="WFS" version="2.0.0" count="3" xmlns:wfs="http://www.opengis.net/wfs/2.0"
 xmlns:fes="http://www.opengis.net/fes/2.0" xmlns:d="urn:chengtu:features:demo"><wfs:Query typeNames="d:boxes"
 srsName="urn:ogc:def:crs:EPSG::3857"><wfs:PropertyName>d:height</wfs:PropertyName><fes:Filter><fes:PropertyIsGreaterThan>
 <fes:ValueReference>d:height</fes:ValueReference><fes:Literal>50</fes:Literal></fes:PropertyIsGreaterThan></fes:Filter>
 <fes:SortBy><fes:SortProperty><fes:ValueReference>d:height</fes:ValueReference><fes:SortOrder>DESC</fes:SortOrder>
 </fes:SortProperty></fes:SortBy></wfs:Query></wfs:GetFeature>"""


def test_post_is_the_same_as_get(wfs_client: Any, ask: Any) -> None:
    reply = wfs_client.request("POST", "/t/demo/wfs", POST.encode(), content_type="text/xml")
    assert reply.status == 200, reply.body
    posted = etree.fromstring(reply.body)
    tall = TALL.replace(">80<", ">50<")
    got = ask("GetFeature", typeNames="boxes", count="3", filter=tall, sortBy="height DESC", propertyName="height", srsName="urn:ogc:def:crs:EPSG::3857")  # fmt: skip
    assert ids(posted) == ids(got)
    assert posted.get("numberMatched") == got.get("numberMatched")
    following = follow(wfs_client, posted.get("next"))  # by GET
    assert len(ids(following)) == 3
    assert not set(ids(following)) & set(ids(posted))
    form = dict(parse_qsl("service=WFS&request=GetFeature&typeNames=boxes&count=2"))
    reply = wfs_client.request(
        "POST", "/t/demo/wfs", "&".join(f"{k}={v}" for k, v in form.items()).encode(),
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert len(ids(etree.fromstring(reply.body))) == 2


def test_post_of_stored_query_and_values(wfs_client: Any) -> None:
    body = """<GetFeature xmlns="http://www.opengis.net/wfs/2.0" service="WFS" version="2.0.2"><StoredQuery
      id="urn:ogc:def:query:OGC-WFS::GetFeatureById"><Parameter name="ID">boxes.7</Parameter></StoredQuery></GetFeature>"""
    reply = wfs_client.request("POST", "/t/demo/wfs", body.encode(), content_type="application/xml")
    assert etree.fromstring(reply.body).get(f"{GML}id") == "boxes.7"
    body = """<GetPropertyValue xmlns="http://www.opengis.net/wfs/2.0" xmlns:c="urn:chengtu:features" service="WFS"
      version="2.0.0" valueReference="c:name" count="2"><Query typeNames="c:demo.boxes"/></GetPropertyValue>"""
    reply = wfs_client.request("POST", "/wfs", body.encode(), content_type="application/xml")
    assert len(etree.fromstring(reply.body)) == 2


def test_names_without_case_and_unknown_ones(wfs_client: Any) -> None:
    reply = wfs_client.get("/t/demo/wfs?SeRvIcE=wfs&VERSION=2.0.2&rEqUeSt=GetFeature&TYPENAME=boxes&TYPENAMES=boxes&maxfeatures=1&_dc=1&vendor=x")  # fmt: skip
    assert len(etree.fromstring(reply.body)) == 1


def test_edits_show_at_once(wfs_client: Any, operator: Any, ask: Any) -> None:
    url = "/t/demo/wfs?service=WFS&request=GetFeature&typeNames=plots&count=1"
    before = wfs_client.get(url)
    identifier = ids(etree.fromstring(before.body))[0].split(".")[1]
    patch = json.dumps({"properties": {"name": "edited"}}).encode()
    reply = wfs_client.request(
        "PATCH", f"/t/demo/ogc/collections/plots/items/{identifier}", patch,
        content_type="application/merge-patch+json", If_Match="*", **operator,
    )  # fmt: skip
    assert reply.status == 204, reply.body
    after = wfs_client.get(url, If_None_Match=before.headers["ETag"])
    assert after.status == 200
    assert b">edited<" in after.body
