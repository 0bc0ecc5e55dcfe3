"""The style of a raster's map where the publisher names none: from its bands, or from the palette that its file carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_MOST_CLASSES = 256
"""As many as a style may have."""


def map_kind(bands: Sequence[dict[str, Any]], *, is_terrain: bool, is_series: bool) -> str:
    """Which default style: "dem" for heights, "values" for floating point of anything else, "raster" for whole numbers of one
    band, "image" for bytes of three bands or more, "deep image" for such of other types.

    `bands` are items of the registry's `bands`. Floating point is taken for heights unless `is_series`: arrays and series in
    time are of what changes.
    """
    dtype = str(bands[0]["dtype"])
    if is_terrain:
        return "dem"
    if len(bands) >= 3:
        return "image" if dtype == "uint8" else "deep image"
    if dtype.startswith("float"):
        return "values" if is_series or len(bands) > 1 else "dem"
    return "raster"


def palette_style(bands: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Keys of a style with the colours that a file of codes brings along; None for a raster without a palette.

    Transparent entries are no classes, nor those outside of the range of codes that are there: palettes have an entry for
    every byte. Codes are texts, as JSON has them.
    """
    palette = bands[0].get("colours")
    if not palette or len(bands) > 1:
        return None
    low, high = bands[0].get("minimum"), bands[0].get("maximum")
    known = low is not None and high is not None
    classes = {
        str(code): "#" + "".join(f"{part:02x}" for part in colour)
        for code, colour in palette
        if colour[3] > 0 and (not known or low <= code <= high)
    }
    if not 0 < len(classes) <= _MOST_CLASSES:
        return None
    return {
        "title": {"en": "Colours of the file", "zh": "文件自带配色"},
        "raster": {"kind": "classes", "classes": classes, "resampling": "nearest"},
    }
