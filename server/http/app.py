"""The application factory: hot lane, then Flask with pages and OGC APIs, MapProxy beside it."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from providers import errors as provider_errors
from providers.features.parser import QueryLimits
from server import errors as server_errors
from server.http import errors, health, portal
from server.http.answer import PREFLIGHT_HEADERS
from server.http.context import context, html_answer, make_context, respond
from server.http.files import FileSender
from server.http.hot_lane import HotLane, WsgiApplication
from server.http.logs import configure_logging
from server.http.map_routes import register as register_maps
from server.http.maps import MapServices
from server.http.negotiation import accepted_names
from server.http.ogc import blueprint_of
from server.http.ogc.pygeoapi_adapter import PygeoapiAdapter, PygeoapiError, resolve_plugins
from server.http.services import Services
from server.http.tiles import TileMemory
from server.pages import Pages, PageSettings
from server.registry.reader import open_catalogue_reader
from server.settings import Settings
from tiles import errors as tile_errors

for _error, _status in (
    (provider_errors.InvalidParameter, 400),
    (provider_errors.UnsupportedQuery, 400),
    (provider_errors.UnknownReferenceSystem, 400),
    (provider_errors.AnswerTooLarge, 400),
    (provider_errors.ItemNotFound, 404),
    (provider_errors.StoreMissing, 503),
    (provider_errors.ProviderError, 500),
    (tile_errors.UnknownTileMatrixSet, 404),
    (tile_errors.TileOutOfRange, 404),
    (tile_errors.MapSizeError, 400),
    (tile_errors.MapAreaError, 400),
    (tile_errors.UnsupportedCrs, 400),
    (tile_errors.UnsupportedImageFormat, 400),
    (tile_errors.TilesError, 500),
    (server_errors.IdentityError, 401),
    (server_errors.RegistryUnavailable, 503),
    (server_errors.ChengtuError, 500),
):
    errors.register_status(_error, _status)


def make_services(settings: Settings) -> Services:
    """The shared objects of a worker. Opens no file or database handle that must not cross a fork."""
    page_settings = PageSettings(
        vendor_dir=settings.vendor_directory,
        titles={"en": settings.pages.title_en, "zh": settings.pages.title_zh},
    )
    limits = settings.limits
    return Services(
        settings=settings,
        catalogue=open_catalogue_reader(settings),
        pages=Pages(page_settings),
        files=FileSender(downloads=max(1, settings.server.blocking_threads // 2)),
        limits=QueryLimits(default=limits.items_default, maximum=limits.items_max),
        maps=MapServices(settings.maps_cache_directory, settings.styles_directory),
        tile_memory=TileMemory(settings.cache.memory_tiles),
    )


def create_flask(services: Services) -> Flask:
    """The full application, without the hot lane: what the hot lane answers, it answers alike."""
    app = Flask("server.http", static_folder=None)
    app.url_map.strict_slashes = False
    app.extensions["chengtu"] = services
    limits = services.limits
    app.extensions["chengtu-pygeoapi"] = PygeoapiAdapter(limits.default, limits.maximum)

    @app.url_value_preprocessor
    def find_scope(_: str | None, values: dict[str, Any] | None) -> None:
        tenant = values.pop("tenant", None) if values else None
        if request.method != "OPTIONS" and request.endpoint not in health.OPEN_ENDPOINTS:
            g.chengtu = make_context(tenant)

    @app.before_request
    def preflight() -> Response | None:
        if request.method != "OPTIONS":
            return None
        response = Response(status=204)
        response.headers.clear()
        for name, value in PREFLIGHT_HEADERS:
            response.headers.add(name, value)
        return response

    health.register(app, services)
    portal.register(app, services)
    for prefix, name in (("", "city"), ("/t/<tenant>", "tenant")):
        app.register_blueprint(blueprint_of(name), url_prefix=prefix)
        register_maps(app, prefix, name)
    app.register_error_handler(Exception, _render_error)
    return app


def _status_and_detail(error: Exception) -> tuple[int, str]:
    if isinstance(error, PygeoapiError):
        return error.status, str(error)
    if isinstance(error, HTTPException):
        return error.code or 500, f"{request.method} {request.path[:200]}: {error.description}"
    status = errors.status_of(error)
    if status is None or status == 500:
        raise error
    return status, str(error)


def _render_error(error: Exception) -> Response:
    try:
        status, detail = _status_and_detail(error)
    except Exception:  # noqa: BLE001 - the last line of defence: log it, tell the client nothing of it
        health.log_defect(error)
        status, detail = (
            500,
            "the server could not answer this request; its operators find the reason in the log",
        )
    accept = accepted_names(request.headers.get("Accept", ""))
    wants_html = request.args.get("f") == "html" or (not request.args.get("f") and accept[:1] == ["html"])
    if wants_html and status != 401:
        here = context() if "chengtu" in g else make_context(None)
        g.chengtu = here
        document = errors.problem_document(status, detail)
        page = here.services.pages.error(here.page_request(), status, document, here.tenant)
        return respond(html_answer(page, status=status))
    return respond(errors.problem(status, detail))


def create_app(settings: Settings) -> WsgiApplication:
    """The whole server for one worker."""
    configure_logging(settings.server.log_level)
    resolve_plugins()
    services = make_services(settings)
    services.catalogue.current()
    return HotLane(services, create_flask(services))
