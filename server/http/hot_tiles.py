"""Kept tiles answered in front of Flask, in a few tens of microseconds: OGC API, WMTS, TMS and XYZ addresses of one tile.

What an address stands for without its last three numbers (rights, generation, style, format, and the headers that follow from
them) is worked out once a catalogue, and remembered; what remains is to read three numbers and to look the tile up. A tile
that is not kept is not answered here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from server.errors import IdentityError
from server.http.answer import (
    COMMON_HEADERS,
    Environ,
    Header,
    StartResponse,
    accepts_gzip,
    gunzip_bytes,
    identity_etag,
    not_modified,
)
from server.http.errors import RequestError
from server.http.parameters import only
from server.http.scope import CITY, Scope
from server.http.tile_forms import vector_tileset
from server.http.tiles import (
    MAP_FORMATS,
    MAP_VARY,
    STALE_WARNING,
    VECTOR_VARY,
    cache_control,
    check_vector_format,
    map_extension,
)
from server.identity.decision import ANONYMOUS, Decision, Principal
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from tiles.cache import KeptTile, TileName, Tileset
from tiles.errors import TilesError
from tiles.grids import TileId, grid

if TYPE_CHECKING:
    from server.http.services import Services

_MOST_ADDRESSES = 8192
_GZIP = ("Content-Encoding", "gzip")
_KVP = (
    "SERVICE",
    "REQUEST",
    "VERSION",
    "LAYER",
    "STYLE",
    "FORMAT",
    "TILEMATRIXSET",
    "TILEMATRIX",
    "TILEROW",
    "TILECOL",
)
_EXTENSIONS = {media_type: extension for extension, media_type in MAP_FORMATS.items()}
_NANOSECONDS = 1_000_000_000


class Pyramid(NamedTuple):
    """The tiles behind addresses that differ only in zoom, row and column.

    `asked` is the view and the collection's public id in it, `decision` what was decided when this was worked out: it is asked
    anew for each tile, and an answer that is another one means other tiles. `headers` are those of a fresh tile, `stale_headers` of one that is being made anew. `max_age` is the age in seconds from
    which on a tile is too old, None where age does not matter. `from_below` says that rows count from the south (TMS).
    """

    tileset: Tileset
    asked: tuple[Scope, str]
    decision: Decision
    headers: tuple[Header, ...]
    stale_headers: tuple[Header, ...]
    max_age: int | None = None
    from_below: bool = False


_UNKNOWN = Pyramid(
    Tileset("unknown", "unknown", 0, "unknown", "unknown", "png"), (CITY, ""), Decision(False), (), ()
)


class MapAddress(NamedTuple):
    """An address of map tiles: the collection's public id in a view, the style (None: its own), the grid."""

    scope: Scope
    public_id: str
    style: str | None
    grid: str
    from_below: bool = False


