"""OGC API - Features services (Part 1, and of Parts 3, 5, 8 and 9 what they declare), by OWSLib's client.

OWSLib builds the requests; `_request` of its client is ours, so that each goes through the guarded way out, with headers of its
own (OWSLib 0.36 keeps one dictionary of headers for all of its clients).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit

import numpy as np
import orjson
from owslib.ogcapi.features import Features

from providers.errors import InvalidParameter, StoreError
from providers.features.cql2 import to_text
from providers.features.query import ItemQuery
from providers.features.remote.conditions import cannot, condition_of, refused, typed
from providers.features.remote.conformance import Cql2Support
from providers.features.remote.documents import json_object, shown, text_of
from providers.features.remote.facts import RemoteFacts
from providers.features.remote.ogc_api_metadata import (
    extent_of,
    fields_of,
    geometry_type_of,
    licence_of,
    link_to,
    names_in,
    names_of,
    time_field_of,
)
from providers.features.remote.service import NOTHING, Asked, Batch, Place, RemoteLayer, geojson_batch
from providers.features.remote.values import Misfit
from providers.features.schema import FieldDefinition
from providers.features.source import Ability
from providers.outgoing import Answer, Client, RemoteUnavailable

_ALWAYS = frozenset({Ability.BBOX, Ability.PROPERTIES, Ability.SKIP_GEOMETRY, Ability.CRS, Ability.CURSOR})
# What a next link may add to the request it continues: everything else of the request is written anew from the query.
_RESERVED = frozenset(
    [
        "bbox",
        "bbox-crs",
        "crs",
        "datetime",
        "f",
        "filter",
        "filter-crs",
        "filter-lang",
        "lang",
        "limit",
        "properties",
        "q",
        "skipgeometry",
        "sortby",
        "asof",
        "resulttype",
    ]
)
_MAXIMUM_TOKEN = 2_000
_LONGEST_QUERY = 6_000  # characters; many servers refuse request lines above 8,000
_SAMPLE = 3
_LARGEST_METADATA = 8 << 20
_LARGEST_COLLECTIONS = 32 << 20


class GuardedFeatures(Features):  # type: ignore[misc]  # OWSLib has no types
    """OWSLib's client of OGC API - Features with our way out."""

    def __init__(self, url: str, client: Client, name: str) -> None:
        # A document is given, so that nothing is asked yet.
        super().__init__(url, json_="{}")
        self.headers: dict[str, str] = {}  # never OWSLib's shared one
        self._client = client
        self._name = name

    def answer(self, path: str, params: Mapping[str, Any], limit: int) -> Answer:
        """GET of a path below the landing page."""
        texts = {name: str(value) for name, value in params.items()}
        if len(urlencode(texts)) > _LONGEST_QUERY:
            raise cannot("features", "a request longer than servers take in a URL")
        url = self._build_url(path)
        # No `f`: the Accept header says what is wanted, and a parameter that a service does not know may be refused.
        return self._client.get(url, texts, limit=limit)

    def _request(
        self,
        method: str = "GET",
        path: str | None = None,
        data: str | None = None,
        as_dict: bool = True,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What OWSLib's methods call for each request; only reading is possible."""
        if method != "GET" or not as_dict:
            raise StoreError(f"{self._name} is only read")
        answer = self.answer(path or "", kwargs or {}, _LARGEST_COLLECTIONS)
        if answer.status >= 400:
            raise RemoteUnavailable(f"{self._name} answers {answer.status} for {shown(path)}")
        return json_object(answer, self._name)


class OgcApiFeatures:
    """One collection of an OGC API - Features service. `url` is its landing page."""

    kind = "features"

    def __init__(self, url: str, layer: str, client: Client, id_field: str | None = None) -> None:
        self._url = url
        self._layer = layer
        self._id_field = id_field
        self._client = client
        self.name = f"{self.kind} {client.origin.authority}"
        self._api = GuardedFeatures(url, client, self.name)
        self._path = f"collections/{quote(layer, safe='')}"

    def layers(self) -> list[RemoteLayer]:
        """The collections whose items are features."""
        found = self._api.collections().get("collections")
        return [
            RemoteLayer(str(item["id"]), text_of(item.get("title")), text_of(item.get("description")))
            for item in (found if isinstance(found, list) else [])
            if isinstance(item, dict) and "id" in item and item.get("itemType", "feature") == "feature"
        ]

    def discover(self) -> RemoteFacts:
        """Conformance, collection, schema or queryables, sortables, and a few features. Raises SourceUnavailable."""
        support = Cql2Support.of(names_in(self._api.conformance().get("conformsTo")))
        collection = self._api.collection(quote(self._layer, safe=""))
        sample = self._sample({"limit": str(_SAMPLE)})
        schema = self._linked(collection, "schema")
        queryables = self._linked(collection, "queryables")
        sortables = self._linked(collection, "sortables")
        fields = fields_of(schema, queryables, [item.get("properties") or {} for item in sample["features"]])
        if not fields and not sample["features"]:
            raise RemoteUnavailable(f"{self.name} tells nothing of the fields of {self._layer!r}")
        time_field = time_field_of(schema, collection, fields)
        known = {item.name for item in fields}
        matched = sample.get("numberMatched")
        details = {
            "cql2": support.to_json(),
            "filterable": sorted(known & (names_of(queryables) if queryables else known)),
            "sortable": sorted(known & names_of(sortables)),
            "offset": self._offset_parameter(sample),
            "datetime_field": time_field,
            "pages": True,
        }
        facts = RemoteFacts(
            fields=fields,
            abilities=_abilities(
                support, details, has_queryables=bool(queryables), counts=type(matched) is int
            ),
            title=text_of(collection.get("title")) or self._layer,
            description=text_of(collection.get("description")),
            attribution=text_of(collection.get("attribution")),
            licence=licence_of(collection),
            bbox=extent_of(collection),
            geometry_type=geometry_type_of(schema, queryables),
            time_field=time_field,
            count=matched if type(matched) is int else None,
            details=details,
        )
        if self._pages(facts):
            return facts
        return replace(
            facts, abilities=facts.abilities - {Ability.CURSOR}, details={**details, "pages": False}
        )

    def batch(self, facts: RemoteFacts, asked: Asked) -> Batch:
        """One page of the service."""
        params = self._params(facts, asked)
        if params is None:
            return Batch([], np.empty(0, dtype=object), [], None, 0)
        sent = dict(params)
        sent |= _paging(asked.place, facts)
        if asked.query.offset and asked.place is None:
            sent[facts.details["offset"]] = str(asked.query.offset)
        sent["limit"] = str(max(asked.limit, 1))
        answer = self._api.answer(f"{self._path}/items", sent, 64 << 20)
        document = self._document(answer, query=asked.query if params or asked.place else None)
        batch = geojson_batch(document, self._id_field)
        if len(batch.ids) > asked.limit:
            raise Misfit(f"{len(batch.ids)} features where {asked.limit} were asked for")
        place = self._next(document, answer.url, sent, facts) if batch.ids else None
        if place is not None and not facts.details["pages"]:
            raise cannot(
                self.kind,
                f"more than {len(batch.ids)} features by a service whose pages repeat themselves",
                "limit",
            )
        return Batch(batch.ids, batch.geometries, batch.rows, place, batch.number_matched)

    def one(self, facts: RemoteFacts, feature_id: str, fields: tuple[FieldDefinition, ...]) -> Batch:
        """The feature at items/{featureId}; by a filter on the id field where the source names one and the service filters."""
        if self._id_field is not None and Ability.EQUALS in facts.abilities:
            query = ItemQuery(equals={self._id_field: feature_id}, limit=1)
            return self.batch(facts, Asked(query, fields, frozenset(), 1, None))
        answer = self._api.answer(f"{self._path}/items/{quote(feature_id, safe='')}", {}, 64 << 20)
        if answer.status in (400, 404, 410):
            return NOTHING
        return geojson_batch({"features": [self._document(answer, query=None)]}, self._id_field)

    def matched(self, facts: RemoteFacts, asked: Asked) -> int | None:
        """`numberMatched` of a page of one feature."""
        params = self._params(facts, asked)
        if params is None:
            return 0
        answer = self._api.answer(f"{self._path}/items", {**params, "limit": "1"}, 64 << 20)
        return geojson_batch(
            self._document(answer, query=asked.query if params else None), self._id_field
        ).number_matched

    # --- inside ----------------------------------------------------------------------------------------------------

    def _sample(self, params: Mapping[str, str]) -> dict[str, Any]:
        answer = self._api.answer(f"{self._path}/items", params, _LARGEST_METADATA)
        if answer.status >= 400:
            raise RemoteUnavailable(f"{self.name} answers {answer.status} for the items of {self._layer!r}")
        document = json_object(answer, self.name)
        features = document.get("features")
        if not isinstance(features, list) or not all(isinstance(item, dict) for item in features):
            raise RemoteUnavailable(
                f"{self.name} answers items of {self._layer!r} that are no GeoJSON features"
            )
        return document

    def _linked(self, collection: Mapping[str, Any], relation: str) -> dict[str, Any]:
        """The JSON Schema behind a link of the collection, {} where there is none that can be read."""
        href = link_to(collection, relation)
        if href is None:
            return {}
        url = urljoin(self._api._build_url(self._path), href)
        answer = self._client.get(url, accept=_SCHEMAS, limit=_LARGEST_METADATA)
        return json_object(answer, self.name) if answer.status < 300 else {}

    def _pages(self, facts: RemoteFacts) -> bool:
        """Whether a next link leads to other features: some services give the first ones again."""
        asked = Asked(ItemQuery(), facts.fields, frozenset(), 1, None)
        try:
            first = self.batch(facts, asked)
            return (
                first.place is None or self.batch(facts, replace(asked, place=first.place)).ids != first.ids
            )
        except Misfit as error:
            raise RemoteUnavailable(f"{self.name} answers with {error}") from None

    def _offset_parameter(self, sample: Mapping[str, Any]) -> str:
        """`offset` or `startindex` where the service skips features by it: tried, for no standard says so."""
        features = sample["features"]
        if len(features) < 2:
            return ""
        for name in ("offset", "startindex"):
            answer = self._api.answer(f"{self._path}/items", {"limit": "1", name: "1"}, _LARGEST_METADATA)
            if answer.status >= 400:
                continue
            found = json_object(answer, self.name).get("features")
            if isinstance(found, list) and len(found) == 1 and found[0].get("id") == features[1].get("id"):
                return name
        return ""

    def _params(self, facts: RemoteFacts, asked: Asked) -> dict[str, str] | None:
        """The conditions as the service's parameters; None where nothing can meet them."""
        query, params = asked.query, {}
        support = Cql2Support.from_json(facts.details["cql2"])
        by_parameter = facts.time_field == facts.details["datetime_field"]
        if query.bbox is not None:
            # West above east is allowed in bbox (Part 1, 7.15.3).
            params["bbox"] = ",".join(f"{number:.12g}" for number in query.bbox)
        if query.datetime is not None and by_parameter:
            start, end = (moment or ".." for moment in query.datetime)
            params["datetime"] = start if start == end != ".." else f"{start}/{end}"
        if query.sortby:
            params["sortby"] = _sortby(query, facts)
        if query.filter is not None and query.filter.node is False:
            return None
        if query.q and support.can_search:
            params["q"] = ",".join(query.q)
        if support.can_filter:
            rest = replace(
                query,
                datetime=None if by_parameter else query.datetime,
                q=() if support.can_search else query.q,
            )
            condition = condition_of(rest, facts.schema, asked.hidden)
            if condition is False:
                return None
            if condition is not None and condition is not True:
                support.check(condition, frozenset(facts.details["filterable"]))
                params |= {"filter": to_text(condition), "filter-lang": "cql2-text"}
        elif query.datetime is not None and not by_parameter:
            raise cannot(self.kind, f"a time in {facts.time_field!r}", "datetime")
        else:
            params |= _equalities(query, facts)
        return params

    def _document(self, answer: Answer, *, query: ItemQuery | None) -> dict[str, Any]:
        """The JSON of an answer. A 400 to a request with conditions is the service's refusal of them."""
        if answer.status < 300:
            return json_object(answer, self.name)
        reason = _reason(answer)
        if answer.status in (400, 422, 501) and query is not None:
            raise refused(self.kind, query, reason)
        raise RemoteUnavailable(f"{self.name} answers {answer.status} ({reason})")

    def _next(
        self, document: Mapping[str, Any], url: str, sent: Mapping[str, str], facts: RemoteFacts
    ) -> str | None:
        """What the next link adds to or changes in the request, as a query string; None on the last page."""
        href = link_to(document, "next")
        if href is None:
            return None
        link = urlsplit(urljoin(url, href))
        # The link is not followed, only its parameters are taken: behind a proxy its host and the path's beginning may be others.
        if not unquote(link.path).rstrip("/").endswith(f"/collections/{self._layer}/items"):
            raise Misfit("a next link to another resource")
        added = {
            name: value
            for name, value in parse_qsl(link.query, keep_blank_values=True)
            if sent.get(name) != value and _may_page(name, facts)
        }
        if not added or sum(len(name) + len(value) for name, value in added.items()) > _MAXIMUM_TOKEN:
            raise Misfit("a next link that leads to the same page, or is too long")
        return urlencode(added)


_SCHEMAS = ("application/schema+json", "application/json", "+json")


def _abilities(
    support: Cql2Support, details: Mapping[str, Any], *, has_queryables: bool, counts: bool
) -> frozenset[Ability]:
    filterable = bool(details["filterable"])
    able = {
        Ability.DATETIME: details["datetime_field"] is not None,
        Ability.FILTER: support.can_filter,
        Ability.EQUALS: filterable and (support.can_filter or has_queryables),
        Ability.Q: support.can_search or (support.can_ignore_case and filterable),
        Ability.SORTBY: bool(details["sortable"]),
        Ability.OFFSET: bool(details["offset"]),
        Ability.HITS: counts,
    }
    return _ALWAYS | {ability for ability, is_able in able.items() if is_able}


def _may_page(name: str, facts: RemoteFacts) -> bool:
    """Whether a parameter may stand in a cursor. Conditions may not: a forged cursor could ask about hidden fields."""
    lowered = name.lower()
    known = {item.name.lower() for item in facts.fields}
    return lowered not in _RESERVED and lowered not in known and not lowered.startswith("filter")


def _paging(place: Place | None, facts: RemoteFacts) -> dict[str, str]:
    """The parameters in a cursor, checked like those of a link. Raises InvalidParameter."""
    if place is None:
        return {}
    pairs = (
        parse_qsl(place, keep_blank_values=True)
        if isinstance(place, str) and len(place) <= _MAXIMUM_TOKEN
        else []
    )
    if not pairs or not all(_may_page(name, facts) for name, _ in pairs):
        raise InvalidParameter("cursor", str(place)[:60], "a cursor taken from a next link")
    return dict(pairs)


def _sortby(query: ItemQuery, facts: RemoteFacts) -> str:
    for key in query.sortby:
        if key.field not in facts.details["sortable"]:
            raise cannot("features", f"sorting by {key.field!r}", "sortby")
    return ",".join(f"{'-' if key.descending else '+'}{key.field}" for key in query.sortby)


def _equalities(query: ItemQuery, facts: RemoteFacts) -> dict[str, str]:
    """Property filters as parameters of Part 1, for services without filters."""
    for name in query.equals:
        if name not in facts.details["filterable"] or name.lower() in _RESERVED:
            raise cannot("features", f"a condition on {name!r}", name)
        typed(facts.schema.by_name[name], query.equals[name])
    return dict(query.equals)


def _reason(answer: Answer) -> str:
    """The service's own words about an error."""
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return "no reason given"
    if not isinstance(document, dict):
        return "no reason given"
    return (
        shown(document.get("detail") or document.get("description") or document.get("title"))
        or "no reason given"
    )
