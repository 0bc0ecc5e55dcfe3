"""GeoParquet in place: values, encodings, reference systems, pages, replaced and damaged files."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyproj
import pytest
import shapely

from providers.errors import (
    AnswerTooLarge,
    DuplicateFeatureId,
    InvalidParameter,
    StoreCorrupt,
    StoreError,
    StoreMissing,
    UnsupportedQuery,
)
from providers.features.parquet import ParquetSource, describe_parquet, open_parquet
from providers.features.parquet.database import ask, make_database, run, spatial_extension
from providers.features.query import BBox, ItemQuery, SortKey, TimeInterval
from providers.features.sources import SourceSettings, open_source

ALL = ItemQuery(limit=1000)
Write = Callable[..., Path]


def opened(path: Path, **more: Any) -> ParquetSource:
    return open_parquet({"store": "parquet", "path": str(path), **more}, SourceSettings())


def ids_of(source: ParquetSource, query: ItemQuery) -> list[str]:
    return [orjson.loads(body)["id"] for body in source.page(query).bodies]


def test_every_kind_of_value_is_shown_as_json_says_it(write_parquet: Write) -> None:
    source = opened(write_parquet(), id="key", time="updated")
    first, second, third, *_ = [orjson.loads(body)["properties"] for body in source.page(ALL).bodies]
    assert first == {
        "name": "楼 0",
        "height": None,
        "price": 0.0,
        "serial": 2**63,
        "built": "2000-01-01",
        "updated": "2024-01-01T00:00:00.500Z",
        "local": "2024-01-01T00:00:00.500Z",
        "tags": '["a","t0"]',
        "owner": '{"name":"o0","age":0}',
        "kind": "kind 0",
    }
    assert (second["height"], second["tags"], second["price"]) == (None, None, 0.25)
    assert third["height"] is None
    kinds = {field.name: (field.type, field.format) for field in source.schema.fields}
    assert kinds["price"] == ("number", None)
    assert kinds["serial"] == ("integer", None)
    assert kinds["updated"] == kinds["local"] == ("string", "date-time")
    assert kinds["tags"] == ("string", None)
    assert "raw" not in kinds
    assert "key" not in kinds


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (replace(ALL, equals={"serial": str(2**63 + 7)}), ["k7"]),
        (replace(ALL, equals={"serial": "not a number"}), []),
        (replace(ALL, equals={"price": "2.5"}), ["k10"]),
        (replace(ALL, equals={"built": "2000-01-04"}), ["k3"]),
        (replace(ALL, equals={"local": "2024-01-01T09:00:00.5+08:00"}), ["k1"]),
        (replace(ALL, datetime=TimeInterval("2024-01-03T11:00:00Z", None)), ["k59"]),
        (replace(ALL, datetime=TimeInterval(None, "2024-01-01T00:00:00.5Z")), ["k0"]),
        (replace(ALL, q=("T12",)), ["k12"]),
        (replace(ALL, q=("楼 58", "O57")), ["k57", "k58"]),
        (replace(ALL, bbox=BBox(113.9, 22.6, 113.902, 22.602)), ["k0", "k1", "k2"]),
        (replace(ALL, bbox=BBox(113.9029, 22.6, 113.9065, 23)), ["k3", "k6"]),
        (replace(ALL, bbox=BBox(170, -90, -170, 90)), []),
    ],
)
@pytest.mark.parametrize("covering", [False, True])
def test_conditions(write_parquet: Write, covering: bool, query: ItemQuery, expected: list[str]) -> None:
    source = opened(write_parquet(covering=covering), id="key", time="updated")
    assert "bbox" not in source.schema.by_name
    assert ids_of(source, query) == expected
    assert source.page(replace(query, hits_only=True)).number_matched == len(expected)


def test_values_that_are_not_finite_are_unknown_and_sorted_last(write_parquet: Write) -> None:
    source = opened(write_parquet(), id="key")
    for descending in (False, True):
        ids = ids_of(source, replace(ALL, sortby=(SortKey("height", descending),)))
        assert ids[-3:] == ["k0", "k1", "k2"]
        assert ids[0] == ("k59" if descending else "k3")


@pytest.mark.parametrize("name", ["name", "height", "price", "serial", "built", "updated", "local", "tags"])
@pytest.mark.parametrize("descending", [False, True])
def test_sorted_pages_join_to_the_whole(write_parquet: Write, name: str, descending: bool) -> None:
    source = opened(write_parquet(), id="key")
    query = replace(ALL, sortby=(SortKey("kind"), SortKey(name, descending)))
    whole = ids_of(source, query)
    assert sorted(whole) == sorted(f"k{i}" for i in range(60))
    paged: list[str] = []
    page = source.page(replace(query, limit=7))
    while True:
        paged += [orjson.loads(body)["id"] for body in page.bodies]
        if page.cursor is None:
            break
        through_json = tuple(orjson.loads(orjson.dumps(page.cursor)))
        page = source.page(replace(query, limit=7, cursor=through_json))
    assert paged == whole
    assert ids_of(source, replace(query, limit=5, offset=57)) == whole[57:]


def test_a_folder_is_one_collection(write_parquet: Write) -> None:
    for part in ("b", "a", "c"):
        path = write_parquet(f"parts/{part}.parquet")
    source = opened(path.parent)
    assert source.count() == 180
    pages = [source.page(ItemQuery(limit=50))]
    while pages[-1].cursor is not None:
        pages.append(source.page(ItemQuery(limit=50, cursor=pages[-1].cursor)))
    ids = [orjson.loads(body)["id"] for page in pages for body in page.bodies]
    assert [len(page.bodies) for page in pages] == [50, 50, 50, 30]
    assert ids == sorted(set(ids), key=int)
    assert ids[60] == str(1 << 40)
    item = source.item(ids[60])
    assert item is not None
    assert item.body == pages[1].bodies[10]
    assert source.page(ItemQuery(limit=10, offset=175)).number_returned == 5
    box = ItemQuery(limit=2, bbox=BBox(113.9, 22.6, 113.9, 22.6))
    first = source.page(box)
    assert [orjson.loads(body)["id"] for body in first.bodies] == ["0", str(1 << 40)]
    assert ids_of(source, replace(box, cursor=first.cursor)) == [str(2 << 40)]


@pytest.mark.parametrize(
    ("id_field", "asked", "found"),
    [
        (None, "7", True),
        (None, "60", False),
        (None, "07", False),
        (None, "-1", False),
        (None, "9" * 30, False),
        ("key", "k7", True),
        ("key", "k77", False),
        ("key", "' OR 1=1 --", False),
        ("serial", str(2**63 + 7), True),
        ("serial", f"0{2**63 + 7}", False),
        ("serial", "seven", False),
        ("price", "1.75", True),
    ],
)
def test_item(write_parquet: Write, id_field: str | None, asked: str, found: bool) -> None:
    source = opened(write_parquet(), id=id_field)
    item = source.item(asked)
    assert (item is not None) is found
    if item is not None:
        assert orjson.loads(item.body)["id"] == asked
        assert orjson.loads(item.body)["properties"]["name"] == "楼 7"
        assert item.version == source.change()


NATIVE = {
    "point": [shapely.Point(114, 22), shapely.Point(115, 23)],
    "linestring": [shapely.LineString([(114, 22), (115, 23)]), shapely.LineString([(0, 0), (1, 1), (2, 0)])],
    "polygon": [
        shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4)], [[(1, 1), (2, 1), (2, 2)]]),
        shapely.box(114, 22, 115, 23),
    ],
    "multipoint": [shapely.MultiPoint([(1, 1), (2, 2)]), shapely.MultiPoint([(114, 22)])],
    "multilinestring": [
        shapely.MultiLineString([[(1, 1), (2, 2)], [(3, 3), (4, 4)]]),
        shapely.MultiLineString([[(0, 0), (1, 1)]]),
    ],
    "multipolygon": [
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]),
        shapely.MultiPolygon([shapely.box(114, 22, 115, 23)]),
    ],
}


def _native(shapes: list[Any], solid: bool) -> pa.Array:
    """Shapes with a missing one between them as nested lists of structs."""
    depth = {
        "Point": 0,
        "LineString": 1,
        "MultiPoint": 1,
        "Polygon": 2,
        "MultiLineString": 2,
        "MultiPolygon": 3,
    }
    names = ("x", "y", "z")[: 3 if solid else 2]
    kind: pa.DataType = pa.struct([(name, pa.float64()) for name in names])
    for _ in range(depth[shapes[0].geom_type]):
        kind = pa.list_(kind)

    def nested(coordinates: Any) -> Any:
        if isinstance(coordinates[0], float | int):
            return dict(zip(names, coordinates, strict=True))
        return [nested(part) for part in coordinates]

    plain = [json.loads(shapely.to_geojson(shape))["coordinates"] for shape in shapes]
    return pa.array([nested(plain[0]), None, *[nested(part) for part in plain[1:]]], kind)


@pytest.mark.parametrize("encoding", sorted(NATIVE))
@pytest.mark.parametrize("solid", [False, True])
def test_native_encodings(
    write_parquet: Write, describe_geo: Callable[..., dict[str, Any]], encoding: str, solid: bool
) -> None:
    shapes = [shapely.force_3d(shape, 5.0) if solid else shape for shape in NATIVE[encoding]]
    path = write_parquet(
        columns={"n": pa.array([0, 1, 2])},
        geometries=_native(shapes, solid),
        geo=describe_geo(encoding=encoding, geometry_types=[]),
    )
    source = opened(path)
    found = [orjson.loads(body)["geometry"] for body in source.page(ALL).bodies]
    assert found[1] is None
    for shape, geometry in zip(shapes, (found[0], found[2]), strict=True):
        assert shapely.equals_exact(shapely.from_geojson(orjson.dumps(geometry)), shape)
        assert shapely.from_geojson(orjson.dumps(geometry)).has_z is solid
    for number, shape in ((0, shapes[0]), (2, shapes[1])):
        others = {"0", "2"} if shapes[0].envelope.intersects(shapes[1].envelope) else {str(number)}
        assert set(ids_of(source, replace(ALL, bbox=BBox(*shape.bounds)))) == others


@pytest.mark.parametrize(
    ("code", "covering"),
    [("EPSG:4547", False), ("EPSG:4547", True), ("EPSG:3857", False), ("EPSG:4490", True)],
)
def test_boxes_in_projected_files_are_those_of_crs84(
    write_parquet: Write, describe_geo: Callable[..., dict[str, Any]], code: str, covering: bool
) -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(113, 116, 400), random.uniform(21, 24, 400)
    size = random.uniform(0.001, 0.2, 400)
    # Long diagonals: their envelopes turn most between the two systems.
    degrees = shapely.linestrings(np.stack([np.stack([x, y], 1), np.stack([x + size, y - size], 1)], 1))
    transformer = pyproj.Transformer.from_crs("EPSG:4326", code, always_xy=True)
    stored = shapely.transform(degrees, lambda c: np.column_stack(transformer.transform(c[:, 0], c[:, 1])))
    geo = describe_geo(crs=pyproj.CRS(code).to_json_dict())
    columns = {"n": pa.array(range(400))}
    source = opened(
        write_parquet(columns=columns, geometries=stored, geo=geo, covering=covering, row_group_size=200)
    )
    assert source.storage.uri.endswith(code.split(":")[1])
    west, south, east, north = shapely.bounds(degrees).T
    for box in (
        BBox(114, 22, 114.2, 22.2),
        BBox(113, 21, 116, 24),
        BBox(115.99, 20, 180, 24),
        BBox(-180, -90, 180, 90),
    ):
        meets = (west <= box.east) & (east >= box.west) & (south <= box.north) & (north >= box.south)
        assert ids_of(source, replace(ALL, bbox=box)) == [str(i) for i in np.flatnonzero(meets)]
    assert ids_of(source, replace(ALL, bbox=BBox(0, 0, 1, 1))) == []
    read = source.read(BBox(114, 22, 114.2, 22.2), ["n"])
    assert shapely.equals_exact(read.geometries[0], stored[read.keys[0]])
    assert list(read.columns) == ["n"]


def test_crs_is_stated_missing_or_unknown(
    write_parquet: Write, describe_geo: Callable[..., dict[str, Any]]
) -> None:
    assert opened(write_parquet()).storage.uri.endswith("CRS84")
    unknown = write_parquet("unknown.parquet", geo=describe_geo(crs=None))
    with pytest.raises(StoreError, match="crs"):
        opened(unknown)
    assert opened(unknown, crs="EPSG:4490").storage.uri.endswith("4490")


def test_describe(write_parquet: Write) -> None:
    facts = describe_parquet(write_parquet(covering=True), "key", "updated")
    assert (facts.count, facts.geometry_type, facts.id_field) == (60, "Point", "key")
    assert facts.bbox == pytest.approx((113.9, 22.6, 113.959, 22.659))
    assert facts.storage_crs.endswith("CRS84")
    assert facts.time_interval == ("2024-01-01T00:00:00.500Z", "2024-01-03T11:00:00.500Z")
    with pytest.raises(DuplicateFeatureId, match="kind"):
        describe_parquet(write_parquet(), "kind")
    with pytest.raises(StoreError, match="'name' is empty in 6"):
        describe_parquet(write_parquet(), "name")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"geo": ""}, StoreError, "without GeoParquet metadata"),
        ({"geo": "{"}, StoreCorrupt, "GeoParquet metadata"),
        ({"geo": "[]"}, StoreCorrupt, "GeoParquet metadata"),
        ({"geo": '{"primary_column":"shape","columns":{"shape":{"encoding":"WKB"}}}'}, StoreCorrupt, "shape"),
        ({"geo": '{"primary_column":["geometry"],"columns":{}}'}, StoreCorrupt, "geometry column"),
        (
            {"geo": '{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKT"}}}'},
            StoreError,
            "WKT",
        ),
        (
            {"geo": '{"primary_column":"geometry","columns":{"geometry":{"encoding":"polygon"}}}'},
            StoreError,
            "BLOB",
        ),
        ({"geo": '{"primary_column":"name","columns":{"name":{"encoding":"WKB"}}}'}, StoreCorrupt, "VARCHAR"),
        (
            {
                "geo": '{"primary_column":"geometry","columns":{"geometry":{"encoding":"WKB","crs":{"type":"x"}}}}'
            },
            StoreCorrupt,
            "PROJJSON",
        ),
        ({"geometries": pa.array([b"\x01\x02"] * 60, pa.binary())}, StoreCorrupt, "cannot be read"),
    ],
)
def test_wrong_metadata(
    write_parquet: Write, change: dict[str, Any], error: type[StoreError], says: str
) -> None:
    path = write_parquet(**change)
    with pytest.raises(error, match=says) as caught:
        opened(path)
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 40, 0.5, 0.99])
def test_truncated_files(write_parquet: Write, kept: float) -> None:
    path = write_parquet()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 or not kept else kept * len(content))])
    with pytest.raises(StoreCorrupt) as caught:
        opened(path)
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize(
    ("description", "error"),
    [
        ({}, StoreError),
        ({"path": 7}, StoreError),
        ({"path": "relative.parquet"}, StoreError),
        ({"path": "/nowhere/x.parquet"}, StoreMissing),
        ({"path": "/etc\x00/passwd"}, StoreError),
        ({"path": "https://example.org/x.parquet"}, StoreError),
        ({"path": "/tmp", "id": 3}, StoreError),
        ({"path": "/tmp", "crs": "EPSG:0"}, StoreError),
    ],
)
def test_descriptions_that_cannot_be_used(description: dict[str, Any], error: type[StoreError]) -> None:
    with pytest.raises(error):
        open_parquet({"store": "parquet", **description}, SourceSettings())


@pytest.mark.parametrize("member", ["id", "time"])
@pytest.mark.parametrize("name", ["nothing", "name"])
def test_fields_that_cannot_be_used(write_parquet: Write, member: str, name: str) -> None:
    if (member, name) == ("id", "name"):
        name = "raw"  # binary
    with pytest.raises(StoreError, match=name):
        opened(write_parquet(), **{member: name})


def test_an_empty_folder_and_a_folder_of_different_files(write_parquet: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreMissing):
        opened(tmp_path / "empty")
    write_parquet("mixed/a.parquet")
    write_parquet("mixed/b.parquet", columns={"other": pa.array(range(60))})
    with pytest.raises(StoreError):
        opened(tmp_path / "mixed")


def test_a_file_without_rows(write_parquet: Write) -> None:
    source = opened(
        write_parquet(columns={"n": pa.array([], pa.int64())}, geometries=np.empty(0, dtype=object))
    )
    assert source.bbox == ()
    assert source.page(replace(ALL, bbox=BBox(-180, -90, 180, 90))).bodies == []
    assert source.page(ALL).number_matched == source.count() == 0
    assert len(source.read()) == 0


def test_replaced_and_deleted_files(write_parquet: Write) -> None:
    path = write_parquet()
    source = opened(path)
    before, first = source.change(), source.page(ItemQuery(limit=1))
    shorter = write_parquet(
        "new.parquet", columns={"other": pa.array([1, 2])}, geometries=shapely.points([0, 1], [0, 1])
    )
    shorter.replace(path)
    assert source.change() != before
    assert source.count() == 2
    assert [field.name for field in source.schema.fields] == ["other"]
    assert source.page(ItemQuery(limit=1)).bodies != first.bodies
    path.unlink()
    for asked in (
        source.change,
        source.count,
        lambda: source.page(ALL),
        lambda: source.item("0"),
        source.read,
    ):
        with pytest.raises(StoreMissing):
            asked()


@pytest.mark.parametrize(
    "cursor", [(), ("x",), (-1,), (True,), (1 << 60,), (1.5,), (None,), (1, 2, 3), ("楼", "x")]
)
@pytest.mark.parametrize("sortby", [(), (SortKey("height"),), (SortKey("built"),)])
def test_cursors_of_another_query_are_refused(
    write_parquet: Write, cursor: tuple[Any, ...], sortby: tuple[SortKey, ...]
) -> None:
    source = opened(write_parquet())
    with pytest.raises(InvalidParameter):
        source.page(replace(ALL, sortby=sortby, cursor=cursor))


def test_asof_is_refused(write_parquet: Write) -> None:
    source = opened(write_parquet())
    with pytest.raises(UnsupportedQuery, match=r"'asof'.*parquet"):
        source.page(replace(ALL, asof="2024-01-01T00:00:00Z"))
    with pytest.raises(UnsupportedQuery):
        source.item("1", asof="2024-01-01T00:00:00Z")


def test_the_database_reads_nothing_but_the_folders_of_its_sources(write_parquet: Write) -> None:
    path = write_parquet()
    with tempfile.TemporaryDirectory() as outside:
        stranger = Path(shutil.copy(path, outside))
        for statement in (
            f"SELECT * FROM read_parquet('{stranger}')",
            f"SELECT * FROM read_text('{path.parent}/../../../../../../../../etc/hostname')",
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
            f"COPY (SELECT 1) TO '{outside}/written.csv'",
            "INSTALL httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '100GB'",
        ):
            with pytest.raises(StoreError) as caught:
                run(path.parent, statement)
            assert outside not in str(caught.value)
        assert [file.name for file in Path(outside).iterdir()] == [stranger.name]
        # A source of another folder makes a database that reads both.
        assert opened(stranger).count() == opened(path).count() == 60
    assert spatial_extension().name == "spatial.duckdb_extension"


def test_time_and_memory_are_bounded(write_parquet: Write) -> None:
    folder = write_parquet().parent
    with pytest.raises(AnswerTooLarge, match="time"):
        run(
            folder,
            "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range + b.range = 7",
            (),
            0.2,
        )
    small = make_database([f"{folder}/"], memory="64MB")
    with pytest.raises(AnswerTooLarge, match="memory"):
        ask(
            small,
            "SELECT t FROM (SELECT repeat('x', 1000000) || range AS t FROM range(300)) ORDER BY t",
            (),
            60.0,
        )
    assert run(folder, "SELECT 1 AS one")["one"].to_pylist() == [1]  # the connection is good for the next


def test_many_threads_ask_at_once(write_parquet: Write) -> None:
    source = opened(write_parquet(covering=True), id="key", time="updated")
    query = replace(ALL, bbox=BBox(113.9, 22.6, 113.94, 22.64), sortby=(SortKey("name", True),))
    expected = source.page(query).bodies
    answers: list[list[bytes]] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(source.page(query).bodies)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 30


def test_it_is_opened_by_its_kind_and_crs_is_answered(write_parquet: Write) -> None:
    path = write_parquet()
    source = open_source(None, {"store": "parquet", "path": str(path), "id": "key"})
    assert source.kind == "parquet"
    body = orjson.loads(
        source.page(ItemQuery(limit=1, crs="http://www.opengis.net/def/crs/EPSG/0/4326")).bodies[0]
    )
    assert body["geometry"]["coordinates"] == [22.6, 113.9]
    shown = source.page(
        ItemQuery(limit=1, properties=("name",), skip_geometry=True), frozenset({"price"})
    ).bodies[0]
    assert orjson.loads(shown) == {
        "type": "Feature",
        "id": "k0",
        "geometry": None,
        "properties": {"name": "楼 0"},
    }
    columns = source.columns(ItemQuery(limit=2), frozenset({"price"})).columns
    assert columns.ids == ["k0", "k1"]
    assert "price" not in columns.columns
    with pytest.raises(StoreError, match="nothing"):
        source.read(None, ["nothing"])
