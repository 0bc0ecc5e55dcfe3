"""Maps of collections: one MapProxy application a view, the map sources they share, and single tiles from their cache."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.http.answer import Environ, StartResponse
from server.http.errors import NotFound
from server.http.feature_info import features_of
from server.http.scope import Scope
from server.http.tile_request import TileRequest
from server.identity.decision import Action, Principal, decide
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from tiles.errors import TilesError
from tiles.grids import TileId, grid
from tiles.mapproxy import MapLayer, ServiceMetadata, cached_tile_name
from tiles.maps import (
    MapSource,
    RasterMapSource,
    VectorMapSource,
    default_style_name,
    load_style,
    map_image,
)

Kind = RepresentationKind
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
_KEPT_SOURCES = 64
_EPSG_URI = re.compile(r"https?://www\.opengis\.net/def/crs/EPSG/[\d.]+/(\d{4,6})")
_TILE_PIXELS = 256
_log = logging.getLogger(__name__)


def bounds84(collection: Collection) -> tuple[float, float, float, float]:
    """The extent without heights: west, south, east, north."""
    box = collection.bbox
    return (box[0], box[1], box[3], box[4]) if len(box) == 6 else (box[0], box[1], box[2], box[3])


def authority_code(uri: str) -> str:
    """ "EPSG:4547" of http://www.opengis.net/def/crs/EPSG/0/4547; "" for any other CRS."""
    match = _EPSG_URI.fullmatch(uri)
    return f"EPSG:{match.group(1)}" if match else ""


