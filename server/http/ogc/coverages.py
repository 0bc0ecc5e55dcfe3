"""Coverages: a COG's values as GeoTIFF or CoverageJSON (OGC API - Coverages, draft 19-087)."""

from __future__ import annotations

from flask import Blueprint, Response

from providers.coverages.answers import answer_coverage
from server.http.answer import Answer
from server.http.context import context, respond
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.files import send_file
from server.registry.catalogue import RepresentationKind

_PARAMETERS = ("bbox", "bbox-crs", "subset", "subset-crs", "properties", "scale-size", "scale-factor")
_FORMS = {"gtiff": "GTiff", "covjson": "json", "json": "json"}


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule("/ogc/collections/<public_id>/coverage", view_func=coverage)


def coverage(public_id: str) -> Response:
    """The coverage, or the part and resolution asked for."""
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.COVERAGE)
    given = here.only(*_PARAMETERS)
    form = here.format("gtiff", "covjson")
    asked = {name: value for name, value in given.items() if name not in ("f", "lang")}
    if form == "gtiff" and not asked:
        # The whole of it is the stored file, of whatever size, which can also be read by ranges.
        file = collection.path_of(RepresentationKind.COVERAGE).resolve()
        return send_file(here, collection, decision, file, media_type=MEDIA_TYPES["gtiff"])
    made = answer_coverage(
        collection.path_of(RepresentationKind.COVERAGE), asked, "GTiff" if _FORMS[form] == "GTiff" else "json"
    )
    headers = list(made.headers.items())
    etag = state_etag(collection, 0, decision, str(sorted(given.items())), form)
    if form == "gtiff":
        headers.append(("Content-Disposition", f'inline; filename="{collection.id}.tif"'))
    return respond(
        Answer(
            made.body,
            made.media_type,
            etag=etag,
            headers=headers,
            private=decision.key != "public",
            compressible=form != "gtiff",
        )
    )
