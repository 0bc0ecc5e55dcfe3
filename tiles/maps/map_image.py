"""One map image of several sources, as OGC API - Maps answers it."""

from __future__ import annotations

from collections.abc import Sequence

from tiles.maps.images import compose, encode_image, fill_background
from tiles.maps.source import Box, MapSource, check_request, empty_image


def map_image(
    sources: Sequence[MapSource],
    bbox: Box,
    crs: str,
    width: int,
    height: int,
    *,
    media_type: str = "image/png",
    background: str | None = None,
) -> bytes:
    """Draw the sources over each other, the first one lowest, and encode the image.

    `bbox` has easting or longitude first whatever the CRS says; without sources the image is empty. `background` is
    #rgb, #rrggbb or #rrggbbaa. Raises MapAreaError, MapSizeError, UnsupportedCrs, UnsupportedImageFormat, MapSourceError
    and, for the background, StyleError.
    """
    request = check_request(bbox, crs, width, height)
    layers = [source.render(request.bbox, crs, width, height) for source in sources]
    pixels = compose(layers) if layers else empty_image(width, height)
    if background is not None:
        pixels = fill_background(pixels, background)
    return encode_image(pixels, media_type)
