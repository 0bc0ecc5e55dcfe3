"""WMS, WMTS, TMS and KML: MapProxy behind the same rights as everything else."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request

from server.http.answer import CORS_HEADERS
from server.http.context import context
from server.http.map_view import ServerMapView

_LANGUAGES = ("en", "zh")


def register(app: Flask, prefix: str, name: str) -> None:
    """Add `{prefix}/maps/...`."""
    rule = f"{prefix}/maps/<any(service, ows, wms, wmts, tms, tiles, xyz, kml):protocol>"
    app.add_url_rule(rule, f"{name}_maps", maps, defaults={"path": ""}, methods=["GET", "POST"])
    app.add_url_rule(f"{rule}/<path:path>", f"{name}_maps_below", maps, methods=["GET", "POST"])


def maps(protocol: str, path: str) -> Response:
    """Hand the request to the map service of this worker, with the view of who asks."""
    here = context()
    language = (request.args.get("lang") or request.args.get("LANGUAGE") or "en").lower()[:2]
    view = ServerMapView(
        here.services,
        here.scope,
        here.catalogue,
        here.who,
        here.origin,
        language if language in _LANGUAGES else "en",
    )
    environ = dict(request.environ)
    # The path as it came: Flask has taken a slash at its end away.
    environ["PATH_INFO"] = f"/{protocol}/{path}" if path else f"/{protocol}"
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        started[:] = [status, headers]

    body = b"".join(here.services.maps.service(environ, start_response, view))
    response = Response(body, status=started[0])
    response.headers.clear()
    for name, value in (*started[1], *CORS_HEADERS):
        response.headers.add(name, value)
    if "ETag" in response.headers and "Cache-Control" not in response.headers:
        # Kept until it is asked whether it is still good: an edit voids a tile within a second.
        private = "private, " if "Authorization" in request.headers else ""
        response.headers["Cache-Control"] = f"{private}no-cache"
    return response
