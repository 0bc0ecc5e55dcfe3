"""Arithmetic on the bands of a raster, as users write it: `(b4 - b3) / (b4 + b3)`.

The text is parsed by Python's own parser and then only walked: what is not on the list below is refused, nothing is ever
executed as Python. There are names (b1, b2, ... or the names of bands), numbers, + - * / **, comparisons, `and`, `or`,
`not`, and the functions of FUNCTIONS. True is 1, false 0. Where a band has no data (NaN), and where a number cannot be
computed (division by zero, root of a negative number), the result is NaN: no data.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.errors import StyleError

type Values = NDArray[np.float32]
type _Compiled = Callable[[Mapping[str, Values]], Any]

MAXIMUM_LENGTH = 500
MAXIMUM_DEPTH = 20
MAXIMUM_STEPS = 100
MAXIMUM_BANDS = 16
"""Limits of an expression: letters, nesting, operations and different bands."""


def _where(condition: Any, then: Any, otherwise: Any) -> Any:
    chosen = np.where(condition != 0, then, otherwise)
    return np.where(np.isnan(condition), np.float32(np.nan), chosen)


_FUNCTIONS: Mapping[str, tuple[int, int, Callable[..., Any]]] = {
    "where": (3, 3, _where),
    "min": (2, 8, lambda *parts: _folded(np.minimum, parts)),
    "max": (2, 8, lambda *parts: _folded(np.maximum, parts)),
    "abs": (1, 1, np.abs),
    "sqrt": (1, 1, np.sqrt),
    "log": (1, 1, np.log),
    "log10": (1, 1, np.log10),
    "exp": (1, 1, np.exp),
    "clip": (3, 3, lambda value, low, high: np.minimum(np.maximum(value, low), high)),
}
FUNCTIONS = tuple(_FUNCTIONS)

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}


def _folded(operator: Callable[[Any, Any], Any], parts: Sequence[Any]) -> Any:
    result = parts[0]
    for part in parts[1:]:
        result = operator(result, part)
    return result


@dataclass(frozen=True, slots=True)
class BandExpression:
    """A checked expression. `names` are the names of bands in it, in the order of appearance."""

    text: str
    names: tuple[str, ...]
    _evaluate: _Compiled

    def bands(self, names: Sequence[str]) -> tuple[int, ...]:
        """Numbers from 1 of the bands it needs, where `names` are those of the raster's bands. Raises StyleError."""
        return tuple(_band_number(name, names) for name in self.names)

    def evaluate(self, arrays: Mapping[str, Values]) -> Values:
        """Its value for arrays of one shape, by name of band: float32, NaN where there is none."""
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        with np.errstate(all="ignore"):
            result = np.asarray(self._evaluate(arrays), dtype=np.float32)
        result = np.where(np.isfinite(result), result, np.float32(np.nan))
        return np.broadcast_to(result, shape).astype(np.float32)


def _band_number(name: str, names: Sequence[str]) -> int:
    if name in names:
        return names.index(name) + 1
    if name[:1] == "b" and name[1:].isdecimal() and 1 <= int(name[1:]) <= len(names):
        return int(name[1:])
    listed = ", ".join(f"b{index + 1} ({one})" for index, one in enumerate(names[:20]))
    raise StyleError(f"the expression names band {name!r}; the raster has {listed}")


