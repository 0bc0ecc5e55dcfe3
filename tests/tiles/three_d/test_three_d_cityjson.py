"""CityJSON of every version, its best level of detail, templates, and files that are broken in parts or as a whole."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiles.three_d import (
    ObjectProblem,
    TilesetSummary,
    VerticalReference,
    build_cityjson,
    is_cityjson,
    read_cityjson_footprints,
)
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import CityJSONError, NothingToBuildError, PlacementError

# A box of 10 x 20 x 6 m: ground, roof, four walls, faces outwards.
BOX = [[[[0, 3, 2, 1]], [[4, 5, 6, 7]], [[0, 1, 5, 4]], [[1, 2, 6, 5]], [[2, 3, 7, 6]], [[3, 0, 4, 7]]]]
CORNERS = [[0, 0, 0], [10, 0, 0], [10, 20, 0], [0, 20, 0], [0, 0, 6], [10, 0, 6], [10, 20, 6], [0, 20, 6]]
SEMANTICS = {
    "surfaces": [{"type": "GroundSurface"}, {"type": "RoofSurface"}, {"type": "WallSurface"}],
    "values": [[0, 1, 2, 2, 2, None]],
}


def city(version: str = "2.0") -> dict[str, Any]:
    """One building with a level-of-detail-1 box and its semantics."""
    solid = {"type": "Solid", "lod": "1.2", "boundaries": BOX, "semantics": SEMANTICS}
    return {
        "type": "CityJSON",
        "version": version,
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "transform": {"scale": [0.001, 0.001, 0.001], "translate": [84_700.0, 447_500.0, 1.0]},
        "vertices": [[1000 * part for part in corner] for corner in CORNERS],
        "CityObjects": {
            "b1": {"type": "Building", "attributes": {"function": "home", "storeys": 2}, "geometry": [solid]}
        },
    }


def written(folder: Path, document: Any) -> Path:
    path = folder / "city.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def build(folder: Path, document: Any, **more: Any) -> TilesetSummary:
    given: dict[str, Any] = {"vertical": VerticalReference.offset(43.0)} | more
    return build_cityjson(folder / "out", written(folder, document), **given)


def test_a_building_with_its_surfaces(tmp_path: Path, read_tile: Any, volume_of: Any) -> None:
    summary = build(tmp_path, city())
    tile = read_tile(tmp_path / "out/content/0/0/0.glb")
    assert check_tileset(tmp_path / "out") == []
    assert tile.rows == [
        {"id": "b1", "height": 6.0, "type": "Building", "lod": "1.2", "function": "home", "storeys": 2}
    ]
    assert volume_of(tile, 0) == pytest.approx(1200.0, rel=0.01)
    assert summary.bbox84h[2] == pytest.approx(44.0, abs=0.02)
    assert summary.bbox84h[5] == pytest.approx(50.0, abs=0.02)
    primitive = tile.document["meshes"][0]["primitives"][0]
    assert {"COLOR_0", "_FEATURE_ID_1"} <= set(primitive["attributes"])
    assert tile.document["materials"][0]["doubleSided"] is True


@pytest.mark.parametrize(
    ("version", "system"),
    [
        ("1.0", "urn:ogc:def:crs:EPSG::7415"),
        ("1.1", "https://www.opengis.net/def/crs/EPSG/0/7415"),
        ("2.0", "EPSG:7415"),
    ],
)
def test_versions_and_spellings_of_the_crs(version: str, system: str, tmp_path: Path) -> None:
    document = city(version)
    document["metadata"]["referenceSystem"] = system
    summary = build(tmp_path, document)
    assert summary.bbox84h[0] == pytest.approx(4.3632, abs=0.001)
    assert summary.bbox84h[1] == pytest.approx(52.0114, abs=0.001)


def test_a_file_without_transform(tmp_path: Path) -> None:
    document = city("1.0")
    del document["transform"]
    document["vertices"] = [[84_700.0 + x, 447_500.0 + y, z] for x, y, z in CORNERS]
    assert build(tmp_path, document).bbox84h[5] == pytest.approx(49.0, abs=0.02)


def test_cityjsonseq(tmp_path: Path) -> None:
    document = city()
    head = document | {"CityObjects": {}, "vertices": []}
    first = {
        "type": "CityJSONFeature",
        "id": "b1",
        "CityObjects": document["CityObjects"],
        "vertices": document["vertices"],
    }
    second = copy.deepcopy(first)
    second["CityObjects"] = {"b2": second["CityObjects"]["b1"]}
    second["vertices"] = [[x + 50_000, y, z] for x, y, z in second["vertices"]]
    path = tmp_path / "city.city.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in (head, first, second)) + "\n{broken\n[]\n\n")
    summary = build_cityjson(tmp_path / "out", path, vertical=VerticalReference.ellipsoidal())
    assert summary.feature_count == 2
    assert [problem.id for problem in summary.problems] == ["line 4", "line 5"]
    footprints = read_cityjson_footprints(path)
    assert footprints.ids == ["b1", "b2"]
    assert [shape.bounds[0] for shape in footprints.geometries] == [84_700.0, 84_750.0]
    assert is_cityjson(path)


def test_the_best_level_of_detail_wins(tmp_path: Path, read_tile: Any) -> None:
    """LoD 0 footprint beside LoD 1 and LoD 2 (a surface more than the box): LoD 2 is drawn."""
    document = city()
    geometry = document["CityObjects"]["b1"]["geometry"]
    better = copy.deepcopy(geometry[0]) | {"lod": "2.2"}
    better["boundaries"][0].append([[0, 2, 6, 4]])
    geometry[:0] = [{"type": "MultiSurface", "lod": "0", "boundaries": [[[0, 1, 2, 3]]]}, better]
    build(tmp_path, document)
    tile = read_tile(tmp_path / "out/content/0/0/0.glb")
    assert tile.rows[0]["lod"] == "2.2"
    assert len(tile.triangles) == 14


def test_parts_replace_the_shape_of_their_parent(tmp_path: Path, read_tile: Any) -> None:
    document = city()
    parent = document["CityObjects"]["b1"]
    part = {"type": "BuildingPart", "parents": ["b1"], "geometry": [parent["geometry"][0] | {"lod": "2"}]}
    document["CityObjects"] = {"p1": part, "b1": parent | {"children": ["p1", "p1", "gone", 7]}}
    summary = build(tmp_path, document)
    tile = read_tile(tmp_path / "out/content/0/0/0.glb")
    assert summary.feature_count == 1
    assert (tile.rows[0]["id"], tile.rows[0]["function"], len(tile.triangles)) == ("b1", "home", 12)


def test_children_in_a_circle_end(tmp_path: Path) -> None:
    document = city()
    document["CityObjects"]["b1"]["children"] = ["b1"]
    assert build(tmp_path, document).feature_count == 1


def test_holes_are_cut_out(tmp_path: Path, read_tile: Any) -> None:
    document = city()
    document["vertices"] += [
        [1000 * part for part in corner] for corner in ([3, 5, 6], [7, 5, 6], [7, 15, 6], [3, 15, 6])
    ]
    roof = {"type": "MultiSurface", "lod": "2", "boundaries": [[[4, 5, 6, 7], [8, 11, 10, 9]]]}
    document["CityObjects"]["b1"]["geometry"] = [roof]
    build(tmp_path, document)
    tile = read_tile(tmp_path / "out/content/0/0/0.glb")
    corners = tile.ecef[tile.triangles]
    area = (
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        / 2
    )
    assert area == pytest.approx(200.0 - 40.0, rel=0.01)
    assert read_cityjson_footprints(tmp_path / "city.json").geometries[0].area == pytest.approx(160.0)


def test_templates_are_placed_by_their_matrix(tmp_path: Path, read_tile: Any) -> None:
    document = city()
    document["geometry-templates"] = {
        "templates": [{"type": "MultiSurface", "lod": "2", "boundaries": [[[0, 1, 2]]]}],
        "vertices-templates": [[0, 0, 0], [1, 0, 0], [0, 0, 2]],
    }
    scale_and_lift = [3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3, 1.5, 0, 0, 0, 1]
    instance = {
        "type": "GeometryInstance",
        "template": 0,
        "boundaries": [2],
        "transformationMatrix": scale_and_lift,
    }
    document["CityObjects"]["tree"] = {"type": "SolitaryVegetationObject", "geometry": [instance]}
    build(tmp_path, document)
    tile = read_tile(tmp_path / "out/content/0/0/0.glb")
    number = [row["id"] for row in tile.rows].index("tree")
    heights = tile.place[tile.ids == number, 2]
    # Reference point at 1 m, lifted by 1.5, the template 2 x 3 m tall; 43 m to the ellipsoid.
    assert (heights.min(), heights.max()) == (pytest.approx(45.5, abs=0.02), pytest.approx(51.5, abs=0.02))


@pytest.mark.parametrize("kind", ["MultiSolid", "CompositeSolid"])
def test_composed_solids(kind: str, tmp_path: Path, read_tile: Any) -> None:
    document = city()
    geometry = {
        "type": kind,
        "lod": "1",
        "boundaries": [BOX],
        "semantics": SEMANTICS | {"values": [[[0, 1, 2, 2, 2, 2]]]},
    }
    document["CityObjects"]["b1"]["geometry"] = [geometry]
    build(tmp_path, document)
    assert len(read_tile(tmp_path / "out/content/0/0/0.glb").triangles) == 12


BROKEN_GEOMETRY: list[tuple[str, Any]] = [
    ("index out of range", {"boundaries": [[[0, 1, 99]]]}),
    ("negative index", {"boundaries": [[[0, 1, -1]]]}),
    ("index is a float", {"boundaries": [[[0, 1, 2.5]]]}),
    ("index is true", {"boundaries": [[[0, 1, True]]]}),
    ("two corners", {"boundaries": [[[0, 1]]]}),
    ("repeated corners", {"boundaries": [[[0, 0, 1, 1]]]}),
    ("too deep", {"boundaries": [[[[0, 1, 2]]]]}),
    ("too flat", {"boundaries": [0, 1, 2]}),
    ("no boundaries", {}),
    ("text", {"boundaries": "abc"}),
    ("unknown type", {"type": "Cloud", "boundaries": [[[0, 1, 2]]]}),
    ("no area", {"boundaries": [[[0, 1, 1, 0, 1]]]}),
    ("level of detail", {"lod": "best", "boundaries": [[[0, 1, 2]]]}),
    ("template", {"type": "GeometryInstance", "template": 3, "boundaries": [0]}),
]


@pytest.mark.parametrize(("name", "geometry"), BROKEN_GEOMETRY, ids=[case[0] for case in BROKEN_GEOMETRY])
def test_a_broken_object_is_reported_and_the_rest_is_built(name: str, geometry: Any, tmp_path: Path) -> None:
    document = city()
    document["CityObjects"][name] = {
        "type": "Building",
        "geometry": [{"type": "MultiSurface", "lod": "2"} | geometry],
    }
    heard: list[ObjectProblem] = []
    summary = build(tmp_path, document, report=heard.append)
    assert summary.feature_count == 1
    assert summary.skipped == 1
    assert {problem.id for problem in heard} == {name}


@pytest.mark.parametrize("geometry", [None, {}, [None], ["x"], [7]])
def test_geometry_that_is_no_list_of_objects(geometry: Any, tmp_path: Path) -> None:
    document = city()
    document["CityObjects"]["odd"] = {"type": "Building", "geometry": geometry, "attributes": "none"}
    assert build(tmp_path, document).feature_count == 1


def test_a_vertex_that_is_no_place_drops_its_object(tmp_path: Path) -> None:
    document = city()
    document["vertices"].append([10**30, 10**30, 0])
    document["CityObjects"]["far"] = {
        "type": "Building",
        "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1, 8]]]}],
    }
    summary = build(tmp_path, document)
    assert [(problem.id, problem.action) for problem in summary.problems] == [("far", "skipped")]


def changed(**parts: Any) -> dict[str, Any]:
    return city() | parts


WHOLE_FILE: list[tuple[str, Any, type[Exception], str]] = [
    ("other type", changed(type="FeatureCollection"), CityJSONError, "'FeatureCollection'"),
    ("a list", [1, 2], CityJSONError, "'list'"),
    ("version", changed(version="3.0"), CityJSONError, "version '3.0'; this server reads 1.0, 1.1, 2.0"),
    ("objects", changed(CityObjects=[]), CityJSONError, "CityObjects"),
    ("vertices", changed(vertices=[[1, 2]]), CityJSONError, "three numbers"),
    ("uneven vertices", changed(vertices=[[1, 2, 3], [1]]), CityJSONError, "three numbers"),
    ("transform", changed(transform={"scale": [1, 1, 1]}), CityJSONError, "translate"),
    (
        "transform sizes",
        changed(transform={"scale": [1], "translate": [1, 1, 1]}),
        CityJSONError,
        "translate",
    ),
    ("nothing", changed(CityObjects={}), NothingToBuildError, "no city object"),
    ("no crs", changed(metadata={}), PlacementError, "referenceSystem"),
    ("odd crs", changed(metadata={"referenceSystem": "here"}), PlacementError, "not known to PROJ"),
    ("geocentric", changed(metadata={"referenceSystem": "EPSG:4978"}), PlacementError, "geocentric"),
]


@pytest.mark.parametrize(
    ("name", "document", "error", "says"), WHOLE_FILE, ids=[case[0] for case in WHOLE_FILE]
)
def test_a_file_that_cannot_be_used_says_why(
    name: str, document: Any, error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        build(tmp_path, document)


@pytest.mark.parametrize("content", [b"", b"{", b'{"type": "CityJSON"', b"\x00\x01", b"[" * 2000])
def test_files_that_are_no_json(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "city.json"
    path.write_bytes(content)
    with pytest.raises(CityJSONError, match=r"city\.json is not"):
        read_cityjson_footprints(path)


def test_recognition(tmp_path: Path) -> None:
    assert is_cityjson(written(tmp_path, city()))
    assert not is_cityjson(written(tmp_path, {"type": "FeatureCollection", "features": []}))
    late = {"padding": "x" * (1 << 21), "type": "CityJSON"}
    assert is_cityjson(written(tmp_path, late))
    other = tmp_path / "a.tif"
    other.write_bytes(b"II*\x00")
    assert not is_cityjson(other)


def test_footprints_and_columns(tmp_path: Path) -> None:
    document = city()
    document["CityObjects"]["road"] = {
        "type": "Road",
        "attributes": {"lanes": 2, "type": "hidden"},
        "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1, 2]], [[0, 2, 3]]]}],
    }
    document["CityObjects"]["wall"] = {
        "type": "GenericCityObject",
        "geometry": [{"type": "MultiSurface", "lod": "1", "boundaries": [[[0, 1, 5, 4]]]}],
    }
    footprints = read_cityjson_footprints(written(tmp_path, document))
    assert footprints.ids == ["b1", "road", "wall"]
    assert footprints.crs is not None
    assert footprints.crs.to_epsg() == 7415
    assert [shape.area for shape in footprints.geometries[:2]] == [pytest.approx(200.0)] * 2
    assert footprints.geometries[2] is None
    assert footprints.columns["type"] == ["Building", "Road", "GenericCityObject"]
    assert footprints.columns["height"] == [6.0, 0.0, 6.0]
    assert footprints.columns["lanes"] == [None, 2, None]


def test_the_delft_block(sample_data: Path, tmp_path: Path) -> None:
    """The real block: every object is drawn, in Delft, and its footprints are those of the file's extent."""
    path = sample_data / "cityjson" / "delft.json"
    summary = build_cityjson(tmp_path, path, vertical=VerticalReference.offset(43.3, "NAP, Delft"))
    assert (summary.feature_count, summary.skipped) == (570, 0)
    assert check_tileset(tmp_path) == []
    footprints = read_cityjson_footprints(path)
    boxes = np.array([shape.bounds for shape in footprints.geometries])
    extent = json.loads(path.read_text())["metadata"]["geographicalExtent"]
    assert boxes[:, :2].min(axis=0) == pytest.approx(extent[:2], abs=0.01)
    assert boxes[:, 2:].max(axis=0) == pytest.approx(extent[3:5], abs=0.01)
    west, south, bottom, east, north, top = summary.bbox84h
    assert (west, south) > (4.36, 52.01)
    assert (east, north) < (4.37, 52.014)
    assert top - bottom == pytest.approx(extent[5] - extent[2], abs=0.01)


@pytest.mark.parametrize(("name", "count"), [("rotterdam_subset.json", 16), ("3dbag_b2.city.jsonl", 2)])
def test_other_real_files(name: str, count: int, sample_data: Path, tmp_path: Path) -> None:
    summary = build_cityjson(
        tmp_path, sample_data / "cityjson" / name, crs="EPSG:7415", vertical=VerticalReference.offset(43.3)
    )
    assert summary.feature_count == count
    assert check_tileset(tmp_path) == []


def test_real_files_that_cannot_be_used(sample_data: Path, tmp_path: Path) -> None:
    with pytest.raises(CityJSONError, match="not valid JSON"):
        build_cityjson(tmp_path, sample_data / "cityjson" / "with-errors.json", crs="EPSG:7415")
    with pytest.raises(NothingToBuildError):
        build_cityjson(tmp_path, sample_data / "cityjson" / "minimal.json", crs="EPSG:7415")
