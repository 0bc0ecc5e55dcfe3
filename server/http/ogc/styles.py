"""Styles: lists, stylesheets in every encoding, metadata and legends (OGC API - Styles - Part 1, draft 20-009)."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from flask import Blueprint, Response, request

from server.http.answer import Answer
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.errors import NotAcceptable, NotFound
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.documents import REL, link
from server.registry.catalogue import Collection, RepresentationKind, StyleRecord
from server.registry.style_choice import (
    ResolvedStyle,
    default_style_id,
    installed_styles,
    is_raster,
    resolve_style,
    shows_hidden,
    stored_style,
    style_ids,
)
from tiles.errors import StyleError, UnknownStyle

_CONF = "http://www.opengis.net/spec/ogcapi-styles-1/1.0/conf/"
STYLE_CLASSES = tuple(
    _CONF + name
    for name in (
        *("core", "collection-styles", "manage-styles", "style-validation", "style-info"),
        *("mapbox-styles", "sld-10", "sld-11", "html"),
    )
)

ENCODINGS = {
    "mapbox": ("maplibre", "application/vnd.mapbox.style+json"),
    "sld10": ("sld-1.0", "application/vnd.ogc.sld+xml;version=1.0"),
    "sld11": ("sld-1.1", "application/vnd.ogc.sld+xml;version=1.1"),
    "chengtu": ("chengtu", "application/vnd.chengtu.style+yaml"),
}
_USE = (
    "This style draws more than one collection, so it names no tiles. The links `related` of {}/metadata are the same style "
    "with the tiles of each collection, ready for MapLibre."
)
_MOST_LISTED = 1000
_MOST_NOTES = 20


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    from server.http.ogc import styles_editing
    from server.http.ogc.styles_metadata import legend, metadata

    collection = "/ogc/collections/<public_id>/styles"
    blueprint.add_url_rule("/ogc/styles", "styles", styles)
    blueprint.add_url_rule("/ogc/styles/<style_id>", "style", style)
    blueprint.add_url_rule("/ogc/styles/<style_id>/metadata", "style_metadata", metadata)
    blueprint.add_url_rule("/ogc/styles/<style_id>/legend", "style_legend", legend)
    blueprint.add_url_rule(collection, "collection_styles", collection_styles)
    blueprint.add_url_rule(f"{collection}/<style_id>", "collection_style", style)
    blueprint.add_url_rule(f"{collection}/<style_id>/metadata", "collection_style_metadata", metadata)
    blueprint.add_url_rule(f"{collection}/<style_id>/legend", "collection_style_legend", legend)
    styles_editing.register(blueprint)


# --- finding -------------------------------------------------------------------------------------------------------------


def public_style_id(here: RequestContext, record: StyleRecord) -> str:
    """The id of a tenant's style in this view."""
    return record.id if here.scope.tenant is not None else f"{record.tenant}.{record.id}"


def _is_shown(here: RequestContext, record: StyleRecord) -> bool:
    """Whether this client may know of a style: one that is only for collections it may not see stays unknown."""
    if here.scope.tenant not in (None, record.tenant):
        return False
    if not record.collections or here.who.operator:
        return True
    visible = {(one.tenant, one.id) for one in here.services.visible(here.catalogue, here.scope, here.who)}
    return any((record.tenant, one) in visible for one in record.collections)


def record_of(here: RequestContext, style_id: str) -> StyleRecord | None:
    """A tenant's style by its id in this view, None where there is none for this client."""
    tenant, dot, name = (
        (here.scope.tenant or "", ".", style_id) if here.scope.tenant else style_id.partition(".")
    )
    record = here.catalogue.styles.get((tenant, name)) if dot else None
    return record if record is not None and _is_shown(here, record) else None


def _no_style(style_id: str) -> NotFound:
    return NotFound(f"there is no style {style_id[:80]!r} here; the list of styles tells what there is")


def found_style(
    here: RequestContext, style_id: str, public_id: str | None
) -> tuple[ResolvedStyle, StyleRecord | None, Collection | None]:
    """A style, its record where it is a tenant's, and the collection it is asked for. Raises NotFound."""
    directory = here.services.settings.styles_directory
    if public_id is not None:
        collection, decision = here.collection(public_id)
        if RepresentationKind.MAP not in collection.representations:
            raise _no_style(style_id)
        try:
            resolved = resolve_style(here.catalogue, collection, style_id, directory)
        except UnknownStyle as error:
            raise NotFound(str(error)) from error
        if shows_hidden(resolved.style, collection, decision.hidden_fields):
            raise _no_style(style_id)
        return resolved, here.catalogue.styles.get((collection.tenant, style_id)), collection
    record = record_of(here, style_id)
    if record is not None:
        return stored_style(record, directory), record, None
    installed = installed_styles(directory).get(style_id)
    if installed is None:
        raise _no_style(style_id)
    return installed, None, None


