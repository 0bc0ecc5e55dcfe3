"""Fills the tables of a store that is being built, in key order, from rows that wait in a file."""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

from providers.errors import DuplicateFeatureId, StoreBuildError
from providers.features.crs import ReferenceSystem
from providers.features.store import geopackage, layout, overview, tile_parts
from providers.features.store.select import index_name, is_indexed
from providers.features.store.tile_parts import PartColumns
from providers.features.store.tile_parts_build import PartWriter
from providers.features.store.tile_parts_encode import PartRows, Shapes
from providers.features.store.values import SQL_TYPES
from providers.features.store.waiting import WaitingRows
from providers.features.store.zorder import keys_in_order


class StoreBuild:
    """One store file within the transaction that fills it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        facts: layout.StoreFacts,
        storage: ReferenceSystem,
        srs_id: int,
        rows: WaitingRows,
    ) -> None:
        self._connection = connection
        self._facts = facts
        self._storage = storage
        self._srs_id = srs_id
        self._rows = rows
        self._bounds: tuple[float, float, float, float] | None = None

    def fill(self, bounds84: NDArray[np.float64], bounds: NDArray[np.float64], columns: PartColumns) -> None:
        """Write all rows. Envelopes (n, 4) in CRS84 and in the storage CRS are in the order of the rows, NaN without geometry.

        Envelopes that the caller keeps stay in memory twice. Raises StoreBuildError, DuplicateFeatureId.
        """
        facts, connection = self._facts, self._connection
        x, y = centres(bounds84)
        numbers = facts.space.numbers(x, y)
        order = np.argsort(numbers, kind="stable")
        try:
            keys = keys_in_order(numbers[order])
        except ValueError as error:
            raise StoreBuildError(str(error)) from None
        bounds84 = bounds84[order]
        bounds = bounds[order]
        zooms = _zooms(x[order], y[order], bounds84, facts.full_zoom)
        del x, y, numbers
        big = (bounds84[:, 2] - bounds84[:, 0] > 2 * facts.half_width) | (
            bounds84[:, 3] - bounds84[:, 1] > 2 * facts.half_height
        )
        geopackage.create_tables(connection, self._storage.crs, self._srs_id)
        geopackage.run_script(connection, layout.TABLES + tile_parts.TABLES)
        self._insert(order, keys, bounds84, zooms, big, columns)
        placed = ~np.isnan(bounds84[:, 0])
        geopackage.write_packed_rtree(connection, geopackage.RTREE, keys[placed], bounds[placed])
        geopackage.write_packed_rtree(connection, "big", keys[big], bounds84[big])
        self._index()
        facts.write(connection)
        connection.execute("INSERT INTO chengtu_state VALUES ('change', 0), ('count', ?)", (len(order),))
        self._bounds = _total(bounds)

    def register(self, title: str, attribution: str) -> None:
        """List the layer and our tables in the GeoPackage's own."""
        geopackage.register_layer(
            self._connection,
            title=title,
            description=attribution,
            srs_id=self._srs_id,
            geometry_type=self._facts.geometry_type,
            has_z=self._facts.has_z,
            bounds=self._bounds,
            own_tables=(*layout.OWN_TABLES, *tile_parts.OWN_TABLES),
        )

    def _insert(
        self,
        order: NDArray[np.int64],
        keys: NDArray[np.int64],
        bounds84: NDArray[np.float64],
        zooms: NDArray[np.int64],
        big: NDArray[np.bool_],
        columns: PartColumns,
    ) -> None:
        into_feature = self._create_feature_table()
        into_fragment = "INSERT INTO fragment VALUES (?, ?, ?, ?, ?, ?, ?)"
        names = [field.name for field in self._facts.fields]
        parts = PartWriter(self._connection, self._facts, columns)
        start = 0
        for rows, fragments in self._rows.chunks(order):
            part = slice(start, start + len(rows))
            start += len(rows)
            numbers = keys[part].tolist()
            shapes, ids, blobs, *values = zip(*rows, strict=True)
            self._connection.executemany(into_feature, zip(numbers, ids, blobs, *values, strict=True))
            # sqlite3 stores NaN (no geometry) as NULL.
            boxes = bounds84[part].T.tolist()
            self._connection.executemany(
                into_fragment, zip(numbers, *boxes, zooms[part].tolist(), fragments, strict=True)
            )
            named = dict(zip(names, values, strict=True))
            parts.add(PartRows(keys[part], ids, Shapes.unpacked(shapes), named, zooms[part], big[part]))
        parts.finish()

    def _create_feature_table(self) -> str:
        """Create the table; the statement that inserts (key, id, geometry, values...)."""
        fields = self._facts.fields
        attributes = "".join(
            f", {geopackage.quote(field.column)} {SQL_TYPES[field.type, field.format]}" for field in fields
        )
        self._connection.execute(
            "CREATE TABLE feature (key INTEGER PRIMARY KEY NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,"
            f" geom {self._facts.geometry_type.upper()}{attributes})"
        )
        columns = ", ".join(["key", "id", "geom", *(geopackage.quote(field.column) for field in fields)])
        return f"INSERT INTO feature ({columns}, version) VALUES ({'?, ' * (len(fields) + 3)}1)"  # noqa: S608 - quoted names

    def _index(self) -> None:
        connection = self._connection
        try:
            connection.execute("CREATE UNIQUE INDEX feature_id ON feature (id)")
        except sqlite3.IntegrityError:
            found = connection.execute(
                "SELECT id, count(*) FROM feature GROUP BY id HAVING count(*) > 1 LIMIT 3"
            ).fetchall()
            shown = ", ".join(f"{name[:80]!r} {times} times" for name, times in found)
            raise DuplicateFeatureId(f"Ids must be unique in a collection; found {shown}") from None
        for field in self._facts.fields:
            if is_indexed(field):
                name, column = geopackage.quote(index_name(field)), geopackage.quote(field.column)
                connection.execute(f"CREATE INDEX {name} ON feature ({column})")
        connection.execute(
            "CREATE INDEX fragment_overview ON fragment (zoom, key, minx, miny, maxx, maxy)"
            f" WHERE zoom < {self._facts.full_zoom:d}"
        )


def centres(bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the centres of boxes (n, 4)."""
    return (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2


def _total(bounds: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    placed = bounds[~np.isnan(bounds[:, 0])]
    if not len(placed):
        return None
    west, south = placed[:, :2].min(axis=0).tolist()
    east, north = placed[:, 2:].max(axis=0).tolist()
    return west, south, east, north


def _zooms(
    x: NDArray[np.float64], y: NDArray[np.float64], bounds: NDArray[np.float64], full: int
) -> NDArray[np.int64]:
    placed = ~np.isnan(x)
    zooms = np.full(len(x), full, dtype=np.int64)
    size = np.maximum(bounds[placed, 2] - bounds[placed, 0], bounds[placed, 3] - bounds[placed, 1])
    zooms[placed] = overview.first_zooms(x[placed], y[placed], size, full)
    return zooms
