"""CQL2 JSON to the common tree (OGC 21-065r2 clause 9 and its JSON schema).

Read more widely than pygeofilter 0.4 does, which knows neither functions by `op`, `%`, `div` and `^`, nor one `between` of
three operands; older drafts' `{"function": ...}` and `{"casei": ...}` are understood too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import orjson
import shapely
from pygeofilter import ast

from providers.features.cql2.limits import MAXIMUM_DEPTH, MAXIMUM_JSON, Refusal, balanced, check_length
from providers.features.cql2.raw import (
    ARITHMETIC,
    ARITHMETIC_FUNCTIONS,
    COMPARISONS,
    BoxLiteral,
    GeometryLiteral,
    date_literal,
    interval_literal,
    timestamp_literal,
)

_GEOMETRY_TYPES: Final = frozenset(
    [
        "Point",
        "LineString",
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "GeometryCollection",
    ]
)


def parse_json_text(text: str) -> Any:
    """The tree of a CQL2 JSON text. Raises Refusal."""
    check_length(text, MAXIMUM_JSON, "characters of filter")
    try:
        document = orjson.loads(text)
    except ValueError as error:
        raise Refusal(text[:60], f"a JSON document ({error})") from None
    return parse_json(document)


def parse_json(document: Any) -> Any:
    """The tree of a decoded CQL2 JSON document. Raises Refusal."""
    if not isinstance(document, dict | bool):
        raise Refusal(
            _shown(document), 'a CQL2 JSON object like {"op": "=", "args": [{"property": "name"}, "x"]}'
        )
    return _read(document, 1)


def _shown(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()[:80]
    except (TypeError, ValueError):
        return str(value)[:80]


def _read(value: Any, depth: int) -> Any:
    if depth > MAXIMUM_DEPTH:
        raise Refusal(f"a filter of more than {MAXIMUM_DEPTH} levels", f"at most {MAXIMUM_DEPTH} levels")
    if isinstance(value, str | bool | int):
        return value if not _too_long(value) else float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refusal(str(value), "a finite number")
        return value
    if isinstance(value, list):
        return [_read(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        raise Refusal(_shown(value), "a text, a number, true, false, an array or an object")
    return _read_object(value, depth)


def _too_long(value: object) -> bool:
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def _read_object(value: dict[str, Any], depth: int) -> Any:
    if value.get("type") in _GEOMETRY_TYPES:
        return _geometry(value)
    for member, read in _OBJECTS.items():
        if member in value:
            return read(value, depth)
    raise Refusal(
        _shown(value), f"an object with one of the members {sorted(_OBJECTS)}, or a GeoJSON geometry"
    )


def _text_of(value: dict[str, Any], member: str) -> str:
    found = value[member]
    if not isinstance(found, str):
        raise Refusal(_shown(value), f"a text in {member!r}")
    return found


def _property(value: dict[str, Any], depth: int) -> Any:
    return ast.Attribute(_text_of(value, "property"))


def _date(value: dict[str, Any], depth: int) -> Any:
    return date_literal(_text_of(value, "date"))


def _timestamp(value: dict[str, Any], depth: int) -> Any:
    return timestamp_literal(_text_of(value, "timestamp"))


def _interval(value: dict[str, Any], depth: int) -> Any:
    ends = value["interval"]
    if not isinstance(ends, list) or not all(isinstance(end, str | dict) for end in ends):
        raise Refusal(_shown(value), '{"interval": [start, end]} of dates, timestamps, ".." or properties')
    return interval_literal([_read(end, depth + 1) for end in ends])


def _bbox(value: dict[str, Any], depth: int) -> Any:
    numbers = value["bbox"]
    are_numbers = isinstance(numbers, list) and all(type(number) in (int, float) for number in numbers)
    if not are_numbers or len(numbers) not in (4, 6):
        raise Refusal(_shown(value), '{"bbox": [...]} with 4 or 6 numbers')
    return BoxLiteral(tuple(float(number) for number in numbers))


def _geometry(value: dict[str, Any]) -> GeometryLiteral:
    try:
        shape = shapely.from_geojson(orjson.dumps(value))
    except (shapely.errors.ShapelyError, TypeError, ValueError) as error:
        raise Refusal(_shown(value), f"a GeoJSON geometry ({error})") from None
    return GeometryLiteral(shape)


def _old_function(value: dict[str, Any], depth: int) -> Any:
    function = value["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refusal(_shown(value), '{"function": {"name": ..., "args": [...]}}')
    arguments = function.get("args", function.get("arguments", []))
    return _operation({"op": function["name"], "args": arguments}, depth)


def _old_character(name: str) -> Callable[[dict[str, Any], int], Any]:
    return lambda value, depth: ast.Function(name, [_read(value[name], depth + 1)])


def _operation(value: dict[str, Any], depth: int) -> Any:
    operator = _text_of(value, "op").lower()
    arguments = value.get("args", [])
    if operator == "isnull" and isinstance(arguments, dict):
        arguments = [arguments]
    if not isinstance(arguments, list):
        raise Refusal(_shown(value), "an array in 'args'")
    operands = [_read(item, depth + 1) for item in arguments]
    if operator in ("and", "or"):
        if len(operands) < 1:
            raise Refusal(_shown(value), f"conditions in the 'args' of {operator!r}")
        return balanced(ast.And if operator == "and" else ast.Or, operands)
    wanted = _COUNTS.get(operator)
    if wanted is not None and len(operands) != wanted:
        raise Refusal(_shown(value), f"{wanted} operands in the 'args' of {operator!r}, not {len(operands)}")
    return _node(operator, operands)


def _node(operator: str, operands: list[Any]) -> Any:
    if operator in COMPARISONS:
        return COMPARISONS[operator](*operands)
    if operator in ARITHMETIC:
        # a minus of one operand is the sign of text filters
        return ARITHMETIC[operator](*(operands if len(operands) == 2 else [0, *operands]))
    build = _BUILDERS.get(operator)
    if build is not None:
        return build(operands)
    return ast.Function(ARITHMETIC_FUNCTIONS.get(operator, operator), operands)


def _between(operands: list[Any]) -> Any:
    if len(operands) == 2 and isinstance(operands[1], list):  # a draft nested the two ends
        operands = [operands[0], *operands[1]]
    if len(operands) != 3:
        raise Refusal(f"'between' of {len(operands)} operands", "3: value, lower end, upper end")
    return ast.Between(*operands, not_=False)


def _in(operands: list[Any]) -> Any:
    if not isinstance(operands[1], list):
        raise Refusal("'in' without a list", "a value and an array of values")
    return ast.In(operands[0], operands[1], False)


_OBJECTS: Final[dict[str, Callable[[dict[str, Any], int], Any]]] = {
    "op": _operation,
    "property": _property,
    "date": _date,
    "timestamp": _timestamp,
    "interval": _interval,
    "bbox": _bbox,
    "function": _old_function,
    "casei": _old_character("casei"),
    "accenti": _old_character("accenti"),
}
_BUILDERS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "not": lambda operands: ast.Not(operands[0]),
    "isnull": lambda operands: ast.IsNull(operands[0], False),
    "like": lambda operands: ast.Like(*operands, False, "%", "_", "\\", False),
    "between": _between,
    "in": _in,
}
_COUNTS: Final = {
    "not": 1,
    "isnull": 1,
    "like": 2,
    "in": 2,
    "/": 2,
    "*": 2,
    "+": 2,
    "%": 2,
    "div": 2,
    "^": 2,
    **dict.fromkeys(COMPARISONS, 2),
}
