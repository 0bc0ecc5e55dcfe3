"""What there is to know of a style: metadata, the collections it draws, its page, and its legend (OGC API - Styles, 20-009)."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import Response

from server.http.answer import Answer
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.errors import InvalidParameter
from server.http.legend_values import in_values
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.documents import link
from server.http.ogc.styles import ENCODINGS, entry_of, found_style, style_etag
from server.registry.catalogue import Collection, RepresentationKind, StyleRecord
from server.registry.style_choice import ResolvedStyle, default_style_id, is_raster, style_ids

if TYPE_CHECKING:
    from tiles.maps.style_model import Style

_MOST_COLLECTIONS = 20


def drawn_collections(
    here: RequestContext, resolved: ResolvedStyle, record: StyleRecord | None
) -> Iterator[Collection]:
    """The collections of this view, as far as this client may see them, that a style is offered for."""
    directory = here.services.settings.styles_directory
    raster = resolved.style.raster is not None
    installed = {} if record is not None else {resolved.id: resolved}
    for collection in here.services.index(here.catalogue, here.scope, here.who).collections:
        if RepresentationKind.MAP not in collection.representations or is_raster(collection) != raster:
            continue
        if record is not None and not _is_for(record, collection):
            continue
        if resolved.id in style_ids(here.catalogue, collection, directory, installed):
            yield collection


def _is_for(record: StyleRecord, collection: Collection) -> bool:
    return collection.tenant == record.tenant and (
        not record.collections or collection.id in record.collections
    )


def only_collection(
    here: RequestContext, resolved: ResolvedStyle, record: StyleRecord | None
) -> Collection | None:
    """The collection a style is offered for where it is exactly one, else None."""
    found = list(islice(drawn_collections(here, resolved, record), 2))
    return found[0] if len(found) == 1 else None


def _shown_collections(
    here: RequestContext, resolved: ResolvedStyle, record: StyleRecord | None
) -> list[Collection]:
    """Some of those a style draws: first the ones it is the default of."""
    found = list(drawn_collections(here, resolved, record))
    found.sort(key=lambda one: default_style_id(one) != resolved.id)
    return found[:_MOST_COLLECTIONS]


def metadata(style_id: str, public_id: str | None = None) -> Response:
    """What a style is for, where it is, and what of it is not drawn as it says."""
    here = context()
    here.only()
    if here.format("json", "html") == "html":
        return style_page(here, style_id, public_id)
    resolved, record, _ = found_style(here, style_id, public_id)
    document = _metadata_document(here, resolved, record, style_id, public_id)
    answer = json_answer(document, private=here.who.operator)
    answer.etag = style_etag(resolved, record, hashlib.blake2s(answer.body).hexdigest())
    return respond(answer)


def _metadata_document(
    here: RequestContext,
    resolved: ResolvedStyle,
    record: StyleRecord | None,
    style_id: str,
    public_id: str | None,
) -> dict[str, Any]:
    from tiles.maps.mapnik_style import style_fields
    from tiles.maps.style_writing import style_icons

    url = f"{here.root}/styles" if public_id is None else f"{here.url_of(public_id)}/styles"
    native = record.format if record is not None else "chengtu"
    entry = entry_of(here, style_id, dict(resolved.title), url)
    document: dict[str, Any] = {
        "id": style_id,
        "title": entry["title"],
        "scope": "style",
        "kind": "raster" if resolved.style.raster is not None else "features",
        "readOnly": record is None,
        "digest": resolved.digest,
        "fields": list(style_fields(resolved.style)),
        "icons": list(style_icons(resolved.style)),
        "notes": list(resolved.notes),
        "stylesheets": [
            {
                "native": format_ == native,
                "title": name,
                "link": link(f"{url}/{style_id}?f={name}", "stylesheet", media),
            }
            for name, (format_, media) in ENCODINGS.items()
        ],
        "links": entry["links"],
    }
    if public_id is None:
        document["links"] = document["links"] + _uses(here, resolved, record)
    if record is not None:
        document |= {
            "description": record.descriptions.get(here.language) or record.descriptions.get("en", ""),
            "keywords": list(record.keywords),
            "collections": _visible_ids(here, record),
            "version": str(record.version),
            "dates": {"creation": record.created, "revision": record.updated},
        }
    return document


def _visible_ids(here: RequestContext, record: StyleRecord) -> list[str]:
    """The collections a style names, as far as this client may know of them."""
    if here.who.operator:
        return list(record.collections)
    index = here.services.index(here.catalogue, here.scope, here.who)
    visible = {one.id for one in index.collections if one.tenant == record.tenant}
    return [one for one in record.collections if one in visible]


def _uses(here: RequestContext, resolved: ResolvedStyle, record: StyleRecord | None) -> list[dict[str, Any]]:
    """Links to the style with the data of each collection it draws, ready for MapLibre."""
    media_type = ENCODINGS["mapbox"][1]
    return [
        link(
            f"{here.url_of(here.scope.public_id(one))}/styles/{resolved.id}?f=mapbox",
            "related",
            media_type,
            one.title(here.language),
        )
        for one in _shown_collections(here, resolved, record)
    ]


# --- page ----------------------------------------------------------------------------------------------------------------


def style_page(here: RequestContext, style_id: str, public_id: str | None) -> Response:
    """A style to look at: its legend, a map in it, its encodings, and the collections it draws."""
    resolved, record, collection = found_style(here, style_id, public_id)
    document = _metadata_document(here, resolved, record, style_id, public_id)
    shown = [] if collection is not None else _shown_collections(here, resolved, record)
    drawn = collection if collection is not None else shown[0] if len(shown) == 1 else None
    page = here.services.pages.style(
        here.page_request(),
        document,
        here.tenant,
        collection=collection,
        drawn=drawn,
        draws=shown,
        own_id=resolved.id,
    )
    return respond(html_answer(page))


# --- legend --------------------------------------------------------------------------------------------------------------


def legend(style_id: str, public_id: str | None = None) -> Response:
    """The legend of a style: PNG, JSON, or a page."""
    here = context()
    given = here.only("scale")
    resolved, record, collection = found_style(here, style_id, public_id)
    style = in_values(resolved.style, collection)
    form = here.format("png", "json", "html")
    scale = _legend_scale(given.get("scale", "1"))
    etag = style_etag(resolved, record, "legend", form, here.language, str(scale), _values_of(style))
    private = here.who.operator  # only an operator sees legends of what is private
    from tiles.maps.legend import legend_document, legend_html, legend_image

    if form == "json":
        return respond(json_answer(legend_document(style, here.language), etag=etag, private=private))
    if form == "html":
        page = f"<!doctype html><meta charset=utf-8><title>{html.escape(style_id)}</title>"
        page += legend_html(style, here.language)
        headers = [("Content-Security-Policy", "default-src 'none'; img-src data:")]
        return respond(
            Answer(page.encode(), MEDIA_TYPES["html"], etag=etag, headers=headers, private=private)
        )
    from tiles.maps.images import encode_image

    title = resolved.title.get(here.language) or resolved.title.get("en") or ""
    body = encode_image(legend_image(style, here.language, scale, title=title), "image/png")
    return respond(Answer(body, MEDIA_TYPES["png"], etag=etag, compressible=False, private=private))


def _values_of(style: Style) -> str:
    """The range a legend shows, as a part of its ETag: it may come from the data."""
    return repr(style.raster.span) if style.raster is not None else ""


def _legend_scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0.5 <= scale <= 4:
        raise InvalidParameter(
            f"scale={text[:40]!r}; allowed: a number from 0.5 to 4", "scale", text, "0.5 to 4"
        )
    return scale
