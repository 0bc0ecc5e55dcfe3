"""Coordinate reference systems as map requests name them. Lookups in PROJ's database are slow, so answers are kept."""

from __future__ import annotations

from functools import lru_cache

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from tiles.errors import UnsupportedCrs

_ALIASES = {"CRS:84": "OGC:CRS84", "CRS84": "OGC:CRS84", "EPSG:900913": "EPSG:3857"}


@lru_cache(maxsize=256)
def named_crs(text: str) -> CRS:
    """The CRS of a name or WKT as it is, to be told to others. Raises UnsupportedCrs."""
    try:
        return CRS.from_user_input(_ALIASES.get(text, text))
    except CRSError as error:
        raise UnsupportedCrs(
            f"CRS {text[:80]!r} is unknown; give a code such as EPSG:3857 or an OGC URI of a CRS"
        ) from error


@lru_cache(maxsize=256)
def parse_crs(text: str) -> CRS:
    """The CRS to calculate with for a name: "EPSG:4547", "CRS:84", an OGC URI or URN, or WKT. Raises UnsupportedCrs.

    EPSG:4490 (CGCS2000 in degrees) is given as CRS84: the two differ by centimetres and EPSG's transformation between them
    changes nothing, but from a third datum PROJ knows a way to WGS 84 only, and would leave a shift of 100 m unsaid.
    """
    crs = named_crs(text)
    return named_crs("OGC:CRS84") if crs.to_authority() == ("EPSG", "4490") else crs


@lru_cache(maxsize=256)
def mapnik_definition(text: str) -> str:
    """What Mapnik is told: an EPSG code where there is one, else WKT. Mapnik always takes easting or longitude first."""
    crs = parse_crs(text)
    if crs.is_compound:
        crs = next((part for part in crs.sub_crs_list if not part.is_vertical), crs)
    authority = crs.to_authority()
    if authority == ("OGC", "CRS84"):
        return "epsg:4326"
    if authority is not None and authority[0] == "EPSG":
        return f"epsg:{authority[1]}"
    return crs.to_wkt()


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Transformer:
    """From one CRS to another, easting or longitude first on both sides. Raises UnsupportedCrs."""
    try:
        return Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
    except ProjError as error:
        raise UnsupportedCrs(f"no transformation leads from {source[:80]!r} to {target[:80]!r}") from error


@lru_cache(maxsize=256)
def metres_per_unit(text: str) -> float:
    """Metres of one unit of the first axis; for degrees, on the equator."""
    crs = parse_crs(text)
    factor = float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0
    return factor * 6378137.0 if crs.is_geographic else factor