class _Known:
    """What addresses stand for in one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.pyramids: dict[tuple[str, str, str, str], Pyramid | None] = {}


class HotTiles:
    """Answers kept tiles of one worker; safe in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._cache = services.tiles.cache
        self._known: _Known | None = None

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """The answer to a GET or HEAD, None where the address is none of a tile, or the tile is not kept.

        Raises RegistryUnavailable.
        """
        head, _, last = environ["PATH_INFO"].rpartition("/")
        number, _, extension = last.partition(".")
        query = environ["QUERY_STRING"]
        if number.isdigit():
            head, _, middle = head.rpartition("/")
            head, _, zoom = head.rpartition("/")
            if not (middle.isdigit() and zoom.isdigit()):
                return None
            address = (head, extension, query)
        elif extension == "" and last in ("wmts", "service") and head.endswith("/maps"):
            found = _kvp_address(head, query)
            if found is None:
                return None
            address, zoom, middle, number = found
        else:
            return None
        pyramid = self._pyramid(address, environ)
        if pyramid is None or len(zoom) > 9 or len(middle) > 9 or len(number) > 9:
            return None
        kept = self._look_up(pyramid, zoom, middle, number)
        return None if kept is None else _send(kept, pyramid, environ, start_response)

    def _look_up(self, pyramid: Pyramid, zoom: str, middle: str, last: str) -> KeptTile | None:
        try:
            z, first, second = int(zoom), int(middle), int(last)
        except ValueError:  # digits of other scripts
            return None
        if pyramid.from_below:
            rows = _rows(pyramid.tileset.grid, z)
            name = TileName(pyramid.tileset, z, first, rows - 1 - second)
            if name.y < 0:
                return None
        else:
            name = TileName(pyramid.tileset, z, second, first)
        kept = self._cache.get(name)
        if (
            kept is not None
            and pyramid.max_age is not None
            and kept.stamp < time.time_ns() - pyramid.max_age * _NANOSECONDS
        ):
            return None
        return kept

    def _pyramid(self, address: tuple[str, str, str], environ: Environ) -> Pyramid | None:
        services, known = self._services, self._known
        catalogue = services.catalogue.current()
        if known is None or known.catalogue is not catalogue:
            known = self._known = _Known(catalogue)
        if "HTTP_AUTHORIZATION" in environ:
            try:
                who = services.principal(environ)
            except IdentityError:
                return None  # the full application says so
        else:
            who = ANONYMOUS
        key = (*address, who.id)
        found = known.pyramids.get(key, _UNKNOWN)
        try:
            if found is None:
                return None
            if found is not _UNKNOWN:
                _, decision = services.allowed(catalogue, *found.asked, who)
                if decision == found.decision:
                    return found
            pyramid = resolve_pyramid(services, catalogue, address, who)
        except (RequestError, TilesError, KeyError):
            pyramid = None  # so says the full application, and why
        if len(known.pyramids) >= _MOST_ADDRESSES:
            known.pyramids.clear()
        known.pyramids[key] = pyramid
        return pyramid


