"""Conditions in the OGC Filter Encoding: 1.1 for WFS 1.1.0 (OGC 04-095), 2.0 for WFS 2.0 (OGC 09-026r2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import shapely
from lxml import etree
from pygeofilter import ast

from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.query import CRS84, GEOMETRY, BBox
from providers.features.remote.conditions import cannot, flattened, instant_text, is_casei
from providers.features.remote.gml import GML_31, GML_32, GeometryWriter
from providers.features.schema import CollectionSchema

FES = "http://www.opengis.net/fes/2.0"
OGC = "http://www.opengis.net/ogc"
_KIND = "wfs"
_COMPARISONS: Mapping[type, str] = {
    ast.Equal: "PropertyIsEqualTo",
    ast.NotEqual: "PropertyIsNotEqualTo",
    ast.LessThan: "PropertyIsLessThan",
    ast.LessEqual: "PropertyIsLessThanOrEqualTo",
    ast.GreaterThan: "PropertyIsGreaterThan",
    ast.GreaterEqual: "PropertyIsGreaterThanOrEqualTo",
}
_SPATIAL: Mapping[type, str] = {
    ast.GeometryIntersects: "Intersects",
    ast.GeometryDisjoint: "Disjoint",
    ast.GeometryContains: "Contains",
    ast.GeometryWithin: "Within",
    ast.GeometryTouches: "Touches",
    ast.GeometryCrosses: "Crosses",
    ast.GeometryOverlaps: "Overlaps",
    ast.GeometryEquals: "Equals",
}
_ARITHMETIC: Mapping[type, str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mul: "Mul", ast.Div: "Div"}


class FilterWriter:
    """Writes the filter of one request.

    `operators`: names of the comparison and spatial operators that the service declares. `geometry_field`: the name of the
    geometry property. `srs_name` and `swap` are how coordinates go to the service in `storage`.
    """

    def __init__(
        self,
        version: str,
        schema: CollectionSchema,
        operators: frozenset[str],
        geometry_field: str,
        storage: ReferenceSystem,
        srs_name: str,
        *,
        swap: bool,
    ) -> None:
        self._is_2 = version.startswith("2")
        self._namespace = FES if self._is_2 else OGC
        self._gml = GML_32 if self._is_2 else GML_31
        self._schema = schema
        self._operators = operators
        self._geometry_field = geometry_field
        self._geometries = GeometryWriter(self._gml, srs_name, swap=swap)
        self._transform = transform_between(reference_system(CRS84), storage)

    def document(self, condition: Any, boxes: tuple[BBox, ...]) -> str:
        """A Filter element of a condition (None: none) and boxes any of which is met."""
        prefixes = {"fes" if self._is_2 else "ogc": self._namespace, "gml": self._gml}
        root = etree.Element(self._name("Filter"), nsmap=prefixes)
        parent = root
        if condition is not None and boxes:
            parent = etree.SubElement(root, self._name("And"))
        if condition is not None:
            self._write(parent, condition)
        if len(boxes) > 1:
            parent = etree.SubElement(parent, self._name("Or"))
        for box in boxes:
            self._box(parent, box)
        return str(etree.tostring(root, encoding="unicode"))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _name(self, local: str) -> str:
        return f"{{{self._namespace}}}{local}"

    def _need(self, operator: str) -> str:
        if operator not in self._operators:
            raise cannot(_KIND, f"the operator {operator}, which the service does not declare,")
        return operator

    def _write(self, parent: etree._Element, node: Any) -> None:
        writer = _WRITERS.get(type(node))
        if writer is None:
            raise cannot(_KIND, f"the operation {type(node).__name__}")
        writer(self, parent, node)

    def _value(self, parent: etree._Element, node: Any) -> None:
        """A scalar expression."""
        if isinstance(node, ast.Attribute):
            self._reference(parent, node.name)
        elif type(node) in _ARITHMETIC and not self._is_2:
            self._need("Arithmetic")
            element = etree.SubElement(parent, self._name(_ARITHMETIC[type(node)]))
            self._value(element, node.lhs)
            self._value(element, node.rhs)
        elif isinstance(node, ast.Node):
            what = (
                f"the function {node.name}"
                if isinstance(node, ast.Function)
                else f"the operation {type(node).__name__}"
            )
            raise cannot(_KIND, what)
        else:
            etree.SubElement(parent, self._name("Literal")).text = _text(node)

    def _reference(self, parent: etree._Element, name: str) -> None:
        name = self._geometry_field if name == GEOMETRY else self._schema.by_name[name].column
        etree.SubElement(parent, self._name("ValueReference" if self._is_2 else "PropertyName")).text = name

    def _comparison(self, parent: etree._Element, node: Any) -> None:
        name = self._need(_COMPARISONS[type(node)])
        ignores_case = is_casei(node.lhs) and isinstance(node.rhs, str)
        case = {"matchCase": "false"} if ignores_case else {}
        element = etree.SubElement(parent, self._name(name), case)
        self._value(element, node.lhs.arguments[0] if ignores_case else node.lhs)
        self._value(element, node.rhs)

    def _between(self, parent: etree._Element, node: Any) -> None:
        element = etree.SubElement(parent, self._name(self._need("PropertyIsBetween")))
        self._value(element, node.lhs)
        self._value(etree.SubElement(element, self._name("LowerBoundary")), node.low)
        self._value(etree.SubElement(element, self._name("UpperBoundary")), node.high)

    def _like(self, parent: etree._Element, node: Any) -> None:
        ignores_case = is_casei(node.lhs)
        element = etree.SubElement(
            parent,
            self._name(self._need("PropertyIsLike")),
            {
                "wildCard": "%",
                "singleChar": "_",
                "escapeChar": "\\",
                "matchCase": "false" if ignores_case else "true",
            },
        )
        self._value(element, node.lhs.arguments[0] if ignores_case else node.lhs)
        etree.SubElement(element, self._name("Literal")).text = _text(node.pattern)

    def _in(self, parent: etree._Element, node: Any) -> None:
        self._chain(parent, "Or", [ast.Equal(node.lhs, value) for value in node.sub_nodes])

    def _is_null(self, parent: etree._Element, node: Any) -> None:
        if node.not_:
            parent = etree.SubElement(parent, self._name("Not"))
        element = etree.SubElement(parent, self._name(self._need("PropertyIsNull")))
        self._value(element, node.lhs)

    def _not(self, parent: etree._Element, node: Any) -> None:
        self._write(etree.SubElement(parent, self._name("Not")), node.sub_node)

    def _and(self, parent: etree._Element, node: Any) -> None:
        self._chain(parent, "And", list(flattened(node)))

    def _or(self, parent: etree._Element, node: Any) -> None:
        self._chain(parent, "Or", list(flattened(node)))

    def _chain(self, parent: etree._Element, name: str, parts: list[Any]) -> None:
        if len(parts) > 1:
            parent = etree.SubElement(parent, self._name(name))
        for part in parts:
            self._write(parent, part)

    def _spatial(self, parent: etree._Element, node: Any) -> None:
        name = self._need(_SPATIAL[type(node)])
        if isinstance(node.rhs, ast.Node):
            raise cannot(_KIND, "a spatial condition between two properties")
        element = etree.SubElement(parent, self._name(name))
        self._reference(element, GEOMETRY)
        try:
            self._geometries.write(element, self._stored(node.rhs))
        except ValueError as error:
            raise cannot(_KIND, f"{name} with {error}") from None

    def _box(self, parent: etree._Element, box: BBox) -> None:
        element = etree.SubElement(parent, self._name("BBOX"))
        self._reference(element, GEOMETRY)
        shape = shapely.box(*box)
        if self._transform is not None:
            shape = shapely.segmentize(shape, max(box.east - box.west, box.north - box.south) / 16)
        self._geometries.envelope(element, tuple(shapely.bounds(self._stored(shape)).tolist()))

    def _stored(self, geometry: Any) -> Any:
        if self._transform is None:
            return geometry
        coordinates = shapely.get_coordinates(geometry)
        x, y = self._transform(coordinates[:, 0], coordinates[:, 1])
        coordinates[:, 0], coordinates[:, 1] = x, y
        return shapely.set_coordinates(geometry, coordinates)


_WRITERS: dict[type, Callable[[FilterWriter, etree._Element, Any], None]] = {
    **dict.fromkeys(_COMPARISONS, FilterWriter._comparison),
    **dict.fromkeys(_SPATIAL, FilterWriter._spatial),
    ast.Between: FilterWriter._between,
    ast.Like: FilterWriter._like,
    ast.In: FilterWriter._in,
    ast.IsNull: FilterWriter._is_null,
    ast.Not: FilterWriter._not,
    ast.And: FilterWriter._and,
    ast.Or: FilterWriter._or,
}


def _text(value: Any) -> str:
    """A literal's text. Raises UnsupportedQuery for characters that XML cannot hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    text = str(value) if not isinstance(value, float) else repr(value)
    if (
        any(ord(letter) < 32 and letter not in "\t\n\r" for letter in text)
        or "\ufffe" in text
        or "\uffff" in text
    ):
        raise cannot(_KIND, "a text with control characters")
    return text
