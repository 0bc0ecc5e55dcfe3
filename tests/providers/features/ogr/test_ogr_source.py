"""OGR files in place: formats, containment, pages with and without an index, replaced and damaged files."""

from __future__ import annotations

import shutil
import threading
import zipfile
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
from providers.features.ogr import OgrSource, conditions, describe_ogr, layers_of, open_ogr
from providers.features.ogr.paths import DRIVERS
from providers.features.query import BBox, ItemQuery, SortKey, TimeInterval
from providers.features.sources import SourceSettings

ALL = ItemQuery(limit=1000)
BOX = BBox(113.9029, 22.6, 113.9065, 23)
FORMATS = {
    "GPKG": "a.gpkg",
    "SQLite": "a.sqlite",
    "FlatGeobuf": "a.fgb",
    "ESRI Shapefile": "a.shp",
    "GeoJSON": "a.geojson",
    "GeoJSONSeq": "a.geojsonl",
    "GML": "a.gml",
    "OpenFileGDB": "a.gdb",
    "MapInfo File": "a.tab",
}
Write = Callable[..., Path]


def opened(path: Path, *roots: Path, **more: Any) -> OgrSource:
    settings = SourceSettings(file_roots=roots or (path.parent,))
    return open_ogr({"store": "ogr", "path": str(path), **more}, settings)


def ids_of(source: OgrSource, query: ItemQuery) -> list[str]:
    return [orjson.loads(body)["id"] for body in source.page(query).bodies]


@pytest.mark.parametrize("driver", sorted(FORMATS))
def test_formats(write_file: Write, driver: str) -> None:
    options = {"TARGET_ARCGIS_VERSION": "ARCGIS_PRO_3_2_OR_LATER"} if driver == "OpenFileGDB" else {}
    path = write_file(FORMATS[driver], driver, **options)
    source = opened(path, id="code")
    assert source.count() == 60
    assert source.bbox == pytest.approx((113.9, 22.6, 113.959, 22.659))
    # FlatGeobuf keeps features in the order of its index; everywhere else they stand as they were written
    ids = ids_of(source, ALL)
    assert sorted(ids) == sorted(f"k{i}" for i in range(60))
    assert sorted(ids_of(source, replace(ALL, bbox=BOX))) == ["k3", "k4", "k5", "k6"]
    by_height = replace(ALL, sortby=(SortKey("height", True),))
    assert ids_of(source, replace(by_height, limit=2)) == ["k59", "k58"]
    assert set(ids_of(source, by_height)[-8:]) == {f"k{i}" for i in range(6, 60, 7)}
    assert ids_of(source, replace(ALL, equals={"name": "楼 41"})) == ["k41"]
    assert ids_of(source, replace(ALL, q=("楼 57",))) == ["k57"]
    assert source.page(replace(ALL, equals={"floors": "3"}, hits_only=True)).number_matched == 12
    item = source.item("k8")
    assert item is not None
    feature = orjson.loads(item.body)
    assert feature["geometry"] == {"type": "Point", "coordinates": [113.908, 22.608]}
    assert feature["properties"]["height"] == 2.0
    assert source.item("k60") is None
    assert source.page(replace(ALL, limit=60)).cursor is None
    page = source.page(replace(ALL, limit=59))
    assert page.cursor is not None
    assert page.number_matched == 60
    assert ids_of(source, replace(ALL, limit=59, cursor=page.cursor)) == ids[59:]
    assert ids_of(source, replace(ALL, limit=59, offset=58)) == ids[58:]


def test_instants_and_dates(write_file: Write) -> None:
    source = opened(write_file("a.gpkg", "GPKG"), time="updated")
    first = orjson.loads(source.page(ItemQuery(limit=1)).bodies[0])
    assert first["id"] == "1"
    assert first["properties"]["built"] == "2000-01-01"
    assert first["properties"]["updated"] == "2024-01-01T00:00:00Z"
    during = TimeInterval("2024-01-01T02:00:00Z", "2024-01-01T04:00:00Z")
    assert ids_of(source, replace(ALL, datetime=during)) == ["3", "4", "5"]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", ["name", "height", "floors", "built", "updated"])
def test_sorted_pages_join_to_the_whole(write_file: Write, name: str, descending: bool) -> None:
    source = opened(write_file("a.gpkg", "GPKG"))
    for query in (
        replace(ALL, sortby=(SortKey(name, descending),)),
        replace(ALL, sortby=(SortKey(name),), q=("楼",)),
    ):
        whole = ids_of(source, query)
        paged: list[str] = []
        page = source.page(replace(query, limit=7))
        while page.cursor is not None:
            paged += [orjson.loads(body)["id"] for body in page.bodies]
            page = source.page(replace(query, limit=7, cursor=tuple(orjson.loads(orjson.dumps(page.cursor)))))
        assert paged + [orjson.loads(body)["id"] for body in page.bodies] == whole


