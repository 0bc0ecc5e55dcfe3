"""MapLibre's filters, of the old form and as expressions, from and to ours."""

from __future__ import annotations

from typing import Any

from tiles.errors import StyleError
from tiles.maps.style_filters import (
    MAXIMUM_DEPTH,
    NEVER,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    GeometryIs,
    Like,
    Not,
    OneOf,
    Present,
    all_of,
    any_of,
    like_parts,
    negation,
    within_bounds,
)

_OPERATORS = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_GEOMETRIES = {"Point": "point", "LineString": "line", "Polygon": "polygon"}
_WRITTEN_GEOMETRIES = {kind: name for name, kind in _GEOMETRIES.items()}
_CASTS = ("to-string", "to-number", "string", "number", "to-boolean", "boolean")


def read_filter(value: Any) -> Filter | None:
    """A layer's filter; None is everything. Raises StyleError for what is not understood."""
    return None if value is None else within_bounds(read_condition(value))


def read_condition(value: Any, depth: int = 0) -> Filter | None:
    """A condition. Raises StyleError for what is not understood."""
    if depth > MAXIMUM_DEPTH:
        raise StyleError(f"a filter is nested deeper than {MAXIMUM_DEPTH} levels")
    if isinstance(value, bool):
        return None if value else NEVER
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise StyleError(f"{str(value)[:80]} is not a filter")
    kind, rest = value[0], value[1:]
    if kind in ("all", "any", "none"):
        parts = [read_condition(one, depth + 1) for one in rest]
        if kind == "all":
            return all_of(*parts)
        found = any_of(*parts) if parts else NEVER
        return found if kind == "any" else negation(found)
    if kind == "!" and len(rest) == 1:
        return negation(read_condition(rest[0], depth + 1))
    if kind in _OPERATORS and len(rest) >= 2:
        return _comparison(_OPERATORS[kind], rest[0], rest[1])
    return _on_field(kind, rest, value, depth)


def _on_field(kind: str, rest: list[Any], value: Any, depth: int) -> Filter | None:
    if kind in ("has", "!has") and len(rest) == 1 and isinstance(rest[0], str):
        return Present(rest[0]) if kind == "has" else Not(Present(rest[0]))
    if kind in ("in", "!in") and rest:
        found = _membership(rest)
        return found if kind == "in" else negation(found)
    if kind == "match" and len(rest) == 4 and isinstance(rest[2], bool) and isinstance(rest[3], bool):
        values = rest[1] if isinstance(rest[1], list) else [rest[1]]
        found = _one_of(rest[0], values)
        if rest[2] == rest[3]:
            return None if rest[2] else NEVER
        return found if rest[2] else negation(found)
    if kind == "get":
        return Comparison(_field(value), "=", True)
    if kind in ("to-boolean", "boolean") and rest:
        return read_condition(rest[0], depth + 1)
    raise StyleError(f"filter {kind!r:.40} is not known here")


def _membership(rest: list[Any]) -> Filter:
    if isinstance(rest[0], list) or (len(rest) == 2 and isinstance(rest[1], list)):
        container = rest[1]
        if isinstance(container, list) and container[:1] == ["literal"]:
            return _one_of(rest[0], container[1])
        if isinstance(rest[0], str) and isinstance(container, list):  # a text within a text
            return Like(_field(container), "%" + _escaped(rest[0]) + "%")
        raise StyleError(f"filter 'in' of {str(rest)[:60]} is not known here")
    return _one_of(rest[0], rest[1:])


def _one_of(subject: Any, values: list[Any]) -> Filter:
    if _is_geometry(subject):
        found = any_of(*(_geometry(one) for one in values)) if values else NEVER
        return found if found is not None else AllOf(())
    if not all(isinstance(one, str | int | float | bool) for one in values):
        raise StyleError("a list of values holds something else")
    return OneOf(_field(subject), tuple(values)) if values else NEVER


