"""Items and item in every format: the slow lane of what `server.http.features` answers in front.

GeoJSON and HTML go through pygeoapi, the other formats straight from the source to their writer. The resources beside them
are in modules of their own: `search` and `transactions` (methods of the same addresses), `history`, `features_schema`.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from flask import Blueprint, Response, request

from providers.features.context import (
    current_budget_key,
    current_failure,
    current_hidden,
    current_query,
    current_source,
)
from providers.features.query import Cursor, ItemQuery
from providers.features.source import FeaturePage
from providers.formatters.registry import ITEM_FORMATS
from server.http.answer import Answer
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.feature_links import GEOJSON, items_links, link_headers
from server.http.features import (
    FeatureRequest,
    find_item,
    item_etag,
    item_headers,
    items_headers,
    links_of_item,
    parse_items,
    state_etag,
)
from server.http.negotiation import ITEM_FORMS
from server.http.ogc import features_schema, history, records, search, transactions
from server.http.ogc.documents import CATALOGUE_ID
from server.http.ogc.features_forms import items_page, written_item, written_page
from server.http.ogc.features_request import feature_request
from server.http.ogc.point_routes import has_points_only, item_of_points, items_of_points, only_reading
from server.http.ogc.pygeoapi_adapter import (
    ApiFunction,
    Caller,
    PlainRequest,
    PygeoapiAnswer,
    PygeoapiError,
    item_functions,
)

SELF_DESCRIBED = frozenset({"items", "item", "transactions"})
"""Endpoints whose views answer OPTIONS: what can be done there depends on the collection and on who asks."""


def register(blueprint: Blueprint) -> None:
    """Add the routes of features."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/items", view_func=items, methods=["GET", "POST", "OPTIONS"])
    one = f"{base}/items/<path:feature_id>"
    blueprint.add_url_rule(one, view_func=item, methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
    history.register(blueprint)
    search.register(blueprint)
    transactions.register(blueprint)
    features_schema.register(blueprint)


# --- items ---------------------------------------------------------------------------------------------------------------


def items(public_id: str) -> Response:
    """A page of features in any of the formats; a new feature (POST); or what can be done here (OPTIONS)."""
    if request.method == "OPTIONS":
        return only_reading(public_id) or transactions.items_options(public_id)
    if request.method == "POST":
        return only_reading(public_id) or _post(public_id)
    here = context()
    if public_id == CATALOGUE_ID:
        return records.items(here)
    if has_points_only(here.collection(public_id)[0]):
        return items_of_points(here, public_id, "items")
    asked = feature_request(here, public_id)
    form = here.format(*ITEM_FORMS)
    query = parse_items(asked, here.services.limits)
    return respond(items_in(here, public_id, asked, query, form))


def _post(public_id: str) -> Response:
    """A new feature; or, where the body is CQL2 by its media type, the features that meet it."""
    if search.is_filter(request.content_type):
        return search.filtered_items(public_id)
    return transactions.create(public_id)


def items_in(
    here: RequestContext, public_id: str, asked: FeatureRequest, query: ItemQuery, form: str
) -> Answer:
    """A page that was asked for by GET, in `form`."""
    change = asked.source.change()
    written = ITEM_FORMATS.get(form)
    if written is not None:
        answer = written_page(asked, query, written, here.language)
    else:
        document = _through_pygeoapi(here, public_id, asked, query)
        document["links"] = items_links(
            asked.url,
            asked.parameters,
            query,
            _next_cursor(document),
            asked.generation,
            "html" if form == "html" else "json",
        )
        if form == "html":
            return items_page(here, asked, document)
        page = FeaturePage([b""] * len(document["features"]), None, document.get("numberMatched"), query.crs)
        headers = items_headers(page) + link_headers(document["links"])
        answer = json_answer(document, GEOJSON, headers=headers, private=asked.private)
    parts = [asked.url, repr(list(asked.parameters)), *([form] if written is not None else [])]
    answer.etag = state_etag(asked.collection, change, asked.decision, *parts)
    return answer


def _through_pygeoapi(
    here: RequestContext, public_id: str, asked: FeatureRequest, query: ItemQuery
) -> dict[str, Any]:
    """The FeatureCollection pygeoapi makes of a query we parsed."""
    # Everything else of the query reaches the provider by `current_query`.
    plain = PlainRequest({"limit": str(query.limit)})
    answer = _call(here, asked, query, item_functions().get_collection_items, plain, public_id)
    document: dict[str, Any] = answer.json()
    return document


def _call(
    here: RequestContext,
    asked: FeatureRequest,
    query: ItemQuery,
    function: ApiFunction,
    plain: PlainRequest,
    *arguments: str,
) -> PygeoapiAnswer:
    """Call pygeoapi with what has been worked out; a failure of our provider comes out as it was raised."""
    caller: Caller = here.adapter.for_collection(here.scope, asked.collection, here.root, here.language)
    given = copy_context()
    given.run(_tell_provider, asked, query)
    try:
        return given.run(caller.call, function, plain, *arguments)
    except PygeoapiError:
        failure = given.run(current_failure.get)
        if failure is not None:
            raise failure from None
        raise


def _tell_provider(asked: FeatureRequest, query: ItemQuery) -> None:
    current_query.set(query)
    current_hidden.set(asked.hidden)
    current_source.set(asked.source)
    current_budget_key.set(asked.budget_key)
    current_failure.set(None)


def _next_cursor(document: dict[str, Any]) -> Cursor | None:
    cursor = document.pop("cursor", None)
    return tuple(cursor) if isinstance(cursor, list | tuple) else None


# --- item ----------------------------------------------------------------------------------------------------------------


def item(public_id: str, feature_id: str) -> Response:
    """One feature: read, replaced, updated or deleted, by the method."""
    match request.method:
        case "OPTIONS":
            return only_reading(public_id) or transactions.item_options(public_id, feature_id)
        case "PUT" | "PATCH" | "DELETE":
            return only_reading(public_id) or transactions.edit_item(public_id, feature_id, request.method)
    here = context()
    if public_id == CATALOGUE_ID:
        return records.item(here, feature_id)
    if has_points_only(here.collection(public_id)[0]):
        return item_of_points(here, public_id, feature_id, "items")
    asked = feature_request(here, public_id)
    found, query = find_item(asked, feature_id)
    form = here.format(*ITEM_FORMS)
    links = links_of_item(asked, feature_id, "json" if form == "geojson" else form)
    headers = item_headers(query)
    etag = item_etag(asked, found.version, query.crs, "json" if form == "geojson" else form)
    written = ITEM_FORMATS.get(form)
    if written is not None:
        answer = written_item(here, asked, query, written, feature_id, found.body, links)
        answer.etag = etag
        return respond(answer)
    plain = PlainRequest()
    function = item_functions().get_collection_item
    document = _call(here, asked, query, function, plain, public_id, feature_id).json()
    for name in ("prev", "next"):
        document.pop(name, None)
    document["links"] = links
    if form == "html":
        page = here.services.pages.item(
            here.page_request(), asked.collection, document, here.tenant, here.siblings(asked.collection)
        )
        return respond(html_answer(page))
    return respond(json_answer(document, GEOJSON, etag=etag, headers=headers, private=asked.private))
