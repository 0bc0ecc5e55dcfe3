"""Queries in a request body: POST to `search` with a JSON object, POST to `items` with a CQL2 expression.

A query that fits into a URL gets links that anyone can follow by GET; a longer one gets `next` links that repeat the body with
the cursor in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, request

from providers.errors import InvalidParameter
from providers.features.collection_json import feature_collection_bytes
from providers.features.parser import cursor_mark, encode_cursor, parse_item_query, parse_search_body
from providers.features.query import CRS84, ItemQuery, TimeInterval
from providers.features.source import refuse_what_it_cannot
from providers.formatters.registry import ITEM_FORMATS
from server.http.answer import Answer
from server.http.context import RequestContext, context, respond
from server.http.errors import UnsupportedMediaType
from server.http.feature_links import FORMS, GEOJSON, Link, Parameters, encoded, link_headers, with_parameters
from server.http.features import FeatureRequest, items_headers, page_links, page_of, timestamp
from server.http.negotiation import ITEM_FORMS
from server.http.ogc.features_forms import items_page, written_page
from server.http.ogc.features_request import feature_request

FILTER_TYPES = (
    "application/cql2+json",
    "application/vnd.ogc.cql2+json",
    "application/query-cql-json",
)
"""Media types under which clients send CQL2 JSON alone; none of them is registered."""
_QUERY_TYPES = ("application/json",)
_LONGEST_QUERY = 4000  # characters of a URL's query that every client and proxy takes


def register(blueprint: Blueprint) -> None:
    """Add the route of ad hoc queries."""
    blueprint.add_url_rule(
        "/ogc/collections/<public_id>/search", view_func=search_items, methods=["POST"], endpoint="search"
    )


def is_filter(content_type: str | None) -> bool:
    """Whether a request body is a CQL2 expression by its media type."""
    return (content_type or "").partition(";")[0].strip().lower() in FILTER_TYPES


def search_items(public_id: str) -> Response:
    """The features that a query in the request body asks for."""
    here = context()
    here.only()
    asked = feature_request(here, public_id)
    if request.mimetype not in _QUERY_TYPES:
        found = request.content_type or "not given"
        names = ", ".join(_QUERY_TYPES)
        raise UnsupportedMediaType(
            f"Content-Type is {found[:200]!r}; allowed here: {names}", [("Accept-Post", names)]
        )
    document = _json_body(here)
    if not isinstance(document, Mapping):
        raise InvalidParameter("body", repr(document)[:200], "a JSON object with the members of a query")
    asof = document.get("asof")
    asked = replace(asked, parameters=[("asof", asof)] if isinstance(asof, str) else [])
    query = parse_search_body(
        document,
        asked.source.schema,
        limits=here.services.limits,
        generation=asked.generation,
        hidden=asked.hidden,
    )
    members = {name: value for name, value in document.items() if name != "offset"}

    def again(token: str) -> Link:
        return {"href": f"{asked.url}/search", "body": members | {"cursor": token}}

    return respond(_answer(here, asked, query, again))


def filtered_items(public_id: str) -> Response:
    """The features that meet a CQL2 JSON expression in the body, and the parameters of the URL."""
    here = context()
    asked = feature_request(here, public_id)
    document = _json_body(here)
    given = [
        *asked.parameters,
        ("filter", orjson.dumps(document).decode()),
        ("filter-lang", "cql2-json"),
    ]
    query = parse_item_query(
        given,
        asked.source.schema,
        limits=here.services.limits,
        generation=asked.generation,
        hidden=asked.hidden,
    )
    content_type = request.content_type

    def again(token: str) -> Link:
        kept = [pair for pair in asked.parameters if pair[0] not in ("f", "cursor", "offset")]
        href = with_parameters(f"{asked.url}/items", encoded([*kept, ("cursor", token)]))
        return {"href": href, "headers": {"Content-Type": content_type}, "body": document}

    return respond(_answer(here, asked, query, again))


def _json_body(here: RequestContext) -> Any:
    body = here.services.bodies.read(request.stream, request.content_length)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = body[:200].decode(errors="replace")
        raise InvalidParameter("body", text, f"JSON in UTF-8 ({error})") from error


def _answer(
    here: RequestContext, asked: FeatureRequest, query: ItemQuery, again: Callable[[str], Link]
) -> Answer:
    """The page in the format asked for, with links to go on by.

    `again` gives what a client has to send for the page after a cursor, where the query does not fit into a URL.
    """
    refuse_what_it_cannot(query, asked.source)
    form = here.format(*ITEM_FORMS)
    parameters = parameters_of(query)
    fits = parameters is not None and len(encoded(parameters)) <= _LONGEST_QUERY
    asked = replace(asked, parameters=parameters if fits and parameters is not None else [])
    written = ITEM_FORMATS.get(form)
    if written is not None and fits:
        return written_page(asked, query, written, here.language)
    page = page_of(asked, query)
    name = "html" if form == "html" else "json"
    links = page_links(asked, query, page, name)
    if not fits:
        links = [link for link in links if link["rel"] == "collection"]
        if page.cursor is not None:
            token = encode_cursor(asked.generation, page.cursor, cursor_mark(query))
            links.append({"rel": "next", "type": FORMS[name], "method": "POST", **again(token)})
    body_bytes = feature_collection_bytes(page, links, timestamp())
    if form == "html":
        return items_page(here, asked, orjson.loads(body_bytes))
    headers = items_headers(page) + (link_headers(links) if fits else [])
    return Answer(body_bytes, GEOJSON, headers=headers, private=asked.private)


def parameters_of(query: ItemQuery) -> Parameters | None:
    """The GET parameters that ask the same, None where a text cannot be said in them."""
    if any("," in phrase for phrase in query.q):
        return None
    result: list[tuple[str, str]] = [*query.equals.items()]
    if query.bbox is not None:
        result.append(("bbox", ",".join(map(repr, query.bbox))))
    if query.datetime is not None:
        result.append(("datetime", _interval(query.datetime)))
    if query.filter is not None:
        result += [("filter", query.filter.text), ("filter-lang", "cql2-text")]
    if query.sortby:
        result.append(("sortby", ",".join(_sort_keys(query))))
    if query.q:
        result.append(("q", ",".join(query.q)))
    result += [(name, value) for name, value in _plain_members(query).items() if value is not None]
    return result


def _plain_members(query: ItemQuery) -> dict[str, str | None]:
    return {
        "limit": str(query.limit),
        "offset": str(query.offset) if query.offset else None,
        "properties": None if query.properties is None else ",".join(query.properties),
        "skipGeometry": "true" if query.skip_geometry else None,
        "crs": query.crs if query.crs != CRS84 else None,
        "resulttype": "hits" if query.hits_only else None,
        "asof": query.asof,
    }


def _interval(interval: TimeInterval) -> str:
    if interval.start is not None and interval.start == interval.end:
        return interval.start
    return f"{interval.start or '..'}/{interval.end or '..'}"


def _sort_keys(query: ItemQuery) -> list[str]:
    return [f"{'-' if key.descending else ''}{key.field}" for key in query.sortby]
