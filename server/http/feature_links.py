"""The links of items and of one item, in bodies and in Link headers (OGC API - Features Part 1, 7.15.6, 7.15.7, 7.16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from providers.features.parser import cursor_mark, encode_cursor
from providers.features.query import Cursor, ItemQuery
from providers.formatters.registry import ITEM_FORMATS
from server.http.answer import Header

type Parameters = Sequence[tuple[str, str]]
type Link = dict[str, Any]

GEOJSON = "application/geo+json"
_PAGING = ("cursor", "offset")
_MOST_LINK_BYTES = (
    3000  # of Link headers, beside a body that has the links too: proxies take 4 to 8 kB of headers
)
FORMS: Mapping[str, str] = {
    "json": GEOJSON,
    "html": "text/html",
    **{form.name: form.media_type for form in ITEM_FORMATS.values() if form.items},
}
"""The media type behind each `f` that items are offered in."""


def with_parameters(url: str, *encoded: str) -> str:
    """A URL with the encoded parts of a query that are not empty."""
    return f"{url}?{'&'.join(filter(None, encoded))}"


def encoded(parameters: Parameters) -> str:
    """Parameters as a query string."""
    return urlencode(parameters, safe=",:/")


def _forms(url: str, query: str, form: str) -> list[Link]:
    """`self` in the form of the answer, `alternate` in every other."""
    return [
        {
            "rel": "self" if name == form else "alternate",
            "type": media_type,
            "href": with_parameters(url, query, f"f={name}"),
        }
        for name, media_type in FORMS.items()
    ]


def items_links(
    url: str,
    parameters: Parameters,
    query: ItemQuery,
    following: Cursor | None,
    generation: int,
    form: str = "json",
) -> list[Link]:
    """self, alternate, collection, next and prev.

    `url` is the collection's; `following` is where the next page starts, None on the last one. Links to other pages keep the
    form of this one.
    """
    items_url = f"{url}/items"
    common = encoded([pair for pair in parameters if pair[0] != "f" and pair[0] not in _PAGING])
    paging = encoded([pair for pair in parameters if pair[0] in _PAGING])
    links = _forms(items_url, "&".join(filter(None, (common, paging))), form)
    links.append({"rel": "collection", "type": "application/json", "href": url})
    if following is not None:
        cursor = encoded([("cursor", encode_cursor(generation, following, cursor_mark(query)))])
        href = with_parameters(items_url, common, cursor, f"f={form}")
        links.append({"rel": "next", "type": FORMS[form], "href": href})
    if query.offset:
        earlier = f"offset={max(0, query.offset - query.limit)}"
        href = with_parameters(items_url, common, earlier, f"f={form}")
        links.append({"rel": "prev", "type": FORMS[form], "href": href})
    return links


def item_url(url: str, feature_id: str) -> str:
    """The URL of one item of the collection at `url`."""
    return f"{url}/items/{quote(feature_id, safe='')}"


def item_links(
    url: str, feature_id: str, parameters: Parameters, form: str = "json", *, with_history: bool = False
) -> list[Link]:
    """Links of one item; the parameters of the request (`crs`, `asof`) are kept in those to its other forms."""
    own = item_url(url, feature_id)
    links = _forms(own, encoded([pair for pair in parameters if pair[0] != "f"]), form)
    links.append({"rel": "collection", "type": "application/json", "href": url})
    if with_history:
        links.append({"rel": "version-history", "type": "application/json", "href": f"{own}/history"})
    return links


def link_headers(links: Sequence[Link], *, in_body: bool = True) -> list[Header]:
    """The Link header (RFC 8288) of the links that lead on: next, prev, collection.

    `in_body` false: the body has no links, so `self` and `alternate` are told here too, and `next` is told however long it
    is; otherwise links that would make headers too long for proxies are left to the body.
    """
    wanted = ("next", "prev", "collection") if in_body else None
    told, size = [], 0
    for link in links:
        if wanted is not None and link["rel"] not in wanted:
            continue
        text = f'<{link["href"]}>; rel="{link["rel"]}"; type="{_quoted(link["type"])}"'
        if size + len(text) > _MOST_LINK_BYTES and (in_body or link["rel"] != "next"):
            continue
        told.append(text)
        size += len(text)
    return [("Link", ", ".join(told))] if told else []


def _quoted(media_type: str) -> str:
    """A media type as it may stand inside quotes."""
    return media_type.replace("\\", "\\\\").replace('"', '\\"')
