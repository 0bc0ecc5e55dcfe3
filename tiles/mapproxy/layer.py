"""The description of a layer of a map service, and of the service itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tiles.errors import MapServiceError
from tiles.grids import TileId, grid
from tiles.maps.source import Box, MapSource

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_KEY_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

TILE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
"""Media types in which a layer's tiles can be kept, with the extension of their files."""

type FeaturesAt = Callable[[dict[str, Any], Box, int], Sequence[Mapping[str, Any]]]
"""Asked with the WSGI environ, a box in CRS84 (degrees, west first) and a number: answers at most so many GeoJSON Features
whose envelope meets the box, with what this request may see of them. Raises MapSourceError."""


@dataclass(frozen=True, slots=True)
class MapLayer:
    """One layer of WMS, WMTS and TMS.

    `bbox84` is west, south, east, north in degrees. `cache_key` is a relative path such as
    "helsinki/buildings/g000001/default": it must change whenever what is drawn changes. `crs` is the storage CRS as an
    authority code ("EPSG:4547") and is offered by WMS; "" where there is none. `tile_format` is a key of TILE_FORMATS;
    `opaque` says that no pixel of the box is transparent. Nothing is drawn outside `min_zoom` to `max_zoom`. Without
    `features_at` WMS clients are told that the layer cannot be queried.
    """

    name: str
    title: str
    bbox84: tuple[float, float, float, float]
    source: MapSource
    cache_key: str
    abstract: str = ""
    attribution: str = ""
    attribution_url: str = ""
    crs: str = ""
    opaque: bool = False
    tile_format: str = "image/png"
    min_zoom: int = 0
    max_zoom: int = 22
    keywords: tuple[str, ...] = ()
    features_at: FeaturesAt | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise MapServiceError(f"layer name {self.name!r} is not of the form {_NAME.pattern}")
        check_cache_key(self.cache_key)
        west, south, east, north = self.bbox84
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            raise MapServiceError(
                f"layer {self.name}: {self.bbox84} is not west, south, east, north in degrees"
            )
        if self.tile_format not in TILE_FORMATS:
            raise MapServiceError(
                f"layer {self.name}: tile format {self.tile_format!r} is not one of {', '.join(TILE_FORMATS)}"
            )
        if not 0 <= self.min_zoom <= self.max_zoom <= 22:
            raise MapServiceError(
                f"layer {self.name}: zoom {self.min_zoom} to {self.max_zoom} is not within 0 to 22"
            )


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


@lru_cache(maxsize=1024)
def check_cache_key(cache_key: str) -> None:
    """Raise MapServiceError unless the key is a relative path of plain names that cannot leave its folder."""
    parts = cache_key.split("/")
    if not all(_KEY_PART.fullmatch(part) for part in parts) or len(parts) > 8:
        raise MapServiceError(
            f"cache key {cache_key!r} is not 1 to 8 names of letters, digits, '_', '-' and '.', joined by '/'"
        )


def cached_tile_name(cache_key: str, tms_id: str, tile: TileId, extension: str = "png") -> str:
    """Where the tile lies below the cache's folder once it has been drawn (row 0 is the northernmost).

    Raises UnknownTileMatrixSet, TileOutOfRange, and MapServiceError for a cache key that is none.
    """
    grid(tms_id).check(tile)
    check_cache_key(cache_key)
    return f"{cache_key}/{tms_id}/{tile.z}/{tile.x}/{tile.y}.{extension}"


def cached_tile_path(
    cache_dir: Path, cache_key: str, tms_id: str, tile: TileId, extension: str = "png"
) -> Path:
    """`cached_tile_name` below `cache_dir`, the folder the service was built with."""
    return cache_dir / cached_tile_name(cache_key, tms_id, tile, extension)


def check_layers(layers: Sequence[MapLayer]) -> None:
    """Raise MapServiceError where two layers have one name, or different layers one cache."""
    names = [layer.name for layer in layers]
    keys = [layer.cache_key for layer in layers]
    for what, values in (("name", names), ("cache key", keys)):
        doubled = sorted({value for value in values if values.count(value) > 1})
        if doubled:
            raise MapServiceError(f"layers share the {what} {', '.join(doubled)}; each layer needs its own")
