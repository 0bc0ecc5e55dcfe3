"""Leaving alone what fails (circuit breaker), and giving few threads to what is slow (bulkhead)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from providers.outgoing.errors import RemoteBusy, RemoteStumbled, RemoteUnavailable


class BreakerState(StrEnum):
    """Closed: requests pass. Open: none does. Half-open: one is trying."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Opens after `failures` failures in a row, for `seconds`; twice as long after each failed try, `longest` at most.

    `clock` gives seconds that only grow; tests pass their own.
    """

    def __init__(
        self,
        failures: int = 3,
        seconds: float = 5.0,
        longest: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = failures
        self._first_pause = seconds
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = seconds
        self._open_until: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        """What the next request would meet."""
        with self._lock:
            if self._open_until is None:
                return BreakerState.CLOSED
            return BreakerState.HALF_OPEN if self._clock() >= self._open_until else BreakerState.OPEN

    @contextmanager
    def passage(self, name: str) -> Iterator[None]:
        """Around one request: RemoteUnavailable in here is a failure; anything else means that the service is there.

        Raises RemoteUnavailable at once while open.
        """
        self._enter(name)
        try:
            yield
        except RemoteStumbled:
            self._succeeded()
            raise
        except RemoteUnavailable as error:
            self._failed(error.retry_after)
            raise
        except BaseException:
            self._succeeded()
            raise
        self._succeeded()

    def refuse_while_open(self, name: str) -> None:
        """Raise RemoteUnavailable while no request may pass: before waiting for anything else."""
        with self._lock:
            if self._open_until is not None and (self._trying or self._clock() < self._open_until):
                raise self._refusal(name)

    def _enter(self, name: str) -> None:
        with self._lock:
            if self._open_until is None:
                return
            if self._trying or self._clock() < self._open_until:
                raise self._refusal(name)
            self._trying = True

    def _refusal(self, name: str) -> RemoteUnavailable:
        wait = max((self._open_until or 0.0) - self._clock(), 1.0)
        return RemoteUnavailable(
            f"{name} has failed {self._failures} times in a row and is left alone; it will be asked again in {wait:.0f} s",
            retry_after=wait,
        )

    def _failed(self, retry_after: float | None) -> None:
        with self._lock:
            self._failures += 1
            was_trying, self._trying = self._trying, False
            if self._failures < self._threshold and not was_trying and retry_after is None:
                return
            if was_trying:
                self._pause = min(self._pause * 2, self._longest)
            pause = self._pause if retry_after is None else min(max(retry_after, 1.0), self._longest)
            self._open_until = self._clock() + pause

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            self._trying = False
            self._open_until = None
            self._pause = self._first_pause


class Bulkheads:
    """At most `per_host` requests to one host and `overall` to all hosts at a time, in this process.

    Who does not get a place within `patience` seconds is told to come back (RemoteBusy); at most one waits for a host, so that a slow one
    never holds all the threads that answer requests.
    """

    def __init__(self, per_host: int, overall: int, patience: float = 0.5) -> None:
        self._per_host = per_host
        self._overall = overall
        self._patience = patience
        self._condition = threading.Condition()
        self._running: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    @contextmanager
    def place(self, host: str) -> Iterator[None]:
        """Around one request to a host. Raises RemoteUnavailable."""
        with self._condition:
            if not self._free(host) and not self._wait_for(host):
                raise RemoteBusy(
                    f"{host} is slow, and as many requests as may wait for it are waiting", retry_after=1.0
                )
            self._running[host] = self._running.get(host, 0) + 1
        try:
            yield
        finally:
            with self._condition:
                self._running[host] -= 1
                if not self._running[host]:
                    del self._running[host]
                self._condition.notify_all()

    def _free(self, host: str) -> bool:
        return self._running.get(host, 0) < self._per_host and sum(self._running.values()) < self._overall

    def _wait_for(self, host: str) -> bool:
        if self._waiting.get(host, 0) >= 1:
            return False
        self._waiting[host] = 1
        try:
            return self._condition.wait_for(lambda: self._free(host), self._patience)
        finally:
            del self._waiting[host]


class _Shared:
    """The bulkheads of this process."""

    bulkheads = Bulkheads(per_host=2, overall=3)


def configure_bulkheads(per_host: int = 2, overall: int = 3) -> None:
    """Set how many requests may be under way; `overall` below the number of threads keeps one for everything else."""
    _Shared.bulkheads = Bulkheads(max(per_host, 1), max(overall, 1))


def bulkheads() -> Bulkheads:
    """The bulkheads of this process."""
    return _Shared.bulkheads
