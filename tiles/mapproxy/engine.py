"""MapProxy's services over layers that exist as long as a request: one application, over the whole registry.

MapProxy builds an application of all its layers (1 ms a layer and grid), keeps it, and drops it when one of them is broken. A
city has thousands of layers, each on dozens of grids, in several styles, at many instants, and for every client with other
rights. So the services are built once, without any layer; a request brings the few it names (their sources are kept
elsewhere), and MapProxy finds them through a mapping that looks into the request. Its own OGC API service is not among the
services: it never asks `mapproxy.authorize`.

Everything that knows MapProxy's inside is in this module.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from mapproxy.cache.base import TileCacheBase
from mapproxy.cache.tile import Tile
from mapproxy.cache.tile_manager import TileManager
from mapproxy.extent import DefaultMapExtent
from mapproxy.grid.tile_grid import TileGrid
from mapproxy.image import ImageResult
from mapproxy.image.opts import ImageOptions
from mapproxy.layer import BlankImageError
from mapproxy.layer.map_layer import MapLayer as MapProxyLayer
from mapproxy.query import MapQuery
from mapproxy.request.wms import Version
from mapproxy.service.kml import KMLServer
from mapproxy.service.ows import OWSServer
from mapproxy.service.tile import TileLayer, TileServiceGrid
from mapproxy.service.wmts import WMTSRestServer
from mapproxy.source import SourceError
from mapproxy.srs import SRS
from mapproxy.wsgiapp import MapProxyApp
from PIL import Image

from tiles.errors import MapAreaError, TilesError
from tiles.grids import Grid, TileId, grid
from tiles.mapproxy.layer import MAXIMUM_ZOOM, Drawn, TileBytes
from tiles.mapproxy.mapproxy_library import CONFIGURATION, WMSServer, local_base_config
from tiles.maps.geotiff import encode_geotiff
from tiles.maps.images import encode_image

type Environ = dict[str, Any]
type Allows = Callable[[str], bool]
"""Whether the client may see a layer, by its public name: asked once more when MapProxy asks `mapproxy.authorize`."""

_TEMPLATE = "/{Layer}/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}.{Format}"
_FEATURES = ("map", "tile", "featureinfo", "legendgraphic")


@dataclass(slots=True)
class Request:
    """What MapProxy finds while it answers: layers by the name they have within this request, and what went wrong.

    `names` are their public names. `failure` is an error of ours that MapProxy would put into words of its own.
    """

    layers: Mapping[str, Drawn]
    names: Mapping[str, str]
    media_type: str = "image/png"
    grid_id: str = ""
    extension: str = "png"
    failure: TilesError | None = None
    tiles: list[TileBytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """MapProxy's answer."""

    status: int
    media_type: str
    body: bytes


_present: ContextVar[Request] = ContextVar("request")


class Engine:
    """The application. Safe in threads; opens no file."""

    def __init__(self) -> None:
        formats = ("image/png", "image/jpeg", "image/webp", "image/tiff")
        with local_base_config(CONFIGURATION):
            wms = WMSServer(
                _NoLayers(),
                {},
                _AnySrs(),
                {one: ImageOptions(format=one) for one in formats},
                versions=[Version("1.1.1")],
            )
            wmts = WMTSRestServer({}, {}, template=_TEMPLATE)
        wms.layers = _MapLayers()
        wmts.layers = _TileLayers()
        kml = KMLServer(_KmlLayers(), {}, use_dimension_layers=True)
        self._application = MapProxyApp([OWSServer([wms]), wmts, kml], CONFIGURATION)

    @property
    def services(self) -> frozenset[str]:
        """Names of what it answers."""
        return frozenset(self._application.handlers)

    def answer(
        self, path: str, query: str, url: str, request: Request, environ: Environ, allows: Allows
    ) -> Answer:
        """MapProxy's answer to a request that was understood. `url` is the address the service lies at.

        Raises what drawing raised (TilesError).
        """
        inner = _inner_environ(environ, path, query, url)
        inner["mapproxy.authorize"] = _permission(request, allows)
        inner["mapproxy.decorate_img"] = _encoded(request)
        begun: list[Any] = []
        token = _present.set(request)
        try:
            parts = self._application(inner, lambda status, headers, _=None: begun.extend((status, headers)))
            body = b"".join(parts)
        finally:
            _present.reset(token)
        if request.failure is not None:
            raise request.failure
        headers = {name.lower(): value for name, value in begun[1]}
        return Answer(int(begun[0].split(" ", 1)[0]), headers.get("content-type", ""), body)


def _inner_environ(environ: Environ, path: str, query: str, url: str) -> Environ:
    scheme, _, rest = url.partition("://")
    host, _, mount = rest.partition("/")
    name, _, port = host.rpartition(":") if ":" in host else (host, "", "")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": f"/{mount}" if mount else "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": host,
        "SERVER_NAME": name,
        "SERVER_PORT": port or ("443" if scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": scheme,
        "wsgi.errors": environ["wsgi.errors"],
        "wsgi.input": io.BytesIO(),
    }


