"""Every format, read back by a reader that is not ours, holds what the store holds."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime
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

from providers.errors import InvalidParameter, UnsupportedQuery
from providers.features.query import ItemQuery
from providers.formatters.registry import DOWNLOAD_FORMATS
from providers.formatters.xml_text import text_of_id

EPSG_4547 = "http://www.opengis.net/def/crs/EPSG/0/4547"  # CGCS2000 / 3-degree zone, northing first
NS = {"gml": "http://www.opengis.net/gml/3.2", "k": "http://www.opengis.net/kml/2.2"}
type Read = dict[str, tuple[dict[str, Any], Any]]
ENDINGS = sorted(DOWNLOAD_FORMATS)
WITHOUT_CRS = {"kml"}
IN_WIRE_ORDER = {"geojson", "geojsons", "geojsonl", "fg.json", "csv"}


# --- readers: id -> (properties, geometry with x = east) ------------------------------------------------------------------


def from_geojson(data: bytes) -> Read:
    return features(orjson.loads(data)["features"])


def features(found: list[Any]) -> Read:
    return {f["id"]: (f["properties"], f["geometry"] and shape(f["geometry"])) for f in found}


def from_sequence(data: bytes) -> Read:
    records = data.split(b"\x1e")
    assert records[0] == b""
    assert all(record.endswith(b"\n") for record in records[1:])
    return features([orjson.loads(record) for record in records[1:]])


def from_lines(data: bytes) -> Read:
    return features([orjson.loads(line) for line in data.splitlines()])


def from_jsonfg(data: bytes) -> Read:
    found = orjson.loads(data)["features"]
    return {f["id"]: (f["properties"], (g := f["place"] or f["geometry"]) and shape(g)) for f in found}


def from_csv(data: bytes) -> Read:
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return {row.pop("_id"): (row, shapely.from_wkt(row.pop("geometry") or None)) for row in rows}


def from_ogr(data: bytes, folder: Path, ending: str) -> Read:
    path = folder / f"boxes.{ending}"
    path.write_bytes(data)
    name = f"zip://{path}" if ending == "shp.zip" else str(path)
    with fiona.open(name) as source:
        return {
            (
                feature["properties"].get("gml_id")
                or feature["properties"].get("_id")
                or feature["properties"].get("id_2")
                or feature["properties"]["id"]
            ): (dict(feature["properties"]), feature["geometry"] and shape(feature["geometry"]))
            for feature in source
        }


def from_table(table: Any) -> Read:
    rows = table.to_pylist()
    return {row["id_2"]: (row, shapely.from_wkb(row.pop("geometry"))) for row in rows}


def from_kml(data: bytes) -> Read:
    root = etree.fromstring(data)
    return {
        text_of_id(place.get("id").removeprefix("f.")): (
            {item.get("name"): item.text or "" for item in place.iterfind(".//k:SimpleData", NS)},
            kml_geometry(place),
        )
        for place in root.iterfind(".//k:Placemark", NS)
    }


def kml_geometry(place: Any) -> Any:
    def numbers(element: Any) -> list[Any]:
        return [
            tuple(map(float, c.split(",")))
            for c in element.findtext(".//k:coordinates", namespaces=NS).split()
        ]

    for element in place:
        kind = etree.QName(element).localname
        if kind == "Point":
            return shapely.Point(numbers(element)[0])
        if kind == "LineString":
            return shapely.LineString(numbers(element))
        if kind == "Polygon":
            inner = [numbers(ring) for ring in element.iterfind("k:innerBoundaryIs", NS)]
            return shapely.Polygon(numbers(element.find("k:outerBoundaryIs", NS)), inner)
        if kind == "MultiGeometry":
            parts = [kml_geometry([part]) for part in element]
            return type(
                {
                    "Point": shapely.MultiPoint,
                    "LineString": shapely.MultiLineString,
                    "Polygon": shapely.MultiPolygon,
                }[parts[0].geom_type](parts)
            )(parts)
    return None


def read(ending: str, data: bytes, folder: Path) -> Read:
    simple: dict[str, Callable[[bytes], Read]] = {
        "geojson": from_geojson,
        "geojsons": from_sequence,
        "geojsonl": from_lines,
        "fg.json": from_jsonfg,
        "csv": from_csv,
        "kml": from_kml,
        "parquet": lambda content: from_table(pq.read_table(io.BytesIO(content))),
        "arrows": lambda content: from_table(pa.ipc.open_stream(content).read_all()),
    }
    return simple[ending](data) if ending in simple else from_ogr(data, folder, ending)


# --- what is compared -----------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value as all formats can tell it: missing and empty are the same in some, numbers are texts in others."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or value in ("true", "false"):
        return int(str(value).lower() == "true")
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")[:23].replace("+00:00", "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        if re.fullmatch(r"\d{4}-\d\d-\d\d([T ]00:00:00(\+00:00|Z)?)?", value):
            return value[:10]
        if re.fullmatch(r"\d{4}-\d\d-\d\d[T ].*", value):
            return value.replace(" ", "T").removesuffix("Z").removesuffix("+00:00").ljust(19)[:23] + (
                ".000" if "." not in value else ""
            )
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value)
        except ValueError:
            return value.replace("\r\n", "\n")
    return value


def values(properties: dict[str, Any], names: list[str]) -> list[Any]:
    """The values of the fields in order, under whatever name a format gives them."""
    found = []
    for name in names:
        known = [n for n in properties if re.sub(r"\W", "_", n) == re.sub(r"\W", "_", name)]
        found.append(plain(properties[known[0]]) if known else None)
    return found


def same_place(first: Any, second: Any, tolerance: float) -> bool:
    if first is None or second is None:
        return first is None and second is None
    ordered = [
        shapely.normalize(shapely.multipolygons([g]) if g.geom_type == "Polygon" else g)
        for g in (first, second)
    ]
    return bool(shapely.equals_exact(*ordered, tolerance=tolerance))


NAMES = ["名称", "Floors", "height", "listed", "built", "updated", 'a <b> & "c"']


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != "shp.zip"])
@pytest.mark.parametrize("crs", ["CRS84", EPSG_4547])
def test_everything_comes_back(anything: Any, ending: str, crs: str, tmp_path: Path) -> None:
    if crs != "CRS84" and ending in WITHOUT_CRS:
        with pytest.raises(InvalidParameter, match="KML"):
            anything.write(ending, ItemQuery(crs=crs))
        return
    query = ItemQuery() if crs == "CRS84" else ItemQuery(crs=crs)
    found = read(ending, anything.write(ending, query), tmp_path)
    expected = anything.features()
    found = {identifier_of(one): content for one, content in found.items()}
    assert found.keys() == expected.keys()
    move = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:4547", always_xy=True)
    for one, feature in expected.items():
        properties, geometry = found[one]
        assert values(properties, NAMES) == values(feature["properties"], NAMES), one
        assert not any("secret" in name or value == "hush" for name, value in properties.items())
        place = feature["geometry"] and shape(feature["geometry"])
        if place is not None and crs != "CRS84":
            place = shapely.transform(place, lambda p: np.column_stack(move.transform(p[:, 0], p[:, 1])))
            if ending in IN_WIRE_ORDER:
                geometry = shapely.transform(geometry, lambda p: p[:, ::-1])
        assert same_place(geometry, place, 0.02 if crs != "CRS84" else 2e-7), (one, geometry, place)


def identifier_of(text: str) -> str:
    """The feature's id: GML gives it behind the name of the collection."""
    return text_of_id(text.removeprefix("boxes.")) if text.startswith("boxes.") else text


