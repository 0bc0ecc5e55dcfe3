"""The CQL2 filters by which the self-test tries a source, made of values that occur in its own data.

One function for each conformance class of CQL2 (OGC 21-065r2, Annex A); each gives filters in CQL2 text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import shapely

if TYPE_CHECKING:
    from providers.features.conformance import Probe

_FIELDS = 3
"""Fields of one type that are tried."""
_SCALARS = ("string", "integer", "number", "boolean", "date", "date-time")
_ORDERED = ("integer", "number", "date", "date-time")


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(item_type: str, value: Any) -> str:
    if item_type == "boolean":
        return "TRUE" if value else "FALSE"
    if item_type in ("integer", "number"):
        return repr(value)
    if item_type == "date":
        return f"DATE('{value}')"
    if item_type == "date-time":
        return f"TIMESTAMP('{value}')"
    return _text(str(value))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _samples(probe: Probe, *types: str) -> Iterator[tuple[str, str]]:
    """(quoted field name, literal that occurs in it)."""
    for item, value in islice(probe.sample(*types), _FIELDS):
        yield _name(item.name), _literal(item.format or item.type, value)


def _basic(probe: Probe) -> Iterator[str]:
    for name, value in _samples(probe, *_SCALARS):
        yield f"{name} = {value}"
        yield f"{name} <> {value}"
        yield f"NOT ({name} = {value})"
        yield f"{name} IS NULL"
        yield f"{name} = {value} OR {name} IS NULL"
    for name, value in _samples(probe, *_ORDERED):
        yield f"{name} < {value}"
        yield f"{name} >= {value} AND NOT {name} > {value}"


def _advanced(probe: Probe) -> Iterator[str]:
    for name, value in _samples(probe, "string"):
        start = value[1:3].replace("'", "").replace("%", "").replace("_", "").replace("\\", "")
        yield f"{name} LIKE '{start}%'"
        yield f"{name} NOT LIKE '%{start}_%'"
    for name, value in _samples(probe, "string", "integer"):
        yield f"{name} IN ({value})"
    for name, value in _samples(probe, "integer", "number"):
        yield f"{name} BETWEEN {value} AND {value}"
        yield f"{name} NOT BETWEEN {value} AND {value}"


def _case_insensitive(probe: Probe) -> Iterator[str]:
    for item, value in islice(probe.sample("string"), _FIELDS):
        yield f"CASEI({_name(item.name)}) = CASEI({_text(str(value).swapcase())})"


def _accent_insensitive(probe: Probe) -> Iterator[str]:
    for item, value in islice(probe.sample("string"), _FIELDS):
        yield f"ACCENTI({_name(item.name)}) = ACCENTI({_text(str(value))})"


def _box(probe: Probe) -> tuple[float, float, float, float] | None:
    if probe.box is None:
        return None
    # Off the corners of the data: what is read has seven decimals, what a store compares may have more.
    west, south, east, north = probe.box
    width, height = east - west, north - south
    return west - 1.3e-4 - width / 9, south - 1.7e-4 - height / 9, west + width * 0.53, south + height * 0.47


def _inside(probe: Probe) -> shapely.Point | None:
    """A point well within a polygon of the part, None where there is none."""
    shapes = probe.part84.geometries
    found = next((shape for shape in shapes if shape is not None and shape.area > 0), None)
    return None if found is None else shapely.point_on_surface(found)


def _basic_spatial(probe: Probe) -> Iterator[str]:
    box = _box(probe)
    if box is not None:
        yield f"S_INTERSECTS(geometry, BBOX({','.join(map(repr, box))}))"
        point = _inside(probe) or shapely.Point(box[0], box[1])
        yield f"S_INTERSECTS(geometry, POINT({point.x!r} {point.y!r}))"


def _basic_spatial_plus(probe: Probe) -> Iterator[str]:
    box = _box(probe)
    if box is not None and box[0] < box[2] and box[1] < box[3]:
        yield f"S_INTERSECTS(geometry, {_polygon(box)})"
        yield f"S_INTERSECTS(geometry, LINESTRING({box[0]!r} {box[1]!r}, {box[2]!r} {box[3]!r}))"


def _polygon(box: tuple[float, float, float, float]) -> str:
    return str(shapely.to_wkt(shapely.box(*box), rounding_precision=15))


def _spatial(probe: Probe) -> Iterator[str]:
    box = _box(probe)
    if box is not None and box[0] < box[2] and box[1] < box[3]:
        for name in ("WITHIN", "DISJOINT", "CONTAINS", "CROSSES", "OVERLAPS", "TOUCHES", "EQUALS"):
            yield f"S_{name}(geometry, {_polygon(box)})"


def _temporal(probe: Probe) -> Iterator[str]:
    for name, value in _samples(probe, "date", "date-time"):
        for function in ("T_AFTER", "T_BEFORE", "T_EQUALS", "T_INTERSECTS", "T_DISJOINT"):
            yield f"{function}({name}, {value})"
        instant = value[value.index("'") : -1]
        yield f"T_DURING(INTERVAL({name}, {name}), INTERVAL('..', {instant}))"


def _array(_: Probe) -> Iterator[str]:
    yield "A_CONTAINS(('a', 'b'), ('a'))"
    yield "A_OVERLAPS((1, 2), (3))"


def _property_property(probe: Probe) -> Iterator[str]:
    for kind in _ORDERED:
        names = [name for name, _ in _samples(probe, kind)]
        for one, other in pairwise(names or ()):
            yield f"{one} < {other}"
        for name in names[:1]:
            yield f"{name} = {name}"


def _functions(probe: Probe) -> Iterator[str]:
    for name, value in _samples(probe, "string"):
        yield f"lower({name}) = lower({value})"
        yield f"length({name}) > 3"
    for name, value in _samples(probe, "integer", "number"):
        yield f"abs({name}) >= abs({value})"


def _arithmetic(probe: Probe) -> Iterator[str]:
    for name, value in _samples(probe, "integer", "number"):
        yield f"{name} + 1 > {value}"
        yield f"{name} * 2 - {name} = {value}"
        yield f"({name} - 1) / 2 < {value}"


FILTERS: Mapping[str, Callable[[Probe], Iterator[str]]] = {
    "cql2-text": _basic,
    "cql2-json": _basic,
    "basic-cql2": _basic,
    "advanced-comparison-operators": _advanced,
    "case-insensitive-comparison": _case_insensitive,
    "accent-insensitive-comparison": _accent_insensitive,
    "basic-spatial-functions": _basic_spatial,
    "basic-spatial-functions-plus": _basic_spatial_plus,
    "spatial-functions": _spatial,
    "temporal-functions": _temporal,
    "array-functions": _array,
    "property-property": _property_property,
    "functions": _functions,
    "arithmetic": _arithmetic,
}
"""The filters of each class, by the last part of its URI."""
