"""Maps of collections: what draws each of them, and the map services (WMS, WMTS, TMS, KML) of the views."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from server.http.map_sources import OPEN, Drawing, MapSources
from server.identity.decision import Decision
from server.registry.catalogue import Catalogue, CatalogueReader, Collection
from tiles.cache import Tileset
from tiles.maps import MapSource

if TYPE_CHECKING:
    from tiles.mapproxy.service import MapService

_EPSG_URI = re.compile(r"https?://www\.opengis\.net/def/crs/EPSG/[\d.]+/(\d{4,6})")


def bounds84(collection: Collection) -> tuple[float, float, float, float]:
    """The extent without heights: west, south, east, north."""
    box = collection.bbox
    return (box[0], box[1], box[3], box[4]) if len(box) == 6 else (box[0], box[1], box[2], box[3])


def authority_code(uri: str) -> str:
    """ "EPSG:4547" of http://www.opengis.net/def/crs/EPSG/0/4547; "" for any other CRS."""
    match = _EPSG_URI.fullmatch(uri)
    return f"EPSG:{match.group(1)}" if match else ""


class MapServices:
    """The map side of a worker. Everything is made when first asked for and follows the catalogue. Safe in threads."""

    def __init__(self, reader: CatalogueReader, styles_dir: Path) -> None:
        self.styles_dir = styles_dir
        self._sources = MapSources(reader, styles_dir)
        self._service: MapService | None = None
        self._lock = threading.Lock()

    def drawing(
        self,
        collection: Collection,
        decision: Decision = OPEN,
        style_id: str | None = None,
        instant: str | None = None,
        *,
        catalogue: Catalogue | None = None,
    ) -> Drawing:
        """One look of a collection (see MapSources.drawing, which says what is raised)."""
        return self._sources.drawing(collection, decision, style_id, instant, catalogue=catalogue)

    def source(
        self,
        collection: Collection,
        style_id: str | None = None,
        decision: Decision = OPEN,
        *,
        catalogue: Catalogue | None = None,
    ) -> MapSource:
        """What draws a collection as this decision may see it, with its tenant's clip and watermark."""
        return self.drawing(collection, decision, style_id, catalogue=catalogue).source

    def tileset(
        self,
        collection: Collection,
        decision: Decision,
        style_id: str | None,
        grid_id: str,
        extension: str,
        instant: str | None = None,
        *,
        catalogue: Catalogue | None = None,
    ) -> Tileset:
        """The name of the pyramid of map tiles of that look; tells apart whatever gives other bytes."""
        drawing = self.drawing(collection, decision, style_id, instant, catalogue=catalogue)
        return drawing.tileset(grid_id, extension)

    @property
    def service(self) -> MapService:
        """The one MapProxy application of this worker, over the registry: it knows no layer until a request names one."""
        with self._lock:
            if self._service is None:
                # MapProxy takes a tenth of a worker's start, and many workers are never asked for a map service.
                from tiles.mapproxy.service import MapService

                self._service = MapService()
            return self._service
