"""CRS, BBOX, WIDTH and HEIGHT of a WMS request (OGC 06-042 clauses 7.3.3.5 to 7.3.3.8)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import CRS

from tiles.mapproxy.configuration import MAXIMUM_OUTPUT_PIXELS
from tiles.mapproxy.exceptions import MapRequestRefused
from tiles.mapproxy.parameters import integer, number, required
from tiles.maps.crs import transformer
from tiles.maps.source import MAXIMUM_EDGE, Box

_SAMPLES = 9


@dataclass(frozen=True, slots=True)
class WmsPlace:
    """What part of the world is asked, on how many pixels. `box` has easting or longitude first whatever the version."""

    crs: str
    box: Box
    width: int
    height: int
    known: Mapping[str, str]
    """The parameters as they are handed on."""


def read_place(parameters: Mapping[str, str], version: str, offered: Collection[str]) -> WmsPlace:
    """The place, once it is one that can be drawn in one of the `offered` CRS. Raises MapRequestRefused."""
    key = "CRS" if version == "1.3.0" else "SRS"
    code = required(parameters, key).upper()
    if code not in offered:
        listed = ", ".join(sorted(offered))
        raise MapRequestRefused(
            f"{key} {code!r} is not offered; offered are {listed}", f"Invalid{key}", key.lower()
        )
    values = _four(required(parameters, "BBOX"))
    first, second, third, fourth = values
    swapped = version == "1.3.0" and _is_northing_first(code)
    box = (second, first, fourth, third) if swapped else values
    _check_on_earth(box, code, version, swapped=swapped)
    width, height = (integer(required(parameters, name), name) for name in ("WIDTH", "HEIGHT"))
    if not (1 <= width <= MAXIMUM_EDGE and 1 <= height <= MAXIMUM_EDGE):
        raise MapRequestRefused(
            f"WIDTH {width} and HEIGHT {height} must be 1 to {MAXIMUM_EDGE} pixels", "", "width"
        )
    if width * height > MAXIMUM_OUTPUT_PIXELS:
        raise MapRequestRefused(
            f"{width} x {height} pixels are more than the {MAXIMUM_OUTPUT_PIXELS} that are drawn at once",
            "",
            "width",
        )
    known = {key: code, "BBOX": ",".join(map(repr, values)), "WIDTH": str(width), "HEIGHT": str(height)}
    return WmsPlace(code, box, width, height, known)


@lru_cache(maxsize=256)
def _is_northing_first(code: str) -> bool:
    """Whether the authority puts northing or latitude first, as MapProxy decides it for the picture."""
    axes = CRS.from_user_input(code.replace("CRS:84", "OGC:CRS84")).axis_info
    return bool(axes) and axes[0].direction == "north"


def _four(text: str) -> Box:
    values = [number(part, "BBOX") for part in text.split(",")]
    if len(values) != 4:
        raise MapRequestRefused(f"BBOX {text!r} has {len(values)} numbers instead of 4", "", "bbox")
    if values[0] >= values[2] or values[1] >= values[3]:
        raise MapRequestRefused(f"BBOX {text!r} has no area; give both minima, then both maxima", "", "bbox")
    if max(map(abs, values)) > 1e9:
        raise MapRequestRefused(f"BBOX {text!r} reaches beyond anything on Earth", "", "bbox")
    return values[0], values[1], values[2], values[3]


def _check_on_earth(box: Box, code: str, version: str, *, swapped: bool) -> None:
    """Refuse a box of which no part has a place on Earth, most often degrees or swapped axes given for metres.

    A box that is only partly outside is drawn: a client that zooms out of a projected CRS asks for such boxes.
    """
    x, y = np.meshgrid(np.linspace(box[0], box[2], _SAMPLES), np.linspace(box[1], box[3], _SAMPLES))
    longitude, latitude = transformer(code, "OGC:CRS84").transform(x, y)
    if (np.isfinite(longitude) & np.isfinite(latitude)).any():
        return
    order = "northing, easting" if swapped else "easting, northing"
    raise MapRequestRefused(
        f"BBOX lies wholly outside the area of {code}; its values are in that CRS's units, in WMS {version} in the"
        f" order {order}",
        "",
        "bbox",
    )
