"""What MapProxy does otherwise than the standards or our grids want, put right on the objects it has built.

Everything that knows MapProxy's inside, beyond its configuration, is in this module and in source_plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mapproxy.cache.base import TileLocker
from mapproxy.service.tile import TileServer
from mapproxy.service.wmts import WMTSRestServer, WMTSServer
from mapproxy.util.lock import FileLock
from mapproxy.wsgiapp import MapProxyApp

from tiles.grids import Grid, grid, grid_ids
from tiles.mapproxy.configuration import MAXIMUM_ZOOM
from tiles.mapproxy.layer import MapLayer

ALLOWED_KEY = "chengtu.allowed_layers"
"""Key in the WSGI environ: names of the layers this request may see."""

_URN = {"EPSG:3857": "EPSG::3857", "OGC:CRS84": "OGC:1.3:CRS84"}


def arrange(application: MapProxyApp, layers: Iterable[MapLayer]) -> None:
    """Adjust an application of these layers (texts ready for XML) that was just built and has not answered yet."""
    by_name = {layer.name: layer for layer in layers}
    restful: WMTSRestServer = application.handlers["wmts"]
    by_query: WMTSServer = application.handlers["service"].services["wmts"]
    for name, layer in application.handlers["service"].services["wms"].layers.items():
        layer.queryable = by_name[name].features_at is not None
    matrix_sets = [PublishedMatrixSet(grid(tms_id)) for tms_id in grid_ids()]
    for server in (restful, by_query):
        server.matrix_sets = matrix_sets
        server.capabilities_class = _with_abstracts(
            server.capabilities_class, {name: layer.abstract for name, layer in by_name.items()}
        )
    application.handlers["wmts"] = _WmtsEntrance(restful, by_query)
    built: TileServer = application.handlers["tms"]
    tiles = _TileServer(built.layers, built.md, max_tile_age=0, use_dimension_layers=True, origin="nw")
    application.handlers["tms"] = application.handlers["tiles"] = tiles
    for layer in tiles.layers.values():
        _number_levels_from_zero(layer.grid)
    for server in (restful, by_query):
        for layer in server.layers.values():
            for tile_layer in layer.layers.values():
                _close_locks(tile_layer.tile_manager)
    for layer in tiles.layers.values():
        _close_locks(layer.tile_manager)


@dataclass(frozen=True, slots=True)
class PublishedMatrix:
    """One TileMatrix of a WMTS capabilities document, under the names MapProxy's template reads."""

    identifier: str
    scale_denom: str
    topleft: tuple[float, float]
    grid_size: tuple[int, int]
    tile_size: tuple[int, int]


class PublishedMatrixSet:
    """A tile matrix set as it is published: MapProxy numbers levels 00, 01, ... and writes CRS names that are no URNs."""

    def __init__(self, pyramid: Grid) -> None:
        self.name = pyramid.id
        self.srs_name = _URN[pyramid.authority_code]
        self._pyramid = pyramid

    def __iter__(self) -> Iterator[PublishedMatrix]:
        pyramid = self._pyramid
        for zoom in range(MAXIMUM_ZOOM + 1):
            yield PublishedMatrix(
                identifier=str(zoom),
                scale_denom=repr(pyramid.scale_denominator(zoom)),
                topleft=pyramid.origin,
                grid_size=pyramid.matrix_size(zoom),
                tile_size=(pyramid.tile_size, pyramid.tile_size),
            )


_NO_ABSTRACT = "<ows:Abstract></ows:Abstract>"


def _with_abstracts(capabilities: Callable[..., Any], abstracts: Mapping[str, str]) -> Callable[..., Any]:
    """MapProxy's WMTS capabilities with the abstract of each layer, for which its template has an empty element."""

    def described(*arguments: Any, **options: Any) -> Any:
        document = capabilities(*arguments, **options)
        plain = document.render

        def render(request: Any) -> str:
            before, *layers = plain(request).split("<Layer>")
            filled = [before]
            for layer, part in zip(document.layers, layers, strict=True):
                text = abstracts.get(layer.name, "")
                abstract = f"<ows:Abstract>{text}</ows:Abstract>" if text else ""
                filled.append(part.replace(_NO_ABSTRACT, abstract, 1))
            return "<Layer>".join(filled)

        document.render = render
        return document

    return described


class _WmtsEntrance:
    """Chooses between WMTS by path and WMTS by query, both under /wmts."""

    def __init__(self, restful: WMTSRestServer, by_query: WMTSServer) -> None:
        self._restful = restful
        self._by_query = by_query

    def handle(self, request: Any) -> Any:
        """MapProxy's handler protocol."""
        return (self._by_query if request.args else self._restful).handle(request)


class _TileServer(TileServer):  # type: ignore[misc]  # MapProxy is untyped
    """TMS whose list keeps every grid of a layer: MapProxy's own keeps one where not all layers are allowed."""

    def authorized_tile_layers(self, env: dict[str, Any]) -> dict[Any, Any]:
        """The layers to list, by (name, grid)."""
        allowed = env[ALLOWED_KEY]
        return {key: layer for key, layer in self.layers.items() if layer.name in allowed}


def _number_levels_from_zero(service_grid: Any) -> None:
    """MapProxy leaves out the first level of a world grid, so that level 0 of TMS would be level 1 of WMTS."""
    service_grid.profile = "local"
    service_grid.srs_name = service_grid.srs.srs_code.replace("CRS:84", "EPSG:4326")
    service_grid._skip_first_level = False


class _ClosedFileLock(FileLock):  # type: ignore[misc]  # MapProxy is untyped
    """A lock that closes its file when it removes it, not when the garbage collector comes."""

    def unlock(self) -> None:
        """Give the lock back."""
        held = self._locked
        super().unlock()
        if held:
            self._lock.close()


class _ClosedTileLocker(TileLocker):  # type: ignore[misc]  # MapProxy is untyped
    """One lock file for each block of tiles that is being drawn, in any process."""

    def lock(self, tile: Any) -> FileLock:
        """The lock of the tile's block."""
        return _ClosedFileLock(self.lock_filename(tile), timeout=self.lock_timeout, remove_on_unlock=True)


def _close_locks(tile_manager: Any) -> None:
    locker = tile_manager.locker
    tile_manager.locker = _ClosedTileLocker(locker.lock_dir, locker.lock_timeout, locker.lock_cache_id)
