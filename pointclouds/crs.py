"""Coordinate reference systems of point clouds: from the file, from the caller, into WKT and names."""

import struct
from pathlib import Path
from typing import Final, TypeGuard

import pyproj
from pyproj.crs import CompoundCRS
from pyproj.exceptions import CRSError

from pointclouds.errors import MissingCrsError, UnusableCrsError
from pointclouds.las.geotiff_crs import user_defined_crs
from pointclouds.las.structures import Vlr

_PROJECTION: Final = "LASF_Projection"
_WKT_RECORD: Final = 2112
_GEOKEYS_RECORD, _DOUBLES_RECORD, _TEXTS_RECORD = 34735, 34736, 34737
# GeoTIFF 1.1 (OGC 19-008r4): key ids of the CRS codes
_GEODETIC_KEY, _PROJECTED_KEY, _VERTICAL_KEY = 2048, 3072, 4096
_USER_DEFINED: Final = 32767
_LONGEST_PRJ: Final = 65_536


def parse_crs(value: str | pyproj.CRS, what: str = "--crs") -> pyproj.CRS:
    """A CRS from an authority code ("EPSG:28992", "EPSG:28992+5709"), a URI, WKT or PROJJSON.

    Raises:
        UnusableCrsError: PROJ does not understand it; `what` says where the value came from.
    """
    if isinstance(value, pyproj.CRS):
        return value
    try:
        return pyproj.CRS.from_user_input(value)
    except CRSError as error:
        shown = value if len(value) <= 80 else value[:77] + "..."
        raise UnusableCrsError(
            f"{what} {shown!r} is not a coordinate reference system PROJ knows; give for example EPSG:28992"
        ) from error


def crs_of_records(records: list[Vlr], name: str) -> pyproj.CRS | None:
    """The CRS in the WKT or GeoTIFF records of a LAS file; WKT wins. None if there is none, or one defined only in part.

    Raises:
        UnusableCrsError: a record names a CRS that PROJ cannot read.
    """
    ours = {record.record_id: record.data for record in reversed(records) if record.user_id == _PROJECTION}
    wkt = ours.get(_WKT_RECORD, b"").split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    if wkt:
        return registered(parse_crs(wkt, f"{name}: the WKT record"))
    directory = ours.get(_GEOKEYS_RECORD, b"")
    keys = _geo_keys(directory)
    if keys.get(_PROJECTED_KEY) == _USER_DEFINED:
        return user_defined_crs(directory, ours.get(_DOUBLES_RECORD, b""), ours.get(_TEXTS_RECORD, b""), keys)
    code = next((keys[key] for key in (_PROJECTED_KEY, _GEODETIC_KEY) if _is_code(keys.get(key))), None)
    if code is None:
        return None
    horizontal = parse_crs(f"EPSG:{code}", f"{name}: the GeoTIFF keys'")
    vertical = keys.get(_VERTICAL_KEY)
    if not _is_code(vertical) or horizontal.is_geocentric:
        return horizontal
    try:
        height = pyproj.CRS.from_epsg(vertical)
        return CompoundCRS(f"{horizontal.name} + {height.name}", [horizontal, height])
    except CRSError:
        # Old writers put ellipsoid codes here (GeoTIFF 1.0, section 6.3.4.1): no vertical CRS then.
        return horizontal


def registered(crs: pyproj.CRS) -> pyproj.CRS:
    """The authority's own definition of a CRS that names it, and differs from it by what WKT 1 cannot say: northing before easting.

    Without this no point cloud in CGCS2000 would be known by its code again. A CRS that differs otherwise is given back as it is.
    """
    named = crs.to_json_dict().get("id")
    if not named and crs.is_compound:
        parts = [registered(part) for part in crs.sub_crs_list]
        changed = any(new is not old for new, old in zip(parts, crs.sub_crs_list, strict=True))
        return CompoundCRS(crs.name, parts) if changed else crs
    if not named:
        return crs
    try:
        # Compared, not identified: PROJ takes tens of milliseconds for that, and a flight has thousands of tiles.
        found = pyproj.CRS.from_authority(named["authority"], named["code"])
        same = found.equals(crs) or pyproj.CRS.from_wkt(found.to_wkt("WKT1_GDAL")).equals(crs)
    except (CRSError, KeyError):
        return crs
    return found if same else crs


def _is_code(value: int | None) -> TypeGuard[int]:
    return value is not None and 1024 <= value < _USER_DEFINED


