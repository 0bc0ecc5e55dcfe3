"""Data queries over rasters and time series: OGC API - EDR 1.1 (19-086r6)."""

from __future__ import annotations

import contextlib
from functools import partial

from flask import Blueprint, Response

from providers.edr.query import PARAMETERS, parse_query
from providers.features.query import BBox
from providers.sensors.answers import list_locations
from server.http.answer import Answer, Header
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.errors import NotFound
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.common import parse_bbox
from server.http.ogc.rasters import raster_source
from server.http.parameters import integer
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

_ALL_LOCATIONS = 10_000
_ALIASES = {
    "coveragejson": "covjson",
    "application/prs.coverage+json": "covjson",
    "application/vnd.cov+json": "covjson",
    "geojson": "geojson",
    "csv": "csv",
}
_KINDS = ("position", "radius", "area", "cube", "trajectory", "corridor")
Kind = RepresentationKind


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/locations", "edr_locations", locations)
    blueprint.add_url_rule(
        f"{base}/locations/<path:location>", "edr_location", query, defaults={"kind": "locations"}
    )
    for kind in _KINDS:
        blueprint.add_url_rule(f"{base}/{kind}", f"edr_{kind}", query, defaults={"kind": kind})


def _form(here: RequestContext, *offered: str) -> str:
    """The format; EDR's own names (CoverageJSON, GeoJSON, CSV) are understood too. Raises NotAcceptable."""
    asked = dict(here.parameters).get("f")
    named = _ALIASES.get(asked.lower()) if asked is not None else None
    return named if named in offered else here.format(*offered)


def _data(here: RequestContext, public_id: str, kind: str) -> tuple[Collection, Decision, bool]:
    """The collection, allowed, and whether it is queried as series. Raises NotFound where it has no data for such a query."""
    collection, decision = here.collection(public_id)
    if Kind.SERIES in collection.representations:
        return collection, decision, True
    if Kind.COVERAGE in collection.representations and kind != "locations":
        return collection, decision, False
    has = ", ".join(collection.representations)
    raise NotFound(f"collection {public_id!r} has no data for {kind} queries; it has: {has}")


def locations(public_id: str) -> Response:
    """The places that have series, as GeoJSON."""
    here = context()
    collection, decision, _ = _data(here, public_id, "locations")
    given = here.only(*PARAMETERS["locations"])
    form = _form(here, "geojson", "html")
    box = BBox(*parse_bbox(given["bbox"])) if "bbox" in given else None
    parse_query(
        "locations",
        {name: given[name] for name in ("crs", "datetime", "parameter-name", "z") if name in given},
    )
    limit = integer(given, "limit", _ALL_LOCATIONS, 1, 10**9 - 1)
    document = list_locations(collection.path_of(Kind.SERIES), box, min(limit, _ALL_LOCATIONS))
    if form == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="locations"
        )
        return respond(html_answer(page))
    etag = _etag(here, collection, decision, 0, form)
    return respond(json_answer(document, MEDIA_TYPES["geojson"], etag=etag, private=decision.key != "public"))


def _etag(
    here: RequestContext, collection: Collection, decision: Decision, change: int | str, form: str
) -> str:
    return state_etag(
        collection, change, decision, here.environ["PATH_INFO"], str(sorted(here.parameters)), form
    )


def query(public_id: str, kind: str, location: str | None = None) -> Response:
    """A data query, as CoverageJSON, GeoJSON or CSV."""
    here = context()
    collection, decision, is_series = _data(here, public_id, kind)
    given = here.only(*PARAMETERS[kind])
    form = _form(here, "covjson", "geojson", "csv", "html")
    asked = parse_query(
        kind, {name: value for name, value in given.items() if name not in ("f", "lang", "limit")}
    )
    # What encodes and reads brings libraries that other routes need not.
    from providers.edr.encoding import coverage_json, encode

    if is_series:
        from providers.edr.series_queries import answer_series

        change: int | str = 0
        # Many places are a hundred thousand rows, and megabytes to write.
        light = kind == "locations" or (kind == "position" and not asked.geometry_is_multiple)
        make = partial(answer_series, collection.path_of(Kind.SERIES), asked, location)
    else:
        from providers.edr.raster_queries import answer_raster

        source = raster_source(collection, decision)
        change = str(source.change())
        # One position is read as quickly as a tile; areas and lines keep others waiting.
        light = kind == "position" and not asked.geometry_is_multiple
        make = partial(answer_raster, source, asked)
    with contextlib.nullcontext() if light else here.services.heavy.taken():
        samples = make()
        if form == "html":
            document = coverage_json(samples)
        else:
            body = encode(samples, form, keep_crs=asked.given_crs)
    if form == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="locations"
        )
        return respond(html_answer(page))
    reference = samples.reference
    headers: list[Header] = [("Content-Crs", f"<{reference.uri}>")] if reference.uri else []
    etag = _etag(here, collection, decision, change, form)
    return respond(
        Answer(body, MEDIA_TYPES[form], etag=etag, headers=headers, private=decision.key != "public")
    )
