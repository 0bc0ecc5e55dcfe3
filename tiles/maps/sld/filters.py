"""Filters of SLD (OGC Filter Encoding 1.0 and 1.1, and 2.0) from and to ours."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from tiles.errors import StyleError
from tiles.maps.sld.elements import children, local, number, text
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
    Operator,
    Present,
    Scalar,
    all_of,
    any_of,
    like_parts,
    negation,
    within_bounds,
)

_COMPARISONS: dict[str, Operator] = {
    "PropertyIsLessThan": "<",
    "PropertyIsLessThanOrEqualTo": "<=",
    "PropertyIsGreaterThan": ">",
    "PropertyIsGreaterThanOrEqualTo": ">=",
}
_NAMES = {operator: name for name, operator in _COMPARISONS.items()} | {
    "=": "PropertyIsEqualTo",
    "!=": "PropertyIsNotEqualTo",
}
_MIRRORED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FIELDS = ("PropertyName", "ValueReference")
_GEOMETRY_FUNCTION = "dimension"
_DIMENSIONS = {"point": "0", "line": "1", "polygon": "2"}


def read_filter(element: Element) -> Filter | None:
    """The filter of a Filter element; None is everything. Raises StyleError for what is not understood."""
    return within_bounds(all_of(*(_read(one, 0) for one in children(element))))


def _read(element: Element, depth: int) -> Filter | None:
    if depth > MAXIMUM_DEPTH:
        raise StyleError(f"a filter is nested deeper than {MAXIMUM_DEPTH} levels")
    kind = local(element)
    if kind in ("And", "Or", "Not"):
        parts = [_read(one, depth + 1) for one in children(element)]
        if kind == "And":
            return all_of(*parts)
        return any_of(*parts) if kind == "Or" else negation(all_of(*parts))
    if kind in ("PropertyIsEqualTo", "PropertyIsNotEqualTo"):
        return _equality(element, kind == "PropertyIsNotEqualTo")
    if kind in _COMPARISONS:
        field, value, mirrored = _operands(element)
        operator = _COMPARISONS[kind]
        return Comparison(field, _MIRRORED[operator] if mirrored else operator, scalar(value))
    if kind == "PropertyIsBetween":
        field = _field(element)
        low, high = (
            text(next(children(element, name), None), "Literal")
            for name in ("LowerBoundary", "UpperBoundary")
        )
        return all_of(
            Comparison(field, ">=", number(low, "LowerBoundary")),
            Comparison(field, "<=", number(high, "UpperBoundary")),
        )
    if kind in ("PropertyIsNull", "PropertyIsNil"):
        return Not(Present(_field(element)))
    if kind == "PropertyIsLike":
        return _like(element)
    raise StyleError(f"the filter {kind[:60]} is not known here")


def _equality(element: Element, negated: bool) -> Filter:
    function = next(children(element, "Function"), None)
    if function is not None and function.get("name") == _GEOMETRY_FUNCTION:
        wanted = text(element, "Literal")
        kinds = [kind for kind, dimension in _DIMENSIONS.items() if dimension == wanted]
        if not kinds:
            raise StyleError(f"a geometry of dimension {wanted[:20]!r} is not known here")
        found: Filter = GeometryIs(kinds[0])  # type: ignore[arg-type]  # a key of the table above
        return Not(found) if negated else found
    field, value, _ = _operands(element)
    found = equal(field, value, ignoring_case=element.get("matchCase") == "false")
    # Filter Encoding: a comparison with nothing is neither true nor false.
    return AllOf((Present(field), Not(found))) if negated else found


def equal(field: str, value: str, *, ignoring_case: bool = False) -> Filter:
    """A field that is a text of a document, or the number or truth value the text stands for."""
    values: list[Scalar] = [value]
    if value in ("true", "false"):
        values.append(value == "true")
    else:
        found = scalar(value)
        values += [found] if found != value else []
    if ignoring_case:
        values += [
            one for one in dict.fromkeys((value.lower(), value.upper(), value.capitalize())) if one != value
        ]
    return OneOf(field, tuple(values)) if len(values) > 1 else Comparison(field, "=", value)


def scalar(value: str) -> Scalar:
    """The number a text stands for, else the text."""
    try:
        found = float(value)
    except ValueError:
        return value
    if not -1e15 < found < 1e15:
        return value
    return int(found) if found.is_integer() and "." not in value and "e" not in value.lower() else found


def _field(element: Element) -> str:
    name = next((text(one) for one in children(element, *_FIELDS)), "")
    if not name:
        raise StyleError(f"{local(element)} names no property")
    return field_name(name)


def field_name(name: str) -> str:
    """The name of a field without its namespace prefix."""
    return name.strip().rpartition("/")[2].removeprefix("@").split(":")[-1]


def _operands(element: Element) -> tuple[str, str, bool]:
    """Field, value, and whether the value came first."""
    parts = list(children(element))
    kinds = [local(one) for one in parts]
    if len(parts) == 2 and kinds[0] in _FIELDS and kinds[1] == "Literal":
        return field_name(text(parts[0])), text(parts[1]), False
    if len(parts) == 2 and kinds[1] in _FIELDS and kinds[0] == "Literal":
        return field_name(text(parts[1])), text(parts[0]), True
    raise StyleError(
        f"{local(element)} of {' and '.join(kinds)[:60]} is not known here, only of a property and a literal"
    )


def _like(element: Element) -> Filter:
    signs = {
        element.get("wildCard", "*"): "%",
        element.get("singleChar", "."): "_",
    }
    escape = element.get("escapeChar") or element.get("escape") or "\\"
    pattern, escaped = [], False
    for letter in text(element, "Literal"):
        if not escaped and letter == escape:
            escaped = True
            continue
        plain = "\\" + letter if letter in "%_\\" else letter
        pattern.append(plain if escaped else signs.get(letter, plain))
        escaped = False
    return Like(_field(element), "".join(pattern))


class FilterWriter:
    """Writes filters with the names of a version: `prefix` "ogc", `field` "PropertyName"."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def add(self, parent: Element, filter_: Filter) -> None:
        """Write a filter into its parent."""
        match filter_:
            case AllOf(()):
                self.add(parent, Not(NEVER))
            case AnyOf(()):
                # Nothing is both there and not there; Filter Encoding has no "false".
                self.add(parent, AllOf((Comparison("id", "=", ""), Comparison("id", "=", "-"))))
            case AllOf(parts) | AnyOf(parts):
                if len(parts) == 1:
                    self.add(parent, parts[0])
                    return
                element = self._child(parent, "And" if isinstance(filter_, AllOf) else "Or")
                for part in parts:
                    self.add(element, part)
            case Not(Present(field)):
                self._field(self._child(parent, "PropertyIsNull"), field)
            case Not(part):
                self.add(self._child(parent, "Not"), part)
            case Present(field):
                self.add(self._child(parent, "Not"), Not(Present(field)))
            case OneOf(field, values):
                tests = tuple(dict.fromkeys(Comparison(field, "=", written(one)) for one in values))
                self.add(parent, tests[0] if len(tests) == 1 else AnyOf(tests))
            case Comparison(field, operator, value):
                element = self._child(parent, _NAMES[operator])
                self._field(element, field)
                self._child(element, "Literal").text = written(value)
            case GeometryIs(kind):
                element = self._child(parent, "PropertyIsEqualTo")
                self._child(element, "Function", name=_GEOMETRY_FUNCTION)
                self._child(element, "Literal").text = _DIMENSIONS[kind]
            case Like(field, pattern):
                element = self._child(parent, "PropertyIsLike", wildCard="*", singleChar="?", escapeChar="!")
                self._field(element, field)
                signs = {"%": "*", "_": "?"}
                self._child(element, "Literal").text = "".join(
                    signs.get(part) or _escaped(part.removeprefix("\\") if len(part) > 1 else part)
                    for part in like_parts(pattern)
                )

    def _child(self, parent: Element, name: str, /, **attributes: str) -> Element:
        return SubElement(parent, f"{{{self._namespace}}}{name}", attributes)

    def _field(self, parent: Element, field: str) -> None:
        self._child(parent, "PropertyName").text = field


def _escaped(letter: str) -> str:
    return "!" + letter if letter in "*?!" else letter


def written(value: Scalar) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
