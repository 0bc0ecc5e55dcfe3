"""Coordinate reference systems of map requests: names, axis order, boxes from one to another, and metres on the ground.

Inside the server a box always has easting or longitude first; requests and answers have the order of the CRS's authority.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from server.http.errors import InvalidParameter
from server.registry.catalogue import CRS84, CRS84H

FARTHEST = 1e9
"""In units of any CRS: feet on the far side of a projection are less."""

type Box = tuple[float, float, float, float]
"""minx, miny, maxx, maxy; easting or longitude first. minx > maxx in degrees: over the antimeridian."""

_EPSG_NAME = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/EPSG/[0-9.]{1,12}/|urn:ogc:def:crs:EPSG:[0-9.]{0,12}:|EPSG:)([0-9]{1,9})",
    re.ASCII,
)
_CRS84_NAMES = frozenset(
    (
        CRS84,
        CRS84.replace("http:", "https:"),
        CRS84H,
        CRS84H.replace("http:", "https:"),
        "OGC:CRS84",
        "OGC:CRS84h",
        "CRS84",
        "CRS:84",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "urn:ogc:def:crs:OGC::CRS84",
    )
)
_GEOD = Geod(ellps="WGS84")
_WEB_MERCATOR_ROUND = 2 * math.pi * 6378137.0


@lru_cache(maxsize=64)
def known_crs(uri: str, name: str = "crs") -> CRS:
    """A CRS by URI, URN, CURIE or code, without its height. Raises InvalidParameter of the parameter `name`."""
    text = uri[1:-1] if uri.startswith("[") and uri.endswith("]") else uri
    if text in _CRS84_NAMES:
        return CRS.from_user_input("OGC:CRS84")
    match = _EPSG_NAME.fullmatch(text)
    if match is None:
        raise _unknown(uri, name)
    try:
        found = CRS.from_epsg(int(match.group(1)))
    except ProjError as error:
        raise _unknown(uri, name) from error
    if found.is_compound:
        found = found.sub_crs_list[0]
    if not (found.is_geographic or found.is_projected):
        raise InvalidParameter(
            f"{name}={uri[:80]!r} is a {found.type_name}; allowed: a geographic or projected CRS", name, uri
        )
    return found.to_2d()


def _unknown(uri: str, name: str) -> InvalidParameter:
    allowed = f"{CRS84} or http://www.opengis.net/def/crs/EPSG/0/<code>"
    return InvalidParameter(
        f"{name}={uri[:80]!r} is no CRS known here; allowed: {allowed}", name, uri, allowed
    )


def storage_crs_uri(uri: str) -> str:
    """The storage CRS of a collection where maps can be asked for in it, else CRS84."""
    try:
        known_crs(uri)
    except InvalidParameter:
        return CRS84
    return uri


def swaps_axes(crs: CRS) -> bool:
    """True where the authority names northing or latitude first."""
    return bool(crs.axis_info) and crs.axis_info[0].direction in ("north", "south")


def uri_of(crs: CRS) -> str:
    """The URI of a CRS that `known_crs` gave."""
    authority = crs.to_authority()
    code = authority[1] if authority and authority[0] == "EPSG" else ""
    return f"http://www.opengis.net/def/crs/EPSG/0/{code}" if code else CRS84


def swapped(box: Box) -> Box:
    """The box with its axes in the other order."""
    return box[1], box[0], box[3], box[2]


def short_name(crs: CRS) -> str:
    """ "EPSG:4547", "OGC:CRS84", as the drawing rooms name a CRS."""
    authority = crs.to_authority()
    return f"{authority[0]}:{authority[1]}" if authority else crs.to_wkt()


def full_turn(crs: CRS) -> float | None:
    """Units after which x comes round to the same meridian; None where it never does."""
    if crs.is_geographic:
        return 360.0 if crs.axis_info[0].unit_name.startswith("degree") else None
    return _WEB_MERCATOR_ROUND if crs.to_authority() in (("EPSG", "3857"), ("EPSG", "3395")) else None


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def transformer(source: CRS, target: CRS) -> Transformer:
    """From one CRS to another, easting or longitude first. Raises ProjError."""
    return _transformer(short_name(source), short_name(target))


def transformed_box(box: Box, source: CRS, target: CRS) -> Box:
    """The box around a box in another CRS. minx > maxx of a geographic source lies over the antimeridian.

    Raises InvalidParameter where the target cannot show it.
    """
    turn = full_turn(source)
    if box[0] > box[2] and turn is not None:
        box = (box[0], box[1], box[2] + turn, box[3])
    if source == target:
        return box
    there = full_turn(target)
    if turn is not None and there is not None and max(-box[0], box[2]) > turn / 2:
        # Where both go round, x is x: PROJ would fold what lies beyond the antimeridian back.
        across = there / turn
        middle = _transformed((-turn / 4, box[1], turn / 4, box[3]), source, target)
        return box[0] * across, middle[1], box[2] * across, middle[3]
    return _transformed(box, source, target)


def _transformed(box: Box, source: CRS, target: CRS) -> Box:
    box = _within_web_mercator(box, source, target)
    try:
        result = transformer(source, target).transform_bounds(*box, densify_pts=21)
    except ProjError as error:
        raise InvalidParameter(f"the box {box} cannot be shown in the CRS asked for", "bbox") from error
    if not all(map(math.isfinite, result)) or result[0] >= result[2] or result[1] >= result[3]:
        raise InvalidParameter(f"the box {box} lies outside the CRS asked for", "bbox")
    return float(result[0]), float(result[1]), float(result[2]), float(result[3])


def _within_web_mercator(box: Box, source: CRS, target: CRS) -> Box:
    """Without the poles, which lie at infinity in Mercator's projection."""
    if not (source.is_geographic and full_turn(target) is not None and target.is_projected):
        return box
    south, north = max(box[1], -85.06), min(box[3], 85.06)
    return (box[0], south, box[2], north) if south < north else box


