"""The map services of a view as one WSGI application: our checks and documents in front, MapProxy for maps and tiles."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from html import escape
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from tiles.errors import (
    MapAreaError,
    MapSizeError,
    RenderingBusy,
    TilesError,
    UnknownInstant,
    UnsupportedCrs,
)
from tiles.grids import grid
from tiles.mapproxy.capabilities_wms import wms_capabilities
from tiles.mapproxy.capabilities_wmts import kml_root, tms_map, tms_root, tms_service, wmts_capabilities
from tiles.mapproxy.engine import Answer, Engine, Environ, Request
from tiles.mapproxy.exceptions import MapRequestRefused, Protocol, render_exception
from tiles.mapproxy.feature_info import write_feature_info
from tiles.mapproxy.layer import MAXIMUM_ZOOM, Drawn, InfoPlace, MapView
from tiles.mapproxy.tile_requests import (
    GetTile,
    GetTileInfo,
    KmlDocument,
    TmsDocument,
    WmtsCapabilities,
    read_kml,
    read_tms,
    read_wmts_path,
    read_wmts_query,
)
from tiles.mapproxy.wms_requests import (
    DescribeLayer,
    GetCapabilities,
    GetFeatureInfo,
    GetLegendGraphic,
    GetMap,
    StyledLayer,
    read_wms,
)

type StartResponse = Callable[..., Any]
type Headers = list[tuple[str, str]]

_MAXIMUM_FIELDS = 100
_KEPT_DOCUMENTS = 32 << 20
_MOST_WAITING = 8
"""Bytes of compressed documents that are kept."""
_PATHS = ("service", "ows", "wms")
_XML = "text/xml; charset=utf-8"
_GZIP = 16 + zlib.MAX_WBITS


class Reply(NamedTuple):
    """An answer, not sent yet. `body` is gzip where `gzipped` says so."""

    media_type: str
    body: bytes
    headers: Headers = []  # noqa: RUF012 (a tuple's default, never changed)
    gzipped: bool = False


class MapService:
    """WMS, WMTS, TMS and KML. One for a worker; the view a request is for comes with it. Safe in threads."""

    def __init__(self) -> None:
        self._engine = Engine()
        self._documents = _Documents()

    def __call__(self, environ: Environ, start_response: StartResponse, view: MapView) -> Iterable[bytes]:
        """Answer a request (PEP 3333, with the view of who asks)."""
        path = "/" + environ.get("PATH_INFO", "").lstrip("/")
        protocol = protocol_of(path, {})
        try:
            if environ.get("REQUEST_METHOD", "GET") not in ("GET", "HEAD"):
                raise MapRequestRefused(
                    "map services answer GET and HEAD; a request in the body of a POST is not read",
                    "OperationNotSupported",
                    status=405,
                )
            parameters = parse_parameters(environ.get("QUERY_STRING", ""))
            protocol = protocol_of(path, parameters)
            reply = self._reply(path, parameters, environ, view)
        except MapRequestRefused as error:
            return _refuse(protocol, error, environ, start_response)
        except TilesError as error:
            return _refuse(protocol, _refused(error), environ, start_response)
        return _send(reply, environ, start_response)

    def _reply(self, path: str, parameters: Mapping[str, str], environ: Environ, view: MapView) -> Reply:
        kind = path.strip("/").split("/", 1)[0]
        if kind in _PATHS and path.strip("/") == kind:
            service = (parameters.get("SERVICE", "") or "WMS").upper()
            if service == "WMTS":
                return self._wmts(read_wmts_query(parameters, view), environ, view)
            if service != "WMS":
                raise MapRequestRefused(
                    f"service {service[:40]!r} is not offered here; offered are WMS and WMTS", "", "service"
                )
            return self._wms(parameters, environ, view)
        if kind == "wmts":
            by_query = path.rstrip("/") == "/wmts"
            asked = read_wmts_query(parameters, view) if by_query else read_wmts_path(path, view)
            return self._wmts(asked, environ, view)
        if kind in ("tms", "tiles", "xyz"):
            return self._tms(read_tms(path, view), environ, view)
        if kind == "kml":
            return self._kml(path, environ, view)
        raise MapRequestRefused(
            f"there is nothing at {path[:100]!r}; there are /service, /wmts, /tms, /xyz and /kml", status=404
        )

    # --- WMS -------------------------------------------------------------------------------------------------------------

    def _wms(self, parameters: Mapping[str, str], environ: Environ, view: MapView) -> Reply:
        asked = read_wms(parameters, view)
        if isinstance(asked, GetMap):
            return self._map(asked, environ, view)
        if isinstance(asked, GetCapabilities):
            version = asked.version
            media_type = _XML if version == "1.3.0" else "application/vnd.ogc.wms_xml; charset=utf-8"
            return self._documents.get(
                ("wms", version, view.key), lambda: wms_capabilities(view, version), media_type
            )
        if isinstance(asked, GetFeatureInfo):
            where = asked.place
            place = InfoPlace(
                where.crs, where.box, where.width, where.height, asked.column, asked.row, asked.count
            )
            return _info(asked.layers, place, asked.media_type, view)
        if isinstance(asked, GetLegendGraphic):
            body = view.legend(asked.layer, asked.style, asked.language, asked.rule, asked.scale)
            return Reply("image/png", body)
        return Reply(_XML, _description(asked, view))

    def _map(self, asked: GetMap, environ: Environ, view: MapView) -> Reply:
        # A layer may come twice in two styles: within MapProxy each has a name of its own.
        drawn = {f"l{number}": _drawn(one, view) for number, one in enumerate(asked.layers)}
        names = {f"l{number}": one.layer.name for number, one in enumerate(asked.layers)}
        media_type = asked.media_type
        if media_type == "image/png" and all(one.palette for one in drawn.values()):
            media_type = "image/png; mode=8bit"
        place = asked.place
        known = {
            "SERVICE": "WMS",
            "VERSION": "1.1.1",  # whose boxes have easting first, whatever the CRS
            "REQUEST": "GetMap",
            "LAYERS": ",".join(drawn),
            "STYLES": "",
            "SRS": place.crs,
            "BBOX": ",".join(map(repr, place.box)),
            "WIDTH": str(place.width),
            "HEIGHT": str(place.height),
            "FORMAT": asked.media_type.split(";", 1)[0],
            "TRANSPARENT": "TRUE" if asked.transparent else "FALSE",
            "BGCOLOR": f"0x{asked.background}",
        }
        request = Request(drawn, names, media_type)
        # Putting layers together and writing the image cost as much as drawing: all of it is done in one place.
        slowest = next((one for one in drawn.values() if one.slow), next(iter(drawn.values())))
        with slowest.place():
            answer = self._engine.answer(
                "/service",
                urlencode(known),
                view.url,
                request,
                environ,
                view.allows,
            )
        _check(answer)
        notes = dict.fromkeys(one.time.note for one in asked.layers if one.time.note)
        warnings = [("Warning", f'99 - "{note}"') for note in notes]
        return Reply(answer.media_type.split(";", 1)[0], answer.body, warnings)

    # --- tiles -----------------------------------------------------------------------------------------------------------

    def _wmts(
        self, asked: GetTile | GetTileInfo | WmtsCapabilities, environ: Environ, view: MapView
    ) -> Reply:
        if isinstance(asked, WmtsCapabilities):
            return self._documents.get(
                ("wmts", view.key), lambda: wmts_capabilities(view), "application/xml; charset=utf-8"
            )
        if isinstance(asked, GetTileInfo):
            tile = asked.asked
            pyramid = grid(tile.grid_id)
            box, matrix = pyramid.bounds(tile.tile), pyramid.matrix(tile.tile.z)
            place = InfoPlace(
                pyramid.authority_code,
                (box.minx, box.miny, box.maxx, box.maxy),
                matrix.tile_width,
                matrix.tile_height,
                asked.column,
                asked.row,
                asked.count,
            )
            styled = StyledLayer(tile.layer, tile.style, tile.time)
            return _info((styled,), place, asked.media_type, view)
        return self._tile(asked, environ, view)

    def _tms(self, asked: GetTile | TmsDocument, environ: Environ, view: MapView) -> Reply:
        if isinstance(asked, GetTile):
            return self._tile(asked, environ, view)
        if not asked.version:
            return Reply(_XML, tms_root(view))
        if asked.layer is None:
            return self._documents.get(("tms", view.key), lambda: tms_service(view), _XML)
        return Reply(_XML, tms_map(view, asked.layer, asked.grid_id))

    def _kml(self, path: str, environ: Environ, view: MapView) -> Reply:
        asked = read_kml(path, view)
        if isinstance(asked, GetTile):
            return self._tile(asked, environ, view)
        media_type = "application/vnd.google-earth.kml+xml"
        if not path.endswith(".kml"):
            return Reply(media_type, kml_root(view, asked.layer, asked.grid_id))
        return Reply(media_type, self._kml_document(asked, environ, view))

    def _kml_document(self, asked: KmlDocument, environ: Environ, view: MapView) -> bytes:
        tile = asked.tile
        if tile.z >= min(grid(asked.grid_id).max_zoom, MAXIMUM_ZOOM):
            raise MapRequestRefused(f"level {tile.z} is the last one: nothing lies below it", status=404)
        name = asked.layer.name
        request = Request({name: view.drawn(asked.layer, None, None)}, {name: name}, grid_id=asked.grid_id)
        answer = self._engine.answer(
            f"/kml/{name}/{asked.grid_id}/{tile.z}/{tile.x}/{tile.y}.kml",
            "",
            view.url,
            request,
            environ,
            view.allows,
        )
        _check(answer)
        return answer.body

    def _tile(self, asked: GetTile, environ: Environ, view: MapView) -> Reply:
        name = asked.layer.name
        request = Request(
            {name: view.drawn(asked.layer, asked.style, asked.time.instant)},
            {name: name},
            grid_id=asked.grid_id,
            extension=asked.extension,
        )
        tile = asked.tile
        answer = self._engine.answer(
            f"/wmts/{name}/{asked.grid_id}/{tile.z}/{tile.x}/{tile.y}.{asked.extension}",
            "",
            view.url,
            request,
            environ,
            view.allows,
        )
        _check(answer)
        kept = request.tiles[0]
        headers = [("ETag", kept.etag)]
        if kept.stale:
            headers.append(("Warning", '110 - "Response is Stale"'))
        return Reply(f"image/{asked.extension}", answer.body, headers)


class _Documents:
    """Capabilities, gzip-compressed, by what they depend on: a few megabytes of them, the latest used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, bytes] = OrderedDict()
        self._size = 0
        self._being_made: dict[object, Future[bytes]] = {}
        self._waiting = 0
        self._lock = threading.Lock()

    def get(self, key: object, make: Callable[[], bytes], media_type: str) -> Reply:
        """The document. One who asks makes it, the others wait for that one; they get its error too.

        Raises RenderingBusy where so many wait that threads would be missing for maps.
        """
        with self._lock:
            packed = self._kept.get(key)
            if packed is not None:
                self._kept.move_to_end(key)
                return Reply(media_type, packed, gzipped=True)
            coming = self._being_made.get(key)
            mine: Future[bytes] | None = None
            if coming is None:
                mine = self._being_made[key] = Future()
            elif self._waiting >= _MOST_WAITING:
                raise RenderingBusy(
                    "the document is being made, and many wait for it; try again in a moment", 5
                )
            else:
                self._waiting += 1
        if coming is not None:
            try:
                return Reply(media_type, coming.result(), gzipped=True)
            finally:
                with self._lock:
                    self._waiting -= 1
        assert mine is not None  # nobody else makes it
        try:
            compressor = zlib.compressobj(level=1, wbits=_GZIP)
            packed = compressor.compress(make()) + compressor.flush()
            self._keep(key, packed)
            mine.set_result(packed)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._being_made[key]
        return Reply(media_type, packed, gzipped=True)

    def _keep(self, key: object, packed: bytes) -> None:
        with self._lock:
            if key in self._kept or len(packed) > _KEPT_DOCUMENTS // 2:
                return
            self._kept[key] = packed
            self._size += len(packed)
            while self._size > _KEPT_DOCUMENTS:
                self._size -= len(self._kept.popitem(last=False)[1])


