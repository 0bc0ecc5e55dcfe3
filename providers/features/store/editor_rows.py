"""From edits to the rows that they leave in a store: each edit is judged against what is there, then all are encoded at once."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.errors import (
    EditError,
    InvalidFeature,
    InvalidGeometry,
    InvalidValue,
    ItemExists,
    ItemNotFound,
    VersionConflict,
)
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.source import Edit, EditKind, Unchanged
from providers.features.store.checks import are_outside_earth, are_small_integers, checked_shapes
from providers.features.store.encoding import encode_features, geometries_in
from providers.features.store.geopackage import decode_geometries, encode_geometries, quote
from providers.features.store.layout import StoreFacts
from providers.features.store.values import Value, shown_values, stored_values
from providers.features.store.zorder import SEQUENCE_BITS

_MAXIMUM_ID = 1000  # characters


@dataclass(slots=True)
class Row:
    """A feature as an edit leaves it. `old_key` None: it is new; `values` None: it is gone.

    `moved`: its geometry has been given anew; `changed`: the positions of the fields whose values are others than before.
    """

    index: int
    feature_id: str
    old_key: int | None
    old_version: int
    version: int
    geometry: shapely.Geometry | None = None
    values: list[Value] | None = None
    moved: bool = True
    changed: tuple[int, ...] = ()


@dataclass(slots=True)
class EncodedRows:
    """Rows ready to be written, as columns of equal length. `bounds84`: (n, 4), CRS84, NaN without a geometry; `bounds` the
    same in the storage CRS. `heights`: lowest and highest z, None where there is none."""

    rows: list[Row]
    keys: list[int]
    blobs: list[bytes | None]
    bodies: list[bytes]
    bounds: NDArray[np.float64]
    bounds84: NDArray[np.float64]
    heights: tuple[float, float] | None = None


@dataclass(slots=True)
class Planner:
    """Judges edits one by one, inside the transaction."""

    connection: sqlite3.Connection
    facts: StoreFacts
    _columns: str = field(init=False)
    _versions: dict[str, int] = field(init=False, default_factory=dict)  # that this transaction has given

    def __post_init__(self) -> None:
        self._columns = "".join(f", {quote(item.column)}" for item in self.facts.fields)

    def plan(self, index: int, edit: Edit) -> Row:
        """The row that an edit leaves. Raises EditError kinds and ItemNotFound, each with `index`."""
        try:
            row = self._create(index, edit) if edit.kind is EditKind.CREATE else self._change(index, edit)
        except (EditError, ItemNotFound) as error:
            error.index = index
            raise
        self._versions[row.feature_id] = row.old_version if row.values is None else row.version
        return row

    def _create(self, index: int, edit: Edit) -> Row:
        feature_id = self._new_id() if edit.feature_id is None else self._wished_id(edit.feature_id)
        (last,) = self.connection.execute(
            "SELECT coalesce(max(version), 0) FROM feature_past WHERE id = ?", (feature_id,)
        ).fetchone()
        geometry = None if isinstance(edit.geometry, Unchanged) else edit.geometry
        version = 1 + max(last, self._versions.get(feature_id, 0))
        row = Row(index, feature_id, None, 0, version, self._checked(geometry))
        row.values = self._values(edit, [None] * len(self.facts.fields))
        return row

    def _change(self, index: int, edit: Edit) -> Row:
        feature_id = edit.feature_id or ""
        found = self.connection.execute(
            f"SELECT key, version, geom{self._columns} FROM feature WHERE id = ?",  # noqa: S608 - quoted names
            (feature_id,),
        ).fetchone()
        if found is None:
            raise ItemNotFound(feature_id)
        key, version, blob, *values = found
        if edit.version is not None and edit.version != version:
            raise VersionConflict(
                f"Item {feature_id[:200]!r} is in version {version}, the edit was made on version {edit.version}: "
                "read it again, then edit"
            )
        row = Row(index, feature_id, key, version, version + 1)
        if edit.kind is EditKind.DELETE:
            return row
        if isinstance(edit.geometry, Unchanged):
            row.geometry = decode_geometries([blob])[0]
            row.moved = False
        else:
            row.geometry = self._checked(edit.geometry)
        row.values = self._values(
            edit, [None] * len(values) if edit.kind is EditKind.REPLACE else list(values)
        )
        row.changed = tuple(number for number, value in enumerate(values) if value != row.values[number])
        return row

    def _values(self, edit: Edit, values: list[Value]) -> list[Value]:
        unknown = edit.properties.keys() - {item.name for item in self.facts.fields}
        if unknown:
            raise InvalidFeature(
                [(pointer_of(name), "the collection has no such field") for name in sorted(unknown)]
            )
        faults = []
        for number, item in enumerate(self.facts.fields):
            if item.name in edit.properties:
                try:
                    values[number] = stored_values(item, [edit.properties[item.name]], 0)[0]
                except InvalidValue as error:
                    faults.append((pointer_of(item.name), str(error).removeprefix("Row 1, ")))
        if faults:
            raise InvalidFeature(faults)
        return values

    def _checked(self, geometry: shapely.Geometry | None) -> shapely.Geometry | None:
        """The geometry as the store keeps it. Raises InvalidFeature where it does not fit the collection."""
        try:
            shape: BaseGeometry | None = checked_shapes([geometry], 0)[0]
        except InvalidGeometry as error:
            raise InvalidFeature([("/geometry", str(error).removeprefix("Row 1: "))]) from None
        if shape is None:
            return None
        allowed = self.facts.geometry_type
        kind = "LineString" if shape.geom_type == "LinearRing" else shape.geom_type
        if allowed not in ("Geometry", kind):
            raise InvalidFeature([("/geometry/type", f"{kind} does not fit: the collection holds {allowed}")])
        if shape.has_z and not self.facts.has_z:
            raise InvalidFeature([("/geometry/coordinates", "the collection keeps no heights")])
        return shape

    def _wished_id(self, feature_id: str) -> str:
        if not feature_id or len(feature_id) > _MAXIMUM_ID or not feature_id.isprintable():
            raise InvalidFeature(
                [("/id", f"an id is a text of 1 to {_MAXIMUM_ID} characters without control characters")]
            )
        if self.facts.integer_ids and not are_small_integers([feature_id]):
            raise InvalidFeature(
                [("/id", f"{feature_id[:40]!r}: the ids of this collection are whole numbers below 10^15")]
            )
        taken = self.connection.execute("SELECT 1 FROM feature WHERE id = ?", (feature_id,)).fetchone()
        if taken is not None:
            raise ItemExists(f"There is an item with the id {feature_id[:200]!r} already")
        if self.facts.integer_ids:
            self._note_id(int(feature_id))
        return feature_id

    def _new_id(self) -> str:
        """An id that no feature has or had: the next number, or a random UUID."""
        if not self.facts.integer_ids:
            return str(uuid.uuid4())
        number = self._next_number()
        self._note_id(number)
        return str(number)

    def _next_number(self) -> int:
        row = self.connection.execute("SELECT value FROM chengtu_state WHERE name = 'next_id'").fetchone()
        if row is None:
            row = self.connection.execute(
                "SELECT coalesce(max(CAST(id AS INTEGER)), 0) + 1 FROM feature"
            ).fetchone()
            self.connection.execute("INSERT INTO chengtu_state VALUES ('next_id', ?)", row)
        return int(row[0])

    def _note_id(self, number: int) -> None:
        after = max(self._next_number(), number + 1)
        self.connection.execute("UPDATE chengtu_state SET value = ? WHERE name = 'next_id'", (after,))


def pointer_of(name: str) -> str:
    """JSON pointer (RFC 6901) of a property."""
    return "/properties/" + name.replace("~", "~0").replace("/", "~1")


def encode_rows(
    connection: sqlite3.Connection, facts: StoreFacts, storage: ReferenceSystem, rows: Sequence[Row]
) -> EncodedRows:
    """Blobs, GeoJSON, envelopes and keys of rows that stay (`values` is not None). Raises InvalidFeature with `index`."""
    shapes = np.empty(len(rows), dtype=object)
    shapes[:] = [row.geometry for row in rows]
    served = geometries_in(shapes, storage, reference_system(CRS84))
    bounds, bounds84 = shapely.bounds(shapes), np.asarray(shapely.bounds(served), dtype=np.float64)
    outside = np.flatnonzero(~shapely.is_missing(shapes) & are_outside_earth(bounds84))
    if len(outside):
        first = int(outside[0])
        raise InvalidFeature(
            [
                (
                    "/geometry/coordinates",
                    f"in longitude and latitude the box would be {bounds84[first].tolist()}, which is not on Earth",
                )
            ],
            rows[first].index,
        )
    values = list(zip(*(row.values or () for row in rows), strict=True)) or [()] * len(facts.fields)
    shown = [shown_values(item, column) for item, column in zip(facts.fields, values, strict=True)]
    bodies = encode_features(
        [row.feature_id for row in rows], served, [item.name for item in facts.fields], shown
    )
    return EncodedRows(
        list(rows),
        _keys(connection, facts, rows, bounds84),
        encode_geometries(shapes, bounds, _srs_id(connection)),
        bodies,
        bounds,
        bounds84,
        _heights(shapes),
    )


def _heights(shapes: NDArray[np.object_]) -> tuple[float, float] | None:
    solid = shapes[shapely.has_z(shapes)]
    if not len(solid):
        return None
    z = shapely.get_coordinates(solid, include_z=True)[:, 2]
    return float(z.min()), float(z.max())


def _srs_id(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute(
        "SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = 'feature'"
    ).fetchone()
    return int(number)


def _keys(
    connection: sqlite3.Connection, facts: StoreFacts, rows: Sequence[Row], bounds84: NDArray[np.float64]
) -> list[int]:
    """A feature that stays in its cell keeps its key; others get one that no row, present or past, has ever had."""
    x, y = (bounds84[:, 0] + bounds84[:, 2]) / 2, (bounds84[:, 1] + bounds84[:, 3]) / 2
    cells = facts.space.numbers(x, y).tolist()
    used: dict[int, int] = {}
    keys = []
    for row, cell in zip(rows, cells, strict=True):
        if row.old_key is not None and (not row.moved or row.old_key >> SEQUENCE_BITS == cell):
            keys.append(row.old_key)
            continue
        first, end = cell << SEQUENCE_BITS, (cell + 1) << SEQUENCE_BITS
        if cell not in used:
            (used[cell],) = connection.execute(_LAST_KEY, (first, end - 1, first, end - 1)).fetchone()
            used[cell] = max(used[cell], first - 1)
        used[cell] += 1
        if used[cell] >= end:
            raise InvalidFeature(
                [("/geometry", f"{1 << SEQUENCE_BITS} features have stood in this one place already")],
                row.index,
            )
        keys.append(used[cell])
    return keys


_LAST_KEY = (
    "SELECT max(coalesce((SELECT max(key) FROM feature WHERE key BETWEEN ? AND ?), -1),"
    " coalesce((SELECT max(key) FROM feature_past WHERE key BETWEEN ? AND ?), -1))"
)
