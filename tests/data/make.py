"""Make the small files of this folder: `python tests/data/make.py [FOLDER]`.

One city block in many formats, all with the same three buildings (or their corners), so that a test can compare what it
reads. Everything is written byte by byte where the encoding matters; the rest comes from fiona and pyarrow.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NAMES = ("人民公园", "北京路小学", "中山大楼")
CORNERS = ((116.39, 39.90), (116.40, 39.91), (116.41, 39.92))
SIDE = 0.001
FLOORS = (1, 4, 12)


def ring(x: float, y: float) -> list[list[float]]:
    """A square, counter-clockwise, as GeoJSON wants an exterior ring."""
    return [[x, y], [x + SIDE, y], [x + SIDE, y + SIDE], [x, y + SIDE], [x, y]]


def blocks() -> dict[str, object]:
    """Three squares with a name, a number of floors and a date of construction, as GeoJSON with ids."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": f"b{number}",
                "geometry": {"type": "Polygon", "coordinates": [ring(*corner)]},
                "properties": {
                    "name": name,
                    "floors": floors,
                    "height": floors * 3.5,
                    "built": f"200{number}-05-01",
                    "open": number % 2 == 0,
                },
            }
            for number, (name, corner, floors) in enumerate(zip(NAMES, CORNERS, FLOORS, strict=True), 1)
        ],
    }


def dbf(field: str, values: tuple[str, ...], encoding: str, language_driver: int, width: int = 24) -> bytes:
    """A dBASE III table with one text field."""
    name = field.encode(encoding)[:10].ljust(11, b"\0")
    header = struct.pack(
        "<BBBBIHH16sBB2s", 3, 120, 1, 1, len(values), 65, width + 1, b"", 0, language_driver, b""
    )
    description = name + b"C" + bytes(4) + bytes([width]) + bytes(15)
    rows = b"".join(b" " + value.encode(encoding)[:width].ljust(width) for value in values)
    return header + description + b"\r" + rows + b"\x1a"


def point_shapes(points: tuple[tuple[float, float], ...]) -> tuple[bytes, bytes]:
    """The .shp and .shx of points."""
    records, index, position = b"", b"", 50
    for number, point in enumerate(points, 1):
        records += struct.pack(">ii", number, 10) + struct.pack("<idd", 1, *point)
        index += struct.pack(">ii", position, 10)
        position += 14
    xs, ys = [point[0] for point in points], [point[1] for point in points]

    def header(words: int) -> bytes:
        start = struct.pack(">7i", 9994, 0, 0, 0, 0, 0, words)
        return start + struct.pack("<2i8d", 1000, 1, min(xs), min(ys), max(xs), max(ys), 0, 0, 0, 0)

    return header(50 + len(records) // 2) + records, header(50 + len(index) // 2) + index


def zipped(files: dict[str, bytes], *, encoding: str = "utf-8") -> bytes:
    """A ZIP archive with fixed times; names in `encoding` without the UTF-8 flag where it is another one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            shown = name if encoding == "utf-8" else name.encode(encoding).decode("cp437")
            archive.writestr(zipfile.ZipInfo(shown, (2024, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


WGS84 = (
    b'GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
    b'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)


def shapefile(
    stem: str, names: tuple[str, ...], field: str, encoding: str, language_driver: int = 0, cpg: bytes = b""
) -> dict[str, bytes]:
    """The parts of a Shapefile of points."""
    shp, shx = point_shapes(CORNERS[: len(names)])
    parts = {".shp": shp, ".shx": shx, ".dbf": dbf(field, names, encoding, language_driver), ".prj": WGS84}
    if cpg:
        parts[".cpg"] = cpg
    return {stem + suffix: content for suffix, content in parts.items()}


# --- OpenStreetMap PBF (https://wiki.openstreetmap.org/wiki/PBF_Format), the few messages that are needed ------------


def varint(value: int) -> bytes:
    """A base-128 number."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> bytes:
    """A signed number."""
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """A message of length-delimited (bytes) and varint (int) fields."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def blob(kind: bytes, content: bytes) -> bytes:
    """One file block."""
    body = message((2, len(content)), (3, zlib.compress(content)))
    header = message((1, kind), (3, len(body)))
    return struct.pack(">I", len(header)) + header + body


def osm_pbf() -> bytes:
    """Nodes, one building way, one street way."""
    strings = [
        b"",
        b"building",
        b"yes",
        b"name",
        NAMES[0].encode(),
        b"highway",
        b"residential",
        b"amenity",
        b"cafe",
    ]
    strings += [b"building:levels", b"6"]
    places = [(round(y * 1e7), round(x * 1e7)) for x, y in ring(*CORNERS[0])[:4]]

    def node(number: int, place: tuple[int, int], tags: list[tuple[int, int]]) -> bytes:
        keys, values = b"".join(varint(k) for k, _ in tags), b"".join(varint(v) for _, v in tags)
        latitude, longitude = (place[0] * 2, place[1] * 2)  # zigzag of positive numbers
        tagged = ((2, keys), (3, values)) if tags else ()
        return message((1, number * 2), *tagged, (8, latitude), (9, longitude))

    def way(number: int, refs: list[int], tags: list[tuple[int, int]]) -> bytes:
        steps = b"".join(zigzag(after - before) for before, after in zip([0, *refs], refs, strict=False))
        keys, values = b"".join(varint(k) for k, _ in tags), b"".join(varint(v) for _, v in tags)
        return message((1, number), (2, keys), (3, values), (8, steps))

    nodes = [
        (1, node(number, place, [(7, 8)] if number == 1 else [])) for number, place in enumerate(places, 1)
    ]
    ways = [
        (3, way(7, [1, 2, 3, 4, 1], [(1, 2), (3, 4), (9, 10)])),
        (3, way(8, [1, 3], [(5, 6), (3, 4)])),
    ]
    table = message(*[(1, text) for text in strings])
    block = message((1, table), (2, message(*nodes)), (2, message(*ways)))
    head = message((4, b"OsmSchema-V0.6"), (16, b"chengtu tests"))
    return blob(b"OSMHeader", head) + blob(b"OSMData", block)


def csv_text() -> str:
    """The corners with Chinese column names."""
    rows = [
        f"{name},{x},{y},{floors:03d}" for name, (x, y), floors in zip(NAMES, CORNERS, FLOORS, strict=True)
    ]
    return "\r\n".join(["名称,经度,纬度,编号", *rows, ""])


def make(folder: Path) -> None:
    """Write every file."""
    collection = blocks()
    features = collection["features"]
    assert isinstance(features, list)
    content = {
        "blocks.geojson": json.dumps(collection, ensure_ascii=False, indent=1).encode(),
        "blocks.geojsonl": "\n".join(
            json.dumps(feature, ensure_ascii=False) for feature in features
        ).encode(),
        "places_gb18030.zip": zipped(shapefile("地名/地名", NAMES, "名称", "gb18030"), encoding="gb18030"),
        "places_shift_jis.zip": zipped(
            shapefile("places", ("東京タワー", "渋谷区役所", "新宿駅"), "名前", "cp932", language_driver=0x13)
        ),
        "places_wrong_cpg.zip": zipped(shapefile("places", NAMES, "名称", "gb18030", cpg=b"UTF-8")),
        "places_gb18030.csv": csv_text().encode("gb18030"),
        "block.osm.pbf": osm_pbf(),
    }
    for name, data in content.items():
        folder.joinpath(name).write_bytes(data)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