# --- lists ---------------------------------------------------------------------------------------------------------------


def styles() -> Response:
    """All styles of the view: tenants' own, and the installation's."""
    here = context()
    here.only()
    entries = [
        entry_of(here, public_style_id(here, record), dict(record.titles), f"{here.root}/styles")
        for record in here.catalogue.styles.values()
        if _is_shown(here, record)
    ]
    installed = installed_styles(here.services.settings.styles_directory)
    entries += [entry_of(here, id_, dict(one.title), f"{here.root}/styles") for id_, one in installed.items()]
    return _list(here, entries[:_MOST_LISTED], f"{here.root}/styles", None)


def collection_styles(public_id: str) -> Response:
    """The styles that can draw a collection, its default named."""
    here = context()
    here.only()
    collection, decision = here.collection(public_id)
    url = f"{here.url_of(public_id)}/styles"
    if RepresentationKind.MAP not in collection.representations:
        return _list(here, [], url, None, collection)
    directory = here.services.settings.styles_directory
    entries = []
    for id_ in style_ids(here.catalogue, collection, directory, hidden=decision.hidden_fields):
        try:
            found = resolve_style(here.catalogue, collection, id_, directory)
        except StyleError:
            continue  # a style that cannot be used is not offered
        entries.append(entry_of(here, id_, dict(found.title), url))
    listed = {entry["id"] for entry in entries}
    default = default_style_id(collection)
    return _list(here, entries, url, default if default in listed else None, collection)


def _title(here: RequestContext, titles: dict[str, str], id_: str) -> str:
    return titles.get(here.language) or titles.get("en") or next(iter(titles.values()), id_)


def entry_of(here: RequestContext, id_: str, titles: dict[str, str], url: str) -> dict[str, Any]:
    """What a list says of a style, with its links; `url` is the address of the list."""
    one = f"{url}/{id_}"
    links = [link(f"{one}?f={name}", "stylesheet", media_type) for name, (_, media_type) in ENCODINGS.items()]
    links += [
        link(f"{one}?f=html", "alternate", "text/html"),
        link(f"{one}/metadata", "describedby", MEDIA_TYPES["json"]),
        link(f"{one}/legend?f=png", f"{REL}legend", MEDIA_TYPES["png"]),
        link(f"{one}/legend?f=png", "preview", MEDIA_TYPES["png"]),
        link(f"{one}/map", f"{REL}map", MEDIA_TYPES["png"]),
    ]
    return {"id": id_, "title": _title(here, titles, id_), "links": links}


def _list(
    here: RequestContext,
    entries: list[dict[str, Any]],
    url: str,
    default: str | None,
    collection: Collection | None = None,
) -> Response:
    document: dict[str, Any] = {
        "links": [
            link(f"{url}?f=json", "self", MEDIA_TYPES["json"]),
            link(f"{url}?f=html", "alternate", "text/html"),
        ],
        "styles": entries,
    }
    if default is not None:
        document["default"] = default
    if here.format("json", "html") == "html":
        page = here.services.pages.styles(here.page_request(), document, here.tenant, collection=collection)
        return respond(html_answer(page))
    answer = json_answer(document, private=here.who.operator)
    answer.etag = f'W/"{hashlib.blake2s(answer.body, digest_size=12).hexdigest()}"'
    return respond(answer)


# --- one style -----------------------------------------------------------------------------------------------------------


def _encoding() -> str:
    """The encoding asked for, by `f`, else by Accept. Raises NotAcceptable."""
    wanted = request.args.get("f")
    names = {"json": "mapbox", "maplibre": "mapbox", "sld": "sld10", "yaml": "chengtu"}
    if wanted is not None:
        wanted = names.get(wanted, wanted)
        if wanted not in (*ENCODINGS, "html"):
            raise NotAcceptable(
                f"f={wanted[:40]!r} is not offered here; allowed: {', '.join(ENCODINGS)}, html"
            )
        return wanted
    for part in request.headers.get("Accept", "").lower().split(","):
        media_type, _, parameters = part.strip().partition(";")
        if media_type == "application/vnd.ogc.sld+xml":
            return "sld11" if "1.1" in parameters else "sld10"
        if media_type == "application/vnd.ogc.se+xml":
            return "sld11"
        if media_type in ("application/vnd.mapbox.style+json", "application/json"):
            return "mapbox"
        if media_type == "text/html":
            return "html"
        if media_type == ENCODINGS["chengtu"][1]:
            return "chengtu"
    return "mapbox"


