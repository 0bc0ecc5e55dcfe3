"""Items and item, answered from encoded fragments: the code behind the hot lane, and what both lanes share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from providers.errors import InvalidParameter, ItemNotFound, StoreError
from providers.features.collection_json import feature_bytes, feature_collection_bytes
from providers.features.page_budget import BudgetedColumns, columns_within, page_within
from providers.features.parser import QueryLimits, parse_item_query
from providers.features.query import CRS84, ItemQuery
from providers.features.schema import CollectionSchema
from providers.features.search_places import place_for
from providers.features.source import (
    FeaturePage,
    FeatureSource,
    HistorySource,
    ItemResult,
    Version,
    refuse_what_it_cannot,
)
from providers.features.sources import open_source
from providers.features.store import open_store
from server.http.answer import Answer, Environ, Header, not_modified
from server.http.errors import NotFound
from server.http.feature_links import GEOJSON, item_links, items_links, link_headers
from server.identity.decision import Decision
from server.registry.catalogue import Collection, PastGeneration, RepresentationKind

Parameters = Sequence[tuple[str, str]]
_EMBEDDED = "features.gpkg"  # where publishing puts the embedded store of a generation


def feature_file(collection: Collection) -> Path:
    """The embedded store of a collection's features. Raises KeyError where it has no features."""
    return collection.path_of(RepresentationKind.FEATURES)


def source_description(collection: Collection) -> Mapping[str, Any] | None:
    """What `providers.features.sources` opens the collection's features by, None for the embedded store.

    A relative `path` lies in the folder of the generation. Raises KeyError where the collection has no features, StoreError
    where the path leads out of that folder.
    """
    description: Mapping[str, Any] | None = collection.representations[
        RepresentationKind.FEATURES
    ].properties.get("source")
    if description is None:
        return None
    path = description.get("path")
    if not isinstance(path, str) or PurePath(path).is_absolute():
        return description
    if ".." in PurePath(path).parts:
        raise StoreError(f"The source of {collection.qualified_id} has a path that leads out of its folder")
    return {**description, "path": str(collection.directory / path)}


def feature_source(collection: Collection) -> FeatureSource:
    """The features of a collection in its present generation, whatever they are stored in.

    Raises KeyError where it has none, StoreError and SourceUnavailable where they cannot be read.
    """
    description = source_description(collection)
    return open_source(feature_file(collection) if description is None else None, description)


@dataclass(frozen=True)
class FeatureRequest:
    """A request for features of one collection that has already been allowed.

    `url` is the collection's own URL in the view that was asked, without a slash at its end.
    """

    collection: Collection
    decision: Decision
    url: str
    parameters: Parameters

    @cached_property
    def past(self) -> PastGeneration | None:
        """The generation that was current at `asof`, None for the present one. Raises InvalidParameter."""
        pair = next((pair for pair in self.parameters if pair[0] == "asof"), None)
        if pair is None:
            return None
        asof = parse_item_query([pair], feature_source(self.collection).schema).asof
        return None if asof is None else self.collection.generation_at(asof)

    @property
    def generation(self) -> int:
        """The number of the generation that is asked."""
        return self.collection.generation if self.past is None else self.past.number

    @cached_property
    def source(self) -> FeatureSource:
        """The collection's features, in its present generation or in that of `asof`. Raises NotFound where it is not kept."""
        if self.past is None:
            return feature_source(self.collection)
        file = self.past.directory / _EMBEDDED
        if not file.is_file():
            raise NotFound(
                f"the state of {self.collection.id!r} between {self.past.since} and {self.past.until} is not kept any more; "
                "ask for a later asof, or leave it out"
            )
        return open_store(file)

    @property
    def budget_key(self) -> str:
        """The name under which the mean size of these features is remembered."""
        return f"{self.collection.qualified_id}@{self.generation}"

    @property
    def private(self) -> bool:
        """Whether shared caches must not keep the answer."""
        return self.decision.key != "public"

    @property
    def hidden(self) -> frozenset[str]:
        """Fields that the one who asks may not see."""
        return self.decision.hidden_fields


def state_etag(collection: Collection, change: int | str, decision: Decision, *parts: str) -> str:
    """A weak validator of everything an answer is made from: generation, change, rights, and the request itself."""
    named = str(change) if isinstance(change, int) else "x"
    digest = hashlib.blake2s("\n".join((decision.key, str(change), *parts)).encode(), digest_size=8)
    return f'W/"{collection.qualified_id}-{collection.generation}-{named}-{digest.hexdigest()}"'


