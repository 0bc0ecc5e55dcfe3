"""From layers and a query to pixels, and from pixels to a file: strips, the antimeridian, voids, background, GeoTIFF.

A map is drawn strip by strip, so that a large one needs little more memory than its own pixels; layers with labels are drawn
whole, because a label that crosses the edge of a strip would be cut. Between strips the clock is looked at.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.http.errors import Overloaded
from server.http.ogc.map_background import Background
from server.http.ogc.map_crs import Box, valid_area
from server.http.ogc.map_query import MM_PER_PIXEL, MapQuery
from tiles.errors import MapSourceError, RasterError
from tiles.maps.source import MapSource, Pixels

MAP_SECONDS = 30.0
"""Time that one map may take; whoever asks for more is told to come back, or to ask for less."""

_STRIP_PIXELS = 1_048_576
_MOST_TURNS = 3


@dataclass(frozen=True, slots=True)
class MapLayer:
    """A collection to be drawn: what draws it, at which instant (RFC 3339, or A/B), and whether in one piece.

    `slow`: another server has to be asked. `name` is for the log.
    """

    source: MapSource
    instant: str | None = None
    whole: bool = False
    slow: bool = False
    name: str = ""


def draw_map(
    layers: Sequence[MapLayer],
    query: MapQuery,
    background: Background,
    *,
    left_out: Callable[[str, Exception], None] | None = None,
    seconds: float = MAP_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Pixels:
    """The layers over each other, the first one lowest, on their background.

    A layer whose data cannot be read is left out where `left_out` is given, which is told of it. Raises what
    MapSource.render raises, and Overloaded where it takes more than `seconds`.
    """
    from tiles.maps.images import compose

    deadline = clock() + seconds
    out: Pixels = np.zeros((query.height, query.width, 4), dtype=np.uint8)
    for layer in layers:
        try:
            for rows, columns, box in _pieces(query, layer.whole):
                if clock() > deadline:
                    raise _too_long(query, seconds)
                pixels = _render(layer, query, box, columns.stop - columns.start, rows.stop - rows.start)
                if pixels[..., 3].any():
                    out[rows, columns] = compose([out[rows, columns], pixels])
        except (MapSourceError, RasterError) as error:
            if left_out is None:
                raise
            left_out(layer.name, error)
    return _on_background(out, query, background)


def _too_long(query: MapQuery, seconds: float) -> Overloaded:
    return Overloaded(
        f"a map of {query.width} x {query.height} pixels took more than {seconds:.0f} s here; ask for a smaller one, or for"
        " tiles",
        [("Retry-After", "30")],
    )


def takes_pixel_size(source: MapSource) -> bool:
    """Whether symbols and rules of a source follow `mm-per-pixel`."""
    return "mm_per_pixel" in inspect.signature(source.render).parameters


def _render(layer: MapLayer, query: MapQuery, box: Box, width: int, height: int) -> Pixels:
    more: dict[str, Any] = {}
    if query.mm_per_pixel != MM_PER_PIXEL and takes_pixel_size(layer.source):
        more["mm_per_pixel"] = query.mm_per_pixel
    return layer.source.render(box, query.crs, width, height, instant=layer.instant, **more)


def _pieces(query: MapQuery, whole: bool) -> Iterator[tuple[slice, slice, Box]]:
    """Rows, columns and box of the pieces a map is drawn in, from the top; all of whole pixels."""
    minx, miny, maxx, maxy = query.bbox
    x_step, y_step = (maxx - minx) / query.width, (maxy - miny) / query.height
    rows = query.height if whole else max(1, min(query.height, _STRIP_PIXELS // query.width))
    for left, right, shift in _columns(query):
        for top in range(0, query.height, rows):
            bottom = min(top + rows, query.height)
            box = (
                minx + left * x_step - shift,
                miny if bottom == query.height else maxy - bottom * y_step,
                (maxx if right == query.width else minx + right * x_step) - shift,
                maxy - top * y_step,
            )
            yield slice(top, bottom), slice(left, right), box


def _columns(query: MapQuery) -> list[tuple[int, int, float]]:
    """Columns between meridians of the antimeridian, and by how much each part is to be shifted to lie in the CRS."""
    minx, _, maxx, _ = query.bbox
    turn = query.turn
    if turn is None or maxx - minx > _MOST_TURNS * turn:
        return [(0, query.width, 0.0)]
    first, last = round(minx / turn), round(maxx / turn)
    step = (maxx - minx) / query.width
    edges = [round(((number + 0.5) * turn - minx) / step) for number in range(first, last)]
    bounds = [0, *(min(max(edge, 0), query.width) for edge in edges), query.width]
    parts = zip(bounds, bounds[1:], range(first, last + 1), strict=False)
    return [(left, right, number * turn) for left, right, number in parts if left < right]


def _on_background(pixels: Pixels, query: MapQuery, background: Background) -> Pixels:
    from tiles.maps.images import compose

    if background.ground[3]:
        ground = np.empty_like(pixels)
        ground[:] = background.ground
        pixels = compose([ground, pixels])
    else:
        # The colour of a transparent ground is only to be found by those who drop the transparency.
        pixels = pixels if pixels.flags.writeable else pixels.copy()
        pixels[pixels[..., 3] == 0] = background.ground
    return pixels if background.plain else _with_voids(pixels, query, background)


def _with_voids(pixels: Pixels, query: MapQuery, background: Background) -> Pixels:
    """The image with the colour of voids wherever the CRS has no place on Earth."""
    pixels = pixels if pixels.flags.writeable else pixels.copy()
    minx, miny, maxx, maxy = query.bbox
    xs = minx + (np.arange(query.width) + 0.5) * ((maxx - minx) / query.width)
    if query.turn is not None and maxx - minx <= query.turn:
        # A map over the antimeridian goes on on the other side: those columns are no voids.
        xs = (xs + query.turn / 2) % query.turn - query.turn / 2
    step = max(1, _STRIP_PIXELS // query.width)
    for top in range(0, query.height, step):
        rows = np.arange(top, min(top + step, query.height))
        ys = maxy - (rows + 0.5) * ((maxy - miny) / query.height)
        strip = pixels[top : top + step]
        strip[~valid_area(query.system, xs, ys)] = background.void
    return pixels


def geotiff(pixels: Pixels, query: MapQuery) -> bytes:
    """The map as a GeoTIFF of red, green, blue and alpha, deflated, with its CRS and place (OGC 20-058, 22.5)."""
    # GDAL is loaded by those who ask for it.
    from rasterio.enums import ColorInterp
    from rasterio.io import MemoryFile
    from rasterio.transform import from_bounds

    profile = {
        "driver": "GTiff",
        "width": query.width,
        "height": query.height,
        "count": 4,
        "dtype": "uint8",
        "crs": "OGC:CRS84" if query.crs == "OGC:CRS84" else query.system.to_wkt(),
        "transform": from_bounds(*query.bbox, query.width, query.height),
        "photometric": "RGB",
        "alpha": "non-premultiplied",
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 2,
        "tiled": query.width >= 512 and query.height >= 512,
        "interleave": "pixel",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(np.moveaxis(pixels, 2, 0))
            file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        return bytes(memory.getbuffer())
