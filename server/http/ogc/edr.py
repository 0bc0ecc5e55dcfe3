"""Time series at locations: OGC API - EDR (19-086r6) through pygeoapi."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pygeoapi.api.environmental_data_retrieval as edr_api
from flask import Blueprint, Response

from providers.sensors.times import parse_span
from server.http.answer import Answer
from server.http.context import context, html_answer, respond
from server.http.errors import InvalidParameter
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.common import parse_bbox
from server.http.ogc.pygeoapi_adapter import PlainRequest
from server.registry.catalogue import RepresentationKind

_PARAMETERS = ("bbox", "coords", "crs", "datetime", "limit", "parameter-name", "within", "within-units", "z")


_ALL_LOCATIONS = "10000"
_NUMBER = r"[+-]?(?:[0-9]{1,20}\.?[0-9]{0,20}|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?"
_POINT = re.compile(rf"\s*POINT(?:\s*Z)?\s*\(\s*{_NUMBER}(?:\s+{_NUMBER}){{1,2}}\s*\)\s*", re.IGNORECASE)


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/locations", "edr_locations", query, defaults={"kind": "locations"})
    blueprint.add_url_rule(
        f"{base}/locations/<path:location>", "edr_location", query, defaults={"kind": "locations"}
    )
    for kind in ("position", "radius"):
        blueprint.add_url_rule(f"{base}/{kind}", f"edr_{kind}", query, defaults={"kind": kind})


def _check(asked: Mapping[str, str]) -> None:
    """Refuse what pygeoapi would let pass, or fail at (shapely knows no curves). Raises InvalidParameter."""
    if "bbox" in asked:
        parse_bbox(asked["bbox"])
    parse_span(asked.get("datetime"))
    coordinates = asked.get("coords")
    if coordinates is not None and _POINT.fullmatch(coordinates) is None:
        raise InvalidParameter(
            f"coords={coordinates[:80]!r}; allowed: a WKT point in CRS84, longitude first: POINT(24.94 60.17)"
        )


def query(public_id: str, kind: str, location: str | None = None) -> Response:
    """Locations as GeoJSON, or the series of one location, a position or a radius as CoverageJSON."""
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.SERIES)
    given = here.only(*_PARAMETERS)
    listing = kind == "locations" and location is None
    form = here.format("geojson", "html") if listing else here.format("covjson", "html")
    asked = {name: value for name, value in given.items() if name not in ("f", "lang")}
    _check(asked)
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
