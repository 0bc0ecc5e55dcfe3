"""The application factory: hot lane, then Flask with pages and OGC APIs, MapProxy beside it."""

from __future__ import annotations

import contextlib
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from pointclouds import errors as point_errors
from providers import errors as provider_errors
from providers.features.cql2 import parse_filter
from providers.features.parser import QueryLimits
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.search_places import configure_search_places
from providers.features.sources import configure_sources
from providers.outgoing import configure_bulkheads
from providers.points.opening import limit_point_rasters
from server import errors as server_errors
from server.errors import RegistryUnavailable
from server.http import errors, fonts, health, portal, sprites
from server.http.answer import PREFLIGHT_HEADERS, Answer, Header
from server.http.context import context, html_answer, make_context, respond
from server.http.files import FileSender
from server.http.hot_lane import HotLane, WsgiApplication
from server.http.logs import configure_logging
from server.http.map_routes import register as register_maps
from server.http.map_sources import HiddenStyle
from server.http.maps import MapServices
from server.http.negotiation import accepted_names
from server.http.ogc import blueprint_of
from server.http.ogc.features import SELF_DESCRIBED
from server.http.ogc.processes import use_pdal
from server.http.ogc.pygeoapi_adapter import PygeoapiAdapter, PygeoapiError, resolve_plugins
from server.http.places import Places
from server.http.request_body import BodyReader
from server.http.services import Services
from server.http.tile_keeper import start_tile_keeper
from server.http.tile_maker import open_tile_maker
from server.http.wfs.routes import register as register_wfs
from server.pages import Pages, PageSettings
from server.registry.reader import open_catalogue_reader
from server.settings import Settings
from server.settings.sources import source_settings_of
from tiles import errors as tile_errors
from tiles.grids_own import load_tile_matrix_sets

for _error, _status in (
    (provider_errors.InvalidParameter, 400),
    (provider_errors.UnsupportedQuery, 400),
    (provider_errors.UnknownReferenceSystem, 400),
    (provider_errors.AnswerTooLarge, 400),
    (provider_errors.ItemNotFound, 404),
    (provider_errors.InvalidFeature, 422),
    (provider_errors.ItemExists, 409),
    (provider_errors.VersionConflict, 412),
    (provider_errors.ReadOnlySource, 405),
    (provider_errors.EditError, 400),
    (provider_errors.SourceUnavailable, 503),
    (provider_errors.StoreMissing, 503),
    (provider_errors.ProviderError, 500),
    (tile_errors.UnknownTileMatrixSet, 404),
    (tile_errors.TileOutOfRange, 404),
    (tile_errors.MapSizeError, 400),
    (tile_errors.MapAreaError, 400),
    (tile_errors.UnsupportedCrs, 400),
    (tile_errors.UnsupportedImageFormat, 400),
    (HiddenStyle, 404),
    (tile_errors.StyleError, 503),  # one collection cannot be drawn; the others go on
    (tile_errors.MapSourceError, 503),
    (tile_errors.UnknownInstant, 404),
    (tile_errors.RasterError, 503),
    (tile_errors.RenderingBusy, 503),
    (tile_errors.TileCacheError, 503),
    (tile_errors.ArchiveError, 503),
    (tile_errors.SceneError, 503),  # one tileset cannot be read or made; the others go on
    (tile_errors.TilesError, 500),
    (point_errors.QueryError, 400),
    (point_errors.PointCloudError, 503),  # one point cloud cannot be read; the others go on
    (server_errors.IdentityError, 401),
    (server_errors.RegistryUnavailable, 503),
    (server_errors.ChengtuError, 500),
):
    errors.register_status(_error, _status)

_SEARCHES = 8
"""Long searches of a worker at one time: more would only take each other's core."""
_DOWNLOADS = 8
"""Downloads of a worker at one time: each holds a thread, and its share of a core, for as long as the client reads."""


