"""Connections of stores: kept for their next use, bounded for the process, also while a store is edited."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import shapely

from providers.errors import StoreError
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, pool, turns

NAME = (FieldDefinition("name", "string"),)


@pytest.fixture
def path(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> Path:
    """A store of twenty points with the ids 0 to 19."""
    points = [shapely.Point(114 + number / 100, 22.5) for number in range(20)]
    built: Path = build_store(sample_of(points, name=["n"] * 20), fields=NAME).store.path
    return built


def descriptors_of(path: Path) -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith(str(path))
        except OSError:
            continue  # that of the folder itself
    return found


def borrow_at_once(stores: list[FeatureStore], each: int) -> None:
    with ExitStack() as held:
        for store in stores:
            for _ in range(each):
                held.enter_context(store.borrowed())


def test_as_many_wait_as_were_in_use_at_once(path: Path) -> None:
    store = FeatureStore(path)
    borrow_at_once([store], 64)
    before = pool.open_connections()
    opened = []
    make = store._open
    store._open = lambda: opened.append(1) or make()  # type: ignore[method-assign, func-returns-value]
    borrow_at_once([store], 64)
    assert opened == []
    assert pool.open_connections() == before
    borrow_at_once([store], 65)
    assert opened == [1]


def test_the_process_has_no_more_than_its_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(pool, "MOST_OPEN", pool.open_connections() + 12)
    stores = [FeatureStore(path) for _ in range(3)]
    for store in stores:
        borrow_at_once([store], 10)
        assert pool.open_connections() <= pool.MOST_OPEN
    borrow_at_once(
        stores, 6
    )  # more in use than the limit: each gets its own, and the last ones given back are closed
    assert pool.open_connections() <= pool.MOST_OPEN
    assert all(len(store.page(ItemQuery(limit=20)).bodies) == 20 for store in stores)


def test_a_forgotten_store_leaves_nothing_open(path: Path) -> None:
    gc.collect()
    before, descriptors = pool.open_connections(), descriptors_of(path)
    store = FeatureStore(path)
    borrow_at_once([store], 5)
    assert pool.open_connections() == before + 5
    del store
    gc.collect()
    assert pool.open_connections() == before
    assert descriptors_of(path) == descriptors


def test_out_of_descriptors_waiting_ones_are_closed_first(path: Path) -> None:
    store, other = FeatureStore(path), FeatureStore(path)
    borrow_at_once([other], 4)
    before = pool.open_connections()
    make, failures = store._open, [1]

    def failing() -> Any:
        if failures:
            failures.pop()
            raise StoreError("unable to open database file")
        return make()

    store._open = failing  # type: ignore[method-assign]
    borrow_at_once([store], 2)
    assert failures == []
    assert pool.open_connections() < before
    store._open = lambda: (_ for _ in ()).throw(StoreError("no"))  # type: ignore[method-assign]
    count = pool.open_connections()
    with pytest.raises(StoreError, match="no"):
        borrow_at_once([store], 3)
    assert pool.open_connections() <= count


def test_threads_that_read_while_others_edit(path: Path) -> None:
    """Every page is answered, and descriptors do not grow with the number of pages."""
    store = FeatureStore(path)
    store.edit([Edit(EditKind.UPDATE, "3", properties={"name": "first"})])
    stop = threading.Event()

    def read() -> int:
        pages = 0
        while not stop.is_set():
            assert len(store.page(ItemQuery(limit=20)).bodies) == 20
            pages += 1
        return pages

    with ThreadPoolExecutor(32) as readers:
        reading = [readers.submit(read) for _ in range(32)]
        for number in range(20):
            store.edit([Edit(EditKind.UPDATE, str(number), properties={"name": f"n{number}"})])
        stop.set()
        assert sum(done.result() for done in reading) > 0
    # Two files for each connection, the writer's too, and the log's index, which all share.
    assert descriptors_of(path) <= 2 * (32 + 2) + 1
    assert store.change() == 21


def test_while_an_edit_is_under_way_few_threads_read_and_none_waits_for_long(path: Path) -> None:
    store = FeatureStore(path)
    count = 2 * turns.READERS
    inside = threading.Barrier(count)

    def read(_: int) -> tuple[bool, int]:
        with store.borrowed() as connection:
            has_turn = connection.has_turn
            inside.wait(30)  # all of them get in at last
            return has_turn, len(connection.execute("SELECT id FROM feature").fetchall())

    with turns.edit_under_way(), ThreadPoolExecutor(count) as readers:
        answers = list(readers.map(read, range(count)))
    assert sorted(has_turn for has_turn, _ in answers) == [False] * turns.READERS + [True] * turns.READERS
    assert {number for _, number in answers} == {20}
    assert turns.edits == 0
    with store.borrowed() as connection:
        assert not connection.has_turn
    with turns.edit_under_way():  # every turn has been given back
        assert [turns.wait_for_turn() for _ in range(turns.READERS)] == [True] * turns.READERS
    for _ in range(turns.READERS):
        turns.end_turn()
