"""What the statistics of nodes say of a checked filter, by intervals: in which nodes a point may match, and of which all do.

Every expression has, in each node, an interval that holds all its values. Classes and return numbers are counted one by one in the
statistics, so conditions on one of them alone are told exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from pygeofilter import ast

from pointclouds.cloud.nodes import RETURNS, NodeTable
from pointclouds.cloud.query import Mask, boxes_and_area
from providers.features.query import GEOMETRY
from providers.points.masks import ARITHMETIC, instant, is_instant, milliseconds, point_mask
from providers.points.schema import TIME_FIELD

Doubles = npt.NDArray[np.float64]
_MARGIN: Final = 1e-3
"""CRS units that the box of a node grows by, for predicates of polygons."""


class NodeTruth(NamedTuple):
    """(n,) each. may: some point may meet the condition; all: every point does; may_not: some point may fail it; none: every one
    fails it."""

    may: Mask
    all: Mask
    may_not: Mask
    none: Mask


class _Interval(NamedTuple):
    """(n,) each: lowest and highest value, and whether every point surely has one."""

    low: Any
    high: Any
    complete: Any


def node_truth(node: Any, table: NodeTable, decimals: Mapping[str, int]) -> NodeTruth:
    """What is known of a filter in each node; `decimals` as in `point_mask`."""
    if isinstance(node, bool):
        yes, no = np.full(len(table.entries), node), np.full(len(table.entries), not node)
        return NodeTruth(yes, yes, no, no)
    with np.errstate(all="ignore"):
        return _Nodes(table, decimals).condition(node)


class _Nodes:
    def __init__(self, table: NodeTable, decimals: Mapping[str, int]) -> None:
        self._table = table
        self._decimals = decimals
        self._size = len(table.entries)

    def condition(self, node: Any) -> NodeTruth:
        counted = self._counted(node)
        if counted is not None:
            return counted
        handler = _CONDITIONS.get(type(node))
        if handler is not None:
            return handler(self, node)
        if isinstance(node, ast.Comparison):
            return self._compared(type(node), self._value(node.lhs), self._value(node.rhs))
        return self._spatial(node)

    def _and(self, node: Any) -> NodeTruth:
        a, b = self.condition(node.lhs), self.condition(node.rhs)
        return NodeTruth(a.may & b.may, a.all & b.all, a.may_not | b.may_not, a.none | b.none)

    def _or(self, node: Any) -> NodeTruth:
        a, b = self.condition(node.lhs), self.condition(node.rhs)
        return NodeTruth(a.may | b.may, a.all | b.all, a.may_not & b.may_not, a.none & b.none)

    def _not(self, node: Any) -> NodeTruth:
        inner = self.condition(node.sub_node)
        return NodeTruth(inner.may_not, inner.none, inner.may, inner.all)

    def _compared(self, operator: type[Any], left: _Interval, right: _Interval) -> NodeTruth:
        if operator in (ast.GreaterThan, ast.GreaterEqual):
            left, right = right, left
            operator = ast.LessThan if operator is ast.GreaterThan else ast.LessEqual
        complete = left.complete & right.complete
        if operator in (ast.Equal, ast.NotEqual):
            meets = (left.low <= right.high) & (right.low <= left.high)
            same = (left.low == left.high) & (right.low == right.high) & (left.low == right.low)
            equal = (meets, same & complete, np.logical_not(same), np.logical_not(meets) & complete)
            may, every, may_not, none = (
                equal if operator is ast.Equal else (equal[2], equal[3], equal[0], equal[1])
            )
        elif operator is ast.LessThan:
            may, every = left.low < right.high, (left.high < right.low) & complete
            may_not, none = left.high >= right.low, (left.low >= right.high) & complete
        else:
            may, every = left.low <= right.high, (left.high <= right.low) & complete
            may_not, none = left.high > right.low, (left.low > right.high) & complete
        return NodeTruth(*(np.broadcast_to(one, self._size) for one in (may, every, may_not, none)))

    def _between(self, node: Any) -> NodeTruth:
        value = self._value(node.lhs)
        a = self._compared(ast.GreaterEqual, value, self._value(node.low))
        b = self._compared(ast.LessEqual, value, self._value(node.high))
        return NodeTruth(a.may & b.may, a.all & b.all, a.may_not | b.may_not, a.none | b.none)

    def _in(self, node: Any) -> NodeTruth:
        value = self._value(node.lhs)
        found = [self._compared(ast.Equal, value, self._value(option)) for option in node.sub_nodes[:200]]
        if len(node.sub_nodes) > len(found):
            return self._unknown()
        parts = [np.stack(part) for part in zip(*found, strict=True)]
        return NodeTruth(parts[0].any(0), parts[1].any(0), parts[2].all(0), parts[3].all(0))

    def _is_null(self, node: Any) -> NodeTruth:
        if isinstance(node.lhs, ast.Attribute) and node.lhs.name == GEOMETRY:
            complete = np.ones(self._size, bool)
        else:
            complete = np.broadcast_to(self._value(node.lhs).complete, self._size)
        unknown, nothing = ~complete, np.zeros(self._size, bool)
        null = NodeTruth(unknown, nothing, np.ones(self._size, bool), complete)
        return NodeTruth(null.may_not, null.none, null.may, null.all) if node.not_ else null

    def _spatial(self, node: Any) -> NodeTruth:
        shape = node.rhs
        if not isinstance(shape, shapely.Geometry):
            return self._unknown()
        low, high = np.asarray(self._table.lowest[:, :2]), np.asarray(self._table.highest[:, :2])
        meets, holds = boxes_and_area(shape, low, high, _MARGIN)
        nothing = np.zeros(self._size, bool)
        if type(node) in (ast.GeometryIntersects, ast.GeometryWithin):
            return NodeTruth(meets, holds, ~holds, ~meets)
        if type(node) is ast.GeometryDisjoint:
            return NodeTruth(~holds, ~meets, meets, holds)
        return NodeTruth(meets, nothing, ~nothing, ~meets)

    def _unknown(self) -> NodeTruth:
        yes, no = np.ones(self._size, bool), np.zeros(self._size, bool)
        return NodeTruth(yes, no, yes, no)

    def _counted(self, node: Any) -> NodeTruth | None:
        """A condition on classes or on return numbers alone, by their counts."""
        names = _names(node)
        if names == {"Classification"}:
            codes, counts = np.array(self._table.classes, np.uint8), self._table.class_counts
        elif names == {"ReturnNumber"}:
            codes, counts = np.arange(RETURNS, dtype=np.uint8), self._table.return_counts
        else:
            return None
        matching = point_mask(node, {next(iter(names)): codes})
        there = np.asarray(counts) > 0
        may, may_not = there[:, matching].any(axis=1), there[:, ~matching].any(axis=1)
        return NodeTruth(may, ~may_not, may_not, ~may)

    # --- values ---

    def _value(self, node: Any) -> _Interval:
        if isinstance(node, ast.Attribute):
            return self._column(node.name)
        if isinstance(node, ast.Function):
            return _Interval(-np.inf, np.inf, np.bool_(False))
        if isinstance(node, ast.Arithmetic):
            return self._computed(type(node), self._value(node.lhs), self._value(node.rhs))
        value = instant(node) if isinstance(node, date) else node
        return _Interval(value, value, np.bool_(True))

    def _column(self, name: str) -> _Interval:
        table = self._table
        if is_instant(name, table.dimensions):
            seconds = self._column("GpsTime")
            return _Interval(milliseconds(seconds.low), milliseconds(seconds.high), seconds.complete)
        place = table.column(name)
        low, high = np.asarray(table.lowest[:, place]), np.asarray(table.highest[:, place])
        complete = np.ones(self._size, bool)
        if name not in _WHOLE:
            # Doubles may hold no number, which the statistics leave out. All are there if the sum could not be reached without one.
            count = table.entries["point_count"].astype(np.float64)
            total = np.asarray(table.sums[:, place])
            complete = ((low > 0) & (total > (count - 1) * high * (1 + 1e-9))) | (
                (high < 0) & (total < (count - 1) * low * (1 + 1e-9))
            )
        if name in self._decimals:
            low, high = np.round(low, self._decimals[name]), np.round(high, self._decimals[name])
        return _Interval(low, high, complete)

    def _computed(self, operator: type[Any], left: _Interval, right: _Interval) -> _Interval:
        if operator is ast.Div:
            return _Interval(-np.inf, np.inf, np.bool_(False))
        compute = ARITHMETIC[operator]
        ends = np.stack(
            np.broadcast_arrays(*(compute(np.float64(a), np.float64(b)) for a in left[:2] for b in right[:2]))
        )
        complete = left.complete & right.complete & np.isfinite(ends).all(axis=0)
        low, high = (
            np.where(np.isnan(ends), -np.inf, ends).min(0),
            np.where(np.isnan(ends), np.inf, ends).max(0),
        )
        return _Interval(low, high, complete)


_WHOLE: Final = frozenset([
    "X", "Y", "Z", "Intensity", "ReturnNumber", "NumberOfReturns", "Synthetic", "KeyPoint", "Withheld", "Overlap", "ScannerChannel",
    "ScanDirectionFlag", "EdgeOfFlightLine", "Classification", "UserData", "ScanAngle", "PointSourceId", "Red", "Green", "Blue",
    "Infrared",
])  # fmt: skip
"""Dimensions stored as whole numbers, each of which is one."""

_CONDITIONS: Final[dict[type[Any], Callable[[_Nodes, Any], NodeTruth]]] = {
    ast.And: _Nodes._and,
    ast.Or: _Nodes._or,
    ast.Not: _Nodes._not,
    ast.Between: _Nodes._between,
    ast.In: _Nodes._in,
    ast.IsNull: _Nodes._is_null,
}


def _names(node: Any) -> set[str]:
    """The attributes of a condition; the instant counts as a name of its own."""
    found: set[str] = set()
    stack = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, ast.Attribute):
            found.add(one.name)
        elif isinstance(one, list):
            stack.extend(one)
        elif hasattr(one, "get_sub_nodes"):
            stack.extend(one.get_sub_nodes())
    return found


__all__ = ["TIME_FIELD", "NodeTruth", "node_truth"]
