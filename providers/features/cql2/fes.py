"""OGC Filter Encoding 2.0 (09-026r2) and 1.1 (04-095) to the common tree, for WFS.

pygeofilter 0.4's FES parsers need a package of their own for GML and read neither identifiers, matchCase, PropertyIsNil nor
literals without a type; its nodes are used, its parsers are not. Literals are texts that take the type of what they meet.
Operators by local name, so both versions and filters without a namespace are read alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree
from pygeofilter import ast

from providers.features.cql2 import strings
from providers.features.cql2.filters import checked
from providers.features.cql2.gml import Element, is_gml, local_name, read_geometry
from providers.features.cql2.limits import MAXIMUM_DEPTH, Refusal, balanced
from providers.features.cql2.raw import Interval, instant_literal, interval_literal
from providers.features.query import CRS84, Filter
from providers.features.schema import CollectionSchema

MAXIMUM_XML: Final = 2_000_000
"""Bytes of a filter document."""

_GML_PROPERTIES: Final = {"boundedBy": "geometry", "location": "geometry"}


@dataclass(frozen=True, slots=True)
class FesFilter:
    """What an XML filter asks for: features by id, or by a condition (`filter`). Never both (09-026r2 clause 7.2)."""

    filter: Filter | None
    ids: tuple[str, ...] = ()


def parse_fes(
    xml: bytes | str | Element,
    schema: CollectionSchema,
    hidden: frozenset[str] = frozenset(),
    crs: str = CRS84,
    parameter: str = "filter",
) -> FesFilter:
    """The filter in a `Filter` element or document. `crs` is the URI of geometries without srsName.

    Documents are read without entities and DTDs. Raises InvalidParameter, naming `parameter`.
    """
    try:
        root = read_xml(xml) if isinstance(xml, bytes | str) else xml
        if local_name(root) != "Filter":
            raise Refusal(f"the element {local_name(root)!r}", "a Filter element")
        _check_depth(root)
        children = _elements(root)
        ids = tuple(_identifier(child) for child in children if local_name(child) in _IDENTIFIERS)
        if ids:
            if len(ids) < len(children):
                raise Refusal("identifiers beside conditions", "identifiers only, or one condition")
            return FesFilter(None, tuple(dict.fromkeys(ids)))
        if len(children) != 1:
            raise Refusal(f"a Filter of {len(children)} elements", "one condition")
        return FesFilter(checked(_read(children[0]), schema, hidden, crs, untyped=True))
    except Refusal as refusal:
        raise refusal.as_parameter(parameter) from None


def read_xml(document: bytes | str) -> Element:
    """The root of an XML document, read without DTD, entities and network. Raises Refusal."""
    raw = document.encode() if isinstance(document, str) else document
    if len(raw) > MAXIMUM_XML:
        raise Refusal(f"{len(raw)} bytes of XML", f"at most {MAXIMUM_XML}")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise Refusal(
            raw[:60].decode(errors="replace"), f"a well-formed XML document ({error.msg})"
        ) from None
    if root.getroottree().docinfo.doctype:
        raise Refusal("a document type declaration", "XML without DTD")
    return root


def _check_depth(root: Element) -> None:
    level: list[Element] = [root]
    for _ in range(2 * MAXIMUM_DEPTH):
        level = [child for element in level for child in element.iterchildren(tag=etree.Element)]
        if not level:
            return
    raise Refusal(f"XML of more than {2 * MAXIMUM_DEPTH} levels", f"at most {2 * MAXIMUM_DEPTH} levels")


def _elements(element: Element) -> list[Element]:
    return list(element.iterchildren(tag=etree.Element))


_IDENTIFIERS: Final = {"ResourceId": "rid", "FeatureId": "fid", "GmlObjectId": "id"}


def _identifier(element: Element) -> str:
    wanted = _IDENTIFIERS[local_name(element)]
    for name, value in element.attrib.items():
        if etree.QName(name).localname == wanted:
            return str(value)
    raise Refusal(f"a {local_name(element)} without {wanted}", f"the attribute {wanted}")


def _read(element: Element) -> Any:
    if is_gml(element):
        return _read_gml(element)
    reader = _READERS.get(local_name(element))
    if reader is None:
        raise Refusal(f"the element {local_name(element)!r}", f"one of {sorted(_READERS)}")
    return reader(element)


def _operands(element: Element, count: int) -> list[Any]:
    children = _elements(element)
    if len(children) != count:
        raise Refusal(f"{local_name(element)} of {len(children)} operands", f"{count} operands")
    return [_read(child) for child in children]


# --- values --------------------------------------------------------------------------------------------------------------


def _property(element: Element) -> Any:
    """A field by its name; prefixes, a path before it and the brackets of XPath are left out."""
    name = (element.text or "").strip().rpartition("/")[2].rpartition(":")[2].lstrip("@")
    return ast.Attribute(_GML_PROPERTIES.get(name, name))


def _literal(element: Element) -> Any:
    children = _elements(element)
    return _read(children[0]) if len(children) == 1 else (element.text or "").strip()


def _read_gml(element: Element) -> Any:
    name = local_name(element)
    if name == "TimeInstant":
        return instant_literal(_text_below(element, "timePosition"))
    if name == "timePosition":
        return instant_literal((element.text or "").strip())
    if name == "TimePeriod":
        return _period(element)
    return read_geometry(element)


def _text_below(element: Element, *names: str) -> str:
    for child in element.iter(tag=etree.Element):
        if local_name(child) in names:
            return (child.text or "").strip()
    raise Refusal(f"a gml:{local_name(element)}", f"an element {' or '.join(names)} in it")


def _period(element: Element) -> Interval:
    ends = [child for child in _elements(element) if local_name(child) not in ("duration", "timeInterval")]
    if len(ends) != 2:
        raise Refusal("a gml:TimePeriod", "a begin and an end")
    return interval_literal([_end(end) for end in ends])


def _end(element: Element) -> str:
    open_end = element.get("indeterminatePosition") in ("before", "after", "unknown")
    return ".." if open_end else _text_below(element, "beginPosition", "endPosition", "timePosition")


def _function(element: Element) -> Any:
    return ast.Function((element.get("name") or "").lower(), [_read(child) for child in _elements(element)])


# --- conditions ----------------------------------------------------------------------------------------------------------


def _chain(kind: type[Any]) -> Callable[[Element], Any]:
    def read(element: Element) -> Any:
        operands = [_read(child) for child in _elements(element)]
        if not operands:
            raise Refusal(f"an empty {local_name(element)}", "conditions")
        return balanced(kind, operands)

    return read


def _compare(kind: type[Any]) -> Callable[[Element], Any]:
    def read(element: Element) -> Any:
        left, right = _operands(element, 2)
        if element.get("matchCase") == "false" and any(isinstance(side, str) for side in (left, right)):
            left, right = (ast.Function("casei", [side]) for side in (left, right))
        return kind(left, right)

    return read


def _like(element: Element) -> Any:
    value, pattern = _operands(element, 2)
    if not isinstance(pattern, str):
        raise Refusal("a PropertyIsLike without a pattern", "a Literal with a text")
    any_length, single = element.get("wildCard") or "*", element.get("singleChar") or "?"
    escape = element.get("escapeChar") or element.get("escape") or "\\"
    found = strings.like_pattern(_pattern_tokens(pattern, any_length, single, escape))
    if element.get("matchCase") == "false":
        value, found = ast.Function("casei", [value]), strings.map_pattern(found, strings.casei)
    return ast.Like(value, found, False, "%", "_", "\\", False)


def _pattern_tokens(pattern: str, any_length: str, single: str, escape: str) -> strings.Tokens:
    """A pattern with wildcards of its own as tokens; each of the three may be several characters."""
    tokens: list[str | strings.Wild] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith(escape, at) and at + len(escape) < len(pattern):
            tokens.append(pattern[at + len(escape)])
            at += len(escape) + 1
        elif pattern.startswith(any_length, at):
            tokens.append(strings.ANY)
            at += len(any_length)
        elif pattern.startswith(single, at):
            tokens.append(strings.ONE)
            at += len(single)
        else:
            tokens.append(pattern[at])
            at += 1
    return tuple(tokens)


def _is_null(element: Element) -> Any:
    (value,) = _operands(element, 1)
    return ast.IsNull(value, False)


def _not(element: Element) -> Any:
    (value,) = _operands(element, 1)
    return ast.Not(value)


def _between(element: Element) -> Any:
    return ast.Between(*_operands(element, 3), not_=False)


def _boundary(element: Element) -> Any:
    (value,) = _operands(element, 1)
    return value


def _bbox(element: Element) -> Any:
    children = _elements(element)
    operands = [_read(child) for child in children]
    if len(operands) == 1:
        operands = [ast.Attribute("geometry"), *operands]
    if len(operands) != 2:
        raise Refusal(f"a BBOX of {len(operands)} operands", "a property and an envelope")
    return ast.Function("s_intersects", operands)


def _arithmetic(kind: type[Any]) -> Callable[[Element], Any]:
    return lambda element: kind(*_operands(element, 2))


def _related(name: str) -> Callable[[Element], Any]:
    return lambda element: ast.Function(name, _operands(element, 2))


def _distance(element: Element) -> Any:
    raise Refusal(
        local_name(element),
        "a filter without distances: give Intersects with a buffered geometry, or BBOX, instead",
    )


_COMPARED: Final[dict[str, type[Any]]] = {
    "PropertyIsEqualTo": ast.Equal,
    "PropertyIsNotEqualTo": ast.NotEqual,
    "PropertyIsLessThan": ast.LessThan,
    "PropertyIsGreaterThan": ast.GreaterThan,
    "PropertyIsLessThanOrEqualTo": ast.LessEqual,
    "PropertyIsGreaterThanOrEqualTo": ast.GreaterEqual,
}
_RELATED: Final = {
    "Equals": "s_equals",
    "Disjoint": "s_disjoint",
    "Touches": "s_touches",
    "Within": "s_within",
    "Overlaps": "s_overlaps",
    "Crosses": "s_crosses",
    "Intersects": "s_intersects",
    "Contains": "s_contains",
    "After": "t_after",
    "Before": "t_before",
    "Begins": "t_starts",
    "BegunBy": "t_startedby",
    "TContains": "t_contains",
    "During": "t_during",
    "EndedBy": "t_finishedby",
    "Ends": "t_finishes",
    "TEquals": "t_equals",
    "Meets": "t_meets",
    "MetBy": "t_metby",
    "TOverlaps": "t_overlaps",
    "OverlappedBy": "t_overlappedby",
    "AnyInteracts": "t_intersects",
}
_READERS: Final[dict[str, Callable[[Element], Any]]] = {
    "And": _chain(ast.And),
    "Or": _chain(ast.Or),
    "Not": _not,
    **{name: _compare(kind) for name, kind in _COMPARED.items()},
    "PropertyIsLike": _like,
    "PropertyIsNull": _is_null,
    "PropertyIsNil": _is_null,
    "PropertyIsBetween": _between,
    "LowerBoundary": _boundary,
    "UpperBoundary": _boundary,
    "BBOX": _bbox,
    **{name: _related(function) for name, function in _RELATED.items()},
    "DWithin": _distance,
    "Beyond": _distance,
    "Add": _arithmetic(ast.Add),
    "Sub": _arithmetic(ast.Sub),
    "Mul": _arithmetic(ast.Mul),
    "Div": _arithmetic(ast.Div),
    "Function": _function,
    "PropertyName": _property,
    "ValueReference": _property,
    "Literal": _literal,
}
