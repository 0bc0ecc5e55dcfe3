"""From an `ItemQuery` to the WHERE and ORDER BY that find its rows in Parquet files.

The unique key of a row is the number of its file times 2**40 plus the row number in it; by it rows stand in the order of the
files. A box is looked for in the bbox columns of GeoParquet 1.1 first, whose statistics leave row groups out, and then in the
geometry itself, which alone decides.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np

from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.parquet.columns import (
    ParquetColumn,
    equal_value,
    instant_argument,
    sort_value,
)
from providers.features.parquet.geometry import extent_sql, meets_sql
from providers.features.query import CRS84, BBox, ItemQuery, TimeInterval
from providers.features.store.select import boxes_of

FILE_STEP = 1 << 40
"""What the key of a row grows by from file to file."""
HIGHEST_KEY = (1 << 52) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where the geometries lie, to turn a CRS84 box into conditions on them.

    `geometry` is their SQL in the storage CRS. `bounds` (storage CRS) and `bbox` (CRS84) hold them all, () without any;
    `largest` is the greatest width plus height of one of them.
    """

    geometry: str
    covering: tuple[str, str, str, str] | None
    storage: ReferenceSystem
    bounds: tuple[float, ...]
    bbox: tuple[float, ...]
    largest: float

    @property
    def in_crs84(self) -> str:
        """SQL of the geometry in CRS84, x = longitude."""
        if self.is_crs84:
            return self.geometry
        source = _text(self.storage.horizontal.to_json())
        target = _text(reference_system(CRS84).horizontal.to_json())
        return f"ST_Transform({self.geometry}, {source}, {target}, always_xy := true)"

    @property
    def is_crs84(self) -> bool:
        """Whether stored coordinates are those of CRS84."""
        return transform_between(self.storage, reference_system(CRS84)) is None


