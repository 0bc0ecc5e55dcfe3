"""CityGML 2.0 and 3.0 into the models store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tiles.three_d.city_models.reference import crs_of
from tiles.three_d.errors import CityGMLError

_SHARED = Path(__file__).parents[5] / "shared" / "data"
SHARED = _SHARED if _SHARED.is_dir() else None


def solid(shapes: Any, lod: int = 1) -> str:
    members = "".join(
        f"<gml:surfaceMember>{shapes.polygon(face)}</gml:surfaceMember>" for face in shapes.faces()
    )
    shell = f"<gml:CompositeSurface>{members}</gml:CompositeSurface>"
    return f"<bldg:lod{lod}Solid><gml:Solid><gml:exterior>{shell}</gml:exterior></gml:Solid></bldg:lod{lod}Solid>"


def thematic(shapes: Any, *, refer: bool = True, version: int = 2) -> str:
    role = "bldg:boundedBy" if version == 2 else "boundary"
    prefix, lod = ("con", "con:lod2MultiSurface") if version == 2 else ("con", "lod2MultiSurface")
    found = []
    for number, (face, kind) in enumerate(zip(shapes.faces(), shapes.kinds, strict=True)):
        surface = f"<gml:MultiSurface><gml:surfaceMember>{shapes.polygon(face, f'p{number}')}</gml:surfaceMember></gml:MultiSurface>"
        found.append(f"<{role}><{prefix}:{kind}><{lod}>{surface}</{lod}></{prefix}:{kind}></{role}>")
    references = "".join(f'<gml:surfaceMember xlink:href="#p{number}"/>' for number in range(6))
    name = "bldg:lod2Solid" if version == 2 else "lod2Solid"
    shell = "gml:CompositeSurface" if version == 2 else "gml:Shell"
    inner = (
        references
        if refer
        else "".join(
            f"<gml:surfaceMember>{shapes.polygon(face)}</gml:surfaceMember>" for face in shapes.faces()
        )
    )
    return (
        f"<{name}><gml:Solid><gml:exterior><{shell}>{inner}</{shell}></gml:exterior></gml:Solid></{name}>"
        + "".join(found)
    )


def building(inside: str, name: str = "b1") -> str:
    return f'<bldg:Building gml:id="{name}">{inside}</bldg:Building>'


def class_names(part: Any) -> list[str]:
    return [part.mesh.palette[number].name for number in part.mesh.classes[::6]]


def test_a_solid_with_attributes(bring: Any, gml: Any, shapes: Any) -> None:
    attributes = (
        "<gml:name>Town hall</gml:name><bldg:function>1000</bldg:function><bldg:yearOfConstruction>1929</bldg:yearOfConstruction>"
        '<bldg:measuredHeight uom="m">6.0</bldg:measuredHeight><gen:stringAttribute name="用途"><gen:value>住宅</gen:value></gen:stringAttribute>'
        '<gen:intAttribute name="flats"><gen:value>7</gen:value></gen:intAttribute><ade:thing xmlns:ade="urn:x"><ade:a>1</ade:a></ade:thing>'
    )
    found = bring(gml(building(attributes + solid(shapes))))
    assert found.problems == []
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)
    assert found.batches[0].batch.heads[0].attributes == {
        "name": "Town hall", "function": "1000", "yearOfConstruction": 1929, "measuredHeight": 6.0, "用途": "住宅", "flats": 7,
    }  # fmt: skip


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("refer", [True, False])
def test_boundary_surfaces(bring: Any, gml: Any, shapes: Any, version: int, refer: bool) -> None:
    """Each wall is drawn once, with its class, whether the solid refers to it or has faces of its own."""
    found = bring(gml(building(thematic(shapes, refer=refer, version=version)), version=version))
    assert found.problems == []
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)
    assert found.area("b1") == pytest.approx(760.0, rel=1e-3)
    assert sorted(class_names(found.parts("b1")[0])) == sorted(shapes.kinds)
    assert (found.batches[0].soup.shells[0] >= 0) is np.bool_(refer)


def test_parts_and_levels(bring: Any, gml: Any, shapes: Any) -> None:
    part = f'<bldg:consistsOfBuildingPart><bldg:BuildingPart gml:id="p">{thematic(shapes)}</bldg:BuildingPart></bldg:consistsOfBuildingPart>'
    found = bring(gml(building(solid(shapes) + part)))
    assert found.store.lods() == [1.0, 2.0]
    assert found.area("b1") == pytest.approx(760.0, rel=1e-3)


def test_an_opening_fills_its_hole(bring: Any, gml: Any, shapes: Any) -> None:
    outer = shapes.moved([[0, 0, 0], [10, 0, 0], [10, 0, 6], [0, 0, 6]])
    hole = shapes.moved([[2, 0, 1], [2, 0, 3], [4, 0, 3], [4, 0, 1]])
    wall = (
        f"<gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>{shapes.ring(outer)}</gml:posList></gml:LinearRing></gml:exterior>"
        f"<gml:interior><gml:LinearRing><gml:posList>{shapes.ring(hole)}</gml:posList></gml:LinearRing></gml:interior></gml:Polygon>"
    )
    multi = "<bldg:lod3MultiSurface><gml:MultiSurface><gml:surfaceMember>{}</gml:surfaceMember></gml:MultiSurface></bldg:lod3MultiSurface>"
    window = (
        f"<bldg:opening><bldg:Window>{multi.format(shapes.polygon(hole[::-1]))}</bldg:Window></bldg:opening>"
    )
    found = bring(
        gml(
            building(
                f"<bldg:boundedBy><bldg:WallSurface>{multi.format(wall)}{window}</bldg:WallSurface></bldg:boundedBy>"
            )
        )
    )
    part = found.parts("b1")[0]
    assert found.area("b1") == pytest.approx(60.0, rel=1e-3)
    assert {part.mesh.palette[number].name for number in set(part.mesh.classes.tolist())} == {
        "WallSurface",
        "Window",
    }


@pytest.mark.parametrize(
    "spelled",
    [
        "<gml:posList>{}</gml:posList>",
        '<gml:posList srsDimension="3">\n {}\n</gml:posList>',
        "{pos}",
        '<gml:coordinates cs="," ts=" ">{commas}</gml:coordinates>',
    ],
)
def test_spellings_of_rings(bring: Any, gml: Any, shapes: Any, spelled: str) -> None:
    text = shapes.ring(shapes.faces()[1])
    numbers = text.split()
    triples = [numbers[place : place + 3] for place in range(0, len(numbers), 3)]
    ring = spelled.format(
        text,
        pos="".join(f"<gml:pos>{' '.join(t)}</gml:pos>" for t in triples),
        commas=" ".join(",".join(t) for t in triples),
    )
    surface = (
        f"<gml:Polygon><gml:exterior><gml:LinearRing>{ring}</gml:LinearRing></gml:exterior></gml:Polygon>"
    )
    found = bring(
        gml(
            building(
                f"<bldg:lod1MultiSurface><gml:MultiSurface><gml:surfaceMember>{surface}</gml:surfaceMember></gml:MultiSurface></bldg:lod1MultiSurface>"
            )
        )
    )
    assert found.area("b1") == pytest.approx(200.0, rel=1e-3)


def test_orientable_surface_and_triangles(bring: Any, gml: Any, shapes: Any) -> None:
    faces = shapes.faces()
    turned = f'<gml:OrientableSurface orientation="-"><gml:baseSurface>{shapes.polygon(faces[0][::-1])}</gml:baseSurface></gml:OrientableSurface>'
    members = "".join(f"<gml:surfaceMember>{shapes.polygon(face)}</gml:surfaceMember>" for face in faces[1:])
    shell = f"<gml:surfaceMember>{turned}</gml:surfaceMember>{members}"
    box = building(
        f"<bldg:lod1Solid><gml:Solid><gml:exterior><gml:CompositeSurface>{shell}</gml:CompositeSurface></gml:exterior></gml:Solid></bldg:lod1Solid>"
    )
    a, b, c, d = faces[1]
    patches = "".join(
        f"<gml:Triangle><gml:exterior><gml:LinearRing><gml:posList>{shapes.ring(corners)}</gml:posList></gml:LinearRing></gml:exterior></gml:Triangle>"
        for corners in ([a, b, c], [a, c, d])
    )
    tin = (
        '<dem:ReliefFeature gml:id="r"><dem:lod>1</dem:lod><dem:reliefComponent><dem:TINRelief><dem:tin><gml:TriangulatedSurface>'
        f"<gml:trianglePatches>{patches}</gml:trianglePatches></gml:TriangulatedSurface></dem:tin></dem:TINRelief></dem:reliefComponent></dem:ReliefFeature>"
    )
    found = bring(gml(box, tin))
    assert found.problems == []
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)
    assert found.area("r") == pytest.approx(200.0, rel=1e-3)
    assert shapely.area(found.batches[0].plans[1]) == pytest.approx(200.0)


def test_implicit_geometry_shared_by_two(bring: Any, gml: Any, shapes: Any) -> None:
    prototype = f'<gml:MultiSurface gml:id="proto"><gml:surfaceMember>{shapes.polygon([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]])}</gml:surfaceMember></gml:MultiSurface>'

    def bench(name: str, relative: str, east: float) -> str:
        return (
            f'<frn:CityFurniture gml:id="{name}"><frn:lod2ImplicitRepresentation><ImplicitGeometry>'
            "<transformationMatrix>2 0 0 0 0 2 0 0 0 0 1 0.5 0 0 0 1</transformationMatrix>"
            f"{relative}<referencePoint><gml:Point><gml:pos>{84_700 + east} 447500 1</gml:pos></gml:Point></referencePoint>"
            "</ImplicitGeometry></frn:lod2ImplicitRepresentation></frn:CityFurniture>"
        )

    refers = '<relativeGMLGeometry xlink:href="#proto"/>'
    found = bring(
        gml(
            bench("second", refers, 50),
            bench("first", f"<relativeGMLGeometry>{prototype}</relativeGMLGeometry>", 0),
        )
    )
    assert found.problems == []
    assert [found.area(name) for name in ("first", "second")] == pytest.approx([8.0, 8.0], rel=1e-3)
    assert found.store.objects(["first"])["bottom"][0] == pytest.approx(44.5, abs=1e-3)


def test_references_between_objects(bring: Any, gml: Any, shapes: Any) -> None:
    def wall(inside: str) -> str:
        return f"<bldg:lod1MultiSurface><gml:MultiSurface>{inside}</gml:MultiSurface></bldg:lod1MultiSurface>"

    own = wall(f"<gml:surfaceMember>{shapes.polygon(shapes.faces()[1], 'roof')}</gml:surfaceMember>")
    found = bring(
        gml(
            building(wall('<gml:surfaceMember xlink:href="#roof"/>'), "refers"),
            building(own, "owns"),
            building(
                wall('<gml:surfaceMember xlink:href="#nowhere"/>') + own.replace('"roof', '"other'), "broken"
            ),
        )
    )
    assert found.area("refers") == pytest.approx(200.0, rel=1e-3)
    assert ("broken", "1 references to geometries that are not in the file") in [
        (item.id, item.problem) for item in found.problems
    ]


def test_references_that_double_at_every_step_end(bring: Any, gml: Any, shapes: Any) -> None:
    """Sixty steps stand for 2**60 polygons; the object beside them is read."""

    def surface(name: str, inside: str) -> str:
        return (
            f'<bldg:lod1MultiSurface><gml:MultiSurface gml:id="{name}">{inside}</gml:MultiSurface>'
            "</bldg:lod1MultiSurface>"
        )

    steps = [
        building(surface(f"m{step}", f'<gml:surfaceMember xlink:href="#m{step + 1}"/>' * 2), f"step-{step}")
        for step in (0, *range(20, 60))
    ]
    steps[0] = steps[0].replace("#m1", "#m20")
    last = f"<gml:surfaceMember>{shapes.polygon(shapes.faces()[1], 'roof')}</gml:surfaceMember>"
    found = bring(gml(*steps, building(surface("m60", last), "owns")))
    assert found.area("owns") == pytest.approx(200.0, rel=1e-3)
    said = [item.problem for item in found.problems if item.id == "step-0"]
    assert any("refer to each other too often" in problem for problem in said)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("EPSG:25832", 25832),
        ("urn:ogc:def:crs:EPSG::25832", 25832),
        ("urn:ogc:def:crs:EPSG:6.12:25832", 25832),
        ("http://www.opengis.net/def/crs/EPSG/0/25832", 25832),
        ("http://www.opengis.net/gml/srs/epsg.xml#25832", 25832),
    ],
)
def test_names_of_a_crs(name: str, code: int) -> None:
    found = crs_of(name)
    assert found is not None
    assert found.to_epsg() == code


@pytest.mark.parametrize(
    "name",
    [
        "urn:ogc:def:crs,crs:EPSG::25832,crs:EPSG::7837",
        "urn:ogc:def:crs,crs:EPSG:6.12:25832,crs:EPSG:6.12:7837",
        "http://www.opengis.net/def/crs-compound?1=http://www.opengis.net/def/crs/EPSG/0/25832&2=http://www.opengis.net/def/crs/EPSG/0/7837",
        "EPSG:25832+7837",
    ],
)
def test_names_of_a_compound_crs(name: str) -> None:
    found = crs_of(name)
    assert found is not None
    assert [part.to_epsg() for part in found.sub_crs_list] == [25832, 7837]


def test_the_axis_order_of_the_crs(bring: Any, gml: Any, shapes: Any) -> None:
    """EPSG:4326 under a URN has the latitude first, under a short name we take the longitude first."""
    degrees = [[116.39, 39.90, 0.0], [116.391, 39.90, 0.0], [116.391, 39.901, 0.0], [116.39, 39.901, 0.0]]

    def at(corners: list[list[float]], srs: str) -> list[float]:
        surface = f"<gml:surfaceMember><gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>{' '.join(f'{v:.6f}' for c in [*corners, corners[0]] for v in c)}</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember>"
        text = gml(
            building(
                f"<bldg:lod1MultiSurface><gml:MultiSurface>{surface}</gml:MultiSurface></bldg:lod1MultiSurface>"
            ),
            srs=srs,
        )
        return list(bring(text).store.objects(["b1"])["box"][0])

    expected = pytest.approx([116.39, 39.90, 116.391, 39.901], abs=1e-6)
    assert at(degrees, "EPSG:4326") == expected
    assert at([[y, x, z] for x, y, z in degrees], "urn:ogc:def:crs:EPSG::4326") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><CityModel xmlns="http://www.opengis.net/citygml/2.0"/>', "DTD"),
        ('<CityModel xmlns="http://www.opengis.net/citygml/2.0"><cityObjectMember>', "well-formed"),
        ("<FeatureCollection/>", "not CityGML"),
    ],
)
def test_files_that_are_none(bring: Any, text: str, said: str) -> None:
    with pytest.raises(CityGMLError, match=said):
        bring(text, crs="EPSG:7415")


@pytest.mark.parametrize(
    "numbers",
    [
        "1 2",
        "",
        "84700 447500 NaN 84710 447500 1 84710 447510 1 84700 447500 NaN",
        "a b c",
        "1 2 3 1 2 3 1 2 3",
    ],
)
def test_broken_rings_are_told(bring: Any, gml: Any, shapes: Any, numbers: str) -> None:
    bad = f"<gml:surfaceMember><gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>{numbers}</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember>"
    good = f"<gml:surfaceMember>{shapes.polygon(shapes.faces()[1])}</gml:surfaceMember>"
    found = bring(
        gml(
            building(
                f"<bldg:lod1MultiSurface><gml:MultiSurface>{bad}{good}</gml:MultiSurface></bldg:lod1MultiSurface>"
            )
        )
    )
    assert found.area("b1") == pytest.approx(200.0, rel=1e-3)
    assert [(item.id, item.action) for item in found.problems] == [("b1", "repaired")]


@pytest.mark.skipif(SHARED is None, reason="the shared data are not on this machine")
def test_shared_files(bring: Any) -> None:
    assert SHARED is not None
    found = bring(SHARED / "citygml/lod2_buildings_v3.gml")
    assert len(found.store) == 100
    assert found.problems[1:] == []
    # The first house: 6 x 8 m, eaves at 5 m, ridge at 11 m.
    assert found.volume("FZK_GUID_1F3E679D-E226-4535-926C-7390977FB25A") == pytest.approx(
        6 * 8 * (5 + 3), rel=1e-3
    )
    invalid = bring(SHARED / "citygml/invalid_building_v3.gml", crs="EPSG:3068")
    assert invalid.volume("1F3E679D-E226-4535-926C-7390977FB25A") == pytest.approx(384.0, rel=1e-3)