def make_services(settings: Settings) -> Services:
    """The shared objects of a worker. Opens no file or database handle that must not cross a fork."""
    configure_sources(source_settings_of(settings))
    threads = settings.server.blocking_threads
    configure_bulkheads(per_host=max(1, min(8, threads // 2)), overall=max(1, threads * 3 // 4))
    configure_search_places(min(_SEARCHES, threads - 1) if threads > 1 else None)
    if settings.maps.tile_matrix_sets_directory is not None:
        load_tile_matrix_sets(settings.maps.tile_matrix_sets_directory)
    page_settings = PageSettings(
        vendor_dir=settings.vendor_directory,
        titles={"en": settings.pages.title_en, "zh": settings.pages.title_zh},
    )
    limits = settings.limits
    reader = open_catalogue_reader(settings)
    return Services(
        settings=settings,
        catalogue=reader,
        pages=Pages(page_settings),
        files=FileSender(downloads=min(_DOWNLOADS, max(1, threads // 2))),
        limits=QueryLimits(default=limits.items_default, maximum=limits.items_max),
        maps=MapServices(reader, settings.styles_directory),
        tiles=open_tile_maker(settings),
        bodies=BodyReader(limits.request_body_bytes),
        heavy=Places(min(settings.cache.renderings, max(1, threads // 2))),
    )


def create_flask(services: Services) -> Flask:
    """The full application, without the hot lane: what the hot lane answers, it answers alike."""
    app = Flask("server.http", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # no redirects: a path is what it is
    app.extensions["chengtu"] = services
    limits = services.limits
    app.extensions["chengtu-pygeoapi"] = PygeoapiAdapter(limits.default, limits.maximum)

    @app.url_value_preprocessor
    def find_scope(_: str | None, values: dict[str, Any] | None) -> None:
        tenant = values.pop("tenant", None) if values else None
        if not _is_preflight() and request.endpoint not in health.OPEN_ENDPOINTS:
            g.chengtu = make_context(tenant)

    @app.before_request
    def preflight() -> Response | None:
        if not _is_preflight():
            return None
        response = Response(status=204)
        response.headers.clear()
        for name, value in PREFLIGHT_HEADERS:
            response.headers.add(name, value)
        return response

    @app.after_request
    def keep_private(response: Response) -> Response:
        if "Authorization" in request.headers and "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response

    health.register(app, services)
    portal.register(app, services)
    fonts.register(app)
    sprites.register(app)
    for prefix, name in (("", "city"), ("/t/<tenant>", "tenant")):
        app.register_blueprint(blueprint_of(name), url_prefix=prefix)
        register_maps(app, prefix, name)
        register_wfs(app, prefix, name)
    app.register_error_handler(Exception, _render_error)
    return app


def _is_preflight() -> bool:
    """Whether a browser asks for CORS, or anyone for the methods of a resource that does not tell them itself."""
    if request.method != "OPTIONS":
        return False
    if "Access-Control-Request-Method" in request.headers or request.url_rule is None:
        return True
    return request.url_rule.endpoint.rpartition(".")[2] not in SELF_DESCRIBED


def _status_and_detail(error: Exception) -> tuple[int, str]:
    """Status and text of an error; 500 and nothing of its own for a defect, which is logged."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return error.code, f"{request.method} {request.path[:200]}: {error.description}"
    status = error.status if isinstance(error, PygeoapiError) else errors.status_of(error)
    if status is None or status == 500:
        health.log_defect(error)
        return 500, errors.DEFECT
    return status, str(error)


def _headers_of(error: Exception) -> list[Header]:
    """What a status demands beside its text (RFC 9110, 15.5.6 and 15.5.17)."""
    if isinstance(error, MethodNotAllowed):
        return [("Allow", ", ".join(sorted(error.valid_methods or ())))]
    if isinstance(error, errors.RangeNotSatisfiable):
        return [("Content-Range", f"bytes */{error.size}")]
    return errors.headers_of(error)


def _render_error(error: Exception) -> Response:
    status, detail = _status_and_detail(error)
    accept = accepted_names(request.headers.get("Accept", ""))
    wants_html = request.args.get("f") == "html" or (not request.args.get("f") and accept[:1] == ["html"])
    headers = _headers_of(error)
    if wants_html and status != 401:
        try:
            return respond(_error_page(status, detail, headers))
        except Exception as failure:  # noqa: BLE001 - the last line of defence: no error may hide behind another
            # Known ones: no page can be made for a Host that is none, or while the registry is away.
            if errors.status_of(failure) is None:
                health.log_defect(failure)
    return respond(errors.problem(status, detail, headers, errors.members_of(error, request.args)))


def _error_page(status: int, detail: str, headers: list[Header]) -> Answer:
    """The error as a page. Raises RequestError, ChengtuError where the request allows no page at all."""
    here = context() if "chengtu" in g else make_context(None)
    g.chengtu = here
    document = errors.problem_document(status, detail)
    page = html_answer(
        here.services.pages.error(here.page_request(), status, document, here.tenant), status=status
    )
    page.headers.extend(headers)
    return page


def create_app(settings: Settings, *, keep_tiles: bool = False) -> WsgiApplication:
    """The whole server for one worker; with `keep_tiles` a thread lets kept tiles follow the edits of other processes."""
    configure_logging(settings.server.log_level)
    resolve_plugins()
    services = make_services(settings)
    use_pdal(settings.points)
    limit_point_rasters(settings.home, settings.points.request_points)
    # The first filter of a worker would otherwise wait for the grammar: a third of a second.
    parse_filter("a = 1", "cql2-text", CollectionSchema((FieldDefinition("a", "integer"),)))
    # A new registry may still be in the making beside this worker, a remote one not up yet: /health/ready tells.
    with contextlib.suppress(RegistryUnavailable):
        services.catalogue.current()
    if keep_tiles:
        start_tile_keeper(services)
    return HotLane(services, create_flask(services))
