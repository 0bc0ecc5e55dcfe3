"""The query string of an items request, parsed and checked (OGC API - Features Part 1 clause 7.15, Part 2 clause 6).

Whatever is not understood is refused with InvalidParameter: name, value, allowed. Both lanes of the server call this parser.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import orjson

from providers.errors import InvalidParameter, StaleCursor, UnknownReferenceSystem
from providers.features.crs import CRS84H, bbox_to_crs84, reference_system
from providers.features.query import CRS84, BBox, Cursor, ItemQuery, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition

_INTEGER = re.compile(r"[0-9]{1,18}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2}))?")
_BBOX_NUMBERS = "4 or 6 numbers separated by commas: west,south,east,north (or with heights after each pair)"
_TIMES = "an RFC 3339 date or date-time, or an interval start/end with .. for an open end"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How much one request may ask for. A `limit` above `maximum` is lowered to it (Part 1, requirement 22 B)."""

    default: int = 10
    maximum: int = 10_000
    maximum_offset: int = 1_000_000


@dataclass(slots=True)
class _Draft:
    """What has been understood so far."""

    schema: CollectionSchema
    limits: QueryLimits
    generation: int
    hidden: frozenset[str]
    limit: int
    bbox: str | None = None
    bbox_crs: str | None = None
    datetime: TimeInterval | None = None
    offset: int = 0
    cursor: Cursor | None = None
    properties: tuple[str, ...] | None = None
    skip_geometry: bool = False
    crs: str = CRS84
    hits_only: bool = False
    equals: dict[str, str] = field(default_factory=dict)

    def known_fields(self) -> list[str]:
        return [item.name for item in self.schema.fields if item.name not in self.hidden]


def parse_item_query(
    params: Iterable[tuple[str, str]] | Mapping[str, str],
    schema: CollectionSchema,
    limits: QueryLimits = QueryLimits(),
    generation: int = 0,
    hidden: frozenset[str] = frozenset(),
) -> ItemQuery:
    """The query that decoded query-string pairs mean.

    `generation` is the collection's present one, which a cursor has to belong to. `hidden` fields are treated as unknown.
    `f` and `lang` are the caller's. Raises InvalidParameter (StaleCursor for a cursor of another generation).
    """
    pairs = params.items() if isinstance(params, Mapping) else params
    draft = _Draft(schema, limits, generation, hidden, limits.default)
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise InvalidParameter(name, value, "each parameter once")
        seen.add(name)
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(draft, value)
        else:
            _equality(draft, name, value)
    return ItemQuery(
        _bbox(draft),
        draft.datetime,
        draft.equals,
        draft.limit,
        draft.offset,
        draft.cursor,
        draft.properties,
        draft.skip_geometry,
        draft.crs,
        draft.hits_only,
    )


def parse_item_crs(
    params: Iterable[tuple[str, str]] | Mapping[str, str], schema: CollectionSchema | None = None
) -> str:
    """The CRS URI that a request for one item asks for; only `crs`, `f` and `lang` are allowed there.

    `schema` is the collection's; every CRS that can be answered is answered, so it is not looked at yet.
    """
    uri = CRS84
    seen: set[str] = set()
    for name, value in params.items() if isinstance(params, Mapping) else params:
        if name in seen:
            raise InvalidParameter(name, value, "each parameter once")
        seen.add(name)
        if name == "crs":
            uri = _crs_uri("crs", value)
        elif name not in ("f", "lang"):
            raise InvalidParameter(name, value, "the parameters crs, f, lang")
    return uri


def encode_cursor(generation: int, cursor: Cursor) -> str:
    """The token of the page after `cursor`, opaque to clients."""
    return base64.urlsafe_b64encode(orjson.dumps((generation, *cursor))).decode().rstrip("=")


