"""The DuckDB database of this process: offline, read-only towards files, bounded in memory, threads and time.

Made at the first use after the fork. It can open files of the folders it was made for only: where another folder is needed,
a database for all folders so far takes its place, and the old one lives until the last of its queries has ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from providers.errors import AnswerTooLarge, StoreCorrupt, StoreError
from providers.features.in_place import QUERY_SECONDS

_MEMORY = "1GB"
_THREADS = 2


class _Process:
    """What one process holds: the database, for which folders it was made, and a cursor of it for each thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.folders: frozenset[str] = frozenset()
        self.database: Any = None
        self.local = threading.local()

    def cursor(self, folder: Path) -> Any:
        """This thread's connection to a database that may read `folder`."""
        name = f"{folder}/"
        if not self._reaches(name):
            with self.lock:
                if not self._reaches(name):
                    folders = self.folders | {name}
                    self.database = make_database(sorted(folders))
                    self.folders = folders
        database = self.database
        if getattr(self.local, "database", None) is not database:
            self.local.cursor = database.cursor()
            self.local.database = database
        return self.local.cursor

    def _reaches(self, name: str) -> bool:
        return name in self.folders or any(name.startswith(folder) for folder in self.folders)


_state: list[_Process] = []  # at most one
_state_lock = threading.Lock()


def _process() -> _Process:
    if not _state or _state[0].pid != os.getpid():
        with _state_lock:
            if not _state or _state[0].pid != os.getpid():
                _state[:] = [_Process()]
    return _state[0]


def spatial_extension() -> Path:
    """The file of DuckDB's spatial extension in its wheel. Raises StoreError where it is not installed."""
    found = find_spec("duckdb_extension_spatial")
    files = (
        sorted(Path(str(found.origin)).parent.glob("extensions/*/spatial.duckdb_extension")) if found else []
    )
    if not files:
        raise StoreError("DuckDB's spatial extension is not installed: install duckdb_extension_spatial")
    return files[-1]


def make_database(folders: Sequence[str], memory: str = _MEMORY) -> Any:
    """A connection to a new database that reads files below `folders` (each ending in "/"), and nothing else."""
    import duckdb

    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    database = duckdb.connect(":memory:", config=settings)
    listed = ", ".join(_quoted(folder) for folder in folders)
    for statement in (
        f"LOAD {_quoted(str(spatial_extension()))}",
        "SET GLOBAL TimeZone = 'UTC'",
        # WKB stays WKB: geometries go out as they came, and metadata that DuckDB does not like do not stop it.
        "SET GLOBAL enable_geoparquet_conversion = false",
        f"SET memory_limit = '{memory}'",
        f"SET threads = {_THREADS}",
        "SET temp_directory = ''",
        # Files may be replaced at any time; the system's page cache is as fast (measured).
        "SET enable_external_file_cache = false",
        f"SET allowed_directories = [{listed}]",
        "SET enable_external_access = false",
    ):
        database.execute(statement)
    _add_functions(database)
    database.execute("SET lock_configuration = true")
    return database


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _add_functions(database: Any) -> None:
    """The functions of filters that DuckDB has not, or not with Unicode's rules: ours, over Arrow columns."""
    from providers.features.cql2 import strings

    database.execute("CREATE MACRO cql_finite(number) AS CASE WHEN isfinite(number) THEN number END")
    one_text: dict[str, Callable[[Any], Any]] = {
        "cql_casei": strings.casei,
        "cql_accenti": strings.accenti,
        "cql_lower": str.lower,
        "cql_upper": str.upper,
    }
    for name, function in one_text.items():
        database.create_function(name, _over_arrow(function, 1, "string"), ["VARCHAR"], "VARCHAR", **_ARROW)
    two_texts: dict[str, Callable[[Any, Any], Any]] = {
        "cql_like": strings.like,
        "cql_array_equals": strings.array_equals,
        "cql_array_contains": strings.array_contains,
        "cql_array_contained_by": strings.array_contained_by,
        "cql_array_overlaps": strings.array_overlaps,
    }
    for name, compare in two_texts.items():
        database.create_function(
            name, _over_arrow(compare, 2, "bool"), ["VARCHAR", "VARCHAR"], "BOOLEAN", **_ARROW
        )


_ARROW = {"type": "arrow", "null_handling": "special", "side_effects": False}


def _over_arrow(function: Callable[..., Any], arity: int, result: str) -> Callable[..., Any]:
    """`function` of `arity` texts over columns; None where an argument is None."""
    import pyarrow as pa

    made = pa.string() if result == "string" else pa.bool_()

    def of_one(texts: Any) -> Any:
        return pa.array([None if text is None else function(text) for text in texts.to_pylist()], made)

    def of_two(first: Any, second: Any) -> Any:
        pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return pa.array([None if a is None or b is None else function(a, b) for a, b in pairs], made)

    return of_one if arity == 1 else of_two


def run(folder: Path, statement: str, arguments: Sequence[Any] = (), seconds: float = QUERY_SECONDS) -> Any:
    """The Arrow table a statement gives. `folder` is one that its files lie in or below; `arguments` stand for $1, $2, ...

    Raises AnswerTooLarge (time, memory), StoreCorrupt (a file that cannot be read), StoreError (anything else).
    """
    return ask(_process().cursor(folder), statement, arguments, seconds)


def ask(cursor: Any, statement: str, arguments: Sequence[Any], seconds: float) -> Any:
    """The same on a connection of one's own."""
    with _budget(cursor, seconds), _named_errors():
        return cursor.execute(statement, list(arguments)).to_arrow_table()


@contextmanager
def _budget(cursor: Any, seconds: float) -> Iterator[None]:
    """Interrupt what runs on the cursor after `seconds`."""
    over = threading.Lock()  # held by whoever may touch the cursor last
    ended = False

    def interrupt() -> None:
        with over:
            if not ended:
                cursor.interrupt()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with over:
            ended = True
        timer.cancel()


@contextmanager
def _named_errors() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.InterruptException as error:
        raise AnswerTooLarge(
            "The answer takes longer than the time one may take; ask for a smaller bbox or a filter on a sorted field"
        ) from error
    except duckdb.OutOfMemoryException as error:
        raise AnswerTooLarge(
            "The answer needs more memory than one may take; ask for less at once"
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise StoreCorrupt(f"A Parquet file cannot be read: {_first_line(error)}") from error
    except duckdb.Error as error:
        raise StoreError(f"DuckDB: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """DuckDB's own words without the statement, and without the folders of this machine."""
    line = str(error).strip().split("\n", 1)[0]
    return " ".join(
        word if "/" not in word else "'" + word.strip("'\"").rsplit("/", 1)[-1] for word in line.split()
    )
