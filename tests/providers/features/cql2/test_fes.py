"""XML filters of WFS: the same conditions as CQL2, or identifiers; nothing dangerous is read."""

from __future__ import annotations

import pytest

from providers.errors import InvalidParameter
from providers.features.cql2.fes import MAXIMUM_XML, parse_fes
from providers.features.schema import CollectionSchema, FieldDefinition

SCHEMA = CollectionSchema(
    (
        FieldDefinition("name", "string"),
        FieldDefinition("floors", "integer"),
        FieldDefinition("listed", "boolean"),
        FieldDefinition("built", "string", "date"),
        FieldDefinition("updated", "string", "date-time"),
        FieldDefinition("secret", "string"),
    )
)
HIDDEN = frozenset({"secret"})
FES = 'xmlns:fes="http://www.opengis.net/fes/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"'
OGC = 'xmlns:ogc="http://www.opengis.net/ogc" xmlns:gml="http://www.opengis.net/gml"'


def fes(content: str) -> str:
    return f"<fes:Filter {FES}>{content}</fes:Filter>"


def ogc(content: str) -> str:
    return f"<ogc:Filter {OGC}>{content}</ogc:Filter>"


def compared(name: str, field: str, value: str, attributes: str = "") -> str:
    return (
        f"<fes:{name} {attributes}><fes:ValueReference>{field}</fes:ValueReference>"
        f"<fes:Literal>{value}</fes:Literal></fes:{name}>"
    )


EQUAL = compared("PropertyIsEqualTo", "floors", "3")


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (fes(EQUAL), "floors = 3"),
        (fes(compared("PropertyIsEqualTo", "app:name", "5")), "name = '5'"),
        (fes(compared("PropertyIsNotEqualTo", "/city/app:floors", "-2.5")), "floors <> -2.5"),
        (fes(compared("PropertyIsLessThan", "built", "2020-01-01")), "built < DATE('2020-01-01')"),
        (fes(compared("PropertyIsEqualTo", "listed", "true")), "listed = TRUE"),
        (
            fes(compared("PropertyIsEqualTo", "name", "STRAßE", 'matchCase="false"')),
            "CASEI(name) = 'strasse'",
        ),
        (fes(compared("PropertyIsEqualTo", "floors", "3", 'matchCase="false"')), "floors = 3"),
        (fes(f"<fes:And>{EQUAL}{EQUAL}{EQUAL}</fes:And>"), "((floors = 3 AND floors = 3) AND floors = 3)"),
        (fes(f"<fes:Not>{EQUAL}</fes:Not>"), "floors <> 3"),
        (
            fes(compared("PropertyIsLike", "name", "a*b!*_%", 'wildCard="*" singleChar="." escapeChar="!"')),
            "name LIKE 'a%b*\\_\\%'",
        ),
        (
            fes("<fes:PropertyIsNil><fes:ValueReference>name</fes:ValueReference></fes:PropertyIsNil>"),
            "name IS NULL",
        ),
        (
            fes(
                "<fes:PropertyIsBetween><fes:ValueReference>floors</fes:ValueReference><fes:LowerBoundary>"
                "<fes:Literal>1</fes:Literal></fes:LowerBoundary><fes:UpperBoundary><fes:Literal>5</fes:Literal>"
                "</fes:UpperBoundary></fes:PropertyIsBetween>"
            ),
            "floors BETWEEN 1 AND 5",
        ),
        (
            fes(
                "<fes:During><fes:ValueReference>updated</fes:ValueReference><gml:TimePeriod gml:id='t'>"
                "<gml:beginPosition>2020-01-01T00:00:00Z</gml:beginPosition><gml:endPosition indeterminatePosition='after'/>"
                "</gml:TimePeriod></fes:During>"
            ),
            "updated > TIMESTAMP('2020-01-01T00:00:00Z')",
        ),
        (
            fes(
                "<fes:BBOX><gml:Envelope srsName='urn:ogc:def:crs:EPSG::4326'><gml:lowerCorner>22 113</gml:lowerCorner>"
                "<gml:upperCorner>23 114</gml:upperCorner></gml:Envelope></fes:BBOX>"
            ),
            "S_INTERSECTS(geometry, POLYGON ((114 22, 114 23, 113 23, 113 22, 114 22)))",
        ),
        (
            ogc(
                "<ogc:BBOX><ogc:PropertyName>geom</ogc:PropertyName><gml:Box srsName='EPSG:4326'>"
                "<gml:coordinates>113,22 114,23</gml:coordinates></gml:Box></ogc:BBOX>"
            ),
            "S_INTERSECTS(geometry, POLYGON ((114 22, 114 23, 113 23, 113 22, 114 22)))",
        ),
        (
            fes(
                "<fes:Contains><fes:ValueReference>geometry</fes:ValueReference>"
                "<gml:Point gml:id='p' srsName='http://www.opengis.net/def/crs/EPSG/0/4490'><gml:pos>22 113</gml:pos>"
                "</gml:Point></fes:Contains>"
            ),
            "S_CONTAINS(geometry, POINT (113 22))",
        ),
        (
            ogc(
                "<ogc:Intersects><ogc:PropertyName>geometry</ogc:PropertyName>"
                "<gml:MultiSurface srsName='http://www.opengis.net/gml/srs/epsg.xml#4326' srsDimension='3'><gml:surfaceMember>"
                "<gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>1 2 0 3 2 0 3 4 0 1 2 0</gml:posList>"
                "</gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember></gml:MultiSurface></ogc:Intersects>"
            ),
            "S_INTERSECTS(geometry, POLYGON ((1 2, 3 2, 3 4, 1 2)))",
        ),
    ],
)
def test_conditions(xml: str, text: str) -> None:
    found = parse_fes(xml, SCHEMA, HIDDEN)
    assert found.ids == ()
    assert found.filter is not None
    assert found.filter.text == text


