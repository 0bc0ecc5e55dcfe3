"""Capabilities, schemas and lists of stored queries: made from the catalogue, and true."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

NAMES = {
    "wfs": "http://www.opengis.net/wfs/2.0",
    "ows": "http://www.opengis.net/ows/1.1",
    "fes": "http://www.opengis.net/fes/2.0",
    "xs": "http://www.w3.org/2001/XMLSchema",
}
SECTIONS = [
    "ServiceIdentification",
    "ServiceProvider",
    "OperationsMetadata",
    "FeatureTypeList",
    "Filter_Capabilities",
]


def find(root: Any, path: str) -> list[Any]:
    return list(root.xpath(path, namespaces=NAMES))


def local_names(root: Any) -> list[str]:
    return [etree.QName(child).localname for child in root]


def test_feature_types_of_each_view(ask: Any, wfs_client: Any, operator: Any) -> None:
    in_tenant = find(ask("GetCapabilities"), "//wfs:FeatureType/wfs:Name/text()")
    assert in_tenant == ["chengtu:boxes", "chengtu:frozen", "chengtu:odd", "chengtu:plots"]
    in_city = find(ask("GetCapabilities", view=""), "//wfs:FeatureType/wfs:Name/text()")
    assert in_city == [*(name.replace(":", ":demo.") for name in in_tenant), "chengtu:other.boxes"]
    reply = wfs_client.get("/wfs?service=WFS&request=GetCapabilities", **operator)
    assert b"chengtu:demo.secret" in reply.body
    assert reply.headers["Cache-Control"].startswith("private")


def test_a_feature_type(ask: Any) -> None:
    (kind,) = find(ask("GetCapabilities"), "//wfs:FeatureType[wfs:Name='chengtu:boxes']")
    assert [title.text for title in find(kind, "wfs:Title")] == ["Boxes of boxes", "方块"]
    assert find(kind, "wfs:DefaultCRS/text()") == ["urn:ogc:def:crs:EPSG::4326"]
    others = find(kind, "wfs:OtherCRS/text()")
    assert "urn:ogc:def:crs:EPSG::4490" in others
    # 113.8 to 114.1 degrees east lie in zone 38 with the central meridian 114
    assert {"urn:ogc:def:crs:EPSG::4547", "urn:ogc:def:crs:EPSG::4526"} <= set(others)
    assert not any(urn.endswith(("::4546", "::4548", "::4326")) for urn in others)
    west, south = map(float, find(kind, "ows:WGS84BoundingBox/ows:LowerCorner/text()")[0].split())
    assert (round(west, 1), round(south, 1)) == (113.8, 22.6)
    (odd,) = find(ask("GetCapabilities"), "//wfs:FeatureType[wfs:Name='chengtu:odd']")
    assert find(odd, "wfs:DefaultCRS/text()") == ["urn:ogc:def:crs:EPSG::3857"]


def test_what_is_claimed_is_answered(ask: Any) -> None:
    """Every operation that is listed is one, and every constraint says TRUE or FALSE."""
    root = ask("GetCapabilities")
    operations = find(root, "//ows:Operation/@name")
    assert operations == [
        "GetCapabilities",
        "DescribeFeatureType",
        "GetFeature",
        "GetPropertyValue",
        "ListStoredQueries",
        "DescribeStoredQueries",
    ]
    constraints = {
        one.get("name"): find(one, "ows:DefaultValue/text()")[0]
        for one in find(root, "//ows:OperationsMetadata/ows:Constraint[ows:DefaultValue]")
    }
    assert len(constraints) == 14
    assert constraints["ImplementsBasicWFS"] == constraints["ImplementsResultPaging"] == "TRUE"
    assert constraints["ImplementsLockingWFS"] == constraints["ImplementsStandardJoins"] == "FALSE"
    assert set(constraints.values()) == {"TRUE", "FALSE"}
    assert find(root, "//ows:Constraint[@name='CountDefault']/ows:DefaultValue/text()") == ["40"]


def test_every_operator_that_is_listed_is_read(ask: Any) -> None:
    from providers.features.cql2 import fes

    root = ask("GetCapabilities", sections="Filter_Capabilities")
    listed = find(
        root, "//fes:ComparisonOperator/@name | //fes:SpatialOperator/@name | //fes:TemporalOperator/@name"
    )
    assert len(listed) == 33
    for name in listed:
        assert name in fes._READERS
        assert fes._READERS[name] is not fes._distance
    names = find(root, "//fes:Function/@name")
    assert {"lower", "abs"} <= set(names)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, SECTIONS),
        ("All", SECTIONS),
        ("FeatureTypeList", ["FeatureTypeList"]),
        ("Filter_Capabilities,ServiceIdentification", ["ServiceIdentification", "Filter_Capabilities"]),
        ("operationsmetadata", ["OperationsMetadata"]),
    ],
)
def test_sections(ask: Any, wanted: str | None, found: list[str]) -> None:
    root = ask("GetCapabilities", **({} if wanted is None else {"sections": wanted}))
    assert local_names(root) == found


@pytest.mark.parametrize("versions", ["2.0.0", "2.0.2", "1.1.0,2.0.0", "3.0.0,2.0.2"])
def test_versions_that_agree(ask: Any, versions: str) -> None:
    assert ask("GetCapabilities", acceptVersions=versions).get("version") == "2.0.0"


def test_an_old_client_hears_of_the_version_there_is(wfs_client: Any) -> None:
    """OWS Common, 7.3.2: without AcceptVersions the server answers in a version of its own."""
    reply = wfs_client.get("/wfs?service=WFS&request=GetCapabilities&version=1.1.0")
    assert etree.fromstring(reply.body).get("version") == "2.0.0"


def test_capabilities_follow_the_catalogue(wfs_client: Any) -> None:
    url = "/wfs?service=WFS&request=GetCapabilities"
    first = wfs_client.get(url)
    assert wfs_client.get(url, If_None_Match=first.headers["ETag"]).status == 304
    other = wfs_client.get(url, If_None_Match=first.headers["ETag"], Accept_Language="zh")
    assert other.status == 200
    assert "方块" in other.body.decode()


def test_capabilities_by_post(wfs_client: Any) -> None:
    body = """<wfs:GetCapabilities xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:ows="http://www.opengis.net/ows/1.1"
      service="WFS"><ows:AcceptVersions><ows:Version>2.0.0</ows:Version></ows:AcceptVersions><ows:Sections>
      <ows:Section>ServiceProvider</ows:Section></ows:Sections></wfs:GetCapabilities>"""
    reply = wfs_client.request("POST", "/wfs", body.encode(), content_type="text/xml")
    assert reply.status == 200, reply.body
    assert local_names(etree.fromstring(reply.body)) == ["ServiceProvider"]


# --- schemas -------------------------------------------------------------------------------------------------------------


def test_schema_of_a_type(ask: Any) -> None:
    root = ask("DescribeFeatureType", typeNames="boxes")
    assert root.get("targetNamespace") == "urn:chengtu:features:demo"
    elements = find(root, "//xs:sequence/xs:element")
    assert [(one.get("name"), one.get("type")) for one in elements] == [
        ("name", "xs:string"),
        ("kind", "xs:string"),
        ("height", "xs:double"),
        ("built", "xs:date"),
        ("geometry", "gml:SurfacePropertyType"),
    ]


def test_schemas_of_several_types_and_of_all(ask: Any) -> None:
    declared = "/xs:schema/xs:element/@name"
    two = ask("DescribeFeatureType", view="", typeNames="chengtu:demo.odd,chengtu:other.boxes")
    assert find(two, declared) == ["demo.odd", "other.boxes"]
    every = ask("DescribeFeatureType")
    assert find(every, declared) == ["boxes", "frozen", "odd", "plots"]
    # The registry's picture of a type (all of them) and the store's own (one by name) are the same.
    for name in ("boxes", "odd"):
        one = ask("DescribeFeatureType", typeNames=name)
        path = f"//xs:complexType[@name='{name}Type']//xs:sequence"
        assert etree.tostring(find(one, path)[0]).strip() == etree.tostring(find(every, path)[0]).strip()


def test_features_are_valid_by_their_schema(ask: Any, wfs_client: Any, gml_feature_schema: Any) -> None:
    for name in ("boxes", "odd"):
        reply = wfs_client.get(f"/t/demo/wfs?service=WFS&request=DescribeFeatureType&typeNames={name}")
        schema = gml_feature_schema(reply.body)
        features = find(ask("GetFeature", typeNames=name), "//wfs:member/*")
        assert len(features) >= 5
        for feature in features:
            schema.assertValid(feature)
        features[0][0].text = "x"
        features[0].append(etree.Element("{urn:chengtu:features:demo}nobody"))
        assert not schema.validate(features[0])


def test_namespaces_of_a_request(ask: Any) -> None:
    bound = ask("DescribeFeatureType", typeNames="d:boxes", namespaces="xmlns(d,urn:chengtu:features:demo)")
    assert find(bound, "/xs:schema/xs:element/@name") == ["boxes"]
    default = ask("DescribeFeatureType", typeNames="boxes", namespaces="xmlns(urn:chengtu:features:demo)")
    assert find(default, "/xs:schema/xs:element/@name") == ["boxes"]


# --- stored queries ------------------------------------------------------------------------------------------------------


def test_stored_queries(ask: Any) -> None:
    listed = ask("ListStoredQueries")
    assert find(listed, "//wfs:StoredQuery/@id") == ["urn:ogc:def:query:OGC-WFS::GetFeatureById"]
    assert "chengtu:boxes" in find(listed, "//wfs:ReturnFeatureType/text()")
    assert "chengtu:secret" not in find(listed, "//wfs:ReturnFeatureType/text()")
    for parameters in ({}, {"storedquery_id": "urn:ogc:def:query:OGC-WFS::GetFeatureById"}):
        described = ask("DescribeStoredQueries", **parameters)
        assert find(described, "//wfs:Parameter/@name") == ["id"]


# --- rights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "request=DescribeFeatureType&typeNames=secret",
        "request=GetFeature&typeNames=secret",
        "request=GetFeature&resourceId=secret.1",
        "request=GetFeature&storedquery_id=urn:ogc:def:query:OGC-WFS::GetFeatureById&id=secret.1",
        "request=GetPropertyValue&typeNames=secret&valueReference=name",
    ],
)
def test_what_is_private_is_not_there(wfs_client: Any, operator: Any, query: str) -> None:
    url = f"/t/demo/wfs?service=WFS&{query}"
    hidden, absent = wfs_client.get(url), wfs_client.get(url.replace("secret", "nobody"))
    assert hidden.status == absent.status
    assert hidden.status in (400, 404)
    assert hidden.body == absent.body.replace(b"nobody", b"secret")
    shown = wfs_client.get(url, **operator)
    assert shown.status == 200
    assert shown.headers["Cache-Control"].startswith("private")


def test_hidden_fields_are_nowhere(
    wfs_client: Any, wfs_settings: Any, wsgi_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.http.app import create_flask, make_services
    from server.identity.decision import Decision

    def without_height(*_: object) -> Decision:
        return Decision(True, hidden_fields=frozenset(["height"]), key="no height")

    for room in ("services", "context"):
        monkeypatch.setattr(f"server.http.{room}.decide", without_height)
    limited = wsgi_client(create_flask(make_services(wfs_settings)))
    view = "/t/demo/wfs?service=WFS&typeNames=boxes&count=5&request="
    for query in ("DescribeFeatureType", "GetFeature", "GetFeature&outputFormat=json", "GetFeature&outputFormat=csv",
                  "GetFeature&resourceId=boxes.7"):  # fmt: skip
        reply = limited.get(view + query)
        assert reply.status == 200, reply.body
        assert b"height" not in reply.body.replace(b"typeNames=boxes&count=5", b"")
    assert b"height" not in limited.get("/t/demo/wfs?service=WFS&request=DescribeFeatureType").body
    xml = "%3CFilter%3E%3CPropertyIsGreaterThan%3E%3CValueReference%3Eheight%3C/ValueReference%3E%3CLiteral%3E5%3C/Literal%3E%3C/PropertyIsGreaterThan%3E%3C/Filter%3E"  # fmt: skip
    for query in ("GetFeature&propertyName=height", "GetFeature&sortBy=height", "GetPropertyValue&valueReference=height",
                  f"GetFeature&filter={xml}"):  # fmt: skip
        reply = limited.get(view + query)
        assert reply.status == 400, query
        assert b"InvalidParameterValue" in reply.body