@dataclass
class Arguments:
    """The values of a statement, in the order of $1, $2, ..."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        """Add a value; the name that stands for it."""
        self.values.append(value)
        return f"${len(self.values)}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Conditions:
    """Builds the conditions of one statement; its arguments are gathered in `arguments`."""

    def __init__(self, columns: Mapping[str, ParquetColumn], place: Place, *, one_file: bool) -> None:
        self.arguments = Arguments()
        self._columns = columns
        self._place = place
        self._one_file = one_file
        self._bind = self.arguments.bind

    def of(self, query: ItemQuery, time_field: str | None, hidden: frozenset[str]) -> list[str]:
        """All conditions of a query but where its page begins."""
        found: list[str] = []
        if query.bbox is not None:
            found.append(self.meets(query.bbox))
        for name, text in query.equals.items():
            found.append(self._equals(self._columns[name], text))
        if query.datetime is not None and time_field is not None:
            found += self._during(self._columns[time_field], query.datetime)
        if query.filter is not None:
            found += self._filter(query.filter.node)
        if query.q:
            found.append(self._phrases(query.q, hidden))
        return found

    def after(self, query: ItemQuery, key: int | None) -> list[str]:
        """Where the page begins: after the cursor, in the order of `order`."""
        if key is None or query.cursor is None:
            return []
        choices: list[str] = []
        same: list[str] = []
        for (name, descending), value in zip(query.sortby, query.cursor[:-1], strict=True):
            column = self._columns[name]
            if value is None:  # missing values come last: nothing but equals comes after them
                same.append(f"{column.value} IS NULL")
                continue
            bound = self._bind(sort_value(column.definition, value))
            beyond = f"({column.value} {'<' if descending else '>'} {bound} OR {column.value} IS NULL)"
            choices.append(" AND ".join([*same, beyond]))
            same.append(f"{column.value} = {bound}")
        choices.append(" AND ".join([*same, self._after_key(key)]))
        return ["(" + " OR ".join(f"({choice})" for choice in choices) + ")"]

    def _after_key(self, key: int) -> str:
        number, row = divmod(key, FILE_STEP)
        if self._one_file:
            return f"file_row_number > {row}" if number == 0 else "false"
        return f"(file_index > {number} OR (file_index = {number} AND file_row_number > {row}))"

    def order(self, query: ItemQuery) -> str:
        """ORDER BY: the sort keys with missing values last, then the key."""
        keys = [
            f"{self._columns[name].value} {'DESC' if descending else 'ASC'} NULLS LAST"
            for name, descending in query.sortby
        ]
        return ", ".join([*keys, *(() if self._one_file else ("file_index",)), "file_row_number"])

    def meets(self, bbox: BBox) -> str:
        """The envelope in CRS84 meets the box. A feature without geometry never does."""
        return "(" + " OR ".join([self._meets_one(box) for box in boxes_of(bbox)]) + ")"

    def _meets_one(self, box: BBox) -> str:
        near = self._near(box)
        if near is None:
            return "false"
        west, south, east, north = (self._bind(float(number)) for number in box)
        envelope = f"ST_MakeEnvelope({west}, {south}, {east}, {north})"
        exact = f"ST_Intersects_Extent({self._place.in_crs84}, {envelope})"
        if not near:
            return exact
        # CASE: the costly test is made only where the cheap one has passed, in whatever order SQL takes an AND.
        return (
            f"({near} AND CASE WHEN {near} THEN {exact} END)"
            if not self._place.is_crs84
            else f"({near} AND {exact})"
        )

    def _near(self, box: Sequence[float]) -> str | None:
        """A cheap condition that every feature which meets the CRS84 box passes; "" without one, None where none can."""
        place = self._place
        inside = _common(box, place.bbox)
        if inside is None:
            return None
        if place.is_crs84:
            if place.covering is None:
                return ""
            sides: Sequence[str] = place.covering
            limits: Sequence[float] = tuple(float(number) for number in box)
        else:
            sides = place.covering or extent_sql(place.geometry)
            limits = self._in_storage(inside)
        return meets_sql(sides, [self._bind(limit) for limit in limits])

    def _in_storage(self, box: Sequence[float]) -> tuple[float, ...]:
        """A CRS84 box in the storage CRS, with room for features whose envelopes turn between the two.

        An envelope that meets the box has all its vertices within its own diagonal of the box, whichever way the axes of the
        two systems are turned; twice width plus height of the largest feature also covers what scales differ.
        """
        transform = transform_between(reference_system(CRS84), self._place.storage)
        if transform is None:
            return tuple(box)
        x, y = np.meshgrid(np.linspace(box[0], box[2], 22), np.linspace(box[1], box[3], 22))
        moved_x, moved_y = transform(x.ravel(), y.ravel())
        if not (np.isfinite(moved_x).all() and np.isfinite(moved_y).all()):
            return tuple(self._place.bounds)
        room = 2 * self._place.largest + 1e-3 * float(np.ptp(moved_x) + np.ptp(moved_y)) + 1e-6
        return (
            float(moved_x.min()) - room,
            float(moved_y.min()) - room,
            float(moved_x.max()) + room,
            float(moved_y.max()) + room,
        )

    def _equals(self, column: ParquetColumn, text: str) -> str:
        value = equal_value(column.definition, text)
        return "false" if value is None else f"{column.value} = {self._bind(value)}"

    def _during(self, column: ParquetColumn, interval: TimeInterval) -> list[str]:
        found = [f"{column.value} IS NOT NULL"]
        for operator, limit in ((">=", interval.start), ("<=", interval.end)):
            if limit is not None:
                is_date = column.definition.format == "date"
                value = date.fromisoformat(limit[:10]) if is_date else instant_argument(limit)
                found.append(f"{column.value} {operator} {self._bind(value)}")
        return found

    def _filter(self, node: Any) -> list[str]:
        from providers.features.parquet.filter_sql import FilterSql, necessary_boxes

        boxes = [] if isinstance(node, bool) else necessary_boxes(node)
        near = [self._near(box) for box in boxes]
        condition = FilterSql(self._columns, self._place.in_crs84, self._bind).condition(node)
        return [*("false" if item is None else item for item in near if item != ""), condition]

    def _phrases(self, phrases: Sequence[str], hidden: frozenset[str]) -> str:
        texts = [
            column.value
            for name, column in self._columns.items()
            if name not in hidden and column.definition.type == "string" and column.definition.format is None
        ]
        found = []
        for phrase in phrases:
            folded = phrase.casefold()
            bound = self._bind(folded)
            # Folding calls Python for every value: left out where nothing but the phrase itself folds to the phrase.
            plain = not _folded_letters().intersection(folded)
            found += [
                f"contains({text}, {bound})" if plain else f"contains(cql_casei({text}), {bound})"
                for text in texts
            ]
        return "(" + " OR ".join(found) + ")" if found else "false"


def _common(box: Sequence[float], other: Sequence[float]) -> tuple[float, float, float, float] | None:
    """What two boxes have in common, None where nothing; a little room for rounding."""
    if not other:
        return None
    room = 1e-9
    west, south = max(box[0], other[0] - room), max(box[1], other[1] - room)
    east, north = min(box[2], other[2] + room), min(box[3], other[3] + room)
    return (west, south, east, north) if west <= east and south <= north else None


@lru_cache(maxsize=1)
def _folded_letters() -> frozenset[str]:
    """Every character that stands in the folded form of another one."""
    return frozenset(
        letter
        for code in range(sys.maxunicode + 1)
        if (folded := chr(code).casefold()) != chr(code)
        for letter in folded
    )
