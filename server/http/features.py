"""Items and item, answered from encoded fragments: the code behind the hot lane, and the links both lanes share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from providers.errors import ItemNotFound
from providers.features.collection_json import feature_bytes, feature_collection_bytes
from providers.features.parser import QueryLimits, encode_cursor, parse_item_crs, parse_item_query
from providers.features.query import CRS84, Cursor, ItemQuery
from providers.features.store import FeaturePage, FeatureStore, open_store
from server.http.answer import Answer, Environ, Header, not_modified
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

GEOJSON = "application/geo+json"
Parameters = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """A request for features of one collection that has already been allowed.

    `url` is the collection's own URL in the view that was asked, without a slash at its end.
    """

    collection: Collection
    decision: Decision
    url: str
    parameters: Parameters

    @property
    def store(self) -> FeatureStore:
        """The collection's feature store in its present generation."""
        return open_store(feature_file(self.collection))


def feature_file(collection: Collection) -> Path:
    """The store of a collection's features. Raises KeyError where it has none."""
    return collection.path_of(RepresentationKind.FEATURES)


def state_etag(collection: Collection, change: int, decision: Decision, *parts: str) -> str:
    """A weak validator of everything an answer is made from: generation, change, rights, and the request itself."""
    digest = hashlib.blake2s("\n".join((decision.key, *parts)).encode(), digest_size=8).hexdigest()
    return f'W/"{collection.qualified_id}-{collection.generation}-{change}-{digest}"'


def timestamp() -> str:
    """Now, in UTC, as `timeStamp` wants it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_items(request: FeatureRequest, limits: QueryLimits) -> ItemQuery:
    """The parsed query. Raises providers.errors.InvalidParameter."""
    return parse_item_query(
        request.parameters,
        request.store.schema,
        limits=limits,
        generation=request.collection.generation,
        hidden=request.decision.hidden_fields,
    )


def _with_parameters(url: str, *encoded: str) -> str:
    return f"{url}?{'&'.join(filter(None, encoded))}"


def _encoded(parameters: Parameters) -> str:
    return urlencode(parameters, safe=",:/")


def items_links(
    request: FeatureRequest, query: ItemQuery, page_cursor: Cursor | None
) -> list[dict[str, Any]]:
    """self, alternate, next, prev and collection links (OGC API - Features Part 1, 7.15.6 and 7.15.7)."""
    items_url = f"{request.url}/items"
    unpaged: list[tuple[str, str]] = []
    paging: list[tuple[str, str]] = []
    for name, value in request.parameters:
        if name != "f":
            (paging if name in ("cursor", "offset") else unpaged).append((name, value))
    common = _encoded(unpaged)
    here = "&".join(filter(None, (common, _encoded(paging))))
    links = [
        {"rel": "self", "type": GEOJSON, "href": _with_parameters(items_url, here, "f=json")},
        {"rel": "alternate", "type": "text/html", "href": _with_parameters(items_url, here, "f=html")},
        {"rel": "alternate", "type": "text/csv", "href": _with_parameters(items_url, here, "f=csv")},
        {"rel": "collection", "type": "application/json", "href": request.url},
    ]
    if page_cursor is not None:
        cursor = _encoded([("cursor", encode_cursor(request.collection.generation, page_cursor))])
        href = _with_parameters(items_url, common, cursor, "f=json")
        links.append({"rel": "next", "type": GEOJSON, "href": href})
    if query.offset:
        earlier = f"offset={max(0, query.offset - query.limit)}"
        links.append(
            {"rel": "prev", "type": GEOJSON, "href": _with_parameters(items_url, common, earlier, "f=json")}
        )
    return links


def items_headers(page: FeaturePage) -> list[Header]:
    """Content-Crs (Part 2, 6.4) and the counts as headers."""
    headers = [("Content-Crs", f"<{page.crs}>"), ("OGC-NumberReturned", str(page.number_returned))]
    if page.number_matched is not None:
        headers.append(("OGC-NumberMatched", str(page.number_matched)))
    return headers


def items_answer(request: FeatureRequest, limits: QueryLimits, environ: Environ) -> Answer:
    """A page of items as GeoJSON.

    Raises providers.errors.InvalidParameter and what the store raises.
    """
    store = request.store
    etag = state_etag(
        request.collection, store.change(), request.decision, request.url, repr(list(request.parameters))
    )
    query = parse_items(request, limits)
    private = request.decision.key != "public"
    if not_modified(environ, etag):
        return Answer(b"", GEOJSON, etag=etag, private=private)
    page = store.page(query, request.decision.hidden_fields)
    body = feature_collection_bytes(page, items_links(request, query, page.cursor), timestamp())
    return Answer(body, GEOJSON, etag=etag, headers=items_headers(page), private=private)


def item_links(request: FeatureRequest, feature_id: str) -> list[dict[str, Any]]:
    """Links of one item."""
    url = f"{request.url}/items/{quote(feature_id, safe='')}"
    return [
        {"rel": "self", "type": GEOJSON, "href": f"{url}?f=json"},
        {"rel": "alternate", "type": "text/html", "href": f"{url}?f=html"},
        {"rel": "collection", "type": "application/json", "href": request.url},
    ]


def item_etag(request: FeatureRequest, version: int | str, crs: str) -> str:
    """The validator of an item: its generation and version, and the form it is shown in."""
    form = hashlib.blake2s(
        f"{request.decision.key}\n{request.url}\n{crs}".encode(), digest_size=6
    ).hexdigest()
    return f'"{request.collection.generation}.{version}-{form}"'


def item_answer(request: FeatureRequest, feature_id: str) -> Answer:
    """One item as GeoJSON. Raises providers.errors.ItemNotFound and InvalidParameter."""
    store = request.store
    crs = parse_item_crs(request.parameters, store.schema)
    found = store.item(feature_id, crs, request.decision.hidden_fields)
    if found is None:
        raise ItemNotFound(feature_id)
    return Answer(
        feature_bytes(found.body, item_links(request, feature_id)),
        GEOJSON,
        etag=item_etag(request, found.version, crs),
        headers=[("Content-Crs", f"<{crs or CRS84}>")],
        private=request.decision.key != "public",
    )
