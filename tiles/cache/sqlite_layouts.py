"""The tables of a tileset's file: MBTiles 1.3, or GeoPackage 1.3 (OGC 12-128r17). Both keep tiles in a table `tiles`.

The `id` of a tile is the nanosecond at which it was written: its stamp.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from tiles.cache.tile import Tileset
from tiles.grids import Grid, grid

_TILES = """
CREATE TABLE tiles (
  id INTEGER PRIMARY KEY AUTOINCREMENT, zoom_level INTEGER NOT NULL, tile_column INTEGER NOT NULL, tile_row INTEGER NOT NULL,
  tile_data BLOB NOT NULL, UNIQUE (zoom_level, tile_column, tile_row)
);
"""
_GEOPACKAGE = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT
);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
);
CREATE TABLE gpkg_tile_matrix_set (
  table_name TEXT NOT NULL PRIMARY KEY, srs_id INTEGER NOT NULL,
  min_x DOUBLE NOT NULL, min_y DOUBLE NOT NULL, max_x DOUBLE NOT NULL, max_y DOUBLE NOT NULL,
  CONSTRAINT fk_gtms_table_name FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gtms_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
);
CREATE TABLE gpkg_tile_matrix (
  table_name TEXT NOT NULL, zoom_level INTEGER NOT NULL, matrix_width INTEGER NOT NULL, matrix_height INTEGER NOT NULL,
  tile_width INTEGER NOT NULL, tile_height INTEGER NOT NULL, pixel_x_size DOUBLE NOT NULL, pixel_y_size DOUBLE NOT NULL,
  CONSTRAINT pk_ttm PRIMARY KEY (table_name, zoom_level),
  CONSTRAINT fk_tmm_table_name FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name)
);
CREATE TABLE gpkg_extensions (
  table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL, scope TEXT NOT NULL,
  CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name)
);
"""
_APPLICATION_ID = 0x47504B47  # "GPKG"
_VERSION = 10300
_MBTILES_FORMATS = {
    "png": "png",
    "jpeg": "jpg",
    "webp": "webp",
    "mvt": "pbf",
    "terrain": "terrain",
    "glb": "glb",
    "b3dm": "b3dm",
    "i3s": "i3s",
}
_WEBP_EXTENSION = "http://www.geopackage.org/spec121/#extension_tiles_webp"
_UNDEFINED = "undefined"


class Layout(NamedTuple):
    """A kind of file. `make` fills a new one; `from_bottom`: its rows count from the bottom."""

    suffix: str
    from_bottom: bool
    make: Callable[[sqlite3.Connection, Tileset], None]


def _make_mbtiles(connection: sqlite3.Connection, tileset: Tileset) -> None:
    connection.executescript(_TILES + "CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT);")
    metadata = {
        "name": f"{tileset.tenant}.{tileset.collection}",
        "format": _MBTILES_FORMATS[tileset.extension],
        "type": "overlay",
        "version": "1",
        "description": f"{tileset.form}, {tileset.grid}, generation {tileset.generation}",
        "bounds": "-180.0,-85.051129,180.0,85.051129",
    }
    if tileset.extension == "mvt":
        metadata["json"] = json.dumps({"vector_layers": [{"id": tileset.collection, "fields": {}}]})
    connection.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())


def _make_geopackage(connection: sqlite3.Connection, tileset: Tileset) -> None:
    pyramid = grid(tileset.grid)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.executescript(_GEOPACKAGE + _TILES)
    srs_id = _put_reference_systems(connection, pyramid)
    vector = tileset.extension == "mvt"
    bounds = _bounds(pyramid)
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id)"
        " VALUES ('tiles', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            "vector-tiles" if vector else "tiles",
            f"{tileset.tenant}.{tileset.collection}",
            f"{tileset.form}, {tileset.grid}, generation {tileset.generation}",
            *bounds,
            srs_id,
        ),
    )
    connection.execute("INSERT INTO gpkg_tile_matrix_set VALUES ('tiles', ?, ?, ?, ?, ?)", (srs_id, *bounds))
    for zoom in range(pyramid.min_zoom, pyramid.max_zoom + 1):
        matrix = pyramid.matrix(zoom)
        connection.execute(
            "INSERT INTO gpkg_tile_matrix VALUES ('tiles', ?, ?, ?, ?, ?, ?, ?)",
            (
                zoom,
                matrix.columns,
                matrix.rows,
                matrix.tile_width,
                matrix.tile_height,
                matrix.cell_size,
                matrix.cell_size,
            ),
        )
    if tileset.extension == "webp":
        connection.execute(
            "INSERT INTO gpkg_extensions VALUES ('tiles', 'tile_data', 'gpkg_webp', ?, 'read-write')",
            (_WEBP_EXTENSION,),
        )


def _put_reference_systems(connection: sqlite3.Connection, pyramid: Grid) -> int:
    from pyproj import CRS

    # A GeoPackage gives the longitude first whatever the authority says (clause 1.1.1.1), which is CRS84 as EPSG:4326.
    code = pyramid.authority_code.replace("OGC:CRS84", "EPSG:4326")
    srs_id = int(code.partition(":")[2])
    rows = [
        ("Undefined Cartesian", -1, "NONE", -1, _UNDEFINED, None),
        ("Undefined geographic", 0, "NONE", 0, _UNDEFINED, None),
    ]
    for number in sorted({4326, srs_id}):
        crs = CRS.from_epsg(number)
        rows.append((crs.name, number, "EPSG", number, crs.to_wkt("WKT1_GDAL"), None))
    connection.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", rows)
    return srs_id


def _bounds(pyramid: Grid) -> tuple[float, float, float, float]:
    first = pyramid.matrix(pyramid.min_zoom)
    width = first.columns * first.tile_width * first.cell_size
    height = first.rows * first.tile_height * first.cell_size
    return first.left, first.top - height, first.left + width, first.top


LAYOUTS = {
    "mbtiles": Layout("mbtiles", True, _make_mbtiles),
    "geopackage": Layout("gpkg", False, _make_geopackage),
}