def _send(
    kept: KeptTile, pyramid: Pyramid, environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    headers = list(pyramid.stale_headers if kept.stale else pyramid.headers)
    body, etag = kept.body, kept.etag
    if kept.gzipped:
        if accepts_gzip(environ):
            headers.append(_GZIP)
        else:
            body, etag = gunzip_bytes(body), identity_etag(etag)
    headers.append(("ETag", etag))
    if "HTTP_IF_NONE_MATCH" in environ and not_modified(environ, etag):
        start_response("304 Not Modified", [header for header in headers if header is not _GZIP])
        return []
    if kept.gzipped and kept.empty:
        start_response("204 No Content", [header for header in headers if header is not _GZIP])
        return []
    headers.append(("Content-Type", kept.media_type))
    headers.append(("Content-Length", str(len(body))))
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@lru_cache(maxsize=1024)
def _rows(grid_id: str, zoom: int) -> int:
    """Rows of a level, 0 where the grid has no such level."""
    try:
        grid(grid_id).check(TileId(zoom, 0, 0))
    except TilesError:
        return 0
    return grid(grid_id).matrix_size(zoom)[1]


# --- what addresses stand for ----------------------------------------------------------------------------------------------


def resolve_pyramid(
    services: Services, catalogue: Catalogue, address: tuple[str, str, str], who: Principal
) -> Pyramid | None:
    """The tiles of an address (path without its last three parts, extension, query) for `who`, None where it is none.

    Raises RequestError, TilesError and KeyError where the full application has to say what is wrong.
    """
    head, extension, query = address
    if not head.isascii():
        return None
    scope, parts = view_of(head.split("/"))
    if parts[:2] == ["ogc", "collections"] and not extension:
        return _ogc_pyramid(services, catalogue, scope, parts[2:], query, who)
    if parts[:1] == ["maps"] and extension in MAP_FORMATS and not query:
        asked = _map_service_address(scope, parts[1:])
        return None if asked is None else map_pyramid(services, catalogue, asked, extension, who)
    return None


def view_of(parts: list[str]) -> tuple[Scope, list[str]]:
    """The view of a path, and its parts after that: ["", "t", "demo", "ogc"] is tenant demo's, and ["ogc"]."""
    if len(parts) > 3 and parts[1] == "t":
        return Scope(parts[2]), parts[3:]
    return CITY, parts[1:]


def _ogc_pyramid(
    services: Services, catalogue: Catalogue, scope: Scope, parts: list[str], query: str, who: Principal
) -> Pyramid | None:
    given = only(parse_qsl(query, keep_blank_values=True), ("f", "lang")) if query else {}
    match parts:
        case [public_id, "tiles", grid_id]:
            check_vector_format(given.get("f"))
            collection, decision = services.allowed(catalogue, scope, public_id, who)
            if RepresentationKind.TILES not in collection.representations:
                return None
            grid(grid_id)
            tileset = vector_tileset(collection, decision, grid_id)
            return _with_headers(services, tileset, (scope, public_id), decision, VECTOR_VARY)
        case [public_id, "map", "tiles", grid_id]:
            asked = MapAddress(scope, public_id, None, grid_id)
        case [public_id, "styles", style, "map", "tiles", grid_id]:
            asked = MapAddress(scope, public_id, style, grid_id)
        case _:
            return None
    return map_pyramid(services, catalogue, asked, map_extension(given.get("f")), who)


def _map_service_address(scope: Scope, parts: list[str]) -> MapAddress | None:
    """Paths below /maps: WMTS by its REST template, TMS, and XYZ (rows from the north)."""
    match parts:
        case ["wmts", "1.0.0", layer, style, grid_id]:
            return MapAddress(scope, layer, None if style == "default" else style, grid_id)
        case ["tms", "1.0.0", layer, grid_id]:
            return MapAddress(scope, layer, None, grid_id, from_below=True)
        case _:
            return None


def map_pyramid(
    services: Services, catalogue: Catalogue, asked: MapAddress, extension: str, who: Principal
) -> Pyramid | None:
    """The map tiles of an address in one format, None where the collection has no map."""
    collection, decision = services.allowed(catalogue, asked.scope, asked.public_id, who)
    if RepresentationKind.MAP not in collection.representations:
        return None
    grid(asked.grid)
    tileset = services.maps.tileset(
        collection, decision, asked.style, asked.grid, extension, catalogue=catalogue
    )
    pyramid = _with_headers(services, tileset, asked[:2], decision, MAP_VARY)
    return pyramid._replace(max_age=map_max_age(collection), from_below=asked.from_below)


def map_max_age(collection: Collection) -> int | None:
    """The age in seconds from which on kept map tiles of a collection are too old; None where edits are told."""
    from providers.maps.changes import max_age_of

    return max_age_of(collection.representations[RepresentationKind.MAP].properties)


def _with_headers(
    services: Services, tileset: Tileset, asked: tuple[Scope, str], decision: Decision, vary: str
) -> Pyramid:
    private = decision.key != "public"
    scope = "private" if private else "public"
    fresh = "no-cache" if private else cache_control(services.settings)
    common = (*COMMON_HEADERS, ("Vary", vary))
    headers = (*common, ("Cache-Control", f"{scope}, {fresh}"))
    stale = (*common, ("Cache-Control", f"{scope}, no-cache"), STALE_WARNING)
    return Pyramid(tileset, asked, decision, headers, stale)


def _kvp_address(head: str, query: str) -> tuple[tuple[str, str, str], str, str, str] | None:
    """The REST address of a WMTS GetTile by key and value, and zoom, row, column; None where it is no such request."""
    if len(query) > 2048:
        return None
    given: dict[str, str] = {}
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=16):
            if given.setdefault(name.upper(), value) != value:
                return None
    except ValueError:
        return None
    if given.get("REQUEST") != "GetTile" or given.get("SERVICE", "WMTS") != "WMTS":
        return None
    extension = _EXTENSIONS.get(given.get("FORMAT", ""))
    if extension is None or len(given) != len(_KVP) or any(name not in given for name in _KVP):
        return None
    zoom, row, column = given["TILEMATRIX"], given["TILEROW"], given["TILECOL"]
    if given["VERSION"] != "1.0.0" or not (zoom.isdigit() and row.isdigit() and column.isdigit()):
        return None
    style = given["STYLE"] or "default"
    parts = (given["LAYER"], style, given["TILEMATRIXSET"])
    if any("/" in part for part in parts):
        return None
    return (f"{head}/wmts/1.0.0/{'/'.join(parts)}", extension, ""), zoom, row, column
