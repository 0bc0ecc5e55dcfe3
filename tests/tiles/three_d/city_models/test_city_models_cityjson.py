"""CityJSON and CityJSONSeq into the models store: shapes, levels, families, templates, and what is broken."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tiles.three_d.city_models import open_city_model
from tiles.three_d.city_models.cityjson import CityJSONFile, _name_at
from tiles.three_d.city_models.json_members import members_of
from tiles.three_d.errors import CityJSONError, CityModelError, PlacementError
from tiles.three_d.report import ProblemLog

_SHARED = Path(__file__).parents[5] / "shared" / "data"
SHARED = _SHARED / "cityjson" if _SHARED.is_dir() else None


def problems_of(imported: Any, name: str) -> list[tuple[str, str]]:
    return [(item.problem, item.action) for item in imported.problems if item.id == name]


@pytest.mark.parametrize(
    "system", ["urn:ogc:def:crs:EPSG::7415", "EPSG:7415", "https://www.opengis.net/def/crs/EPSG/0/7415"]
)
@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0"])
def test_a_box(bring: Any, city: Any, version: str, system: str) -> None:
    found = bring(city(version=version, metadata={"referenceSystem": system}))
    assert found.problems == []
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)
    assert found.area("b1") == pytest.approx(2 * (200 + 60 + 120), rel=1e-3)
    record = found.store.objects(["b1"])[0]
    assert (record["bottom"], record["top"], record["roof"]) == pytest.approx((44.0, 50.0, 50.0), abs=1e-3)
    assert record["box"][:2] == pytest.approx((4.3632, 52.0114), abs=1e-3)
    assert record["weight"] == 36
    batch = found.batches[0]
    assert shapely.area(batch.plans[0]) == pytest.approx(200.0)
    assert batch.heights[0] == 6.0


def test_classes_come_from_semantics_else_from_the_type(bring: Any, city: Any) -> None:
    part = bring(city()).parts("b1")[0]
    names = [part.mesh.palette[number].name for number in part.mesh.classes[::6]]
    assert names == ["GroundSurface", "RoofSurface", "WallSurface", "WallSurface", "WallSurface", "Building"]


def several(document: dict[str, Any], count: int) -> dict[str, Any]:
    building = document["CityObjects"]["b1"]
    document["CityObjects"] = {f"b{number}": building for number in range(count)}
    return document


def test_the_same_in_pieces(tmp_path: Path, city: Any) -> None:
    """A file read piece by piece gives what one read at once gives, families and names with quotes included."""
    document = several(city(), 40)
    objects = document["CityObjects"]
    objects['quote"\\"d, {x}'] = copy.deepcopy(objects["b1"])
    objects["part"] = {"type": "BuildingPart", "parents": ["whole"], "geometry": objects["b1"]["geometry"]}
    objects["whole"] = {"type": "Building", "children": ["part"], "attributes": {"a": "[,]"}}
    path = tmp_path / "city.json"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")

    def read(large: int) -> tuple[list[str], list[Any], Any]:
        batches = list(CityJSONFile(path, tmp_path, large_bytes=large).batches(ProblemLog()))
        heads = [head for batch in batches for head in batch.heads]
        return (
            [head.id for head in heads],
            [head.attributes for head in heads],
            np.concatenate([batch.corners for batch in batches]),
        )

    whole, pieces = read(1 << 30), read(0)
    assert whole[0] == pieces[0]
    assert whole[1] == pieces[1]
    assert len(whole[0]) == 42
    np.testing.assert_array_equal(whole[2], pieces[2])


def test_a_name_of_quotes_is_gone_through_once() -> None:
    """With a second look at each of its quotes this would take hours."""
    name = '"' * 3_000_000
    content = json.dumps({name: 1, "b\\": 2}).encode()[1:-1]
    end = content.rfind(b",")
    assert _name_at(content, 0, end) == name
    assert _name_at(content, end + 1, len(content)) == "b\\"
    assert _name_at(b'"never ends', 0, 11) is None


@pytest.mark.parametrize(
    "appearance", [{"textures": 5}, {"materials": "red"}, {"textures": {}, "materials": 1.5}]
)
def test_an_appearance_that_is_none(bring: Any, city: Any, appearance: dict[str, Any]) -> None:
    assert bring(city(appearance=appearance)).area("b1") > 0


def test_members_are_found_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiles.three_d.city_models.json_members._PIECE", 7)
    text = json.dumps(
        {"a": {"x": '}\\"', "y": [1, {"z": 2}]}, "b": [[1, 2], [3, 4]], "ключ": "\\"}, ensure_ascii=False
    ).encode()
    found = members_of(text)
    assert {key: json.loads(text[item.start : item.end]) for key, item in found.items()} == json.loads(text)
    with pytest.raises(CityJSONError, match="brackets"):
        members_of(text[:-1])


def test_a_sequence(tmp_path: Path, bring: Any, city: Any) -> None:
    document = city()
    head = {**document, "CityObjects": {}, "vertices": []}
    lines = [json.dumps(head)]
    for number in range(3):
        feature = {
            "type": "CityJSONFeature",
            "id": f"b{number}",
            "CityObjects": {f"b{number}": document["CityObjects"]["b1"]},
        }
        lines.append(json.dumps({**feature, "vertices": document["vertices"]}))
    lines += ["{broken", '{"type": "Feature"}', ""]
    path = tmp_path / "city.city.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = bring(path)
    assert found.ids() == ["b0", "b1", "b2"]
    assert found.volume("b2") == pytest.approx(1200.0, rel=1e-3)
    assert [(item.id, item.action) for item in found.problems] == [
        ("line 5", "skipped"),
        ("line 6", "skipped"),
    ]


def test_levels_of_a_family(bring: Any, city: Any) -> None:
    """The finest of each part counts, the whole's coarser solid stands for LoD1, the level 0 surface is the plan."""
    document = city()
    solid = document["CityObjects"]["b1"]["geometry"][0]
    low = {"type": "MultiSurface", "lod": "0", "boundaries": [[[0, 1, 2, 3]]]}
    fine = {
        **solid,
        "lod": "2.2",
        "boundaries": [[[face] for face in [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4]]]],
    }
    del fine["semantics"]
    document["CityObjects"] = {
        "b1": {"type": "Building", "children": ["p1"], "geometry": [solid, low]},
        "p1": {"type": "BuildingPart", "parents": ["b1"], "geometry": [fine]},
    }
    found = bring(document)
    assert found.ids() == ["b1"]
    assert found.store.lods() == pytest.approx([0.0, 1.2, 2.2])
    assert found.store.objects(["b1"])["lod"][0] == pytest.approx(2.2)
    assert found.area("b1") == pytest.approx(200 + 200 + 60, rel=1e-3)
    assert found.volume("b1", lod_below=2.0) == pytest.approx(1200.0, rel=1e-3)
    assert ("1 solids are not closed; drawn as they are", "kept") in problems_of(found, "b1")


