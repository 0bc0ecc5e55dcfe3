"""Tile matrix sets on CGCS2000: the geographic one, and one for each zone of the 3-degree Gauss-Kruger projection.

* `CGCS2000Quad`, EPSG:4490: the arrangement of WorldCRS84Quad (level 0: two tiles of 180 degrees), latitude first.
* `CGCS2000GK3Zone25` to `...Zone45`, EPSG:4513 to 4533: eastings carry the zone number (25 500 000 m on the central meridian).
* `CGCS2000GK3CM75E` to `...CM135E`, EPSG:4534 to 4554: the same zones by their central meridian, 500 000 m on it.

A zone's cells are powers of two of a metre: 16 384 m at level 0, 1 m at level 14, 1.6 cm at level 20. Tiles are 256 cells wide,
level 0 is one column of two rows: from the equator (northing 0) to northing 8 388 608 m, 2 097 152 m to either side of the
central meridian, which is a border of tiles from level 1 on. The northing comes first (x to the north, y to the east), as the
authority has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tiles.grids import CGCS2000_QUAD, EARTH_RADIUS, Grid

_FIRST_ZONE, _LAST_ZONE = 25, 45
_FIRST_MERIDIAN = 75  # of zone 25
_NUMBERED, _BY_MERIDIAN = 4513, 4534  # EPSG codes of the first zone
_SPAN = float(1 << 22)
_TOP = float(1 << 23)
_LAST_LEVEL = 20
_SOUTH, _NORTH = 16.7, 53.6  # latitudes of the zones' area of use


def cgcs2000_grids() -> Iterator[Grid]:
    """All of them, the geographic one first."""
    yield Grid(
        id=CGCS2000_QUAD,
        title="CGCS2000 for the World",
        uri="",
        crs="http://www.opengis.net/def/crs/EPSG/0/4490",
        authority_code="EPSG:4490",
        origin=(-180.0, 90.0),
        tile_span=180.0,
        columns=2,
        rows=1,
        max_zoom=23,
        metres_per_unit=math.pi * EARTH_RADIUS / 180.0,
        north_first=True,
    )
    for zone in range(_FIRST_ZONE, _LAST_ZONE + 1):
        yield _zone(zone, f"CGCS2000GK3Zone{zone}", _NUMBERED, zone * 1e6 + 5e5)
    for zone in range(_FIRST_ZONE, _LAST_ZONE + 1):
        yield _zone(zone, f"CGCS2000GK3CM{_meridian(zone)}E", _BY_MERIDIAN, 5e5)


def _meridian(zone: int) -> int:
    return _FIRST_MERIDIAN + 3 * (zone - _FIRST_ZONE)


def _zone(zone: int, name: str, first_code: int, false_easting: float) -> Grid:
    code = first_code + zone - _FIRST_ZONE
    meridian = _meridian(zone)
    return Grid(
        id=name,
        title=f"CGCS2000 3-degree Gauss-Kruger, central meridian {meridian}E",
        uri="",
        crs=f"http://www.opengis.net/def/crs/EPSG/0/{code}",
        authority_code=f"EPSG:{code}",
        origin=(false_easting - _SPAN / 2, _TOP),
        tile_span=_SPAN,
        columns=1,
        rows=2,
        max_zoom=_LAST_LEVEL,
        metres_per_unit=1.0,
        north_first=True,
        area=(meridian - 1.5, _SOUTH, meridian + 1.5, _NORTH),
    )


def zones_of(bbox84: tuple[float, float, float, float]) -> list[str]:
    """Identifiers of the zone that holds the centre of a box: with its number, and by its meridian; [] outside of China."""
    west, south, east, north = bbox84
    longitude, latitude = (west + east) / 2, (south + north) / 2
    zone = _FIRST_ZONE + math.floor((longitude - _FIRST_MERIDIAN + 1.5) / 3)
    if not (_FIRST_ZONE <= zone <= _LAST_ZONE and _SOUTH <= latitude <= _NORTH) or west > east:
        return []
    return [f"CGCS2000GK3Zone{zone}", f"CGCS2000GK3CM{_meridian(zone)}E"]
