"""Which CRS the names in city models stand for: URN, URL, short and compound forms."""

from __future__ import annotations

import re

from pyproj import CRS

from tiles.three_d.placement import as_crs

# urn:ogc:def:crs:EPSG::7415, urn:ogc:def:crs:EPSG:6.12:3068, http(s)://www.opengis.net/def/crs/EPSG/0/7415,
# http://www.opengis.net/gml/srs/epsg.xml#7415, EPSG:7415, EPSG/7415
_EPSG = re.compile(r"EPSG(?:/[^/]*/|:[^:]*:|:|/|\.xml#)(\d+)$", re.IGNORECASE)
_PARTS = re.compile(r"\bcrs:(EPSG:[^:,]*:\d+)", re.IGNORECASE)


def crs_of(name: str | None) -> CRS | None:
    """The CRS a file names, None where it names none. Raises PlacementError where PROJ does not know it.

    Compound names (`urn:ogc:def:crs,crs:EPSG::25832,crs:EPSG::7837`, `EPSG:25832+7837`, and two URLs with `crs-compound`) become compound CRS.
    """
    if name is None or not name.strip():
        return None
    text = name.strip()
    parts = [_code(part) for part in _PARTS.findall(text)]
    if len(parts) == 2 and all(parts):
        return as_crs(f"EPSG:{parts[0]}+{parts[1]}")
    if "crs-compound" in text.lower():
        codes = re.findall(r"[?&]\d+=[^&]*?EPSG/[^/&]*/(\d+)", text, re.IGNORECASE)
        if len(codes) == 2:
            return as_crs(f"EPSG:{codes[0]}+{codes[1]}")
    code = _code(text)
    if code is not None:
        return as_crs(f"EPSG:{code}")
    both = re.fullmatch(r"EPSG:(\d+)\s*\+\s*(?:EPSG:)?(\d+)", text, re.IGNORECASE)
    return as_crs(f"EPSG:{both[1]}+{both[2]}" if both else text)


def _code(text: str) -> str | None:
    found = _EPSG.search(text)
    return found.group(1) if found else None


def is_north_first_form(name: str | None) -> bool:
    """Whether coordinates under this name come in the axis order of the authority: URN and URL forms do, short ones are x, y."""
    return name is not None and name.strip().lower().startswith(("urn:", "http:", "https:"))