@pytest.mark.parametrize("crs", ["EPSG:4547", "EPSG:3857"])
@pytest.mark.parametrize("most_indexed", [300, 299])
def test_boxes_in_projected_files_are_those_of_crs84(write_file: Write, crs: str, most_indexed: int) -> None:
    random = np.random.default_rng(5)
    x, y = random.uniform(113, 116, 300), random.uniform(21, 24, 300)
    size = random.uniform(0.001, 0.2, 300)
    degrees = shapely.linestrings(np.stack([np.stack([x, y], 1), np.stack([x + size, y - size], 1)], 1))
    transformer = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    stored = shapely.transform(degrees, lambda c: np.column_stack(transformer.transform(c[:, 0], c[:, 1])))
    columns = {"n": pa.array(range(300))}
    path = write_file(
        "a.gpkg", "GPKG", crs=crs, geometries=stored, columns=columns, geometry_type="LineString"
    )
    source = OgrSource(path, [path.parent], most_indexed=most_indexed)
    west, south, east, north = shapely.bounds(degrees).T
    for box in (BBox(114, 22, 114.2, 22.2), BBox(113, 21, 116, 24), BBox(115.99, 20, 116.5, 24)):
        meets = (west <= box.east) & (east >= box.west) & (south <= box.north) & (north >= box.south)
        assert ids_of(source, replace(ALL, bbox=box)) == [str(i + 1) for i in np.flatnonzero(meets)]
    read = source.read(BBox(114, 22, 114.2, 22.2), [], 1)
    assert shapely.equals_exact(read.geometries[0], stored[read.keys[0] - 1])


def test_a_layer_too_large_for_an_index_is_still_read_in_its_order(write_file: Write) -> None:
    path = write_file("a.gpkg", "GPKG")
    assert OgrSource(path, [path.parent], most_indexed=60).page(replace(ALL, q=("楼 1",))).bodies
    source = OgrSource(path, [path.parent], most_indexed=59)
    assert source.count() == 60
    assert source.page(replace(ALL, bbox=BOX, hits_only=True)).number_matched == 4
    page = source.page(ItemQuery(limit=25, offset=20))
    assert [orjson.loads(body)["id"] for body in page.bodies] == [str(i) for i in range(21, 46)]
    assert ids_of(source, ItemQuery(limit=25, cursor=page.cursor)) == [str(i) for i in range(46, 61)]
    assert ids_of(source, replace(ALL, bbox=BOX)) == ["4", "5", "6", "7"]
    assert ids_of(source, replace(ALL, bbox=BBox(170, -90, -170, 90))) == []
    assert source.item("7") is not None
    for query, parameter in (
        (replace(ALL, sortby=(SortKey("name"),)), "sortby"),
        (replace(ALL, q=("楼",)), "q"),
        (replace(ALL, equals={"name": "楼 1"}), "property filters"),
        (replace(ALL, datetime=TimeInterval(None, None)), "datetime"),
    ):
        with pytest.raises(UnsupportedQuery, match=rf"'{parameter}'.*\(ogr\)"):
            source.page(query)
    with pytest.raises(StoreError, match="'id'"):
        OgrSource(path, [path.parent], id_field="code", most_indexed=59)


def test_formats_without_random_access_have_a_limit(write_file: Write) -> None:
    path = write_file("a.geojsonl", "GeoJSONSeq")
    assert OgrSource(path, [path.parent], most_indexed=60).count() == 60
    with pytest.raises(StoreError, match="random access"):
        OgrSource(path, [path.parent], most_indexed=59)


