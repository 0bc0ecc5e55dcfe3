"""Connections to PostgreSQL: one bounded pool per connection string and process, and what its errors mean.

Connections are made after the fork, read only until an edit says otherwise, speak UTC and ISO dates, and stop a statement that
takes too long. Nothing of a connection string ever stands in a message or a log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from providers.errors import SourceUnavailable, StoreError

type Connection = psycopg.Connection[TupleRow]

MAXIMUM_CONNECTIONS = 8  # of one process to one database
WAITING_REQUESTS = 64  # more are answered with 503 at once
CONNECT_SECONDS = 3
CHECKOUT_SECONDS = 3.0
STATEMENT_SECONDS = 10
_REST_SECONDS = 2.0  # after a failure to connect, requests are refused at once for as long
_IDLE_SECONDS = 300.0

# The path holds the schema of PostGIS and nothing a stranger can write to; a plan is made for the values of each query, since
# one for any box would scan everything. Many requests share the machine: starting helpers for one of them doubles what a
# vector tile costs (17 ms of CPU instead of 8).
_SETTINGS = """
SELECT set_config('search_path', 'pg_catalog' || coalesce((SELECT ', ' || quote_ident(n.nspname) FROM pg_extension e
         JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'), '') || ', pg_temp', false),
       set_config('statement_timeout', %s, false), set_config('lock_timeout', '5s', false),
       set_config('idle_in_transaction_session_timeout', '30s', false),
       set_config('timezone', 'UTC', false), set_config('datestyle', 'ISO, YMD', false),
       set_config('intervalstyle', 'iso_8601', false), set_config('bytea_output', 'hex', false),
       set_config('extra_float_digits', '1', false), set_config('client_encoding', 'UTF8', false),
       set_config('jit', 'off', false), set_config('plan_cache_mode', 'force_custom_plan', false),
       set_config('max_parallel_workers_per_gather', '0', false), set_config('random_page_cost', '1.1', false), set_config('standard_conforming_strings', 'on', false),
       set_config('default_transaction_read_only', 'on', false),
       set_config('default_transaction_isolation', 'read committed', false)
"""


class Database:
    """One PostgreSQL database, as this process reaches it. `name` is what messages call it."""

    def __init__(self, connection_string: str, name: str = "") -> None:
        """Connects to nothing yet. Raises StoreError for a connection string that cannot be read."""
        self.name = name
        self._down_until = 0.0
        self._errors_seen = 0
        _quiet_pool_logger()
        try:
            psycopg.conninfo.conninfo_to_dict(connection_string)
        except psycopg.ProgrammingError:
            # libpq's message repeats the string, which may hold a password.
            raise StoreError(
                f"The connection string of {self._called} cannot be read; write it as libpq does"
            ) from None
        self._pool = ConnectionPool(
            connection_string,
            kwargs={"connect_timeout": CONNECT_SECONDS, "autocommit": True, "application_name": "chengtu"},
            min_size=0,
            max_size=MAXIMUM_CONNECTIONS,
            max_waiting=WAITING_REQUESTS,
            timeout=CHECKOUT_SECONDS,
            max_idle=_IDLE_SECONDS,
            reconnect_timeout=1.0,
            num_workers=2,
            configure=_configure,
            name="chengtu-postgis",
            open=True,
        )

    @property
    def _called(self) -> str:
        return f"the database {self.name!r}" if self.name else "the database"

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit, back in the pool afterwards.

        Raises SourceUnavailable where the database does not answer (in time), StoreError where table, column or right is missing.
        Errors of values (psycopg.DataError) and of constraints (psycopg.IntegrityError) pass.
        """
        if time.monotonic() < self._down_until:
            raise self._unavailable()
        try:
            with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, TooManyRequests) as error:
            if isinstance(error, PoolTimeout):
                self._note_failure()
            raise self._unavailable() from None
        except psycopg.errors.QueryCanceled:
            raise SourceUnavailable(
                f"{self._called.capitalize()} did not finish within {STATEMENT_SECONDS} s; ask for less, or for indexed fields"
            ) from None
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise self._unavailable() from None

    def run[T](self, ask: Callable[[Connection], T]) -> T:
        """Ask a question that changes nothing; once more where the connection had died (a server that was restarted)."""
        for is_last in (False, True):
            broken = False
            try:
                with self.connection() as connection:
                    try:
                        return ask(connection)
                    finally:
                        broken = connection.broken
            except SourceUnavailable:
                if is_last or not broken:
                    raise
                self._pool.check()
        raise AssertionError("the loop returns or raises")

    def _note_failure(self) -> None:
        # All connections busy is not the same as a database that is gone.
        stats = self._pool.get_stats()
        if (
            stats.get("pool_size", 0) < MAXIMUM_CONNECTIONS
            or stats.get("connections_errors", 0) > self._errors_seen
        ):
            self._errors_seen = stats.get("connections_errors", 0)
            self._down_until = time.monotonic() + _REST_SECONDS

    def _unavailable(self) -> SourceUnavailable:
        return SourceUnavailable(f"{self._called.capitalize()} does not answer now; try again later")

    def close(self) -> None:
        """Close all connections."""
        self._pool.close(timeout=1.0)


class _Databases:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.opened: dict[str, Database] = {}
        self.process = os.getpid()


_databases = _Databases()


def database(connection_string: str, name: str = "") -> Database:
    """The database behind a connection string, shared by all collections of this process."""
    with _databases.lock:
        if _databases.process != os.getpid():
            # A fork inherits the sockets of its parent, and must not speak through them.
            _databases.opened, _databases.process = {}, os.getpid()
        found = _databases.opened.get(connection_string)
        if found is None:
            found = _databases.opened[connection_string] = Database(connection_string, name)
        return found


def close_pools() -> None:
    """Close every pool of this process (tests; a worker that ends)."""
    with _databases.lock:
        opened, _databases.opened = _databases.opened, {}
    for each in opened.values():
        each.close()


def statement_timeout() -> str:
    """How long a statement may take, as PostgreSQL writes it."""
    return f"{STATEMENT_SECONDS}s"


def _configure(connection: Connection) -> None:
    connection.execute(_SETTINGS, (statement_timeout(),))
    connection.prepare_threshold = 3


def _quiet_pool_logger() -> None:
    """The pool's own warnings repeat libpq's messages: host, port, user. Ours say enough."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
