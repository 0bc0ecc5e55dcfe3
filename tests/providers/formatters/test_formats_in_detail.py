"""What single formats promise beside the features: members, metadata, names, and bounded memory."""

from __future__ import annotations

import io
import sqlite3
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from lxml import etree
from shapely.geometry import shape

from providers.errors import AnswerTooLarge, StoreError
from providers.features.crs import reference_system
from providers.features.query import CRS84, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store import FeatureStoreWriter, open_store
from providers.formatters import ogr, scratch
from providers.formatters.columns import arrow_values, free_names, moved
from providers.formatters.gml import (
    GmlNamespace,
    GmlSchema,
    application_schema,
    feature_id_of,
    gml_id,
    gml_members,
    gml_reference,
)
from providers.formatters.registry import DOWNLOAD_FORMATS, ITEM_FORMATS
from providers.formatters.shapefile import _short_names
from providers.formatters.xml_text import escaped, text_of_id, xml_id, xml_name

EPSG_4490 = "http://www.opengis.net/def/crs/EPSG/0/4490"
EPSG_4547 = "http://www.opengis.net/def/crs/EPSG/0/4547"
GML = "{http://www.opengis.net/gml/3.2}"


def test_formats_have_names_endings_and_media_types_of_their_own() -> None:
    assert len({form.media_type for form in DOWNLOAD_FORMATS.values()}) == len(DOWNLOAD_FORMATS)
    assert len({name for form in ITEM_FORMATS.values() for name in (form.media_type, *form.accepts)}) == sum(
        1 + len(form.accepts) for form in ITEM_FORMATS.values()
    )
    assert set(DOWNLOAD_FORMATS) == {"geojson", *(form.ending for form in ITEM_FORMATS.values())}


# --- JSON-FG -------------------------------------------------------------------------------------------------------------


def test_jsonfg_in_crs84(areas: Any) -> None:
    links = [{"rel": "next", "href": "http://a/?cursor=1"}]
    document = orjson.loads(
        areas.write("fg.json", links=links, number_matched=4, timestamp="2024-01-01T00:00:00Z")
    )
    assert "http://www.opengis.net/spec/json-fg-1/1.0/conf/core" in document["conformsTo"]
    assert document["featureType"] == "boxes"
    assert document["featureSchema"] == "http://city.example/ogc/collections/boxes/schema"
    assert "coordRefSys" not in document
    assert document["links"][0] == links[0]
    assert (document["numberMatched"], document["numberReturned"], document["timeStamp"]) == (
        4,
        4,
        "2024-01-01T00:00:00Z",
    )
    by_id = {feature["id"]: feature for feature in document["features"]}
    assert all(feature["place"] is None for feature in by_id.values())
    assert by_id["a.1"]["time"] == {"timestamp": by_id["a.1"]["properties"]["updated"]}
    assert by_id["7"]["time"] is None
    assert by_id["7"]["geometry"] is None


def test_jsonfg_in_another_crs_has_both_geometries(areas: Any) -> None:
    document = orjson.loads(areas.write("fg.json", ItemQuery(crs=EPSG_4547)))
    assert document["coordRefSys"] == EPSG_4547
    assert {"rel": "profile", "href": "http://www.opengis.net/def/profile/OGC/0/jsonfg-plus"} in document[
        "links"
    ]
    expected = areas.features()
    for feature in document["features"]:
        fallback, place = feature["geometry"], feature["place"]
        if expected[feature["id"]]["geometry"] is None:
            assert fallback is None
            assert place is None
            continue
        assert shapely.equals_exact(
            shape(fallback), shape(expected[feature["id"]]["geometry"]), tolerance=2e-7
        )
        assert shape(place).bounds[0] > 2_000_000  # northing first


def test_one_jsonfg_feature(areas: Any) -> None:
    feature = orjson.loads(areas.write("fg.json", ItemQuery(limit=1, equals={"Floors": "-3"}), item=True))
    assert feature["type"] == "Feature"
    assert feature["conformsTo"]
    assert feature["featureType"] == "boxes"
    assert feature["id"] == "b/2 ü"


