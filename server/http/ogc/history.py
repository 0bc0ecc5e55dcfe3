"""What became of one feature: its versions, each with the time it was committed and who did it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import orjson
from flask import Blueprint, Response

from providers.features.parser import parse_item_query
from providers.features.source import FeatureVersion, HistorySource
from server.http.context import context, html_answer, json_answer, respond
from server.http.errors import NotFound
from server.http.feature_links import GEOJSON, item_url
from server.http.features import FeatureRequest, state_etag
from server.http.ogc.documents import link
from server.http.ogc.features_request import feature_request
from server.http.parameters import integer

_SHOWN = 100


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule(
        "/ogc/collections/<public_id>/items/<path:feature_id>/history",
        view_func=item_history,
        endpoint="item_history",
    )


def item_history(public_id: str, feature_id: str) -> Response:
    """The versions of a feature, the latest first."""
    here = context()
    given = here.only("crs", "limit", "offset")
    asked = feature_request(here, public_id)
    source = asked.source
    if not isinstance(source, HistorySource):
        raise NotFound(f"the store of {public_id!r} keeps no history of its features")
    crs = parse_item_query([("crs", given["crs"])] if "crs" in given else [], source.schema).crs
    limit = integer(given, "limit", _SHOWN, 1, 1000)
    offset = integer(given, "offset", 0, 0, 10**9 - 1)
    form = here.format("json", "html")
    versions = source.history(feature_id, crs, asked.hidden)
    if not versions:
        raise NotFound(f"there is no item {feature_id[:200]!r} in {public_id!r}, and there never was one")
    document = _document(asked, feature_id, versions, limit, offset)
    if form == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=asked.collection, kind="history"
        )
        return respond(html_answer(page))
    etag = state_etag(asked.collection, source.change(), asked.decision, "history", asked.url, repr(given))
    headers = [("Content-Crs", f"<{crs}>")]
    return respond(json_answer(document, etag=etag, headers=headers, private=asked.private))


def _document(
    asked: FeatureRequest, feature_id: str, versions: list[FeatureVersion], limit: int, offset: int
) -> dict[str, Any]:
    shown = versions[offset : offset + limit]
    url = item_url(asked.url, feature_id)
    links = [
        link(f"{url}/history?f=json", "self", "application/json"),
        link(f"{url}/history?f=html", "alternate", "text/html"),
        link(url, "latest-version", GEOJSON, "The feature as it is now"),
        link(asked.url, "collection", "application/json"),
    ]
    if offset + limit < len(versions):
        following = f"{url}/history?limit={limit}&offset={offset + limit}"
        links.append(link(following, "next", "application/json"))
    return {
        "id": feature_id,
        "numberMatched": len(versions),
        "numberReturned": len(shown),
        "versions": [_version(url, version) for version in shown],
        "links": links,
    }


def _version(url: str, version: FeatureVersion) -> dict[str, Any]:
    told: dict[str, Any] = {
        "version": version.version,
        "since": version.since,
        "until": version.until,
        "author": version.author,
        "deleted": version.version is None,
        "feature": None if version.body is None else orjson.loads(version.body),
    }
    if version.version is not None:
        href = f"{url}?asof={quote(version.since, safe=':')}"
        told["links"] = [link(href, "memento", GEOJSON, "The feature in this version")]
    return told
