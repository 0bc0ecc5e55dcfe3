"""A filter of ours as a Mapnik expression. Field names are aliases of ours, text is quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiles.maps.style_filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    GeometryIs,
    Like,
    Not,
    OneOf,
    Present,
    Scalar,
    like_parts,
)

_GEOMETRY = {"point": "point", "line": "linestring", "polygon": "polygon"}


def mapnik_expression(filter_: Filter, aliases: Mapping[str, str]) -> str:
    """The expression; what looks at a field that has no alias is never true."""
    if isinstance(filter_, AllOf | AnyOf):
        return _combined(filter_, aliases)
    if isinstance(filter_, Not):
        return f"not {mapnik_expression(filter_.part, aliases)}"
    if isinstance(filter_, GeometryIs):
        return f"([mapnik::geometry_type] = {_GEOMETRY[filter_.kind]})"
    if filter_.field not in aliases:
        return "(1 = 0)"
    return _on_field(filter_, f"[{aliases[filter_.field]}]")


def _combined(filter_: AllOf | AnyOf, aliases: Mapping[str, str]) -> str:
    both = isinstance(filter_, AllOf)
    if not filter_.parts:
        return "(1 = 1)" if both else "(1 = 0)"
    return (
        "("
        + (" and " if both else " or ").join(mapnik_expression(part, aliases) for part in filter_.parts)
        + ")"
    )


def _on_field(filter_: Comparison | OneOf | Present | Like, field: str) -> str:
    if isinstance(filter_, OneOf):
        return "(" + " or ".join(f"{field} = {literal(value)}" for value in filter_.values) + ")"
    if isinstance(filter_, Present):
        return f"({field} != null)"
    if isinstance(filter_, Like):
        return f"({field} != null and {field}.match({literal(_regular_expression(filter_.pattern))}))"
    if filter_.operator == "=":
        return f"({field} = {literal(filter_.value)})"
    return f"({field} != null and {field} {filter_.operator} {literal(filter_.value)})"


def literal(value: Scalar) -> str:
    """A value as Mapnik writes it."""
    if isinstance(value, bool):
        # GeoPackage keeps booleans as 0 and 1.
        return "1" if value else "0"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)


def _regular_expression(pattern: str) -> str:
    signs = {"%": ".*", "_": "."}
    return "".join(signs.get(part) or re.escape(part.removeprefix("\\")) for part in like_parts(pattern))