def _permission(request: Request, allows: Allows) -> Callable[..., dict[str, Any]]:
    """MapProxy's authorize callback: the layers of the request, each asked for once more."""

    def authorize(_service: str, layers: Iterable[str] = (), **_details: Any) -> dict[str, Any]:
        allowed = [one for one in layers if one in request.names and allows(request.names[one])]
        return {
            "authorized": "partial",
            "layers": {one: dict.fromkeys(_FEATURES, True) for one in allowed},
        }

    return authorize


# --- maps ----------------------------------------------------------------------------------------------------------------


class _NoLayers:
    """A root of WMS layers that holds none."""

    has_legend = False

    def child_layers(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class _AnySrs:
    """The CRS were checked at the door."""

    def __contains__(self, code: object) -> bool:
        return True


class _Present[Layer](Mapping[str, Layer]):
    """The layers of the request that is being answered, as MapProxy wants to see them."""

    def _make(self, name: str) -> Layer:
        raise NotImplementedError

    def __getitem__(self, name: str) -> Layer:
        if name not in _present.get().layers:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_present.get().layers)

    def __len__(self) -> int:
        return len(_present.get().layers)


class _WmsLayer:
    """A layer of GetMap."""

    def __init__(self, name: str, source: LayerSource) -> None:
        self._name = name
        self._source = source

    def renders_query(self, query: MapQuery) -> bool:
        """Every layer may show something everywhere."""
        return True

    def is_opaque(self, query: MapQuery) -> bool:
        """Whether what lies below is hidden: not known before it is drawn."""
        return False

    def map_layers_for_query(self, query: MapQuery) -> list[tuple[str, list[LayerSource]]]:
        """What draws it."""
        return [(self._name, [self._source])]


class _MapLayers(_Present[_WmsLayer]):
    """Layers of WMS."""

    def _make(self, name: str) -> _WmsLayer:
        request = _present.get()
        return _WmsLayer(name, LayerSource(request.layers[name], request))


class LayerSource(MapProxyLayer):  # type: ignore[misc]  # MapProxy is untyped
    """A source of MapProxy that draws one of our layers."""

    supports_meta_tiles = True

    def __init__(self, drawn: Drawn, request: Request) -> None:
        super().__init__(image_opts=ImageOptions(transparent=True, format="image/png"))
        self.extent = DefaultMapExtent()
        self._drawn = drawn
        self._request = request

    def get_map(self, query: MapQuery) -> ImageResult:
        """The image; BlankImageError where the box has no place in the layer's CRS."""
        drawn = self._drawn
        try:
            pixels = drawn.source.render(query.bbox, query.srs.srs_code, *query.size, instant=drawn.instant)
        except MapAreaError as error:
            raise BlankImageError from error
        except TilesError as error:
            self._request.failure = error
            raise SourceError(str(error)) from error
        return ImageResult(Image.fromarray(pixels), size=query.size, image_opts=self.image_opts)


class _EncodedResult(ImageResult):  # type: ignore[misc]  # MapProxy is untyped
    """An image that is written by our encoders: a third of the time, and palettes only where they do no harm."""

    def __init__(self, image: Any, media_type: str) -> None:
        super().__init__(
            image.as_image(), size=image.size, image_opts=image.image_opts, cacheable=image.cacheable
        )
        self._media_type = media_type

    def as_buffer(
        self, image_opts: Any = None, format: str | None = None, seekable: bool = False
    ) -> io.BytesIO:
        """The file."""
        picture = self.as_image()
        pixels = np.asarray(picture if picture.mode == "RGBA" else picture.convert("RGBA"))
        if self._media_type == "image/tiff":
            return io.BytesIO(encode_geotiff(pixels, self.georef.bbox, self.georef.srs.srs_code))
        return io.BytesIO(encode_image(pixels, self._media_type))


def _encoded(request: Request) -> Callable[..., Any]:
    """MapProxy's hook for finished images: maps are encoded by us, tiles are passed on as they were kept."""

    def decorate(image: Any, service: str, _layers: Any, **_details: Any) -> Any:
        return _EncodedResult(image, request.media_type) if service == "wms.map" else image

    return decorate


# --- tiles ---------------------------------------------------------------------------------------------------------------


