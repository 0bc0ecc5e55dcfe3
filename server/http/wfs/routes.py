"""The routes of WFS: KVP by GET and in a form, XML by POST; every error as an ows:ExceptionReport.

What answers is loaded when the first client asks: GML and filters are a good part of a second that no other start needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, request

from server.http.context import RequestContext, context, respond
from server.http.errors import UnsupportedMediaType

if TYPE_CHECKING:
    from server.http.wfs.parameters import Parameters


def register(app: Flask, prefix: str, name: str) -> None:
    """Add `{prefix}/wfs`."""
    blueprint = Blueprint(f"{name}_wfs", __name__)
    # All methods, so that one that there is none for is told in the protocol's own way.
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    blueprint.add_url_rule("/wfs", view_func=wfs, endpoint="wfs", methods=methods)
    blueprint.register_error_handler(Exception, _render_error)
    app.register_blueprint(blueprint, url_prefix=prefix)


def wfs() -> Response:
    """Answer one request."""
    from server.http.wfs.feature_types import Service
    from server.http.wfs.operations import run

    here = context()
    return run(Service(here, _parameters(here)))


def _parameters(here: RequestContext) -> Parameters:
    """The parameters, from the query string or the body."""
    from server.http.wfs.errors import NOT_SUPPORTED, WfsError
    from server.http.wfs.parameters import read_form, read_parameters
    from server.http.wfs.xml_request import parse_document, read_request

    if request.method in ("GET", "HEAD"):
        return read_parameters(here.parameters)
    if request.method != "POST":
        raise WfsError(
            NOT_SUPPORTED, f"{request.method} is no method of WFS; allowed: GET, HEAD, POST", request.method
        )
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding is {coding[:100]!r}; allowed: identity")
    body = here.services.bodies.read(request.stream, request.content_length)
    if request.mimetype == "application/x-www-form-urlencoded":
        return read_form(body)
    return read_request(parse_document(body))


def _render_error(error: Exception) -> Response:
    from server.http.wfs.errors import exception_answer

    return respond(exception_answer(error))
