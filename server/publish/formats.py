"""Which format a file is in: found by its content, because names and extensions are often wrong.

`FORMATS` is the list of everything that can be published. A recogniser looks at the first 64 kB and, where the format
has its marks there, at the end.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from server.publish.errors import FileNotUsable, OptionError, UnknownFormat

HEAD_BYTES = 65_536
_TEXT_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Family(StrEnum):
    """What kind of collection a format becomes."""

    VECTOR = "vector"
    RASTER = "raster"
    POINT_CLOUD = "point cloud"
    CITY_MODEL = "city model"
    TILESET = "3D tileset"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a recogniser sees of a file: `head` and `tail` are at most 64 kB."""

    path: Path
    size: int
    head: bytes
    tail: bytes

    @property
    def text(self) -> str:
        """The head as text, without a byte order mark; "" where it is not text."""
        for mark, encoding in _TEXT_BYTE_ORDER_MARKS:
            if self.head.startswith(mark):
                return self.head[len(mark) :].decode(encoding, "ignore")
        if b"\x00" in self.head:
            return ""
        return self.head.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `driver` is GDAL's name of it, None where GDAL does not read it for us."""

    key: str
    title: str
    family: Family
    recognise: Callable[[Sample], bool]
    driver: str | None = None


def take_sample(path: Path) -> Sample:
    """Read what the recognisers need. Raises FileNotUsable."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - HEAD_BYTES))
            tail = file.read(HEAD_BYTES)
    except OSError as error:
        raise FileNotUsable(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return Sample(path, size, head, tail)


def _sqlite_tables(path: Path) -> frozenset[str]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            rows = database.execute("SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")
            return frozenset(name for (name,) in rows)
    except (sqlite3.Error, UnicodeDecodeError):
        return frozenset()


def _is_sqlite(sample: Sample) -> bool:
    return sample.head.startswith(b"SQLite format 3\x00")


def _is_geopackage(sample: Sample) -> bool:
    if not _is_sqlite(sample):
        return False
    if sample.head[68:72] in (b"GPKG", b"GP10", b"GP11"):
        return True
    return "gpkg_contents" in _sqlite_tables(sample.path)


def _is_shapefile(sample: Sample) -> bool:
    return sample.head[:4] == b"\x00\x00\x27\x0a" and sample.head[28:32] == b"\xe8\x03\x00\x00"


def _is_flatgeobuf(sample: Sample) -> bool:
    return sample.head[:3] == b"fgb" and sample.head[4:7] == b"fgb"


def _is_parquet(sample: Sample) -> bool:
    return sample.head[:4] == b"PAR1"


def _is_osm_pbf(sample: Sample) -> bool:
    return b"OSMHeader" in sample.head[4:20]


_JSON_TYPE = re.compile(r'"type"\s*:\s*"([A-Za-z]+)"')
_GEOMETRY_TYPES = frozenset(
    ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")
)
_CITYJSON = re.compile(rb'"type"\s*:\s*"CityJSON"|^\s*\{\s*"CityObjects"\s*:\s*\{')


def _first_json_type(sample: Sample) -> str:
    text = sample.text.lstrip(" \t\r\n\x1e")
    found = _JSON_TYPE.search(text) if text.startswith("{") else None
    return found.group(1) if found else ""


def _is_cityjson(sample: Sample) -> bool:
    if not sample.text.lstrip().startswith("{"):
        return False
    return any(_CITYJSON.search(part) for part in (sample.head, sample.tail))


def _is_geojson_sequence(sample: Sample) -> bool:
    if _first_json_type(sample) == "":
        return False
    if sample.text.lstrip().startswith("\x1e"):
        return True
    with sample.path.open("rb") as file:
        first = file.readline(64 * 1024 * 1024).rstrip()
        second = file.readline(HEAD_BYTES).lstrip()
    # A line that is a whole feature, with another object after it.
    return first.startswith(b"{") and first.endswith(b"}") and second.startswith(b"{")


def _is_geojson(sample: Sample) -> bool:
    return _first_json_type(sample) in {"FeatureCollection", "Feature", *_GEOMETRY_TYPES}


_XML_ROOT = re.compile(r"<([A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[\s>/]")


def _xml_root(sample: Sample) -> str:
    text = sample.text.lstrip()
    if not text.startswith("<"):
        return ""
    found = _XML_ROOT.search(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    return found.group(2) if found else ""


def _is_kml(sample: Sample) -> bool:
    return _xml_root(sample) == "kml"


def _is_gml(sample: Sample) -> bool:
    # CityGML has the same namespace, but GDAL would flatten its solids: it has a reader of its own.
    return (
        _xml_root(sample) == "FeatureCollection"
        and "opengis.net/gml" in sample.text
        and not is_citygml(sample)
    )


def is_citygml(sample: Sample) -> bool:
    """Whether this is CityGML of any version."""
    return sample.text.lstrip().startswith("<") and "opengis.net/citygml" in sample.text


def _is_las(sample: Sample) -> bool:
    return sample.head[:4] == b"LASF"


def _is_e57(sample: Sample) -> bool:
    return sample.head.startswith(b"ASTM-E57")


def _is_ept(sample: Sample) -> bool:
    """The ept.json itself; the folder and the archive of one are found by `inputs`."""
    text = sample.text
    return text.lstrip().startswith("{") and all(member in text for member in _EPT_MEMBERS)


_EPT_MEMBERS = ('"hierarchyType"', '"dataType"', '"schema"', '"points"')
_POINT_TEXT_SUFFIXES = (".xyz", ".xyzrgb", ".pts", ".asc", ".txt")


def _is_text_of_points(sample: Sample) -> bool:
    """Text with columns of numbers, by an ending that says so: a .csv may as well be a table of features."""
    if sample.path.suffix.lower() not in _POINT_TEXT_SUFFIXES or sample.text.lstrip()[:1] in ("{", "[", "<"):
        return False
    from pointclouds.formats.opening import is_text_of_points

    return is_text_of_points(sample.head, sample.path.name)


_RASTER_MARKS = (
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"\x00\x00\x00\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"EHFA_HEADER_TAG",
    b"CDF\x01",
    b"CDF\x02",
    b"GRIB",
    b"NITF",
    b"DSBB",
    b"DSRB",
)
RASTER_DRIVERS = (
    "GTiff",
    "PNG",
    "JPEG",
    "JP2OpenJPEG",
    "HFA",
    "netCDF",
    "HDF5Image",
    "GRIB",
    "NITF",
    "GSBG",
    "GS7BG",
    "AAIGrid",
    "GRASSASCIIGrid",
    "ENVI",
    "EHdr",
    "ERS",
    "SAGA",
    "RST",
    "PCIDSK",
    "SRTMHGT",
    "DTED",
    "USGSDEM",
    "XYZ",
    "BMP",
    "WEBP",
)
"""GDAL drivers that read one local file. VRT, WMS and the like are left out: they name other files or servers."""


def _is_raster(sample: Sample) -> bool:
    if sample.head.startswith(_RASTER_MARKS):
        return True
    if sample.text and not _looks_like_ascii_grid(sample):
        return False
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(sample.path) as opened:
                return opened.driver in RASTER_DRIVERS
    except (RasterioError, UnicodeDecodeError):  # of a message of GDAL's that quotes the file
        return False


def _is_netcdf(sample: Sample) -> bool:
    return sample.head.startswith(b"\x89HDF")


def _is_zarr(sample: Sample) -> bool:
    """Never of a file: a Zarr store is a folder, which `inputs` finds."""
    return False


def _looks_like_ascii_grid(sample: Sample) -> bool:
    return sample.text.lstrip()[:5].lower() == "ncols" or sample.path.suffix.lower() == ".xyz"


_SWMM_SECTION = re.compile(
    r"^\[(JUNCTIONS|CONDUITS|OUTFALLS|XSECTIONS|SUBCATCHMENTS)\]\s*$", re.MULTILINE | re.IGNORECASE
)


_TILESET_MEMBERS = ('"asset"', '"root"', '"geometricError"', '"boundingVolume"')


def _is_indoorgml(sample: Sample) -> bool:
    return b"opengis.net/indoorgml" in sample.head and sample.text.lstrip().startswith("<")


def _is_imdf(sample: Sample) -> bool:
    """Never of a file: it is an archive of several, which `inputs` finds."""
    return False


def _is_ifc(sample: Sample) -> bool:
    return sample.head.lstrip().startswith(b"ISO-10303-21") and b"IFC" in sample.head[:4096].upper()


def _is_gltf(sample: Sample) -> bool:
    if sample.head.startswith(b"glTF"):
        return True
    text = sample.text
    return sample.path.suffix.lower() == ".gltf" and text.lstrip().startswith("{") and '"asset"' in text


_OBJ_VERTEX = re.compile(r"^v(\s+[-+0-9.eE]+){3}", re.MULTILINE)


def _is_obj(sample: Sample) -> bool:
    return sample.path.suffix.lower() == ".obj" and bool(_OBJ_VERTEX.search(sample.text))


_PLY_FACES = re.compile(rb"^element (?:face|tristrips) +0*[1-9]", re.MULTILINE)


def _is_any_ply(sample: Sample) -> bool:
    return sample.head.startswith((b"ply\n", b"ply\r\n", b"ply\r"))


def _is_ply(sample: Sample) -> bool:
    return _is_any_ply(sample) and _PLY_FACES.search(_ply_header(sample)) is not None


def _is_point_ply(sample: Sample) -> bool:
    return _is_any_ply(sample) and not _is_ply(sample) and b"element vertex" in _ply_header(sample)


def _ply_header(sample: Sample) -> bytes:
    return sample.head.partition(b"end_header")[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _is_stl(sample: Sample) -> bool:
    if sample.path.suffix.lower() != ".stl":
        return False
    count = int.from_bytes(sample.head[80:84], "little")
    return sample.size == 84 + 50 * count or sample.head.lstrip().startswith(b"solid")


def _is_tileset(sample: Sample) -> bool:
    text = sample.text
    return text.lstrip().startswith("{") and all(member in text for member in _TILESET_MEMBERS)


def _is_swmm(sample: Sample) -> bool:
    return sample.path.suffix.lower() == ".inp" and bool(_SWMM_SECTION.search(sample.text))


def _is_csv(sample: Sample) -> bool:
    text = sample.text
    lines = text.splitlines()
    if not lines or text.lstrip()[:1] in ("{", "[", "<", ""):
        return False
    if "�" in lines[0] and sample.path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return False
    return any(mark in lines[0] for mark in (",", ";", "\t", "|")) and lines[0].isprintable() | (
        "\t" in lines[0]
    )


FORMATS: dict[str, Format] = {
    item.key: item
    for item in (
        Format("geopackage", "GeoPackage", Family.VECTOR, _is_geopackage, "GPKG"),
        Format("sqlite", "SQLite or SpatiaLite", Family.VECTOR, _is_sqlite, "SQLite"),
        Format("shapefile", "Shapefile (loose or zipped)", Family.VECTOR, _is_shapefile, "ESRI Shapefile"),
        Format("flatgeobuf", "FlatGeobuf", Family.VECTOR, _is_flatgeobuf, "FlatGeobuf"),
        Format("geoparquet", "GeoParquet", Family.VECTOR, _is_parquet),
        Format("osm", "OpenStreetMap PBF", Family.VECTOR, _is_osm_pbf, "OSM"),
        Format("las", "LAS, LAZ or COPC", Family.POINT_CLOUD, _is_las),
        Format("e57", "E57 (scans)", Family.POINT_CLOUD, _is_e57),
        Format("ept", "EPT (ept.json, its folder, or an archive of it)", Family.POINT_CLOUD, _is_ept),
        Format("3dtiles", "3D Tiles (tileset.json, an archive of one, 3TZ)", Family.TILESET, _is_tileset),
        Format("cityjson", "CityJSON or CityJSONSeq", Family.CITY_MODEL, _is_cityjson),
        Format("indoorgml", "IndoorGML", Family.CITY_MODEL, _is_indoorgml),
        Format("imdf", "IMDF (indoor mapping, zipped)", Family.VECTOR, _is_imdf),
        Format("ifc", "IFC (building information model)", Family.CITY_MODEL, _is_ifc),
        Format("gltf", "glTF 2.0 (.glb, .gltf)", Family.CITY_MODEL, _is_gltf),
        Format("obj", "Wavefront OBJ", Family.CITY_MODEL, _is_obj),
        Format("ply", "PLY mesh", Family.CITY_MODEL, _is_ply),
        Format("pointply", "PLY of points (without faces)", Family.POINT_CLOUD, _is_point_ply),
        Format("stl", "STL", Family.CITY_MODEL, _is_stl),
        Format("citygml", "CityGML", Family.CITY_MODEL, is_citygml),
        Format("geojsonseq", "GeoJSON text sequence", Family.VECTOR, _is_geojson_sequence, "GeoJSONSeq"),
        Format("geojson", "GeoJSON", Family.VECTOR, _is_geojson, "GeoJSON"),
        Format("kml", "KML", Family.VECTOR, _is_kml, "KML"),
        Format("gml", "GML simple features", Family.VECTOR, _is_gml, "GML"),
        Format("netcdf", "NetCDF-4 or HDF5", Family.RASTER, _is_netcdf),
        Format("zarr", "Zarr (version 2 or 3)", Family.RASTER, _is_zarr),
        Format("raster", "GeoTIFF and other GDAL rasters", Family.RASTER, _is_raster),
        Format("swmm", "SWMM 5 drainage network (.inp)", Family.VECTOR, _is_swmm),
        Format("xyz", "points as text (XYZ, PTS, CSV)", Family.POINT_CLOUD, _is_text_of_points),
        Format("csv", "CSV with coordinates", Family.VECTOR, _is_csv),
    )
}
"""Every format, in the order in which the recognisers are asked: the sure ones first."""


def allowed_formats() -> str:
    """The titles of all formats, for messages."""
    return ", ".join(item.title for item in FORMATS.values())


def named_format(key: str) -> Format:
    """The format of this key. Raises OptionError."""
    if key not in FORMATS:
        raise OptionError(f"There is no format {key!r}. Allowed: {', '.join(FORMATS)}.")
    return FORMATS[key]


def recognise_format(path: Path) -> Format:
    """Find the format of a file by its content. Raises FileNotUsable and UnknownFormat."""
    sample = take_sample(path)
    if sample.size == 0:
        raise UnknownFormat(f"{path.name} is empty (0 bytes). Publish a file with data in it.")
    for item in FORMATS.values():
        if item.recognise(sample):
            return item
    hint = ""
    if path.suffix.lower() in (".dbf", ".shx", ".prj", ".cpg"):
        hint = f" It is a part of a Shapefile: give {path.with_suffix('.shp').name}."
    raise UnknownFormat(
        f"{path.name} is in no format that can be published.{hint} Allowed: {allowed_formats()}."
    )
