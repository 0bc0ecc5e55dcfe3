"""Coordinate reference systems by URI, and cached transformers between them.

Coordinates are kept and computed as x = east, y = north ("GIS order") everywhere inside; `ReferenceSystem.swap` says whether
the authority's order, which OGC API - Features Part 2 requires on the wire, is the other one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from providers.errors import UnknownReferenceSystem
from providers.features.query import CRS84, BBox

CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"
_URI = re.compile(
    r"(?:https?://www\.opengis\.net/def/crs/|urn:ogc:def:crs:)(EPSG|OGC)[/:]([0-9.]*)[/:](\w{1,10})",
    re.IGNORECASE,
)
_CURIE = re.compile(r"\[?(EPSG|OGC):(\w{1,10})\]?", re.IGNORECASE)
# One unit of the seventh decimal of a degree is 11 mm on the ground, of the fourth decimal of a metre 0.1 mm.
_DEGREE_DECIMALS = 7
_LENGTH_DECIMALS = 4
HEIGHT_DECIMALS = 3

Transform = Callable[
    [NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]
]


@dataclass(frozen=True)
class ReferenceSystem:
    """A CRS as features are served in it.

    `uri` is its canonical URI, "" where it has no code. `horizontal` is its two-dimensional part, to compute with in GIS
    order: heights pass unchanged.
    `swap`: the authority's order is north, east. `decimals`: how coordinates in it are rounded.
    """

    uri: str
    crs: pyproj.CRS
    horizontal: pyproj.CRS
    swap: bool
    decimals: int
    is_wgs84: bool


def crs_uri(code: str) -> str:
    """The URI of "EPSG:4547" or "OGC:CRS84". Raises UnknownReferenceSystem for anything else."""
    match = _CURIE.fullmatch(code.strip())
    if match is None:
        raise UnknownReferenceSystem(f"{code!r} is not a code like EPSG:4547 or OGC:CRS84")
    authority, number = match.group(1).upper(), match.group(2)
    if authority == "EPSG":
        return f"http://www.opengis.net/def/crs/EPSG/0/{number}"
    return _ogc_uri(number)


def _ogc_uri(code: str) -> str:
    if code.upper() == "CRS84":
        return CRS84
    if code.upper() == "CRS84H":
        return CRS84H
    raise UnknownReferenceSystem(
        f"OGC defines no geographic CRS {code[:40]!r} that is served here; use CRS84 or CRS84h"
    )


def _canonical(uri: str) -> str:
    match = _URI.fullmatch(uri) or _CURIE.fullmatch(uri)
    if match is None:
        raise UnknownReferenceSystem(f"{uri[:200]!r} is not a CRS URI like {CRS84}")
    authority, code = match.group(1).upper(), match.group(match.lastindex or 2)
    return f"http://www.opengis.net/def/crs/EPSG/0/{code}" if authority == "EPSG" else _ogc_uri(code)


@lru_cache(maxsize=256)
def reference_system(uri: str) -> ReferenceSystem:
    """The CRS behind a URI, a URN or a CURIE. Raises UnknownReferenceSystem."""
    canonical = _canonical(uri)
    if canonical in (CRS84, CRS84H):
        return _describe(canonical, pyproj.CRS.from_authority("OGC", "CRS84"))
    code = canonical.rsplit("/", 1)[1]
    try:
        crs = pyproj.CRS.from_authority("EPSG", code)
    except CRSError as error:
        raise UnknownReferenceSystem(f"PROJ knows no EPSG code {code!r}") from error
    return _describe(canonical, crs)


def describe_crs(crs: pyproj.CRS) -> ReferenceSystem:
    """The same for a CRS that comes with data; `uri` is "" where no authority code fits it exactly."""
    authority = crs.to_authority(min_confidence=100)
    if authority is not None and authority[0] in ("EPSG", "OGC"):
        try:
            return reference_system(f"{authority[0]}:{authority[1]}")
        except UnknownReferenceSystem:
            pass  # an OGC code we do not serve by name: still good as storage
    return _describe("", crs)


def _describe(uri: str, crs: pyproj.CRS) -> ReferenceSystem:
    horizontal = crs.sub_crs_list[0] if crs.is_compound else crs.to_2d()
    is_crs84 = uri in (CRS84, CRS84H)
    if is_crs84:
        # The same datum and ellipsoid; PROJ finds operations to it four times as fast (0.1 s instead of 0.5 for EPSG:4547).
        horizontal = pyproj.CRS.from_epsg(4326)
    if not (horizontal.is_geographic or horizontal.is_projected):
        raise UnknownReferenceSystem(
            f"{crs.name!r} is neither geographic nor projected: features cannot be given in it"
        )
    geographic = horizontal.is_geographic
    decimals = _DEGREE_DECIMALS if geographic else _LENGTH_DECIMALS
    swap = not is_crs84 and _north_first(horizontal)
    return ReferenceSystem(uri, crs, horizontal, swap, decimals, is_crs84 or horizontal.to_epsg() == 4326)


def _north_first(crs: pyproj.CRS) -> bool:
    """Whether the authority gives the northward axis first: the rule PROJ normalises by for visualization."""
    first, second = crs.axis_info[0], crs.axis_info[1]
    if (first.direction, second.direction) == ("north", "east"):
        return True
    # Polar projections: both axes point along meridians, so only their names tell.
    return first.name.startswith("Northing") and second.name.startswith("Easting")


@lru_cache(maxsize=256)
def _transformer(source: pyproj.CRS, target: pyproj.CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def transform_between(source: ReferenceSystem, target: ReferenceSystem) -> Transform | None:
    """A function over (x, y) arrays in GIS order, or None where nothing has to be done."""
    if (
        source.horizontal is target.horizontal
        or (source.is_wgs84 and target.is_wgs84)
        or source.uri == target.uri != ""
    ):
        return None
    transformer = _transformer(source.horizontal, target.horizontal)

    def apply(
        x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return transformer.transform(x, y)

    return apply


def bbox_to_crs84(numbers: tuple[float, float, float, float], system: ReferenceSystem) -> BBox:
    """A box given in the authority's axis order, as the CRS84 box around it (edges densified).

    Raises ValueError where the CRS cannot place it on Earth.
    """
    first, second, third, fourth = numbers
    west, south, east, north = (second, first, fourth, third) if system.swap else numbers
    if system.is_wgs84:
        return BBox(west, south, east, north)
    transformer = _transformer(system.horizontal, reference_system(CRS84).horizontal)
    bounds = transformer.transform_bounds(west, south, east, north, densify_pts=21)
    if not all(np.isfinite(bounds)):
        raise ValueError("the box lies outside the area of its CRS")
    return BBox(*bounds)
