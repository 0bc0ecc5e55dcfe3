"""Malformed requests: never a defect, never a page, always an ows:ExceptionReport with the right code and place."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from lxml import etree

OWS = "{http://www.opengis.net/ows/1.1}"
INVALID, MISSING, NO_OPTION = "InvalidParameterValue", "MissingParameterValue", "OptionNotSupported"
NOT_SUPPORTED, PARSING = "OperationNotSupported", "OperationParsingFailed"
GET = "service=WFS&version=2.0.0&request=GetFeature&typeNames=boxes"
VALUES = "service=WFS&version=2.0.0&request=GetPropertyValue&typeNames=boxes"
BY_ID = "service=WFS&request=GetFeature&storedquery_id=urn:ogc:def:query:OGC-WFS::GetFeatureById"
FES = 'xmlns="http://www.opengis.net/fes/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"'


def filter_of(condition: str, **more: str) -> str:
    return f"{GET}&filter={quote(f'<Filter {FES}>{condition}</Filter>')}"


def equal(name: str, value: str) -> str:
    return f"<PropertyIsEqualTo><ValueReference>{name}</ValueReference><Literal>{value}</Literal></PropertyIsEqualTo>"


DEEP = "<Not>" * 150 + equal("name", "x") + "</Not>" * 150
KVP = [
    ("", MISSING, "service"),
    ("service=", MISSING, "service"),
    ("service=WMS&request=GetCapabilities", INVALID, "service"),
    ("service=WFS", MISSING, "request"),
    ("service=WFS&request=Nonsense", INVALID, "request"),
    ("service=WFS&request=getfeature", INVALID, "request"),
    ("service=WFS&request=GetCapabilities&request=GetFeature", INVALID, "request"),
    ("service=WFS&request=LockFeature", NOT_SUPPORTED, "LockFeature"),
    ("service=WFS&request=GetFeatureWithLock&typeNames=boxes", NOT_SUPPORTED, "GetFeatureWithLock"),
    ("service=WFS&request=CreateStoredQuery", NOT_SUPPORTED, "CreateStoredQuery"),
    ("service=WFS&request=DropStoredQuery&storedQuery_Id=x", NOT_SUPPORTED, "DropStoredQuery"),
    ("service=WFS&request=GetCapabilities&acceptVersions=1.1.0", "VersionNegotiationFailed", ""),
    ("service=WFS&request=GetCapabilities&acceptVersions=,", "VersionNegotiationFailed", ""),
    ("service=WFS&request=GetCapabilities&sections=Nothing", INVALID, "sections"),
    ("service=WFS&request=GetCapabilities&acceptFormats=text/html", INVALID, "acceptFormats"),
    ("service=WFS&version=1.1.0&request=GetFeature&typeName=boxes", INVALID, "version"),
    ("service=WFS&version=2.0&request=DescribeFeatureType", INVALID, "version"),
    ("service=WFS&request=DescribeFeatureType&typeNames=nobody", INVALID, "typeNames"),
    ("service=WFS&request=DescribeFeatureType&typeNames=boxes,nobody", INVALID, "typeNames"),
    ("service=WFS&request=DescribeFeatureType&typeNames=app:boxes", INVALID, "typeNames"),
    ("service=WFS&request=DescribeFeatureType&typeNames=x:boxes&namespaces=xmlns(x,urn:y)", INVALID, "typeNames"),
    ("service=WFS&request=DescribeFeatureType&typeNames=x:boxes&namespaces=x", INVALID, "namespaces"),
    ("service=WFS&request=DescribeFeatureType&typeNames=boxes&outputFormat=text/html", INVALID, "outputFormat"),
    ("service=WFS&request=DescribeStoredQueries&storedQuery_Id=urn:x", INVALID, "storedquery_id"),
    ("service=WFS&request=GetFeature", MISSING, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=", MISSING, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=boxes,plots", NO_OPTION, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=(boxes)(plots)", NO_OPTION, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=boxes'%20OR%201=1--", INVALID, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=../../etc/passwd", INVALID, "typeNames"),
    ("service=WFS&request=GetFeature&typeNames=boxes%00", INVALID, "typeNames"),
    (f"{GET}&aliases=a", NO_OPTION, "aliases"),
    (f"{GET}&count=-1", INVALID, "count"),
    (f"{GET}&count=ten", INVALID, "count"),
    (f"{GET}&count=1e3", INVALID, "count"),
    (f"{GET}&count=99999999999999999999", INVALID, "count"),
    (f"{GET}&count=%D9%A1", INVALID, "count"),
    (f"{GET}&startIndex=-1", INVALID, "startIndex"),
    (f"{GET}&startIndex=1.5", INVALID, "startIndex"),
    (f"{GET}&startIndex=2147483647", None, ""),
    (f"{GET}&startIndex=2147483648", INVALID, "startIndex"),
    (f"{GET}&count=2147483648", INVALID, "count"),
    (f"{GET}&resultType=all", INVALID, "resultType"),
    (f"{GET}&outputFormat=text/html", INVALID, "outputFormat"),
    (f"{GET}&outputFormat=application/gml%2Bxml;version=2.1.2", INVALID, "outputFormat"),
    (f"{GET}&outputFormat=csv&resultType=hits", INVALID, "outputFormat"),
    (f"{GET}&srsName=EPSG:999999", INVALID, "srsName"),
    (f"{GET}&srsName=nonsense", INVALID, "srsName"),
    (f"{GET}&srsName=urn:ogc:def:crs:EPSG::4326';DROP TABLE feature", INVALID, "srsName"),
    (f"{GET}&bbox=1,2,3", INVALID, "bbox"),
    (f"{GET}&bbox=a,b,c,d", INVALID, "bbox"),
    (f"{GET}&bbox=22,113,23,nan", INVALID, "bbox"),
    (f"{GET}&bbox=22,113,23,inf", INVALID, "bbox"),
    (f"{GET}&bbox=23,113,22,114", INVALID, "bbox"),
    (f"{GET}&bbox=113,22,114,23", INVALID, "bbox"),
    (f"{GET}&bbox=1,2,3,4,EPSG:1", INVALID, "bbox"),
    (f"{GET}&bbox=1,2,3,4,5,6,7,8", INVALID, "bbox"),
    (f"{GET}&bbox=,,,", INVALID, "bbox"),
    (f"{GET}&bbox=22,113,23,114&resourceId=boxes.1", INVALID, "resourceId"),
    (f"{GET}&bbox=22,113,23,114&filter=%3CFilter/%3E", INVALID, "bbox"),
    (f"{GET}&propertyName=nobody", INVALID, "propertyName"),
    (f"{GET}&propertyName=(name)(height)", NO_OPTION, "propertyName"),
    (f"{GET}&sortBy=nobody", INVALID, "sortBy"),
    (f"{GET}&sortBy=name%20SIDEWAYS", INVALID, "sortBy"),
    (f"{GET}&sortBy=geometry", INVALID, "sortBy"),
    (f"{GET}&sortBy=name,name%20DESC", INVALID, "sortBy"),
    (f"{GET}&sortBy=name;DROP%20TABLE%20feature", INVALID, "sortBy"),
    (f"{GET}&resolve=remote", NO_OPTION, "resolve"),
    (f"{GET}&resolve=local", NO_OPTION, "resolve"),
    (f"{GET}&resolveDepth=*", NO_OPTION, "resolveDepth"),
    (f"{GET}&cursor=nonsense", INVALID, "cursor"),
    (f"{GET}&cursor=WzksMV0", "ResponseCacheExpired", "cursor"),
    (f"{GET}&filter_language=urn:cql", INVALID, "filter_language"),
    (f"{GET}&filter=name%20%3D%20'x'", INVALID, "filter"),
    (f"{GET}&filter=%3CFilter", INVALID, "filter"),
    (f"{GET}&filter=%3CFilter/%3E", INVALID, "filter"),
    (f"{GET}&filter=%3C!DOCTYPE%20x%3E%3CFilter/%3E", INVALID, "filter"),
    (filter_of("<PropertyIsEqualTo/>"), INVALID, "filter"),
    (filter_of("<Nonsense/>"), INVALID, "filter"),
    (filter_of(equal("nobody", "x")), INVALID, "filter"),
    (filter_of(equal("height", "tall")), INVALID, "filter"),
    (filter_of(equal("name", "x") * 2), INVALID, "filter"),
    (filter_of(DEEP), INVALID, "filter"),
    (filter_of('<ResourceId rid="boxes.1"/>' + equal("name", "x")), INVALID, "filter"),
    (filter_of("<ResourceId/>"), INVALID, "filter"),
    (filter_of("<DWithin><ValueReference>geometry</ValueReference></DWithin>"), INVALID, "filter"),
    (filter_of("<Intersects><ValueReference>geometry</ValueReference><gml:Point><gml:pos>x y</gml:pos></gml:Point></Intersects>"), INVALID, "filter"),
    (filter_of("<BBOX><gml:Envelope srsName='urn:x'><gml:lowerCorner>1 2</gml:lowerCorner><gml:upperCorner>3 4</gml:upperCorner></gml:Envelope></BBOX>"), INVALID, "filter"),
    ("service=WFS&request=GetFeature&resourceId=boxes.1,plots.1", NO_OPTION, "resourceId"),
    ("service=WFS&request=GetFeature&resourceId=1", INVALID, "resourceId"),
    ("service=WFS&request=GetFeature&resourceId=boxes.1'%20OR%20'1'='1", None, ""),
    ("service=WFS&request=GetFeature&storedquery_id=urn:x&id=boxes.1", INVALID, "storedquery_id"),
    (BY_ID, MISSING, "id"),
    (f"{BY_ID}&id=boxes.nobody", "NotFound", "id"),
    (f"{BY_ID}&id=nobody.1", "NotFound", "id"),
    (f"{BY_ID}&id=%3Cscript%3E", "NotFound", "id"),
    (VALUES, MISSING, "valueReference"),
    (f"{VALUES}&valueReference=nobody", INVALID, "valueReference"),
    (f"{VALUES}&valueReference=name[1]", INVALID, "valueReference"),
    (f"{VALUES}&valueReference=//*", INVALID, "valueReference"),
    (f"{VALUES}&valueReference=plots/name", INVALID, "valueReference"),
    (f"{VALUES}&valueReference=valueOf(name)", INVALID, "valueReference"),
    (f"{VALUES}&valueReference=name&outputFormat=json", INVALID, "outputFormat"),
    (f"{VALUES}&valueReference=name&resolvePath=x", NO_OPTION, "resolvePath"),
    (f"{GET}&count=1&count=2", INVALID, "count"),
    (f"{GET}&{'&'.join(f'a{n}=1' for n in range(70))}", INVALID, "query string"),
    (f"{GET}&filter={'x' * 9000}", INVALID, "query string"),
    (f"{GET}&srsName=%FF%FE", INVALID, "query string"),
]  # fmt: skip

ATTRIBUTES = 'xmlns="http://www.opengis.net/wfs/2.0" xmlns:f="http://www.opengis.net/fes/2.0" service="WFS" version="2.0.0"'
LOL = "<!DOCTYPE l [<!ENTITY a 'lol'>" + "".join(
    f"<!ENTITY {new} '{f'&{old};' * 10}'>" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
XML = [
    ("", PARSING),
    ("nonsense", PARSING),
    ("<GetFeature", PARSING),
    ("\x00\x01", PARSING),
    ("<a>" * 400 + "</a>" * 400, PARSING),
    ("<html/>", PARSING),
    ("<GetFeature/>", PARSING),
    ('<GetFeature xmlns="http://www.opengis.net/wfs" service="WFS" version="1.1.0"/>', PARSING),
    (f"<Nonsense {ATTRIBUTES}/>", PARSING),
    (f"<Transaction {ATTRIBUTES}/>", NOT_SUPPORTED),
    (f"<LockFeature {ATTRIBUTES}/>", NOT_SUPPORTED),
    (f"<GetFeature {ATTRIBUTES}/>", MISSING),
    (f"<GetFeature {ATTRIBUTES} nonsense='1'><Query typeNames='boxes'/></GetFeature>", PARSING),
    (f"<GetFeature {ATTRIBUTES} count='x'><Query typeNames='boxes'/></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'/><Query typeNames='plots'/></GetFeature>", NO_OPTION),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes plots'/></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='x:boxes'/></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes' featureVersion='ALL'/></GetFeature>", NO_OPTION),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'><Nonsense/></Query></GetFeature>", PARSING),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'><f:Filter/></Query></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'><PropertyName>x</PropertyName></Query></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'><f:SortBy><f:SortProperty/></f:SortBy></Query></GetFeature>", INVALID),
    (f"<GetFeature {ATTRIBUTES}><StoredQuery/></GetFeature>", MISSING),
    (f"<GetFeature {ATTRIBUTES}><StoredQuery id='urn:x'/></GetFeature>", INVALID),
    (f"<!DOCTYPE x SYSTEM 'file:///etc/passwd'><GetFeature {ATTRIBUTES}><Query typeNames='boxes'/></GetFeature>", PARSING),
    (f"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><GetFeature {ATTRIBUTES}><Query typeNames='&e;'/></GetFeature>", PARSING),
    (f"{LOL}]><GetFeature {ATTRIBUTES}><Query typeNames='&h;'/></GetFeature>", PARSING),
    (f"<GetCapabilities {ATTRIBUTES}><Nonsense/></GetCapabilities>", PARSING),
    (f"<DescribeFeatureType {ATTRIBUTES}><TypeName>nobody</TypeName></DescribeFeatureType>", INVALID),
    (f"<ListStoredQueries {ATTRIBUTES}><x/></ListStoredQueries>", PARSING),
    (f"<GetPropertyValue {ATTRIBUTES}><Query typeNames='boxes'/></GetPropertyValue>", MISSING),
    ("<?xml version='1.0' encoding='nonsense'?><a/>", PARSING),
    (f"<GetFeature {ATTRIBUTES}><Query typeNames='boxes'/></GetFeature>".encode("utf-16").decode("latin-1"), None),
    ("x" * 2_100_000, PARSING),
]  # fmt: skip


def check(reply: Any, code: str | None, locator: str | None = None) -> None:
    assert reply.status < 500, reply.body
    assert "xml" in reply.headers["Content-Type"]
    assert b"<html" not in reply.body.lower()
    assert b"Traceback" not in reply.body
    root = etree.fromstring(reply.body)
    if code is None:
        assert reply.status == 200
        return
    assert root.tag == f"{OWS}ExceptionReport"
    assert root.get("version") == "2.0.0"
    exception = root.find(f"{OWS}Exception")
    assert exception.get("exceptionCode") == code, reply.body
    if locator is not None:
        assert exception.get("locator", "") == locator, reply.body
    assert reply.status == {"NotFound": 404, "ResponseCacheExpired": 403}.get(code, 400)
    assert reply.headers["Cache-Control"] == "no-store"


def test_there_are_enough_of_them() -> None:
    assert len(KVP) + len(XML) >= 60


@pytest.mark.parametrize(("query", "code", "locator"), KVP)
def test_kvp(wfs_client: Any, query: str, code: str | None, locator: str) -> None:
    check(wfs_client.get(f"/t/demo/wfs?{query}", Accept="text/html"), code, locator)


@pytest.mark.parametrize(("body", "code"), XML)
def test_xml(wfs_client: Any, body: str, code: str | None) -> None:
    raw = body.encode("latin-1")
    check(wfs_client.request("POST", "/t/demo/wfs", raw, content_type="text/xml", accept="text/html"), code)


def test_forms(wfs_client: Any) -> None:
    kind = "application/x-www-form-urlencoded"
    check(wfs_client.request("POST", "/wfs", b"\xff\xfe=%ff", content_type=kind), PARSING)
    check(wfs_client.request("POST", "/wfs", b"&".join([b"a=1"] * 70), content_type=kind), PARSING)
    check(wfs_client.request("POST", "/wfs", b"service=WFS", content_type=kind), MISSING, "request")
    for count, code in ((1000, None), (1001, INVALID)):
        rids = ",".join(f"boxes.{number}" for number in range(count))
        check(
            wfs_client.request("POST", "/t/demo/wfs", f"{GET}&resourceId={rids}".encode(), content_type=kind),
            code,
        )


def test_other_methods_and_codings(wfs_client: Any) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        check(wfs_client.request(method, "/wfs"), NOT_SUPPORTED, method)
    reply = wfs_client.request("POST", "/wfs", b"x", content_type="text/xml", content_encoding="gzip")
    assert reply.status == 415
    assert b"ExceptionReport" in reply.body


def test_views_and_tokens(wfs_client: Any) -> None:
    query = "service=WFS&request=GetCapabilities"
    check(wfs_client.get(f"/t/nobody/wfs?{query}", Accept="text/html"), "NotFound")
    reply = wfs_client.get(f"/wfs?{query}", Authorization="Bearer wrong")
    assert reply.status == 401
    assert "WWW-Authenticate" in reply.headers
    assert b"ExceptionReport" in reply.body


def test_a_defect_tells_nothing(wfs_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret of the defect")

    monkeypatch.setattr("server.http.wfs.capabilities._document", broken)
    reply = wfs_client.get("/wfs?service=WFS&request=GetCapabilities")
    assert reply.status == 500
    assert b'exceptionCode="NoApplicableCode"' in reply.body
    assert b"secret" not in reply.body


def test_what_a_store_cannot_do_is_refused_by_name(wfs_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from providers.features.source import Ability
    from providers.features.store import FeatureStore

    some = frozenset(Ability) - {Ability.FILTER, Ability.SORTBY, Ability.OFFSET}
    monkeypatch.setattr(FeatureStore, "abilities", some)
    for query, locator in (
        (filter_of(equal("name", "x")), "filter"),
        (f"{GET}&sortBy=name", "sortBy"),
        (f"{GET}&startIndex=1", "startIndex"),
    ):
        reply = wfs_client.get(f"/t/demo/wfs?{query}")
        check(reply, NO_OPTION, locator)
        assert b"embedded" in reply.body
