"""The values of single parameters of an items request: boxes, times, numbers, phrases.

Each function raises InvalidParameter: name, value, allowed. Only ASCII digits without separators are numbers.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from providers.errors import InvalidParameter, UnknownReferenceSystem
from providers.features.crs import CRS84H, bbox_to_crs84, reference_system
from providers.features.query import CRS84, BBox, TimeInterval
from providers.features.schema import FieldDefinition

_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_REAL: Final = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_REALS: Final = re.compile(rf" *{_REAL.pattern} *(?:, *{_REAL.pattern} *)*")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_BBOX_NUMBERS: Final = (
    "4 or 6 numbers separated by commas: west,south,east,north (or with heights after each pair)"
)
_TIMES: Final = "an RFC 3339 date or date-time, or an interval start/end with .. for an open end"
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_MAXIMUM_PHRASES: Final = 16
_MAXIMUM_PHRASE: Final = 200


def whole_number(name: str, value: str, allowed: str) -> int:
    """A number of up to 18 digits, without a sign."""
    if _WHOLE.fullmatch(value) is None:
        raise InvalidParameter(name, value, allowed)
    return int(value)


def boolean(name: str, value: str) -> bool:
    """`true`, `false`, `1` or `0`."""
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise InvalidParameter(name, value, "true, false") from None


def crs_uri(name: str, value: str) -> str:
    """The canonical URI of a CRS that coordinates can be given in."""
    if value in (CRS84, CRS84H):
        return value
    try:
        return reference_system(value).uri
    except UnknownReferenceSystem as error:
        raise InvalidParameter(
            name, value, f"a CRS URI like {CRS84} or http://www.opengis.net/def/crs/EPSG/0/4490 ({error})"
        ) from None


def check_text(name: str, value: str, shown: str) -> None:
    """Refuse what no store can hold: lone surrogates and the character 0."""
    if value.isascii() and "\0" not in value:
        return
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidParameter(name, ascii(shown)[1:-1], "valid Unicode without the character 0")


def equality_text(field: FieldDefinition, value: str) -> str:
    """A value as `ItemQuery.equals` has it: "true" or "false", instants in UTC with milliseconds; numbers checked."""
    if field.type == "boolean":
        return "true" if boolean(field.name, value) else "false"
    if field.type in ("integer", "number"):
        _check_number(field, value)
    if field.format is None:
        check_text(field.name, value, value)
        return value
    if _INSTANT.fullmatch(value) is None:
        raise InvalidParameter(field.name, value, f"an RFC 3339 {field.format}")
    moment = _moment(field.name, value)
    if field.format == "date":
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _check_number(field: FieldDefinition, value: str) -> None:
    if field.type == "integer":
        if _INTEGER.fullmatch(value) is None or not -(1 << 63) <= int(value) < 1 << 63:
            raise InvalidParameter(field.name, value, "a whole number of 64 bits")
    elif _REAL.fullmatch(value) is None or not math.isfinite(float(value)):
        raise InvalidParameter(field.name, value, "a finite number")


def phrases(value: str) -> tuple[str, ...]:
    """The phrases of `q`: separated by commas, spaces around them and doubles left out."""
    found = tuple(dict.fromkeys(phrase.strip() for phrase in value.split(",")))
    if len(found) > _MAXIMUM_PHRASES or not all(0 < len(phrase) <= _MAXIMUM_PHRASE for phrase in found):
        raise InvalidParameter(
            "q",
            value,
            f"1 to {_MAXIMUM_PHRASES} phrases of up to {_MAXIMUM_PHRASE} characters, separated by commas",
        )
    check_text("q", value, value)
    return found


# --- boxes ---------------------------------------------------------------------------------------------------------------


def parse_bbox(value: str, crs: str = CRS84) -> BBox:
    """A box given in the axis order of `crs` (a URI), as CRS84. Heights are checked and not used to select."""
    numbers = [float(part) for part in value.split(",")] if _REALS.fullmatch(value) else []
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


# --- times ---------------------------------------------------------------------------------------------------------------


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


def parse_asof(value: str) -> str:
    """The RFC 3339 instant of `asof`, in UTC; it must have come."""
    allowed = "an RFC 3339 date-time with its zone that is not in the future, like 2025-08-24T17:36:28Z"
    if _INSTANT.fullmatch(value) is None or len(value) == 10:
        raise InvalidParameter("asof", value, allowed)
    try:
        moment = _moment("asof", value)
    except InvalidParameter:
        raise InvalidParameter("asof", value, allowed) from None
    if moment > datetime.now(UTC):
        raise InvalidParameter("asof", value, allowed)
    # Transaction times have microseconds, and the state right after an edit is asked for by its time.
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _instant(value: str, part: str, *, end: bool) -> str:
    if _INSTANT.fullmatch(part) is None:
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
