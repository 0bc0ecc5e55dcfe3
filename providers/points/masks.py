"""A checked filter on columns of points.

Three-valued logic, as for features: what is not a number is missing, and a comparison with it neither true nor false. Instants are
whole milliseconds of GPS time, so that they are compared as a filter writes them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import shapely
from pygeofilter import ast

from pointclouds.cloud.query import Mask
from pointclouds.las.layout import Column
from pointclouds.las.times import gps_of
from providers.features.cql2.checking import SPATIAL_RELATIONS
from providers.features.query import GEOMETRY
from providers.points.schema import TIME_FIELD

COMPARISONS: Final[dict[type[ast.Node], Callable[[Any, Any], Any]]] = {
    ast.Equal: operator.eq,
    ast.NotEqual: operator.ne,
    ast.LessThan: operator.lt,
    ast.LessEqual: operator.le,
    ast.GreaterThan: operator.gt,
    ast.GreaterEqual: operator.ge,
}
ARITHMETIC: Final[dict[type[ast.Node], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mul: operator.mul,
    ast.Div: operator.truediv,
}
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
_EXACT: Final = 1e-3
"""Of a millisecond: doubles of GPS seconds are exact to less."""


def _modulo(first: Any, second: Any) -> Any:
    return np.fmod(first, second)


def _whole_quotient(first: Any, second: Any) -> Any:
    return np.trunc(np.true_divide(first, second))


def _round(value: Any) -> Any:
    whole = np.trunc(value)
    return whole + np.where(np.abs(value - whole) >= 0.5, np.copysign(1.0, value), 0.0)


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "abs": np.abs,
    "floor": np.floor,
    "ceiling": np.ceil,
    "round": _round,
    "minimum": lambda *values: np.minimum.reduce(np.broadcast_arrays(*values)),
    "maximum": lambda *values: np.maximum.reduce(np.broadcast_arrays(*values)),
    "mod": _modulo,
    "idiv": _whole_quotient,
    "pow": np.power,
}
"""The functions of numbers, over columns of doubles; NaN where there is no value."""


class Truth(NamedTuple):
    """Where a condition is true, and where it is false."""

    true: Mask
    false: Mask


def milliseconds(gps: Any) -> Any:
    """Whole milliseconds of adjusted standard GPS seconds."""
    return np.floor(np.asarray(gps, np.float64) * 1000 + _EXACT)


def instant(value: date | datetime) -> float:
    """A literal instant as `milliseconds` has it."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)
    return float(np.rint(gps_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) * 1000))


def is_instant(name: str, known: Any) -> bool:
    """Whether an attribute is GpsTime as an instant, and no dimension of that name."""
    return name == TIME_FIELD and TIME_FIELD not in known


def point_mask(node: Any, values: Mapping[str, Column], decimals: Mapping[str, int] = _NOTHING) -> Mask:
    """Where the filter is true.

    Args:
        values: natural values of the dimensions it names, (m,) each.
        decimals: of the dimensions that are stored as multiples of a step. They are compared as they are shown: 423.16, and not what
            42316 times 0.01 is in binary.
    """
    size = len(next(iter(values.values()))) if values else 0
    if isinstance(node, bool):
        return np.full(size, node)
    with np.errstate(all="ignore"):
        return _Points(values, size, decimals).condition(node).true


