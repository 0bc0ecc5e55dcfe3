"""What the pages of styles need: addresses of legends, maps and encodings, and words for what a style is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from server.pages.language import Messages
from server.pages.links import Links
from server.registry.catalogue import Collection

_PREVIEW_WIDTH = 720
_ENCODINGS = {
    "mapbox": ("style.mapbox", "json"),
    "sld10": ("style.sld10", "1.0.sld"),
    "sld11": ("style.sld11", "1.1.sld"),
    "chengtu": ("style.chengtu", "yml"),
}
"""Message key, and what the name of a downloaded file ends with, by encoding."""
_KINDS = {"features": "style.kind_features", "raster": "style.kind_raster"}


class StyleCard(NamedTuple):
    """A style in a list. `legend` is the address of an image."""

    id: str
    title: str
    href: str
    legend: str
    is_default: bool


class Encoding(NamedTuple):
    """A stylesheet to download; `as_given` where it is not converted."""

    label: str
    href: str
    name: str
    media_type: str
    as_given: bool


class Use(NamedTuple):
    """A collection that a style draws: the page of the style there, and the address for MapLibre."""

    title: str
    href: str
    address: str


def styles_url(links: Links, collection: Collection | None) -> str:
    """The address of the list of styles of a collection, or of the view."""
    return links.collection(collection, "styles") if collection else f"{links.services}/styles"


def cards_of(document: Mapping[str, Any], url: str, language: str) -> list[StyleCard]:
    """The styles of a list, its default first."""
    default = document.get("default")
    cards = [
        StyleCard(
            id=entry["id"],
            title=entry["title"],
            href=f"{url}/{quote(entry['id'])}?f=html",
            legend=f"{url}/{quote(entry['id'])}/legend?f=png&lang={language}",
            is_default=entry["id"] == default,
        )
        for entry in document["styles"]
    ]
    return sorted(cards, key=lambda card: not card.is_default)


def encodings_of(document: Mapping[str, Any], url: str, messages: Messages) -> list[Encoding]:
    """The stylesheets of a style's metadata, the one it was given in first."""
    found = [
        Encoding(
            label=messages(_ENCODINGS[one["title"]][0]),
            href=f"{url}?f={one['title']}",
            name=f"{document['id']}.{_ENCODINGS[one['title']][1]}",
            media_type=one["link"]["type"],
            as_given=one["native"],
        )
        for one in document["stylesheets"]
    ]
    return sorted(found, key=lambda one: not one.as_given)


def facts_of(document: Mapping[str, Any], messages: Messages) -> list[tuple[str, str]]:
    """What a table says of a style."""
    dates = document.get("dates") or {}
    facts = {
        "style.id": document["id"],
        "style.kind": messages(_KINDS[document["kind"]]),
        "style.fields": ", ".join(document["fields"]),
        "style.keywords": ", ".join(document.get("keywords", ())),
        "style.version": document.get("version", ""),
        "style.revision": str(dates.get("revision", "")),
        "style.owner": messages("style.owner_installation" if document["readOnly"] else "style.owner_tenant"),
    }
    return [(messages(key), value) for key, value in facts.items() if value]


def uses_of(
    collections: Sequence[Collection], own_id: str, links: Links, origin: str, language: str
) -> list[Use]:
    """The collections a style draws."""
    return [
        Use(
            title=one.title(language),
            href=links.collection(one, "styles", own_id, f="html"),
            address=f"{origin}{links.collection(one, 'styles', own_id, f='mapbox')}",
        )
        for one in collections
    ]


def preview_of(collection: Collection | None, own_id: str, links: Links) -> dict[str, str] | None:
    """The map of a collection in a style: the image's address and the page's; None where there is no one collection."""
    if collection is None:
        return None
    parts = ("styles", own_id, "map")
    return {
        "image": links.collection(collection, *parts, f="png", width=str(_PREVIEW_WIDTH)),
        "href": links.collection(collection, *parts, f="html"),
        "title": collection.id,
    }
