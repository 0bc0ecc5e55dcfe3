"""The store of a SERIES representation: one SQLite file of locations, parameters and observations.

Written once at publish, then only read, so a reader opens it `immutable`: no lock, no WAL, no change of the file.
Times are whole seconds since 1970-01-01T00:00:00Z. A gap is a row whose value is NULL: the instrument was expected to
report and did not, which is something else than no row at all.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from providers.errors import StoreBuildError, StoreCorrupt, StoreMissing

APPLICATION_ID = 0x43545352  # "CTSR"
SCHEMA_VERSION = 1
_OPEN_STORES = 16
_SLICE_VALUES = 20_000

_SCHEMA = """
CREATE TABLE location (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
  longitude REAL NOT NULL, latitude REAL NOT NULL, properties TEXT NOT NULL);
CREATE TABLE parameter (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, unit TEXT NOT NULL,
  observed_property TEXT NOT NULL, description TEXT NOT NULL);
CREATE TABLE series (
  number INTEGER PRIMARY KEY, location INTEGER NOT NULL REFERENCES location, parameter INTEGER NOT NULL REFERENCES parameter,
  UNIQUE (location, parameter));
CREATE TABLE observation (
  series INTEGER NOT NULL REFERENCES series, time INTEGER NOT NULL, value REAL,
  PRIMARY KEY (series, time)) WITHOUT ROWID;
CREATE TABLE latest (
  series INTEGER PRIMARY KEY REFERENCES series, time INTEGER NOT NULL, value REAL NOT NULL);
