"""GeoJSON documents put together from encoded features, without decoding any.

OGC API - Features Part 1, clauses 7.15 and 7.16: `links`, `timeStamp`, `numberReturned`, `numberMatched` beside GeoJSON's
own members. Both lanes of the server use these functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from providers.features.source import FeaturePage


def feature_collection_bytes(page: FeaturePage, links: Sequence[Mapping[str, Any]], timestamp: str) -> bytes:
    """A FeatureCollection. `timestamp` is RFC 3339; `numberMatched` is left out where the page does not know it."""
    head: dict[str, Any] = {
        "type": "FeatureCollection",
        "timeStamp": timestamp,
        "numberReturned": page.number_returned,
    }
    if page.number_matched is not None:
        head["numberMatched"] = page.number_matched
    head["links"] = links
    return b"".join((orjson.dumps(head)[:-1], b',"features":[', b",".join(page.bodies), b"]}"))


def feature_bytes(body: bytes, links: Sequence[Mapping[str, Any]]) -> bytes:
    """One Feature document with its links: `body` is what the store gave."""
    return b"".join((body[:-1], b',"links":', orjson.dumps(links), b"}"))
