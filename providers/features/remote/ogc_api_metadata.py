"""What the documents of an OGC API - Features service say of a collection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from providers.features.remote.documents import text_of
from providers.features.schema import FieldDefinition

_RELATIONS = {
    "schema": ("http://www.opengis.net/def/rel/ogc/1.0/schema", "[ogc-rel:schema]", "describedby"),
    "queryables": (
        "http://www.opengis.net/def/rel/ogc/1.0/queryables",
        "[ogc-rel:queryables]",
        "queryables",
    ),
    "sortables": ("http://www.opengis.net/def/rel/ogc/1.0/sortables", "[ogc-rel:sortables]", "sortables"),
    "next": ("next",),
}
_JSON_TYPES = ("string", "integer", "number", "boolean")
_GEOMETRIES = {
    "point": "Point",
    "linestring": "LineString",
    "polygon": "Polygon",
    "multipoint": "MultiPoint",
    "multilinestring": "MultiLineString",
    "multipolygon": "MultiPolygon",
}


def names_in(value: Any) -> frozenset[str]:
    """The texts of a JSON array."""
    return (
        frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()
    )


def names_of(document: Mapping[str, Any]) -> frozenset[str]:
    """The names of the properties of a JSON Schema."""
    properties = document.get("properties")
    return frozenset(properties) if isinstance(properties, dict) else frozenset()


def link_to(document: Mapping[str, Any], relation: str) -> str | None:
    """The href of the first link with a relation whose type is JSON or not given."""
    links = document.get("links")
    wanted = _RELATIONS[relation]
    for item in links if isinstance(links, list) else []:
        if not isinstance(item, dict) or item.get("rel") not in wanted:
            continue
        kind, href = str(item.get("type") or "json"), item.get("href")
        if "json" in kind and isinstance(href, str) and href:
            return href
    return None


def fields_of(
    schema: Mapping[str, Any], queryables: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> tuple[FieldDefinition, ...]:
    """The fields, in the order of the schema (Part 5), then of the queryables, then of a few features.

    Where neither document types a field, its values do; a field without any type is taken for text.
    """
    found: dict[str, FieldDefinition] = {}
    for document in (schema, queryables):
        properties = document.get("properties")
        for name, member in properties.items() if isinstance(properties, dict) else ():
            if (
                name
                and isinstance(member, dict)
                and name not in found
                and not _is_geometry(member, name, rows)
            ):
                definition = _declared(name, member)
                if definition is not None:
                    found[name] = definition
        if found and document is schema:
            break  # the schema is complete
    if not schema:
        # Queryables may leave out what features show, and show what is no member of properties.
        shown = {name for row in rows for name in row}
        if shown:
            found = {name: item for name, item in found.items() if name in shown}
        for name in dict.fromkeys(name for row in rows for name in row):
            found.setdefault(name, _seen(name, [row.get(name) for row in rows]))
    return tuple(found.values())


def _is_geometry(member: Mapping[str, Any], name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """A geometry, or the feature's id outside of its properties."""
    role, form = str(member.get("x-ogc-role") or ""), str(member.get("format") or "")
    if role == "id":
        return not any(name in row for row in rows)
    return (
        role == "primary-geometry"
        or form.startswith("geometry")
        or "geojson.org" in str(member.get("$ref") or "")
    )


def _declared(name: str, member: Mapping[str, Any]) -> FieldDefinition | None:
    kinds = member.get("type")
    names = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    kind = names[0] if len(names) == 1 and names[0] in _JSON_TYPES else "string"
    form = (
        member.get("format") if kind == "string" and member.get("format") in ("date", "date-time") else None
    )
    return FieldDefinition(name, kind, form, title=text_of(member.get("title")) or None)


def _seen(name: str, values: Iterable[Any]) -> FieldDefinition:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return FieldDefinition(name, "boolean")
    if kinds and kinds <= {int, float}:
        # A few whole numbers do not make a field of whole numbers.
        return FieldDefinition(name, "number")
    return FieldDefinition(name, "string")


def time_field_of(
    schema: Mapping[str, Any], collection: Mapping[str, Any], fields: Sequence[FieldDefinition]
) -> str | None:
    """The field that `datetime` selects by: the primary instant of the schema, or the only date or time of a collection
    that states a temporal extent. None where nobody can tell."""
    properties = schema.get("properties")
    for name, member in properties.items() if isinstance(properties, dict) else ():
        if isinstance(member, dict) and member.get("x-ogc-role") == "primary-instant":
            return str(name)
    extent = collection.get("extent")
    times = [item.name for item in fields if item.format is not None]
    return times[0] if len(times) == 1 and isinstance(extent, dict) and extent.get("temporal") else None


def geometry_type_of(schema: Mapping[str, Any], queryables: Mapping[str, Any]) -> str:
    """The declared geometry type, or "Geometry"."""
    for document in (schema, queryables):
        properties = document.get("properties")
        for member in properties.values() if isinstance(properties, dict) else ():
            form = str(member.get("format") or "") if isinstance(member, dict) else ""
            if form.startswith("geometry-"):
                return _GEOMETRIES.get(form.removeprefix("geometry-"), "Geometry")
    return "Geometry"


def extent_of(collection: Mapping[str, Any]) -> tuple[float, ...]:
    """The overall box in CRS84 (4 numbers), () where none is stated."""
    try:
        numbers = [float(number) for number in collection["extent"]["spatial"]["bbox"][0]]
    except (KeyError, IndexError, TypeError, ValueError):
        return ()
    if len(numbers) == 6:
        del numbers[5], numbers[2]
    return tuple(numbers) if len(numbers) == 4 and all(map(math.isfinite, numbers)) else ()


def licence_of(collection: Mapping[str, Any]) -> str:
    """The licence by name (`license`), or the address of the licence link."""
    named = text_of(collection.get("license"))
    if named:
        return named
    links = collection.get("links")
    for item in links if isinstance(links, list) else []:
        if isinstance(item, dict) and item.get("rel") == "license":
            return text_of(item.get("title")) or text_of(item.get("href"))
    return ""
