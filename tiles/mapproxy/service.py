"""WMS, WMTS and TMS of a list of layers as one WSGI application: MapProxy, behind our own checks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from mapproxy.config.configuration.base import ConfigurationError
from mapproxy.config.configuration.proxy import ProxyConfiguration
from mapproxy.wsgiapp import MapProxyApp

from tiles.errors import MapError, MapServiceError
from tiles.mapproxy.arrangement import ALLOWED_KEY, arrange
from tiles.mapproxy.configuration import mapproxy_configuration, offered_crs
from tiles.mapproxy.exceptions import MapRequestRefused, Protocol, render_exception
from tiles.mapproxy.feature_info import FeatureInfo, answer_feature_info
from tiles.mapproxy.layer import MapLayer, ServiceMetadata, check_layers
from tiles.mapproxy.requests import RequestChecker, check_host, parse_parameters, protocol_of
from tiles.mapproxy.source_plugin import offered

type Environ = dict[str, Any]
type StartResponse = Callable[..., Any]

type Authorize = Callable[[Environ, Sequence[str]], Collection[str]]
"""Asked once a request with the names of all layers; answers those that this request may see."""

_FORWARDED = ("HTTP_X_SCRIPT_NAME", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO")
_PERMISSIONS = {"map": True, "tile": True, "featureinfo": True, "legendgraphic": True}


def build_map_service(
    layers: Sequence[MapLayer],
    cache_dir: Path,
    metadata: ServiceMetadata,
    authorize: Authorize | None = None,
) -> MapService:
    """The WSGI application of these layers, to be mounted anywhere (its paths are /service, /wmts, /tms, /tiles).

    Tiles are kept below `cache_dir`, which is the only place that is written. Without `authorize` everything is shown.
    Costs about 1 ms a layer, and no file is opened. Raises MapServiceError.
    """
    check_layers(layers)
    if not layers:
        raise MapServiceError("a map service needs at least one layer")
    # Keys are unlike in every build, so that two builds at one time cannot take each other's sources.
    prefix = secrets.token_hex(8)
    described = {f"{prefix}_{number}": _escaped(layer) for number, layer in enumerate(layers)}
    try:
        with offered(described):
            configuration = ProxyConfiguration(
                mapproxy_configuration(described, cache_dir.resolve(), _escaped_metadata(metadata)),
                conf_base_dir=str(cache_dir),
            )
            services = configuration.configured_services()
    except ConfigurationError as error:
        raise MapServiceError(f"MapProxy does not take the layers: {error}") from error
    application = MapProxyApp(services, configuration.base_config)
    arrange(application, described.values())
    by_name = {layer.name: layer for layer in layers}
    return MapService(application, RequestChecker(by_name, offered_crs(layers)), by_name, authorize)


class MapService:
    """The application. Refuses what is malformed or not allowed before MapProxy is asked; safe in threads."""

    def __init__(
        self,
        application: MapProxyApp,
        checker: RequestChecker,
        layers: Mapping[str, MapLayer],
        authorize: Authorize | None,
    ) -> None:
        self._application = application
        self._checker = checker
        self._layers = layers
        self._authorize = authorize

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        path = "/" + environ.get("PATH_INFO", "").lstrip("/")
        query = environ.get("QUERY_STRING", "")
        protocol = Protocol.WMS_130
        try:
            if environ.get("REQUEST_METHOD", "GET") not in ("GET", "HEAD"):
                raise MapRequestRefused(
                    "map services answer GET and HEAD only", "OperationNotSupported", status=405
                )
            protocol = protocol_of(path, {})
            protocol = protocol_of(path, parse_parameters(query))
            check_host(environ.get("HTTP_HOST") or environ.get("SERVER_NAME", ""))
            allowed = self._allowed(environ)
            checked = self._checker.check(path, query, allowed)
            if checked.feature_info is not None:
                return self._feature_info(checked.feature_info, environ, start_response)
        except MapRequestRefused as error:
            return _refuse(protocol, error, start_response)
        inner = {key: value for key, value in environ.items() if key not in _FORWARDED}
        inner["PATH_INFO"], inner["QUERY_STRING"] = checked.path, checked.query
        inner["mapproxy.authorize"] = _permission(allowed)
        inner[ALLOWED_KEY] = allowed
        # Images are small; MapProxy alone would leave the tile's file to the garbage collector to close.
        inner["wsgi.file_wrapper"] = _read_and_close
        return self._answer(inner, protocol, start_response)

    def _allowed(self, environ: Environ) -> frozenset[str]:
        names = tuple(self._layers)
        return frozenset(names if self._authorize is None else self._authorize(environ, names)) & frozenset(
            names
        )

    def _feature_info(
        self, asked: FeatureInfo, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """The features under a pixel. Raises MapRequestRefused where the data cannot be read."""
        try:
            media_type, document = answer_feature_info(asked, self._layers, environ)
        except MapError as error:
            raise MapRequestRefused(str(error), "NoApplicableCode", "", 500) from error
        start_response("200 OK", [("Content-Type", media_type), ("Content-Length", str(len(document)))])
        return [document]

    def _answer(self, environ: Environ, protocol: Protocol, start_response: StartResponse) -> Iterable[bytes]:
        """MapProxy's answer, with its caching headers left to the server and its bare failures put into words."""
        begun: list[Any] = []

        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            begun[:] = [status, headers, exc_info]

        body: Iterable[bytes] = self._application(environ, begin)
        status, headers, exc_info = begun
        kept = [(name, value) for name, value in headers if name.lower() != "cache-control"]
        if int(status.split(" ", 1)[0]) >= 500 and not _is_xml(kept):
            # MapProxy has logged the cause with its traceback.
            _close(body)
            error = MapRequestRefused(
                "the map could not be drawn; the server's log says why", "NoApplicableCode", "", 500
            )
            return _refuse(protocol, error, start_response)
        start_response(status, kept, exc_info)
        return body


