"""Arithmetic and the functions of CQL2 filters, in plain Python; all null in, null out.

What has no finite real value (a zero divisor, an overflow, a root of a negative number) is null, never an error: one
feature of odd numbers must not fail a request (OGC 21-065r2 clauses 6.5 and 7.8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from providers.features.cql2 import strings

type Number = int | float


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def divide(dividend: Number | None, divisor: Number | None) -> float | None:
    """Real division: 5 / 2 is 2.5."""
    if dividend is None or divisor is None or divisor == 0:
        return None
    try:
        return _finite(dividend / divisor)
    except OverflowError:
        return None


def modulo(dividend: Number | None, divisor: Number | None) -> Number | None:
    """What is left after `integer_divide`: it has the sign of the dividend."""
    if dividend is None or divisor is None or divisor == 0:
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest
    return math.fmod(dividend, divisor)


def integer_divide(dividend: Number | None, divisor: Number | None) -> Number | None:
    """The whole part of the quotient, cut towards zero."""
    if dividend is None or divisor is None or divisor == 0:
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        quotient = abs(dividend) // abs(divisor)
        return quotient if (dividend < 0) == (divisor < 0) else -quotient
    quotient_real = divide(dividend, divisor)
    return None if quotient_real is None else float(math.trunc(quotient_real))


def power(base: Number | None, exponent: Number | None) -> float | None:
    """Base to the exponent, always a real number."""
    if base is None or exponent is None:
        return None
    try:
        return _finite(math.pow(base, exponent))
    except (OverflowError, ValueError):
        return None


def absolute(value: Number | None) -> Number | None:
    """The number without its sign."""
    return None if value is None else abs(value)


def floor(value: Number | None) -> Number | None:
    """The next whole number downwards."""
    return None if value is None else value if isinstance(value, int) else float(math.floor(value))


def ceiling(value: Number | None) -> Number | None:
    """The next whole number upwards."""
    return None if value is None else value if isinstance(value, int) else float(math.ceil(value))


def round_half_away(value: Number | None) -> Number | None:
    """The nearest whole number; halves go away from zero, as SQL rounds."""
    if value is None or isinstance(value, int):
        return value
    whole = math.trunc(value)
    # value - whole is exact, where adding a half to 0.49999999999999994 would not be
    return float(whole + (math.copysign(1, value) if abs(value - whole) >= 0.5 else 0))


def minimum(*values: Number | None) -> Number | None:
    """The least of the numbers; null where any is null."""
    numbers = [value for value in values if value is not None]
    return min(numbers) if len(numbers) == len(values) else None


def maximum(*values: Number | None) -> Number | None:
    """The greatest of the numbers; null where any is null."""
    numbers = [value for value in values if value is not None]
    return max(numbers) if len(numbers) == len(values) else None


TEXT: Final = "string"
NUMBER: Final = "number"
INTEGER: Final = "integer"


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """A function that filters may call. `arguments` are (title, type); with `repeated`, more of the last one may follow."""

    name: str
    description: str
    arguments: tuple[tuple[str, str], ...]
    returns: str
    call: Callable[..., Any]
    repeated: int = 0
    is_operator: bool = False


_ONE_TEXT = (("text", TEXT),)
_ONE_NUMBER = (("value", NUMBER),)
_TWO_NUMBERS = (("first", NUMBER), ("second", NUMBER))
_DEFINITIONS = (
    FunctionDefinition(
        "casei", "The text without differences of case", _ONE_TEXT, TEXT, strings.casei, 0, True
    ),
    FunctionDefinition("accenti", "The text without accents", _ONE_TEXT, TEXT, strings.accenti, 0, True),
    FunctionDefinition("lower", "The text in lower case", _ONE_TEXT, TEXT, strings.lower),
    FunctionDefinition("upper", "The text in upper case", _ONE_TEXT, TEXT, strings.upper),
    FunctionDefinition("length", "Number of characters of the text", _ONE_TEXT, INTEGER, strings.length),
    FunctionDefinition("abs", "The number without its sign", _ONE_NUMBER, NUMBER, absolute),
    FunctionDefinition("floor", "The next whole number downwards", _ONE_NUMBER, NUMBER, floor),
    FunctionDefinition("ceiling", "The next whole number upwards", _ONE_NUMBER, NUMBER, ceiling),
    FunctionDefinition(
        "round", "The nearest whole number; halves away from zero", _ONE_NUMBER, NUMBER, round_half_away
    ),
    FunctionDefinition("minimum", "The least of 2 to 16 numbers", _TWO_NUMBERS, NUMBER, minimum, 14),
    FunctionDefinition("maximum", "The greatest of 2 to 16 numbers", _TWO_NUMBERS, NUMBER, maximum, 14),
    FunctionDefinition("mod", "The operator %", _TWO_NUMBERS, NUMBER, modulo, 0, True),
    FunctionDefinition("idiv", "The operator DIV", _TWO_NUMBERS, NUMBER, integer_divide, 0, True),
    FunctionDefinition("pow", "The operator ^", _TWO_NUMBERS, NUMBER, power, 0, True),
)
DEFINITIONS: Final[dict[str, FunctionDefinition]] = {item.name: item for item in _DEFINITIONS}
"""Every function and function-like operator by the name evaluators see."""

FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {item.name: item.call for item in _DEFINITIONS}
"""What computes each of them, ready to be registered with SQLite."""


def queryable_functions() -> list[dict[str, Any]]:
    """The functions filters may call, as the `functions` resource lists them (OGC API - Features Part 3 clause 7.3)."""
    return [
        {
            "name": item.name,
            "description": item.description,
            "returns": [item.returns],
            "arguments": [{"title": title, "type": [kind]} for title, kind in item.arguments],
        }
        for item in _DEFINITIONS
        if not item.is_operator
    ]
