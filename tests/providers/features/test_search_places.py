"""Long searches take so many threads and no more; quick ones never notice."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from providers.errors import SourceUnavailable
from providers.features.query import BBox, ItemQuery, SortKey, TimeInterval
from providers.features.search_places import (
    SearchPlaces,
    configure_search_places,
    may_take_long,
    place_for,
)


def held(places: SearchPlaces, release: threading.Event) -> threading.Thread:
    """A thread that searches until it is released."""
    begun = threading.Event()

    def search() -> None:
        with places.place():
            begun.set()
            release.wait(30)

    thread = threading.Thread(target=search)
    thread.start()
    assert begun.wait(30)
    return thread


def test_a_search_is_refused_at_once_where_all_places_are_held_by_slow_ones() -> None:
    now = [0.0]
    places, release = SearchPlaces(2, clock=lambda: now[0]), threading.Event()
    threads = [held(places, release) for _ in range(2)]
    now[0] = 5.0
    with pytest.raises(SourceUnavailable, match="as many long searches"), places.place():
        pytest.fail("there was no place")
    release.set()
    for thread in threads:
        thread.join(30)
    with places.place():
        pass


def test_a_search_waits_for_one_that_has_just_begun() -> None:
    places, release = SearchPlaces(1, clock=lambda: 0.0), threading.Event()
    thread = held(places, release)
    threading.Timer(0.05, release.set).start()
    with places.place():
        assert release.is_set()
    thread.join(30)


def test_a_search_inside_of_a_search_needs_no_second_place() -> None:
    places = SearchPlaces(1)
    with places.place(), places.place():
        pass
    with places.place():
        pass


def test_a_search_that_fails_gives_its_place_back() -> None:
    places = SearchPlaces(1)
    with pytest.raises(ZeroDivisionError), places.place():
        raise ZeroDivisionError
    with places.place():
        pass


@pytest.mark.parametrize(
    ("kind", "query", "long"),
    [
        ("embedded", ItemQuery(), False),
        ("embedded", ItemQuery(limit=10_000, bbox=BBox(0, 0, 1, 1), cursor=(7,)), False),
        ("embedded", ItemQuery(q=("a",)), True),
        ("embedded", ItemQuery(sortby=(SortKey("a"),)), True),
        ("embedded", ItemQuery(equals={"a": "b"}), True),
        ("embedded", ItemQuery(datetime=TimeInterval(None, None)), True),
        ("embedded", ItemQuery(asof="2024-01-01T00:00:00Z"), True),
        ("embedded", ItemQuery(offset=1), True),
        ("embedded", ItemQuery(hits_only=True), True),
        ("postgis", ItemQuery(), True),
        ("parquet", ItemQuery(), True),
        ("wfs", ItemQuery(q=("a",)), False),
    ],
)
def test_what_may_take_long(kind: str, query: ItemQuery, long: bool) -> None:
    source: Any = SimpleNamespace(kind=kind)
    assert may_take_long(source, query) is long


def test_only_what_may_take_long_needs_a_place() -> None:
    source: Any = SimpleNamespace(kind="embedded")
    configure_search_places(1)
    try:
        release, begun = threading.Event(), threading.Event()

        def search() -> None:
            with place_for(source, ItemQuery(q=("a",))):
                begun.set()
                release.wait(30)

        thread = threading.Thread(target=search)
        thread.start()
        assert begun.wait(30)
        with place_for(source, ItemQuery()):
            pass
        with pytest.raises(SourceUnavailable), place_for(source, ItemQuery(q=("b",))):
            pytest.fail("there was no place")
        release.set()
        thread.join(30)
    finally:
        configure_search_places(None)
