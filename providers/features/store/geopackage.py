"""The GeoPackage side of a store file (OGC 12-128r19): tables, geometry blobs, and a packed R-tree.

Our own tables are registered as an extension (clause 2.3) with scope "write-only": a client that only reads may ignore
them. `gdal_aspatial` keeps GDAL from listing them as layers.
"""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

APPLICATION_ID = 0x47504B47  # "GPKG"
USER_VERSION = 10300  # GeoPackage 1.3
TABLE = "feature"
GEOMETRY_COLUMN = "geom"
RTREE = f"rtree_{TABLE}_{GEOMETRY_COLUMN}"
EXTENSION = "chengtu_fragments"

_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
  srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
CREATE TABLE gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL,
  scope TEXT NOT NULL, CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name));
"""

# GeoPackage Annex F.3 as of 1.4: the update triggers are split so that upserts work.
_TRIGGERS = """
CREATE TRIGGER "{r}_insert" AFTER INSERT ON "{t}" WHEN (new."{g}" NOT NULL AND NOT ST_IsEmpty(NEW."{g}"))
BEGIN INSERT OR REPLACE INTO "{r}" VALUES (NEW."{k}", ST_MinX(NEW."{g}"), ST_MaxX(NEW."{g}"), ST_MinY(NEW."{g}"),
 ST_MaxY(NEW."{g}")); END;
CREATE TRIGGER "{r}_update2" AFTER UPDATE OF "{g}" ON "{t}" WHEN OLD."{k}" = NEW."{k}" AND
 (NEW."{g}" ISNULL OR ST_IsEmpty(NEW."{g}")) BEGIN DELETE FROM "{r}" WHERE id = OLD."{k}"; END;
CREATE TRIGGER "{r}_update4" AFTER UPDATE ON "{t}" WHEN OLD."{k}" != NEW."{k}" AND
 (NEW."{g}" ISNULL OR ST_IsEmpty(NEW."{g}")) BEGIN DELETE FROM "{r}" WHERE id IN (OLD."{k}", NEW."{k}"); END;
CREATE TRIGGER "{r}_update5" AFTER UPDATE ON "{t}" WHEN OLD."{k}" != NEW."{k}" AND
 (NEW."{g}" NOTNULL AND NOT ST_IsEmpty(NEW."{g}")) BEGIN DELETE FROM "{r}" WHERE id = OLD."{k}";
 INSERT OR REPLACE INTO "{r}" VALUES (NEW."{k}", ST_MinX(NEW."{g}"), ST_MaxX(NEW."{g}"), ST_MinY(NEW."{g}"),
 ST_MaxY(NEW."{g}")); END;
CREATE TRIGGER "{r}_update6" AFTER UPDATE OF "{g}" ON "{t}" WHEN OLD."{k}" = NEW."{k}" AND
 (NEW."{g}" NOTNULL AND NOT ST_IsEmpty(NEW."{g}")) AND (OLD."{g}" NOTNULL AND NOT ST_IsEmpty(OLD."{g}"))
BEGIN UPDATE "{r}" SET minx = ST_MinX(NEW."{g}"), maxx = ST_MaxX(NEW."{g}"), miny = ST_MinY(NEW."{g}"),
 maxy = ST_MaxY(NEW."{g}") WHERE id = NEW."{k}"; END;
CREATE TRIGGER "{r}_update7" AFTER UPDATE OF "{g}" ON "{t}" WHEN OLD."{k}" = NEW."{k}" AND
 (NEW."{g}" NOTNULL AND NOT ST_IsEmpty(NEW."{g}")) AND (OLD."{g}" ISNULL OR ST_IsEmpty(OLD."{g}"))
BEGIN INSERT INTO "{r}" VALUES (NEW."{k}", ST_MinX(NEW."{g}"), ST_MaxX(NEW."{g}"), ST_MinY(NEW."{g}"),
 ST_MaxY(NEW."{g}")); END;
