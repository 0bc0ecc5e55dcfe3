"""Answers of vector and map tiles of one collection, for both lanes."""

from __future__ import annotations

from server.http.answer import Answer, Environ, not_modified
from server.http.errors import InvalidParameter
from server.http.features import feature_source, state_etag
from server.http.services import Services
from server.http.tile_maker import vector_layer
from server.http.tile_request import TileRequest
from server.identity.decision import Decision
from server.settings import Settings
from tiles.cache import KeptTile
from tiles.cache.tile import EXTENSIONS

MVT = EXTENSIONS["mvt"]
MAP_FORMATS = {name: EXTENSIONS[name] for name in ("png", "jpeg", "webp")}
VECTOR_VARY = "Accept-Encoding, Authorization"
MAP_VARY = "Authorization"
"""A map tile is the same for whatever a client accepts: its format is in its address."""
_VECTOR_FORMATS = ("mvt", "pbf")
STALE_WARNING = ("Warning", '110 - "Response is Stale"')
"""Goes with a tile that is being made anew, or whose source does not answer (RFC 7234, 5.5.1; clients still know it)."""


def cache_control(settings: Settings, *, stale: bool = False) -> str:
    """How long a tile may be used without asking again; `send` says whether by shared caches too."""
    seconds = settings.cache.public_seconds
    return f"max-age={seconds}" if seconds and not stale else "no-cache"


def kept_answer(services: Services, kept: KeptTile, decision: Decision, *, status: int = 200) -> Answer:
    """A kept tile as an answer."""
    private = decision.key != "public"
    return Answer(
        kept.body,
        kept.media_type,
        status=status,
        etag=kept.etag,
        headers=[STALE_WARNING] if kept.stale else [],
        cache_control="no-cache" if private else cache_control(services.settings, stale=kept.stale),
        vary=VECTOR_VARY if kept.gzipped else MAP_VARY,
        private=private,
        compressible=False,
        gzipped=kept.gzipped,
    )


def vector_tile_answer(services: Services, request: TileRequest, environ: Environ) -> Answer:
    """A Mapbox vector tile; 204 where nothing lies in it (OGC API - Tiles, 7.1.4).

    Raises InvalidParameter, and what `TileMaker.vector_tile` raises.
    """
    check_vector_format(request.format)
    if request.asof is not None:
        return _past_tile(request, environ)
    kept = services.tiles.vector_tile(request.collection, request.decision, request.grid, request.tile)
    return kept_answer(services, kept, request.decision, status=204 if kept.empty else 200)


def _past_tile(request: TileRequest, environ: Environ) -> Answer:
    """A tile of a past state: made for who asks, not kept."""
    source = feature_source(request.collection)
    decision, tile = request.decision, request.tile
    parts = (request.grid, *map(str, tile), request.asof or "")
    etag = state_etag(request.collection, source.change(), decision, *parts)
    private = decision.key != "public"
    if not_modified(environ, etag):
        return Answer(b"", MVT, etag=etag, private=private)
    body = vector_layer(request.collection, decision, source, request.grid, tile, request.asof)
    return Answer(body, MVT, status=200 if body else 204, etag=etag, private=private)


def check_vector_format(wanted: str | None) -> None:
    """Raise InvalidParameter where `f` names no format of vector tiles."""
    if wanted is not None and wanted not in _VECTOR_FORMATS:
        allowed = ", ".join(_VECTOR_FORMATS)
        raise InvalidParameter(f"f={wanted!r}; allowed for vector tiles: {allowed}", "f", wanted, allowed)


def map_extension(wanted: str | None) -> str:
    """The extension of map tiles that `f` names, "png" where it is not given. Raises InvalidParameter."""
    extension = "png" if wanted is None else wanted
    if extension not in MAP_FORMATS:
        allowed = ", ".join(MAP_FORMATS)
        raise InvalidParameter(
            f"f={extension[:200]!r}; allowed for map tiles: {allowed}", "f", extension, allowed
        )
    return extension


def map_tile_answer(
    services: Services,
    request: TileRequest,
    *,
    style: str | None = None,
    instant: str | None = None,
) -> Answer:
    """A map tile in a style (None: the collection's own) at an instant (RFC 3339, UTC, or A/B; None: the latest).

    Raises InvalidParameter, KeyError where the collection has no map, UnknownStyle, and what `TileMaker.map_tile` raises.
    """
    if request.asof is not None:
        raise InvalidParameter(
            "parameter 'asof' is not known here: map tiles show the present state",
            "asof",
            request.asof,
            "no asof",
        )
    extension = map_extension(request.format)
    drawing = services.maps.drawing(request.collection, request.decision, style, instant)
    kept = services.tiles.map_tile(drawing, request.grid, request.tile, extension)
    return kept_answer(services, kept, request.decision)