class _Points:
    def __init__(self, values: Mapping[str, Column], size: int, decimals: Mapping[str, int]) -> None:
        self._values = values
        self._size = size
        self._decimals = decimals

    def condition(self, node: Any) -> Truth:
        handler = _CONDITIONS.get(type(node))
        if handler is not None:
            return handler(self, node)
        if isinstance(node, ast.Comparison):
            return self._compared(node)
        return self._spatial(node)

    def _and(self, node: Any) -> Truth:
        left, right = self.condition(node.lhs), self.condition(node.rhs)
        return Truth(left.true & right.true, left.false | right.false)

    def _or(self, node: Any) -> Truth:
        left, right = self.condition(node.lhs), self.condition(node.rhs)
        return Truth(left.true | right.true, left.false & right.false)

    def _not(self, node: Any) -> Truth:
        inner = self.condition(node.sub_node)
        return Truth(inner.false, inner.true)

    def _compared(self, node: Any) -> Truth:
        left, right = self._value(node.lhs), self._value(node.rhs)
        return self._where(COMPARISONS[type(node)](left, right), left, right)

    def _between(self, node: Any) -> Truth:
        value, low, high = self._value(node.lhs), self._value(node.low), self._value(node.high)
        found = (value >= low) & (value <= high)
        return self._where(found, value, low, high)

    def _in(self, node: Any) -> Truth:
        value = self._value(node.lhs)
        options = [self._value(option) for option in node.sub_nodes]
        if np.ndim(value) and value.dtype.kind in "iu" and value.dtype.itemsize == 1:
            table = np.zeros(256, bool)
            whole = [int(one) for one in options if float(one).is_integer() and 0 <= one <= 255]
            table[whole] = True
            if value.dtype.kind == "u":
                return self._where(table[value], value)
        return self._where(np.isin(np.asarray(value, np.float64), np.array(options, np.float64)), value)

    def _is_null(self, node: Any) -> Truth:
        if isinstance(node.lhs, ast.Attribute) and node.lhs.name == GEOMETRY:
            missing = np.zeros(self._size, bool)
        else:
            missing = self._missing(self._value(node.lhs))
        return Truth(~missing, missing) if node.not_ else Truth(missing, ~missing)

    def _spatial(self, node: Any) -> Truth:
        shape = node.rhs
        x, y = np.asarray(self._values["X"], np.float64), np.asarray(self._values["Y"], np.float64)
        if not isinstance(shape, shapely.Geometry):
            found = np.full(self._size, type(node) in _OF_ITSELF)
        elif type(node) in (
            ast.GeometryIntersects,
            ast.GeometryDisjoint,
            ast.GeometryWithin,
            ast.GeometryTouches,
        ):
            found = _of_shape(type(node), shape, x, y)
        else:
            found = SPATIAL_RELATIONS[type(node)](shapely.points(x, y), shape)
        return Truth(found, ~found)

    def _where(self, found: Any, *operands: Any) -> Truth:
        found = np.broadcast_to(np.asarray(found, bool), self._size)
        missing = np.zeros(self._size, bool)
        for operand in operands:
            missing |= self._missing(operand)
        return Truth(found & ~missing, ~found & ~missing)

    def _missing(self, value: Any) -> Mask:
        if np.asarray(value).dtype.kind != "f":
            return np.zeros(self._size, bool)
        return np.broadcast_to(~np.isfinite(value), self._size)

    # --- values ---

    def _value(self, node: Any) -> Any:
        """A column or a literal; doubles where it was computed."""
        if isinstance(node, ast.Attribute):
            return self._column(node.name)
        if isinstance(node, ast.Function):
            return FUNCTIONS[node.name](*(_double(self._value(one)) for one in node.arguments))
        if isinstance(node, ast.Arithmetic):
            return ARITHMETIC[type(node)](_double(self._value(node.lhs)), _double(self._value(node.rhs)))
        return instant(node) if isinstance(node, date) else node

    def _column(self, name: str) -> Any:
        if is_instant(name, self._values):
            return milliseconds(self._values["GpsTime"])
        column = self._values[name]
        if column.dtype.kind != "f":
            return column
        doubles = column.astype(np.float64)
        return np.round(doubles, self._decimals[name]) if name in self._decimals else doubles


_OF_ITSELF: Final = frozenset(
    [ast.GeometryIntersects, ast.GeometryWithin, ast.GeometryContains, ast.GeometryEquals]
)
_CONDITIONS: Final[dict[type[Any], Callable[[_Points, Any], Truth]]] = {
    ast.And: _Points._and,
    ast.Or: _Points._or,
    ast.Not: _Points._not,
    ast.Between: _Points._between,
    ast.In: _Points._in,
    ast.IsNull: _Points._is_null,
}


def _double(value: Any) -> Any:
    return np.asarray(value, np.float64)


def _of_shape(relation: type[Any], shape: shapely.Geometry, x: Any, y: Any) -> Any:
    shapely.prepare(shape)
    meets = shapely.intersects_xy(shape, x, y)
    if relation is ast.GeometryIntersects:
        return meets
    if relation is ast.GeometryDisjoint:
        return ~meets
    inside = shapely.contains_xy(shape, x, y)
    return inside if relation is ast.GeometryWithin else meets & ~inside