def decode_cursor(token: str, generation: int) -> Cursor:
    """The cursor in a token. Raises InvalidParameter for what is no token, StaleCursor for one of another generation."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        values = orjson.loads(raw)
    except (binascii.Error, ValueError):
        values = None
    if (
        not isinstance(values, list)
        or len(values) < 2
        or type(values[0]) is not int
        or not all(value is None or type(value) in (str, int, float) for value in values)
    ):
        raise InvalidParameter("cursor", token, "a cursor taken from a next link")
    made_for = values[0]
    if made_for != generation:
        raise StaleCursor(
            "cursor",
            token,
            f"a cursor of the present generation {generation}; this one belongs to {made_for}, the collection has been "
            "published anew since: start again without cursor",
        )
    return tuple(values[1:])


# --- one handler per parameter -------------------------------------------------------------------------------------------


def _ignore(draft: _Draft, value: str) -> None:
    """`f` and `lang` belong to the caller."""


def _set_bbox(draft: _Draft, value: str) -> None:
    draft.bbox = value


def _set_bbox_crs(draft: _Draft, value: str) -> None:
    draft.bbox_crs = _crs_uri("bbox-crs", value)


def _set_crs(draft: _Draft, value: str) -> None:
    draft.crs = _crs_uri("crs", value)


def _crs_uri(name: str, value: str) -> str:
    if value in (CRS84, CRS84H):
        return value
    try:
        return reference_system(value).uri
    except UnknownReferenceSystem as error:
        raise InvalidParameter(
            name, value, f"a CRS URI like {CRS84} or http://www.opengis.net/def/crs/EPSG/0/4490 ({error})"
        ) from None


def _set_limit(draft: _Draft, value: str) -> None:
    number = _whole_number("limit", value, f"a whole number from 1 to {draft.limits.maximum}")
    if number < 1:
        raise InvalidParameter("limit", value, f"a whole number from 1 to {draft.limits.maximum}")
    draft.limit = min(number, draft.limits.maximum)


def _set_offset(draft: _Draft, value: str) -> None:
    allowed = (
        f"a whole number from 0 to {draft.limits.maximum_offset}; further pages are reached by the next links"
    )
    number = _whole_number("offset", value, allowed)
    if number > draft.limits.maximum_offset:
        raise InvalidParameter("offset", value, allowed)
    draft.offset = number


def _set_cursor(draft: _Draft, value: str) -> None:
    draft.cursor = decode_cursor(value, draft.generation)


def _set_properties(draft: _Draft, value: str) -> None:
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    known = draft.known_fields()
    for name in names:
        if name not in known:
            raise InvalidParameter(
                "properties", value, f"names of {known} separated by commas; {name!r} is none"
            )
    draft.properties = names


def _set_skip_geometry(draft: _Draft, value: str) -> None:
    draft.skip_geometry = _boolean("skipGeometry", value)


def _set_result_type(draft: _Draft, value: str) -> None:
    if value not in ("results", "hits"):
        raise InvalidParameter("resulttype", value, "results, hits")
    draft.hits_only = value == "hits"


def _set_datetime(draft: _Draft, value: str) -> None:
    draft.datetime = parse_datetime(value)


_HANDLERS: dict[str, Callable[[_Draft, str], None]] = {
    "f": _ignore,
    "lang": _ignore,
    "bbox": _set_bbox,
    "bbox-crs": _set_bbox_crs,
    "crs": _set_crs,
    "limit": _set_limit,
    "offset": _set_offset,
    "cursor": _set_cursor,
    "properties": _set_properties,
    "skipGeometry": _set_skip_geometry,
    "resulttype": _set_result_type,
    "datetime": _set_datetime,
}


def _equality(draft: _Draft, name: str, value: str) -> None:
    found = None if name in draft.hidden else draft.schema.by_name.get(name)
    if found is None:
        allowed = f"the parameters {sorted(_HANDLERS)} and the queryables {draft.known_fields()}"
        raise InvalidParameter(name, value, allowed)
    draft.equals[name] = _stored_text(found, value)


def _stored_text(found: FieldDefinition, value: str) -> str:
    """A value as the store compares it: "true" or "false", instants in UTC with milliseconds; numbers checked."""
    if found.type == "boolean":
        return "true" if _boolean(found.name, value) else "false"
    if found.type in ("integer", "number"):
        _check_number(found, value)
    if found.format is None:
        return value
    if not value.isascii() or _INSTANT.fullmatch(value) is None:
        raise InvalidParameter(found.name, value, f"an RFC 3339 {found.format}")
    moment = _moment(found.name, value)
    if found.format == "date":
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _check_number(found: FieldDefinition, value: str) -> None:
    is_integer = found.type == "integer"
    try:
        fits = "_" not in value and (
            -(1 << 63) <= int(value) < 1 << 63 if is_integer else math.isfinite(float(value))
        )
    except ValueError:
        fits = False
    if not fits:
        wanted = "a whole number of 64 bits" if is_integer else "a finite number"
        raise InvalidParameter(found.name, value, wanted)


def _boolean(name: str, value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise InvalidParameter(name, value, "true, false") from None


def _whole_number(name: str, value: str, allowed: str) -> int:
    if not value.isascii() or _INTEGER.fullmatch(value) is None:
        raise InvalidParameter(name, value, allowed)
    return int(value)


# --- bbox and datetime ---------------------------------------------------------------------------------------------------


def _bbox(draft: _Draft) -> BBox | None:
    if draft.bbox is None:
        if draft.bbox_crs is not None:
            raise InvalidParameter("bbox-crs", draft.bbox_crs, "only together with bbox")
        return None
    return parse_bbox(draft.bbox, draft.bbox_crs or CRS84)


def parse_bbox(value: str, crs: str = CRS84) -> BBox:
    """A box given in the axis order of `crs` (a URI), as CRS84. Heights are checked and not used to select."""
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (4, 6) or not math.isfinite(sum(numbers)):
        raise InvalidParameter("bbox", value, _BBOX_NUMBERS)
    if len(numbers) == 6:
        if numbers[2] > numbers[5]:
            raise InvalidParameter("bbox", value, "a lower height that is not above the upper one")
        del numbers[5], numbers[2]
    first, second, third, fourth = numbers
    if crs in (CRS84, CRS84H):
        box = BBox(first, second, third, fourth)
    else:
        system = reference_system(crs)
        if not system.horizontal.is_geographic and (first > third or second > fourth):
            raise InvalidParameter(
                "bbox", value, "lower corner first, then upper corner, in the axis order of bbox-crs"
            )
        try:
            box = bbox_to_crs84((first, second, third, fourth), system)
        except ValueError as error:
            raise InvalidParameter("bbox", value, f"a box inside the area of {crs} ({error})") from None
    if box.south > box.north:
        raise InvalidParameter("bbox", value, "a southern edge that is not north of the northern edge")
    if not (box.south >= -90 and box.north <= 90 and -180 <= box.west <= 180 and -180 <= box.east <= 180):
        raise InvalidParameter("bbox", value, "longitudes from -180 to 180 and latitudes from -90 to 90")
    return box


def parse_datetime(value: str) -> TimeInterval:
    """An instant, a date (its whole day), or an interval; times come out in UTC, RFC 3339, with Z."""
    parts = value.split("/")
    if len(parts) > 2:
        raise InvalidParameter("datetime", value, _TIMES)
    if len(parts) == 1:
        return TimeInterval(_instant(value, value, end=False), _instant(value, value, end=True))
    start, end = (None if part in ("", "..") else part for part in parts)
    if start is None and end is None:
        return TimeInterval(None, None)
    low = None if start is None else _instant(value, start, end=False)
    high = None if end is None else _instant(value, end, end=True)
    if low is not None and high is not None and _moment("datetime", low) > _moment("datetime", high):
        raise InvalidParameter("datetime", value, "a start that is not after the end")
    return TimeInterval(low, high)


def _instant(value: str, part: str, *, end: bool) -> str:
    if not part.isascii() or _INSTANT.fullmatch(part) is None:
        raise InvalidParameter("datetime", value, _TIMES)
    moment = _moment("datetime", part)
    if end and len(part) == 10:
        moment += timedelta(days=1) - timedelta(milliseconds=1)
    return _rfc3339(moment)


def _moment(name: str, text: str) -> datetime:
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidParameter(name, text, _TIMES) from None


def _rfc3339(moment: datetime) -> str:
    text = f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}"
    return f"{text}.{moment.microsecond // 1000:03}Z" if moment.microsecond else f"{text}Z"
