"""Coordinate reference systems of coverages: described once, and boxes carried between them."""

from __future__ import annotations

import math
from functools import lru_cache

import pyproj
from pyproj.exceptions import ProjError

from providers.errors import InvalidParameter, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, describe_crs, reference_system
from tiles.rasters.source import Bounds, RasterDescription

_EDGE_POINTS = 21


@lru_cache(maxsize=128)
def _described(crs: pyproj.CRS) -> ReferenceSystem:
    return describe_crs(crs)


def own_reference(description: RasterDescription) -> ReferenceSystem:
    """The CRS of a coverage."""
    return _described(description.crs)


def named_reference(name: str, uri: str) -> ReferenceSystem:
    """The CRS that parameter `name` asks for. Raises InvalidParameter."""
    try:
        system = reference_system(uri)
    except UnknownReferenceSystem as error:
        raise InvalidParameter(name, uri, f"the URI of a known CRS ({error})") from error
    if system.border:
        raise InvalidParameter(name, uri, "the URI of a CRS; coverages are not shifted, features are")
    return system


def same(first: ReferenceSystem, second: ReferenceSystem) -> bool:
    """Whether coordinates need no transformation between the two, the order of axes aside."""
    return first is second or first.uri == second.uri != "" or (first.is_wgs84 and second.is_wgs84)


@lru_cache(maxsize=256)
def transformer(source: pyproj.CRS, target: pyproj.CRS) -> pyproj.Transformer:
    """From one horizontal CRS to another, easting first."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def box_between(name: str, box: Bounds, source: ReferenceSystem, target: ReferenceSystem) -> Bounds:
    """The box around a box of another CRS, easting first. Raises InvalidParameter where it cannot be placed there."""
    if same(source, target):
        return box
    try:
        change = transformer(source.horizontal, target.horizontal)
        edges = change.transform_bounds(*box, densify_pts=_EDGE_POINTS)
    except ProjError:
        edges = (math.inf,) * 4
    if not all(map(math.isfinite, edges)):
        shown = ",".join(f"{one:g}" for one in box)
        raise InvalidParameter(name, shown, f"a box within the area of {target.crs.name}")
    return Bounds(*edges)


def axis_labels(system: ReferenceSystem) -> tuple[str, str]:
    """The labels of the axes, easting first: ("Lon", "Lat") or ("E", "N")."""
    return ("Lon", "Lat") if system.horizontal.is_geographic else ("E", "N")


def in_axis_order(system: ReferenceSystem, x: float, y: float) -> tuple[float, float]:
    """A pair as the authority of the CRS orders it."""
    return (y, x) if system.swap else (x, y)
