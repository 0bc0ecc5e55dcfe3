"""Items, item, queryables and schema through pygeoapi; the slow lane of what `server.http.features` answers in front."""

from __future__ import annotations

from typing import Any

import pygeoapi.api
from flask import Blueprint, Response

from providers.errors import ItemNotFound
from providers.features.parser import parse_item_crs
from providers.features.provider import current_hidden, current_query
from providers.features.query import Cursor, ItemQuery
from providers.features.store import FeaturePage
from providers.formatters.csv import csv_bytes
from server.http.answer import Answer
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.features import (
    GEOJSON,
    FeatureRequest,
    item_etag,
    item_links,
    items_headers,
    items_links,
    parse_items,
    state_etag,
)
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc import records
from server.http.ogc.documents import CATALOGUE_ID
from server.http.ogc.pygeoapi_adapter import Caller, PlainRequest, item_functions
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/items", view_func=items)
    blueprint.add_url_rule(f"{base}/items/<path:feature_id>", view_func=item)
    blueprint.add_url_rule(f"{base}/queryables", view_func=queryables)
    blueprint.add_url_rule(f"{base}/schema", view_func=schema)


def _caller(here: RequestContext, collection: Collection) -> Caller:
    return here.adapter.for_collection(here.scope, collection, here.root, here.language)


def _request(
    here: RequestContext, public_id: str, collection: Collection, decision: Decision
) -> FeatureRequest:
    return FeatureRequest(collection, decision, here.url_of(public_id), here.parameters)


def query_through_pygeoapi(
    here: RequestContext, public_id: str, request: FeatureRequest, query: ItemQuery
) -> dict[str, Any]:
    """The FeatureCollection pygeoapi makes of a query we parsed, with our links."""
    tokens = current_query.set(query), current_hidden.set(request.decision.hidden_fields)
    try:
        # Everything else of the query reaches the provider by `current_query`.
        plain = PlainRequest({"limit": str(query.limit)})
        answer = _caller(here, request.collection).call(
            item_functions().get_collection_items, plain, public_id
        )
    finally:
        current_query.reset(tokens[0])
        current_hidden.reset(tokens[1])
    document: dict[str, Any] = answer.json()
    return document


def _next_cursor(document: dict[str, Any]) -> Cursor | None:
    cursor = document.pop("cursor", None)
    return tuple(cursor) if isinstance(cursor, list | tuple) else None


def items(public_id: str) -> Response:
    """A page of features as GeoJSON, CSV or HTML."""
    here = context()
    if public_id == CATALOGUE_ID:
        return records.items(here)
    collection, decision = here.having(public_id, Kind.FEATURES)
    request = _request(here, public_id, collection, decision)
    query = parse_items(request, here.services.limits)
    form = here.format("geojson", "html", "csv")
    change = request.store.change()
    document = query_through_pygeoapi(here, public_id, request, query)
    document["links"] = items_links(request, query, _next_cursor(document))
    if form == "html":
        page = here.services.pages.items(
            here.page_request(), collection, document, here.tenant, here.siblings(collection)
        )
        return respond(html_answer(page))
    private = decision.key != "public"
    etag = state_etag(collection, change, decision, request.url, str(request.parameters), form)
    returned = len(document["features"])
    page_facts = FeaturePage([b""] * returned, None, document.get("numberMatched"), query.crs)
    headers = items_headers(page_facts)
    if form == "csv":
        body = csv_bytes(document["features"])
        headers.append(("Content-Disposition", f'attachment; filename="{collection.id}.csv"'))
        return respond(Answer(body, MEDIA_TYPES["csv"], etag=etag, headers=headers, private=private))
    return respond(json_answer(document, GEOJSON, etag=etag, headers=headers, private=private))


def item(public_id: str, feature_id: str) -> Response:
    """One feature as GeoJSON or HTML."""
    here = context()
    if public_id == CATALOGUE_ID:
        return records.item(here, feature_id)
    collection, decision = here.having(public_id, Kind.FEATURES)
    request = _request(here, public_id, collection, decision)
    crs = parse_item_crs(here.parameters, request.store.schema)
    form = here.format("geojson", "html")
    found = request.store.item(feature_id, crs, decision.hidden_fields)
    if found is None:
        raise ItemNotFound(feature_id)
    tokens = current_query.set(ItemQuery(crs=crs)), current_hidden.set(decision.hidden_fields)
    try:
        answer = _caller(here, collection).call(
            item_functions().get_collection_item, PlainRequest(), public_id, feature_id
        )
    finally:
        current_query.reset(tokens[0])
        current_hidden.reset(tokens[1])
    document = answer.json()
    for name in ("prev", "next"):
        document.pop(name, None)
    document["links"] = item_links(request, feature_id)
    if form == "html":
        page = here.services.pages.item(
            here.page_request(), collection, document, here.tenant, here.siblings(collection)
        )
        return respond(html_answer(page))
    return respond(
        json_answer(
            document,
            GEOJSON,
            etag=item_etag(request, found.version, crs),
            headers=[("Content-Crs", f"<{crs}>")],
            private=decision.key != "public",
        )
    )


def _described(public_id: str, kind: str) -> Response:
    here = context()
    here.only()
    collection, decision = here.collection(public_id)
    function = (
        item_functions().get_collection_queryables
        if kind == "queryables"
        else pygeoapi.api.get_collection_schema
    )
    token = current_hidden.set(decision.hidden_fields)
    try:
        document = _caller(here, collection).call(function, PlainRequest(), public_id).json()
    finally:
        current_hidden.reset(token)
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["$id"] = f"{here.url_of(public_id)}/{kind}"
    document["additionalProperties"] = kind == "schema"
    if here.format("schema", "json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind=kind
        )
        return respond(html_answer(page))
    etag = state_etag(collection, 0, decision, kind, here.root, here.language)
    private = decision.key != "public"
    return respond(json_answer(document, MEDIA_TYPES["schema"], etag=etag, private=private))


def queryables(public_id: str) -> Response:
    """What items can be filtered by (JSON Schema)."""
    return _described(public_id, "queryables")


def schema(public_id: str) -> Response:
    """What items, or the cells of a coverage, hold (JSON Schema)."""
    return _described(public_id, "schema")
