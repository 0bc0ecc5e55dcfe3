"""Open connections that wait for their next use: plenty for one store, bounded for the process.

A connection is expensive to open, and one to a store under edit (WAL) keeps its file descriptors after it is closed, as long as
others are open (SQLite must not lose the locks of the process). So a store keeps what its threads have needed at once, and only
where the process has too many does one close that has waited in the store with the most of them.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable

from providers.errors import StoreError
from providers.features.store import turns
from providers.features.store.connections import StoreConnection

MOST_OPEN = 256
"""Connections of a process, in use or waiting; more are opened only while more are in use. Each has two descriptors."""


class _Census:
    """How many connections the process has open, and the pools that hold them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a pool may be collected while its thread holds it
        self.count = 0
        self.pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()

    def make_room(self, wanted: int) -> int:
        """Close so many waiting connections, of the stores that have the most; how many were found. Needs the lock."""
        closed = 0
        while closed < wanted:
            fullest = max(self.pools, key=len, default=None)
            connection = None if fullest is None else fullest.oldest()
            if connection is None:
                break
            connection.close()
            self.count -= 1
            closed += 1
        return closed

    def forget(self, idle: deque[StoreConnection]) -> None:
        """A pool is gone: so are the connections that waited in it."""
        with self.lock:
            while idle:
                idle.pop().close()
                self.count -= 1


_census = _Census()


class ConnectionPool:
    """The waiting connections of one store. Safe from many threads."""

    def __init__(self) -> None:
        self._idle: deque[StoreConnection] = deque()
        weakref.finalize(self, _census.forget, self._idle).atexit = False
        with _census.lock:
            _census.pools.add(self)

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, make: Callable[[], StoreConnection]) -> StoreConnection:
        """A connection that nobody else uses; `make` opens one where none waits. Raises StoreError."""
        has_turn = turns.edits > 0 and turns.wait_for_turn()
        try:
            connection = self._idle.pop()  # the one used last: what it has read is still at hand
        except IndexError:
            try:
                connection = _opened(make)
            except BaseException:
                if has_turn:
                    turns.end_turn()
                raise
        connection.has_turn = has_turn
        return connection

    def give(self, connection: StoreConnection) -> None:
        """Let a connection wait for its next use."""
        if connection.has_turn:
            connection.has_turn = False
            turns.end_turn()
        if _census.count <= MOST_OPEN:
            self._idle.append(connection)
            return
        with _census.lock:
            connection.close()
            _census.count -= 1

    def oldest(self) -> StoreConnection | None:
        """Take out the connection that has waited longest, None where none waits."""
        try:
            return self._idle.popleft()
        except IndexError:
            return None


def _opened(make: Callable[[], StoreConnection]) -> StoreConnection:
    with _census.lock:
        _census.make_room(_census.count + 1 - MOST_OPEN)
        _census.count += 1
    try:
        try:
            return make()
        except StoreError:
            # The process may be out of descriptors: once more, without the connections that only wait.
            with _census.lock:
                if not _census.make_room(MOST_OPEN):
                    raise
            return make()
    except BaseException:
        with _census.lock:
            _census.count -= 1
        raise


def open_connections() -> int:
    """How many connections to stores the process has open, in use or waiting."""
    return _census.count