CREATE TRIGGER "{r}_delete" AFTER DELETE ON "{t}" WHEN old."{g}" NOT NULL
BEGIN DELETE FROM "{r}" WHERE id = OLD."{k}"; END;
"""
_RTREE_DEFINITION = "http://www.geopackage.org/spec120/#extension_rtree"
_FIRST_FREE_SRS = 100001
_HEADER = struct.Struct("<2sBBi")
_ENVELOPE_SIZES = (0, 32, 48, 48, 64)
_POINTS = (1, 1001, 2001, 3001)  # ISO WKB: point, with z, with m, with both


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def srs_id_of(crs: pyproj.CRS) -> int:
    """The srs_id under which a GeoPackage of ours keeps `crs`."""
    if is_wgs84(crs):
        return 4326
    authority = crs.to_authority(min_confidence=100)
    return int(authority[1]) if authority is not None and authority[0] == "EPSG" else _FIRST_FREE_SRS


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run several statements inside the open transaction (`executescript` would commit it first)."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def create_tables(connection: sqlite3.Connection, crs: pyproj.CRS, srs_id: int) -> None:
    """Create the GeoPackage tables and the rows of the reference systems."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    run_script(connection, _TABLES)
    rows: list[tuple[str, int, str, int, str, str]] = [
        (
            "Undefined cartesian SRS",
            -1,
            "NONE",
            -1,
            "undefined",
            "undefined cartesian coordinate reference system",
        ),
        (
            "Undefined geographic SRS",
            0,
            "NONE",
            0,
            "undefined",
            "undefined geographic coordinate reference system",
        ),
        _srs_row(pyproj.CRS.from_epsg(4326)),
    ]
    if srs_id != 4326:
        rows.append(_srs_row(crs))
    connection.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", rows)


def is_wgs84(crs: pyproj.CRS) -> bool:
    """EPSG:4326 or CRS84: a GeoPackage keeps both as srs_id 4326 with x = longitude (clause 1.1.2)."""
    return crs.to_authority(min_confidence=100) in (("EPSG", "4326"), ("OGC", "CRS84"))


def _srs_row(crs: pyproj.CRS) -> tuple[str, int, str, int, str, str]:
    authority = crs.to_authority(min_confidence=100)
    try:
        definition = crs.to_wkt("WKT1_GDAL")
    except CRSError:  # what WKT 1 has no words for, such as EPSG:4979 with its ellipsoidal height
        definition = crs.to_wkt()
    if authority is not None and authority[0] == "EPSG":
        return crs.name, int(authority[1]), "EPSG", int(authority[1]), definition, crs.name
    return crs.name, _FIRST_FREE_SRS, "NONE", _FIRST_FREE_SRS, definition, crs.name


def register_layer(
    connection: sqlite3.Connection,
    *,
    title: str,
    description: str,
    srs_id: int,
    geometry_type: str,
    has_z: bool,
    bounds: tuple[float, float, float, float] | None,
    own_tables: Sequence[str],
) -> None:
    """List the feature table, the R-tree extension with its triggers, and our own tables."""
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id)"
        " VALUES (?, 'features', ?, ?, ?, ?, ?, ?, ?)",
        (TABLE, title or TABLE, description, *(bounds or (None,) * 4), srs_id),
    )
    connection.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, ?, ?, ?, ?, 0)",
        (TABLE, GEOMETRY_COLUMN, geometry_type.upper(), srs_id, 1 if has_z else 0),
    )
    extensions: list[tuple[str | None, str | None, str, str, str]] = [
        (TABLE, GEOMETRY_COLUMN, "gpkg_rtree_index", _RTREE_DEFINITION, "write-only"),
        (None, None, "gdal_aspatial", "http://gdal.org/geopackage_aspatial.html", "read-write"),
    ]
    definition = "GeoJSON fragments of Chengtu: docs/decisions/0003-z-order-keys-and-fragments.md"
    extensions += [(table, None, EXTENSION, definition, "write-only") for table in own_tables]
    connection.executemany("INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)", extensions)
    run_script(connection, _TRIGGERS.format(r=RTREE, t=TABLE, g=GEOMETRY_COLUMN, k="key"))