CREATE TABLE summary (count INTEGER NOT NULL, start INTEGER, end INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Location:
    """A place where something is observed; degrees in CRS84, longitude first. `properties` are JSON values."""

    id: str
    title: str
    longitude: float
    latitude: float
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Parameter:
    """What is observed. `unit` is a UCUM code, `observed_property` a URI or a plain name."""

    name: str
    title: str
    unit: str
    observed_property: str
    description: str = ""


class Observation(NamedTuple):
    """One value to be stored; `time` is in seconds since the epoch (UTC), `value` None is a gap."""

    location: str
    parameter: str
    time: int
    value: float | None


class Span(NamedTuple):
    """Closed span of seconds since the epoch, None where open."""

    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """What a store holds: number of observations (gaps included), of series, first and last time (RFC 3339)."""

    count: int
    series: int
    locations: int
    start: str | None
    end: str | None
    parameters: tuple[Parameter, ...]

    def properties(self) -> dict[str, Any]:
        """The properties of the collection's SERIES representation."""
        return {
            "parameters": [{"name": p.name, "title": p.title, "unit": p.unit} for p in self.parameters],
            "count": self.count,
            "interval": [self.start, self.end],
        }


def rfc3339(seconds: int) -> str:
    """`seconds` since the epoch as an RFC 3339 instant in UTC, for example 2024-01-01T00:00:00Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_series(
    path: Path,
    locations: Iterable[Location],
    parameters: Sequence[Parameter],
    observations: Iterable[Observation | tuple[str, str, int, float | None]],
) -> SeriesSummary:
    """Write a new store at `path` and return its summary.

    Raises StoreBuildError where the file exists, an observation names an unknown location or parameter, or a series has two
    observations at one time.
    """
    if path.exists():
        msg = f"Series store {path.name} already exists; a store is written once, at publish."
        raise StoreBuildError(msg)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is built aside and synced by the publisher as a whole: a journal of its own would only cost time.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        connection.execute("BEGIN")
        try:
            series = _write_descriptions(connection, list(locations), parameters)
            connection.executemany("INSERT INTO observation VALUES (?, ?, ?)", _rows(series, observations))
        except sqlite3.IntegrityError as error:
            msg = f"Series store {path.name}: a location, a parameter or an instant occurs twice ({error})."
            raise StoreBuildError(msg) from error
        _write_derived(connection)
        connection.execute("COMMIT")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return SeriesStore(path).summary()


def _write_descriptions(
    connection: sqlite3.Connection, locations: Sequence[Location], parameters: Sequence[Parameter]
) -> dict[tuple[str, str], int]:
    """Store locations, parameters and one series for each pair; returns the number of each series."""
    connection.executemany(
        "INSERT INTO location VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                number,
                one.id,
                one.title,
                one.longitude,
                one.latitude,
                json.dumps(dict(one.properties), ensure_ascii=False),
            )
            for number, one in enumerate(locations, 1)
        ),
    )
    connection.executemany(
        "INSERT INTO parameter VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number, one.name, one.title, one.unit, one.observed_property, one.description)
            for number, one in enumerate(parameters, 1)
        ),
    )
    series: dict[tuple[str, str], int] = {}
    rows = []
    for place, location in enumerate(locations, 1):
        for kind, parameter in enumerate(parameters, 1):
            series[location.id, parameter.name] = len(series) + 1
            rows.append((len(series), place, kind))
    connection.executemany("INSERT INTO series VALUES (?, ?, ?)", rows)
    return series


def _rows(
    series: Mapping[tuple[str, str], int],
    observations: Iterable[Observation | tuple[str, str, int, float | None]],
) -> Iterator[tuple[int, int, float | None]]:
    """Observations as rows of the table. Raises StoreBuildError for a location or parameter that was not described."""
    for location, parameter, time, value in observations:
        number = series.get((location, parameter))
        if number is None:
            msg = f"Observation of parameter {parameter!r} at {location!r}: no such series; describe both beforehand."
            raise StoreBuildError(msg)
        yield number, time, value


def _write_derived(connection: sqlite3.Connection) -> None:
    """The table of latest values and the summary: both would otherwise need a scan of every observation."""
    connection.execute(
        "INSERT INTO latest SELECT series, MAX(time), value FROM observation WHERE value IS NOT NULL GROUP BY series"
    )
    connection.execute("INSERT INTO summary SELECT COUNT(*), MIN(time), MAX(time) FROM observation")


class SeriesStore:
    """Reads one store. Cheap to make; a thread keeps one connection per file, closed when the thread ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def summary(self) -> SeriesSummary:
        """What the store holds."""
        count, start, end = self._rows("SELECT count, start, end FROM summary")[0]
        (series,) = self._rows("SELECT COUNT(*) FROM series")[0]
        (locations,) = self._rows("SELECT COUNT(*) FROM location")[0]
        return SeriesSummary(
            count,
            series,
            locations,
            None if start is None else rfc3339(start),
            None if end is None else rfc3339(end),
            self.parameters(),
        )

    def parameters(self) -> tuple[Parameter, ...]:
        """Every observed parameter, in the order of publication."""
        sql = "SELECT name, title, unit, observed_property, description FROM parameter ORDER BY number"
        return tuple(Parameter(*row) for row in self._rows(sql))

    def locations(self) -> tuple[Location, ...]:
        """Every location, in the order of publication."""
        sql = "SELECT id, title, longitude, latitude, properties FROM location ORDER BY number"
        return tuple(_location(row) for row in self._rows(sql))

    def location(self, location_id: str) -> Location | None:
        """The location of that id, or None."""
        sql = "SELECT id, title, longitude, latitude, properties FROM location WHERE id = ?"
        rows = self._rows(sql, (location_id,))
        return _location(rows[0]) if rows else None

    def latest(self) -> list[tuple[str, str, int, float]]:
        """The last reported value of each series: (location id, parameter name, seconds, value)."""
        return self._rows(
            "SELECT location.id, parameter.name, latest.time, latest.value FROM latest"
            " JOIN series ON series.number = latest.series JOIN location ON location.number = series.location"
            " JOIN parameter ON parameter.number = series.parameter ORDER BY location.number, parameter.number"
        )

    def observations(
        self, location_id: str, parameter: str, span: Span, limit: int
    ) -> list[tuple[int, float | None]]:
        """At most `limit` observations of one series within `span`, oldest first: (seconds, value or None for a gap)."""
        sql = (
            "SELECT time, value FROM observation WHERE series = (SELECT series.number FROM series"
            " JOIN location ON location.number = series.location JOIN parameter ON parameter.number = series.parameter"
            " WHERE location.id = :location AND parameter.name = :parameter)"
            " AND time BETWEEN :start AND :end ORDER BY time LIMIT :limit"
        )
        return self._rows(
            sql,
            {
                "location": location_id,
                "parameter": parameter,
                "start": _EARLIEST if span.start is None else span.start,
                "end": _LATEST if span.end is None else span.end,
                "limit": limit,
            },
        )

    def rows_by_time(
        self, location_id: str, parameters: Sequence[str], span: Span
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Every time at which one of the parameters of a location has a row, oldest first, in slices of bounded length.

        A row is (RFC 3339 instant, one value a parameter); None is a gap or no row.
        Unknown names give nothing. Each slice is a query of its own: no cursor stays open between them.
        """
        names = list(dict.fromkeys(parameters))
        series = dict(
            self._rows(
                "SELECT parameter.name, series.number FROM series JOIN location ON location.number = series.location"
                " JOIN parameter ON parameter.number = series.parameter WHERE location.id = ?",
                (location_id,),
            )
        )
        wanted = [int(series[name]) for name in names if name in series]
        if not wanted:
            return
        # Numbers of our own table stand in the text: SQLite takes fewer bound values than there may be parameters.
        values = "".join(
            f", MAX(CASE series WHEN {int(series[name])} THEN value END)" if name in series else ", NULL"
            for name in names
        )
        chosen = ", ".join(map(str, wanted))
        sql = (
            f"SELECT replace(datetime(time, 'unixepoch'), ' ', 'T') || 'Z'{values} FROM observation"  # noqa: S608 - numbered columns of ours; values are bound
            f" WHERE series IN ({chosen}) AND time > ? AND time <= ? GROUP BY time ORDER BY time"
        )
        after = _EARLIEST if span.start is None else span.start - 1
        end = _LATEST if span.end is None else span.end
        length = max(1, _SLICE_VALUES // len(wanted))
        while after < end:
            until = min(self._time_after(number, after, length, end) for number in wanted)
            rows = self._rows(sql, (after, until))
            if rows:
                yield rows
            after = until

    def _time_after(self, series: int, after: int, count: int, end: int) -> int:
        """The time of the `count`-th observation later than `after`; `end` where there are fewer until then."""
        sql = (
            "SELECT time FROM observation WHERE series = ? AND time > ? AND time <= ?"
            " ORDER BY time LIMIT 1 OFFSET ?"
        )
        rows = self._rows(sql, (series, after, end, count - 1))
        return int(rows[0][0]) if rows else end

    def _rows(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        try:
            return _connection(self.path).execute(sql, values).fetchall()
        except sqlite3.Error as error:
            msg = f"Series store {self.path.name} cannot be read: {error}."
            raise StoreCorrupt(msg) from error


def _location(row: tuple[str, str, float, float, str]) -> Location:
    return Location(row[0], row[1], row[2], row[3], json.loads(row[4]))


_EARLIEST, _LATEST = -(2**62), 2**62
_handles = threading.local()


def _connection(path: Path) -> sqlite3.Connection:
    """This thread's connection to `path`; the least recently used one is closed beyond `_OPEN_STORES`."""
    cache: OrderedDict[Path, sqlite3.Connection] | None = getattr(_handles, "cache", None)
    if cache is None:
        cache = _handles.cache = OrderedDict()
    connection = cache.get(path)
    if connection is None:
        connection = cache[path] = _open(path)
        if len(cache) > _OPEN_STORES:
            cache.popitem(last=False)[1].close()
    cache.move_to_end(path)
    return connection


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only. Raises StoreMissing, or StoreCorrupt for a file that is not a series store of this version."""
    if not path.is_file():
        msg = f"Series store {path.name} does not exist."
        raise StoreMissing(msg)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        msg = f"{path.name} is not an SQLite file ({error})."
        raise StoreCorrupt(msg) from error
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        connection.close()
        msg = f"{path.name} is not a series store of version {SCHEMA_VERSION} (application {application}, version {version})."
        raise StoreCorrupt(msg)
    return connection
