"""GeoPackage layers straight from SQLite: three times as fast as through fiona, which makes objects of every feature.

Only what the standard's core has is read here; curves, conditions, unusual column types and databases that someone is
writing to are left to GDAL (`reads_directly` says which).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import CRSError

from server.publish.completeness import check_complete
from server.publish.errors import CrsError, DamagedFile, InvalidGeometry, TextEncodingError
from server.publish.inputs import Input
from server.publish.layers import chosen_layer, connect_for_reading, has_journal, sqlite_layers
from server.publish.reference_systems import stated_crs
from server.publish.request import ReadingOptions
from server.publish.vectors import BATCH_SIZE, Batch, Geometries
from server.registry.catalogue import Field

_TYPES: dict[str, tuple[str, str | None]] = {
    "BOOLEAN": ("boolean", None),
    "TINYINT": ("integer", None),
    "SMALLINT": ("integer", None),
    "MEDIUMINT": ("integer", None),
    "INT": ("integer", None),
    "INTEGER": ("integer", None),
    "FLOAT": ("number", None),
    "DOUBLE": ("number", None),
    "REAL": ("number", None),
    "TEXT": ("string", None),
    "DATE": ("string", "date"),
    "DATETIME": ("string", "date-time"),
}
"""Column types of GeoPackage 1.4, table 1, without BLOB."""
_ENVELOPE_BYTES = (0, 32, 48, 48, 64)
_SIMPLE_TYPES = (-1, 0, 1, 3, 4, 5, 6, 7)
"""shapely's type ids of missing, points, lines, polygons, their collections; 2 is a ring, which no file holds."""


def reads_directly(item: Input, options: ReadingOptions) -> bool:
    """Whether this GeoPackage can be read without GDAL."""
    if item.format.driver != "GPKG" or options.where is not None or has_journal(item.path):
        return False
    try:
        with closing(connect_for_reading(item.path)) as database:
            if (
                _has_table(database, "gpkg_extensions")
                and database.execute(
                    "SELECT 1 FROM gpkg_extensions WHERE extension_name LIKE 'gpkg_geom_%' LIMIT 1"
                ).fetchone()
            ):
                return False
            layers = sqlite_layers(item.path)
            layer = options.layer if options.layer in layers else (layers[0] if layers else None)
            types = [_base_type(row[2]) for row in _table_info(database, layer or "")]
    except (sqlite3.Error, UnicodeDecodeError, DamagedFile):
        return False  # GDAL finds the words for it
    return all(kind in _TYPES or kind == "BLOB" or kind in _GEOMETRY_TYPES for kind in types)


_GEOMETRY_TYPES = frozenset(
    (
        "GEOMETRY",
        "POINT",
        "LINESTRING",
        "POLYGON",
        "MULTIPOINT",
        "MULTILINESTRING",
        "MULTIPOLYGON",
        "GEOMETRYCOLLECTION",
        "GEOMCOLLECTION",
    )
)