def test_time_runs_out(write_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file("a.gpkg", "GPKG")
    source = opened(path)
    monkeypatch.setattr(conditions, "QUERY_SECONDS", -1.0)
    with pytest.raises(AnswerTooLarge):
        source.page(replace(ALL, q=("楼",)))
    assert source.page(replace(ALL, bbox=BOX)).number_matched == 4  # the index alone answers


def test_layers(write_file: Write) -> None:
    path = write_file("a.gpkg", "GPKG", layer="first")
    write_file("a.gpkg", "GPKG", layer="second", append=False)
    assert layers_of(path, file_roots=[path.parent]) == ["first", "second"]
    assert opened(path, layer="second").count() == 60
    for layer in (None, "third"):
        with pytest.raises(StoreError, match="first, second"):
            opened(path, layer=layer)


def test_describe(write_file: Write) -> None:
    path = write_file("a.gpkg", "GPKG", crs="EPSG:4490")
    facts = describe_ogr(path, file_roots=[path.parent], id_field="code", time_field="built")
    assert (facts.count, facts.geometry_type, facts.layer) == (60, "Point", "a")
    assert facts.storage_crs.endswith("/4490")
    assert facts.time_interval == ("2000-01-01", "2000-02-29")
    assert "code" not in [field.name for field in facts.fields]
    with pytest.raises(DuplicateFeatureId, match="floors"):
        describe_ogr(path, file_roots=[path.parent], id_field="floors")
    with pytest.raises(StoreError, match="'name' is empty in 6"):
        describe_ogr(path, file_roots=[path.parent], id_field="name")


def test_a_file_without_crs_has_to_be_told_one(write_file: Write) -> None:
    path = write_file("a.shp", "ESRI Shapefile")
    path.with_suffix(".prj").unlink()
    with pytest.raises(StoreError, match="crs"):
        opened(path)
    assert opened(path, crs="EPSG:4490").storage.uri.endswith("/4490")


# --- what may be read ---------------------------------------------------------------------------------------------------


def test_only_files_inside_the_roots_are_read(write_file: Write, tmp_path: Path) -> None:
    path = write_file("a.gpkg", "GPKG")
    inside, link = tmp_path / "inside", tmp_path / "inside" / "link.gpkg"
    inside.mkdir()
    link.symlink_to(path)
    (inside / "loop").symlink_to(inside / "loop")
    for asked in (path, link, inside / ".." / "a.gpkg", inside, inside / "loop", inside / "none.gpkg"):
        with pytest.raises(StoreError) as caught:
            opened(asked, inside)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(StoreError, match="file_roots"):
        open_ogr({"store": "ogr", "path": str(path)}, SourceSettings())
    assert opened(link, tmp_path).count() == 60


def test_a_link_that_is_turned_outside_is_not_followed(write_file: Write, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    good = Path(shutil.copy(write_file("a.gpkg", "GPKG"), inside))
    link = inside / "link.gpkg"
    link.symlink_to(good)
    source = opened(link, inside)
    assert source.count() == 60
    link.unlink()
    link.symlink_to(tmp_path / "a.gpkg")
    with pytest.raises(StoreError, match="file_roots"):
        source.page(ALL)


VRT = """<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.vrt", VRT),
        ("a.gml", VRT),
        ("a.geojson", VRT),
        ("a.xml", "<OGRWFSDataSource><URL>http://127.0.0.1:1/wfs</URL></OGRWFSDataSource>"),
        ("a.json", '{"type":"gdal_streamed_alg","command_line":"gdal vector read {}"}'),
        ("a.sql", "CREATE TABLE x (y int);"),
        ("a.gpkg", ""),
        ("a.gpkg", "SQLite format 3\x00" + "x" * 4096),
        ("a.fgb", "fgb\x03fgb\x00" + "\xff" * 100),
        ("a.shp", "\x00\x00\x27\x0a" + "\x00" * 96),
        ("a.geojson", '{"type":"FeatureCollection","features":['),
        ("a.geojson", "[" * 100_000),
        ("a.gml", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"),
    ],
)
def test_other_formats_and_damaged_files_are_refused(
    write_file: Write, tmp_path: Path, name: str, content: str
) -> None:
    good = write_file("good.gpkg", "GPKG")
    path = tmp_path / name
    path.write_bytes(content.replace("{}", str(good)).encode("latin-1"))
    with pytest.raises(StoreError) as caught:
        opened(path)
    assert str(tmp_path) not in str(caught.value)


def test_no_driver_reaches_other_files_or_servers() -> None:
    assert not {"OGR_VRT", "WFS", "OAPIF", "CSW", "Elasticsearch", "PostgreSQL", "HTTP", "GDALG"} & set(
        DRIVERS
    )


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("driver", ["GPKG", "FlatGeobuf", "GeoJSON", "ESRI Shapefile"])
def test_truncated_files_never_answer_as_if_they_were_whole(
    write_file: Write, driver: str, kept: float
) -> None:
    path = write_file(FORMATS[driver], driver)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    try:
        found = opened(path).page(ALL).number_returned
    except StoreError:
        return
    # What is cut off may be free pages or an index of the file.
    assert (driver, found) == ("GPKG", 60)


# --- archives -----------------------------------------------------------------------------------------------------------


def test_a_shapefile_in_an_archive(write_file: Write, tmp_path: Path) -> None:
    path = write_file("a.shp", "ESRI Shapefile")
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(tmp_path.glob("a.[!z]*")):
            made.write(file, f"数据/{file.name}")
    source = opened(archive, id="code")
    assert path.exists()
    assert ids_of(source, replace(ALL, bbox=BOX)) == ["k3", "k4", "k5", "k6"]
    assert ids_of(source, replace(ALL, limit=1, sortby=(SortKey("height", True),))) == ["k59"]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "one data set"),
        ({"readme.txt": b"x"}, "one data set"),
        ({"a.gpkg": b"", "b.gpkg": b""}, "one data set"),
        ({"../a.gpkg": b""}, "outside"),
        ({"/etc/a.gpkg": b""}, "outside"),
        ({"..\\a.gpkg": b""}, "outside"),
        ({"a.geojson": b" " * 20_000_000}, "times its size"),
        ({f"{i}.txt": b"" for i in range(1001)}, "1001 files"),
        ({"a.vrt": VRT.encode()}, "one data set"),
        ({"a.geojson": VRT.encode()}, "cannot be read"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, members: dict[str, bytes], says: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    with pytest.raises(StoreError, match=says):
        opened(archive)


# --- files that change ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["GPKG", "GeoJSON", "ESRI Shapefile"])
def test_replaced_and_deleted_files(write_file: Write, driver: str) -> None:
    path = write_file(FORMATS[driver], driver)
    source = opened(path)
    before = source.change()
    assert source.page(ALL).number_returned == 60
    other = write_file(f"new{path.suffix}", driver, geometries=shapely.points([1, 2], [1, 2]))
    for file in sorted(path.parent.glob("new.*")):
        file.replace(path.with_suffix(file.suffix))
    assert not other.exists()
    assert source.change() != before
    assert (source.count(), source.page(ALL).number_returned) == (2, 2)
    assert source.bbox == pytest.approx((1, 1, 2, 2))
    path.unlink()
    for asked in (
        source.change,
        source.count,
        lambda: source.page(ALL),
        lambda: source.item("1"),
        source.read,
    ):
        with pytest.raises(StoreMissing):
            asked()


def test_an_attribute_file_alone_is_a_change(write_file: Write) -> None:
    path = write_file("a.shp", "ESRI Shapefile")
    source = opened(path)
    before = source.change()
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes().replace("楼 41".encode(), "楼 99".encode()))
    assert source.change() != before
    assert source.page(replace(ALL, q=("楼 99",))).number_returned == 1


def test_many_threads_ask_at_once(write_file: Write) -> None:
    source = opened(write_file("a.gpkg", "GPKG"))
    query = replace(ALL, bbox=BBox(113.9, 22.6, 113.94, 22.64), sortby=(SortKey("name", True),))
    answers: list[list[bytes]] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(source.page(query).bodies)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [source.page(query).bodies] * 30


@pytest.mark.parametrize("cursor", [(), ("x",), (-1,), (True,), (1.5,), (None,), (1, 2, 3), (1, "x"), (1, 2)])
def test_cursors_of_another_query_are_refused(write_file: Write, cursor: tuple[Any, ...]) -> None:
    source = opened(write_file("a.gpkg", "GPKG"))
    for sortby in ((), (SortKey("name"),)):
        with pytest.raises(InvalidParameter):
            source.page(replace(ALL, sortby=sortby, cursor=cursor))


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"id": "nothing"}, StoreError),
        ({"time": "name"}, StoreError),
        ({"crs": "EPSG:0"}, StoreError),
        ({"layer": 7}, StoreError),
        ({"path": "relative.gpkg"}, StoreError),
        ({"path": "/vsicurl/http://127.0.0.1:1/a.gpkg"}, StoreMissing),
        ({"path": "PG:host=127.0.0.1"}, StoreError),
        ({"path": None}, StoreError),
    ],
)
def test_descriptions_that_cannot_be_used(
    write_file: Write, more: dict[str, Any], error: type[StoreError]
) -> None:
    path = write_file("a.gpkg", "GPKG")
    with pytest.raises(error):
        open_ogr({"store": "ogr", "path": str(path), **more}, SourceSettings(file_roots=(path.parent,)))
    with pytest.raises(UnsupportedQuery):
        opened(path).item("1", asof="2024-01-01T00:00:00Z")


def test_a_broken_geometry_says_so(write_file: Write) -> None:
    path = write_file("a.geojson", "GeoJSON")
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":'
        '{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}}]}'
    )
    with pytest.raises(StoreCorrupt, match="geometry"):
        opened(path)
