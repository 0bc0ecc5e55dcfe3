"""pygeoapi plugin: OGC API - EDR (19-086r6) over a series store.

Errors are the room's own (`providers.errors`) and pass through pygeoapi untouched, so that the server's one table gives
them their status.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pygeoapi.provider.base_edr import BaseEDRProvider
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from providers.errors import InvalidParameter, ItemNotFound
from providers.features.query import BBox
from providers.sensors.answers import (
    MAXIMUM_LOCATIONS,
    SeriesQuery,
    list_locations,
    location_series,
    locations_by_distance,
    nearest_location,
)
from providers.sensors.store import SeriesStore
from providers.sensors.times import parse_span

# EDR clause 8.2.4 leaves the list of units to the server.
_METRES = {
    "m": 1.0,
    "metre": 1.0,
    "metres": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "km": 1000.0,
    "kilometres": 1000.0,
}


class ChengtuEDRProvider(BaseEDRProvider):  # type: ignore[misc] # pygeoapi is untyped
    """Locations, position (the nearest location) and radius queries; `data` is the path of series.sqlite.

    pygeoapi makes one for every request, so nothing is opened before a query needs it.
    """

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__(provider_def)
        self.path = Path(self.data)
        self._fields: dict[str, dict[str, str]] = {}
        self.get_fields()

    def get_fields(self) -> dict[str, dict[str, str]]:
        """The observed parameters: {name: {type, title, x-ogc-unit}}."""
        if not self._fields:
            self._fields = {
                parameter.name: {"type": "number", "title": parameter.title, "x-ogc-unit": parameter.unit}
                for parameter in SeriesStore(self.path).parameters()
            }
        return self._fields

    def locations(
        self,
        location_id: str | None = None,
        bbox: list[float] | None = None,
        datetime_: str | None = None,
        select_properties: list[str] | None = None,
        limit: int | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """All locations as GeoJSON, or the series of one as CoverageJSON (EDR clause 8.2.8)."""
        if location_id is None:
            box = BBox(bbox[0], bbox[1], bbox[-2], bbox[-1]) if bbox and len(bbox) == 4 else _flat(bbox)
            return list_locations(self.path, box, limit or MAXIMUM_LOCATIONS)
        return location_series(self.path, [location_id], _query(datetime_, select_properties))

    def position(
        self,
        wkt: BaseGeometry | None = None,
        datetime_: str | None = None,
        select_properties: list[str] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The series of the location nearest to a point (EDR clause 8.2.1)."""
        point = _point(wkt)
        nearest = nearest_location(self.path, point.x, point.y)
        return location_series(self.path, [nearest], _query(datetime_, select_properties))

    def radius(
        self,
        wkt: BaseGeometry | None = None,
        datetime_: str | None = None,
        select_properties: list[str] | None = None,
        within: str | None = None,
        within_units: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The series of every location no farther than `within` from a point (EDR clause 8.2.4)."""
        point = _point(wkt)
        metres = _distance(within, within_units)
        found = [place for _, place in locations_by_distance(self.path, point.x, point.y, metres)]
        if not found:
            raise ItemNotFound(f"within {metres:g} m of POINT({point.x:g} {point.y:g})")
        return location_series(self.path, found, _query(datetime_, select_properties))


def _query(datetime_: str | None, parameters: list[str] | None) -> SeriesQuery:
    return SeriesQuery(span=parse_span(datetime_), parameters=tuple(parameters) if parameters else None)


def _flat(bbox: list[float] | None) -> BBox | None:
    """The horizontal part of a six-number box (west, south, bottom, east, north, top)."""
    return BBox(bbox[0], bbox[1], bbox[3], bbox[4]) if bbox else None


def _point(wkt: BaseGeometry | None) -> Point:
    """The point of `coords`. Raises InvalidParameter for any other geometry and for a point off the globe."""
    if not isinstance(wkt, Point) or wkt.is_empty:
        raise InvalidParameter(
            "coords", str(wkt), "one WKT point in CRS84, longitude first: POINT(24.94 60.17)"
        )
    if not (abs(wkt.x) <= 180 and abs(wkt.y) <= 90):
        raise InvalidParameter("coords", str(wkt), "longitude -180..180 and latitude -90..90")
    return wkt


def _distance(within: str | None, units: str | None) -> float:
    """The radius in metres. Raises InvalidParameter for a missing, negative or unreadable one, or an unknown unit."""
    factor = _METRES.get((units or "m").lower())
    if factor is None:
        raise InvalidParameter("within-units", units or "", "one of " + ", ".join(sorted(_METRES)))
    try:
        distance = float(within or "")
    except ValueError:
        distance = math.nan
    if not (0 <= distance * factor <= 20_100_000):
        raise InvalidParameter(
            "within", within or "", "a distance of at least 0 and at most half the Earth's girth"
        )
    return distance * factor
