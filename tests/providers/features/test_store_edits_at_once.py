"""Edits from many threads and processes at once, and processes killed in the middle: nothing lost, nothing half done."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import shapely

from providers.errors import SourceUnavailable, VersionConflict
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore
from providers.features.store.editor_connection import write_transaction

FIELDS = (FieldDefinition("number", "integer"),)

# Adds one to the number of item 0 as often as asked, each time on the version it has read; prints what was acknowledged.
COUNTER = """
import sys, orjson
from pathlib import Path
from providers.errors import VersionConflict
from providers.features.source import Edit, EditKind
from providers.features.store import open_store
store, done = open_store(Path(sys.argv[1])), 0
while done < int(sys.argv[2]):
    item = store.item("0")
    number = orjson.loads(item.body)["properties"]["number"]
    try:
        store.edit([Edit(EditKind.UPDATE, "0", properties={"number": number + 1}, version=item.version)])
        done += 1
    except VersionConflict:
        pass
print(done)
"""

# Edits in batches of 50 for ever: every batch gives all items the same next number; says when it is acknowledged.
WRITER = """
import sys
from pathlib import Path
from providers.features.source import Edit, EditKind
from providers.features.store import open_store
store, number = open_store(Path(sys.argv[1])), int(sys.argv[2])
while True:
    number += 1
    store.edit([Edit(EditKind.UPDATE, str(i), properties={"number": number}) for i in range(50)])
    print(number, flush=True)
"""


@pytest.fixture
def counters(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> FeatureStore:
    """Fifty points, each with the number 0."""
    shapes = [shapely.Point(114 + i / 1000, 22.5) for i in range(50)]
    store: FeatureStore = build_store(sample_of(shapes, number=[0] * 50), fields=FIELDS).store
    return store


def numbers(store: FeatureStore) -> list[int]:
    bodies = store.page(ItemQuery(limit=100)).bodies
    return [orjson.loads(body)["properties"]["number"] for body in bodies]


def add_one(store: FeatureStore, times: int) -> int:
    """Adds one to item 0 so many times, trying again after each conflict; gives the number of conflicts."""
    conflicts = 0
    while times:
        item = store.item("0")
        assert item is not None
        number = orjson.loads(item.body)["properties"]["number"]
        try:
            store.edit([Edit(EditKind.UPDATE, "0", properties={"number": number + 1}, version=item.version)])
            times -= 1
        except VersionConflict:
            conflicts += 1
    return conflicts


def test_no_update_is_lost_between_threads(counters: FeatureStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: add_one(counters, 10), range(8)))
    item = counters.item("0")
    assert item is not None
    assert (orjson.loads(item.body)["properties"]["number"], item.version, counters.change()) == (80, 81, 80)
    assert len(counters.history("0")) == 81


def test_no_update_is_lost_between_processes(counters: FeatureStore) -> None:
    """The first edit switches the journal mode, which all of them race for."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTER, str(counters.path), "15"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    acknowledged = sum(int(writer.communicate(timeout=60)[0]) for writer in writers)
    item = counters.item("0")
    assert item is not None
    assert acknowledged == 60
    assert (orjson.loads(item.body)["properties"]["number"], item.version, counters.change()) == (60, 61, 60)


def test_readers_never_see_half_a_batch(counters: FeatureStore) -> None:
    stop = threading.Event()
    seen: list[set[int]] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(set(numbers(counters)))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(1, 21):
        counters.edit([Edit(EditKind.UPDATE, str(i), properties={"number": number}) for i in range(50)])
    stop.set()
    for reader in readers:
        reader.join()
    assert all(len(found) == 1 for found in seen)
    assert set(numbers(counters)) == {20}


def test_a_process_killed_while_it_edits_loses_nothing_acknowledged(counters: FeatureStore) -> None:
    acknowledged = 0
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(counters.path), str(numbers(counters)[0])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(3 + round_):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        writer.wait()
        writer.stdout.close()
        (found,) = set(numbers(counters))  # all fifty alike: no batch is there by half
        # A batch may have been committed whose acknowledgement was never printed, and no more than one.
        assert acknowledged <= found <= acknowledged + 1
        assert counters.change() == 50 * found
        assert len(counters.history("7")) == found + 1
    with contextlib.closing(sqlite3.connect(counters.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    counters.edit([Edit(EditKind.DELETE, "7")])


def test_a_store_that_others_keep_is_busy_and_not_broken(
    counters: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.features.store.editor_connection.PATIENCE", 0.2)
    counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 1})])
    with contextlib.closing(sqlite3.connect(counters.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceUnavailable, match="try again"):
            counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 2})])
        assert numbers(counters)[0] in (0, 1)
        other.execute("ROLLBACK")
    counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 3})])
    assert counters.change() == 2


def test_an_error_in_the_middle_leaves_nothing(
    counters: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("power")

    with monkeypatch.context() as patched:
        patched.setattr("providers.features.store.editor._keep_derived", fail)
        with pytest.raises(RuntimeError):
            counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 1}), Edit(EditKind.DELETE, "1")])
    assert (set(numbers(counters)), counters.change(), counters.count()) == ({0}, 0, 50)
    counters.edit([Edit(EditKind.DELETE, "1")])
    assert (counters.change(), counters.count()) == (1, 49)


def test_the_log_beside_an_edited_store_stays_small(counters: FeatureStore) -> None:
    for number in range(300):
        counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": number})])
    log = Path(f"{counters.path}-wal")
    assert 0 < log.stat().st_size < 12 << 20


# Tries once to write, without patience; says whether another process was in the way.
INTRUDER = """
import sys
from pathlib import Path
from providers.errors import SourceUnavailable
from providers.features.store import editor_connection, open_store
editor_connection.PATIENCE = 0.2
store = open_store(Path(sys.argv[1]))
try:
    with editor_connection.write_transaction(store):
        print("in")
except SourceUnavailable:
    print("kept out")
"""


# Reads the store and closes it, as a worker does that has too many open.
LOOKER = """
import sys
from pathlib import Path
from providers.features.store.connections import connect
connection = connect(Path(sys.argv[1]))
connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
connection.close()
"""


def _close_as_gdal_does(path: Path) -> None:
    """Open and close the store and its log's index: all POSIX locks of this process on them are gone."""
    for name in (str(path), f"{path}-shm"):
        os.close(os.open(name, os.O_RDONLY))


def test_an_edit_keeps_others_out_though_gdal_closes_the_store_meanwhile(counters: FeatureStore) -> None:
    counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 1})])

    def intrude() -> str:
        done = subprocess.run(
            [sys.executable, "-c", INTRUDER, counters.path], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert intrude() == "in"
    with write_transaction(counters):
        _close_as_gdal_does(counters.path)
        assert intrude() == "kept out"


def test_the_log_stays_when_another_process_closes_the_store(counters: FeatureStore) -> None:
    counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 1})])
    _close_as_gdal_does(counters.path)
    subprocess.run([sys.executable, "-c", LOOKER, counters.path], check=True)
    assert Path(f"{counters.path}-wal").is_file()
    counters.edit([Edit(EditKind.UPDATE, "0", properties={"number": 2})])
    assert numbers(FeatureStore(counters.path))[0] == 2