def register_functions(connection: sqlite3.Connection) -> None:
    """The SQL functions that the R-tree triggers call (clause F.3); a connection that edits features needs them."""
    connection.create_function("ST_IsEmpty", 1, _is_empty, deterministic=True)
    for index, name in enumerate(("ST_MinX", "ST_MinY", "ST_MaxX", "ST_MaxY")):
        connection.create_function(name, 1, _bound(index), deterministic=True)


def _is_empty(blob: bytes | None) -> int | None:
    return None if blob is None else blob[3] >> 4 & 1


def _bound(index: int) -> Callable[[bytes | None], float | None]:
    """The function that gives number `index` of (minx, miny, maxx, maxy)."""

    def bound(blob: bytes | None) -> float | None:
        if blob is None:
            return None
        value = _bounds(blob)[index]
        return None if math.isnan(value) else value

    return bound


def _bounds(blob: bytes) -> tuple[float, float, float, float]:
    """Envelope of a geometry: from its header, from the coordinates of a point, or by a look at all of it."""
    order = "<" if blob[3] & 1 else ">"
    if blob[3] >> 1 & 7:
        west, east, south, north = struct.unpack_from(order + "4d", blob, 8)
        return west, south, east, north
    kind, x, y = (
        struct.unpack_from(("<" if blob[8] == 1 else ">") + "I2d", blob, 9) if len(blob) >= 29 else (0, 0, 0)
    )
    if kind in _POINTS:
        return x, y, x, y
    west, south, east, north = shapely.bounds(shapely.from_wkb(blob[8:])).tolist()
    return west, south, east, north


def encode_geometries(
    geometries: NDArray[np.object_], bounds: NDArray[np.float64], srs_id: int
) -> list[bytes | None]:
    """GeoPackage binary of shapely geometries (clause 2.1.3): ISO WKB, an xy envelope for all but points; None stays None.

    `bounds` is (n, 4): minx, miny, maxx, maxy in the same CRS.
    """
    wkb = shapely.to_wkb(geometries, flavor="iso", byte_order=1)
    small = _HEADER.pack(b"GP", 0, 0b00000001, srs_id)
    large = _HEADER.pack(b"GP", 0, 0b00000011, srs_id)
    envelopes = np.ascontiguousarray(bounds[:, [0, 2, 1, 3]], dtype="<f8").tobytes()
    is_point = (shapely.get_type_id(geometries) == shapely.GeometryType.POINT).tolist()
    blobs: list[bytes | None] = []
    for index, (body, point) in enumerate(zip(wkb, is_point, strict=True)):
        if body is None:
            blobs.append(None)
        elif point:
            blobs.append(small + body)
        else:
            blobs.append(large + envelopes[32 * index : 32 * index + 32] + body)
    return blobs


def header_size(blob: bytes) -> int:
    """Bytes before the WKB of a GeoPackage geometry."""
    return 8 + _ENVELOPE_SIZES[blob[3] >> 1 & 7]


def decode_geometries(blobs: Sequence[bytes | None]) -> NDArray[np.object_]:
    """Shapely geometries of GeoPackage blobs; None for NULL."""
    wkb = [None if blob is None else blob[header_size(blob) :] for blob in blobs]
    return np.asarray(shapely.from_wkb(np.array(wkb, dtype=object)), dtype=object)


_CELL = np.dtype([("id", ">i8"), ("minx", ">f4"), ("maxx", ">f4"), ("miny", ">f4"), ("maxy", ">f4")])
_MAXIMUM_CELLS = 51  # RTREE_MAXCELLS of SQLite
_FILL = 44  # leaves room for edits before nodes split
_PAIRS = 50_000  # rows of a shadow table that are made at once
_NODE_BYTES = 4 + _CELL.itemsize * _MAXIMUM_CELLS


