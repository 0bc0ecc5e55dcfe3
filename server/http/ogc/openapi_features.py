"""The part of the OpenAPI definition about features: queries by GET and by POST, edits, history, schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.http.feature_links import GEOJSON
from server.http.negotiation import ITEM_FORMS
from server.http.ogc.search import FILTER_TYPES
from server.http.ogc.transactions import FEATURE_TYPES, MERGE_PATCH

Document = dict[str, Any]
_ONE = "/collections/{collectionId}"
_TEXT: Document = {"type": "string"}
_SCHEMA_FORMS = ("schema", "html")
_QUERY = (
    *("bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs", "sortby", "featuresQ"),
    *("properties", "skipGeometry", "asof", "resulttype", "limit", "offset", "cursor", "queryables"),
)


def feature_parameters() -> Document:
    """`components.parameters` that only features have."""

    def query(name: str, description: str, schema: Document) -> Document:
        return {
            "name": name,
            "in": "query",
            "description": description,
            "required": False,
            "schema": schema,
        }

    def header(name: str, description: str) -> Document:
        return {
            "name": name,
            "in": "header",
            "description": description,
            "required": False,
            "schema": _TEXT,
        }

    keys: Document = {"type": "array", "items": {"type": "string"}}
    return {
        "filter": query("filter", "A CQL2 expression over the queryables", _TEXT),
        "filter-lang": query(
            "filter-lang",
            "Language of filter; cql2-text where absent",
            {"type": "string", "enum": ["cql2-text", "cql2-json"], "default": "cql2-text"},
        ),
        "filter-crs": query("filter-crs", "CRS of geometries in filter, a URI; CRS84 where absent", _TEXT),
        "sortby": query("sortby", "Names of sortables; -name sorts descending", keys)
        | {"style": "form", "explode": False},
        "featuresQ": query("q", "Phrases, one of which stands in a text property, whatever its case", keys)
        | {"style": "form", "explode": False},
        "asof": query(
            "asof", "The state that was committed at this instant (RFC 3339)", _TEXT | {"format": "date-time"}
        ),
        "resulttype": query(
            "resulttype",
            "hits: the number of features, and none of them",
            {"type": "string", "enum": ["results", "hits"], "default": "results"},
        ),
        "queryables": query(
            "queryables",
            "Every queryable is a parameter: features where it has this value",
            {"type": "object", "additionalProperties": {"type": "string"}},
        )
        | {"style": "form", "explode": True},
        "If-Match": header("If-Match", "ETag of the item as it was read, or *"),
        "If-None-Match": header("If-None-Match", "*: only where there is no such item yet"),
        "Content-Crs": header("Content-Crs", "CRS of the coordinates in the body, <URI>; CRS84 where absent"),
        "Prefer": header("Prefer", "return=representation: answer with the feature as it is stored"),
    }


def feature_schemas() -> Document:
    """`components.schemas` of features."""
    number = {"type": "number"}
    geometry: Document = {
        "type": "object",
        "nullable": True,
        "required": ["type"],
        "properties": {"type": _TEXT, "coordinates": {"type": "array", "items": {}}},
    }
    feature: Document = {
        "type": "object",
        "required": ["type", "geometry", "properties"],
        "properties": {
            "type": {"type": "string", "enum": ["Feature"]},
            "id": _TEXT,
            "geometry": {"$ref": "#/components/schemas/Geometry"},
            "properties": {"type": "object", "nullable": True},
        },
    }
    edit: Document = {
        "type": "object",
        "required": ["action"],
        "properties": {
            "action": {"type": "string", "enum": ["create", "replace", "update", "delete"]},
            "id": _TEXT,
            "version": {"description": "ETag of the item as it was read, or its version"},
            "feature": {"type": "object", "description": "A feature; for update a merge patch"},
        },
    }
    query: Document = {
        "type": "object",
        "properties": {
            "bbox": {"type": "array", "items": number, "minItems": 4, "maxItems": 6},
            "datetime": _TEXT,
            "filter": {"description": "CQL2 JSON, or CQL2 text with filter-lang"},
            "filter-lang": {"type": "string", "enum": ["cql2-text", "cql2-json"]},
            "filter-crs": _TEXT,
            "sortby": {"type": "array", "items": {}},
            "properties": {"type": "array", "items": _TEXT},
            "limit": {"type": "integer", "minimum": 1},
            "cursor": _TEXT,
            "asof": _TEXT,
            "crs": _TEXT,
        },
    }
    transaction: Document = {
        "type": "object",
        "properties": {
            "transaction": {"type": "array", "items": {"$ref": "#/components/schemas/Edit"}},
            "type": {"type": "string", "enum": ["FeatureCollection"]},
            "features": {"type": "array", "items": {"$ref": "#/components/schemas/Feature"}},
        },
    }
    return {
        "Geometry": geometry,
        "Feature": feature,
        "Edit": edit,
        "Query": query,
        "Transaction": transaction,
    }


def _references(*names: str) -> list[Document]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _body(types: Sequence[str], schema: str) -> Document:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"required": True, "content": {media_type: {"schema": reference} for media_type in types}}


def _operation(
    operation: str, summary: str, parameters: Sequence[str], responses: Document, body: Document | None = None
) -> Document:
    result: Document = {
        "operationId": operation,
        "tags": ["Features"],
        "summary": summary,
        "parameters": _references(*parameters),
        "responses": {**responses, "default": {"$ref": "#/components/responses/Problem"}},
    }
    if body is not None:
        result["requestBody"] = body
    return result


def _edits() -> Document:
    """The operations that edit, by path and method."""
    shown: Document = {GEOJSON: {"schema": {"$ref": "#/components/schemas/Feature"}}}
    created = {"201": {"description": "Created; Location is its address, ETag its version", "content": shown}}
    edited: Document = {
        "200": {"description": "Edited; the feature as it is stored", "content": shown},
        "204": {"description": "Edited; ETag is its new version"},
    }
    one = ("collectionId", "featureId")
    locks = ("If-Match", "If-None-Match")
    feature, patch = _body(FEATURE_TYPES, "Feature"), _body((MERGE_PATCH,), "Feature")
    # A merge patch holds only what changes: no member of a feature is required in it.
    patch["content"][MERGE_PATCH]["schema"] = {"type": "object"}
    create_body = _body(FEATURE_TYPES, "Feature")
    for media_type in FILTER_TYPES:
        create_body["content"][media_type] = {"schema": {"type": "object"}}
    found: Document = {"200": {"description": "For a CQL2 body: the features", "content": _collections()}}
    batch = {"200": {"description": "All of them are made", "content": _json_content()}}
    return {
        f"{_ONE}/items": {
            "post": _operation(
                "createItem",
                "Make a feature; or, with a CQL2 body, find features",
                ("collectionId", "Content-Crs", "Prefer"),
                found | created,
                create_body,
            )
        },
        f"{_ONE}/items/{{featureId}}": {
            "put": _operation(
                "replaceItem",
                "Replace a feature",
                (*one, *locks, "Content-Crs", "Prefer"),
                edited | created,
                feature,
            ),
            "patch": _operation(
                "updateItem",
                "Change parts of a feature",
                (*one, "If-Match", "Content-Crs", "Prefer"),
                edited,
                patch,
            ),
            "delete": _operation(
                "deleteItem",
                "Delete a feature",
                (*one, "If-Match"),
                {"204": {"description": "It is deleted"}},
            ),
        },
        f"{_ONE}/transactions": {
            "post": _operation(
                "runTransaction",
                "Many edits, all of them or none",
                ("collectionId", "Content-Crs"),
                batch,
                _body(("application/json", GEOJSON), "Transaction"),
            )
        },
    }


def _collections() -> Document:
    """Items as a query by POST answers them."""
    return {GEOJSON: {"schema": {"type": "object"}}, "text/html; charset=utf-8": {"schema": _TEXT}}


def _json_content() -> Document:
    return {"application/json": {"schema": {"type": "object"}}}


def feature_paths(get: Any) -> Document:
    """The paths; `get` makes a path item with one GET operation."""
    read: dict[str, Document] = {
        f"{_ONE}/items": get(
            "getItems", "Features", "A page of features", ITEM_FORMS, "collectionId", *_QUERY
        ),
        f"{_ONE}/items/{{featureId}}": get(
            "getItem", "Features", "One feature", ITEM_FORMS, "collectionId", "featureId", "crs", "asof"
        ),
        f"{_ONE}/items/{{featureId}}/history": get(
            "getItemHistory",
            "Features",
            "The versions of a feature",
            ("json", "html"),
            *("collectionId", "featureId", "crs", "limit", "offset"),
        ),
        f"{_ONE}/queryables": get(
            "getQueryables", "Features", "What items can be filtered by", _SCHEMA_FORMS, "collectionId"
        ),
        f"{_ONE}/sortables": get(
            "getSortables", "Features", "What items can be sorted by", _SCHEMA_FORMS, "collectionId"
        ),
        f"{_ONE}/schema": get(
            "getSchema", "Features", "What items, or cells, hold", _SCHEMA_FORMS, "collectionId"
        ),
        "/functions": get("getFunctions", "Features", "Functions of CQL2 filters", ("json", "html")),
        f"{_ONE}/search": {
            "post": _operation(
                "searchItems",
                "Features by a query in the body",
                ("collectionId", "f"),
                {"200": {"description": "A page of features", "content": _collections()}},
                _body(("application/json",), "Query"),
            )
        },
    }
    for path, methods in _edits().items():
        read[path] = read.get(path, {}) | methods
    return read