def style_etag(resolved: ResolvedStyle, record: StyleRecord | None, *parts: str) -> str:
    """A validator: of a tenant's style it begins with the version that If-Match asks about."""
    version = f"v{record.version}" if record is not None else "v0"
    seen = hashlib.blake2s("\0".join((resolved.digest, *parts)).encode(), digest_size=8).hexdigest()
    return f'"{version}-{seen}"'


def style(style_id: str, public_id: str | None = None) -> Response:
    """A stylesheet in the encoding asked for: as it was given, or converted.

    A converted MapLibre style has the tiles of a collection as its source where it is asked for below one, or is for one only.
    """
    from server.http.ogc.styles_metadata import only_collection, style_page

    here = context()
    here.only()
    resolved, record, collection = found_style(here, style_id, public_id)
    encoding = _encoding()
    if encoding == "html":
        return style_page(here, style_id, public_id)
    if collection is None and encoding == "mapbox":
        collection = only_collection(here, resolved, record)
    text, notes = stylesheet(here, resolved, record, collection, public_id is not None, encoding)
    body = text.encode()
    headers = [("X-Style-Note", _header_text(note)) for note in notes[:_MOST_NOTES]]
    private = collection is not None and here.who.operator
    etag = style_etag(resolved, record, encoding, hashlib.blake2s(body).hexdigest())
    return respond(Answer(body, ENCODINGS[encoding][1], etag=etag, headers=headers, private=private))


def _header_text(note: str) -> str:
    return note.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")[:300]


def stylesheet(
    here: RequestContext,
    resolved: ResolvedStyle,
    record: StyleRecord | None,
    collection: Collection | None,
    is_collections: bool,
    encoding: str,
) -> tuple[str, tuple[str, ...]]:
    """The text of a stylesheet, and notes on what was lost on the way.

    `is_collections`: it is asked for below the collection, so that even a MapLibre style gets its addresses; else that is given as
    it was put, so that it can be changed and put again.
    """
    from tiles.maps.style_documents import write_document

    format_ = ENCODINGS[encoding][0]
    is_as_given = record is not None and record.format == format_
    if collection is not None and encoding == "mapbox" and (is_collections or not is_as_given):
        content, notes = _served(here, resolved, collection, resolved.id)
        return orjson.dumps(content).decode(), (*resolved.notes, *notes)
    if record is not None and is_as_given:
        return record.document, ()
    name = collection.id if collection is not None else resolved.id
    text, notes = write_document(resolved.style, format_, name)
    if encoding == "mapbox":
        content = orjson.loads(text) | {"glyphs": _glyphs(here), "sprite": _sprite(here)}
        where = f"{here.root}/styles/{public_style_id(here, record) if record is not None else resolved.id}"
        content["metadata"] = content.get("metadata", {}) | {"chengtu:use": _USE.format(where)}
        text = orjson.dumps(content).decode()
    return text, (*resolved.notes, *notes)


def _glyphs(here: RequestContext) -> str:
    return f"{here.origin}/fonts/{{fontstack}}/{{range}}.pbf"


def _sprite(here: RequestContext) -> str:
    return f"{here.origin}/sprites/city"


def _served(
    here: RequestContext, resolved: ResolvedStyle, collection: Collection, style_id: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The style of a collection with the addresses of its tiles in this view."""
    from server.http.maps import bounds84
    from server.http.ogc.tilesets import zooms_of
    from tiles.maps.maplibre.serving import Addresses, served_style

    url = here.url_of(here.scope.public_id(collection))
    raster = is_raster(collection)
    kind = RepresentationKind.MAP if raster else RepresentationKind.TILES
    low, high = (
        zooms_of(collection, kind, "WebMercatorQuad") if kind in collection.representations else (0, 20)
    )
    above = f"{url}/styles/{style_id}/map/tiles" if raster else f"{url}/tiles"
    form = "png" if raster else "mvt"
    addresses = Addresses(
        tiles=f"{above}/WebMercatorQuad/{{z}}/{{y}}/{{x}}?f={form}",
        glyphs=_glyphs(here),
        sprite=_sprite(here),
        bounds=bounds84(collection),
        min_zoom=low,
        max_zoom=high,
        attribution=collection.attribution,
    )
    return served_style(resolved.style, collection.id, addresses)