def _has_table(database: sqlite3.Connection, name: str) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def _table_info(database: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    """Rows of (number, name, declared type, not null, default, place in the primary key)."""
    return database.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()


def _base_type(declared: str) -> str:
    return re.sub(r"\(.*", "", declared or "").strip().upper()


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class GeoPackageSource:
    """One layer. Raises DamagedFile, LayerChoice, CrsError, TextEncodingError, InvalidGeometry."""

    def __init__(self, item: Input, options: ReadingOptions) -> None:
        self.name = item.name
        self._path = item.path
        self.warnings: list[str] = []
        self._broken: list[str] | None = [] if options.repair else None
        check_complete(item)
        self._layer = chosen_layer(self.name, sqlite_layers(item.path), options.layer)
        with self._database() as database:
            found = database.execute(
                "SELECT column_name, srs_id FROM gpkg_geometry_columns WHERE table_name = ?", (self._layer,)
            ).fetchone()
            if found is None:
                raise DamagedFile(f"The layer {self._layer!r} of {self.name} has no geometry column.")
            self._geometry = str(found[0])
            self.crs: pyproj.CRS | None = _crs_of(database, found[1], self.name)
            count = f"SELECT count(*) FROM {_quote(self._layer)}"  # noqa: S608 - a quoted name
            self.expected: int | None = database.execute(count).fetchone()[0]
            columns = _table_info(database, self._layer)
        keys = [row[1] for row in columns if row[5] and _base_type(row[2]) == "INTEGER"]
        self._key = keys[0] if len(keys) == 1 else None
        self.fields = tuple(self._fields_of(columns))

    def _fields_of(self, columns: Sequence[tuple[Any, ...]]) -> Iterator[Field]:
        for _, name, declared, *_ in columns:
            if name in (self._geometry, self._key):
                continue
            kind = _base_type(declared)
            if kind not in _TYPES:
                self.warnings.append(f"The field {name!r} of {self.name} holds binary data and was left out.")
                continue
            yield Field(name, *_TYPES[kind])

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect_for_reading(self._path)) as database:
                yield database
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if "decode" in str(error):
                raise TextEncodingError(f"Text in {self.name} is not UTF-8: {error}.") from error
            raise DamagedFile(f"{self.name} is a damaged GeoPackage: {error}.") from error

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises DamagedFile, TextEncodingError, InvalidGeometry."""
        names = [self._key, self._geometry] if self._key else [self._geometry]
        wanted = [*names, *(field.name for field in self.fields)]
        first = 1
        with self._database() as database:
            cursor = database.execute(
                f"SELECT {', '.join(map(_quote, wanted))} FROM {_quote(self._layer)}"  # noqa: S608 - quoted names
            )
            while rows := cursor.fetchmany(BATCH_SIZE):
                columns = list(zip(*rows, strict=True))
                ids = [str(key) for key in columns[0]] if self._key else None
                geometries = self._geometries(columns[len(names) - 1], first)
                values = columns[len(names) :]
                yield Batch(
                    geometries,
                    {field.name: column for field, column in zip(self.fields, values, strict=True)},
                    ids,
                )
                first += len(rows)
        if self._broken:
            self.warnings.append(
                f"{len(self._broken)} geometries of {self.name} could not be repaired and were left out (the first: "
                f"{self._broken[0]})."
            )

    def _geometries(self, blobs: Sequence[Any], first: int) -> Geometries:
        wkb = np.array([self._wkb(blob, number) for number, blob in enumerate(blobs, first)], dtype=object)
        try:
            geometries: Geometries = shapely.from_wkb(wkb)
        except shapely.errors.ShapelyError:
            geometries = np.array(
                [self._single(blob, number) for number, blob in enumerate(wkb, first)], dtype=object
            )
        unknown = ~np.isin(shapely.get_type_id(geometries), _SIMPLE_TYPES)
        if unknown.any():
            number = first + int(np.flatnonzero(unknown)[0])
            raise InvalidGeometry(
                f"Feature {number} of {self.name} has a curve, though the file does not tell of curves."
            )
        return geometries

    def _wkb(self, blob: Any, number: int) -> bytes | None:
        """The well-known binary in a GeoPackage geometry (GeoPackage 1.4, clause 2.1.3)."""
        if blob is None:
            return None
        if not isinstance(blob, bytes) or blob[:2] != b"GP" or len(blob) < 8 or (blob[3] >> 1 & 7) > 4:
            raise InvalidGeometry(
                f"The geometry of feature {number} of {self.name} is no GeoPackage geometry."
            )
        return blob[8 + _ENVELOPE_BYTES[blob[3] >> 1 & 7] :]

    def _single(self, wkb: bytes | None, number: int) -> shapely.Geometry | None:
        try:
            return None if wkb is None else shapely.from_wkb(wkb)
        except shapely.errors.ShapelyError as error:
            if self._broken is None:
                raise InvalidGeometry(
                    f"The geometry of feature {number} of {self.name} is broken: {error} Correct it in the source, or "
                    "publish with --repair, which leaves such geometries out."
                ) from error
            self._broken.append(f"feature {number}: {error}")
            return None


def _crs_of(database: sqlite3.Connection, srs_id: int, source: str) -> pyproj.CRS | None:
    """The CRS of a row of gpkg_spatial_ref_sys; None for -1 and 0, "undefined" (clause 1.1.2)."""
    if srs_id in (-1, 0):
        return None
    row = database.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
        (srs_id,),
    ).fetchone()
    if row is None:
        raise DamagedFile(f"{source} refers to the CRS {srs_id}, which it does not define.")
    organization, code, definition = row
    if str(organization).upper() == "EPSG":
        try:
            return pyproj.CRS.from_epsg(code)
        except CRSError:
            pass  # a code PROJ does not know, or a home-made one called EPSG: its definition counts
    try:
        return stated_crs(definition)
    except CRSError as error:
        raise CrsError(f"The CRS of {source} is not understood. Name the right one with --crs.") from error
