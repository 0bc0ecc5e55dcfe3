"""Payloads of edits: what is taken, what is refused, and where the message points."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import shapely

from providers.errors import InvalidFeature, InvalidParameter, UnknownReferenceSystem
from providers.features.crs import reference_system
from providers.features.edits import EditLimits, parse_feature, parse_merge_patch, parse_transaction
from providers.features.query import CRS84
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import UNCHANGED, Edit, EditKind

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"
SCHEMA = CollectionSchema(
    (
        FieldDefinition("名称", "string"),
        FieldDefinition("height", "number"),
        FieldDefinition("floors", "integer"),
        FieldDefinition("listed", "boolean"),
        FieldDefinition("built", "string", "date"),
        FieldDefinition("updated", "string", "date-time"),
        FieldDefinition("a/b~c", "string"),
        FieldDefinition("secret", "string"),
    ),
    time_field="updated",
)
POLYGONS = CollectionSchema((FieldDefinition("name", "string"),), geometry_type="Polygon")
STORAGE = reference_system(CRS84)
RING = [[114.0, 22.5], [114.1, 22.5], [114.1, 22.6], [114.0, 22.5]]
POINT = {"type": "Point", "coordinates": [114.0, 22.5]}


def feature(geometry: Any = POINT, properties: Any = None, **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties or {}} | members


def create(document: Any, schema: CollectionSchema = SCHEMA, **options: Any) -> Edit:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return parse_feature(body, schema, STORAGE, EditKind.CREATE, **options)


def faults_of(document: Any, schema: CollectionSchema = SCHEMA, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFeature) as caught:
        create(document, schema, **options)
    return list(caught.value.faults)


def geometry(kind: str, coordinates: Any) -> dict[str, Any]:
    return {"type": kind, "coordinates": coordinates}


@pytest.mark.parametrize(
    "wanted",
    [
        "POINT (114 22.5)",
        "POINT Z (114 22.5 7)",
        "LINESTRING (114 22.5, 114.1 22.6)",
        "POLYGON ((0 0, 9 0, 9 9, 0 0), (4 1, 8 1, 8 5, 4 1))",
        "MULTIPOINT (1 2, 3 4)",
        "MULTILINESTRING ((1 2, 3 4), (5 6, 7 8))",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((2 2, 3 2, 3 3, 2 2)))",
        "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (1 2, 3 4))",
    ],
)
def test_every_geometry_comes_as_it_is(wanted: str) -> None:
    shape = shapely.from_wkt(wanted)
    edit = create(feature(orjson.loads(shapely.to_geojson(shape))))
    assert isinstance(edit.geometry, shapely.Geometry)
    assert shapely.equals_exact(edit.geometry, shape)
    assert shapely.has_z(edit.geometry) == shapely.has_z(shape)


def test_values_of_every_type() -> None:
    given = {
        "名称": "城",
        "height": 3,
        "floors": 4.0,
        "listed": False,
        "built": "2020-02-29",
        "updated": "2025-01-01t10:00:00.25+08:00",
        "a/b~c": "",
    }
    edit = create(feature(None, given, id=7, bbox=[0, 0, 1, 1], links=[]))
    assert edit == Edit(
        EditKind.CREATE,
        "7",
        None,
        given | {"height": 3.0, "floors": 4, "updated": "2025-01-01T10:00:00.25+08:00"},
    )


@pytest.mark.parametrize(
    ("crs", "position", "x", "y"),
    [
        (EPSG + "4326", [22.5, 114.0], 114.0, 22.5),
        (EPSG + "4490", [22.5, 114.0], 114.0, 22.5),
        ("http://www.opengis.net/def/crs/OGC/0/CRS84h", [114.0, 22.5], 114.0, 22.5),
        (EPSG + "4547", [2492722.2, 500000.0], 114.0, 22.532),
        (EPSG + "3857", [12690421.95, 2571663.0], 114.0, 22.5),
    ],
)
def test_coordinates_come_in_the_axis_order_of_their_crs(
    crs: str, position: list[float], x: float, y: float
) -> None:
    edit = create(feature(geometry("Point", position)), crs=crs)
    assert shapely.get_coordinates(edit.geometry)[0] == pytest.approx([x, y], abs=2e-3)


@pytest.mark.parametrize(
    ("document", "at"),
    [
        ([], ""),
        (3, ""),
        (None, ""),
        ({}, "/type"),
        ({"type": "feature"}, "/type"),
        ({"type": "FeatureCollection", "features": []}, "/type"),
        ({"type": "Feature", "properties": {}}, ""),
        ({"type": "Feature", "geometry": None}, ""),
        (feature(crs={"type": "name"}), "/crs"),
        (feature(colour="red"), "/colour"),
        (feature(id=1.5), "/id"),
        (feature(id=True), "/id"),
        (feature(id=""), "/id"),
        (feature(id="a\nb"), "/id"),
        (feature(id="x" * 1001), "/id"),
        (feature([]), "/geometry"),
        (feature("POINT (1 2)"), "/geometry"),
        (feature({}), "/geometry/type"),
        (feature({"type": ["Point"]}), "/geometry/type"),
        (feature({"type": "point", "coordinates": [1, 2]}), "/geometry/type"),
        (feature({"type": "CircularString", "coordinates": [[1, 2]]}), "/geometry/type"),
        (feature({"type": "Point"}), "/geometry"),
        (feature({"type": "Point", "coordinates": [1, 2], "crs": {}}), "/geometry/crs"),
        (feature(geometry("Point", [])), "/geometry/coordinates"),
        (feature(geometry("Point", [1])), "/geometry/coordinates"),
        (feature(geometry("Point", [1, 2, 3, 4])), "/geometry/coordinates"),
        (feature(geometry("Point", ["1", "2"])), "/geometry/coordinates"),
        (feature(geometry("Point", [None, 2])), "/geometry/coordinates"),
        (feature(geometry("Point", [True, 2])), "/geometry/coordinates"),
        (feature(geometry("Point", [[1, 2]])), "/geometry/coordinates"),
        (feature(geometry("Point", {"x": 1})), "/geometry/coordinates"),
        (feature(geometry("Point", [180.1, 2])), "/geometry/coordinates"),
        (feature(geometry("Point", [22.5, 114.0])), "/geometry/coordinates"),
        (feature(geometry("Point", [500000, 2500000])), "/geometry/coordinates"),
        (feature(geometry("LineString", [])), "/geometry/coordinates"),
        (feature(geometry("LineString", [[1, 2]])), "/geometry/coordinates"),
        (feature(geometry("LineString", [1, 2])), "/geometry/coordinates/0"),
        (feature(geometry("LineString", [[1, 2], [1, 2]])), "/geometry/coordinates"),
        (feature(geometry("LineString", [[1, 2], [3, 4, 5]])), "/geometry/coordinates/1"),
        (feature(geometry("Polygon", [])), "/geometry/coordinates"),
        (feature(geometry("Polygon", [RING[:3]])), "/geometry/coordinates/0"),
        (feature(geometry("Polygon", [[*RING[:3], [9, 9]]])), "/geometry/coordinates/0"),
        (feature(geometry("Polygon", RING)), "/geometry/coordinates/0"),
        (feature(geometry("Polygon", [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]])), "/geometry/coordinates"),
        (feature(geometry("MultiPolygon", [[RING], [RING[:2]]])), "/geometry/coordinates/1/0"),
        (feature(geometry("MultiPoint", [])), "/geometry/coordinates"),
        (feature({"type": "GeometryCollection"}), "/geometry/geometries"),
        (
            feature({"type": "GeometryCollection", "geometries": [{"type": "X"}]}),
            "/geometry/geometries/0/type",
        ),
        (feature(None, "x"), "/properties"),
        (feature(None, {"height": "3"}), "/properties/height"),
        (feature(None, {"height": True}), "/properties/height"),
        (feature(None, {"floors": 3.5}), "/properties/floors"),
        (feature(None, {"floors": 2**63}), "/properties/floors"),
        (feature(None, {"listed": 1}), "/properties/listed"),
        (feature(None, {"listed": "true"}), "/properties/listed"),
        (feature(None, {"名称": 3}), "/properties/名称"),
        (feature(None, {"名称": ["a"]}), "/properties/名称"),
        (feature(None, {"名称": {"a": 1}}), "/properties/名称"),
        (feature(None, {"名称": "a\0b"}), "/properties/名称"),
        (feature(None, {"名称": "x" * 100_001}), "/properties/名称"),
        (feature(None, {"built": "2021-02-29"}), "/properties/built"),
        (feature(None, {"built": "2021-1-1"}), "/properties/built"),
        (feature(None, {"built": "2021-01-01T00:00:00Z"}), "/properties/built"),
        (feature(None, {"updated": "2021-01-01"}), "/properties/updated"),
        (feature(None, {"updated": "2021-01-01T00:00:00"}), "/properties/updated"),
        (feature(None, {"updated": "2021-01-01T25:00:00Z"}), "/properties/updated"),
        (feature(None, {"updated": "0001-01-01T00:00:00+10:00"}), "/properties/updated"),
        (feature(None, {"a/b~c": 1}), "/properties/a~1b~0c"),
        (feature(None, {"'; DROP TABLE feature; --": 1}), "/properties/'; DROP TABLE feature; --"),
        (feature(None, time={"interval": ["2020-01-01", ".."]}), "/time"),
        (feature(None, time="2020"), "/time"),
        (
            feature(None, {"updated": "2020-01-01T00:00:00Z"}, time={"timestamp": "2021-01-01T00:00:00Z"}),
            "/time/timestamp",
        ),
        (feature(None, place=POINT, coordRefSys="EPSG:0"), "/coordRefSys"),
        (feature(None, place=POINT, coordRefSys=["EPSG:4326", "EPSG:5773"]), "/coordRefSys"),
        (feature(None, place=POINT | {"coordRefSys": 3}), "/place/coordRefSys"),
        (feature(None, place={"type": "Polyhedron", "coordinates": []}), "/place/type"),
    ],
)
def test_a_fault_is_named_by_its_pointer(document: Any, at: str) -> None:
    found = [pointer for pointer, _ in faults_of(document)]
    assert found[0] == at
    assert all(pointer.startswith(at.rsplit("/", 2)[0]) for pointer in found)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"type": "Feature", "geometry": {"type": "Point", "coordinates": [NaN, 1]}}',
        b'{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1e999, 1]}}',
        b'{"type": "Feature", "properties": {"a": "\\ud800"}}',
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
    ],
)
def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(InvalidParameter, match="JSON document") as caught:
        create(body)
    assert caught.value.name == "body"
    assert len(str(caught.value)) < 1000


def test_all_faults_are_told_at_once_up_to_a_limit() -> None:
    document = feature(geometry("Point", [1]), {"height": "x", "floors": "y", "none": 1}, id="")
    assert {pointer for pointer, _ in faults_of(document)} == {
        "/geometry/coordinates",
        "/properties/height",
        "/properties/floors",
        "/properties/none",
        "/id",
    }
    many = feature(None, {f"field {number}": 1 for number in range(500)})
    assert len(faults_of(many)) == EditLimits().faults
    lines = feature(geometry("LineString", [["x"]] * 5000))
    assert len(faults_of(lines)) == EditLimits().faults


def test_the_number_of_positions_is_bounded() -> None:
    limits = EditLimits(vertices=10)
    line = [[number / 10, 0] for number in range(11)]
    assert create(feature(geometry("LineString", line[:10])), limits=limits)
    assert faults_of(feature(geometry("LineString", line)), limits=limits)[0][0] == "/geometry/coordinates"
    parts = feature(geometry("MultiLineString", [line[:6], line[5:]]))
    assert faults_of(parts, limits=limits)[0][0] == "/geometry/coordinates/1"


def test_nesting_of_collections_is_bounded() -> None:
    def nested(depth: int) -> dict[str, Any]:
        inner: dict[str, Any] = POINT
        for _ in range(depth):
            inner = {"type": "GeometryCollection", "geometries": [inner]}
        return feature(inner)

    assert create(nested(8)).geometry is not None
    assert "nested" in faults_of(nested(9))[0][1]


def test_only_the_type_of_the_collection_fits() -> None:
    assert create(feature(geometry("Polygon", [RING])), POLYGONS).geometry is not None
    assert create(feature(None), POLYGONS).geometry is None
    for other in (POINT, geometry("MultiPolygon", [[RING]])):
        assert faults_of(feature(other), POLYGONS)[0][0] == "/geometry/type"


def test_hidden_fields_do_not_exist_for_the_client_and_are_not_wiped() -> None:
    hidden = frozenset({"secret"})
    (at, text), *rest = faults_of(feature(None, {"secret": "x"}), hidden=hidden)
    assert (at, rest) == ("/properties/secret", [])
    assert "secret" not in text
    edit = parse_feature(
        feature(None, {"floors": 3}),
        SCHEMA,
        STORAGE,
        EditKind.REPLACE,
        feature_id="7",
        hidden=hidden,
        version=4,
    )
    assert (edit.kind, edit.geometry, edit.version) == (EditKind.UPDATE, None, 4)
    assert edit.properties == dict.fromkeys(["名称", "height", "listed", "built", "updated", "a/b~c"]) | {
        "floors": 3
    }


def test_replace_keeps_to_the_item_of_the_address() -> None:
    edit = parse_feature(feature(id="7"), SCHEMA, STORAGE, EditKind.REPLACE, feature_id="7")
    assert (edit.kind, edit.feature_id) == (EditKind.REPLACE, "7")
    with pytest.raises(InvalidFeature) as caught:
        parse_feature(feature(id="8"), SCHEMA, STORAGE, EditKind.REPLACE, feature_id="7")
    assert caught.value.faults[0][0] == "/id"


def test_json_fg_place_in_its_own_crs_goes_before_geometry() -> None:
    document = feature(
        POINT,
        conformsTo=["[ogc-json-fg-1-1.0:core]"],
        featureType="building",
        place=geometry("Point", [22.6, 113.9]),
    )
    for crs in (EPSG + "4490", "[EPSG:4490]", {"type": "Reference", "href": EPSG + "4490"}):
        shape = create(
            document | {"coordRefSys": crs, "time": {"timestamp": "2025-01-01T00:00:00Z"}}
        ).geometry
        assert shapely.get_coordinates(shape).tolist() == [[113.9, 22.6]]
    edit = create(document | {"place": None, "coordRefSys": EPSG + "4490"})
    assert shapely.get_coordinates(edit.geometry).tolist() == [[114.0, 22.5]]


def test_json_fg_time_fills_the_time_field() -> None:
    time = {"timestamp": "2025-01-01T00:00:00Z"}
    assert create(feature(time=time)).properties == {"updated": "2025-01-01T00:00:00Z"}
    repeated = feature(None, {"updated": "2025-01-01T08:00:00+08:00"}, time=time)
    assert create(repeated).properties == {"updated": "2025-01-01T08:00:00+08:00"}
    assert faults_of(feature(time=time), POLYGONS)[0][0] == "/time"


def test_content_crs_has_to_be_known() -> None:
    with pytest.raises(UnknownReferenceSystem):
        create(feature(), crs=EPSG + "99999")


def patch(document: Any, **options: Any) -> Edit:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return parse_merge_patch(body, SCHEMA, STORAGE, feature_id="7", **options)


def test_a_merge_patch_touches_only_what_it_names() -> None:
    assert patch({}) == Edit(EditKind.UPDATE, "7", UNCHANGED, {})
    assert patch({"properties": {"floors": None}}, version=3) == Edit(
        EditKind.UPDATE, "7", UNCHANGED, {"floors": None}, 3
    )
    assert patch({"geometry": None}).geometry is None
    assert isinstance(patch({"geometry": POINT}).geometry, shapely.Point)
    assert patch({"id": 7, "type": "Feature"}).feature_id == "7"


@pytest.mark.parametrize(
    ("document", "at"),
    [
        ([], ""),
        ({"type": "Point"}, "/type"),
        ({"id": "8"}, "/id"),
        ({"properties": None}, "/properties"),
        ({"properties": [1]}, "/properties"),
        ({"properties": {"nothing": None}}, "/properties/nothing"),
        ({"geometry": {"coordinates": [1, 2]}}, "/geometry/type"),
        ({"height": 3}, "/height"),
    ],
)
def test_a_faulty_merge_patch_is_refused(document: Any, at: str) -> None:
    with pytest.raises(InvalidFeature) as caught:
        patch(document)
    assert [pointer for pointer, _ in caught.value.faults] == [at]


def batch(operations: Any, **options: Any) -> list[Edit]:
    return parse_transaction(orjson.dumps({"transaction": operations}), SCHEMA, STORAGE, **options)


def test_a_batch_of_every_action() -> None:
    edits = batch(
        [
            {"action": "create", "feature": feature()},
            {"action": "create", "id": "n", "feature": feature(id="other")},
            {"action": "replace", "id": 7, "version": 2, "feature": feature()},
            {"action": "update", "id": "8", "feature": {"properties": {"floors": 1}}},
            {"action": "delete", "id": "9", "version": 5},
        ]
    )
    found = [(edit.kind.value, edit.feature_id, edit.version) for edit in edits]
    assert found == [
        ("create", None, None),
        ("create", "n", None),
        ("replace", "7", 2),
        ("update", "8", None),
        ("delete", "9", 5),
    ]
    collection = {"type": "FeatureCollection", "features": [feature(), feature(id="x")]}
    assert [edit.feature_id for edit in parse_transaction(collection, SCHEMA, STORAGE)] == [None, "x"]


def test_versions_are_read_as_the_caller_writes_them() -> None:
    def read(value: Any) -> int:
        if not str(value).startswith("v"):
            raise ValueError("an entity tag is wanted")
        return int(value[1:])

    assert batch([{"action": "delete", "id": "1", "version": "v12"}], read_version=read)[0].version == 12
    with pytest.raises(InvalidFeature, match=r"/transaction/0/version: .*entity tag"):
        batch([{"action": "delete", "id": "1", "version": "12"}], read_version=read)


@pytest.mark.parametrize(
    ("operations", "at"),
    [
        (None, "/transaction"),
        ({}, "/transaction"),
        ([], "/transaction"),
        ([{"action": "delete", "id": "1"}] * 4, "/transaction"),
        ([3], "/transaction/0"),
        ([{"id": "1"}], "/transaction/0/action"),
        ([{"action": "upsert", "id": "1"}], "/transaction/0/action"),
        ([{"action": ["delete"], "id": "1"}], "/transaction/0/action"),
        ([{"action": "delete"}], "/transaction/0/id"),
        ([{"action": "delete", "id": True}], "/transaction/0/id"),
        ([{"action": "delete", "id": "1", "if": 1}], "/transaction/0/if"),
        ([{"action": "delete", "id": "1", "feature": {}}], "/transaction/0/feature"),
        ([{"action": "delete", "id": "1", "version": [1]}], "/transaction/0/version"),
        ([{"action": "create"}], "/transaction/0/feature"),
        (
            [{"action": "update", "id": "1", "feature": {"properties": {"floors": "x"}}}],
            "/transaction/0/feature/properties/floors",
        ),
        (
            [{"action": "delete", "id": "1"}, {"action": "replace", "id": "1", "feature": feature(id="2")}],
            "/transaction/1/feature/id",
        ),
    ],
)
def test_a_faulty_batch_names_the_operation(operations: Any, at: str) -> None:
    with pytest.raises(InvalidFeature) as caught:
        batch(operations, limits=EditLimits(edits=3))
    assert [pointer for pointer, _ in caught.value.faults] == [at]


def test_a_batch_has_to_be_an_object() -> None:
    with pytest.raises(InvalidFeature, match="a batch is"):
        parse_transaction(b"[]", SCHEMA, STORAGE)
