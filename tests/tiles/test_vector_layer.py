"""The vector tile encoder, read back by a decoder written from the specification and by GDAL."""

from __future__ import annotations

import datetime
import itertools
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiles.errors import VectorTileError
from tiles.grids import TileId, tile_bounds
from tiles.vector import encode_layer

BOUNDS = (0.0, 0.0, 4096.0, 4096.0)
"""One unit is one cell; y is 4096 minus the row."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        match key & 7:
            case 0:
                value, at = read_varint(data, at)
            case 1:
                value, at = struct.unpack_from("<d", data, at)[0], at + 8
            case 2:
                size, at = read_varint(data, at)
                value, at = data[at : at + size], at + size
                assert len(value) == size
            case 5:
                value, at = struct.unpack_from("<f", data, at)[0], at + 4
            case other:
                raise AssertionError(f"wire type {other}")
        yield key >> 3, value


def packed(data: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = read_varint(data, at)
        numbers.append(number)
    return numbers


def read_value(data: bytes) -> Any:
    [(field, value)] = fields(data)
    if field == 1:
        return value.decode()
    if field == 6:
        return (value >> 1) ^ -(value & 1)
    return bool(value) if field == 7 else value


def read_paths(numbers: list[int]) -> list[list[tuple[int, int]]]:
    """One list of vertices for each MoveTo (one for each point of a multipoint)."""
    paths: list[list[tuple[int, int]]] = []
    x = y = at = 0
    while at < len(numbers):
        command, repeat = numbers[at] & 7, numbers[at] >> 3
        at += 1
        if command == 7:
            assert repeat == 1
            paths[-1].append(paths[-1][0])
            continue
        for _ in range(repeat):
            dx, dy = numbers[at : at + 2]
            x, y, at = x + ((dx >> 1) ^ -(dx & 1)), y + ((dy >> 1) ^ -(dy & 1)), at + 2
            if command == 1:
                paths.append([])
            paths[-1].append((x, y))
    return paths


def read_tile(tile: bytes) -> dict[str, dict[str, Any]]:
    layers = {}
    for number, data in fields(tile):
        assert number == 3
        parts = list(fields(data))
        single = dict(parts)
        assert single[15] == 2
        keys = [value.decode() for field, value in parts if field == 3]
        values = [read_value(value) for field, value in parts if field == 4]
        assert len({(type(value), value) for value in values}) == len(values), "values are stored once"
        features = []
        for field, value in parts:
            if field != 2:
                continue
            feature = dict(fields(value))
            tags = packed(feature.get(2, b""))
            features.append(
                {
                    "id": feature.get(1),
                    "type": feature[3],
                    "paths": read_paths(packed(feature[4])),
                    "properties": {
                        keys[key]: values[index] for key, index in zip(tags[::2], tags[1::2], strict=True)
                    },
                }
            )
        layers[single[1].decode()] = {"extent": single[5], "features": features}
    return layers


def one_layer(
    geometries: list[Any], columns: dict[str, Any] | None = None, **options: Any
) -> list[dict[str, Any]]:
    ids = options.pop("ids", None)
    encoded = encode_layer("layer", geometries, ids, columns or {}, options.pop("bounds", BOUNDS), **options)
    features: list[dict[str, Any]] = read_tile(encoded)["layer"]["features"] if encoded else []
    return features


def doubled_area(path: list[tuple[int, int]]) -> int:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(path))


def test_a_point_lies_in_screen_coordinates() -> None:
    [feature] = one_layer([shapely.Point(25, 4096 - 17)])
    assert feature["type"] == 1
    assert feature["paths"] == [[(25, 17)]]


def test_the_published_examples_give_the_published_numbers() -> None:
    """The geometry examples of the specification's clause 4.3.5, number for number."""

    def down(text: str) -> Any:
        return shapely.transform(shapely.from_wkt(text), lambda c: np.column_stack((c[:, 0], 4096 - c[:, 1])))

    expected = {
        "POINT (25 17)": [9, 50, 34],
        "MULTIPOINT (5 7, 3 2)": [17, 10, 14, 3, 9],
        "LINESTRING (2 2, 2 10, 10 10)": [9, 4, 4, 18, 0, 16, 16, 0],
        "MULTILINESTRING ((2 2, 2 10, 10 10), (1 1, 3 5))": [9, 4, 4, 18, 0, 16, 16, 0, 9, 17, 17, 10, 4, 8],
        "POLYGON ((3 6, 8 12, 20 34, 3 6))": [9, 6, 12, 18, 10, 12, 24, 44, 15],
        "MULTIPOLYGON (((0 0, 10 0, 10 10, 0 10, 0 0)), ((11 11, 20 11, 20 20, 11 20, 11 11),"
        " (13 13, 13 17, 17 17, 17 13, 13 13)))": [
            9, 0, 0, 26, 20, 0, 0, 20, 19, 0, 15, 9, 22, 2, 26, 18, 0, 0, 18, 17, 0, 15, 9, 4, 13, 26, 0, 8, 8, 0, 0,
            7, 15,
        ],
    }  # fmt: skip
    for text, numbers in expected.items():
        tile = encode_layer("a", [down(text)], None, {}, BOUNDS)
        layer = dict(fields(dict(fields(tile))[3]))
        assert packed(dict(fields(layer[2]))[4]) == numbers, text