def timestamp() -> str:
    """Now, in UTC, as `timeStamp` wants it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- items ---------------------------------------------------------------------------------------------------------------


def parse_items(request: FeatureRequest, limits: QueryLimits) -> ItemQuery:
    """The parsed query. Raises InvalidParameter, and UnsupportedQuery where the store cannot answer all of it."""
    query = parse_item_query(
        request.parameters,
        request.source.schema,
        limits=limits,
        generation=request.generation,
        hidden=request.hidden,
    )
    refuse_what_it_cannot(query, request.source)
    return query


def page_of(request: FeatureRequest, query: ItemQuery) -> FeaturePage:
    """The page, within the budget of bytes and time."""
    with place_for(request.source, query):
        return page_within(request.source, query, request.hidden, key=request.budget_key)


def columns_of(request: FeatureRequest, query: ItemQuery) -> BudgetedColumns:
    """The same page as columns in the storage CRS."""
    with place_for(request.source, query):
        return columns_within(request.source, query, request.hidden, key=request.budget_key)


def page_links(
    request: FeatureRequest, query: ItemQuery, page: FeaturePage, form: str = "json"
) -> list[dict[str, Any]]:
    """The links of a page that was asked for by GET."""
    return items_links(request.url, request.parameters, query, page.cursor, request.generation, form)


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
    etag = state_etag(
        request.collection,
        request.source.change(),
        request.decision,
        request.url,
        repr(list(request.parameters)),
    )
    query = parse_items(request, limits)
    if not_modified(environ, etag):
        return Answer(b"", GEOJSON, etag=etag, private=request.private)
    page = page_of(request, query)
    links = page_links(request, query, page)
    body = feature_collection_bytes(page, links, timestamp())
    headers = items_headers(page) + link_headers(links)
    return Answer(body, GEOJSON, etag=etag, headers=headers, private=request.private)


# --- item ----------------------------------------------------------------------------------------------------------------


_ITEM_PARAMETERS = ("asof", "crs", "f", "lang")
_PLAIN_ITEM = ItemQuery(limit=1)


def parse_item(parameters: Parameters, schema: CollectionSchema) -> ItemQuery:
    """The query for one item: `crs` and `asof`. Raises InvalidParameter."""
    if not parameters:
        return _PLAIN_ITEM
    for name, value in parameters:
        if name not in _ITEM_PARAMETERS:
            raise InvalidParameter(name, value, f"the parameters {', '.join(_ITEM_PARAMETERS)}")
    return parse_item_query(parameters, schema)


def find_item(request: FeatureRequest, feature_id: str) -> tuple[ItemResult, ItemQuery]:
    """One feature, and the query (crs, asof) it was asked by. Raises ItemNotFound, InvalidParameter, UnsupportedQuery."""
    query = parse_item(request.parameters, request.source.schema)
    refuse_what_it_cannot(query, request.source)
    found = request.source.item(feature_id, query.crs, request.hidden, query.asof)
    if found is None:
        raise ItemNotFound(feature_id)
    return found, query


def links_of_item(request: FeatureRequest, feature_id: str, form: str = "json") -> list[dict[str, Any]]:
    """Links of one item."""
    with_history = isinstance(request.source, HistorySource)
    return item_links(request.url, feature_id, request.parameters, form, with_history=with_history)


def item_etag(request: FeatureRequest, version: Version, crs: str, form: str = "json") -> str:
    """The validator of an item: generation and version, which If-Match asks about, then the form it is shown in."""
    shown = f"{request.decision.key}\n{request.url}\n{crs}\n{form}"
    digest = hashlib.blake2s(shown.encode(), digest_size=6).hexdigest()
    return f'"{request.generation}.{version}-{digest}"'


def item_headers(query: ItemQuery) -> list[Header]:
    """Content-Crs of one item."""
    return [("Content-Crs", f"<{query.crs or CRS84}>")]


def item_answer(request: FeatureRequest, feature_id: str) -> Answer:
    """One item as GeoJSON. Raises providers.errors.ItemNotFound and InvalidParameter."""
    found, query = find_item(request, feature_id)
    return Answer(
        feature_bytes(found.body, links_of_item(request, feature_id)),
        GEOJSON,
        etag=item_etag(request, found.version, query.crs),
        headers=item_headers(query),
        private=request.private,
    )
