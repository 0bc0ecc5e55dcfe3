"""SQL functions that filters need and SQLite lacks: text, numbers, arrays, and relations between geometries.

All are deterministic, take NULL and answer NULL. A relation is called with the number of a `Relation` that the query holds,
so that its geometry is prepared once: `chengtu_relates(number, geometry blob)`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary, ref

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.errors import AnswerTooLarge
from providers.features.crossings import Crossings
from providers.features.crs import Transform
from providers.features.query import BBox
from providers.features.store.geopackage import header_size
from providers.features.store.select import FUNCTION_PREFIX

if TYPE_CHECKING:
    from providers.features.store.connections import StoreConnection

_INT64 = 1 << 63
MARGIN = 1e-7
"""Degrees: envelopes in the store are those of rounded coordinates."""
_LEVELS = 4  # of quartering a literal
_MOST_CELLS = 160  # that are quartered again
_USED_CELLS = 20  # of each kind; a test of one costs some 20 ns a feature, an exact one 10,000
_DECIMALS = 7  # of a degree: what is served, so that a feature equals what a client has got of it
type Predicate = Callable[[Any, Any], Any]

# Arguments: the literal, which is prepared, then the feature's geometry; so what it contains is within, and the other way round.
_PREDICATES: dict[str, Predicate] = {
    "intersects": shapely.intersects,
    "contains": shapely.within,
    "within": shapely.contains,
    "touches": shapely.touches,
    "crosses": shapely.crosses,
    "overlaps": shapely.overlaps,
    "equals": lambda literal, own: shapely.equals(literal, _rounded(own)),
}
RELATIONS = frozenset(_PREDICATES)
_TRUE_INSIDE = frozenset(("intersects", "within"))

_numbers = count(1)
_relations: WeakValueDictionary[int, Relation] = WeakValueDictionary()


class Relation:
    """A relation of every feature's geometry to one literal (CRS84, two-dimensional), evaluated in the plane of CRS84.

    `name` says what the feature's geometry does: "within" is true where it lies within the literal. `to_crs84` transforms
    storage coordinates (GIS order), None where they are in WGS 84 already.
    """

    def __init__(self, name: str, literal: shapely.Geometry, to_crs84: Transform | None) -> None:
        self.number = next(_numbers)
        self._literal = _rounded(literal) if name == "equals" else shapely.force_2d(literal)
        shapely.prepare(self._literal)
        self._predicate = _PREDICATES[name]
        self._transform = to_crs84
        self._crossings = Crossings(self._literal)
        self._is_slow = name != "intersects"  # which ends at the first crossing
        self.holds_inside = name in _TRUE_INSIDE
        _relations[self.number] = self

    def cells(self) -> tuple[list[BBox], list[BBox]]:
        """Boxes inside the literal, and boxes beside it, the largest of each: most features lie in one of them.

        One inside answers `holds_inside`, one beside it False, whatever its shape.
        """
        inside: list[NDArray[np.float64]] = []
        beside: list[NDArray[np.float64]] = []
        areal = shapely.get_dimensions(self._literal) == 2
        bounds = shapely.bounds(self._literal)
        cells = bounds[None, :] + np.array([MARGIN, MARGIN, -MARGIN, -MARGIN])  # a rectangle is one cell
        for level in range(_LEVELS + 1):
            if level:
                cells = _quarters(cells if level > 1 else bounds[None, :])
            boxes = shapely.box(*cells.T)
            # of a line GEOS would find every crossing first, for each box
            within = (
                shapely.contains_properly(self._literal, boxes) if areal else np.zeros(len(boxes), np.bool_)
            )
            apart = shapely.disjoint(self._literal, boxes)
            inside += list(cells[within])
            beside += list(cells[apart])
            cells = cells[~(within | apart)]
            if not 0 < len(cells) <= _MOST_CELLS:
                break
        return _shrunk(inside[:_USED_CELLS]), _shrunk(beside[:_USED_CELLS])

    def holds(self, blob: bytes) -> bool:
        """Whether it holds for a GeoPackage geometry. Raises AnswerTooLarge where nobody could wait for it."""
        own: shapely.Geometry = shapely.from_wkb(blob[header_size(blob) :])  # heights are not looked at
        if self._transform is not None:
            own = _moved(own, self._transform)
        if self._is_slow and self._crossings.are_many(own):
            raise AnswerTooLarge("the geometries of a filter and of a feature may cross too often")
        try:
            return bool(self._predicate(self._literal, own))
        except shapely.GEOSException:
            # A geometry that crosses itself: some relations are not defined for it until it is put in order.
            return bool(self._predicate(self._literal, shapely.make_valid(own)))


def _quarters(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each box (west, south, east, north) as its four quarters."""
    west, south, east, north = cells.T
    x, y = (west + east) / 2, (south + north) / 2
    parts = [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def _shrunk(cells: list[NDArray[np.float64]]) -> list[BBox]:
    """Boxes less what envelopes in the store may have lost by rounding."""
    return [
        BBox(west + MARGIN, south + MARGIN, east - MARGIN, north - MARGIN)
        for west, south, east, north in (cell.tolist() for cell in cells)
    ]


def _moved(geometry: shapely.Geometry, transform: Transform) -> shapely.Geometry:
    coordinates = shapely.get_coordinates(geometry)
    x, y = transform(coordinates[:, 0], coordinates[:, 1])
    return shapely.set_coordinates(geometry, np.column_stack((x, y)))


def _rounded(geometry: shapely.Geometry) -> shapely.Geometry:
    flat = shapely.force_2d(geometry)
    return shapely.set_coordinates(flat, np.round(shapely.get_coordinates(flat), _DECIMALS))


def _relates_within(connection: StoreConnection) -> Callable[[int, bytes | None], bool | None]:
    """The relation as an SQL function that looks at the clock itself.

    One call may take long where geometries are large, and SQLite looks at the clock after some thousand calls only.
    """
    clock, owner = (
        connection.clock,
        ref(connection),
    )  # a connection keeps its functions for as long as it lives

    def relates(number: int, blob: bytes | None) -> bool | None:
        if clock.is_up() and (own := owner()) is not None:
            own.interrupt()
        if blob is None:
            return None
        try:
            return _relations[number].holds(blob)
        except AnswerTooLarge:
            if (own := owner()) is not None:
                own.interrupt()
            return None

    return relates


def register_filter_functions(connection: StoreConnection) -> None:
    """Give a connection the functions that compiled filters and `q` call."""
    from providers.features.cql2 import arithmetic, strings  # only requests with a filter need them

    for name, function in arithmetic.FUNCTIONS.items():
        repeated = arithmetic.DEFINITIONS[name].repeated > 0
        arguments = -1 if repeated else len(arithmetic.DEFINITIONS[name].arguments)
        _register(connection, name, arguments, _fitting(function))
    _register(connection, "like", 2, strings.like)
    for name in ("array_equals", "array_contains", "array_contained_by", "array_overlaps"):
        _register(connection, name, 2, getattr(strings, name))
    _register(connection, "relates", 2, _relates_within(connection))
    _register(connection, "holds_phrase", -1, _holds_phrase)


def _register(
    connection: sqlite3.Connection, name: str, arguments: int, function: Callable[..., Any]
) -> None:
    connection.create_function(FUNCTION_PREFIX + name, arguments, function, deterministic=True)


def _fitting(function: Callable[..., Any]) -> Callable[..., Any]:
    """SQLite has integers of 64 bits: a result that needs more becomes a real."""

    def call(*arguments: Any) -> Any:
        result = function(*arguments)
        if type(result) is int and not -_INT64 <= result < _INT64:
            return float(result)
        return result

    return call


def _holds_phrase(phrase: str, *texts: str | None) -> bool:
    """Whether a phrase, case folded, stands in one of the texts, whatever their case."""
    return any(text is not None and phrase in text.casefold() for text in texts)