@pytest.mark.parametrize("crs", ["CRS84", EPSG_4547])
def test_a_shapefile_comes_back(areas: Any, crs: str, tmp_path: Path) -> None:
    data = areas.write("shp.zip", ItemQuery() if crs == "CRS84" else ItemQuery(crs=crs))
    found, expected = from_ogr(data, tmp_path, "shp.zip"), areas.features()
    assert found.keys() == expected.keys()
    move = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:4547", always_xy=True)
    for one, feature in expected.items():
        properties, geometry = found[one]
        assert (
            values(properties, ["名称", "height", "built"])[1:]
            == values(feature["properties"], ["height", "height", "built"])[1:]
        )
        assert plain(properties["名称"]) == plain(feature["properties"]["名称"])
        place = feature["geometry"] and shape(feature["geometry"])
        if place is not None and crs != "CRS84":
            place = shapely.transform(place, lambda p: np.column_stack(move.transform(p[:, 0], p[:, 1])))
        assert same_place(geometry, place, 0.02 if crs != "CRS84" else 2e-7), one
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = {name.partition(".")[2] for name in archive.namelist()}
        assert names == {"shp", "shx", "dbf", "prj", "cpg", "txt"}
        assert archive.read("boxes.cpg").strip() == b"UTF-8"
        note = archive.read("boxes.txt").decode()
        assert 'a <b> & "c"' in note
        with fiona.open(f"zip://{tmp_path}/boxes.shp.zip") as source:
            assert source.crs.to_epsg() == (4326 if crs == "CRS84" else 4547)


