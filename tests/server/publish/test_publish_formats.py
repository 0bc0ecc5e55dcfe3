"""Every vector format gives the same three blocks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fiona
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely

from server.errors import ChengtuError
from server.publish.errors import LayerChoice, OptionError, SchemaMismatch
from server.publish.formats import FORMATS, recognise_format
from server.registry.catalogue import Access, RepresentationKind

NAMES = ["人民公园", "北京路小学", "中山大楼"]
BBOX = (116.39, 39.90, 116.411, 39.921)


def features(data: Path) -> list[dict[str, Any]]:
    read: dict[str, Any] = json.loads((data / "blocks.geojson").read_text())
    return list(read["features"])


def with_fiona(driver: str, name: str, crs: str = "EPSG:4326") -> Callable[[Path, Path], Path]:
    def make(data: Path, folder: Path) -> Path:
        schema = {"geometry": "Polygon", "properties": {"name": "str", "floors": "int", "height": "float"}}
        path = folder / name
        rows = [
            {
                "geometry": item["geometry"],
                "properties": {key: item["properties"][key] for key in schema["properties"]},
            }
            for item in features(data)
        ]
        options = {"encoding": "utf-8"} if driver == "ESRI Shapefile" else {}
        with fiona.open(
            path, "w", driver=driver, crs=crs, schema=schema, allow_unsupported_drivers=True, **options
        ) as file:
            file.writerecords(rows)
        return path

    return make


def shapefile_in_zip(data: Path, folder: Path) -> Path:
    loose = with_fiona("ESRI Shapefile", "blocks.shp")(data, folder)
    path = folder / "blocks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in folder.glob("blocks.*"):
            if part.suffix not in (".zip",):
                archive.write(part, f"inner/{part.name}")
    for part in folder.glob("blocks.*"):
        if part != path:
            part.unlink()
    assert not loose.exists()
    return path


def geoparquet(data: Path, folder: Path) -> Path:
    items = features(data)
    geometries = [shapely.geometry.shape(item["geometry"]) for item in items]
    table = pa.table(
        {
            "name": pa.array([item["properties"]["name"] for item in items]).dictionary_encode(),
            "floors": pa.array([item["properties"]["floors"] for item in items], pa.int32()),
            "height": pa.array([item["properties"]["height"] for item in items]),
            "geometry": pa.array(list(shapely.to_wkb(geometries)), pa.binary()),
        }
    )
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": pyproj.CRS("OGC:CRS84").to_json_dict()}
    meta = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    path = folder / "blocks.parquet"
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(meta)}), path)
    return path


def wkt_csv(data: Path, folder: Path) -> Path:
    rows = ["name;floors;height;wkt"]
    for item in features(data):
        values = item["properties"]
        height = str(values["height"]).replace(".", ",")
        rows.append(
            f"{values['name']};{values['floors']};{height};{shapely.geometry.shape(item['geometry']).wkt}"
        )
    path = folder / "blocks.txt"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def copied(name: str, to: str | None = None) -> Callable[[Path, Path], Path]:
    def make(data: Path, folder: Path) -> Path:
        return Path(shutil.copy(data / name, folder / (to or name)))

    return make


MAKERS: dict[str, tuple[Callable[[Path, Path], Path], dict[str, Any]]] = {
    "geopackage": (with_fiona("GPKG", "blocks.gpkg"), {}),
    "geopackage named .db": (with_fiona("GPKG", "blocks.gpkg"), {}),
    "sqlite": (with_fiona("SQLite", "blocks.sqlite"), {}),
    "shapefile": (with_fiona("ESRI Shapefile", "blocks.shp"), {}),
    "shapefile, zipped": (shapefile_in_zip, {}),
    "flatgeobuf": (with_fiona("FlatGeobuf", "blocks.fgb"), {}),
    "geoparquet": (geoparquet, {}),
    "geojson": (copied("blocks.geojson"), {}),
    "geojson under another name": (copied("blocks.geojson", "blocks.dat"), {}),
    "geojsonseq": (copied("blocks.geojsonl"), {}),
    "gml": (with_fiona("GML", "blocks.gml"), {}),
    "csv": (wkt_csv, {"wkt_column": "wkt", "crs": "OGC:CRS84"}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_blocks(publisher: Any, data: Path, tmp_path: Path, name: str) -> None:
    make, reading = MAKERS[name]
    path = make(data, tmp_path)
    if name == "geopackage named .db":
        path = path.rename(tmp_path / "blocks.db")

    result = publisher.publish(path, reading=reading)

    collection = result.collection
    assert result.count == 3
    assert result.generation == 1
    assert collection.bbox == pytest.approx(BBOX, abs=1e-6)
    assert collection.storage_crs == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert set(result.kinds) == {
        RepresentationKind.FEATURES,
        RepresentationKind.TILES,
        RepresentationKind.MAP,
        RepresentationKind.RECORD,
    }
    types = {field.name: field.type for field in collection.fields}
    assert types["floors"] == "integer"
    assert types["height"] == "number"
    assert types["name"] == "string"
    rows = {row["name"]: row for row in publisher.columns(result).values()}
    assert sorted(rows) == sorted(NAMES)
    assert (rows["中山大楼"]["floors"], rows["中山大楼"]["height"]) == (12, 42.0)
    assert collection.representations[RepresentationKind.FEATURES].properties["geometry_type"] in (
        "Polygon",
        "MultiPolygon",
    )
    assert publisher.leftovers() == []


def test_kml(publisher: Any, data: Path, tmp_path: Path) -> None:
    result = publisher.publish(with_fiona("KML", "blocks.kml")(data, tmp_path))
    assert result.count == 3
    assert result.collection.bbox == pytest.approx(BBOX, abs=1e-6)


def test_geojson_keeps_ids_dates_and_nested_values(publisher: Any, data: Path, tmp_path: Path) -> None:
    read = json.loads((data / "blocks.geojson").read_text())
    read["features"][0]["properties"]["tags"] = {"roof": ["flat", "green"]}
    path = tmp_path / "nested.geojson"
    path.write_text(json.dumps(read))

    result = publisher.publish(path, reading={"time_field": "built"})

    rows = publisher.columns(result)
    assert sorted(rows) == ["b1", "b2", "b3"]
    assert json.loads(rows["b1"]["tags"]) == {"roof": ["flat", "green"]}
    assert rows["b2"]["tags"] is None
    formats = {field.name: (field.type, field.format) for field in result.collection.fields}
    assert formats["built"] == ("string", "date")
    assert formats["open"] == ("boolean", None)
    assert result.collection.interval == ("2001-05-01", "2003-05-01") or result.collection.interval[
        0
    ].startswith("2001-05-01")


def test_osm_pbf(publisher: Any, data: Path) -> None:
    path = data / "block.osm.pbf"
    with pytest.raises(LayerChoice, match="points, lines, multilinestrings, multipolygons"):
        publisher.publish(path)

    result = publisher.publish(
        path, reading={"layer": "multipolygons", "tags": ("building", "building:levels", "name")}
    )

    assert publisher.columns(result) == {
        "w7": {
            "osm_id": None,
            "osm_way_id": "7",
            "building": "yes",
            "building:levels": "6",
            "name": NAMES[0],
        }
    }
    assert result.collection.bbox == pytest.approx((116.39, 39.90, 116.391, 39.901), abs=1e-6)
    streets = publisher.publish(
        path, collection="streets", reading={"layer": "lines", "where": "highway IS NOT NULL"}
    )
    assert [row["highway"] for row in publisher.columns(streets).values()] == ["residential"]
    cafes = publisher.publish(path, collection="cafes", reading={"layer": "points"})
    assert list(publisher.columns(cafes)) == ["n1"]


def test_csv_with_chinese_headers_and_leading_zeros(publisher: Any, data: Path) -> None:
    result = publisher.publish(data / "places_gb18030.csv")
    rows = publisher.columns(result)
    assert [rows[key]["名称"] for key in ("1", "2", "3")] == NAMES
    assert [rows[key]["编号"] for key in ("1", "2", "3")] == ["001", "004", "012"]
    assert result.collection.bbox == pytest.approx((116.39, 39.90, 116.41, 39.92))
    assert any("gb18030" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("x,y,v\n500000,4400000,1\n", {"crs": "EPSG:4548"}),
        ("Easting;Northing;v\n500000,0;4400000,0;1\n", {"crs": "EPSG:4548"}),
        ("a\tb\tv\n500000\t4400000\t1\n", {"crs": "EPSG:4548", "x_column": "a", "y_column": "b"}),
        ("\ufeffLON,LAT,v\n117,39.7,1\n", {}),
    ],
)
def test_csv_coordinates(publisher: Any, tmp_path: Path, text: str, reading: dict[str, Any]) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    result = publisher.publish(path, reading=reading)
    assert result.collection.bbox[0] == pytest.approx(117.0, abs=0.001)
    assert [row["v"] for row in publisher.columns(result).values()] == [1]


def test_several_files_of_one_schema_are_one_collection(publisher: Any, data: Path, tmp_path: Path) -> None:
    one = with_fiona("GPKG", "one.gpkg")(data, tmp_path)
    two = with_fiona("GPKG", "two.gpkg")(data, tmp_path)
    result = publisher.publish(one, two)
    assert result.count == 6
    assert sorted(publisher.columns(result)) == ["1", "2", "3", "4", "5", "6"]


def test_files_that_do_not_belong_together_are_refused(publisher: Any, data: Path, tmp_path: Path) -> None:
    one = with_fiona("GPKG", "one.gpkg")(data, tmp_path)
    with pytest.raises(SchemaMismatch, match="one by one"):
        publisher.publish(one, data / "blocks.geojson")
    other = with_fiona("GPKG", "other.gpkg", crs="EPSG:4490")(data, tmp_path)
    with pytest.raises(SchemaMismatch, match="China Geodetic"):
        publisher.publish(one, other)
    points = tmp_path / "points.geojson"
    points.write_text(
        '{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{"a":1}}'
    )
    with pytest.raises(SchemaMismatch, match="different fields"):
        publisher.publish(data / "blocks.geojson", points)


def test_parts_of_a_shapefile_may_be_named_too(publisher: Any, data: Path, tmp_path: Path) -> None:
    with_fiona("ESRI Shapefile", "blocks.shp")(data, tmp_path)
    result = publisher.publish(*sorted(tmp_path.glob("blocks.*")))
    assert result.count == 3


def test_a_layer_is_asked_for_where_there_are_several(publisher: Any, data: Path, tmp_path: Path) -> None:
    path = with_fiona("GPKG", "blocks.gpkg")(data, tmp_path)
    schema = {"geometry": "Point", "properties": {"v": "int"}}
    with fiona.open(path, "w", driver="GPKG", layer="wells", crs="EPSG:4326", schema=schema) as file:
        file.write({"geometry": {"type": "Point", "coordinates": (116.4, 39.9)}, "properties": {"v": 1}})
    for asked, message in ((None, "has 2 layers"), ("Wells", "has no layer 'Wells'")):
        with pytest.raises(LayerChoice, match=f"{message}.*blocks, wells"):
            publisher.publish(path, reading={"layer": asked})
    assert publisher.publish(path, reading={"layer": "wells"}).count == 1


def test_fields_and_ids_as_asked(publisher: Any, data: Path) -> None:
    result = publisher.publish(
        data / "blocks.geojson",
        reading={"id_field": "name", "keep_fields": ("floors",)},
        field_titles={"floors": "楼层"},
        keywords=("demo",),
        licence="CC0",
        access=Access.PRIVATE,
        simulated=True,
    )
    assert publisher.columns(result) == {
        name: {"floors": floors} for name, floors in zip(NAMES, (1, 4, 12), strict=True)
    }
    collection = result.collection
    assert [(field.name, field.title) for field in collection.fields] == [("floors", "楼层")]
    assert (collection.keywords, collection.licence, collection.simulated) == (("demo",), "CC0", True)
    assert collection.access is Access.PRIVATE
    again = publisher.publish(data / "blocks.geojson", replace=True)
    assert again.generation == 2
    assert again.collection.access is Access.PRIVATE


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"id_field": "nr"}, "no field 'nr' for --id-field"),
        ({"time_field": "floors"}, "holds integers"),
        ({"time_field": "name"}, "ISO 8601 is needed"),
        ({"keep_fields": ("nr",)}, "no field 'nr' to keep"),
        ({"where": "floors > 1"}, "--where is for .*; blocks.geojson is GeoJSON"),
        ({"format": "gpkg"}, "no format 'gpkg'"),
    ],
)
def test_options_that_do_not_fit(publisher: Any, data: Path, reading: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        publisher.publish(data / "blocks.geojson", reading=reading)


def test_the_documented_formats_are_those_there_are() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "input-formats.md").read_text(encoding="utf-8")
    for item in FORMATS.values():
        assert f"`{item.key}`" in text


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"%PDF-1.7", b"\x00" * 500, b"{}", b"[1]"])
def test_other_content_is_refused(publisher: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.gpkg"
    path.write_bytes(content)
    with pytest.raises(ChengtuError, match=r"thing\.gpkg"):
        publisher.publish(path)


def test_citygml_is_known_by_its_namespace(tmp_path: Path) -> None:
    path = tmp_path / "city.gml"
    path.write_text('<core:CityModel xmlns:core="http://www.opengis.net/citygml/3.0"/>')
    assert recognise_format(path).key == "citygml"


def without_triggers(database: sqlite3.Connection) -> None:
    """Drop the triggers of the spatial index: they call functions that only GDAL has."""
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f'DROP TRIGGER "{name}"')


def test_a_geopackage_reads_the_same_by_both_ways(publisher: Any, data: Path, tmp_path: Path) -> None:
    path = with_fiona("GPKG", "blocks.gpkg", crs="EPSG:4490")(data, tmp_path)
    with closing(sqlite3.connect(path)) as database:
        without_triggers(database)
        database.execute("ALTER TABLE blocks ADD COLUMN photo BLOB")
        database.execute("ALTER TABLE blocks ADD COLUMN built DATE")
        database.execute("UPDATE blocks SET photo = x'00', built = '2001-05-01'")
        database.commit()
    direct = publisher.publish(path)
    through_gdal = publisher.publish(path, collection="gdal", reading={"where": "1 = 1"})
    assert publisher.columns(direct) == publisher.columns(through_gdal)
    assert direct.collection.fields == through_gdal.collection.fields
    assert direct.collection.bbox == through_gdal.collection.bbox
    assert direct.collection.storage_crs == through_gdal.collection.storage_crs
    assert direct.warnings == through_gdal.warnings
    assert sorted(publisher.columns(direct)) == ["1", "2", "3"]


def test_a_geopackage_that_someone_writes_to(publisher: Any, data: Path, tmp_path: Path) -> None:
    path = with_fiona("GPKG", "blocks.gpkg")(data, tmp_path)
    with closing(sqlite3.connect(path)) as database:
        without_triggers(database)
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("UPDATE blocks SET name = 'new'")
        database.commit()
        assert path.with_name("blocks.gpkg-wal").stat().st_size > 0
        result = publisher.publish(path)
    assert {row["name"] for row in publisher.columns(result).values()} == {"new"}
