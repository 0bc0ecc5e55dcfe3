"""The parsed query of an items request: what every provider answers.

OGC API - Features Part 1 clause 7.15 (bbox, datetime, limit, property filters) and Part 2 (crs, bbox-crs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


class BBox(NamedTuple):
    """A box in CRS84: degrees, longitude first. `west > east` means it crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float


class TimeInterval(NamedTuple):
    """Closed interval of RFC 3339 strings in UTC, None where open; an instant has both ends equal."""

    start: str | None
    end: str | None


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """One items request.

    `bbox` has already been transformed to CRS84. `equals` maps a field name to the text it must equal. `cursor` is the
    key after which the page starts (keyset paging) together with the generation it belongs to; `offset` is kept for
    clients that page by number. `properties` is None for all fields. `crs` is a CRS URI.
    """

    bbox: BBox | None = None
    datetime: TimeInterval | None = None
    equals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    limit: int = 10
    offset: int = 0
    cursor: int | None = None
    properties: tuple[str, ...] | None = None
    skip_geometry: bool = False
    crs: str = CRS84
    hits_only: bool = False
