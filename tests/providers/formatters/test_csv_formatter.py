"""CSV of features: everything that went in can be read back."""

from __future__ import annotations

import csv
import io
from typing import Any

import shapely
from pygeoapi.plugin import load_plugin

from providers.formatters.csv import csv_bytes


def read(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def feature(feature_id: Any, geometry: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": feature_id, "geometry": geometry, "properties": properties}


def point(*coordinates: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": list(coordinates)}


def test_fields_of_later_features_are_kept() -> None:
    rows = read(
        csv_bytes([feature("1", point(1, 2), a=1), feature("2", point(3, 4), b="x"), feature("3", None, a=0)])
    )
    assert rows == [
        {"id": "1", "a": "1", "b": "", "x": "1", "y": "2"},
        {"id": "2", "a": "", "b": "x", "x": "3", "y": "4"},
        {"id": "3", "a": "0", "b": "", "x": "", "y": ""},
    ]


def test_hard_values_come_back() -> None:
    hard = 'a "quoted", line\r\nbreak;=1+1 城图\t'
    data = csv_bytes(
        [
            feature(
                "1",
                None,
                t=hard,
                n=None,
                e="",
                f=0.1,
                b=True,
                c=False,
                j={"k": [1, "é"]},
                i=12345678901234567,
            )
        ]
    )
    (row,) = read(data)
    assert row["t"] == hard
    assert row["f"] == "0.1"
    assert (row["b"], row["c"], row["i"]) == ("true", "false", "12345678901234567")
    assert row["j"] == '{"k":[1,"é"]}'
    # null is nothing, the empty text is quoted
    assert data.split(b"\r\n", 1)[1].startswith(
        b'"1","a ""quoted"", line\r\nbreak;=1+1 ' + "城图".encode() + b'\t",,"",0.1,'
    )


def test_names_that_are_taken() -> None:
    rows = read(csv_bytes([feature("7", point(1, 2, 3), id="own", x="mine", _x="too")]))
    assert rows == [{"_id": "7", "id": "own", "x": "mine", "_x": "too", "__x": "1", "y": "2", "z": "3"}]


def test_other_geometries_are_wkt_in_full() -> None:
    line = {"type": "LineString", "coordinates": [[113.1234567, 22.7654321], [113.5, 22.0000001]]}
    rows = read(csv_bytes([feature("1", line), feature("2", point(1, 2)), feature("3", None)]))
    assert shapely.get_coordinates(shapely.from_wkt(rows[0]["geometry"])).tolist() == line["coordinates"]
    assert shapely.from_wkt(rows[1]["geometry"]).equals(shapely.Point(1, 2))
    assert rows[2]["geometry"] == ""
    solid = read(csv_bytes([feature("1", {"type": "LineString", "coordinates": [[1, 2, 3.5], [4, 5, 6]]})]))
    assert shapely.get_coordinates(shapely.from_wkt(solid[0]["geometry"]), include_z=True).tolist() == [
        [1, 2, 3.5],
        [4, 5, 6],
    ]


def test_nothing_is_a_header() -> None:
    assert csv_bytes([]) == b'"id","geometry"\r\n'


def test_plugin() -> None:
    formatter = load_plugin(
        "formatter", {"name": "providers.formatters.csv.ChengtuCSVFormatter", "geom": True}
    )
    assert (formatter.f, formatter.mimetype, formatter.extension) == ("csv", "text/csv; charset=utf-8", "csv")
    collection = {"type": "FeatureCollection", "features": [feature("1", point(1, 2), a=1)]}
    assert formatter.write(data=collection) == csv_bytes(collection["features"])
    assert formatter.write(data=collection["features"][0]) == csv_bytes(collection["features"])
    assert formatter.write(data={"type": "FeatureCollection", "features": []}) == csv_bytes([])
