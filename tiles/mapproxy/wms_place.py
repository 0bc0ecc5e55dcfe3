"""CRS, BBOX, WIDTH and HEIGHT of a WMS request (OGC 06-042 clauses 7.3.3.5 to 7.3.3.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import CRS

from tiles.crs import transformer
from tiles.mapproxy.exceptions import MapRequestRefused
from tiles.mapproxy.layer import MapView
from tiles.mapproxy.parameters import integer, number, required
from tiles.maps.source import MAXIMUM_EDGE, MAXIMUM_PIXELS, Box

ALWAYS_OFFERED_CRS = ("EPSG:3857", "EPSG:4326", "CRS:84", "EPSG:4490")
CGCS2000_ZONES = tuple(f"EPSG:{code}" for code in range(4513, 4555))
"""The 3-degree Gauss-Kruger zones of CGCS2000: with the zone's number (4513-4533), and by its meridian (4534-4554)."""
_OFFERED = frozenset((*ALWAYS_OFFERED_CRS, *CGCS2000_ZONES))
_ALIASES = {"EPSG:900913": "EPSG:3857", "OGC:CRS84": "CRS:84", "URN:OGC:DEF:CRS:OGC:1.3:CRS84": "CRS:84"}
_SAMPLES = 9


@dataclass(frozen=True, slots=True)
class WmsPlace:
    """What part of the world is asked, on how many pixels. `box` has easting or longitude first whatever the version."""

    crs: str
    box: Box
    width: int
    height: int


def read_place(parameters: Mapping[str, str], version: str, view: MapView) -> WmsPlace:
    """The place, once it is one that can be drawn in a CRS of every service, a zone of CGCS2000, or one that a layer
    of the view is stored in.

    Raises MapRequestRefused.
    """
    key = "CRS" if version == "1.3.0" else "SRS"
    if key not in parameters and {"CRS", "SRS"} & parameters.keys():
        key = "SRS" if key == "CRS" else "CRS"  # the other version's name: what is meant is plain
    code = required(parameters, key).upper()
    code = _ALIASES.get(code, code)
    if code not in _OFFERED and code not in view.zone_crs:
        listed = ", ".join((*ALWAYS_OFFERED_CRS, *view.zone_crs))
        raise MapRequestRefused(
            f"{key} {code[:60]!r} is not offered; offered are {listed}, and EPSG:4513 to EPSG:4554",
            "InvalidCRS" if version == "1.3.0" else "InvalidSRS",
            key.lower(),
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
    if width * height > MAXIMUM_PIXELS:
        raise MapRequestRefused(
            f"{width} x {height} pixels are more than the {MAXIMUM_PIXELS} that are drawn at once",
            "",
            "width",
        )
    return WmsPlace(code, box, width, height)


@lru_cache(maxsize=256)
def _is_northing_first(code: str) -> bool:
    """Whether the authority puts northing or latitude first."""
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
