"""The hot lane: items, item and tiles answered in front of Flask.

It answers only what it understands completely: GET and HEAD on a few kinds of path, in the format the path is for; tiles that
are kept first of all (`hot_tiles`). All else, and every error that was cheap to find, falls through to the full application,
which asks the same parser, the same `decide` and the same provider. It exists because Flask costs 0.36 ms a request and
pygeoapi 0.6 ms and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from providers.errors import AnswerTooLarge, ProviderError, SourceUnavailable
from server.errors import ChengtuError
from server.http.answer import Answer, Environ, StartResponse, send
from server.http.ept_files import HotEpt
from server.http.errors import DEFECT, RequestError, headers_of, members_of, problem, status_of
from server.http.features import FeatureRequest, item_answer, items_answer
from server.http.health import log_defect
from server.http.hot_files import HotFiles
from server.http.hot_three_d import HotThreeD
from server.http.hot_tiles import HotTiles
from server.http.negotiation import wants_geojson
from server.http.parameters import query_parameters
from server.http.scope import CITY, Scope
from server.http.services import Services
from server.http.tile_folder import folder_answer
from server.http.tile_request import TileRequest
from server.http.tiles import vector_tile_answer
from server.identity.decision import ANONYMOUS
from server.registry.catalogue import RepresentationKind
from tiles.errors import MapSourceError, RasterError, RenderingBusy, TilesError

WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
_JSON_FORMATS = (None, "json", "geojson")
_COSTLY = (AnswerTooLarge, SourceUnavailable, MapSourceError, RasterError, RenderingBusy)
"""Found out at a cost: not to be found out again by the full application."""


class HotPath(NamedTuple):
    """A path the hot lane knows: the view, the collection's public id, and the parts after it."""

    scope: Scope
    public_id: str
    rest: list[str]


def match(path: str) -> HotPath | None:
    """The parts of `/ogc/collections/{id}/...` or `/t/{tenant}/ogc/collections/{id}/...`, None for any other path.

    `path` is PATH_INFO as PEP 3333 has it: UTF-8 bytes read as Latin-1.
    """
    if not path.isascii():
        try:
            path = path.encode("latin-1").decode()
        except UnicodeError:
            return None
    parts = path.split("/")
    if len(parts) > 4 and parts[1] == "ogc" and parts[2] == "collections":
        return HotPath(CITY, parts[3], parts[4:])
    if len(parts) > 6 and parts[1] == "t" and parts[3] == "ogc" and parts[4] == "collections":
        return HotPath(Scope(parts[2]), parts[5], parts[6:])
    return None


class HotLane:
    """A WSGI application in front of another one."""

    def __init__(self, services: Services, fallback: WsgiApplication) -> None:
        self._services = services
        self._fallback = fallback
        self._tiles = HotTiles(services)
        self._files = HotFiles(services)
        self._three_d = HotThreeD(services)
        self._ept = HotEpt(services)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or hand the untouched request on."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return self._fallback(environ, start_response)
        answer: Answer | None = None
        try:
            sent = self._three_d.answer(environ, start_response)
            if sent is None:
                sent = self._tiles.answer(environ, start_response)
            if sent is None:
                sent = self._files.answer(environ, start_response)
            if sent is None:
                sent = self._ept.answer(environ, start_response)
            if sent is not None:
                return sent
            path = match(environ["PATH_INFO"])
            if path is not None:
                answer = self._answer(path, environ)
            else:
                answer = folder_answer(self._services, environ)
        except _COSTLY as error:
            answer = problem(status_of(error) or 503, str(error), headers_of(error), members_of(error))
        except (RequestError, ProviderError, TilesError, ChengtuError):
            answer = None  # the full application renders errors
        except Exception as error:  # noqa: BLE001 - the last line of defence: granian answers a defect without a body
            log_defect(error)
            answer = problem(500, DEFECT)
        if answer is not None:
            return send(answer, environ, start_response)
        return self._fallback(environ, start_response)

    def _answer(self, path: HotPath, environ: Environ) -> Answer | None:
        scope, public_id, rest = path
        kind, length = rest[0], len(rest)
        if kind == "items" and length <= 2:
            kind_needed = RepresentationKind.FEATURES
        elif kind == "tiles" and length == 5:
            kind_needed = RepresentationKind.TILES
        else:
            return None
        parameters = query_parameters(environ)
        services = self._services
        who = services.principal(environ) if "HTTP_AUTHORIZATION" in environ else ANONYMOUS
        collection, decision = services.allowed(services.catalogue.current(), scope, public_id, who)
        if kind_needed not in collection.representations:
            return None
        if kind_needed is RepresentationKind.FEATURES:
            f = next((value for name, value in parameters if name == "f"), None)
            if f not in _JSON_FORMATS or (f is None and not wants_geojson(environ.get("HTTP_ACCEPT", ""))):
                return None
            url = f"{services.origin(environ)}{scope.prefix}/ogc/collections/{public_id}"
            request = FeatureRequest(collection, decision, url, parameters)
            if length == 1:
                return items_answer(request, services.limits, environ)
            return item_answer(request, rest[1]) if rest[1] else None
        tile = TileRequest.parse(collection, decision, rest[-4:], parameters)
        return vector_tile_answer(services, tile, environ)