def test_a_shapefile_of_two_kinds_is_refused(anything: Any, scratch: Path) -> None:
    with pytest.raises(UnsupportedQuery, match="of one kind"):
        anything.write("shp.zip")
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "query",
    [ItemQuery(equals={"Floors": "12345"}), ItemQuery(equals={"Floors": "12345"}, skip_geometry=True)],
)
def test_nothing_is_a_valid_file(areas: Any, ending: str, query: ItemQuery, tmp_path: Path) -> None:
    data = areas.write(ending, query)
    if ending in ("geojsons", "geojsonl"):
        assert data == b""
        return
    if ending == "shp.zip" and query.skip_geometry:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert "boxes.dbf" in archive.namelist()
        return
    if ending == "gml":  # GDAL sees no layer where there is no feature to guess it from
        assert etree.QName(etree.fromstring(data)).localname == "FeatureCollection"
        return
    assert data
    assert read(ending, data, tmp_path) == {}


@pytest.mark.parametrize("ending", ENDINGS)
def test_chosen_properties_without_geometry(areas: Any, ending: str, tmp_path: Path) -> None:
    query = ItemQuery(properties=("height",), skip_geometry=True)
    data = areas.write(ending, query)
    if ending == "shp.zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(tmp_path)
            assert "boxes.shp" not in archive.namelist()
        with fiona.open(tmp_path / "boxes.dbf") as source:
            rows = {one["properties"]["id"]: one["properties"]["height"] for one in source}
        assert rows == {one: f["properties"]["height"] for one, f in areas.features().items()}
        return
    if ending in ("parquet", "arrows"):
        table = (
            pq.read_table(io.BytesIO(data)) if ending == "parquet" else pa.ipc.open_stream(data).read_all()
        )
        assert table.column_names == ["id", "height"]
        return
    if ending == "csv":
        assert data.split(b"\r\n", 1)[0] == b'"id","height","geometry"'
        return
    found = {identifier_of(one): content for one, content in read(ending, data, tmp_path).items()}
    for one, feature in areas.features().items():
        properties, geometry = found[one]
        assert geometry is None
        assert plain(properties.get("height")) == feature["properties"]["height"]
        assert "名称" not in properties


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != "shp.zip"])
def test_heights_are_kept(solids: Any, ending: str, tmp_path: Path) -> None:
    if ending == "csv":
        row = next(csv.DictReader(io.StringIO(solids.write(ending).decode(), newline="")))
        assert row["z"] in ("5.5", "-1")
        return
    found = {
        identifier_of(one): content for one, content in read(ending, solids.write(ending), tmp_path).items()
    }
    heights = {one: geometry and geometry.z for one, (_, geometry) in found.items()}
    assert heights == {"a.1": 5.5, "b/2 ü": -1, "c_3": None}


@pytest.mark.parametrize("ending", ["parquet", "arrows", "gpkg", "fgb", "shp.zip"])
def test_shifted_coordinates_have_no_name_there(areas: Any, ending: str) -> None:
    with pytest.raises(InvalidParameter, match="shifted"):
        areas.write(ending, ItemQuery(crs="urn:chengtu:def:crs::GCJ02"))