def test_rings_wind_as_the_specification_asks_whatever_came_in() -> None:
    outer = [(100, 100), (300, 100), (300, 300), (100, 300)]
    hole = [(150, 150), (150, 250), (250, 250), (250, 150)]
    for turned_outer in (outer, outer[::-1]):
        for turned_hole in (hole, hole[::-1]):
            [feature] = one_layer([shapely.Polygon(turned_outer, [turned_hole])])
            areas = [doubled_area(path) for path in feature["paths"]]
            assert areas == [2 * 200 * 200, -2 * 100 * 100]


def test_degenerate_rings_and_their_holes_fall_out() -> None:
    tiny = shapely.box(10.1, 10.1, 10.3, 10.3)
    flat = shapely.Polygon([(0, 0), (50, 0.2), (100, 0), (50, 0.1)])
    tiny_hole = shapely.Polygon([(0, 0), (90, 0), (90, 90), (0, 90)], [[(5.1, 5.1), (5.2, 5.1), (5.2, 5.2)]])
    features = one_layer([tiny, flat, tiny_hole], {"n": [1, 2, 3]})
    assert [feature["properties"]["n"] for feature in features] == [3]
    assert len(features[0]["paths"]) == 1


def test_repeated_vertices_fall_out_and_lines_that_shrink_to_a_point_too() -> None:
    features = one_layer(
        [
            shapely.LineString([(0, 0), (0.2, 0.2), (5, 5), (5.1, 5), (9, 9)]),
            shapely.LineString([(1, 1), (1.2, 1)]),
        ]
    )
    assert [feature["paths"] for feature in features] == [[[(0, 4096), (5, 4091), (9, 4087)]]]


def test_geometry_is_cut_at_the_buffer() -> None:
    [polygon, line] = one_layer(
        [shapely.box(-9000, -9000, 9000, 9000), shapely.LineString([(-500, 100), (5000, 100)])], buffer=64
    )
    assert {value for vertex in polygon["paths"][0] for value in vertex} == {-64, 4160}
    assert [vertex[0] for vertex in line["paths"][0]] == [-64, 4160]


def test_points_at_the_buffer_and_one_beyond() -> None:
    features = one_layer(
        [shapely.Point(-64, 0), shapely.Point(-65, 0), shapely.Point(4160, 0)], ids=[1, 2, 3]
    )
    assert [feature["id"] for feature in features] == [1, 3]


def test_missing_empty_and_not_finite_geometries_fall_out() -> None:
    with np.errstate(invalid="ignore"):
        lines = [shapely.LineString([(1, 1), (value, 5), (9, 9)]) for value in (np.nan, np.inf)]
    geometries = [
        None,
        shapely.Point(),
        shapely.Polygon(),
        shapely.GeometryCollection(),
        shapely.Point(np.nan, 1),
        *lines,
        shapely.Point(1, 1),
    ]
    assert [feature["id"] for feature in one_layer(geometries, ids=np.arange(8))] == [7]
    assert one_layer(geometries[:-1]) == []


