"""The parsed query of an items request: what every provider answers.

OGC API - Features Part 1 clause 7.15 (bbox, datetime, limit, property filters), Part 2 (crs, bbox-crs), Part 3 (filter),
and the sorting and full-text parameters of OGC API - Records clause 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pygeofilter.ast import Node  # a tenth of a second that requests without a filter do not need

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

type CursorValue = str | int | float | None
type Cursor = tuple[CursorValue, ...]
"""Where a page ended: the sort values of its last feature, in the order of `sortby`, then the store's unique key."""


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


class SortKey(NamedTuple):
    """One field to sort by. Missing values come last, ascending or descending; ties are broken by the store's key."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """A CQL2 filter that has been parsed, checked against the collection's schema and normalised.

    `node` is a pygeofilter tree, or True or False where no feature has to be looked at. Names are those of visible fields
    (`GEOMETRY` stands for the geometry), literals have the types of the fields they meet, geometries are shapely in CRS84
    (x = longitude). `text` is its canonical CQL2 text: equal for equal filters, good for ETags. `fields` are the names it
    mentions, GEOMETRY among them. Which nodes there are is told in `providers.features.cql2`.
    """

    node: Node | bool
    text: str
    fields: frozenset[str] = frozenset()


GEOMETRY = ""
"""The attribute name under which a checked filter speaks of the geometry."""


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """One items request.

    `bbox` has already been transformed to CRS84. `equals` maps a field name to the text it must equal. `cursor` is where
    the page before ended (keyset paging); `offset` is kept for clients that page by number. `properties` is None for all
    fields. `crs` is a CRS URI. `q`: at least one of these phrases, whatever its case, stands in a text field. `asof` is an
    RFC 3339 instant in UTC: the state that was committed then.
    """

    bbox: BBox | None = None
    datetime: TimeInterval | None = None
    equals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    limit: int = 10
    offset: int = 0
    cursor: Cursor | None = None
    properties: tuple[str, ...] | None = None
    skip_geometry: bool = False
    crs: str = CRS84
    hits_only: bool = False
    filter: Filter | None = None
    sortby: tuple[SortKey, ...] = ()
    q: tuple[str, ...] = ()
    asof: str | None = None
