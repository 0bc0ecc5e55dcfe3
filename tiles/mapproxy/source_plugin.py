"""Our map sources as a source type of MapProxy.

MapProxy builds its objects from a plain dictionary, so a source is handed over by key: it is put into a registry of this
module while an application is built, and taken out again when the building is over.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mapproxy.config.configuration.source import SourceConfiguration, register_source_configuration
from mapproxy.extent import MapExtent
from mapproxy.image import ImageResult
from mapproxy.image.opts import ImageOptions
from mapproxy.layer import BlankImageError
from mapproxy.layer.map_layer import MapLayer as MapProxyLayer
from mapproxy.query import MapQuery
from mapproxy.source import SourceError
from mapproxy.srs import SRS
from mapproxy.util.bbox import TransformationError
from PIL import Image

from tiles.errors import MapAreaError, MapError
from tiles.mapproxy.layer import MapLayer
from tiles.maps.source import check_request

SOURCE_TYPE = "chengtu"
_layers: dict[str, MapLayer] = {}
_lock = threading.Lock()


@contextmanager
def offered(layers: Mapping[str, MapLayer]) -> Iterator[None]:
    """Make the layers available under their keys while an application is built."""
    with _lock:
        _layers.update(layers)
    try:
        yield
    finally:
        with _lock:
            for key in layers:
                _layers.pop(key, None)


class LayerSource(MapProxyLayer):  # type: ignore[misc]  # MapProxy is untyped
    """Draws one of our layers when MapProxy asks for a map or a block of tiles."""

    supports_meta_tiles = True

    def __init__(self, layer: MapLayer) -> None:
        super().__init__(image_opts=ImageOptions(transparent=True, format="image/png"))
        self._layer = layer
        self.extent = MapExtent(_with_area(layer.bbox84), SRS("EPSG:4326"))

    def is_opaque(self, query: MapQuery) -> bool:
        """True where the layer hides everything below it."""
        if not self._layer.opaque:
            return False
        try:
            return bool(self.extent.contains(MapExtent(query.bbox, query.srs)))
        except TransformationError:
            return False

    def get_map(self, query: MapQuery) -> ImageResult:
        """The image, or BlankImageError outside the layer's box and zoom levels (MapProxy stores no tile then)."""
        if not self._meets(MapExtent(query.bbox, query.srs)):
            raise BlankImageError
        try:
            request = check_request(query.bbox, query.srs.srs_code, *query.size)
            if not self._layer.min_zoom - 0.5 < request.zoom < self._layer.max_zoom + 0.5:
                raise BlankImageError
            pixels = self._layer.source.render(*request)
        except MapAreaError as error:
            raise BlankImageError from error
        except MapError as error:
            raise SourceError(str(error)) from error
        return ImageResult(Image.fromarray(pixels), size=query.size, image_opts=self.image_opts)

    def _meets(self, asked: MapExtent) -> bool:
        """Whether the layer's box meets a box of any CRS, asked in both CRS.

        The edge of a box may lie where one CRS cannot express it (a box of a projected CRS that is wider than its zone):
        then the other direction answers, and where neither does the layer is drawn and finds out.
        """
        answers = []
        for one, other in ((self.extent, asked), (asked, self.extent)):
            try:
                answers.append(bool(one.intersects(other)))
            except TransformationError:
                continue
        return any(answers) or not answers


class _LayerSourceConfiguration(SourceConfiguration):  # type: ignore[misc]  # MapProxy is untyped
    """Reads `{type: chengtu, key: ...}`."""

    source_type = (SOURCE_TYPE,)

    def source(self, params: Any = None) -> LayerSource:
        """The source of the configured key; MapProxy asks once for each cache and layer that uses it."""
        return LayerSource(_layers[self.conf["key"]])


def _with_area(bbox: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box, a little widened where it is a line or a point: MapProxy wants an area."""
    west, south, east, north = bbox
    margin = 1e-6
    if math.isclose(west, east, abs_tol=margin):
        west, east = max(-180.0, west - margin), min(180.0, east + margin)
    if math.isclose(south, north, abs_tol=margin):
        south, north = max(-90.0, south - margin), min(90.0, north + margin)
    return west, south, east, north


register_source_configuration(SOURCE_TYPE, _LayerSourceConfiguration)
