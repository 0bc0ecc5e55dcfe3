"""A request for points, parsed and checked: the query string of `/points` and of what asks like it.

The parameters are those of features where they mean the same (OGC API - Features Parts 1-3: bbox, bbox-crs, crs, datetime, filter,
filter-lang, filter-crs, properties, limit, and a parameter a dimension), and two of point clouds: `resolution`, the distance of points
in metres, and `max-points`, a budget. What is not understood is refused with InvalidParameter: name, value, allowed.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import shapely
from pygeofilter import ast

from pointclouds.cloud.cloud import Box3, Cloud, CloudTile
from pointclouds.cloud.query import PointFilter, PointQuery
from pointclouds.las.dimensions import Dimension
from pointclouds.las.times import gps_of
from providers.errors import InvalidParameter
from providers.features.cursors import decode_cursor
from providers.features.parameter_values import (
    check_text,
    crs_uri,
    equality_text,
    parse_datetime,
    whole_number,
)
from providers.features.query import CRS84, TimeInterval
from providers.points.filters import (
    CQL2_TEXT,
    AreaFilter,
    DimensionFilter,
    all_of,
    decimals_of_dimensions,
    dimension_filter,
    require_filter_language,
)
from providers.points.places import area_of_rights, length_unit, parse_place
from providers.points.schema import TIME_FIELD, has_instants, point_schema, visible_dimensions

_REAL: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_PLACE: Final = re.compile(r"([0-9]{1,2})-([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,10})")
_PAGING: Final = ("limit", "cursor", "f", "lang")
PARAMETERS: Final = (
    "bbox", "bbox-crs", "crs", "datetime", "filter", "filter-lang", "filter-crs", "resolution", "max-points", "properties", "limit",
    "cursor",
)  # fmt: skip
SELECTING: Final = (
    "bbox",
    "bbox-crs",
    "datetime",
    "filter",
    "filter-lang",
    "filter-crs",
    "resolution",
    "properties",
)
"""The parameters that say which points and dimensions, and not how they are answered."""


@dataclass(frozen=True, slots=True)
class PointLimits:
    """`default` and `maximum`: points of one page. `read`: points that one request may read."""

    default: int = 10
    maximum: int = 10_000
    read: int = 50_000_000


@dataclass(frozen=True, slots=True)
class PointContext:
    """What parsing needs to know beside the cloud: the generation cursors belong to, what this client may not see (dimensions) and
    where it may see points (WKT in CRS84, None for everywhere), and the time of the collection (RFC 3339, None where open)."""

    generation: int = 0
    hidden: frozenset[str] = frozenset()
    area: str | None = None
    interval: tuple[str | None, str | None] | None = None
    limits: PointLimits = PointLimits()


@dataclass(frozen=True, slots=True)
class PointPlace:
    """The last point of a page: its tile, its node, its number in the node."""

    tile: str
    node: tuple[int, int, int, int]
    number: int


@dataclass(frozen=True)
class PointRequest:
    """A parsed request.

    `dimensions`: those to answer besides positions. `wanted`: their names where `properties` was given, else None. `crs`: URI of the
    coordinates asked for, None where it was not said. `limit`: of a page, None where it was not said. `mark`: a checksum of all
    that decides which points come, for cursors. `with_time`: whether the instant is among the properties. `hidden`: dimensions that must
    not show.
    """

    query: PointQuery
    dimensions: tuple[Dimension, ...]
    wanted: frozenset[str] | None
    crs: str | None
    limit: int | None
    after: PointPlace | None
    mark: int
    with_time: bool
    hidden: frozenset[str] = frozenset()


@dataclass
class _Draft:
    cloud: Cloud
    context: PointContext
    values: dict[str, str] = field(default_factory=dict)
    filters: list[PointFilter] = field(default_factory=list)


def parse_points(
    pairs: Iterable[tuple[str, str]],
    cloud: Cloud,
    context: PointContext,
    allowed: tuple[str, ...] = PARAMETERS,
) -> PointRequest:
    """The request that decoded query-string pairs mean; `f` and `lang` are the caller's.

    Raises:
        InvalidParameter: StaleCursor for a cursor of another generation.
    """
    draft = _Draft(cloud, context)
    schema = point_schema(cloud, context.hidden)
    listed = list(pairs)
    for name, value in listed:
        if name in draft.values:
            raise InvalidParameter(name, value, "each parameter once")
        draft.values[name] = value
        if name in allowed or name in ("f", "lang"):
            continue
        known = schema.by_name.get(name)
        if known is None or known.format is not None:
            names = [one.name for one in schema.fields if one.format is None]
            raise InvalidParameter(
                name, value, f"the parameters {sorted(allowed)} and the queryables {names}"
            )
        number = equality_text(known, value)
        literal = int(number) if known.type == "integer" else float(number)
        draft.filters.append(
            DimensionFilter(
                ast.Equal(ast.Attribute(name), literal),
                frozenset([name]),
                f"{name}={number}",
                decimals_of_dimensions(cloud),
            )
        )
    return _request(draft, listed)


def _request(draft: _Draft, pairs: list[tuple[str, str]]) -> PointRequest:
    cloud, context, values = draft.cloud, draft.context, draft.values
    box, area = _place(draft)
    _add_filter(draft)
    tiles = _add_time(draft)
    if context.area is not None:
        allowed = area_of_rights(context.area, cloud)
        if area is None:
            area = allowed
        else:
            draft.filters.append(AreaFilter(allowed, cloud.scale[0]))
    dimensions, wanted, with_time = _dimensions(draft)
    text = "\n".join(
        f"{name}={value}" for name, value in sorted(pairs) if name not in (*_PAGING, "properties", "crs")
    )
    mark = zlib.crc32(text.encode("utf-8", "surrogatepass")) or 1
    query = PointQuery(
        box=box,
        area=area,
        filter=all_of(draft.filters),
        resolution=_resolution(draft),
        max_points=_count(values, "max-points"),
        dimensions=(*(one.name for one in dimensions), *(("GpsTime",) if with_time else ())),
        tiles=tiles,
    )
    return PointRequest(
        query=query,
        dimensions=dimensions,
        wanted=wanted,
        crs=crs_uri("crs", values["crs"]) if "crs" in values else None,
        limit=_count(values, "limit"),
        after=_after(draft, mark),
        mark=mark,
        with_time=with_time,
        hidden=context.hidden,
    )


def _count(values: dict[str, str], name: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    allowed = "a whole number from 1 on"
    number = whole_number(name, value, allowed)
    if number < 1:
        raise InvalidParameter(name, value, allowed)
    return number


def _place(draft: _Draft) -> tuple[Box3 | None, shapely.Geometry | None]:
    value, crs = draft.values.get("bbox"), draft.values.get("bbox-crs")
    if value is None:
        if crs is not None:
            raise InvalidParameter("bbox-crs", crs, "only together with bbox")
        return None, None
    uri = CRS84 if crs is None else crs_uri("bbox-crs", crs)
    place = parse_place(value, uri, draft.cloud)
    return place.box, place.area


def _resolution(draft: _Draft) -> float | None:
    """Metres, as CRS units."""
    value = draft.values.get("resolution")
    if value is None:
        return None
    number = float(value) if _REAL.fullmatch(value) else 0.0
    if not (math.isfinite(number) and number > 0):
        raise InvalidParameter("resolution", value, "a distance of points in metres, above zero")
    return max(number / length_unit(draft.cloud), 1e-12)


def _add_filter(draft: _Draft) -> None:
    values = draft.values
    text = values.get("filter")
    if text is None:
        for name in ("filter-lang", "filter-crs"):
            if name in values:
                raise InvalidParameter(name, values[name], "only together with filter")
        return
    check_text("filter", text, text)
    language = require_filter_language(values.get("filter-lang", CQL2_TEXT))
    crs = crs_uri("filter-crs", values["filter-crs"]) if "filter-crs" in values else CRS84
    draft.filters.append(dimension_filter(text, language, draft.cloud, crs, draft.context.hidden))


def _dimensions(draft: _Draft) -> tuple[tuple[Dimension, ...], frozenset[str] | None, bool]:
    """The dimensions to answer, the names asked for, and whether the instant is to be told."""
    visible = [
        one
        for one in visible_dimensions(draft.cloud, draft.context.hidden)
        if one.name not in ("X", "Y", "Z")
    ]
    timed = point_schema(draft.cloud, draft.context.hidden).time_field is not None
    value = draft.values.get("properties")
    if value is None:
        return tuple(visible), None, timed
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    known = [one.name for one in visible] + ([TIME_FIELD] if timed else [])
    for name in names:
        if name not in known and name not in ("X", "Y", "Z"):
            raise InvalidParameter(
                "properties", value, f"names of {known} separated by commas; {name!r} is none"
            )
    with_time = timed and TIME_FIELD in names
    chosen = tuple(one for one in visible if one.name in names)
    return chosen, frozenset(names), with_time


# --- time ----------------------------------------------------------------------------------------------------------------


def _add_time(draft: _Draft) -> frozenset[str] | None:
    """The condition of `datetime`: on GPS times where these are dates, else on the tiles' own times. Names of tiles, or None."""
    value = draft.values.get("datetime")
    if value is None:
        return None
    asked = parse_datetime(value)
    if has_instants(draft.cloud):
        draft.filters.append(_instants(asked))
        return None
    tiles = [tile for tile in draft.cloud.tiles if _meets(_time_of(tile, draft.context), asked)]
    return None if len(tiles) == len(draft.cloud.tiles) else frozenset(tile.name for tile in tiles)


