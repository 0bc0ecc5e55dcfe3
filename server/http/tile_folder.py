"""Tells a web server in front in which folder the kept tiles of a set are, if who asks may have them (docker/nginx.conf)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.errors import ChengtuError
from server.http.answer import Answer, Environ
from server.http.errors import RequestError
from server.http.hot_tiles import MapAddress, map_pyramid
from server.http.scope import Scope
from server.http.tile_forms import vector_tileset
from server.registry.catalogue import RepresentationKind
from tiles.cache import Tileset
from tiles.errors import TilesError

if TYPE_CHECKING:
    from server.http.services import Services

PREFIX = "/internal/tiles/"
FOLDER_HEADER = "X-Tile-Folder"
_ANY_GRID = "WebMercatorQuad"  # a form's folder holds its grids


def folder_answer(services: Services, environ: Environ) -> Answer | None:
    """204 with the folder below the cache's, 403 where there is none for this client; None for another path.

    The path is `/internal/tiles/TENANT/COLLECTION/` and `tiles`, `map` or `styles/STYLE`. It tells nobody more than he may see:
    rights are those of the Authorization header. Raises RegistryUnavailable.
    """
    path = environ["PATH_INFO"]
    if not path.startswith(PREFIX):
        return None
    try:
        tileset = _tileset(services, path[len(PREFIX) :].split("/"), environ)
    except (RequestError, ChengtuError, TilesError, KeyError):
        tileset = None
    headers = [("Cache-Control", "no-store")]
    if tileset is None:
        return Answer(b"", "text/plain", status=403, headers=headers)
    headers.append((FOLDER_HEADER, f"{tileset.folder}/{tileset.form}"))
    return Answer(b"", "text/plain", status=204, headers=headers)


def _tileset(services: Services, parts: list[str], environ: Environ) -> Tileset | None:
    who = services.principal(environ)
    catalogue = services.catalogue.current()
    match parts:
        case [tenant, name, "tiles"]:
            collection, decision = services.allowed(catalogue, Scope(tenant), name, who)
            if RepresentationKind.TILES not in collection.representations:
                return None
            return vector_tileset(collection, decision, _ANY_GRID)
        case [tenant, name, "map"]:
            asked = MapAddress(Scope(tenant), name, None, _ANY_GRID)
        case [tenant, name, "styles", style]:
            asked = MapAddress(Scope(tenant), name, style, _ANY_GRID)
        case _:
            return None
    pyramid = map_pyramid(services, catalogue, asked, "png", who)
    # Tiles that age are judged by the server.
    return None if pyramid is None or pyramid.max_age is not None else pyramid.tileset
