"""What a map service is given: the layers one client may see, and what draws them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tiles.grids import TileId
from tiles.mapproxy.time_dimension import TimeDimension
from tiles.maps.source import Box, MapSource

TILE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
"""Media types of map tiles, with the extension of their names."""

MAXIMUM_ZOOM = 22
"""The last level that map services draw; a grid may end before."""

DEFAULT_STYLE = "default"
"""What clients may call the default style of any layer."""


class LayerStyle(NamedTuple):
    """A style a layer is offered in."""

    id: str
    title: str


def _only_default() -> tuple[LayerStyle, ...]:
    return (LayerStyle(DEFAULT_STYLE, "Default"),)


@dataclass(frozen=True, slots=True)
class MapLayer:
    """One layer of WMS, WMTS, TMS and KML, as documents describe it.

    `bbox84` is west, south, east, north in degrees. `crs` is the storage CRS as an authority code ("EPSG:4547"), "" where it
    has none. `list_styles` gives its styles, the default one first; most
    requests do not ask. `opaque` says that it is meant to lie below others. `features` says that
    it shows features (DescribeLayer), `cascaded` that another server draws it.
    """

    name: str
    title: str
    bbox84: Box
    abstract: str = ""
    attribution: str = ""
    attribution_url: str = ""
    crs: str = ""
    keywords: tuple[str, ...] = ()
    list_styles: Callable[[], tuple[LayerStyle, ...]] = _only_default
    time: TimeDimension | None = None
    queryable: bool = False
    opaque: bool = False
    features: bool = False
    cascaded: bool = False

    @property
    def styles(self) -> tuple[LayerStyle, ...]:
        """What it is offered in, the default one first."""
        return self.list_styles()


@dataclass(frozen=True, slots=True)
class ServiceMetadata:
    """What the capabilities documents say about the service as a whole. `url` is the provider's home page."""

    title: str
    abstract: str = ""
    keywords: tuple[str, ...] = ()
    url: str = ""
    organisation: str = ""
    contact_name: str = ""
    email: str = ""
    fees: str = "none"
    access_constraints: str = "none"


class TileBytes(NamedTuple):
    """A tile as it is sent: its bytes, its strong ETag with quotes, and whether it is older than it should be."""

    body: bytes
    etag: str
    stale: bool = False


@dataclass(frozen=True, slots=True)
class InfoPlace:
    """A pixel of a map: the map's CRS, box (easting first) and size, and column and row from the upper left, from 0."""

    crs: str
    box: Box
    width: int
    height: int
    column: int
    row: int
    count: int


class Drawn(Protocol):
    """A layer in one style at one instant, as the client who asks may see it."""

    @property
    def source(self) -> MapSource:
        """What draws it."""
        ...

    @property
    def instant(self) -> str | None:
        """What `source` is asked with."""
        ...

    @property
    def palette(self) -> bool:
        """Whether 256 colours are enough for it: drawn shapes, not images."""
        ...

    @property
    def slow(self) -> bool:
        """Whether somebody else has to be asked for it: its place is one for slow layers."""
        ...

    def place(self) -> AbstractContextManager[None]:
        """Room to draw in, and to write what was drawn. Raises tiles.errors.RenderingBusy."""
        ...

    def tile(self, grid_id: str, tile: TileId, extension: str) -> TileBytes:
        """A tile, from the cache or made now. Raises TilesError."""
        ...


class MapView(Protocol):
    """The map services of one view (the city, a tenant) for one client. Answers for the moment of one request."""

    @property
    def key(self) -> Hashable:
        """Equal for two views whose documents are equal."""
        ...

    @property
    def metadata(self) -> ServiceMetadata:
        """What it says about itself."""
        ...

    @property
    def url(self) -> str:
        """Address below which /service, /wmts, /tms and /kml lie, no slash at its end."""
        ...

    @property
    def zone_crs(self) -> Sequence[str]:
        """Codes of the CRS of layers and of own grids that WMS offers beside those of every service."""
        ...

    def layers(self) -> Sequence[MapLayer]:
        """All layers this client may see."""
        ...

    def allows(self, name: str) -> bool:
        """Whether this client may see the layer of that name."""
        ...

    def layer(self, name: str) -> MapLayer | None:
        """One of them; None where there is none of that name, or none this client may see."""
        ...

    def drawn(self, layer: MapLayer, style: str | None, instant: str | None) -> Drawn:
        """What draws it. `style` None is the default one. Raises TilesError where it cannot be drawn."""
        ...

    def info(
        self, layer: MapLayer, style: str | None, instant: str | None, place: InfoPlace
    ) -> Sequence[Mapping[str, Any]]:
        """GeoJSON Features at a pixel, nearest first: features, or the values of an image. Raises MapSourceError."""
        ...

    def legend(
        self, layer: MapLayer, style: str | None, language: str, rule: str | None, scale: float | None
    ) -> bytes:
        """The legend as PNG. Raises TilesError."""
        ...
