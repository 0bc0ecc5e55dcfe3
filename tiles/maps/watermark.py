"""A map with text over it: whose it is, or that what it shows is simulated."""

from __future__ import annotations

from tiles.maps.images import draw_watermark
from tiles.maps.source import Box, MapSource, Pixels, check_request


class WatermarkedMapSource:
    """Another source with a text over what it shows, at places that hang on the ground, so that tiles fit together.

    `shifted` takes places between the usual ones, where another text may stand, twice as dense.
    """

    def __init__(self, source: MapSource, text: str, *, shifted: bool = False) -> None:
        self._source = source
        self._text = text
        self._shifted = shifted

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw the source, then the text (see MapSource)."""
        pixels = self._source.render(bbox, crs, width, height, instant=instant)
        request = check_request(bbox, crs, width, height)
        return draw_watermark(pixels, self._text, request, shifted=self._shifted)
