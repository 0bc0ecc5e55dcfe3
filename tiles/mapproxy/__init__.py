"""WMS, WMTS, TMS and KML by MapProxy inside our process, over layers that exist as long as a request.

`tiles.mapproxy.service` is not imported here: it brings MapProxy, which a worker needs only when a map service is asked for.
"""

from tiles.mapproxy.layer import (
    TILE_FORMATS,
    Drawn,
    InfoPlace,
    LayerStyle,
    MapLayer,
    MapView,
    ServiceMetadata,
    TileBytes,
)
from tiles.mapproxy.time_dimension import TimeDimension

__all__ = [
    "TILE_FORMATS",
    "Drawn",
    "InfoPlace",
    "LayerStyle",
    "MapLayer",
    "MapView",
    "ServiceMetadata",
    "TileBytes",
    "TimeDimension",
]