@lru_cache(maxsize=256)
def compile_expression(text: str) -> BandExpression:
    """Check an expression and make it ready. Raises StyleError that says what is not allowed."""
    if not text.strip() or len(text) > MAXIMUM_LENGTH or not text.isprintable():
        raise StyleError(
            f"a band expression has 1 to {MAXIMUM_LENGTH} printable letters in one line, found {len(text)}"
        )
    _check_brackets(text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise StyleError(f"band expression {text!r:.100} is not understood: {error}") from error
    walker = _Walker()
    evaluate = walker.visit(tree.body, 0)
    if not walker.names:
        raise StyleError(
            f"band expression {text!r:.100} names no band; write b1, b2, ... or the names of bands"
        )
    return BandExpression(text, tuple(walker.names), evaluate)


def _check_brackets(text: str) -> None:
    """Refuse deep nesting before Python's parser works on it."""
    depth = signs = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        signs = signs + 1 if letter in "-+~ " else 0
        if depth > MAXIMUM_DEPTH or signs > MAXIMUM_DEPTH:
            raise StyleError(f"a band expression is nested at most {MAXIMUM_DEPTH} levels deep")


class _Walker:
    """Turns a syntax tree into functions on arrays, and counts what it meets."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._steps = 0

    def visit(self, node: ast.expr, depth: int) -> _Compiled:
        self._steps += 1
        if depth > MAXIMUM_DEPTH or self._steps > MAXIMUM_STEPS:
            raise StyleError(
                f"a band expression has at most {MAXIMUM_STEPS} parts, nested at most {MAXIMUM_DEPTH} levels deep"
            )
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise StyleError(
                f"{ast.unparse(node)[:80]!r} is not allowed in a band expression; allowed are bands, numbers, + - * / **, "
                f"comparisons, and, or, not, and the functions {', '.join(FUNCTIONS)}"
            )
        compiled: _Compiled = method(node, depth + 1)
        return compiled

    def _constant(self, node: ast.Constant, _depth: int) -> _Compiled:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e30:
            raise StyleError(f"{str(value)[:40]!r} is not a number that a band expression may have")
        number = np.float32(value)
        return lambda _: number

    def _name(self, node: ast.Name, _depth: int) -> _Compiled:
        name = node.id
        if len(name) > 64 or name.startswith("_"):
            raise StyleError(f"{name[:40]!r} is no name of a band")
        self.names[name] = None
        if len(self.names) > MAXIMUM_BANDS:
            raise StyleError(f"a band expression names at most {MAXIMUM_BANDS} different bands")
        return lambda arrays: arrays[name]

    def _binop(self, node: ast.BinOp, depth: int) -> _Compiled:
        operator = _OPERATORS.get(type(node.op))
        if operator is None:
            raise StyleError(f"{ast.unparse(node)[:80]!r}: the operators are + - * / **")
        left, right = self.visit(node.left, depth), self.visit(node.right, depth)
        return lambda arrays: operator(left(arrays), right(arrays))

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> _Compiled:
        operand = self.visit(node.operand, depth)
        if isinstance(node.op, ast.USub):
            return lambda arrays: np.negative(operand(arrays))
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(node.op, ast.Not):
            return lambda arrays: _truth(operand(arrays) == 0, operand(arrays))
        raise StyleError(f"{ast.unparse(node)[:80]!r}: the operators before a value are - + not")

    def _compare(self, node: ast.Compare, depth: int) -> _Compiled:
        operands = [self.visit(part, depth) for part in (node.left, *node.comparators)]
        operators = [_COMPARISONS.get(type(one)) for one in node.ops]
        if None in operators:
            raise StyleError(f"{ast.unparse(node)[:80]!r}: the comparisons are == != < <= > >=")
        known = [one for one in operators if one is not None]

        def compare(arrays: Mapping[str, Values]) -> Any:
            values = [operand(arrays) for operand in operands]
            tests = [test(a, b) for test, a, b in zip(known, values, values[1:], strict=False)]
            return _truth(_folded(np.logical_and, tests), *values)

        return compare

    def _boolop(self, node: ast.BoolOp, depth: int) -> _Compiled:
        operator = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        parts = [self.visit(part, depth) for part in node.values]

        def combine(arrays: Mapping[str, Values]) -> Any:
            values = [part(arrays) for part in parts]
            return _truth(_folded(operator, [value != 0 for value in values]), *values)

        return combine

    def _call(self, node: ast.Call, depth: int) -> _Compiled:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS or node.keywords or any(isinstance(one, ast.Starred) for one in node.args):
            raise StyleError(
                f"{ast.unparse(node)[:80]!r} is not allowed in a band expression; its functions are {', '.join(FUNCTIONS)}"
            )
        low, high, function = _FUNCTIONS[name]
        if not low <= len(node.args) <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            raise StyleError(f"{name} takes {wanted} values, found {len(node.args)}")
        arguments = [self.visit(one, depth) for one in node.args]
        return lambda arrays: function(*(argument(arrays) for argument in arguments))


def _truth(result: Any, *operands: Any) -> Any:
    """1 and 0, and NaN where an operand has no data."""
    missing = _folded(np.logical_or, [np.isnan(operand) for operand in operands])
    return np.where(missing, np.float32(np.nan), np.asarray(result, dtype=np.float32))
