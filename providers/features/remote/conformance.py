"""Which parts of CQL2 a service declares, and whether a filter keeps to them (OGC 21-065r2, clause 7 on conformance classes)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pygeofilter import ast

from providers.features.query import GEOMETRY
from providers.features.remote.conditions import COMPARISONS, cannot

_CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf/"
_FILTERS = (
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
)
_SEARCH = (
    "http://www.opengis.net/spec/ogcapi-features-9/1.0/conf/text-search",
    "http://www.opengis.net/spec/ogcapi-features-9/0.0/conf/text-search",
)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mul, ast.Div)
_OPERATORS = frozenset({"mod", "idiv", "pow"})
_SPATIAL = (
    ast.GeometryDisjoint,
    ast.GeometryContains,
    ast.GeometryWithin,
    ast.GeometryTouches,
    ast.GeometryCrosses,
    ast.GeometryOverlaps,
    ast.GeometryEquals,
)
_ARRAYS = (ast.ArrayEquals, ast.ArrayContains, ast.ArrayContainedBy, ast.ArrayOverlaps)


@dataclass(frozen=True, slots=True)
class Cql2Support:
    """The conformance classes of CQL2 (their last words), and whether filters and text searches are answered at all."""

    classes: frozenset[str]
    can_filter: bool
    can_search: bool

    @property
    def can_ignore_case(self) -> bool:
        """CASEI and LIKE: enough to search texts by a filter."""
        return (
            self.can_filter
            and {"case-insensitive-comparison", "advanced-comparison-operators"} <= self.classes
        )

    @classmethod
    def of(cls, declared: Iterable[str]) -> Cql2Support:
        """From the URIs of a conformance declaration."""
        uris = {uri.replace("https://", "http://") for uri in declared}
        classes = frozenset(uri.removeprefix(_CQL2) for uri in uris if uri.startswith(_CQL2))
        can_filter = (
            all(uri in uris for uri in _FILTERS) and "cql2-text" in classes and "basic-cql2" in classes
        )
        return cls(classes, can_filter, any(uri in uris for uri in _SEARCH))

    def to_json(self) -> list[Any]:
        """JSON values for the last good copy."""
        return [sorted(self.classes), self.can_filter, self.can_search]

    @classmethod
    def from_json(cls, value: Any) -> Cql2Support:
        """The same back."""
        classes, can_filter, can_search = value
        return cls(frozenset(classes), bool(can_filter), bool(can_search))

    def check(self, node: Any, filterable: frozenset[str]) -> None:
        """Raise UnsupportedQuery where a filter needs a class that is not declared, or a field that is no queryable."""
        for part in _walk(node):
            if isinstance(part, ast.Attribute) and part.name != GEOMETRY and part.name not in filterable:
                raise cannot(
                    "features", f"a condition on {part.name!r}, which is no queryable of the service,"
                )
            wanted = _needed(part)
            if wanted and not wanted & self.classes:
                raise cannot("features", f"a filter that needs the conformance class {sorted(wanted)[0]!r}")


def _walk(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, ast.Function):
        children = node.arguments
    elif isinstance(node, ast.Node):
        children = node.get_sub_nodes()
    else:
        return
    for child in children:
        yield from _walk(child)


def _needed(node: Any) -> frozenset[str]:
    """Conformance classes any of which allows a node; empty where the basic class does."""
    if isinstance(node, ast.Like | ast.Between | ast.In):
        return frozenset({"advanced-comparison-operators"})
    if isinstance(node, ast.Function):
        return frozenset({_FUNCTION_CLASSES.get(node.name.lower(), "functions")})
    if isinstance(node, _ARITHMETIC):
        return frozenset({"arithmetic"})
    if isinstance(node, _ARRAYS):
        return frozenset({"array-functions"})
    if isinstance(node, _SPATIAL):
        return frozenset({"spatial-functions"})
    if isinstance(node, ast.GeometryIntersects):
        return _needed_to_intersect(node)
    if (
        type(node) in COMPARISONS
        and not isinstance(node.rhs, str | int | float | bool)
        and isinstance(node.rhs, ast.Node)
    ):
        return frozenset({"property-property"})
    return frozenset()


def _needed_to_intersect(node: Any) -> frozenset[str]:
    """Points and boxes belong to the basic class, other shapes to its extensions."""
    kind = getattr(node.rhs, "geom_type", "")
    if kind == "Point":
        return frozenset({"basic-spatial-functions", "basic-spatial-functions-plus", "spatial-functions"})
    return frozenset({"basic-spatial-functions-plus", "spatial-functions"})


_FUNCTION_CLASSES = {
    "casei": "case-insensitive-comparison",
    "accenti": "accent-insensitive-comparison",
    **dict.fromkeys(_OPERATORS, "arithmetic"),
}
