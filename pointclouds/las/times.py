"""GPS time and UTC.

LAS 1.4 R15, section 2.4: bit 0 of the global encoding set means adjusted standard GPS time, the seconds since 1980-01-06T00:00:00Z
less 1,000,000,000. Not set means seconds of the GPS week, which name no date. GPS counts no leap seconds: since 1980 UTC has fallen
behind by those of the table below (IERS Bulletin C; none since 2017).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.las.structures import GPS_STANDARD_TIME

Instants = npt.NDArray[np.datetime64]
Seconds = npt.NDArray[np.float64]

ADJUSTMENT: Final = 1_000_000_000
"""Seconds that adjusted standard GPS time is less than GPS time."""
EPOCH: Final = datetime(1980, 1, 6, tzinfo=UTC)
LEAP_DAYS: Final = (
    "1981-07-01", "1982-07-01", "1983-07-01", "1985-07-01", "1988-01-01", "1990-01-01", "1991-01-01", "1992-07-01", "1993-07-01",
    "1994-07-01", "1996-01-01", "1997-07-01", "1999-01-01", "2006-01-01", "2009-01-01", "2012-07-01", "2015-07-01", "2017-01-01",
)  # fmt: skip
"""Days before whose first second a leap second was put into UTC, since GPS began."""

_UTC_STARTS: Final[Seconds] = np.array(
    [(datetime.fromisoformat(day).replace(tzinfo=UTC) - EPOCH).total_seconds() for day in LEAP_DAYS]
)
"""UTC seconds since the epoch (days of 86,400 s) from which one more leap second counts."""
_GPS_STARTS: Final[Seconds] = _UTC_STARTS + np.arange(1, len(LEAP_DAYS) + 1)
_NEXT_STARTS: Final[Seconds] = np.append(_UTC_STARTS, np.inf)
_EPOCH64: Final = np.datetime64(EPOCH.replace(tzinfo=None), "us")
_MOST: Final = 8.0e9
"""Seconds beyond which a GPS time is no date of a survey: some 250 years."""


def is_absolute(global_encoding: int) -> bool:
    """Whether the GPS times of a file with this global encoding are dates."""
    return bool(global_encoding & GPS_STANDARD_TIME)


def utc_of(gps: npt.ArrayLike) -> Instants:
    """UTC of adjusted standard GPS seconds, as datetime64[us]; NaT where there is no date (NaN, infinite, absurd).

    Throughout a leap second it is the midnight that follows: datetime64 has no 61st second, and time shall not go back.
    """
    seconds = np.asarray(gps, np.float64) + ADJUSTMENT
    sound = np.isfinite(seconds) & (np.abs(seconds) < _MOST)
    safe = np.where(sound, seconds, 0.0)
    leaps = np.searchsorted(_GPS_STARTS, safe, side="right")
    utc = np.minimum(safe - leaps, _NEXT_STARTS[leaps])
    micro = np.rint(utc * 1e6).astype("timedelta64[us]")
    return np.asarray(np.where(sound, _EPOCH64 + micro, np.datetime64("NaT", "us")))


def gps_of(moment: datetime) -> float:
    """Adjusted standard GPS seconds of an aware datetime."""
    utc = (moment - EPOCH) / timedelta(seconds=1)
    return utc + float(np.searchsorted(_UTC_STARTS, utc, side="right")) - ADJUSTMENT


def moment_of(gps: float) -> datetime | None:
    """UTC of adjusted standard GPS seconds; None where it is no date."""
    found = utc_of(gps)
    if np.isnat(found):
        return None
    value: datetime = found.astype("datetime64[us]").item()
    return value.replace(tzinfo=UTC)


def gps_interval(low: float, high: float) -> tuple[datetime, datetime] | None:
    """First and last moment of a GPS time range; None where an end is no date, or before there was GPS."""
    if low + ADJUSTMENT < 0 or low > high:
        return None
    start, end = moment_of(low), moment_of(high)
    return None if start is None or end is None else (start, end)