def parse_parameters(query: str) -> Mapping[str, str]:
    """The query with upper-case names; of a name that comes twice, the first value. Raises MapRequestRefused."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAXIMUM_FIELDS, errors="strict")
    except ValueError as error:
        raise MapRequestRefused(
            f"the query cannot be read ({error}); at most {_MAXIMUM_FIELDS} parameters"
        ) from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if not value.isprintable():
            raise MapRequestRefused(f"parameter {name[:40]!r} holds control characters")
        parameters.setdefault(name.upper(), value)
    return parameters


def protocol_of(path: str, parameters: Mapping[str, str]) -> Protocol:
    """The family in which errors of a request are told; total, whatever the request says."""
    if path.startswith(("/tms", "/tiles", "/xyz")):
        return Protocol.TMS
    if path.startswith("/kml"):
        return Protocol.KML
    if path.startswith("/wmts") or parameters.get("SERVICE", "").upper() == "WMTS":
        return Protocol.WMTS
    old = parameters.get("VERSION", "1.3.0").startswith("1.1") or (
        "SRS" in parameters and "VERSION" not in parameters
    )
    return Protocol.WMS_111 if old else Protocol.WMS_130


def _drawn(one: StyledLayer, view: MapView) -> Drawn:
    return view.drawn(one.layer, one.style, one.time.instant)


def _info(layers: Sequence[StyledLayer], place: InfoPlace, media_type: str, view: MapView) -> Reply:
    found = [(one.layer, view.info(one.layer, one.style, one.time.instant, place)) for one in layers]
    return Reply(*write_feature_info(found, media_type))


def _description(asked: DescribeLayer, view: MapView) -> bytes:
    """05-078r4 Annex C, in the form of WMS 1.1.1 that clients know: which service gives the data behind a layer."""
    root = view.url.removesuffix("/maps")
    described = []
    for layer in asked.layers:
        name = escape(layer.name)
        if layer.features:
            address = escape(f"{root}/wfs?")
            described.append(
                f'<LayerDescription name="{name}" wfs="{address}" owsType="WFS" owsURL="{address}"><Query typeName="{name}"/>'
                "</LayerDescription>"
            )
        else:
            described.append(f'<LayerDescription name="{name}"/>')
    body = "\n".join(described)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<WMS_DescribeLayerResponse version="1.1.1">\n{body}\n'
        "</WMS_DescribeLayerResponse>\n"
    ).encode("utf-8", "replace")


def _check(answer: Answer) -> None:
    """Raise MapRequestRefused where MapProxy gave no image or document; it has logged the cause."""
    if answer.status >= 400 or "exception" in answer.media_type or "se_xml" in answer.media_type:
        raise MapRequestRefused(
            "the map could not be drawn; the server's log says why", "NoApplicableCode", "", 500
        )


def _refused(error: TilesError) -> MapRequestRefused:
    """An error of drawing as a refusal: what the client asked wrongly is its fault, the rest may pass."""
    if isinstance(error, RenderingBusy):
        return MapRequestRefused(str(error), "NoApplicableCode", "", 503, error.retry_after)
    if isinstance(error, UnknownInstant):
        return MapRequestRefused(str(error), "InvalidDimensionValue", "time")
    if isinstance(error, MapSizeError | MapAreaError | UnsupportedCrs):
        return MapRequestRefused(str(error))
    return MapRequestRefused(str(error), "NoApplicableCode", "", 503, 10)


def _refuse(
    protocol: Protocol, error: MapRequestRefused, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    media_type, document = render_exception(protocol, error)
    status = HTTPStatus(error.status)
    headers = [
        ("Content-Type", media_type),
        ("Content-Length", str(len(document))),
        ("Cache-Control", "no-store"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    if error.retry_after is not None:
        headers.append(("Retry-After", str(error.retry_after)))
    start_response(f"{status.value} {status.phrase}", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [document]


def _send(reply: Reply, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Content-Type", reply.media_type), *reply.headers]
    body = reply.body
    if reply.gzipped:
        headers.append(("Vary", "Accept-Encoding"))
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            headers.append(("Content-Encoding", "gzip"))
        else:
            body = zlib.decompress(body, wbits=_GZIP)
    etag = next((value for name, value in reply.headers if name == "ETag"), None)
    if etag is not None and _matches(environ.get("HTTP_IF_NONE_MATCH", ""), etag):
        start_response("304 Not Modified", [one for one in headers if one[0] != "Content-Type"])
        return []
    headers.append(("Content-Length", str(len(body))))
    start_response("200 OK", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in header.split(","))