def test_a_template(bring: Any, city: Any) -> None:
    document = city()
    solid = document["CityObjects"]["b1"]["geometry"][0]
    double = [2, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    document["geometry-templates"] = {
        "templates": [solid],
        "vertices-templates": [
            [float(p) for p in c]
            for c in (
                [0, 0, 0],
                [10, 0, 0],
                [10, 20, 0],
                [0, 20, 0],
                [0, 0, 6],
                [10, 0, 6],
                [10, 20, 6],
                [0, 20, 6],
            )
        ],
    }
    instance = {"type": "GeometryInstance", "template": 0, "boundaries": [0], "transformationMatrix": double}
    document["CityObjects"]["tree"] = {"type": "SolitaryVegetationObject", "geometry": [instance]}
    document["CityObjects"]["gone"] = {"type": "CityFurniture", "geometry": [{**instance, "template": 7}]}
    found = bring(document)
    assert found.volume("tree") == pytest.approx(2400.0, rel=1e-3)
    assert found.store.objects(["gone"])["known"].tolist() == [False]
    assert any("no geometry template 7" in problem for problem, _ in problems_of(found, "gone"))


def test_a_hole(bring: Any, city: Any) -> None:
    document = city()
    document["vertices"] += [[2000, 2000, 6000], [4000, 2000, 6000], [4000, 6000, 6000], [2000, 6000, 6000]]
    document["CityObjects"]["b1"]["geometry"] = [
        {"type": "MultiSurface", "lod": "2", "boundaries": [[[4, 5, 6, 7], [8, 11, 10, 9]]]}
    ]
    found = bring(document)
    assert found.area("b1") == pytest.approx(200.0 - 8.0, rel=1e-3)
    assert shapely.area(found.batches[0].plans[0]) == pytest.approx(192.0)


def inside_out(document: dict[str, Any]) -> None:
    geometry = document["CityObjects"]["b1"]["geometry"][0]
    geometry["boundaries"] = [[[face[0][::-1]] for face in geometry["boundaries"][0]]]


def one_turned(document: dict[str, Any]) -> None:
    geometry = document["CityObjects"]["b1"]["geometry"][0]
    geometry["boundaries"][0][2][0].reverse()


def unclosed(document: dict[str, Any]) -> None:
    geometry = document["CityObjects"]["b1"]["geometry"][0]
    geometry["boundaries"][0].pop()


def flat(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"][0]["boundaries"][0].append([[0, 1, 0, 1, 0]])


def twice(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"] = [
        {
            "type": "MultiSurface",
            "lod": "1",
            "boundaries": [[face] for face in ([0, 3, 2, 1], [2, 1, 0, 3], [4, 5, 6, 7])],
        }
    ]


def crossing(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"] = [
        {"type": "MultiSurface", "lod": "1", "boundaries": [[[4, 6, 5, 7]]]}
    ]


def missing_vertex(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"][0]["boundaries"][0].append([[0, 1, 99]])


def a_word_for_a_vertex(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"][0]["boundaries"][0].append([[0, 1, "two"]])


def closed_ring(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["geometry"][0]["boundaries"][0][0][0].append(0)


def child_that_is_not_there(document: dict[str, Any]) -> None:
    document["CityObjects"]["b1"]["children"] = ["nobody"]


@pytest.mark.parametrize(
    ("damage", "said", "action", "volume"),
    [
        (inside_out, "1 solids were inside out and were turned", "repaired", 1200.0),
        (one_turned, "1 surfaces faced into their solid and were turned", "repaired", 1200.0),
        (unclosed, "1 solids are not closed; drawn as they are", "kept", None),
        (flat, "1 surfaces left out: they have no area", "repaired", 1200.0),
        (twice, "1 surfaces left out: they are there twice", "repaired", None),
        (crossing, "1 surfaces mended: they crossed themselves", "repaired", None),
        (missing_vertex, "1 surfaces left out whose corners are missing or no vertices", "repaired", 1200.0),
        (
            a_word_for_a_vertex,
            "1 surfaces left out whose corners are missing or no vertices",
            "repaired",
            1200.0,
        ),
        (child_that_is_not_there, "its part 'nobody' is not in the file", "repaired", 1200.0),
    ],
)
def test_broken_surfaces_are_told_and_the_rest_is_drawn(
    bring: Any, city: Any, damage: Any, said: str, action: str, volume: float | None
) -> None:
    document = several(city(), 2)
    document["CityObjects"]["b1"] = copy.deepcopy(document["CityObjects"]["b0"])
    damage(document)
    found = bring(document)
    assert (said, action) in problems_of(found, "b1")
    assert problems_of(found, "b0") == []
    assert found.volume("b0") == pytest.approx(1200.0, rel=1e-3)
    if volume is not None:
        assert found.volume("b1") == pytest.approx(volume, rel=1e-3)
    assert np.isfinite(found.parts("b1")[0].mesh.positions).all()


def test_a_crossing_surface_keeps_its_area(bring: Any, city: Any) -> None:
    """A bow tie over the rectangle has two triangles of a quarter each."""
    document = city()
    crossing(document)
    assert bring(document).area("b1") == pytest.approx(100.0, rel=1e-3)


def test_closed_rings_are_no_problem(bring: Any, city: Any) -> None:
    document = city()
    closed_ring(document)
    found = bring(document)
    assert found.problems == []
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)


@pytest.mark.parametrize(
    ("object_", "said"),
    [
        ({"type": "Building"}, "no geometry"),
        (
            {"type": "Building", "geometry": [{"type": "MultiPoint", "lod": "1", "boundaries": [0]}]},
            "no surface that can be drawn",
        ),
        (
            {
                "type": "Building",
                "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1]]]}],
            },
            "no surface that can be drawn",
        ),
        (
            {"type": "Building", "geometry": [{"type": "Solid", "lod": "1", "boundaries": None}]},
            "no surface that can be drawn",
        ),
        (
            {
                "type": "Building",
                "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1, 8]]]}],
            },
            "larger than 100 km",
        ),
        (
            {
                "type": "Building",
                "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1, 9]]]}],
            },
            "a coordinate is outside the area of its CRS",
        ),
        ("text", "not a city object"),
    ],
)
def test_objects_that_cannot_be_drawn(bring: Any, city: Any, object_: Any, said: str) -> None:
    document = city()
    document["vertices"] += [[200_000_000, 0, 0], [9_000_000_000_000, 0, 0]]
    document["CityObjects"]["bad"] = object_
    found = bring(document)
    assert found.ids() == ["b1"]
    assert (said, "skipped") in problems_of(found, "bad")


def test_an_id_given_twice(bring: Any, city: Any) -> None:
    found = bring(city(), city())
    assert len(found.store) == 1
    assert problems_of(found, "b1") == [("an object with this id is there already", "skipped")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b'{"type": "FeatureCollection"}', "not CityJSON"),
        (b'{"type": "CityJSON", "version": "0.6"}', "version"),
        (
            b'{"type": "CityJSON", "version": "2.0", "transform": {"scale": [1]}, "CityObjects": {"a": {}}}',
            "transform",
        ),
        (b'{"type": "CityJSON", "version": "2.0", "vertices": [[1, 2]], "CityObjects": {}}', "three numbers"),
        (b'{"type": "CityJSON", "version": "2.0", "vertices": [], "CityObjects": []}', "CityObjects"),
        (b"<nothing/>", "not CityGML"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(CityModelError, match=said):
        list(open_city_model(path).batches(ProblemLog()))


def test_no_crs(bring: Any, city: Any) -> None:
    with pytest.raises(PlacementError, match="does not say which CRS"):
        bring(city(metadata={}))
    assert len(bring(city(metadata={}), crs="EPSG:7415").store) == 1


def test_axes_exchanged_against_the_crs(bring: Any, city: Any) -> None:
    document = city()
    document["transform"]["translate"] = [447_500.0, 84_700.0, 1.0]
    document["vertices"] = [[y, x, z] for x, y, z in document["vertices"]]
    found = bring(document)
    assert found.store.objects(["b1"])["box"][0][:2] == pytest.approx((4.3632, 52.0114), abs=1e-3)
    assert found.volume("b1") == pytest.approx(1200.0, rel=1e-3)
    assert [item.action for item in found.problems] == ["repaired"]


@pytest.mark.skipif(SHARED is None, reason="the shared data are not on this machine")
def test_shared_files(bring: Any, tmp_path: Path) -> None:
    assert SHARED is not None
    assert len(bring(SHARED / "delft.json").store) == 570
    assert len(bring(SHARED / "rotterdam_subset.json", crs="EPSG:7415").store) == 16
    assert len(bring(SHARED / "3dbag_b2.city.jsonl").store) == 2
    with pytest.raises(CityJSONError, match="not valid JSON"):
        bring(SHARED / "with-errors.json")