# --- binary formats ------------------------------------------------------------------------------------------------------


def test_geoparquet_metadata(anything: Any) -> None:
    file = pq.ParquetFile(io.BytesIO(anything.write("parquet", ItemQuery(crs=EPSG_4547))))
    geo = orjson.loads(file.metadata.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert pyproj.CRS.from_json_dict(column["crs"]) == pyproj.CRS.from_epsg(4547)
    assert column["geometry_types"] == [
        "LineString",
        "MultiLineString",
        "MultiPoint",
        "MultiPolygon",
        "Point",
        "Polygon",
    ]
    rows = file.read().to_pylist()
    boxes = [tuple(row["bbox"].values()) if row["bbox"] else None for row in rows]
    shapes = [shapely.from_wkb(row["geometry"]) for row in rows]
    assert boxes == [shape and shape.bounds for shape in shapes]
    bounds = shapely.total_bounds(np.array(shapes, dtype=object))
    assert column["bbox"] == pytest.approx(bounds.tolist())
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    schema = file.schema_arrow
    assert schema.field("built").type == pa.date32()
    assert schema.field("updated").type == pa.timestamp("ms", "UTC")
    assert schema.field("Floors").type == pa.int64()


def test_arrow_extension(anything: Any) -> None:
    schema = pa.ipc.open_stream(anything.write("arrows")).schema
    metadata = schema.field("geometry").metadata
    assert metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"
    told = orjson.loads(metadata[b"ARROW:extension:metadata"])
    assert told["crs_type"] == "projjson"
    assert told["crs"]["id"] == {"authority": "OGC", "code": "CRS84"}


def test_flatgeobuf_tells_no_count_that_is_not_true(anything: Any, tmp_path: Path) -> None:
    path = tmp_path / "boxes.fgb"
    path.write_bytes(anything.write("fgb"))
    with fiona.open(path) as source:
        assert len(list(source)) == 7
        assert source.bounds[2] == pytest.approx(115.03)


def test_geopackage_has_its_index_and_its_names(anything: Any, tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "boxes.gpkg"
    path.write_bytes(anything.write("gpkg"))
    with fiona.open(path) as source:
        assert source.name == "boxes"
        found = [feature["properties"]["id_2"] for feature in source.filter(bbox=(114.9, 22.9, 115.1, 23.1))]
        assert len(found) == 1
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM rtree_boxes_geometry").fetchone()
    (identifier,) = connection.execute("SELECT identifier FROM gpkg_contents").fetchone()
    connection.close()
    assert (count, identifier) == (6, "楼 <boxes>")
    assert list(scratch.iterdir()) == []


# --- GML -----------------------------------------------------------------------------------------------------------------


NAMESPACE = GmlNamespace("http://city.example/ns", "ns", "box")


def members(uri: str, style: Any = "uri") -> Any:
    columns = FeatureColumns(
        [1], ["x 1"], np.array([shapely.Point(114, 22)], dtype=object), {"a & b": ["<&\x01"]}
    )
    schema = GmlSchema((FieldDefinition("a & b", "string"),), "Point")
    reference = gml_reference(uri, reference_system(CRS84), style)
    (member,) = gml_members(columns, schema, NAMESPACE, reference)
    start = b'<r xmlns:ns="http://city.example/ns" xmlns:gml="http://www.opengis.net/gml/3.2">'
    return etree.fromstring(start + member + b"</r>")[0]


@pytest.mark.parametrize(
    ("uri", "style", "name", "position"),
    [
        (CRS84, "uri", CRS84, "114 22"),
        (CRS84, "urn", "urn:ogc:def:crs:OGC:1.3:CRS84", "114 22"),
        (CRS84, "epsg", "EPSG:4326", "114 22"),
        (EPSG_4490, "uri", EPSG_4490, "22 114"),
        (EPSG_4490, "urn", "urn:ogc:def:crs:EPSG::4490", "22 114"),
        (EPSG_4490, "epsg", "EPSG:4490", "114 22"),
    ],
)
def test_gml_says_its_crs_and_keeps_its_axis_order(uri: str, style: str, name: str, position: str) -> None:
    point = members(uri, style).find(f".//{GML}Point")
    assert point.get("srsName") == name
    assert point.findtext(f"{GML}pos") == position


def test_gml_names_and_texts() -> None:
    member = members(CRS84)
    assert member.tag == "{http://city.example/ns}box"
    assert feature_id_of("box", member.get(f"{GML}id")) == "x 1"
    assert member[0].tag == "{http://city.example/ns}a___b"
    assert member[0].text == "<&\ufffd"


def test_gml_validates_against_its_own_schema() -> None:
    fields = (
        FieldDefinition("名", "string"),
        FieldDefinition("n", "integer"),
        FieldDefinition("t", "string", "date-time"),
    )
    document = etree.fromstring(application_schema(GmlSchema(fields, "MultiPolygon"), NAMESPACE))
    xs = "{http://www.w3.org/2001/XMLSchema}"
    elements = {e.get("name"): e.get("type") for e in document.iter(f"{xs}element")}
    assert elements == {
        "box": "ns:boxType",
        "名": "xs:string",
        "n": "xs:long",
        "t": "xs:dateTime",
        "geometry": "gml:MultiSurfacePropertyType",
    }
    assert document.get("targetNamespace") == "http://city.example/ns"


@pytest.mark.parametrize(
    "text", ["17", "a_b", "_x2F_", "a/b", "a b", "楼", "", "-", ".", "é:1", "x" * 300, "_"]
)
def test_ids_come_back(text: str) -> None:
    made = gml_id("box", text)
    assert feature_id_of("box", made) == text
    assert text_of_id(xml_id(text)) == text
    etree.fromstring(f'<r id="{made}"/>')
    assert xml_name(made) == made  # a valid NCName


def test_ids_stay_different() -> None:
    texts = ["a/b", "a_x2F_b", "a_b", "a b", "a_x20_b", "A/b"]
    assert len({xml_id(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["\x00", "\x0b", "\ufffe", "]]>", "a\rb", "\"'<>&"])
def test_every_text_is_well_formed(text: str) -> None:
    back = etree.fromstring(f'<r a="{escaped(text)}">{escaped(text)}</r>').text
    assert back == "".join("\ufffd" if c in "\x00\x0b\ufffe" else c for c in text)


# --- values and names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        (FieldDefinition("a", "integer"), [1, None, "x", 2.0, 1 << 70], [1, None, None, 2, None]),
        (
            FieldDefinition("a", "number"),
            [1, 0.5, "2", None, (1 << 60) + 1],
            [1.0, 0.5, 2.0, None, float((1 << 60) + 1)],
        ),
        (FieldDefinition("a", "boolean"), [True, False, 1, "yes", None], [True, False, True, None, None]),
        (FieldDefinition("a", "string"), ["x", 1, {"b": [1]}, None], ["x", "1", '{"b":[1]}', None]),
        (FieldDefinition("a", "unheard-of"), ["x"], ["x"]),
    ],
)
def test_values_that_are_not_of_their_type(
    field: FieldDefinition, values: list[Any], expected: list[Any]
) -> None:
    assert arrow_values(field, values).to_pylist() == expected


def test_dates_that_are_none() -> None:
    days = arrow_values(FieldDefinition("a", "string", "date"), ["2024-02-29", "2024-02-30", "", None])
    assert [day and day.isoformat() for day in days.to_pylist()] == ["2024-02-29", None, None, None]
    moments = arrow_values(
        FieldDefinition("a", "string", "date-time"),
        ["2024-01-01T08:00:00+08:00", "2024-01-01T00:00:00", "soon", None],
    )
    assert [m and m.isoformat() for m in moments.to_pylist()] == ["2024-01-01T00:00:00+00:00"] * 2 + [
        None,
        None,
    ]


def test_names_are_unique_whatever_their_case() -> None:
    assert free_names(["Name", "name", "NAME", "fid"], ["FID"]) == ["Name", "name_2", "NAME_3", "fid_2"]


def test_names_of_a_shapefile() -> None:
    names = ["description_one", "description_two", "Description_one", "建筑物名称", "建筑物高度", "", "a"]
    short = _short_names(names)
    assert len({name.casefold() for name in short}) == len(names)
    assert all(0 < len(name.encode()) <= 10 for name in short)
    assert short[0] == "descriptio"
    assert short[3].startswith("建筑")
    assert len(_short_names([f"description_{i}" for i in range(200)])) == 200


def test_a_place_outside_of_the_crs_is_no_geometry(writing: Any, tmp_path: Path) -> None:
    """A quarter of the way round the Earth a transverse Mercator has no place."""
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.add(
            np.array([shapely.Point(24, 0), shapely.Point(114, 22)], dtype=object), {}, ["far", "near"]
        )
        writer.finish()
    source, query = writing(open_store(path)), ItemQuery(crs="http://www.opengis.net/def/crs/EPSG/0/4547")
    table = pq.read_table(io.BytesIO(source.write("parquet", query))).to_pylist()
    assert {row["id"]: row["geometry"] is None for row in table} == {"far": True, "near": False}
    assert b'"far",,\r\n' in source.write("csv", query)
    root = etree.fromstring(source.write("gml", query))
    found = {f.get(f"{GML}id"): len(f) for f in root.iter("{http://city.example/ogc/collections/boxes}boxes")}
    assert found == {"boxes.far": 0, "boxes.near": 1}


def test_names_are_those_that_gdal_reads() -> None:
    assert [xml_name(name) for name in ("楼", "m²", "1a", "a:b", "🏙", "é", "")] == [
        "楼",
        "m_",
        "_1a",
        "a_b",
        "_",
        "é",
        "_",
    ]


def test_heights_and_flat_geometries_move_together() -> None:
    shapes = np.array([shapely.Point(114, 22), None, shapely.Point(114, 22, 7)], dtype=object)
    source, target = reference_system(CRS84), reference_system(EPSG_4547)
    flat, none, solid = moved(shapes, source, target)
    assert none is None
    assert (flat.x, flat.y) == (solid.x, solid.y)
    assert solid.z == 7
    assert not flat.has_z


# --- files that are made first --------------------------------------------------------------------------------------------


def test_texts_too_long_for_a_shapefile_are_cut_and_told(writing: Any, tmp_path: Path) -> None:
    fields = (FieldDefinition("长文本说明", "string"),)
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=fields, storage_crs="OGC:CRS84") as writer:
        writer.add(
            shapely.points([(1, 2), (3, 4)]),
            {"长文本说明": ["楼" * 84 + "ab", "楼" * 84 + "abc"]},
            ["1", "2"],
        )
        writer.finish()
    data = writing(open_store(path)).write("shp.zip")
    (tmp_path / "a.shp.zip").write_bytes(data)
    with fiona.open(f"zip://{tmp_path}/a.shp.zip") as source:
        texts = {
            f["properties"]["id"]: next(v for n, v in f["properties"].items() if n != "id") for f in source
        }
    assert texts == {"1": "楼" * 84 + "ab", "2": "楼" * 84 + "ab"}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert "1 values of '长文本说明' were longer than 254 bytes" in archive.read("boxes.txt").decode()


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """60,000 points with a text and a number, in the embedded store."""
    path = tmp_path_factory.mktemp("many") / "features.gpkg"
    fields = (FieldDefinition("name", "string"), FieldDefinition("n", "integer"))
    with FeatureStoreWriter(path, fields=fields, storage_crs="OGC:CRS84") as writer:
        for start in range(0, 60_000, 20_000):
            numbers = np.arange(start, start + 20_000)
            points = shapely.points(114 + numbers % 447 / 1000, 22 + numbers // 447 / 1000)
            writer.add(points, {"name": [f"第{n}" for n in numbers], "n": numbers.tolist()})
        writer.finish()
    return open_store(path)


@pytest.mark.parametrize("ending", ["gpkg", "shp.zip"])
def test_many_features_are_written_in_a_process_of_their_own(
    many: Any, writing: Any, ending: str, monkeypatch: Any, tmp_path: Path
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("so many belong into another process")

    monkeypatch.setattr(ogr, "_write_here", never)
    form = DOWNLOAD_FORMATS[ending]
    query = ItemQuery(limit=5000)
    path = tmp_path / f"many.{ending}"
    with path.open("wb") as file:
        file.writelines(form.load()(writing(many).context(query), slices(many, form.batches, query, 30_000)))
    with fiona.open(f"zip://{path}" if ending == "shp.zip" else path) as source:
        assert len(source) == 30_000
        assert sum(feature["properties"]["n"] for feature in source) > 0


def slices(store: Any, kind: str, query: ItemQuery, most: int) -> Any:
    count = 0
    while count < most:
        page = store.page(query) if kind == "bodies" else store.columns(query)
        batch = page.bodies if kind == "bodies" else page.columns
        count += len(batch)
        yield batch
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)


@pytest.mark.parametrize("ending", sorted(set(DOWNLOAD_FORMATS) - {"gpkg", "shp.zip"}))
def test_memory_does_not_grow_with_the_collection(many: Any, writing: Any, ending: str) -> None:
    form = DOWNLOAD_FORMATS[ending]
    query = ItemQuery(limit=2000)

    def peak(most: int) -> tuple[int, int]:
        tracemalloc.start()
        arrow = pa.total_allocated_bytes()
        highest = size = 0
        for chunk in form.load()(writing(many).context(query), slices(many, form.batches, query, most)):
            size += len(chunk)
            highest = max(highest, pa.total_allocated_bytes() - arrow)
        python = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return python + highest, size

    few, small = peak(4_000)
    all_of_them, large = peak(60_000)
    assert large > 8 * small
    # A row group of Parquet waits until it is full; everything else holds a slice.
    assert all_of_them < few + (24 << 20 if ending == "parquet" else 4 << 20)


def test_a_failure_in_the_middle_ends_the_process_and_the_folder(
    many: Any, writing: Any, scratch: Path
) -> None:
    def broken() -> Any:
        yield from slices(many, "columns", ItemQuery(limit=5000), 30_000)
        raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone"):
        list(DOWNLOAD_FORMATS["gpkg"].load()(writing(many).context(), broken()))
    assert list(scratch.iterdir()) == []


def test_a_process_that_cannot_write_tells_why(many: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(ogr, "_HERE_ROWS", 0)
    file = ogr.OgrFile(
        "GPKG", str(tmp_path / "no" / "such" / "a.gpkg"), "a", "geometry", "Point", "EPSG:4326"
    )
    schema = pa.schema([("id", pa.string()), ("geometry", pa.binary())])
    batch = pa.record_batch([["1"], [shapely.to_wkb(shapely.Point(1, 2))]], schema=schema)
    with pytest.raises(StoreError, match="GDAL could not write GPKG"):
        ogr.write_file(file, schema, iter([batch]))


def test_two_gigabytes_are_refused_with_what_to_do() -> None:
    file = ogr.OgrFile("ESRI Shapefile", "a.shp", "a", "geometry", "Point", None)
    failure = ogr._failure(file, "2GB file size limit reached for a.shp")
    assert isinstance(failure, AnswerTooLarge)
    assert "gpkg" in str(failure)


def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    left, young, used = (tmp_path / f"made-{name}" for name in ("left", "young", "used"))
    for folder in (left, young, used):
        folder.mkdir()
        (folder / "a.gpkg").write_bytes(b"x")
    import fcntl
    import os

    for folder in (left, used):
        os.utime(folder, (1, 1))
    held = os.open(used, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert scratch.sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made-used", "made-young"]
    os.close(held)
    assert scratch.sweep(tmp_path, young=-1) == 2
