"""Landing page, conformance, API definition, collections: OGC API - Common Parts 1 and 2."""

from __future__ import annotations

import hashlib
import logging
import math
from functools import lru_cache
from typing import Any

import orjson
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.collection_index import Box
from server.http.context import RequestContext, as_shown, context, html_answer, json_answer, respond
from server.http.errors import InvalidParameter
from server.http.map_choices import map_instants, style_choices
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.coverage_documents import coverage_extent
from server.http.ogc.documents import (
    CATALOGUE_ID,
    catalogue_document,
    collection_document,
    conformance_document,
    landing_document,
    link,
)
from server.http.ogc.features_facts import edited_members
from server.http.ogc.openapi import openapi_document
from server.http.parameters import integer
from server.http.scope import Scope
from server.registry.catalogue import Collection
from tiles.errors import RasterError

_log = logging.getLogger(__name__)


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule("/ogc", view_func=landing, endpoint="landing_bare")
    blueprint.add_url_rule("/ogc/", view_func=landing)
    blueprint.add_url_rule("/ogc/conformance", view_func=conformance)
    blueprint.add_url_rule("/ogc/api", view_func=api)
    blueprint.add_url_rule("/ogc/collections", view_func=collections)
    blueprint.add_url_rule("/ogc/collections/<public_id>", view_func=collection)


def landing() -> Response:
    """The landing page."""
    here = context()
    here.only()
    extent = here.services.index(here.catalogue, here.scope, here.who).extent
    document = landing_document(here.scope, here.catalogue, here.root, here.language, extent)
    if here.format("json", "html") == "html":
        return respond(html_answer(here.services.pages.landing(here.page_request(), document, here.tenant)))
    return _json(document)


def conformance() -> Response:
    """The conformance classes."""
    here = context()
    here.only()
    document = conformance_document(
        here.root, here.services.index(here.catalogue, here.scope, here.who).classes
    )
    if here.format("json", "html") == "html":
        page = here.services.pages.conformance(here.page_request(), document, here.tenant)
        return respond(html_answer(page))
    return respond(json_answer(document))


def api() -> Response:
    """The OpenAPI 3.0 definition, as JSON or as a page."""
    here = context()
    here.only()
    if here.format("openapi", "json", "html") == "html":
        document = openapi_document(here.root, here.scope)
        return respond(html_answer(here.services.pages.api(here.page_request(), document, here.tenant)))
    body, etag = _definition(here.root, here.scope)
    return respond(Answer(body, MEDIA_TYPES["openapi"], etag=etag))


@lru_cache(maxsize=16)
def _definition(root: str, scope: Scope) -> tuple[bytes, str]:
    """The OpenAPI definition of a view and its ETag: it names no collection, so it is the same for everyone at any time."""
    body = orjson.dumps(openapi_document(root, scope))
    return body, f'W/"{hashlib.blake2s(body, digest_size=12).hexdigest()}"'


def _json(document: Any, media_type: str = MEDIA_TYPES["json"], *, private: bool = False) -> Response:
    """A document with a validator made from what it says: it tells nothing of what this client may not see."""
    answer = json_answer(document, media_type, private=private)
    answer.etag = f'W/"{hashlib.blake2s(answer.body, digest_size=12).hexdigest()}"'
    return respond(answer)


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """West, south, east, north of a CRS84 bbox with 4 or 6 numbers. Raises InvalidParameter."""
    return parse_bbox3(text)[0]


def parse_bbox3(text: str) -> tuple[tuple[float, float, float, float], tuple[float, float] | None]:
    """The same, and the lowest and highest height (m) where there are 6 numbers. Raises InvalidParameter."""
    heights = None
    try:
        numbers = [
            float(part) if text.isascii() and "_" not in text else math.nan for part in text.split(",")
        ]
    except ValueError:
        numbers = []
    usable = all(map(math.isfinite, numbers))
    if len(numbers) == 6:
        heights = numbers[2], numbers[5]
        usable = usable and heights[0] <= heights[1]
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not usable or numbers[1] > numbers[3]:
        raise InvalidParameter(
            f"bbox={text[:80]!r}; allowed: west,south,east,north in degrees, or with heights six numbers"
        )
    return (numbers[0], numbers[1], numbers[2], numbers[3]), heights


def _selected(here: RequestContext, given: dict[str, str]) -> list[Collection]:
    words = given.get("q", "").casefold().replace(",", " ").split()
    box, heights = None, None
    if "bbox" in given:
        sides, heights = parse_bbox3(given["bbox"])
        box = Box(*sides)
    index = here.services.index(here.catalogue, here.scope, here.who)
    return index.selected(words, box, heights) if words or box is not None else index.collections


def collections() -> Response:
    """The collections of this view, paged; `bbox` and `q` filter (OGC API - Common Part 2, 8.1 and Records 8.3)."""
    here = context()
    given = here.only("bbox", "limit", "offset", "q")
    limits = here.services.settings.limits
    limit = integer(given, "limit", limits.collections_default, 1, 10**9 - 1)
    limit = min(limit, limits.collections_max)
    offset = integer(given, "offset", 0, 0, 10**9 - 1)
    found = _selected(here, given)
    shown = found[offset : offset + limit]
    url = f"{here.root}/collections"
    kept = "".join(f"&{name}={given[name]}" for name in ("bbox", "q") if name in given)
    links = [
        link(f"{url}?f=json", "self", MEDIA_TYPES["json"]),
        link(f"{url}?f=html", "alternate", "text/html"),
    ]
    if offset + limit < len(found):
        href = f"{url}?f=json&limit={limit}&offset={offset + limit}{kept}"
        links.append(link(href, "next", MEDIA_TYPES["json"]))
    if offset > 0:
        href = f"{url}?f=json&limit={limit}&offset={max(0, offset - limit)}{kept}"
        links.append(link(href, "prev", MEDIA_TYPES["json"]))
    documents = [
        collection_document(collection, here.scope, here.root, here.language, whole=False)
        for collection in shown
    ]
    document = {
        "numberMatched": len(found),
        "numberReturned": len(shown),
        "links": links,
        "collections": documents,
    }
    if here.format("json", "html") == "html":
        page = here.services.pages.collections(
            here.page_request(), document, shown, here.tenant, here.catalogue.tenants
        )
        return respond(html_answer(page))
    return _json(document, private=here.who.operator)


def collection(public_id: str) -> Response:
    """One collection."""
    here = context()
    here.only()
    if public_id == CATALOGUE_ID:
        document = catalogue_document(here.root, here.language)
        if here.format("json", "html") == "html":
            page = here.services.pages.document(here.page_request(), document, here.tenant, kind="records")
            return respond(html_answer(page))
        return _json(document)
    found, decision = here.collection(public_id)
    if here.format("json", "html") == "html":
        page = here.services.pages.collection(
            here.page_request(),
            as_shown(found, decision),
            here.tenant,
            here.siblings(found),
            here.catalogue.tenants[found.tenant],
            styles=style_choices(here, found, decision),
            instants=map_instants(found),
        )
        return respond(html_answer(page))
    document = collection_document(found, here.scope, here.root, here.language) | edited_members(found)
    for part, members in _coverage_extent(found).items():
        document["extent"][part] = document["extent"].get(part, {}) | members
    return _json(document, private=decision.key != "public")


def _coverage_extent(found: Collection) -> dict[str, Any]:
    """What its coverage adds to the extent; nothing where its data are gone: the document is still true without."""
    try:
        return coverage_extent(found)
    except RasterError as error:
        _log.warning(
            "extent of a coverage not told", extra={"collection": found.qualified_id, "reason": str(error)}
        )
        return {}
