"""WMS, WMTS and TMS with tile caches on disk, by MapProxy inside our process."""

from tiles.cache.layer import TILE_FORMATS, MapLayer, ServiceMetadata, cached_tile_path
from tiles.cache.service import MapService, build_map_service

__all__ = [
    "TILE_FORMATS",
    "MapLayer",
    "MapService",
    "ServiceMetadata",
    "build_map_service",
    "cached_tile_path",
]