def test_identifiers_come_apart() -> None:
    assert parse_fes(fes('<fes:ResourceId rid="b.1"/><fes:ResourceId rid="b.2"/>'), SCHEMA).ids == (
        "b.1",
        "b.2",
    )
    assert parse_fes(ogc('<ogc:FeatureId fid="b.1"/>').encode(), SCHEMA).ids == ("b.1",)
    assert parse_fes(ogc('<ogc:GmlObjectId gml:id="b.1"/>'), SCHEMA).ids == ("b.1",)


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<a/>",
        "<fes:Filter>",
        fes(""),
        fes(EQUAL + EQUAL),
        fes(f'<fes:ResourceId rid="b.1"/>{EQUAL}'),
        fes("<fes:ResourceId/>"),
        fes("<fes:Whatever/>"),
        fes("<fes:And/>"),
        fes(compared("PropertyIsEqualTo", "secret", "x")),
        fes(compared("PropertyIsEqualTo", "floors", "x")),
        fes(compared("PropertyIsEqualTo", "floors", "1_0")),
        fes(compared("PropertyIsEqualTo", "built", "yesterday")),
        fes("<fes:PropertyIsEqualTo><fes:ValueReference>floors</fes:ValueReference></fes:PropertyIsEqualTo>"),
        fes("<fes:DWithin/>"),
        fes("<fes:BBOX><gml:Envelope><gml:lowerCorner>a b</gml:lowerCorner></gml:Envelope></fes:BBOX>"),
        fes(
            "<fes:BBOX><gml:Envelope srsName='EPSG:0'><gml:lowerCorner>1 2</gml:lowerCorner><gml:upperCorner>3 4</gml:upperCorner></gml:Envelope></fes:BBOX>"
        ),
        fes(
            "<fes:Within><fes:ValueReference>geometry</fes:ValueReference><gml:Point><gml:pos>1</gml:pos></gml:Point></fes:Within>"
        ),
        fes("<fes:Within><fes:ValueReference>geometry</fes:ValueReference><gml:Tin/></fes:Within>"),
        fes("<fes:Not>" * 200 + EQUAL + "</fes:Not>" * 200),
        "<!DOCTYPE a [<!ENTITY b 'c'>]>" + fes(compared("PropertyIsEqualTo", "name", "x")),
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        + fes(
            "<fes:PropertyIsEqualTo><fes:ValueReference>name</fes:ValueReference><fes:Literal>&b;</fes:Literal></fes:PropertyIsEqualTo>"
        ),
        fes(" " * MAXIMUM_XML),
    ],
)
def test_what_is_refused(xml: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_fes(xml, SCHEMA, HIDDEN)
    assert caught.value.name == "filter"
    assert caught.value.allowed