def _instants(asked: TimeInterval) -> DimensionFilter:
    """GPS seconds from the start to the end of the last millisecond."""
    parts: list[ast.Node] = []
    attribute = ast.Attribute(TIME_FIELD)
    if asked.start is not None:
        parts.append(ast.GreaterEqual(attribute, datetime.fromisoformat(asked.start)))
    if asked.end is not None:
        parts.append(ast.LessEqual(attribute, datetime.fromisoformat(asked.end)))
    node: ast.Node | bool = ast.And(*parts) if len(parts) == 2 else parts[0] if parts else True
    return DimensionFilter(node, frozenset(["GpsTime"]), f"{asked.start}/{asked.end}")


def _time_of(tile: CloudTile, context: PointContext) -> tuple[str | None, str | None] | None:
    if tile.start is None and tile.end is None:
        return context.interval
    return tile.start, tile.end if tile.end is not None else tile.start


def _meets(time: tuple[str | None, str | None] | None, asked: TimeInterval) -> bool:
    """Whether an interval meets another; one that is not known meets all, as for features without a time."""
    if time is None:
        return True
    starts_late = time[0] is not None and asked.end is not None and _seconds(time[0]) > _seconds(asked.end)
    ends_early = time[1] is not None and asked.start is not None and _seconds(time[1]) < _seconds(asked.start)
    return not (starts_late or ends_early)


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return gps_of(moment if moment.tzinfo else datetime.fromisoformat(f"{text}T00:00:00+00:00"))