def ground_metres(crs: CRS, x: float, y: float) -> tuple[float, float]:
    """Metres on the ground of one unit of x and of y at a place of the CRS; (1, 1) where PROJ cannot say.

    A scale denominator is one of the ground, not of the projection (OGC 20-058, 11.4).
    """
    if crs.is_geographic:
        y = min(max(y, -89.9), 89.9)
    step = 1e-4 if crs.is_geographic else 10.0
    try:
        to_84 = transformer(crs, known_crs(CRS84))
        longitudes, latitudes = to_84.transform(
            [x - step, x + step, x, x], [y, y, y - step, y + step], errcheck=True
        )
        _, _, metres = _GEOD.inv(longitudes[::2], latitudes[::2], longitudes[1::2], latitudes[1::2])
    except (ProjError, ValueError):
        return 1.0, 1.0
    across, up = (float(length) / (2 * step) for length in metres)
    if not (math.isfinite(across) and math.isfinite(up) and across > 0 and up > 0):
        return 1.0, 1.0
    return across, up


def valid_area(crs: CRS, xs: NDArray[np.floating[Any]], ys: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which places (rows of `ys`, columns of `xs`) are inside the CRS: they have a longitude and a latitude, and come back.

    Shape (len(ys), len(xs)).
    """
    if crs.is_geographic:
        turn = full_turn(crs) or 400.0
        return np.asarray((np.abs(ys) <= turn / 4)[:, None] & (np.abs(xs) <= turn / 2)[None, :])
    if full_turn(crs) is not None:
        half = _WEB_MERCATOR_ROUND / 2
        return np.asarray((np.abs(ys) <= half)[:, None] & (np.abs(xs) <= half)[None, :])
    x, y = np.meshgrid(xs, ys)
    try:
        to_84 = transformer(crs, known_crs(CRS84))
        longitudes, latitudes = to_84.transform(x, y)
        back_x, back_y = to_84.transform(longitudes, latitudes, direction="INVERSE")
    except ProjError:
        return np.ones(x.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        near = (np.abs(back_x - x) <= 1.0) & (np.abs(back_y - y) <= 1.0)
        return np.asarray(near & (np.abs(longitudes) <= 180.0) & (np.abs(latitudes) <= 90.0))
