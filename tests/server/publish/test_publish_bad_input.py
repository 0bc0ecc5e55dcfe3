"""Each bad input ends in one clear error, and what was there before is still served."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import from_origin

from server.errors import ChengtuError, DuplicateCollection, InvalidIdentifier, UnknownTenant
from server.publish import errors

Maker = Callable[[Path, Path], Path]


def text_file(name: str, content: str | bytes) -> Maker:
    def make(_data: Path, folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def collection(*features: dict[str, Any], **members: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features, **members})


def feature(geometry: dict[str, Any] | None, **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"v": 1}, **members}


def point(x: float, y: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [x, y]}


BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
SHORT_RING = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}


def geopackage(
    folder: Path, crs: str | None = "EPSG:4326", xy: tuple[float, float] = (116.4, 39.9), count: int = 300
) -> Path:
    path = folder / "points.gpkg"
    schema = {"geometry": "Point", "properties": {"v": "int"}}
    with fiona.open(path, "w", driver="GPKG", crs=crs, schema=schema) as file:
        file.writerecords(
            {"geometry": {"type": "Point", "coordinates": xy}, "properties": {"v": number}}
            for number in range(count)
        )
    return path


def truncated(make: Maker, share: float = 0.6) -> Maker:
    def cut(data: Path, folder: Path) -> Path:
        path = make(data, folder)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        return path

    return cut


def copied(name: str) -> Maker:
    return lambda data, folder: Path(shutil.copy(data / name, folder / name))


def shapefile(data: Path, folder: Path, *, without: tuple[str, ...] = (), cut: str = "") -> Path:
    with zipfile.ZipFile(data / "places_shift_jis.zip") as archive:
        archive.extractall(folder)
    for suffix in without:
        (folder / f"places{suffix}").unlink()
    if cut:
        part = folder / f"places{cut}"
        part.write_bytes(part.read_bytes()[:-40])
    return folder / "places.shp"


def flatgeobuf(_data: Path, folder: Path) -> Path:
    path = folder / "points.fgb"
    schema = {"geometry": "Point", "properties": {"v": "int"}}
    with fiona.open(path, "w", driver="FlatGeobuf", crs="EPSG:4326", schema=schema) as file:
        file.writerecords(
            {"geometry": {"type": "Point", "coordinates": (1.0, 2.0)}, "properties": {"v": number}}
            for number in range(99)
        )
    return path


def parquet(metadata: dict[str, Any] | None, **columns: Any) -> Maker:
    def make(_data: Path, folder: Path) -> Path:
        path = folder / "points.parquet"
        table = pa.table({"v": [1, 2], "geometry": [struct.pack("<BIdd", 1, 1, 1.0, 2.0)] * 2, **columns})
        if metadata is not None:
            table = table.replace_schema_metadata({"geo": json.dumps(metadata)})
        pq.write_table(table, path)
        return path

    return make


GEO = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}


def raster(
    crs: str | None = "EPSG:32650",
    transform: Any = from_origin(500000, 4400000, 10, 10),  # noqa: B008 - an immutable value
    value: float = 5.0,
    nodata: float | None = None,
    dtype: str = "float32",
) -> Maker:
    def make(_data: Path, folder: Path) -> Path:
        path = folder / "heights.tif"
        options = {} if transform is None else {"transform": transform}
        with (
            warnings.catch_warnings(action="ignore"),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                width=300,
                height=300,
                count=1,
                dtype=dtype,
                crs=crs,
                nodata=nodata,
                **options,
            ) as file,
        ):
            file.write(np.full((1, 300, 300), value, dtype=dtype))
        return path

    return make


def big_zip(
    path: Path, *, size: int, stated: int | None = None, compression: int = zipfile.ZIP_DEFLATED
) -> Path:
    """A ZIP whose one member unpacks to `size` zeros, without making them: one compressed megabyte repeated."""
    megabyte = bytes(1024 * 1024)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = piece * (size // len(megabyte)) + packer.flush(zlib.Z_FINISH)
    stated = size if stated is None else stated
    name = b"blocks.geojson"
    local = struct.pack(
        "<IHHHHHIIIHH", 0x04034B50, 20, 0, compression, 0, 0, 0, len(packed), stated % 2**32, len(name), 0
    )
    central = struct.pack(
        "<IHHHHHHIIIHHHHHII",
        0x02014B50,
        20,
        20,
        0,
        compression,
        0,
        0,
        0,
        len(packed),
        stated % 2**32,
        len(name),
        0,
        0,
        0,
        0,
        0,
        0,
    )
    start = len(local) + len(name) + len(packed)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central) + len(name), start, 0)
    path.write_bytes(local + name + packed + central + name + end)
    return path


def archive(**members: bytes) -> Maker:
    def make(_data: Path, folder: Path) -> Path:
        path = folder / "blocks.zip"
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in members.items():
                opened.writestr(name, content)
        return path

    return make


def link_in_zip(_data: Path, folder: Path) -> Path:
    path = folder / "blocks.zip"
    with zipfile.ZipFile(path, "w") as opened:
        member = zipfile.ZipInfo("blocks.geojson")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(member, "/etc/passwd")
    return path


def symbolic_link(data: Path, folder: Path) -> Path:
    path = folder / "blocks.geojson"
    path.symlink_to(data / "blocks.geojson")
    return path


def link_to_itself(_data: Path, folder: Path) -> Path:
    path = folder / "tile.laz"
    path.symlink_to(path)
    return path


def linked_part(data: Path, folder: Path) -> Path:
    path = shapefile(data, folder, without=(".dbf",))
    path.with_suffix(".dbf").symlink_to("/etc/passwd")
    return path


def a_directory(_data: Path, folder: Path) -> Path:
    (folder / "many").mkdir()
    return folder / "many"


def a_pipe(_data: Path, folder: Path) -> Path:
    os.mkfifo(folder / "pipe.geojson")
    return folder / "pipe.geojson"


LAZ_HEADER = b"LASF" + bytes(100)

BAD: dict[str, tuple[Maker, dict[str, Any], type[ChengtuError], str]] = {
    # truncated and damaged
    "cut GeoJSON": (truncated(copied("blocks.geojson")), {}, errors.DamagedFile, "truncated or damaged JSON"),
    "cut GeoJSONSeq": (truncated(copied("blocks.geojsonl")), {}, errors.DamagedFile, "feature 2 is not JSON"),
    "text after GeoJSON": (text_file("a.geojson", collection() + "x"), {}, errors.DamagedFile, "more text"),
    "features of another kind": (text_file("a.geojson", collection({"type": "Topic"})), {}, errors.DamagedFile, "Member 1"),
    "GeoJSON in GB 18030": (text_file("a.geojson", collection(feature(point(1, 2))).replace("v", "北京路小学").encode("gb18030")), {}, errors.TextEncodingError, "not UTF-8"),
    "cut GeoPackage": (truncated(lambda _, folder: geopackage(folder)), {}, errors.DamagedFile, "truncated: its header"),
    "cut Shapefile": (lambda data, folder: shapefile(data, folder, cut=".shp"), {}, errors.DamagedFile, "truncated"),
    "cut dBASE table": (lambda data, folder: shapefile(data, folder, cut=".dbf"), {}, errors.DamagedFile, "3 records of 25 bytes"),
    "Shapefile without .shx": (lambda data, folder: shapefile(data, folder, without=(".shx",)), {}, errors.DamagedFile, "shx"),
    "cut FlatGeobuf": (truncated(flatgeobuf), {}, errors.DamagedFile, "FlatGeobuf"),
    "cut GeoParquet": (truncated(parquet(GEO)), {}, errors.DamagedFile, "Parquet"),
    "cut OSM PBF": (truncated(copied("block.osm.pbf"), 0.8), {"layer": "points"}, errors.DamagedFile, "OpenStreetMap"),
    "cut GeoTIFF": (truncated(raster()), {}, errors.DamagedFile, "as a raster"),
    "cut LAS": (text_file("a.laz", LAZ_HEADER), {}, errors.DamagedFile, "a.laz"),
    "cut ZIP": (truncated(copied("places_gb18030.zip")), {}, errors.DamagedFile, "not a sound ZIP"),
    "cut row of CSV": (text_file("a.csv", "lon,lat,v\n1,2,3\n1,2"), {}, errors.DamagedFile, "Row 3 .* 2 values, the header 3"),
    "KML with entities": (text_file("a.kml", '<!DOCTYPE kml [<!ENTITY a "b">]><kml></kml>'), {}, errors.DamagedFile, "document type"),
    # CRS
    "GeoPackage without CRS": (lambda _, folder: geopackage(folder, crs=None), {}, errors.CrsError, "Name it with --crs"),
    "Shapefile without CRS": (lambda data, folder: shapefile(data, folder, without=(".prj",)), {}, errors.CrsError, "Name it with --crs"),
    "CSV of metres without CRS": (text_file("a.csv", "x,y\n500000,4400000\n"), {}, errors.CrsError, "Name it with --crs"),
    "raster without CRS": (raster(crs=None), {}, errors.CrsError, "Name it with --crs"),
    "raster without place": (raster(transform=None), {}, errors.CrsError, "no place on Earth"),
    "unknown CRS": (copied("blocks.geojson"), {"crs": "EPSG:999999"}, errors.CrsError, "no CRS 'EPSG:999999'"),
    "vertical CRS": (copied("blocks.geojson"), {"crs": "EPSG:5773"}, errors.CrsError, "geographic or projected"),
    "metres called degrees": (lambda _, folder: geopackage(folder, xy=(500000, 4400000)), {}, errors.CrsError, "x 500000 to 500000, y 4400000 .* from -180 to 180"),
    "degrees exchanged": (lambda _, folder: geopackage(folder, xy=(39.9, 116.4)), {}, errors.CrsError, "may be exchanged"),
    "far from the CRS": (lambda _, folder: geopackage(folder), {"crs": "EPSG:28992"}, errors.CrsError, "outside the area of Amersfoort"),
    "impossible in the CRS": (lambda _, folder: geopackage(folder, xy=(1e12, 1e12)), {"crs": "EPSG:4547"}, errors.CrsError, "cannot be in CGCS2000|outside the area"),
    "raster in the wrong CRS": (raster(crs="EPSG:4326"), {}, errors.CrsError, "from -180 to 180"),
    "unknown crs member": (text_file("a.geojson", collection(feature(point(1, 2)), crs={"type": "name", "properties": {"name": "urn:x"}})), {}, errors.CrsError, "urn:x"),
    # nothing to publish
    "empty FeatureCollection": (text_file("a.geojson", collection()), {}, errors.EmptyDataset, "no features"),
    "empty layer": (lambda _, folder: geopackage(folder, count=0), {}, errors.EmptyDataset, "no features"),
    "empty CSV": (text_file("a.csv", "lon,lat\n"), {}, errors.EmptyDataset, "no features"),
    "only null geometries": (text_file("a.geojson", collection(feature(None))), {}, errors.EmptyDataset, "None of the 1 features"),
    "raster of nodata": (raster(value=-1, nodata=-1), {}, errors.EmptyDataset, "every pixel is nodata"),
    "empty ZIP": (archive(), {}, errors.EmptyDataset, "no files"),
    # geometry
    "NaN": (text_file("a.geojson", collection(feature(point(float("nan"), 2)))), {}, errors.InvalidGeometry, "NaN"),
    "infinity": (text_file("a.geojson", collection(feature(point(1, 2))).replace("2]", "1e999]")), {}, errors.InvalidGeometry, "finite number"),
    "NaN in a CSV": (text_file("a.csv", "lon,lat\nnan,2\n"), {}, errors.InvalidGeometry, "finite number"),
    "infinity in WKB": (parquet(GEO, geometry=[struct.pack("<BIdd", 1, 1, float("inf"), 2.0)] * 2), {}, errors.InvalidGeometry, "finite number"),
    "bow tie": (text_file("a.geojson", collection(feature(BOW_TIE, id="tie"))), {}, errors.InvalidGeometry, r"feature 'tie' \(Self-intersection.*--repair"),
    "short ring": (text_file("a.geojson", collection(feature(SHORT_RING))), {}, errors.InvalidGeometry, "feature 1 .* at least 4"),
    "geometry of another kind": (text_file("a.geojson", collection(feature({"type": "Circle"}))), {}, errors.InvalidGeometry, "'Circle'"),
    "text as coordinate": (text_file("a.csv", "lon,lat\n1,north\n"), {}, errors.InvalidGeometry, "'north'"),
    "broken WKT": (text_file("a.csv", "v;wkt\n1;POINT (1 2)\n1;POINT (1\n"), {"crs": "EPSG:4326"}, errors.InvalidGeometry, "Row 3"),
    "broken WKB": (parquet(GEO, geometry=[b"\x01\x01", b"x"]), {}, errors.InvalidGeometry, "feature 1"),
    # ids
    "ids twice": (text_file("a.geojson", collection(feature(point(1, 2), id="a"), feature(point(1, 2), id="a"))), {}, errors.DuplicateFeatureId, "'a' 2 times"),
    "id field not unique": (text_file("a.geojson", collection(feature(point(1, 2)), feature(point(1, 2)))), {"id_field": "v"}, errors.DuplicateFeatureId, "--id-field"),
    "id field empty": (text_file("a.csv", "lon,lat,nr\n1,2,\n1,3,5\n"), {"id_field": "nr"}, errors.OptionError, "empty in some"),
    # paths
    "link elsewhere": (symbolic_link, {}, errors.PathOutside, "symbolic link out of its folder"),
    "part linked elsewhere": (linked_part, {}, errors.PathOutside, r"places\.dbf is a symbolic link"),
    "ZIP path up": (archive(**{"../../evil.geojson": b"{}"}), {}, errors.PathOutside, "outside the archive"),
    "ZIP path absolute": (archive(**{"/srv/evil.geojson": b"{}"}), {}, errors.PathOutside, "outside the archive"),
    "ZIP path of Windows": (archive(**{"C:\\evil.geojson": b"{}"}), {}, errors.PathOutside, "outside the archive"),
    "ZIP with a link": (link_in_zip, {}, errors.PathOutside, "symbolic link"),
    "directory": (a_directory, {}, errors.FileNotUsable, "is a directory"),
    "link to itself": (link_to_itself, {}, errors.FileNotUsable, "symbolic links"),
    "pipe": (a_pipe, {}, errors.FileNotUsable, "not a regular file"),
    "not there": (lambda _, folder: folder / "none.gpkg", {}, errors.FileNotUsable, "No such file"),
    # sizes
    "4 GB bomb": (lambda _, folder: big_zip(folder / "bomb.zip", size=4 * 1024**3 - 1024**2), {}, errors.ArchiveTooLarge, "times its size; at most 200"),
    "bomb that lies": (lambda _, folder: big_zip(folder / "bomb.zip", size=1024**3, stated=1000), {}, errors.DamagedFile, "not a sound ZIP"),
    # formats and options
    "unknown format": (text_file("a.docx", b"\xd0\xcf\x11\xe0" + bytes(50)), {}, errors.UnknownFormat, "Allowed: GeoPackage"),
    "empty file": (text_file("a.gpkg", ""), {}, errors.UnknownFormat, "0 bytes"),
    "ZIP without data": (archive(**{"readme.md": b"# hello"}), {}, errors.UnknownFormat, "no dataset"),
    "ZIP with several": (archive(**{"a.geojson": collection().encode(), "b.geojson": collection().encode()}), {}, errors.LayerChoice, "a, b"),
    "plain Parquet": (parquet(None), {}, errors.OptionError, "without GeoParquet metadata"),
    "Parquet of another encoding": (parquet({**GEO, "columns": {"geometry": {"encoding": "point"}}}), {}, errors.UnknownFormat, "only WKB"),
    "CSV without coordinates": (text_file("a.csv", "name,age\nx,1\n"), {}, errors.OptionError, "--x-column"),
    "CSV with a column twice": (text_file("a.csv", "lon,lat,v,v\n1,2,3,4\n"), {}, errors.OptionError, "two columns named 'v'"),
    "unknown column": (text_file("a.csv", "lon,lat\n1,2\n"), {"x_column": "a", "y_column": "b"}, errors.OptionError, "no column 'a'"),
    "unknown encoding": (copied("places_gb18030.zip"), {"encoding": "klingon"}, errors.OptionError, "no text encoding 'klingon'"),
    "wrong .cpg": (copied("places_wrong_cpg.zip"), {}, errors.TextEncodingError, "utf-8, which its .cpg file says.*gb18030"),
    "wrong encoding asked": (copied("places_gb18030.zip"), {"encoding": "utf-8"}, errors.TextEncodingError, "--encoding"),
    "wrong condition": (lambda _, folder: geopackage(folder), {"where": "v >"}, errors.OptionError, "not OGR SQL"),
    "condition on an unknown field": (lambda _, folder: geopackage(folder), {"where": "nr = 1"}, errors.OptionError, "not OGR SQL"),
    "complex raster": (raster(dtype="complex64"), {}, errors.OptionError, "complex numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_changes_nothing(
    publisher: Any, data: Path, tmp_path: Path, name: str
) -> None:
    make, reading, kind, message = BAD[name]
    publisher.publish(data / "blocks.geojson")
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(data, folder)

    with pytest.raises(ChengtuError, match=message) as caught:
        publisher.publish(path, reading=reading, replace=True)

    assert type(caught.value) is kind, str(caught.value)
    assert "\n" not in str(caught.value).strip()
    collection = publisher.collection()
    assert collection.generation == 1
    assert publisher.leftovers() == []
    generations = sorted(folder.name for folder in collection.directory.parent.iterdir())
    assert generations == ["g000001"]


def test_not_readable(publisher: Any, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "blocks.geojson"
    shutil.copy(data / "blocks.geojson", path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything; a folder entry that vanished stands in
        path.unlink()
    with pytest.raises(errors.FileNotUsable, match="cannot be read"):
        publisher.publish(path)


def test_ids_of_tenant_and_collection(publisher: Any, data: Path) -> None:
    publisher.publish(data / "blocks.geojson")
    with pytest.raises(DuplicateCollection):
        publisher.publish(data / "blocks.geojson")
    with pytest.raises(InvalidIdentifier):
        publisher.publish(data / "blocks.geojson", collection="Große")
    publisher.registry.remove_tenant("beijing", force=True)
    with pytest.raises(UnknownTenant):
        publisher.publish(data / "blocks.geojson")
    assert publisher.leftovers() == []


def test_archive_limits_at_and_above(publisher: Any, data: Path, tmp_path: Path) -> None:
    from server.publish.archives import ArchiveLimits, unpack

    path = archive(**{"a.txt": bytes(1000), "b.txt": bytes(1000)})(data, tmp_path)
    assert len(unpack(path, tmp_path / "one", ArchiveLimits(max_bytes=2000, max_files=2))) == 2
    with pytest.raises(errors.ArchiveTooLarge, match="2,000 bytes; at most 1,999"):
        unpack(path, tmp_path / "two", ArchiveLimits(max_bytes=1999))
    with pytest.raises(errors.ArchiveTooLarge, match="2 files; at most 1"):
        unpack(path, tmp_path / "three", ArchiveLimits(max_files=1))
    with pytest.raises(errors.ArchiveTooLarge, match="times its size"):
        unpack(
            big_zip(tmp_path / "b.zip", size=2 * 1024**2),
            tmp_path / "four",
            ArchiveLimits(ratio_free_bytes=1000),
        )
    assert not (tmp_path / "two").exists()
    assert not (tmp_path / "four").exists()


def test_repair_keeps_what_can_be_kept(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(collection(feature(BOW_TIE), feature(SHORT_RING), feature(None)))
    result = publisher.publish(path, reading={"repair": True})
    properties = result.collection.representations["features"].properties
    assert (result.count, properties["geometry_type"]) == (3, "MultiPolygon")
    assert [part.area for part in publisher.store(result).read(None, None, 10).geometries if part] == [
        pytest.approx(0.5)
    ]
    assert any("1 invalid geometries were repaired" in warning for warning in result.warnings)
    assert any("left out" in warning for warning in result.warnings)


def test_encodings_without_a_word(publisher: Any, data: Path) -> None:
    chinese = publisher.publish(data / "places_gb18030.zip", collection="places")
    assert {row["名称"] for row in publisher.columns(chinese).values()} == {
        "人民公园",
        "北京路小学",
        "中山大楼",
    }
    assert any("gb18030" in warning for warning in chinese.warnings)
    japanese = publisher.publish(data / "places_shift_jis.zip", collection="places-jp")
    assert {row["名前"] for row in publisher.columns(japanese).values()} == {
        "東京タワー",
        "渋谷区役所",
        "新宿駅",
    }
    assert japanese.warnings == ()
    asked = publisher.publish(
        data / "places_wrong_cpg.zip", collection="places-asked", reading={"encoding": "gb18030"}
    )
    assert "名称" in {field.name for field in asked.collection.fields}


DAMAGED: dict[str, tuple[Maker, dict[str, Any]]] = {
    "GeoPackage": (lambda _, folder: geopackage(folder, count=3), {}),
    "FlatGeobuf": (flatgeobuf, {}),
    "GeoParquet": (parquet(GEO), {}),
    "GeoJSON": (copied("blocks.geojson"), {}),
    "GeoJSONSeq": (copied("blocks.geojsonl"), {}),
    "OSM PBF": (copied("block.osm.pbf"), {"layer": "multipolygons"}),
    "CSV": (copied("places_gb18030.csv"), {}),
    "Shapefile in ZIP": (copied("places_shift_jis.zip"), {}),
    "GeoTIFF": (raster(), {}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_random_damage_never_ends_in_anything_but_our_errors(
    publisher: Any, data: Path, tmp_path: Path, name: str
) -> None:
    make, reading = DAMAGED[name]
    path = make(data, tmp_path)
    whole = path.read_bytes()
    random = np.random.default_rng(20250611)
    messages: list[str] = []
    for _ in range(10):
        content = bytearray(whole)
        for place in random.integers(0, len(content), int(random.choice([1, 3, 20]))):
            content[place] = random.integers(0, 256)
        if random.random() < 0.3:
            content = content[: random.integers(0, len(content))]
        path.write_bytes(content)
        try:
            publisher.publish(path, reading=reading, replace=True)
        except ChengtuError as error:
            messages.append(str(error))
        assert publisher.leftovers() == []
    assert messages
    assert not any("\n" in message for message in messages)