def test_nested_collections_keep_the_parts_of_the_highest_dimension() -> None:
    nested = shapely.GeometryCollection(
        [shapely.Point(1, 1), shapely.GeometryCollection([shapely.MultiPolygon([shapely.box(5, 5, 9, 9)])])]
    )
    [feature] = one_layer([nested])
    assert feature["type"] == 3
    assert len(feature["paths"]) == 1


def test_mixed_types_keep_their_own_attributes() -> None:
    geometries = [
        shapely.box(0, 0, 9, 9),
        shapely.Point(5, 5),
        shapely.LineString([(0, 0), (9, 9)]),
        shapely.Point(1, 1),
    ]
    features = one_layer(geometries, {"n": np.arange(4)}, ids=[10, 11, 12, 13])
    assert {feature["id"]: (feature["type"], feature["properties"]["n"]) for feature in features} == {
        10: (3, 0), 11: (1, 1), 12: (2, 2), 13: (1, 3),
    }  # fmt: skip


def test_a_third_coordinate_is_dropped() -> None:
    assert one_layer([shapely.Point(3, 4, 99)])[0]["paths"] == [[(3, 4092)]]


def test_attribute_types_survive() -> None:
    row = {
        "text": "城图 ulica",
        "long": "x" * 300,
        "edge": "y" * 125,
        "past_edge": "y" * 126,
        "whole": 7,
        "huge": 2**64 - 1,
        "low": -(2**63),
        "minus": -1,
        "half": 0.5,
        "tenth": 0.1,
        "vast": 1e300,
        "yes": True,
        "no": False,
    }
    [feature] = one_layer([shapely.Point(1, 1)], {key: [value] for key, value in row.items()})
    assert feature["properties"] == row
    assert {key: type(value) for key, value in feature["properties"].items()} == {
        k: type(v) for k, v in row.items()
    }


def test_equal_numbers_of_different_types_stay_apart() -> None:
    columns = {"a": [1, True, 1.0, "1", None], "b": [True, 1, "1", 1.0, float("nan")]}
    features = one_layer([shapely.Point(1, 1)] * 5, columns)
    pairs = [feature["properties"] for feature in features]
    assert [type(pair.get("a")) for pair in pairs] == [int, bool, float, str, type(None)]
    assert [type(pair.get("b")) for pair in pairs] == [bool, int, str, float, type(None)]


def test_values_outside_the_tile_types_become_text_or_numbers() -> None:
    columns = {
        "day": [datetime.date(2026, 7, 1)],
        "decimal": [Decimal("2.5")],
        "list": [[1, 2]],
        "beyond": [2**64],
        "below": [-(2**63) - 1],
        "numpy": [np.float32(0.25)],
        "time": np.array(["2026-07-01T10:00"], dtype="datetime64[m]"),
        "surrogate": ["a\udcff"],
    }
    [feature] = one_layer([shapely.Point(1, 1)], columns)
    assert feature["properties"] == {
        "day": "2026-07-01",
        "decimal": 2.5,
        "list": "[1, 2]",
        "beyond": str(2**64),
        "below": str(-(2**63) - 1),
        "numpy": 0.25,
        "time": "2026-07-01T10:00",
        "surrogate": "a?",
    }