def write_packed_rtree(
    connection: sqlite3.Connection, name: str, keys: NDArray[np.int64], bounds: NDArray[np.float64]
) -> None:
    """Create the virtual table `name` and fill it, as packed nodes of neighbours in the order given.

    Writing SQLite's node format (the comment at the head of its rtree.c) straight into the shadow tables takes a tenth of
    the time of inserting rows, and Z-order makes tight nodes. `rtreecheck()` in the tests holds it. `bounds` is (n, 4):
    minx, miny, maxx, maxy; kept as float32 rounded outwards. The page size must be 2048 bytes or more.
    """
    connection.execute(f"CREATE VIRTUAL TABLE {quote(name)} USING rtree(id, minx, maxx, miny, maxy)")
    if len(keys) == 0:
        return
    cells = np.empty(len(keys), dtype=_CELL)
    cells["id"] = keys
    for field, column, towards in (
        ("minx", 0, -np.inf),
        ("miny", 1, -np.inf),
        ("maxx", 2, np.inf),
        ("maxy", 3, np.inf),
    ):
        cells[field] = _round_outwards(bounds[:, column], towards)
    connection.execute(f"DELETE FROM {quote(name + '_node')}")  # noqa: S608 - quoted, and ours
    depth = 0
    first_node = 2  # the root is node 1
    while len(cells) > _MAXIMUM_CELLS:
        count = -(-len(cells) // _FILL)
        nodes = np.arange(first_node, first_node + count, dtype=np.int64)
        _write_nodes(connection, name, cells, nodes, leaf=depth == 0)
        cells = _parents(cells, nodes)
        first_node += count
        depth += 1
    _write_nodes(connection, name, cells, np.array([1]), leaf=depth == 0, depth=depth)


def _round_outwards(values: NDArray[np.float64], towards: float) -> NDArray[np.float32]:
    single = values.astype(np.float32)
    inside = single > values if towards < 0 else single < values
    return np.where(inside, np.nextafter(single, np.float32(towards)), single)


def _parents(cells: NDArray[Any], nodes: NDArray[np.int64]) -> NDArray[Any]:
    starts = np.arange(0, len(cells), _FILL)
    parents = np.empty(len(nodes), dtype=_CELL)
    parents["id"] = nodes
    for field, reduce in (
        ("minx", np.minimum),
        ("miny", np.minimum),
        ("maxx", np.maximum),
        ("maxy", np.maximum),
    ):
        parents[field] = reduce.reduceat(cells[field].astype(np.float32), starts)
    return parents


def _write_nodes(
    connection: sqlite3.Connection,
    name: str,
    cells: NDArray[Any],
    nodes: NDArray[np.int64],
    *,
    leaf: bool,
    depth: int = 0,
) -> None:
    size = _MAXIMUM_CELLS if len(nodes) == 1 else _FILL
    data = cells.tobytes()

    def blobs() -> Iterator[tuple[int, bytes]]:
        for index, node in enumerate(nodes.tolist()):
            body = data[index * size * _CELL.itemsize : (index + 1) * size * _CELL.itemsize]
            head = struct.pack(">HH", depth, len(body) // _CELL.itemsize)
            yield node, (head + body).ljust(_NODE_BYTES, b"\0")

    connection.executemany(f"INSERT INTO {quote(name + '_node')} VALUES (?, ?)", blobs())  # noqa: S608 - quoted
    shadow = quote(name + ("_rowid" if leaf else "_parent"))
    holders = np.repeat(nodes, size)[: len(cells)]
    for start in range(0, len(cells), _PAIRS):
        part = slice(start, start + _PAIRS)
        pairs = zip(cells["id"][part].tolist(), holders[part].tolist(), strict=True)
        connection.executemany(f"INSERT INTO {shadow} VALUES (?, ?)", pairs)  # noqa: S608 - quoted
