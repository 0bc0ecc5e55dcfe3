"""3D Tiles of a collection: tileset.json, subtrees, contents; whole, filtered, of an instant; explicit and of version 1.0.

Every file is asked for under the rights of the collection. `bbox`, `datetime`, `filter`, `q`, `asof` and names of properties mean
what they mean to items; tileset.json hands them on to the addresses of subtrees and contents.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import RequestContext, context, respond
from server.http.ogc.files import send_file
from server.http.point_tiles import PointTilesetParts
from server.http.point_tiles_request import PointTilesRequest, is_of_points
from server.http.three_d_bytes import VARY, media_type_of, send_packed
from server.http.three_d_parts import Part, TilesetParts, altered_addresses
from server.http.three_d_request import TilesetRequest
from server.http.tiles import cache_control
from server.registry.catalogue import RepresentationKind

_BASE = "/ogc/collections/<public_id>/3dtiles"
_DOCUMENT_VARY = "Accept, Accept-Encoding, Authorization"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_BASE, view_func=three_d_tileset)
    blueprint.add_url_rule(f"{_BASE}/<path:path>", "three_d", three_d)


def three_d_tileset(public_id: str) -> Response:
    """The tileset at the address that has no file name, so its contents lie below `3dtiles/`."""
    here = context()
    parts = _parts(here, public_id)
    part = parts.tileset()
    document = altered_addresses(part.document, lambda uri: f"3dtiles/{uri}")
    return _send(here, parts, part._replace(document=document, etag=f'{part.etag[:-1]}-bare"'))


def three_d(public_id: str, path: str) -> Response:
    """A file of the tileset."""
    here = context()
    parts = _parts(here, public_id)
    return _send(here, parts, parts.part(path))


def _parts(here: RequestContext, public_id: str) -> TilesetParts | PointTilesetParts:
    collection, decision = here.having(public_id, RepresentationKind.TILESET_3D)
    if is_of_points(collection):
        points = PointTilesRequest(collection, decision, tuple(here.parameters))
        return PointTilesetParts(here.services, points)
    return TilesetParts(here.services, TilesetRequest(collection, decision, tuple(here.parameters)))


def _send(here: RequestContext, parts: TilesetParts | PointTilesetParts, part: Part) -> Response:
    request = parts.request
    control = "no-cache" if request.private else cache_control(here.services.settings)
    media_type = media_type_of(part.name, here.environ.get("HTTP_ACCEPT", ""))
    if part.document is not None:
        body = orjson.dumps(part.document)
        answer = Answer(
            body,
            media_type,
            etag=part.etag,
            cache_control=control,
            vary=_DOCUMENT_VARY,
            private=request.private,
        )
        return respond(answer)
    if part.file is not None:
        is_document = part.name.endswith(".json")
        sent = send_file(
            here,
            request.collection,
            request.decision,
            part.file,
            etag=part.etag,
            cache_control=control,
            media_type=media_type if is_document else None,
        )
        if is_document:
            sent.headers["Vary"] = _DOCUMENT_VARY
        return sent
    started: list[Any] = []
    body = b"".join(
        send_packed(
            part.packed,
            here.environ,
            lambda status, headers: started.extend((status, headers)),
            etag=part.etag,
            media_type=media_type,
            private=request.private,
            cache_control=control,
            vary=_DOCUMENT_VARY if part.name.endswith(".json") else VARY,
        )
    )
    response = Response(body, status=started[0])
    response.headers.clear()
    for name, value in started[1]:
        response.headers.add(name, value)
    return response