def _geo_keys(data: bytes) -> dict[int, int]:
    """Key id -> value, of the keys whose value stands in the directory itself."""
    found: dict[int, int] = {}
    for position in range(8, len(data) - 7, 8):
        key, location, _, value = struct.unpack_from("<4H", data, position)
        if location == 0:
            found[key] = value
    return found


def require_usable(crs: pyproj.CRS | None, name: str) -> pyproj.CRS:
    """The CRS if it is projected (alone or in a compound).

    Raises:
        MissingCrsError: None was found.
        UnusableCrsError: degrees or geocentric axes, which an octree of metres cannot be built on.
    """
    if crs is None:
        raise MissingCrsError(
            f"{name} names no coordinate reference system that can be read; "
            "say which one it is with --crs, for example --crs EPSG:28992 or --crs EPSG:28992+5709"
        )
    if not horizontal_part(crs).is_projected:
        raise UnusableCrsError(
            f"{name}: {crs.name} is not projected; a point cloud needs a projected CRS (metres or feet). "
            "Correct --crs if this is not what its coordinates are, or have it reprojected with --target-crs"
        )
    return crs


def crs_beside(path: Path) -> pyproj.CRS | None:
    """The CRS in the .prj beside a file (WKT of OGC or of Esri), None where there is none.

    Raises:
        UnusableCrsError: the .prj holds none that PROJ can read.
    """
    for beside in (path.with_suffix(".prj"), path.with_suffix(".PRJ")):
        if beside.is_file() and beside != path:
            text = beside.read_bytes()[:_LONGEST_PRJ].decode("utf-8", "replace").strip("\ufeff\0 \r\n\t")
            return parse_crs(text, beside.name) if text else None
    return None


def with_vertical(crs: pyproj.CRS, vertical: str | pyproj.CRS) -> pyproj.CRS:
    """The horizontal CRS with this vertical one in place of its own.

    Raises:
        UnusableCrsError: `vertical` is no vertical CRS.
    """
    height = parse_crs(vertical, "the vertical CRS")
    if not height.is_vertical or height.is_compound:
        raise UnusableCrsError(
            f"{height.name} is no vertical coordinate reference system; give one such as EPSG:5737 or EPSG:5709"
        )
    flat = horizontal_part(crs)
    if flat.is_geocentric:
        raise UnusableCrsError(f"{flat.name} has its heights in x, y and z; it takes no vertical CRS")
    flat = flat.to_2d()
    return CompoundCRS(f"{flat.name} + {height.name}", [flat, height])


def horizontal_part(crs: pyproj.CRS) -> pyproj.CRS:
    """The horizontal CRS of a compound CRS, else the CRS itself; without a wrapping datum shift."""
    if crs.is_bound and crs.source_crs is not None:
        return horizontal_part(crs.source_crs)
    if crs.is_compound:
        return horizontal_part(crs.sub_crs_list[0])
    return crs


def vertical_part(crs: pyproj.CRS) -> pyproj.CRS | None:
    """The vertical CRS of a compound CRS, or None."""
    if crs.is_bound and crs.source_crs is not None:
        return vertical_part(crs.source_crs)
    if not crs.is_compound:
        return None
    vertical = crs.sub_crs_list[-1]
    if vertical.is_bound and vertical.source_crs is not None:
        return vertical.source_crs
    return vertical if vertical.is_vertical else None


def vertical_unit(crs: pyproj.CRS) -> float:
    """Metres of one unit of z: the vertical CRS's unit, else the horizontal one's (the custom of feet files)."""
    vertical = vertical_part(crs)
    axes = vertical.axis_info if vertical is not None else crs.axis_info
    return float(axes[-1].unit_conversion_factor) if axes else 1.0


def vertical_name(crs: pyproj.CRS) -> str:
    """The name of the vertical reference, or "unknown"."""
    vertical = vertical_part(crs)
    if vertical is not None:
        return str(vertical.name)
    return "ellipsoid" if len(crs.axis_info) == 3 else "unknown"


def crs_identifier(crs: pyproj.CRS) -> str:
    """The OGC URI of a CRS an authority has registered (OGC 11-135r2), else its WKT."""
    authority = crs.to_authority(min_confidence=100)
    if authority is None:
        return str(crs.to_wkt("WKT2_2019"))
    return f"http://www.opengis.net/def/crs/{authority[0]}/0/{authority[1]}"


def las_wkt(crs: pyproj.CRS) -> str:
    """WKT 1 as LAS 1.4 asks for it; WKT 2 for the few CRSs WKT 1 cannot say."""
    try:
        return str(crs.to_wkt("WKT1_GDAL"))
    except CRSError:
        return str(crs.to_wkt("WKT2_2019"))
