"""The schema of what may be sent to a collection (OGC API - Features Part 5, receivables)."""

from __future__ import annotations

from typing import Any

from providers.features.edits.constraints import receivable as field_schema
from providers.features.schema import CollectionSchema
from providers.features.source import NO_FIELDS

_FORMATS = {
    "Point": "geometry-point",
    "LineString": "geometry-linestring",
    "Polygon": "geometry-polygon",
    "MultiPoint": "geometry-multipoint",
    "MultiLineString": "geometry-multilinestring",
    "MultiPolygon": "geometry-multipolygon",
    "GeometryCollection": "geometry-geometrycollection",
}


def receivable(schema: CollectionSchema, hidden: frozenset[str] = NO_FIELDS) -> dict[str, Any]:
    """JSON Schema (2020-12) of the properties and the geometry that create and replace take; the caller adds `$id` and title."""
    fields = [item for item in schema.fields if item.name not in hidden]
    geometry = {
        "x-ogc-role": "primary-geometry",
        "format": _FORMATS.get(schema.geometry_type, "geometry-any"),
    }
    properties: dict[str, Any] = {"geometry": geometry} | {item.name: field_schema(item) for item in fields}
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    required = [item.name for item in fields if item.constraints.get("required")]
    return document | ({"required": required} if required else {})
