"""Time series at locations: OGC API - EDR (19-086r6) through pygeoapi."""

from __future__ import annotations

import pygeoapi.api.environmental_data_retrieval as edr_api
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import context, html_answer, respond
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.pygeoapi_adapter import PlainRequest
from server.registry.catalogue import RepresentationKind

_PARAMETERS = ("bbox", "coords", "crs", "datetime", "limit", "parameter-name", "within", "within-units", "z")


_ALL_LOCATIONS = "10000"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/locations", "edr_locations", query, defaults={"kind": "locations"})
    blueprint.add_url_rule(
        f"{base}/locations/<path:location>", "edr_location", query, defaults={"kind": "locations"}
    )
    for kind in ("position", "radius"):
        blueprint.add_url_rule(f"{base}/{kind}", f"edr_{kind}", query, defaults={"kind": kind})


def query(public_id: str, kind: str, location: str | None = None) -> Response:
    """Locations as GeoJSON, or the series of one location, a position or a radius as CoverageJSON."""
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.SERIES)
    given = here.only(*_PARAMETERS)
    listing = kind == "locations" and location is None
    form = here.format("geojson", "html") if listing else here.format("covjson", "html")
    asked = {name: value for name, value in given.items() if name not in ("f", "lang")}
    asked.setdefault(
        "limit", _ALL_LOCATIONS
    )  # EDR pages neither locations nor series; pygeoapi would give ten
    caller = here.adapter.for_collection(here.scope, collection, here.root, here.language)
    answer = caller.call(
        edr_api.get_collection_edr_query, PlainRequest(asked), public_id, None, kind, location
    )
    if form == "html":
        page = here.services.pages.document(
            here.page_request(), answer.json(), here.tenant, collection=collection, kind="locations"
        )
        return respond(html_answer(page))
    etag = state_etag(collection, 0, decision, here.environ["PATH_INFO"], str(sorted(given.items())))
    return respond(Answer(answer.content, MEDIA_TYPES[form], etag=etag, private=decision.key != "public"))
