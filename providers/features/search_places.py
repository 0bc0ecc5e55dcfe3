"""A bulkhead for searches: how many threads of a process may be searching at once, so that one stays free for everything else.

A query with a condition may take seconds in any store, and a dozen clients who send such queries would hold every thread. Quick
searches never notice: a place is free again in a moment. Only where all places are held by slow ones is a search told to come
back. Remote services have a bulkhead of their own (`providers.outgoing`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from providers.errors import SourceUnavailable
from providers.features.query import ItemQuery
from providers.features.source import FeatureSource

_PATIENCE = 0.5  # seconds a search runs before it counts as slow
_LONGEST_WAIT = 2.0  # seconds that a search waits at most while others are quick
_FULL = (
    "as many long searches as may run at once are running; try again in a moment, or ask for less: by id, by bbox, or along the "
    "next links"
)
_REMOTE = frozenset(("wfs", "features", "arcgis"))
_EMBEDDED = "embedded"


class SearchPlaces:
    """At most `places` searches at a time. Safe from many threads; `clock` gives seconds that only grow."""

    def __init__(
        self, places: int, patience: float = _PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._patience = patience
        self._clock = clock
        self._condition = threading.Condition()
        self._started: dict[int, float] = {}

    @contextmanager
    def place(self) -> Iterator[None]:
        """Around one search. Raises SourceUnavailable where all places are held by slow ones."""
        thread = threading.get_ident()
        if thread in self._started:  # a search inside of a search
            yield
            return
        with self._condition:
            if len(self._started) >= self._places:
                self._wait()
            self._started[thread] = self._clock()
        try:
            yield
        finally:
            with self._condition:
                del self._started[thread]
                self._condition.notify()

    def _wait(self) -> None:
        latest = self._clock() + _LONGEST_WAIT
        while len(self._started) >= self._places:
            # The search that began last is the next one that may show itself to be quick.
            left = min(max(self._started.values()) + self._patience, latest) - self._clock()
            if left <= 0:
                raise SourceUnavailable(_FULL)
            self._condition.wait(left)


class _Shared:
    """The places of this process: without limit unless it is configured."""

    places: SearchPlaces | None = None


def configure_search_places(places: int | None) -> None:
    """Set how many searches may run at once; below the number of threads it keeps one for everything else. None: any number."""
    _Shared.places = None if places is None else SearchPlaces(max(places, 1))


@contextmanager
def place_for(source: FeatureSource, query: ItemQuery) -> Iterator[None]:
    """Around the reading of a page: takes a place where the query may take long. Raises SourceUnavailable."""
    places = _Shared.places
    if places is None or not may_take_long(source, query):
        yield
        return
    with places.place():
        yield


def may_take_long(source: FeatureSource, query: ItemQuery) -> bool:
    """Whether a page may cost more than its features: by a condition, an order or a count, or in a store that scans."""
    if source.kind in _REMOTE:
        return False
    return (
        source.kind != _EMBEDDED
        or query.filter is not None
        or bool(query.q or query.sortby or query.equals)
        or query.datetime is not None
        or query.asof is not None
        or query.offset > 0
        or query.hits_only
    )
