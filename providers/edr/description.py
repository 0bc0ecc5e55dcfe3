"""What the data queries are, for documents: names, formats, units; opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from providers.features.crs import reference_system

QUERY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "position": "Values at one position or several",
        "radius": "Values around a position",
        "area": "Values in a polygon",
        "cube": "Values in a box",
        "trajectory": "Values along a line; over a terrain its profile",
        "corridor": "Values along a line and beside it",
        "locations": "Values at named places",
    }
)
RASTER_QUERIES = ("position", "radius", "area", "cube", "trajectory", "corridor")
SERIES_QUERIES = ("locations", "position", "radius", "area", "cube", "trajectory", "corridor")
OUTPUT_FORMATS = ("CoverageJSON", "GeoJSON", "CSV")

UNITS_OF_LENGTH: Mapping[str, float] = MappingProxyType(
    {
        "m": 1.0,
        "metre": 1.0,
        "metres": 1.0,
        "meter": 1.0,
        "meters": 1.0,
        "km": 1000.0,
        "kilometre": 1000.0,
        "kilometres": 1000.0,
        "kilometer": 1000.0,
        "kilometers": 1000.0,
        "ft": 0.3048,
        "feet": 0.3048,
        "mi": 1609.344,
        "miles": 1609.344,
        "nmi": 1852.0,
    }
)
"""Metres of each unit that within-units, width-units and height-units may name (EDR leaves the list to the server)."""


@lru_cache(maxsize=256)
def wkt_of(uri: str) -> str:
    """The WKT of a CRS for `crs_details`. Raises UnknownReferenceSystem."""
    return str(reference_system(uri).crs.to_wkt())
