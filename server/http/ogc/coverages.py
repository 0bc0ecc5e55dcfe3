"""Coverages (OGC API - Coverages, 19-087): the values of a raster, or a part of them, and tiles of them."""

from __future__ import annotations

from flask import Blueprint, Response

from providers.coverages.answers import CoverageAnswer, answer_request
from providers.coverages.errors import OutsideCoverage
from providers.coverages.request import KNOWN, CoverageRequest, parse_coverage_request
from providers.coverages.tiles import select_tile
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.errors import InvalidParameter, NotFound, register_status
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.coverage_documents import coverage_tileset, coverage_tilesets, tileset_ids
from server.http.ogc.files import send_file
from server.http.ogc.made_files import made_answer
from server.http.ogc.rasters import raster_source
from server.http.parameters import only
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind
from tiles.grids import TileId

_FORMS = ("gtiff", "covjson", "netcdf", "png")
_TILE_FORMS = ("gtiff", "netcdf", "covjson")
_TILE_PARAMETERS = ("properties", "datetime", "subset")

register_status(OutsideCoverage, 404)


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>/coverage"
    tile = "<tms>/<tile_matrix>/<tile_row>/<tile_column>"
    blueprint.add_url_rule(base, view_func=coverage)
    blueprint.add_url_rule(f"{base}/tiles", view_func=tilesets, endpoint="coverage_tilesets")
    blueprint.add_url_rule(f"{base}/tiles/<tms>", view_func=tileset, endpoint="coverage_tileset")
    blueprint.add_url_rule(f"{base}/tiles/{tile}", view_func=coverage_tile)


def _asked(here: RequestContext, *allowed: str) -> CoverageRequest:
    """The request of the query string; `f` and `lang` are no part of it. Raises InvalidParameter."""
    only([pair for pair in here.parameters if pair[0] != "subset"], ("f", "lang", *allowed))
    pairs = [(name, value) for name, value in here.parameters if name not in ("f", "lang")]
    return parse_coverage_request(pairs)


def coverage(public_id: str) -> Response:
    """The coverage, or the part and resolution asked for."""
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.COVERAGE)
    form = here.format(*_FORMS)
    request = _asked(here, *KNOWN)
    file = collection.path_of(RepresentationKind.COVERAGE).resolve()
    if form == "gtiff" and request.is_whole and file.suffix == ".tif":
        # The whole of it is the stored file, of whatever size, which can also be read by ranges.
        return send_file(here, collection, decision, file, media_type=MEDIA_TYPES["gtiff"])
    made = answer_request(raster_source(collection, decision), request, form)
    return _respond(here, collection, decision, made)


def _respond(
    here: RequestContext, collection: Collection, decision: Decision, made: CoverageAnswer
) -> Response:
    change = made.source.change()
    etag = state_etag(
        collection, str(change), decision, here.environ["PATH_INFO"], str(sorted(here.parameters)), made.form
    )
    ending = {"gtiff": "tif", "netcdf": "nc", "covjson": "covjson", "png": "png"}[made.form]
    headers = [
        *made.headers.items(),
        ("Content-Disposition", f'inline; filename="{collection.id}.{ending}"'),
    ]
    return made_answer(
        here,
        made.write,
        made.media_type,
        etag=etag,
        headers=headers,
        private=decision.key != "public",
        heavy=made.heavy,
        compressible=made.form == "covjson",
    )


def tilesets(public_id: str) -> Response:
    """The tilesets of a coverage (requirement class coverage-tiles)."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, RepresentationKind.COVERAGE)
    document = coverage_tilesets(collection, here.url_of(public_id), here.language)
    return _document(here, collection, decision, document)


def tileset(public_id: str, tms: str) -> Response:
    """One tileset of a coverage."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, RepresentationKind.COVERAGE)
    if tms not in tileset_ids(collection):
        known = ", ".join(tileset_ids(collection))
        raise NotFound(f"there are no coverage tiles in {tms[:80]!r}; tile matrix sets: {known}")
    document = coverage_tileset(collection, here.url_of(public_id), tms, here.language)
    return _document(here, collection, decision, document)


def _document(
    here: RequestContext, collection: Collection, decision: Decision, document: dict[str, object]
) -> Response:
    if here.format("json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="tiles"
        )
        return respond(html_answer(page))
    etag = state_etag(collection, 0, decision, here.environ["PATH_INFO"], here.root, here.language)
    return respond(json_answer(document, etag=etag, private=decision.key != "public"))


def coverage_tile(public_id: str, tms: str, tile_matrix: str, tile_row: str, tile_column: str) -> Response:
    """The cells of one tile, as GeoTIFF by default."""
    here = context()
    collection, decision = here.having(public_id, RepresentationKind.COVERAGE)
    form = here.format(*_TILE_FORMS)
    request = _asked(here, *_TILE_PARAMETERS)
    if request.subset:
        raise InvalidParameter(
            "subset of a tile names time only: its place is the tile's",
            "subset",
            ",".join(request.subset),
            'time("2024-05-01T00:00:00Z")',
        )
    tile = TileId(
        _whole("tileMatrix", tile_matrix), _whole("tileCol", tile_column), _whole("tileRow", tile_row)
    )
    source = raster_source(collection, decision)
    made = CoverageAnswer(source, select_tile(source, tms, tile, request), form)
    return _respond(here, collection, decision, made)


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise NotFound(f"{name} {text[:40]!r} is not a whole number")
    return int(text)
