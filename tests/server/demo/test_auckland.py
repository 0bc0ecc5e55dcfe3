"""Auckland's counters: local hours become instants, whatever the clocks and the spreadsheet did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from providers.sensors.store import Location, rfc3339
from server.demo import sources
from server.demo.auckland import ReadingNotes, location_id, read_locations, read_observations
from server.demo.errors import DemoDataUnreadable

PLACES = [Location("a", "A", 174.7, -36.8)]


def _read(
    tmp_path: Path, rows: Sequence[tuple[str, int, str]], notes: ReadingNotes | None = None
) -> dict[str, float | None]:
    path = tmp_path / "counts.csv"
    lines = [f"{day},{hour}:00-{hour}:59,{day[:4]},{count}" for day, hour, count in rows]
    path.write_text("date,hour,year,A\n" + "\n".join(lines))
    return {rfc3339(one.time): one.value for one in read_observations(path, PLACES, notes or ReadingNotes())}


def _night(day: str, *counts: str, skip: int | None = None) -> list[tuple[str, int, str]]:
    """Rows from 22:00 to 04:00 of one counting day, without hour `skip`."""
    hours = [hour for hour in (22, 23, 0, 1, 2, 3, 4) if hour != skip]
    return list(zip([day] * len(hours), hours, counts, strict=True))


def test_hours_after_midnight_belong_to_the_next_day(tmp_path: Path) -> None:
    found = _read(tmp_path, [("2024-01-01", 23, "5"), ("2024-01-01", 0, "6"), ("2024-01-01", 1, "7")])
    # Summer time, UTC+13: 23:00 on the first is 10:00 UTC.
    assert found == {"2024-01-01T10:00:00Z": 5.0, "2024-01-01T11:00:00Z": 6.0, "2024-01-01T12:00:00Z": 7.0}


def test_winter_is_twelve_hours_ahead(tmp_path: Path) -> None:
    assert _read(tmp_path, [("2024-07-01", 12, "1")]) == {"2024-07-01T00:00:00Z": 1.0}


def test_the_hour_that_does_not_exist_is_left_out(tmp_path: Path) -> None:
    notes = ReadingNotes()
    found = _read(tmp_path, _night("2023-09-23", "1", "2", "3", "4", "9", "5", "6"), notes)
    assert list(found.items())[-3:] == [
        ("2023-09-23T13:00:00Z", 4.0),
        ("2023-09-23T14:00:00Z", 5.0),
        ("2023-09-23T15:00:00Z", 6.0),
    ]
    assert notes.nonexistent == ["2023-09-24T02:00:00"]


def test_the_hour_that_does_not_exist_may_be_absent(tmp_path: Path) -> None:
    notes = ReadingNotes()
    found = _read(tmp_path, _night("2024-09-28", "1", "2", "3", "4", "5", "6", skip=2), notes)
    assert list(found) == [f"2024-09-28T{hour}:00:00Z" for hour in range(10, 16)]
    assert notes.nonexistent == notes.relabelled == []


def test_the_hour_that_occurs_twice_is_stored_once(tmp_path: Path) -> None:
    notes = ReadingNotes()
    found = _read(tmp_path, _night("2024-04-06", "1", "2", "3", "4", "9", "5", "6"), notes)
    assert found["2024-04-06T13:00:00Z"] == 9.0  # 02:00 of summer time
    assert "2024-04-06T14:00:00Z" not in found  # 02:00 of standard time
    assert found["2024-04-06T15:00:00Z"] == 5.0
    assert notes.repeated == ["2024-04-07T02:00:00"]


def test_wrong_dates_are_corrected_by_position(tmp_path: Path) -> None:
    notes = ReadingNotes()
    rows = [
        ("2025-01-01", 2, "1"),
        ("2025-01-02", 3, "2"),
        ("2025-01-03", 4, "3"),
        ("2025-01-04", 5, "4"),
        ("2025-01-05", 6, "5"),
    ]
    found = _read(tmp_path, [*rows, ("2025-01-02", 7, "6")], notes)
    assert list(found) == [f"2025-01-01T{hour}:00:00Z" for hour in range(13, 19)]
    assert len(notes.relabelled) == 4


def test_gaps_are_null_and_absence_before_the_first_count_is_none(tmp_path: Path) -> None:
    found = _read(
        tmp_path,
        [("2024-07-01", hour, count) for hour, count in ((6, ""), (7, "nan"), (8, "3"), (9, ""), (10, "0"))],
    )
    assert list(found.values()) == [3.0, None, 0.0]


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([("2024-07-01", 6, "1"), ("2024-07-01", 9, "1")], "hour 9"),
        ([("2024-07-01", 25, "1")], "no hour"),
        ([("2024-07-99", 6, "1")], "no date"),
        ([("2024-07-01", 6, "many")], "no count"),
        ([("2024-07-01", 6, "-1")], "no count"),
        ([("2024-07-01", 6, "inf")], "no count"),
        (
            [("2024-07-01", 6 + index % 18, "1") for index in range(1)]
            + [("2030-01-01", 7 + index, "1") for index in range(11)]
            + [("2031-01-01", (18 + index) % 24, "1") for index in range(24)],
            "out of sequence",
        ),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, rows: list[tuple[str, int, str]], word: str) -> None:
    with pytest.raises(DemoDataUnreadable, match=word):
        _read(tmp_path, rows)


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("date,hour,year,B\n")
    with pytest.raises(DemoDataUnreadable, match="columns"):
        list(read_observations(path, PLACES, ReadingNotes()))
    path.write_text("Name,Where\nA,there\n")
    with pytest.raises(DemoDataUnreadable):
        read_locations(path)


def test_the_real_table() -> None:
    locations = read_locations(sources.auckland_locations())
    assert len(locations) == len({place.id for place in locations}) == 21
    notes = ReadingNotes()
    first = last = None
    counts: dict[str, int] = {}
    for one in read_observations(sources.auckland_counts(), locations, notes):
        first = one if first is None else first
        last = one
        counts[one.location] = counts.get(one.location, 0) + 1
    assert first is not None
    assert last is not None
    assert (rfc3339(first.time), rfc3339(last.time)) == ("2018-12-31T17:00:00Z", "2025-12-31T16:00:00Z")
    assert (notes.rows, len(notes.relabelled), len(notes.nonexistent), len(notes.repeated)) == (
        61367,
        6,
        6,
        7,
    )
    assert counts["45-queen-street"] == 61361
    assert counts["188-quay-street-lower-albert-ew"] < 40_000  # it was put up in 2022


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("107 Quay Street", "107-quay-street"),
        ("188 Quay Street Lower Albert (EW)", "188-quay-street-lower-albert-ew"),
    ],
)
def test_ids(address: str, name: str) -> None:
    assert location_id(address) == name
