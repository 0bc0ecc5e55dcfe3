"""What filters can say here, as fes:Filter_Capabilities (FES 2.0, 09-026r2 clause 7.14): what `parse_fes` reads, and no more."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree

from server.http.wfs.names import FES, OWS

type Element = Any  # lxml's elements are not declared as a type

_CONFORMANCE: Final = {
    "ImplementsQuery": True,
    "ImplementsAdHocQuery": True,
    "ImplementsFunctions": True,
    "ImplementsResourceId": True,
    "ImplementsMinStandardFilter": True,
    "ImplementsStandardFilter": True,
    "ImplementsMinSpatialFilter": True,
    "ImplementsSpatialFilter": False,  # DWithin and Beyond are not answered
    "ImplementsMinTemporalFilter": True,
    "ImplementsTemporalFilter": True,
    "ImplementsVersionNav": False,
    "ImplementsSorting": True,
    "ImplementsExtendedOperators": False,
    "ImplementsMinimumXPath": True,
    "ImplementsSchemaElementFunc": False,
}
_COMPARISONS: Final = (
    "PropertyIsEqualTo",
    "PropertyIsNotEqualTo",
    "PropertyIsLessThan",
    "PropertyIsGreaterThan",
    "PropertyIsLessThanOrEqualTo",
    "PropertyIsGreaterThanOrEqualTo",
    "PropertyIsLike",
    "PropertyIsNull",
    "PropertyIsNil",
    "PropertyIsBetween",
)
_GEOMETRY_OPERANDS: Final = (
    "Envelope",
    "Point",
    "LineString",
    "Curve",
    "Polygon",
    "Surface",
    "MultiPoint",
    "MultiCurve",
    "MultiLineString",
    "MultiSurface",
    "MultiPolygon",
    "MultiGeometry",
)
_SPATIAL: Final = (
    "BBOX",
    "Equals",
    "Disjoint",
    "Intersects",
    "Touches",
    "Crosses",
    "Within",
    "Contains",
    "Overlaps",
)
_TEMPORAL_OPERANDS: Final = ("TimeInstant", "TimePeriod")
_TEMPORAL: Final = (
    "After",
    "Before",
    "Begins",
    "BegunBy",
    "TContains",
    "During",
    "EndedBy",
    "Ends",
    "TEquals",
    "Meets",
    "MetBy",
    "TOverlaps",
    "OverlappedBy",
    "AnyInteracts",
)
_TYPES: Final = {
    "string": "xs:string",
    "number": "xs:double",
    "integer": "xs:integer",
    "boolean": "xs:boolean",
}


def _fes(parent: Element, tag: str, text: str | None = None, /, **attributes: str) -> Element:
    element = etree.SubElement(parent, f"{{{FES}}}{tag}", attributes)
    element.text = text
    return element


def add_filter_capabilities(root: Element) -> None:
    """Append the section."""
    section = _fes(root, "Filter_Capabilities")
    conformance = _fes(section, "Conformance")
    for name, holds in _CONFORMANCE.items():
        constraint = _fes(conformance, "Constraint", name=name)
        etree.SubElement(constraint, f"{{{OWS}}}NoValues")
        etree.SubElement(constraint, f"{{{OWS}}}DefaultValue").text = "TRUE" if holds else "FALSE"
    identifiers = _fes(section, "Id_Capabilities")
    _fes(identifiers, "ResourceIdentifier", name="fes:ResourceId")
    scalar = _fes(section, "Scalar_Capabilities")
    _fes(scalar, "LogicalOperators")
    comparisons = _fes(scalar, "ComparisonOperators")
    for name in _COMPARISONS:
        _fes(comparisons, "ComparisonOperator", name=name)
    _operators(_fes(section, "Spatial_Capabilities"), ("Geometry", _GEOMETRY_OPERANDS), ("Spatial", _SPATIAL))
    _operators(
        _fes(section, "Temporal_Capabilities"), ("Temporal", _TEMPORAL_OPERANDS), ("Temporal", _TEMPORAL)
    )
    _functions(_fes(section, "Functions"))


def _operators(
    section: Element, operands: tuple[str, tuple[str, ...]], operators: tuple[str, tuple[str, ...]]
) -> None:
    """The operands, by their GML names, and the operators of a kind."""
    kind, names = operands
    listed = _fes(section, f"{kind}Operands")
    for name in names:
        _fes(listed, f"{kind}Operand", name=f"gml:{name}")
    kind, names = operators
    listed = _fes(section, f"{kind}Operators")
    for name in names:
        _fes(listed, f"{kind}Operator", name=name)


def _functions(section: Element) -> None:
    from providers.features.cql2 import queryable_functions  # the parsers take a third of a second to load

    for function in queryable_functions():
        described = _fes(section, "Function", name=function["name"])
        _fes(described, "Returns", _TYPES[function["returns"][0]])
        arguments = _fes(described, "Arguments")
        for argument in function["arguments"]:
            one = _fes(arguments, "Argument", name=argument["title"])
            _fes(one, "Type", _TYPES[argument["type"][0]])