def _read_and_close(file: IO[bytes], _block_size: int = 0) -> list[bytes]:
    """The whole of a file as a WSGI body."""
    with closing(file):
        return [file.read()]


def _permission(allowed: frozenset[str]) -> Callable[..., dict[str, Any]]:
    """MapProxy's authorize callback for the layers that were allowed at the door."""

    def authorize(_service: str, _layers: Sequence[str] = (), **_details: Any) -> dict[str, Any]:
        return {"authorized": "partial", "layers": dict.fromkeys(allowed, _PERMISSIONS)}

    return authorize


def _escaped(layer: MapLayer) -> MapLayer:
    """The layer with its texts ready for XML: MapProxy's templates write them as they are."""
    return replace(
        layer,
        title=escape(layer.title),
        abstract=escape(layer.abstract),
        attribution=escape(layer.attribution),
        attribution_url=escape(layer.attribution_url),
        keywords=tuple(map(escape, layer.keywords)),
    )


def _escaped_metadata(metadata: ServiceMetadata) -> ServiceMetadata:
    return ServiceMetadata(
        title=escape(metadata.title),
        abstract=escape(metadata.abstract),
        keywords=tuple(map(escape, metadata.keywords)),
        url=escape(metadata.url),
        organisation=escape(metadata.organisation),
        contact_name=escape(metadata.contact_name),
        email=escape(metadata.email),
        fees=escape(metadata.fees),
        access_constraints=escape(metadata.access_constraints),
    )


def _refuse(protocol: Protocol, error: MapRequestRefused, start_response: StartResponse) -> Iterable[bytes]:
    media_type, document = render_exception(protocol, error)
    status = HTTPStatus(error.status)
    headers = [
        ("Content-Type", media_type),
        ("Content-Length", str(len(document))),
        ("Cache-Control", "no-store"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    start_response(f"{status.value} {status.phrase}", headers)
    return [document]


def _is_xml(headers: list[tuple[str, str]]) -> bool:
    return any(name.lower() == "content-type" and "xml" in value for name, value in headers)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
