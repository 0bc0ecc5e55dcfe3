"""pygeoapi plugin: OGC API - Maps (20-058) over the renderers of `tiles.maps`.

Errors of `providers.errors` and `tiles.errors` pass through pygeoapi untouched, so that the server's one table gives them
their status.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pygeoapi.provider.base import BaseProvider

from providers.errors import InvalidParameter
from providers.features.query import CRS84
from providers.maps.sources import find_map_source
from tiles.maps import map_image

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
MAXIMUM_SIDE = 4096
_WHITE = "#ffffff"


class ChengtuMapProvider(BaseProvider):  # type: ignore[misc] # pygeoapi is untyped
    """Map images of one collection; `data` is the key of its map source (see `providers.maps.sources`)."""

    def get_fields(self) -> dict[str, Any]:
        """No fields: a map is drawn in the collection's style, whole."""
        return {}

    @property
    def fields(self) -> dict[str, Any]:
        """No fields."""
        return {}

    def query(
        self,
        style: str | None = None,
        bbox: Sequence[float] = (-180.0, -90.0, 180.0, 90.0),
        width: int = 500,
        height: int = 300,
        crs: str = CRS84,
        transparent: object = True,
        format_: str = "png",
        **_: Any,
    ) -> bytes:
        """An encoded image of `bbox`, four numbers in `crs` with easting or longitude first, as pygeoapi hands them on.

        Raises InvalidParameter, and what `tiles.maps.map_image` raises.
        """
        if style not in (None, "default"):
            raise InvalidParameter("style", str(style), "default")
        media_type = MEDIA_TYPES.get(format_)
        if media_type is None:
            raise InvalidParameter("f", str(format_), ", ".join(MEDIA_TYPES))
        for name, side in (("width", width), ("height", height)):
            if not 1 <= side <= MAXIMUM_SIDE:
                raise InvalidParameter(name, str(side), f"pixels from 1 to {MAXIMUM_SIDE}")
        box = _box(bbox)
        see_through = _truth(transparent) and media_type != MEDIA_TYPES["jpeg"]
        return map_image(
            [find_map_source(self.data)],
            box,
            crs,
            width,
            height,
            media_type=media_type,
            background=None if see_through else _WHITE,
        )


def _box(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    numbers = tuple(float(one) for one in bbox)
    if len(numbers) != 4 or not all(math.isfinite(one) for one in numbers):
        raise InvalidParameter("bbox", ",".join(map(str, bbox)), "four finite numbers, lower corner first")
    if numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise InvalidParameter(
            "bbox", ",".join(map(str, bbox)), "an upper corner above and beside the lower one"
        )
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _truth(value: object) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise InvalidParameter("transparent", str(value), "true or false")
    return text == "true"
