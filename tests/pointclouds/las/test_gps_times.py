"""GPS time and UTC, at leap seconds and far away from any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pointclouds.las.times import ADJUSTMENT, LEAP_DAYS, gps_interval, gps_of, is_absolute, moment_of, utc_of


@pytest.mark.parametrize(
    ("gps", "utc"),
    [
        (-ADJUSTMENT, "1980-01-06T00:00:00"),
        (0, "2011-09-14T01:46:25"),
        (1_167_264_017 - ADJUSTMENT, "2016-12-31T23:59:60"),
        (1_167_264_018 - ADJUSTMENT, "2017-01-01T00:00:00"),
        (1_430_136_018 - ADJUSTMENT, "2025-05-01T12:00:00"),
        (46_828_800 - ADJUSTMENT, "1981-06-30T23:59:60"),
        (46_828_801 - ADJUSTMENT, "1981-07-01T00:00:00"),
    ],
)
def test_known_moments(gps: float, utc: str) -> None:
    """Of the GPS week tables; a leap second is told as the midnight after it."""
    leap = utc.endswith(":60")
    expected = datetime.fromisoformat(utc.replace(":60", ":59")).replace(tzinfo=UTC) + timedelta(seconds=leap)
    assert moment_of(gps) == expected
    if not leap:
        assert gps_of(expected) == gps


def test_there_and_back() -> None:
    random = np.random.default_rng(3)
    for days in random.uniform(0, 20_000, 200):
        moment = datetime(1980, 1, 6, tzinfo=UTC) + timedelta(days=float(days))
        back = moment_of(gps_of(moment))
        assert back is not None
        assert abs(back - moment) < timedelta(microseconds=5)


def test_time_goes_forward() -> None:
    """A filter by time is one by GPS seconds only if no later second is an earlier moment."""
    for day in LEAP_DAYS:
        around = gps_of(datetime.fromisoformat(day).replace(tzinfo=UTC)) + np.arange(-3, 3, 0.25)
        assert (np.diff(utc_of(around)) >= np.timedelta64(0, "us")).all()
    assert len(LEAP_DAYS) == 18


@pytest.mark.parametrize("gps", [np.nan, np.inf, -np.inf, 1e300, -1e12])
def test_no_dates(gps: float) -> None:
    assert moment_of(gps) is None
    assert gps_interval(gps, gps) is None


def test_intervals() -> None:
    found = gps_interval(0.0, 60.0)
    assert found is not None
    assert found[1] - found[0] == timedelta(seconds=60)
    assert gps_interval(60.0, 0.0) is None
    assert gps_interval(-2.0 * ADJUSTMENT, 0.0) is None
    assert (is_absolute(1), is_absolute(0x11), is_absolute(0x10)) == (True, True, False)
