"""A tenant's map policy: the text that stands on its maps, and the area outside of which they show nothing."""

from __future__ import annotations

import math

from sqlalchemy import Engine

from server.errors import InvalidMapPolicy
from server.registry.writing import tenant_row, writing

MAXIMUM_WATERMARK = 80
MAXIMUM_VERTICES = 100_000


def set_map_policy(engine: Engine, tenant: str, watermark: str | None, clip: str | None) -> None:
    """Replace both; None for none. `clip` is a polygon or multipolygon as WKT in CRS84.

    Kept tiles carry the policy in their names: what was drawn before is not shown any more once this returns. Raises
    UnknownTenant, InvalidMapPolicy.
    """
    text = None if watermark is None else check_watermark(watermark)
    area = None if clip is None else check_clip(clip)
    with writing(engine, "set-map-policy", tenant) as write:
        row = tenant_row(write.session, tenant)
        row.map_watermark, row.map_clip = text, area


def check_watermark(text: str) -> str:
    """The text without spaces around it. Raises InvalidMapPolicy."""
    plain = text.strip()
    if not 1 <= len(plain) <= MAXIMUM_WATERMARK or not plain.isprintable():
        raise InvalidMapPolicy(
            f"the watermark has {len(plain)} letters; it may be 1 to {MAXIMUM_WATERMARK} that can be printed on one line"
        )
    return plain


def check_clip(text: str) -> str:
    """The area as WKT of a valid (multi)polygon in degrees. Raises InvalidMapPolicy."""
    import shapely

    try:
        area = shapely.from_wkt(text)
    except shapely.errors.GEOSException as error:
        raise InvalidMapPolicy(f"the clip {text[:60]!r} is no WKT: {error}") from error
    if area is None or area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty:
        raise InvalidMapPolicy(f"the clip {text[:60]!r} is no polygon or multipolygon with something inside")
    count = int(shapely.get_num_coordinates(area))
    if count > MAXIMUM_VERTICES:
        raise InvalidMapPolicy(
            f"the clip has {count} vertices; at most {MAXIMUM_VERTICES} are drawn: simplify it"
        )
    west, south, east, north = area.bounds
    if not all(map(math.isfinite, area.bounds)) or not (
        -180 <= west < east <= 180 and -90 <= south < north <= 90
    ):
        raise InvalidMapPolicy(
            f"the clip reaches from {west}, {south} to {east}, {north}: it has to be in degrees of CRS84, longitude first"
        )
    if not area.is_valid:
        raise InvalidMapPolicy(f"the clip is no valid polygon: {shapely.is_valid_reason(area)}")
    return str(shapely.to_wkt(shapely.force_2d(area), rounding_precision=9))