@pytest.mark.parametrize(
    "column",
    [
        [None, "a", None],
        [None, 1, None],
        [None, 1.5, float("nan")],
        np.array([np.nan, 1.5, np.nan]),
        np.array(["NaT", "2026-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([None, 5, None], dtype=object),
    ],
)
def test_missing_values_are_left_out(column: Any) -> None:
    features = one_layer([shapely.Point(1, 1)] * 3, {"a": column, "nothing": [None] * 3})
    assert [list(feature["properties"]) for feature in features] == [[], ["a"], []]


def test_attributes_follow_the_features_that_stay() -> None:
    geometries = [shapely.Point(1, 1), shapely.Point(9000, 1), shapely.Point(2, 2)]
    features = one_layer(
        geometries, {"list": ["a", "b", "c"], "array": np.array([1, 2, 3])}, ids=np.array([4, 5, 6])
    )
    assert [(f["id"], f["properties"]) for f in features] == [
        (4, {"list": "a", "array": 1}),
        (6, {"list": "c", "array": 3}),
    ]


@pytest.mark.parametrize(
    ("given", "written"),
    [([0, 1, 2**64 - 1], [0, 1, 2**64 - 1]), ([-1, None, "7"], [None] * 3), ([True, 1.5, 2**64], [None] * 3)],
)
def test_ids_are_unsigned_64_bit_or_left_out(given: list[Any], written: list[Any]) -> None:
    assert [feature["id"] for feature in one_layer([shapely.Point(1, 1)] * 3, ids=given)] == written


def test_negative_ids_in_an_array_are_left_out() -> None:
    ids = np.array([-5, 0, 9])
    assert [feature["id"] for feature in one_layer([shapely.Point(1, 1)] * 3, ids=ids)] == [None, 0, 9]


def test_nothing_gives_no_bytes() -> None:
    assert encode_layer("a", [], None, {}, BOUNDS) == b""
    assert encode_layer("a", np.empty(0, dtype=object), [], {"x": []}, BOUNDS) == b""


@pytest.mark.parametrize(
    "broken",
    [
        {"columns": {"a": [1, 2]}},
        {"ids": [1, 2]},
        {"bounds": (0, 0, 0, 1)},
        {"bounds": (0, 0, float("nan"), 1)},
        {"extent": 0},
        {"buffer": -1},
    ],
)
def test_wrong_input_is_refused(broken: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"ids": None, "columns": {}, "bounds": BOUNDS, "extent": 4096, "buffer": 64}
    with pytest.raises(VectorTileError):
        encode_layer("a", [shapely.Point(0, 0)], **(arguments | broken))


rings = st.lists(st.tuples(st.floats(-6000, 9000), st.floats(-6000, 9000)), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@example([[(0.0, -65.0), (1.0, 0.0), (1e-148, -65.0)]])  # the cut at -64 makes two of its vertices one
@given(st.lists(rings, min_size=1, max_size=8))
def test_any_polygon_gives_well_formed_rings(shapes: list[list[tuple[float, float]]]) -> None:
    with np.errstate(all="ignore"):  # GEOS divides by zero where vertices fall together
        polygons = shapely.make_valid(np.array([shapely.Polygon(shape) for shape in shapes]))
    for feature in one_layer(list(polygons), {"n": list(range(len(shapes)))}):
        for path in feature["paths"]:
            assert all(-64 <= value <= 4160 for vertex in path for value in vertex)
            assert all(a != b for a, b in itertools.pairwise(path))
            if feature["type"] == 3:
                assert len(path) >= 4
                assert doubled_area(path) != 0
        if feature["type"] == 3:
            assert doubled_area(feature["paths"][0]) > 0


@pytest.mark.skipif(
    shutil.which("ogr2ogr") is None, reason="GDAL's command line tools are a Debian package of make test"
)
def test_gdal_reads_the_same(tmp_path: Path) -> None:
    tile = TileId(14, 9326, 4742)
    bounds = tile_bounds("WebMercatorQuad", tile)
    west, south, east, _ = bounds
    step = (east - west) / 40
    polygons = [
        shapely.box(west + i * step, south + i * step, west + (i + 0.9) * step, south + (i + 0.5) * step)
        for i in range(30)
    ]
    columns = {
        "name": [f"建筑 {i}" for i in range(30)],
        "height": [i / 10 for i in range(30)],
        "levels": list(range(30)),
    }
    path = tmp_path / "4742.mvt"
    path.write_bytes(encode_layer("buildings", polygons, np.arange(30), columns, bounds))
    command = ["ogr2ogr", "-f", "GeoJSON", "-t_srs", "EPSG:3857", "/vsistdout/", f"MVT:{path}", "buildings"]
    command += ["-oo", f"X={tile.x}", "-oo", f"Y={tile.y}", "-oo", f"Z={tile.z}"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert len(answer["features"]) == 30
    cell = (east - west) / 4096
    for i, feature in enumerate(answer["features"]):
        properties = feature["properties"]
        assert (properties["name"], properties["height"], properties["levels"]) == (f"建筑 {i}", i / 10, i)
        read = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert read.hausdorff_distance(polygons[i]) < 2 * cell
