"""Maps: of a collection, of the dataset, in any of their styles (OGC API - Maps - Part 1: Core, 20-058)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from server.http.answer import Answer, Header
from server.http.context import RequestContext, context, html_answer, respond
from server.http.errors import InvalidParameter
from server.http.maps import bounds84
from server.http.negotiation import choose_format
from server.http.ogc.map_background import Background, parse_background
from server.http.ogc.map_crs import storage_crs_uri
from server.http.ogc.map_drawing import MapLayer, draw_map, geotiff
from server.http.ogc.map_layers import (
    MapChoice,
    box84_of,
    collection_choice,
    content_datetime,
    dataset_choices,
    extent_of_all,
    in_box,
    layers_of,
    log_left_out,
    parse_collections,
)
from server.http.ogc.map_query import (
    MAP_PARAMETERS,
    MapQuery,
    NothingThere,
    merged_parameters,
    parse_map_query,
)
from server.http.parameters import only
from server.registry.catalogue import CRS84

MAP_FORMS = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gtiff": "image/tiff; application=geotiff",
    "html": "text/html",
}
"""Formats of maps with their media types, the default first."""

_FORM_NAMES = {"tiff": "gtiff", "geotiff": "gtiff", "jpg": "jpeg"}
_LARGE_MAP = 1_200_000
"""Pixels above which a map takes one of the places for costly work: more than a full screen may take a second and more."""


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    one = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{one}/map", "collection_map", collection_map)
    blueprint.add_url_rule(f"{one}/styles/<style_id>/map", "styled_collection_map", collection_map)
    blueprint.add_url_rule("/ogc/map", "dataset_map", dataset_map)
    blueprint.add_url_rule("/ogc/styles/<style_id>/map", "styled_dataset_map", dataset_map)


def collection_map(public_id: str, style_id: str | None = None) -> Response:
    """A map of a collection, in its default style or a named one."""
    here = context()
    choice = collection_choice(here, public_id, style_id)
    given = only(merged_parameters(here.parameters), ("f", "lang", *MAP_PARAMETERS))
    crs = storage_crs_uri(choice.collection.storage_crs)
    return _map(here, given, [choice], named=True, storage_crs=crs)


def dataset_map(style_id: str | None = None) -> Response:
    """A map of all collections of the view that have one, or of those that `collections` names, the first lowest."""
    here = context()
    given = only(merged_parameters(here.parameters), ("f", "lang", "collections", *MAP_PARAMETERS))
    names = parse_collections(here, given.get("collections"))
    choices = dataset_choices(here, names, style_id)
    return _map(here, given, choices, named=names is not None, storage_crs=CRS84)


def _map(
    here: RequestContext, given: dict[str, str], choices: list[MapChoice], *, named: bool, storage_crs: str
) -> Response:
    form = _form(given)
    extent = bounds84(choices[0].collection) if len(choices) == 1 else extent_of_all(choices)
    most = here.services.settings.limits.map_pixels
    background = parse_background(
        given, can_be_transparent=form != "jpeg", style_background=_style_background(here, choices)
    )
    private = any(choice.decision.key != "public" for choice in choices)
    try:
        query = parse_map_query(given, extent, most, storage_crs)
    except NothingThere:
        return respond(Answer(b"", MAP_FORMS[form], status=204, private=private))
    shown = in_box(here, choices, box84_of(query), named=named)
    headers = _headers(query, shown, private)
    if form == "html":
        return _page(here, given, query, shown, headers)
    layers = layers_of(here, shown, query, named=named)
    body = _body(here, layers, query, background, form, named=named)
    return respond(Answer(body, MAP_FORMS[form], headers=headers, private=private, compressible=False))


def _form(given: dict[str, str]) -> str:
    """The format to answer in. Raises NotAcceptable, InvalidParameter."""
    wanted = given.get("f")
    if wanted == "":
        raise InvalidParameter("f is empty; leave it out, or name a format", "f", "", ", ".join(MAP_FORMS))
    wanted = None if wanted is None else _FORM_NAMES.get(wanted, wanted)
    return choose_format(wanted, request.headers.get("Accept", ""), tuple(MAP_FORMS))


def _style_background(here: RequestContext, choices: Sequence[MapChoice]) -> str | None:
    """The ground that the style of the lowest collection asks for."""
    from server.registry.style_choice import resolve_style

    choice = choices[0]
    directory = here.services.settings.styles_directory
    style = resolve_style(here.catalogue, choice.collection, choice.style, directory).style
    return style.background


def _headers(query: MapQuery, shown: Sequence[MapChoice], private: bool) -> list[Header]:
    headers = [
        ("Content-Crs", f"<{query.crs_uri}>"),
        ("Content-Bbox", ",".join(f"{number:.12g}" for number in query.answer_bbox)),
    ]
    time = content_datetime(shown, query.interval)
    if time is not None:
        headers.append(("Content-Datetime", time))
    if not private:
        headers.append(("Cache-Control", "no-cache"))
    return headers


def _body(
    here: RequestContext,
    layers: Sequence[MapLayer],
    query: MapQuery,
    background: Background,
    form: str,
    *,
    named: bool,
) -> bytes:
    """The picture. Raises Overloaded where too many costly ones are drawn, or it takes too long."""
    from tiles.maps import encode_image

    costly = query.width * query.height * max(len(layers), 1) > _LARGE_MAP
    costly = costly or any(layer.slow for layer in layers)
    left_out = None if named or len(layers) == 1 else log_left_out
    with here.services.heavy.taken() if costly else contextlib.nullcontext():
        pixels = draw_map(layers, query, background, left_out=left_out)
        return geotiff(pixels, query) if form == "gtiff" else encode_image(pixels, MAP_FORMS[form])


def _page(
    here: RequestContext,
    given: dict[str, str],
    query: MapQuery,
    shown: Sequence[MapChoice],
    headers: list[Header],
) -> Response:
    """The map on a page, with what it shows (OGC 20-058, 22.8)."""
    asked = {name: value for name, value in given.items() if name not in ("f", "lang")}
    asked |= {"width": str(query.width), "height": str(query.height)}
    if "scale-denominator" in asked:
        # Size and box say it all; together with the scale they would contradict each other.
        asked = {name: value for name, value in asked.items() if name not in _PLACES}
        asked |= {"bbox": ",".join(map(repr, query.answer_bbox)), "bbox-crs": query.crs_uri}
        if query.interval is not None:
            asked["datetime"] = "/".join(end or ".." for end in query.interval)
    addresses = {
        form: f"{request.path}?{urlencode(asked | {'f': form})}" for form in MAP_FORMS if form != "html"
    }
    page = here.services.pages.map(
        here.page_request(),
        [choice.collection for choice in shown],
        here.tenant,
        addresses=addresses,
        width=query.width,
        height=query.height,
        facts={
            "crs": query.crs_uri,
            "bbox": ", ".join(f"{number:.9g}" for number in query.answer_bbox),
            "scale": f"1 : {query.scale_denominator:,.0f}",
            "datetime": dict(headers).get("Content-Datetime"),
        },
    )
    answer = html_answer(page)
    answer.headers.extend(header for header in headers if header[0] != "Cache-Control")
    return respond(answer)


_PLACES = ("scale-denominator", "center", "center-crs", "subset", "subset-crs")
