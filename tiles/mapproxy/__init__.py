"""WMS, WMTS and TMS with tile caches on disk, by MapProxy inside our process.

`tiles.mapproxy.service` is not imported here: it brings MapProxy, which a worker needs only when a map service is asked for.
"""

from tiles.mapproxy.layer import (
    TILE_FORMATS,
    FeaturesAt,
    MapLayer,
    ServiceMetadata,
    cached_tile_name,
    cached_tile_path,
)

__all__ = [
    "TILE_FORMATS",
    "FeaturesAt",
    "MapLayer",
    "ServiceMetadata",
    "cached_tile_name",
    "cached_tile_path",
]
