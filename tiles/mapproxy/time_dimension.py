"""The time of a layer: what WMS (OGC 06-042 annexes C and D) and WMTS (07-057r7 clause 11) say of it, and what a request asks.

Two kinds: listed instants (a series of images), of which the nearest one answers, and a continuous extent (features with a
time), of which any instant or interval can be asked.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tiles.mapproxy.exceptions import MapRequestRefused

_MOMENT = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,6})?)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a request is answered with: an instant or interval as map sources take it, None for the default.

    `note` is what the client has to be told where it is not the value it asked for (06-042 annex C.4.2 and C.4.3).
    """

    instant: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class TimeDimension:
    """Listed `instants` (RFC 3339 in UTC, rising; the last one is the default), or an extent from `start` to `end`."""

    instants: tuple[str, ...] = ()
    start: str = ""
    end: str = ""

    @property
    def extent(self) -> str:
        """The Dimension element of WMS: a list, or minimum/maximum/precision."""
        precision = "P1D" if len(self.start) == len(self.end) == len("2025-01-01") else "PT1S"
        return ",".join(self.instants) if self.instants else f"{self.start}/{self.end}/{precision}"

    @property
    def default(self) -> str:
        """The value that stands for no value: the latest image; of features, all of them."""
        return self.instants[-1] if self.instants else f"{self.start}/{self.end}"

    def choose(self, value: str) -> Chosen:
        """What answers a value of TIME; "" and "default" for none. Raises MapRequestRefused (InvalidDimensionValue)."""
        if value.lower() in ("", "default"):
            return Chosen(None, f"Default value used: time={self.default} ISO8601")
        if value.lower() == "current":
            return Chosen()
        start, end = _period(value)
        return self._listed(value, start, end) if self.instants else Chosen(_interval(start, end))

    def _listed(self, value: str, start: datetime, end: datetime) -> Chosen:
        moments = [datetime.fromisoformat(one) for one in self.instants]
        if end < moments[0] or start > moments[-1]:
            raise _refused(value, f"lies outside of {self.instants[0]} to {self.instants[-1]}")
        after = bisect_left(moments, end + timedelta(microseconds=1))
        place = after - 1
        if moments[place] < start:  # between two images: the nearer one
            place = min((place, min(after, len(moments) - 1)), key=lambda one: abs(moments[one] - start))
        found = self.instants[place]
        note = None if moments[place] == start == end else f"Nearest value used: time={found} ISO8601"
        # The default is kept once, under its own name, whichever way it was asked for.
        return Chosen(None if place == len(moments) - 1 else found, note)


def _interval(start: datetime, end: datetime) -> str:
    return _text(start) if start == end else f"{_text(start)}/{_text(end)}"


def _text(moment: datetime) -> str:
    return (
        moment.strftime("%Y-%m-%dT%H:%M:%S")
        + (f".{moment.microsecond:06}" if moment.microsecond else "")
        + "Z"
    )


def _period(value: str) -> tuple[datetime, datetime]:
    """First and last moment of a value: an instant of any precision, or two of them (a period after them says nothing)."""
    parts = value.split("/")
    if len(value) > 80 or not 1 <= len(parts) <= 3:
        raise _refused(
            value, "is neither an instant nor an interval of two; lists of several are not offered"
        )
    start, end = _moments(value, parts[0])
    if len(parts) > 1:
        end = _moments(value, parts[1])[1]
    if start > end:
        raise _refused(value, "ends before it begins")
    return start, end


def _moments(value: str, text: str) -> tuple[datetime, datetime]:
    """The time span that an instant of some precision names: a year, a month, a day, an hour, a minute, or a moment."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise _refused(value, "is not an ISO 8601 time such as 2025-01-01 or 2025-01-01T12:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        last_day = calendar.monthrange(int(year), int(month or 12))[1]
        micro = int(f"{fraction or '.0'}"[1:].ljust(6, "0"))
        start = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            micro,
            UTC,
        )
        end = datetime(
            int(year),
            int(month or 12),
            int(day or last_day),
            int(hour or 23),
            int(minute or 59),
            int(second or 59),
            micro if second else 999_999,
            UTC,
        )
        shift = _offset(zone)
        return start - shift, end - shift
    except (ValueError, OverflowError, calendar.IllegalMonthError) as error:
        raise _refused(value, f"is no time: {error}") from error


def _offset(zone: str | None) -> timedelta:
    if zone in (None, "Z"):
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))


def _refused(value: str, reason: str) -> MapRequestRefused:
    return MapRequestRefused(f"TIME {value[:80]!r} {reason}", "InvalidDimensionValue", "time")
