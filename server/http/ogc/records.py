"""The catalogue of the server's own collections: OGC API - Records, one record each, for who may see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, overload
from urllib.parse import urlencode

from flask import Response

from providers.records.catalogue import register_catalogue
from providers.records.record import record_of
from server.http.context import RequestContext, html_answer, json_answer, respond
from server.http.errors import InvalidParameter
from server.http.ogc.documents import CATALOGUE_ID, link
from server.http.ogc.pygeoapi_adapter import RECORD_PROVIDER, Caller, PlainRequest, Resource, item_functions
from server.identity.decision import Action, decide
from server.registry.catalogue import Collection

GEOJSON = "application/geo+json"
_PARAMETERS = ("bbox", "datetime", "limit", "offset", "q", "type", "ids", "externalIds")
_KEY = "request"
_present: ContextVar[RequestContext | None] = ContextVar("records_request", default=None)


class _Records(Sequence[dict[str, Any]]):
    """The records of a request, each made when it is looked at: a page of 10,000 costs what a page of ten costs."""

    def __init__(self, here: RequestContext) -> None:
        self._here = here
        self._collections = here.services.visible(here.catalogue, here.scope, here.who)

    def __len__(self) -> int:
        return len(self._collections)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self._record(collection) for collection in self._collections[index]]
        return self._record(self._collections[index])

    def find(self, record_id: str) -> dict[str, Any] | None:
        """The record of a collection by its id in this view."""
        here = self._here
        collection = here.scope.find(here.catalogue, record_id)
        if collection is None or not decide(here.who, Action.LIST, collection).allowed:
            return None
        return self._record(collection)

    def _record(self, collection: Collection) -> dict[str, Any]:
        members = {field.name: getattr(collection, field.name) for field in dataclasses.fields(collection)}
        view_id = self._here.scope.public_id(collection)
        return record_of(members | {"view_id": view_id}, self._here.root, self._here.language)


def _list_records() -> Sequence[dict[str, Any]]:
    """The records of the request that is being answered: its view, its rights, its language."""
    here = _present.get()
    return () if here is None else _Records(here)


register_catalogue(_KEY, _list_records)


def _resources() -> dict[str, Resource]:
    return {
        CATALOGUE_ID: {
            "type": "collection",
            "title": "Catalogue",
            "description": "One record for each collection",
            "keywords": [],
            "links": [],
            "extents": {"spatial": {"bbox": [-180, -90, 180, 90]}},
            "providers": [{"type": "record", "name": RECORD_PROVIDER, "data": _KEY, "id_field": "id"}],
        }
    }


def _call(here: RequestContext, function: Any, request: PlainRequest, *arguments: str) -> dict[str, Any]:
    caller: Caller = here.adapter.for_resources("records", _resources, here.root, here.language)
    token = _present.set(here)
    try:
        document: dict[str, Any] = caller.call(function, request, CATALOGUE_ID, *arguments).json()
    finally:
        _present.reset(token)
    return document


def items(here: RequestContext) -> Response:
    """Records that meet the query (OGC API - Records, 7.4 and 8)."""
    given = here.only(*_PARAMETERS)
    form = here.format("geojson", "html")
    asked = {name: value for name, value in given.items() if name not in ("f", "lang")}
    document = _call(here, item_functions().get_collection_items, PlainRequest(asked))
    url = f"{here.url_of(CATALOGUE_ID)}/items"
    document["links"] = _page_links(url, asked, document)
    if form == "html":
        page = here.services.pages.document(here.page_request(), document, here.tenant, kind="records")
        return respond(html_answer(page))
    return respond(json_answer(document, GEOJSON, private=here.who.operator))


def _page_links(url: str, asked: dict[str, str], document: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        offset = int(asked.get("offset", "0"))
    except ValueError as error:
        raise InvalidParameter(f"offset={asked['offset']!r}; allowed: a whole number from 0") from error
    returned, matched = len(document["features"]), document.get("numberMatched", 0)
    kept = {name: value for name, value in asked.items() if name != "offset"}
    links = [
        link(f"{url}?{urlencode(asked | {'f': 'json'})}", "self", GEOJSON),
        link(f"{url}?{urlencode(asked | {'f': 'html'})}", "alternate", "text/html"),
    ]
    if returned and offset + returned < matched:
        following = kept | {"offset": str(offset + returned), "f": "json"}
        links.append(link(f"{url}?{urlencode(following)}", "next", GEOJSON))
    return links


def item(here: RequestContext, record_id: str) -> Response:
    """One record."""
    here.only()
    form = here.format("geojson", "html")
    function = item_functions().get_collection_item
    document = _call(here, function, PlainRequest(), record_id)
    url = f"{here.url_of(CATALOGUE_ID)}/items/{record_id}"
    own = [
        existing
        for existing in document.get("links", ())
        if existing.get("rel") not in ("root", "self", "alternate", "collection", "prev", "next")
    ]
    document["links"] = [
        link(f"{url}?f=json", "self", GEOJSON),
        link(f"{url}?f=html", "alternate", "text/html"),
        link(here.url_of(CATALOGUE_ID), "collection", "application/json"),
        *own,
    ]
    if form == "html":
        page = here.services.pages.document(here.page_request(), document, here.tenant, kind="record")
        return respond(html_answer(page))
    return respond(json_answer(document, GEOJSON, private=here.who.operator))