class PyramidGrid(TileGrid):  # type: ignore[misc]  # MapProxy is untyped
    """A grid of ours as MapProxy sees one; its matrices may have corners and sizes of their own. Rows count from the top."""

    def __init__(self, pyramid: Grid) -> None:
        first, last = pyramid.min_zoom, min(pyramid.max_zoom, MAXIMUM_ZOOM)
        matrix = pyramid.matrix(first)
        width, height = matrix.tile_width * matrix.cell_size, matrix.tile_height * matrix.cell_size
        cells = [
            pyramid.cell_size(max(zoom, first)) * 2.0 ** max(0, first - zoom) for zoom in range(last + 1)
        ]
        if len(cells) == 1:
            cells.append(cells[0] / 2)  # MapProxy compares the first two levels of any grid
        super().__init__(
            srs=SRS("CRS:84" if pyramid.authority_code == "OGC:CRS84" else pyramid.authority_code),
            bbox=(
                matrix.left,
                matrix.top - matrix.rows * height,
                matrix.left + matrix.columns * width,
                matrix.top,
            ),
            tile_size=(matrix.tile_width, matrix.tile_height),
            res=cells,
            origin="nw",
            name=pyramid.id,
        )
        self._pyramid = pyramid

    def limit_tile(self, tile_coord: Any) -> Any:
        """The tile, None where there is none."""
        x, y, z = tile_coord
        pyramid = self._pyramid
        if not pyramid.min_zoom <= z <= min(pyramid.max_zoom, MAXIMUM_ZOOM):
            return None
        columns, rows = pyramid.matrix_size(z)
        return (x, y, z) if 0 <= x < columns and 0 <= y < rows else None

    def flip_tile_coord(self, tile_coord: Any) -> Any:
        """The tile with its row counted from the other end."""
        x, y, z = tile_coord
        return x, self._pyramid.matrix_size(z)[1] - 1 - y, z

    def tile_bbox(self, tile_coord: Any, limit: bool = False) -> Any:
        """Its box."""
        x, y, z = tile_coord
        return tuple(self._pyramid.bounds(TileId(z, x, y)))


@lru_cache(maxsize=256)
def _service_grid(_pyramid: Grid) -> TileServiceGrid:
    """The grid as services number it: MapProxy leaves out the first level of a world grid, we do not."""
    made = TileServiceGrid(PyramidGrid(_pyramid))
    made.profile, made._skip_first_level, made._skip_odd_level = "local", False, False
    return made


class KeptTiles(TileCacheBase):  # type: ignore[misc]  # MapProxy is untyped
    """MapProxy's view of the server's tile cache: every tile is there, because what is missing is made when it is asked for.

    So its tiles are the same kept bytes as those of OGC API - Tiles, made by one for all who wait, and taken out by one
    invalidation; MapProxy's own locks, meta tiles and expiry have nothing to do.
    """

    def __init__(self, drawn: Drawn, grid_id: str, extension: str, request: Request) -> None:
        super().__init__()
        self._drawn = drawn
        self._grid_id = grid_id
        self._extension = extension
        self._request = request

    def load_tile(self, tile: Tile, with_metadata: bool = False, dimensions: Any = None) -> bool:
        """Fill in the tile's bytes."""
        if tile.coord is None:
            return True
        x, y, z = tile.coord
        try:
            kept = self._drawn.tile(self._grid_id, TileId(z, x, y), self._extension)
        except TilesError as error:
            self._request.failure = error
            raise SourceError(str(error)) from error
        self._request.tiles.append(kept)
        options = ImageOptions(format=f"image/{self._extension}")
        tile.image_result = ImageResult(io.BytesIO(kept.body), image_opts=options)
        tile.timestamp, tile.size = 0.0, len(kept.body)
        return True

    def is_cached(self, tile: Tile, dimensions: Any = None) -> bool:
        """Always: see load_tile."""
        return True

    def load_tile_metadata(self, tile: Tile, dimensions: Any = None) -> None:
        """Size and time are told with the bytes."""

    def store_tile(self, tile: Tile, dimensions: Any = None) -> bool:
        """Made tiles were kept by who made them."""
        return True

    def remove_tile(self, tile: Tile, dimensions: Any = None) -> bool:
        """Tiles go when their data change; nothing of MapProxy's takes them out."""
        return False


class _RequestTiles(TileLayer):  # type: ignore[misc]  # MapProxy is untyped
    """A layer of tiles on one grid."""

    def __init__(self, name: str, request: Request) -> None:
        # Not MapProxy's constructor: it works out an extent in the grid's CRS, which nothing here asks for.
        cache = KeptTiles(request.layers[name], request.grid_id, request.extension, request)
        service_grid = _service_grid(grid(request.grid_id))
        self.name = self.title = name
        self.md = {"format": f"image/{request.extension}", "name_path": (name, request.grid_id)}
        self.tile_manager = TileManager(
            service_grid.grid,
            cache,
            [],
            request.extension,
            None,
            ImageOptions(format=f"image/{request.extension}"),
        )
        self.info_sources: list[Any] = []
        self.dimensions: dict[str, Any] = {}
        self.grid = service_grid
        self.legend_version = None
        self._empty_tile = None
        self._mixed_format = False
        self.empty_response_as_png = True


class _TileLayers(_Present[dict[str, _RequestTiles]]):
    """Layers of WMTS: each a mapping of its grids."""

    def _make(self, name: str) -> dict[str, _RequestTiles]:
        request = _present.get()
        return {request.grid_id: _RequestTiles(name, request)}


class _KmlLayers:
    """Layers of KML, by name and grid."""

    def get(self, key: tuple[str, str | None]) -> _RequestTiles | None:
        """The layer; None where it is not the request's."""
        name, grid_id = key
        request = _present.get()
        if name not in request.layers or grid_id != request.grid_id:
            return None
        return _RequestTiles(name, request)
