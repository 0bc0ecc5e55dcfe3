"""Queries of a catalogue (OGC API - Records Part 1, 20-004r1, clause 9: record collections and their parameters)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from providers.errors import InvalidParameter
from providers.features.query import BBox
from providers.records.catalogue import Record
from providers.sensors.times import parse_span

MAXIMUM_LIMIT = 1_000
DEFAULT_LIMIT = 10
_MOST_TERMS = 20


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """One query. `q` holds terms of which one has to occur, each a list of words that stand together; None means any."""

    bbox: BBox | None = None
    datetime: str | None = None
    q: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    limit: int = DEFAULT_LIMIT
    offset: int = 0


def parse_record_query(parameters: Mapping[str, str]) -> RecordQuery:
    """Read the query string; names of other parameters are ignored. Raises InvalidParameter."""
    bbox = parameters.get("bbox")
    return RecordQuery(
        bbox=None if bbox is None else parse_box(bbox.split(",")),
        datetime=parameters.get("datetime"),
        q=_list(parameters.get("q")),
        type=_list(parameters.get("type")),
        ids=_list(parameters.get("ids")),
        external_ids=_list(parameters.get("externalIds")),
        limit=_whole("limit", parameters.get("limit"), DEFAULT_LIMIT, 1, MAXIMUM_LIMIT),
        offset=_whole("offset", parameters.get("offset"), 0, 0, 1_000_000),
    )


def _list(text: str | None) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if len(parts) > _MOST_TERMS:
        raise InvalidParameter("q", (text or "")[:80], f"at most {_MOST_TERMS} values")
    return parts


def _whole(name: str, text: str | None, default: int, lowest: int, highest: int) -> int:
    """A whole number; beyond the highest it is taken as the highest, as clause 7.15.3 of Features has it for `limit`."""
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 9 or int(text) < lowest:
        raise InvalidParameter(name, text, f"a whole number from {lowest}")
    return min(int(text), highest)


def parse_box(parts: Sequence[object]) -> BBox:
    """A box of four numbers, or of six of which the heights do not matter. Raises InvalidParameter."""
    shown = ",".join(str(part) for part in parts)
    try:
        numbers = [float(str(part)) for part in parts]
    except ValueError as error:
        raise InvalidParameter("bbox", shown, "four or six numbers in CRS84, lower corner first") from error
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or numbers[1] > numbers[3]:
        raise InvalidParameter("bbox", shown, "four or six numbers in CRS84, lower corner first")
    return BBox(*numbers)


def query_records(records: Sequence[Record], query: RecordQuery) -> dict[str, Any]:
    """The records that meet the query, as a GeoJSON FeatureCollection with numberMatched and numberReturned."""
    span = parse_span(query.datetime)
    if query == RecordQuery(limit=query.limit, offset=query.offset):
        return _page(records, query)
    found = [
        record
        for record in records
        if _meets_lists(record, query)
        and (query.bbox is None or _meets_box(record.get("geometry"), query.bbox))
        and (query.datetime is None or _meets_time(record.get("time"), span.start, span.end))
        and (not query.q or _meets_text(record, query.q))
    ]
    return _page(found, query)


def _page(found: Sequence[Record], query: RecordQuery) -> dict[str, Any]:
    page = list(found[query.offset : query.offset + query.limit])
    return {
        "type": "FeatureCollection",
        "features": page,
        "numberMatched": len(found),
        "numberReturned": len(page),
    }


def _meets_lists(record: Record, query: RecordQuery) -> bool:
    properties = record["properties"]
    external = {one["value"] for one in properties.get("externalIds", ())}
    return (
        (not query.type or properties.get("type") in query.type)
        and (not query.ids or record["id"] in query.ids)
        and (not query.external_ids or not external.isdisjoint(query.external_ids))
    )


def _meets_text(record: Record, terms: Sequence[str]) -> bool:
    """Whether one of the terms occurs in title, description or keywords, in any language, without regard to case.

    Words of a term may be apart: `q=helsinki buildings` asks for both (clause 9.2: space separated words are one term whose
    words are next to each other; we ask less, because Chinese has no spaces and short titles rarely hold whole phrases).
    """
    text = searchable_text(record)
    return any(all(word in text for word in term.casefold().split()) for term in terms)


def searchable_text(record: Record) -> str:
    """Everything that `q` looks at, in lower case."""
    properties = record["properties"]
    parts = [record["id"], properties.get("title", ""), properties.get("description", "")]
    parts += list(properties.get("titles", {}).values()) + list(properties.get("descriptions", {}).values())
    parts += [str(word) for word in properties.get("keywords", ())]
    return "\n".join(parts).casefold()


def _meets_box(geometry: Mapping[str, Any] | None, box: BBox) -> bool:
    """Whether the extent and the box share a point; a record without an extent is in no box."""
    if geometry is None:
        return False
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        longitudes, latitudes = zip(*polygon[0], strict=True)
        if min(latitudes) > box.north or max(latitudes) < box.south:
            continue
        west, east = min(longitudes), max(longitudes)
        if box.west <= box.east:
            if west <= box.east and east >= box.west:
                return True
        elif east >= box.west or west <= box.east:
            return True
    return False


def _meets_time(time: Mapping[str, Any] | None, start: int | None, end: int | None) -> bool:
    """Whether the resource's interval and the asked one meet; a record without time is always in (clause 9.2.4)."""
    if time is None:
        return True
    first, last = time["interval"]
    begins = None if first == ".." else _seconds(first, day_end=False)
    ends = None if last == ".." else _seconds(last, day_end=True)
    return (end is None or begins is None or begins <= end) and (
        start is None or ends is None or ends >= start
    )


def _seconds(text: str, *, day_end: bool) -> int:
    """Seconds since the epoch of an RFC 3339 instant, or of the first or last second of a date."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    last = 86_399 if day_end and len(text) == 10 else 0
    return int(moment.timestamp()) + last
