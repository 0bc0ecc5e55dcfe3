"""What features hold and can be asked by: queryables, sortables, schema (OGC API - Features Parts 3 and 5), and functions.

Coverages have no queryables of ours; their schema has a property a band.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pygeoapi.api
from flask import Blueprint, Response

from providers.features.context import current_hidden
from providers.features.schema import CollectionSchema, FieldDefinition
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.features import FeatureRequest, state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.documents import link
from server.http.ogc.features_request import feature_request
from server.http.ogc.point_routes import has_points_only
from server.http.ogc.pygeoapi_adapter import PlainRequest, item_functions
from server.http.ogc.transactions import is_editable
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
_GEOMETRY_TITLES = {"en": "Geometry", "zh": "几何"}
# Filters call the geometry by the first of these that no field has (providers.features.cql2.checking).
_GEOMETRY_NAMES = ("geometry", "geom", "the_geom")
_ID_TITLES = {"en": "Identifier", "zh": "标识"}
_SPATIAL_TYPES = ("point", "multipoint", "linestring", "multilinestring", "polygon", "multipolygon")
_CONSTRAINTS = (
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
)
type Document = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/queryables", view_func=queryables)
    blueprint.add_url_rule(f"{base}/sortables", view_func=sortables)
    blueprint.add_url_rule(f"{base}/schema", view_func=schema)
    blueprint.add_url_rule("/ogc/functions", view_func=functions)


# --- properties ----------------------------------------------------------------------------------------------------------


def geometry_format(geometry_type: str) -> str:
    """The `format` of a spatial property (Part 5, 7.2): "geometry-any" for what has no name of its own there."""
    name = geometry_type.lower()
    if name == "geometrycollection" or name in _SPATIAL_TYPES:
        return f"geometry-{name}"
    return "geometry-any"


def _described(field: FieldDefinition, schema: CollectionSchema, position: int) -> Document:
    described: Document = {"title": field.title or field.name, "type": field.type}
    if field.format is not None:
        described["format"] = field.format
    constraints = field.constraints
    described |= {word: constraints[word] for word in _CONSTRAINTS if word in constraints}
    if field.name == schema.time_field:
        described["x-ogc-role"] = "primary-instant"
    described["x-ogc-propertySeq"] = position
    return described


def _fields(schema: CollectionSchema, hidden: frozenset[str], first: int) -> Document:
    visible = [field for field in schema.fields if field.name not in hidden]
    return {field.name: _described(field, schema, first + i) for i, field in enumerate(visible)}


def _spatial(schema: CollectionSchema, language: str, position: int) -> Document:
    return {
        "title": _GEOMETRY_TITLES.get(language, _GEOMETRY_TITLES["en"]),
        "format": geometry_format(schema.geometry_type),
        "x-ogc-role": "primary-geometry",
        "x-ogc-propertySeq": position,
    }


def _free(name: str, schema: CollectionSchema) -> str:
    """`name`, with underscores in front where a field has it already."""
    while name in schema.by_name:
        name = f"_{name}"
    return name


def queryables_of(schema: CollectionSchema, hidden: frozenset[str], language: str) -> Document:
    """The properties that `filter` and the parameters of items can name: the geometry and the visible fields."""
    properties: Document = {}
    name = next((name for name in _GEOMETRY_NAMES if name not in schema.by_name), None)
    if name is not None:
        properties[name] = _spatial(schema, language, 1)
    return properties | _fields(schema, hidden, 2)


def sortables_of(schema: CollectionSchema, hidden: frozenset[str], language: str) -> Document:
    """The properties that `sortby` can name: the visible fields."""
    return _fields(schema, hidden, 1)


def schema_of(
    schema: CollectionSchema, hidden: frozenset[str], language: str, *, editable: bool = True
) -> Document:
    """What is returned, and received where features can be edited: id, geometry, and the visible fields.

    The id is read-only: it is given by the server, or by the address of a PUT. Where nothing can be edited, all is.
    """
    identifier: Document = {
        "title": _ID_TITLES.get(language, _ID_TITLES["en"]),
        "type": "string",
        "readOnly": True,
        "x-ogc-role": "id",
        "x-ogc-propertySeq": 1,
    }
    properties: Document = {_free("id", schema): identifier}
    properties[_free("geometry", schema)] = _spatial(schema, language, 2)
    properties |= _fields(schema, hidden, 3)
    if not editable:
        for described in properties.values():
            described["readOnly"] = True
    return properties


# --- documents -----------------------------------------------------------------------------------------------------------


def _document(asked: FeatureRequest, kind: str, language: str) -> Document:
    source, hidden = asked.source, asked.hidden
    collection = asked.collection
    document: Document = {
        "$schema": _SCHEMA,
        "$id": f"{asked.url}/{kind}",
        "type": "object",
        "title": collection.title(language),
        "description": collection.descriptions.get(language) or collection.descriptions.get("en", ""),
    }
    match kind:
        case "queryables":
            document["properties"] = queryables_of(source.schema, hidden, language)
        case "sortables":
            document["properties"] = sortables_of(source.schema, hidden, language)
        case _:
            editable = is_editable(asked)
            document["properties"] = schema_of(source.schema, hidden, language, editable=editable)
            required = [
                field.name
                for field in source.schema.fields
                if field.constraints.get("required") and field.name not in hidden
            ]
            if required:
                document["required"] = required
    document["additionalProperties"] = False
    return document


def _features_answer(here: RequestContext, public_id: str, kind: str) -> Response:
    asked = feature_request(here, public_id)
    document = _document(asked, kind, here.language)
    return _answer(here, asked.collection, asked.decision, kind, document)


def _points_answer(
    here: RequestContext, public_id: str, collection: Collection, decision: Decision, kind: str
) -> Response:
    """The dimensions of a point cloud; points have the order of their octree and are not sorted."""
    from providers.points.schema import (
        point_schema,  # readers of point clouds, which those who read features need not
    )
    from server.http.ogc.points import cloud_of

    schema, hidden = point_schema(cloud_of(collection), decision.hidden_fields), decision.hidden_fields
    language = here.language
    match kind:
        case "queryables":
            properties = queryables_of(schema, hidden, language)
        case "sortables":
            properties = {}
        case _:
            properties = schema_of(schema, hidden, language, editable=False)
    document: Document = {
        "$schema": _SCHEMA,
        "$id": f"{here.url_of(public_id)}/{kind}",
        "type": "object",
        "title": collection.title(language),
        "description": collection.descriptions.get(language) or collection.descriptions.get("en", ""),
        "properties": properties,
        "additionalProperties": False,
    }
    return _answer(here, collection, decision, kind, document)


def _answer(
    here: RequestContext, collection: Collection, decision: Decision, kind: str, document: Document
) -> Response:
    if here.format("schema", "json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind=kind
        )
        return respond(html_answer(page))
    etag = state_etag(collection, 0, decision, kind, here.root, here.language, repr(document))
    private = decision.key != "public"
    return respond(json_answer(document, MEDIA_TYPES["schema"], etag=etag, private=private))


def queryables(public_id: str) -> Response:
    """What items can be filtered by (JSON Schema)."""
    return _of_any(public_id, "queryables")


def sortables(public_id: str) -> Response:
    """What items can be sorted by (JSON Schema)."""
    here = context()
    here.only()
    collection, decision = here.collection(public_id)
    if has_points_only(collection):
        return _points_answer(here, public_id, collection, decision, "sortables")
    return _features_answer(here, public_id, "sortables")


def schema(public_id: str) -> Response:
    """What items, or the cells of a coverage, hold (JSON Schema)."""
    return _of_any(public_id, "schema")


def _of_any(public_id: str, kind: str) -> Response:
    here = context()
    here.only()
    collection, decision = here.collection(public_id)
    if RepresentationKind.FEATURES in collection.representations:
        return _features_answer(here, public_id, kind)
    if has_points_only(collection):
        return _points_answer(here, public_id, collection, decision, kind)
    if kind == "schema" and RepresentationKind.COVERAGE in collection.representations:
        return _answer(here, collection, decision, kind, _cells(here.url_of(public_id), collection))
    function = (
        item_functions().get_collection_queryables
        if kind == "queryables"
        else pygeoapi.api.get_collection_schema
    )
    token = current_hidden.set(decision.hidden_fields)
    try:
        caller = here.adapter.for_collection(here.scope, collection, here.root, here.language)
        document: Document = caller.call(function, PlainRequest(), public_id).json()
    finally:
        current_hidden.reset(token)
    document["$schema"] = _SCHEMA
    document["$id"] = f"{here.url_of(public_id)}/{kind}"
    document["additionalProperties"] = kind == "schema"
    return _answer(here, collection, decision, kind, document)


def _cells(url: str, collection: Collection) -> Document:
    """The schema of a coverage's cells."""
    from server.http.ogc.coverage_documents import (
        coverage_schema,
    )  # rasters, which those who read features need not

    document = coverage_schema(collection)
    document["$schema"] = _SCHEMA
    document["$id"] = f"{url}/schema"
    document["additionalProperties"] = True
    return document


def functions() -> Response:
    """The functions a CQL2 filter may call (Part 3, 8.3)."""
    from providers.features.cql2 import queryable_functions  # a parser, which those who only read need not

    here = context()
    here.only()
    url = f"{here.root}/functions"
    listed: list[Mapping[str, Any]] = list(queryable_functions())
    document = {
        "functions": listed,
        "links": [
            link(f"{url}?f=json", "self", MEDIA_TYPES["json"]),
            link(f"{url}?f=html", "alternate", "text/html"),
        ],
    }
    if here.format("json", "html") == "html":
        page = here.services.pages.document(here.page_request(), document, here.tenant, kind="functions")
        return respond(html_answer(page))
    return respond(json_answer(document))
