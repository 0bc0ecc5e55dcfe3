"""What a table or view of a PostGIS database holds: its columns, keys, geometry, reference system and extent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pyproj
from pyproj.exceptions import CRSError

from providers.errors import StoreError
from providers.features.crs import ReferenceSystem, describe_crs, reference_system, transform_between
from providers.features.postgis.columns import Column, Kind, kind_of, quoted
from providers.features.postgis.pools import Connection, statement_timeout
from providers.features.query import CRS84

_READABLE_KINDS = "rvmfp"  # table, view, materialised view, foreign table, partitioned table
FRAGMENT_MARK = "chengtu fragment "  # the comment on a stored fragment begins so: it is no field
_EXTENT_TIME = "3s"
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_EXACT_ROWS = (
    50_000  # up to here rows are counted and extents computed; above, the planner's figures are taken
)

_RELATION = """
SELECT c.oid, c.relkind::text, c.reltuples::float8, obj_description(c.oid, 'pg_class'),
       has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'),
       current_setting('server_encoding'),
       EXISTS (SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu' AND collnamespace = 'pg_catalog'::regnamespace)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind::text = ANY(string_to_array('r,v,m,f,p', ','))
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
"""
_COLUMNS = """
WITH RECURSIVE base(attnum, oid, typmod) AS (
    SELECT attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype, CASE WHEN b.typmod < 0 THEN t.typtypmod ELSE b.typmod END
    FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
)
SELECT a.attname, t.typname, t.typcategory::text = 'A', b.typmod, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       col_description(a.attrelid, a.attnum), coalesce(l.collisdeterministic, true),
       CASE WHEN l.collname = 'default' THEN d.datcollate IN ('C', 'POSIX') ELSE l.collname IN ('C', 'POSIX') END,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', a.attnum
FROM pg_attribute a JOIN base b ON b.attnum = a.attnum JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
     LEFT JOIN pg_collation l ON l.oid = a.attcollation CROSS JOIN pg_database d
WHERE a.attrelid = %(oid)s AND d.datname = current_database() AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
ORDER BY a.attnum
"""
_UNIQUE = """
SELECT i.indisprimary, a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL ORDER BY i.indisprimary DESC, a.attnum
"""
_SPATIAL_INDEX = """
SELECT EXISTS (SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = %s AND a.attname = %s AND m.amname IN ('gist', 'spgist', 'brin') AND i.indisvalid)
"""
_GEOMETRY = """
SELECT postgis_typmod_type(%(typmod)s), postgis_typmod_srid(%(typmod)s), postgis_typmod_dims(%(typmod)s)
"""
_NAMES = {
    "GEOMETRY": "Geometry",
    "POINT": "Point",
    "LINESTRING": "LineString",
    "POLYGON": "Polygon",
    "MULTIPOINT": "MultiPoint",
    "MULTILINESTRING": "MultiLineString",
    "MULTIPOLYGON": "MultiPolygon",
    "GEOMETRYCOLLECTION": "GeometryCollection",
    "TRIANGLE": "Polygon",
    "TIN": "MultiPolygon",
    "POLYHEDRALSURFACE": "MultiPolygon",
    "CIRCULARSTRING": "LineString",
    "COMPOUNDCURVE": "LineString",
    "CURVEPOLYGON": "Polygon",
    "MULTICURVE": "MultiLineString",
    "MULTISURFACE": "MultiPolygon",
}
_SIMPLE = frozenset({"Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"})


@dataclass(frozen=True)
class GeometryColumn:
    """The geometry of a table. `type_name` is a GeoJSON type or "Geometry"; `is_plain` where every value is of simple features."""

    name: str
    type_name: str
    srid: int
    has_z: bool
    has_m: bool
    is_plain: bool
    is_multi: bool
    has_index: bool
    storage: ReferenceSystem

    @property
    def sql(self) -> str:
        """The column itself."""
        return f"a.{quoted(self.name)}"

    @property
    def readable(self) -> str:
        """The geometry without arcs, surfaces of patches, or measures: what GeoJSON and shapely know."""
        text = self.sql
        if not self.is_plain:
            text = (
                f"(CASE WHEN GeometryType({text}) IN ('POLYHEDRALSURFACE', 'TIN')"  # noqa: S608 - quoted names
                f" THEN (SELECT ST_Multi(ST_Collect(CASE WHEN GeometryType(d.geom) = 'TRIANGLE' THEN"
                f" ST_MakePolygon(ST_ExteriorRing(d.geom)) ELSE d.geom END)) FROM ST_Dump({text}) d)"
                f" WHEN GeometryType({text}) = 'TRIANGLE' THEN ST_MakePolygon(ST_ExteriorRing({text}))"
                f" WHEN ST_HasArc({text}) THEN ST_CurveToLine({text}) ELSE {text} END)"
            )
        if self.has_m:
            text = f"ST_Force3DZ({text})" if self.has_z else f"ST_Force2D({text})"
        return text


@dataclass(frozen=True)
class Table:
    """One table or view. `columns` are those that can be shown, by name; `key` is the one ids are made of."""

    schema: str
    name: str
    oid: int
    is_view: bool
    has_row_versions: bool
    may_write: bool
    has_icu: bool
    title: str | None
    estimated_rows: float
    columns: dict[str, Column]
    key: Column
    geometry: GeometryColumn | None

    @property
    def sql(self) -> str:
        """The table with its schema."""
        return quoted(self.schema, self.name)

    @property
    def is_small(self) -> bool:
        """Whether all its rows may be looked at within a request."""
        return not self.is_view and 0 <= self.estimated_rows <= _EXACT_ROWS


def read_table(
    connection: Connection,
    schema: str,
    name: str,
    key: str | None = None,
    geometry: str | None = None,
) -> Table:
    """Look a table up. `key` None: its primary key (or only unique column); `geometry` None: its only geometry.

    Raises StoreError, saying what there is and what to choose.
    """
    row = connection.execute(_RELATION, (schema, name)).fetchone()
    if row is None:
        raise StoreError(
            f"There is no table or view {schema}.{name} that this role may read; check the name, and GRANT SELECT on it"
        )
    oid, kind, estimated, title, may_write, encoding, has_icu = row
    if encoding != "UTF8":
        raise StoreError(f"The database has the encoding {encoding}; features are served from UTF8 databases")
    found = connection.execute(_COLUMNS, {"oid": oid}).fetchall()
    columns = {column.name: column for column in map(_column, found) if column is not None}
    columns = {
        name: each for name, each in columns.items() if not (each.title or "").startswith(FRAGMENT_MARK)
    }
    return Table(
        schema,
        name,
        oid,
        is_view=kind not in "rp",
        has_row_versions=kind == "r",
        may_write=may_write and kind in "rp",
        has_icu=has_icu,
        title=title,
        estimated_rows=estimated,
        columns=columns,
        key=_key(connection, oid, f"{schema}.{name}", columns, key),
        geometry=_geometry(connection, oid, (schema, name), kind, found, geometry),
    )


def _column(row: Sequence[Any]) -> Column | None:
    (
        name,
        type_name,
        is_array,
        typmod,
        type_sql,
        nullable,
        title,
        deterministic,
        binary,
        default,
        generated,
        _,
    ) = row
    precision = scale = None
    if type_name == "numeric" and typmod >= 4:
        precision, scale = (typmod - 4) >> 16, (typmod - 4) & 0x7FF
    kind = kind_of(type_name, is_array=is_array, precision=precision, scale=scale)
    if kind is None:
        return None
    length = typmod - 4 if type_name in ("varchar", "bpchar") and typmod >= 4 else None
    return Column(
        name,
        kind,
        type_name,
        type_sql,
        nullable,
        title,
        length,
        bool(binary),
        deterministic,
        default,
        generated,
        precision,
    )


def _key(
    connection: Connection, oid: int, called: str, columns: dict[str, Column], wanted: str | None
) -> Column:
    if wanted is not None:
        column = columns.get(wanted)
        if column is None:
            raise StoreError(f"{called} has no column {wanted!r} for ids; it has: {', '.join(columns)}")
        return column
    unique = connection.execute(_UNIQUE, (oid,)).fetchall()
    primary = [name for is_primary, name in unique if is_primary]
    names = primary or [name for _, name in unique if name in columns and not columns[name].nullable]
    if not names or names[0] not in columns:
        raise StoreError(
            f"{called} has no primary key of one column: name a unique column as `id` (columns: {', '.join(columns)})"
        )
    return columns[names[0]]


def _geometry(
    connection: Connection,
    oid: int,
    relation: tuple[str, str],
    kind: str,
    rows: Sequence[Sequence[Any]],
    wanted: str | None,
) -> GeometryColumn | None:
    called = ".".join(relation)
    found = {row[0]: row[3] for row in rows if row[1] == "geometry" and not row[2]}
    if wanted is None and len(found) != 1:
        if not found:
            return None
        raise StoreError(f"{called} has several geometries: choose one of {', '.join(found)} as `geometry`")
    name = wanted if wanted is not None else next(iter(found))
    if name not in found:
        there = ", ".join(found) or "none"
        raise StoreError(
            f"{called} has no geometry column {name!r}; it has: {there} (cast geography to geometry in a view)"
        )
    type_name, srid, dimensions = _geometry_type(connection, found[name], relation, name)
    base = re.sub("(ZM|Z|M)$", "", type_name.upper())
    public = _NAMES.get(base, "Geometry")
    (has_index,) = connection.execute(_SPATIAL_INDEX, (oid, name)).fetchone() or (False,)
    return GeometryColumn(
        name,
        public,
        srid,
        has_z=dimensions == 4 or (dimensions == 3 and not type_name.upper().endswith("M")),
        has_m=dimensions == 4 or (dimensions == 3 and type_name.upper().endswith("M")),
        is_plain=_NAMES.get(base) in _SIMPLE and base == public.upper(),
        is_multi=base.startswith("MULTI") and base == public.upper(),
        has_index=has_index or kind == "v",
        storage=_storage(connection, srid, called),
    )


def _geometry_type(
    connection: Connection, typmod: int, relation: tuple[str, str], name: str
) -> tuple[str, int, int]:
    """Type, SRID and dimensions: of the declaration, else of the first geometry there is."""
    if typmod >= 0:
        row = connection.execute(_GEOMETRY, {"typmod": typmod}).fetchone()
        if row is not None and row[1]:
            return row[0], row[1], row[2]
    column = quoted(name)
    statement = (
        f"SELECT ST_SRID({column}), ST_NDims({column}), ST_Zmflag({column}) FROM {quoted(*relation)}"  # noqa: S608 - quoted names
        f" WHERE {column} IS NOT NULL LIMIT 1"
    )
    first = connection.execute(statement.encode(), ()).fetchone()
    if first is None or not first[0]:
        raise StoreError(
            f"{'.'.join(relation)}.{name} has no SRID: declare one, for example"
            f" ALTER TABLE ... ALTER COLUMN ... TYPE geometry(Geometry, 4326) USING ST_SetSRID(..., 4326)"
        )
    srid, dimensions, flags = first
    return {0: "Geometry", 1: "GeometryM", 2: "GeometryZ", 3: "GeometryZM"}[flags], srid, dimensions


def _storage(connection: Connection, srid: int, called: str) -> ReferenceSystem:
    row = connection.execute(
        "SELECT auth_name, auth_srid, srtext FROM spatial_ref_sys WHERE srid = %s", (srid,)
    ).fetchone()
    if row is None:
        raise StoreError(f"{called}: the SRID {srid} is not in spatial_ref_sys")
    authority, code, text = row
    if authority == "EPSG" and code:
        # Coordinates of PostGIS are x = east whatever the authority says: 4326 is kept as CRS84 is.
        return reference_system(f"EPSG:{code}")
    try:
        return describe_crs(pyproj.CRS.from_wkt(text))
    except CRSError as error:
        raise StoreError(
            f"{called}: PROJ cannot read the reference system {srid} of spatial_ref_sys"
        ) from error


def extent_of(connection: Connection, table: Table) -> tuple[float, ...]:
    """The extent in CRS84: exact for small tables and quick views, from the planner's statistics for large tables.

    The whole world where a view takes longer than it should.
    """
    if table.geometry is None:
        return ()
    column = table.geometry.sql
    exact = (
        f"SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e), ST_ZMin(e), ST_ZMax(e)"  # noqa: S608 - quoted names
        f" FROM (SELECT ST_3DExtent({column}) e FROM {table.sql} a) t"
    )
    row = None
    if not table.is_small and not table.is_view:
        row = _estimated_extent(connection, table)
    if row is None:
        try:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", (_EXTENT_TIME,))
            row = connection.execute(exact.encode(), ()).fetchone()
        except psycopg.errors.QueryCanceled:
            return _WORLD
        finally:
            if not connection.broken:
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, false)", (statement_timeout(),)
                )
    if row is None or row[0] is None:
        return ()
    return _in_crs84(row, table.geometry)


def _estimated_extent(connection: Connection, table: Table) -> tuple[Any, ...] | None:
    assert table.geometry is not None
    try:
        row = connection.execute(
            "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e), NULL, NULL"
            " FROM (SELECT ST_EstimatedExtent(%s, %s, %s) e) t",
            (table.schema, table.name, table.geometry.name),
        ).fetchone()
    except (psycopg.InternalError, psycopg.errors.InvalidName, psycopg.errors.UndefinedTable):
        return None  # never analysed, or a name that the function cannot take
    return row if row is not None and row[0] is not None else None


def _in_crs84(row: Sequence[Any], geometry: GeometryColumn) -> tuple[float, ...]:
    west, south, east, north, lowest, highest = row
    target = reference_system(CRS84)
    if transform_between(geometry.storage, target) is not None:
        transformer = pyproj.Transformer.from_crs(
            geometry.storage.horizontal, target.horizontal, always_xy=True
        )
        west, south, east, north = transformer.transform_bounds(west, south, east, north, densify_pts=21)
    if geometry.has_z and lowest is not None:
        return (west, south, lowest, east, north, highest)
    return (west, south, east, north)


def count_of(connection: Connection, table: Table) -> int:
    """Rows of the table, counted one by one."""
    row = connection.execute(f"SELECT count(*) FROM {table.sql}".encode(), ()).fetchone()  # noqa: S608 - quoted name
    return int(row[0]) if row else 0


def text_kinds() -> frozenset[Kind]:
    """The kinds whose values are texts to users (searched by `q`)."""
    return frozenset({Kind.TEXT, Kind.UUID, Kind.ARRAY, Kind.OTHER})
