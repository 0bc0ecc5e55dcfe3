"""WMS, WMTS and TMS: MapProxy behind the same rights as everything else."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request

from server.http.answer import CORS_HEADERS
from server.http.context import context


def register(app: Flask, prefix: str, name: str) -> None:
    """Add `{prefix}/maps/...`."""
    rule = f"{prefix}/maps/<any(service, wmts, tms):protocol>"
    app.add_url_rule(rule, f"{name}_maps", maps, defaults={"path": ""}, methods=["GET", "POST"])
    app.add_url_rule(f"{rule}/<path:path>", f"{name}_maps_below", maps, methods=["GET", "POST"])


def maps(protocol: str, path: str) -> Response:
    """Hand the request to the MapProxy application of its view."""
    here = context()
    application = here.services.maps.service(here.scope, here.catalogue, here.origin, here.who)
    mount = f"{here.scope.prefix}/maps"
    environ = dict(request.environ)
    environ["SCRIPT_NAME"] = mount
    environ["PATH_INFO"] = f"/{protocol}/{path}" if path else f"/{protocol}"
    environ["chengtu.catalogue"] = here.catalogue
    environ["chengtu.scope"] = here.scope
    environ["chengtu.principal"] = here.who
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started[:] = [status, headers]

    body = b"".join(application(environ, start_response))
    response = Response(body, status=started[0])
    response.headers.clear()
    for name, value in started[1]:
        if name.lower() not in ("access-control-allow-origin", "content-length"):
            response.headers.add(name, value)
    response.headers["Content-Length"] = str(len(body))
    for name, value in CORS_HEADERS:
        response.headers.add(name, value)
    return response
