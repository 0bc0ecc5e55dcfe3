"""The pedestrian counters of Auckland: reading the source's calendar, and the series made of it.

How the source tells time was found from the counts themselves (docs/explanation/demo-data.md has the evidence):

- A row is one hour of local time (Pacific/Auckland, with daylight saving), and `date` is a counting day that runs from
  06:00 to 05:59 of the next morning: hours 0 to 5 belong to the day after the one that is written.
- Rows follow each other hour by hour. Six rows carry a wrong date (a spreadsheet's fill handle counted days where hours
  were meant): the position in the sequence is right, the label is not.
- On the night on which clocks go back the hour 02:00 occurs twice and has one row, which counts both passes. It is
  stored at the first; the second has no observation.
- On the night on which clocks go forward the hour 02:00 does not exist. Where the source has a row for it (zeros, and in
  2023 and 2025 numbers), it cannot be placed in time and is left out.
- An empty cell is a gap of the counter and stored as such.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from providers.sensors.store import Location, Observation, Parameter
from server.demo.errors import DemoDataUnreadable

ZONE = ZoneInfo("Pacific/Auckland")
FIRST_HOUR = 6  # a counting day begins at 06:00
MOST_RELABELLED = 24
PARAMETER = Parameter(
    name="pedestrians",
    title="Pedestrians counted in the hour",
    unit="1",  # UCUM: a pure number
    observed_property="pedestrian-count",
    description="Number of pedestrians counted in both directions during the hour that begins at the given time",
)
_HOUR = re.compile(r"(\d{1,2}):00-(\d{1,2}):59")
_HOUR_STEP = timedelta(hours=1)


@dataclass
class ReadingNotes:
    """What had to be decided while reading; told to the one who builds the demo."""

    rows: int = 0
    relabelled: list[str] = field(default_factory=list)
    nonexistent: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def location_id(address: str) -> str:
    """A stable id of a counter: its address in lower case with hyphens ("107 Quay Street" -> "107-quay-street")."""
    return re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-")


def read_locations(path: Path) -> list[Location]:
    """The counters. Raises DemoDataUnreadable."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        try:
            return [
                Location(
                    location_id(row["Address"]),
                    row["Address"],
                    float(row["Longitude"]),
                    float(row["Latitude"]),
                )
                for row in csv.DictReader(text)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DemoDataUnreadable(
                f"{path.name} is not a table of Address, Latitude, Longitude: {error}"
            ) from error


def read_observations(
    path: Path, locations: Sequence[Location], notes: ReadingNotes
) -> Iterator[Observation]:
    """Every count as an observation in UTC. Fills `notes` on the way. Raises DemoDataUnreadable."""
    known = {place.title: place.id for place in locations}
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text)
        header = next(rows, [])
        if header[:3] != ["date", "hour", "year"] or set(header[3:]) != set(known):
            raise DemoDataUnreadable(
                f"{path.name} has not the columns date, hour, year and one for each of {sorted(known)}"
            )
        counters = [known[name] for name in header[3:]]
        started = [False] * len(counters)
        for local, cells in _in_sequence(path, rows, notes):
            time = _instant(local, notes)
            if time is None:
                continue
            for column, cell in enumerate(cells):
                value = _count(path, cell, local)
                started[column] = started[column] or value is not None
                # Before its first count a counter was not there yet: that is no gap.
                if started[column]:
                    yield Observation(counters[column], PARAMETER.name, time, value)


def _in_sequence(
    path: Path, rows: Iterator[list[str]], notes: ReadingNotes
) -> Iterator[tuple[datetime, list[str]]]:
    """(naive local time of the beginning of the hour, cells of the counters) of each row, in order."""
    local: datetime | None = None
    for number, row in enumerate(rows, 2):
        label, hour = _label(path, number, row)
        if local is None:
            local = label
        else:
            local += _HOUR_STEP
            # The one hour that some years leave out is the one that the change to summer time skips.
            if local.hour != hour and (local + _HOUR_STEP).hour == hour and not _exists(local):
                local += _HOUR_STEP
        if local.hour != hour:
            raise DemoDataUnreadable(
                f"{path.name} line {number}: hour {hour} follows where hour {local.hour} was expected"
            )
        if local != label:
            notes.relabelled.append(f"line {number}: {label.isoformat()} read as {local.isoformat()}")
            if len(notes.relabelled) > MOST_RELABELLED:
                raise DemoDataUnreadable(f"{path.name}: more than {MOST_RELABELLED} rows are out of sequence")
        notes.rows += 1
        yield local, row[3:]


def _label(path: Path, number: int, row: Sequence[str]) -> tuple[datetime, int]:
    """(naive local time that the row's label means, its hour)."""
    match = _HOUR.fullmatch(row[1]) if len(row) > 3 else None
    if match is None or match.group(1) != match.group(2) or int(match.group(1)) > 23:
        raise DemoDataUnreadable(f"{path.name} line {number}: no hour like 6:00-6:59 but {row[1:2]}")
    hour = int(match.group(1))
    try:
        day = date.fromisoformat(row[0])
    except ValueError as error:
        raise DemoDataUnreadable(f"{path.name} line {number}: {row[0]!r} is no date") from error
    calendar_day = day + timedelta(days=1) if hour < FIRST_HOUR else day
    return datetime.combine(calendar_day, datetime.min.time()).replace(hour=hour), hour


def _exists(local: datetime) -> bool:
    """Whether this naive local time occurs in the zone: going to UTC and back does not move it."""
    return local.replace(tzinfo=ZONE).astimezone(UTC).astimezone(ZONE).replace(tzinfo=None) == local


def _instant(local: datetime, notes: ReadingNotes) -> int | None:
    """Seconds since the epoch of a local time; None for one that does not exist, the first pass of one that occurs twice."""
    if not _exists(local):
        notes.nonexistent.append(local.isoformat())
        return None
    first = local.replace(tzinfo=ZONE, fold=0)
    if first.utcoffset() != local.replace(tzinfo=ZONE, fold=1).utcoffset():
        notes.repeated.append(local.isoformat())
    return int(first.timestamp())


def _count(path: Path, cell: str, local: datetime) -> float | None:
    text = cell.strip()
    if text == "" or text.lower() == "nan":
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DemoDataUnreadable(f"{path.name} at {local.isoformat()}: {cell!r} is no count") from error
    if not 0 <= value < 1e7:
        raise DemoDataUnreadable(f"{path.name} at {local.isoformat()}: {cell!r} is no count")
    return value