# --- ids and cursors -----------------------------------------------------------------------------------------------------


def point_id_prefix(tile: str, node: tuple[int, int, int, int]) -> str:
    """The id of a point without its number: TILE.LEVEL-X-Y-Z."""
    return f"{tile}.{'-'.join(map(str, node))}."


def parse_point_id(text: str) -> PointPlace | None:
    """TILE.LEVEL-X-Y-Z.NUMBER; None where it is none."""
    parts = text.split(".")
    if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) <= 9):
        return None
    match = _PLACE.fullmatch(parts[1])
    if match is None:
        return None
    level, x, y, z = (int(number) for number in match.groups())
    return PointPlace(parts[0], (level, x, y, z), int(parts[2]))


def _after(draft: _Draft, mark: int) -> PointPlace | None:
    token = draft.values.get("cursor")
    if token is None:
        return None
    cursor = decode_cursor(token, draft.context.generation, mark, 1)
    place = parse_point_id(cursor[0]) if isinstance(cursor[0], str) else None
    if place is None:
        raise InvalidParameter("cursor", token, "a cursor taken from a next link")
    return place


def without_limit(request: PointRequest) -> PointRequest:
    """The request of a format that has no pages: `limit` counts as a budget."""
    if request.limit is None:
        return request
    most = request.query.max_points
    return replace(
        request, query=replace(request.query, max_points=min(request.limit, most or request.limit))
    )