def styles_digest(folder: Path) -> str:
    """Eight letters that change with the content of the style files."""
    digest = hashlib.blake2s(digest_size=4)
    for file in sorted(folder.glob("*.yml")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Built:
    fingerprint: tuple[tuple[str, int, str], ...]
    application: WsgiApplication


class MapServices:
    """The map side of a worker. Everything is made when first asked for and follows the catalogue."""

    def __init__(self, cache_dir: Path, styles_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._styles_dir = styles_dir
        self._styles = styles_digest(styles_dir)
        self._services: dict[tuple[Scope, str, str], _Built] = {}
        self._sources: OrderedDict[tuple[str, int, str], MapSource] = OrderedDict()
        self._lock = threading.RLock()

    def cache_key(self, collection: Collection) -> str:
        """Where a collection's map tiles are kept: the path carries generation and styles, never change."""
        return f"{collection.tenant}/{collection.id}/g{collection.generation:06d}/{self._styles}"

    def source(self, collection: Collection) -> MapSource:
        """What draws a collection. Raises KeyError where it has no map, tiles.errors.StyleError for a broken style."""
        key = (collection.qualified_id, collection.generation, collection.updated)
        with self._lock:
            source = self._sources.get(key)
            if source is None:
                source = self._sources[key] = self._make_source(collection)
                while len(self._sources) > _KEPT_SOURCES:
                    self._sources.popitem(last=False)
            self._sources.move_to_end(key)
            return source

    def _make_source(self, collection: Collection) -> MapSource:
        style: Any = collection.representations[Kind.MAP].properties.get("style")
        watermark = "simulated 模拟" if collection.simulated else None
        if Kind.FEATURES in collection.representations:
            geometry_type = collection.representations[Kind.FEATURES].properties["geometry_type"]
            return VectorMapSource(
                collection.path_of(Kind.FEATURES),
                crs=collection.storage_crs,
                style=load_style(style or default_style_name(geometry_type), self._styles_dir),
                columns={field.name: field.column for field in collection.fields},
                watermark=watermark,
            )
        style = load_style(style or default_style_name("image"), self._styles_dir)
        return RasterMapSource(collection.path_of(Kind.COVERAGE), style=style, watermark=watermark)

    def tile(self, request: TileRequest, format_: str, *, cached_only: bool) -> bytes | None:
        """A map tile from the disk cache, or drawn and kept; None where `cached_only` and it is not there.

        Raises tiles.errors.UnknownTileMatrixSet and TileOutOfRange.
        """
        tile = TileId(request.zoom, request.column, request.row)
        name = cached_tile_name(self.cache_key(request.collection), request.grid, tile, format_)
        path = f"{self._cache_dir}/{name}"
        try:
            return _read(path)
        except FileNotFoundError:
            if cached_only:
                return None
        media_type = f"image/{format_}"
        if media_type == "image/png" and Kind.FEATURES in request.collection.representations:
            # As MapProxy keeps its tiles: a fifth of the bytes, and no difference to be seen in drawn shapes.
            media_type = "image/png; mode=8bit"
        source, tiling = self.source(request.collection), grid(request.grid)
        body = map_image(
            [source], tiling.bounds(tile), tiling.crs, _TILE_PIXELS, _TILE_PIXELS, media_type=media_type
        )
        _keep(Path(path), body)
        return body

    def service(self, scope: Scope, catalogue: Catalogue, origin: str, who: Principal) -> WsgiApplication:
        """The MapProxy application of a view with the layers that `who` may see, made anew when they have changed.

        Layers nobody may see are not in it at all: its documents also tell the extent and the CRS of all together.
        Where the new one cannot be built, the last good one goes on serving and the reason is logged.
        """
        layers = [
            c
            for c in scope.collections(catalogue)
            if Kind.MAP in c.representations and decide(who, Action.LIST, c).allowed
        ]
        key = (scope, origin, who.id)
        fingerprint = tuple((c.qualified_id, c.generation, c.updated) for c in layers)
        with self._lock:
            built = self._services.get(key)
            if built is not None and built.fingerprint == fingerprint:
                return built.application
            try:
                application = self._build(scope, catalogue, layers, origin)
            except TilesError:
                if built is None:
                    raise
                _log.exception(
                    "map service not rebuilt; the last good one is kept", extra={"tenant": scope.tenant}
                )
                return built.application
            if len(self._services) > _KEPT_SOURCES:
                self._services.clear()
            self._services[key] = _Built(fingerprint, application)
            return application

    def _layer(self, scope: Scope, collection: Collection) -> MapLayer | None:
        """A collection as a layer; None, and a line in the log, where it cannot be drawn: the others go on."""
        name = scope.public_id(collection)
        try:
            return MapLayer(
                name=name,
                title=collection.title("en"),
                abstract=_abstract(collection),
                bbox84=bounds84(collection),
                source=self.source(collection),
                cache_key=self.cache_key(collection),
                attribution=collection.attribution,
                attribution_url=collection.licence_url or "",
                crs=authority_code(collection.storage_crs),
                keywords=collection.keywords,
                features_at=features_of(name) if Kind.FEATURES in collection.representations else None,
            )
        except TilesError as error:
            _log.warning(
                "collection left out of the maps",
                extra={"collection": collection.qualified_id, "reason": str(error)},
            )
            return None

    def _build(
        self, scope: Scope, catalogue: Catalogue, collections: list[Collection], origin: str
    ) -> WsgiApplication:
        # MapProxy takes a tenth of a worker's start, and many workers are never asked for a map service.
        from tiles.mapproxy.service import build_map_service

        layers = [layer for layer in (self._layer(scope, each) for each in collections) if layer is not None]
        if not layers:
            raise NotFound("there is nothing in this view that a map could show")
        title = "Chengtu city maps"
        if scope.tenant is not None:
            title = catalogue.tenants[scope.tenant].titles["en"]
        metadata = ServiceMetadata(
            title=title,
            abstract=f"{title}: {', '.join(collection.title('en') for collection in collections)}",
            keywords=tuple(
                sorted({keyword for collection in collections for keyword in collection.keywords})
            ),
            url=f"{origin}{scope.prefix}/maps",
        )
        return build_map_service(layers, self._cache_dir, metadata, authorize=_authorize)


def _abstract(collection: Collection) -> str:
    """The description in English, else in another language, else the titles."""
    texts = (collection.descriptions.get("en"), *collection.descriptions.values())
    return next((text for text in texts if text), " / ".join(dict.fromkeys(collection.titles.values())))


def _authorize(environ: Environ, layers: Sequence[str]) -> set[str]:
    """Which of these layers may be seen in this request, by `decide`."""
    catalogue: Catalogue = environ["chengtu.catalogue"]
    scope: Scope = environ["chengtu.scope"]
    who: Principal = environ["chengtu.principal"]
    found = ((name, scope.find(catalogue, name)) for name in layers)
    return {name for name, collection in found if collection and decide(who, Action.READ, collection).allowed}


def _read(path: str) -> bytes:
    """The file, at half the cost of Path.read_bytes: this is most of a cached tile."""
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        body = os.read(handle, size)
        while len(body) < size and (more := os.read(handle, size - len(body))):
            body += more
        return body
    finally:
        os.close(handle)


def _keep(path: Path, body: bytes) -> None:
    """Write a tile aside and rename it; a full disk costs the cache, not the answer."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent)
    except OSError:
        _log.warning("a map tile could not be kept", extra={"path": str(path)})
        return
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)  # nginx reads it as another user
            file.write(body)
        Path(aside).replace(path)
    except OSError:
        _log.warning("a map tile could not be kept", extra={"path": str(path)})
        with contextlib.suppress(FileNotFoundError):
            Path(aside).unlink()