def _comparison(operator: str, left: Any, right: Any) -> Filter:
    if isinstance(right, list) and not isinstance(left, list):
        left, right, operator = right, left, _MIRRORED[operator]
    if isinstance(right, list) and right[:1] == ["literal"] and len(right) == 2:
        right = right[1]
    if isinstance(left, list) and left[:1] == ["slice"]:
        affix = _affix(left, right)
        return affix if operator == "=" else negation(affix)
    if _is_geometry(left):
        found = _geometry(right)
        return found if operator == "=" else negation(found)
    field = _field(left)
    if right is None:
        return Not(Present(field)) if operator == "=" else Present(field)
    if not isinstance(right, str | int | float | bool):
        raise StyleError(f"a comparison of two fields ({field}) is not known here")
    if operator == "!=":
        return Not(Comparison(field, "=", right))  # true also of features without the field
    return Comparison(field, operator, right)  # type: ignore[arg-type]  # one of the table above


def _affix(left: list[Any], right: Any) -> Filter:
    """A text that begins or ends with another, as `write_filter` says it."""
    if not isinstance(right, str) or right == "" or left[2:] not in ([0, len(right)], [-len(right)]):
        raise StyleError(f"the filter on {str(left)[:60]} is not known here")
    return Like(_field(left[1]), _escaped(right) + "%" if len(left) == 4 else "%" + _escaped(right))


def _is_geometry(value: Any) -> bool:
    return value in ("$type", ["geometry-type"])


def _geometry(name: Any) -> Filter:
    kind = _GEOMETRIES.get(str(name).removeprefix("Multi"))
    if kind is None:
        raise StyleError(f"{str(name)[:40]!r} is no kind of geometry; there are {', '.join(_GEOMETRIES)}")
    return GeometryIs(kind)  # type: ignore[arg-type]  # one of the table above


def _field(value: Any, depth: int = 0) -> str:
    if depth > MAXIMUM_DEPTH:
        raise StyleError(f"a field is nested deeper than {MAXIMUM_DEPTH} levels")
    if isinstance(value, str):
        if value == "$id":
            raise StyleError("filters on the id are not known here")
        return value
    if isinstance(value, list) and len(value) >= 2:
        if value[0] == "get" and len(value) == 2 and isinstance(value[1], str):
            return value[1]
        if value[0] in _CASTS:
            return _field(value[1], depth + 1)
    raise StyleError(f"{str(value)[:60]} is not a field")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def write_filter(filter_: Filter) -> list[Any]:
    """A filter as an expression. Raises StyleError for a pattern that MapLibre cannot say."""
    match filter_:
        case AllOf(parts):
            return ["all", *map(write_filter, parts)]
        case AnyOf(parts):
            return ["any", *map(write_filter, parts)]
        case Not(part):
            return ["!", write_filter(part)]
        case GeometryIs(kind):
            return ["==", ["geometry-type"], _WRITTEN_GEOMETRIES[kind]]
        case Present(field):
            return ["has", field]
        case OneOf(field, values):
            return ["in", ["get", field], ["literal", list(values)]]
        case Comparison(field, "=", value):
            return ["==", ["get", field], value]
        case Comparison(field, operator, value):
            # A comparison with what is not there is an error in MapLibre, and takes the whole filter with it.
            sign = "!=" if operator == "!=" else operator
            return ["all", ["has", field], [sign, ["get", field], value]]
        case Like(field, pattern):
            return ["all", ["has", field], _like(field, pattern)]


def _like(field: str, pattern: str) -> list[Any]:
    parts = like_parts(pattern)
    starts, ends = parts[:1] == ["%"], parts[-1:] == ["%"]
    middle = parts[1 if starts else 0 : len(parts) - (1 if ends and len(parts) > 1 else 0)]
    if any(one in ("%", "_") for one in middle):
        raise StyleError(f"the pattern {pattern!r:.60} cannot be said in MapLibre")
    letters = "".join(one.removeprefix("\\") if len(one) > 1 else one for one in middle)
    value = ["to-string", ["get", field]]
    if starts and ends:
        return ["in", letters, value]
    if ends:
        return ["==", ["slice", value, 0, len(letters)], letters]
    if starts:
        return ["==", ["slice", value, -len(letters)], letters]
    return ["==", value, letters]
