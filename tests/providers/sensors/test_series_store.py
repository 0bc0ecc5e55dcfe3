"""The series store: what is written comes back, and what cannot be stored is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from providers.errors import StoreBuildError, StoreCorrupt, StoreMissing
from providers.sensors.store import Location, Parameter, SeriesStore, Span, rfc3339, write_series

PLACES = [Location("a", "Place A", 24.9, 60.1, {"street": "Esplanadi"}), Location("b", "Place B", 25.0, 60.2)]
PARAMETERS = [
    Parameter("count", "Pedestrians", "1", "count"),
    Parameter("temp", "Temperature", "Cel", "temp"),
]


def _write(path: Path) -> None:
    rows = [("a", "count", hour * 3600, float(hour)) for hour in range(24)]
    rows += [
        ("a", "temp", 0, -3.5),
        ("b", "count", 3600, None),
        ("b", "count", 7200, 8.0),
        ("b", "count", 10800, None),
    ]
    write_series(path, PLACES, PARAMETERS, rows)


def test_summary_says_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "series.sqlite"
    _write(path)
    summary = SeriesStore(path).summary()
    assert (summary.count, summary.series, summary.locations) == (28, 4, 2)
    assert (summary.start, summary.end) == ("1970-01-01T00:00:00Z", "1970-01-01T23:00:00Z")
    assert summary.properties() == {
        "parameters": [
            {"name": "count", "title": "Pedestrians", "unit": "1"},
            {"name": "temp", "title": "Temperature", "unit": "Cel"},
        ],
        "count": 28,
        "interval": ["1970-01-01T00:00:00Z", "1970-01-01T23:00:00Z"],
    }


def test_observations_are_ordered_bounded_and_keep_gaps(tmp_path: Path) -> None:
    path = tmp_path / "series.sqlite"
    _write(path)
    store = SeriesStore(path)
    assert store.observations("a", "count", Span(3600, 7200), 100) == [(3600, 1.0), (7200, 2.0)]
    assert store.observations("a", "count", Span(None, None), 3) == [(0, 0.0), (3600, 1.0), (7200, 2.0)]
    assert store.observations("b", "count", Span(None, None), 9) == [(3600, None), (7200, 8.0), (10800, None)]
    assert store.observations("nobody", "count", Span(None, None), 9) == []


def test_latest_passes_over_gaps(tmp_path: Path) -> None:
    path = tmp_path / "series.sqlite"
    _write(path)
    latest = SeriesStore(path).latest()
    assert latest == [("a", "count", 82800, 23.0), ("a", "temp", 0, -3.5), ("b", "count", 7200, 8.0)]


def test_locations_come_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "series.sqlite"
    _write(path)
    assert list(SeriesStore(path).locations()) == PLACES
    assert SeriesStore(path).location("b") == PLACES[1]
    assert SeriesStore(path).location("c") is None


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([("x", "count", 0, 1.0)], "'x'"),
        ([("a", "wind", 0, 1.0)], "'wind'"),
        ([("a", "count", 0, 1.0), ("a", "count", 0, 2.0)], "twice"),
    ],
)
def test_bad_observations_are_refused(
    tmp_path: Path, rows: list[tuple[str, str, int, float]], word: str
) -> None:
    with pytest.raises(StoreBuildError, match=word):
        write_series(tmp_path / "series.sqlite", PLACES, PARAMETERS, rows)


def test_a_store_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "series.sqlite"
    _write(path)
    with pytest.raises(StoreBuildError, match="already exists"):
        _write(path)


def test_files_that_are_no_store_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        SeriesStore(tmp_path / "none.sqlite").summary()
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, only text that is long enough to be read as one" * 20)
    with pytest.raises(StoreCorrupt):
        SeriesStore(text).summary()
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE location (id)")
    with pytest.raises(StoreCorrupt, match="version"):
        SeriesStore(other).summary()


def test_times_are_written_in_utc() -> None:
    assert rfc3339(1_704_067_200) == "2024-01-01T00:00:00Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59Z"
