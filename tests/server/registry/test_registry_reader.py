"""The reader: sees every commit of other processes, loads only what changed, is safe with threads and forks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from server.errors import RegistryUnavailable
from server.registry.catalogue import Catalogue, Collection
from server.registry.database import open_engine
from server.registry.loading import load_catalogue
from server.registry.models import CollectionRow, GenerationRow, RepresentationRow
from server.registry.reader import RegistryReader
from server.registry.registry import Registry

Publish = Callable[..., Collection]

# Reads the catalogue after each line of standard input and prints the generation it sees.
WATCHER = """
import sys
from pathlib import Path
from server.registry.reader import RegistryReader
reader = RegistryReader(sys.argv[1], Path(sys.argv[2]))
for _ in sys.stdin:
    found = reader.current().find("helsinki", "buildings")
    print(found.generation if found else 0, flush=True)
"""


def test_another_process_sees_each_change_as_soon_as_its_call_returned(
    registry: Registry, registry_url: str, home: Path, publish: Publish
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, registry_url, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None

        def seen() -> int:
            assert watcher.stdin is not None
            assert watcher.stdout is not None
            watcher.stdin.write("\n")
            watcher.stdin.flush()
            return int(watcher.stdout.readline())

        assert seen() == 0
        for generation in range(1, 6):
            publish(replace=True)
            assert seen() == generation
        registry.restore_generation("helsinki", "buildings", 2)
        assert seen() == 2
        registry.unpublish("helsinki", "buildings")
        assert seen() == 0
        watcher.stdin.close()


def test_the_same_object_is_given_until_something_changes(
    registry: Registry, reader: RegistryReader, publish: Publish
) -> None:
    publish("buildings")
    publish("streets")
    first = reader.current()
    assert reader.current() is first
    assert list(first.collections) == [("helsinki", "buildings"), ("helsinki", "streets")]
    publish("addresses")
    second = reader.current()
    assert second.revision > first.revision
    assert list(second.collections) == [("helsinki", name) for name in ("addresses", "buildings", "streets")]
    # What did not change was not loaded again.
    assert second.find("helsinki", "streets") is first.find("helsinki", "streets")


def test_a_picture_updated_step_by_step_equals_one_read_at_once(
    registry: Registry, reader: RegistryReader, publish: Publish
) -> None:
    registry.add_tenant("auckland", "Auckland")
    steps: list[Callable[[], object]] = [
        lambda: publish("buildings"),
        lambda: publish("streets"),
        lambda: publish("buildings", replace=True, titles={"en": "Other"}),
        lambda: registry.unpublish("helsinki", "streets"),
        lambda: registry.restore_generation("helsinki", "buildings", 1),
        lambda: registry.remove_tenant("auckland"),
        lambda: publish("streets"),
        lambda: registry.remove_tenant("helsinki", force=True),
    ]
    for step in steps:
        step()
        assert reader.current() == registry.catalogue()


def test_threads_share_one_catalogue_and_never_go_back(
    registry: Registry, reader: RegistryReader, publish: Publish
) -> None:
    stop = threading.Event()
    wrong: list[str] = []

    def watch() -> None:
        last = -1
        while not stop.is_set():
            revision = reader.current().revision
            if revision < last:
                wrong.append(f"{revision} after {last}")
            last = revision

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        publish(replace=True)
        published = reader.current().find("helsinki", "buildings")
        assert published is not None
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reader.current() == registry.catalogue()


FORKER = """
import os, sys
from pathlib import Path
from server.registry.reader import RegistryReader
from server.registry.registry import Registry
url, home = sys.argv[1], Path(sys.argv[2])
reader = RegistryReader(url, home)
before = reader.current().revision
child = os.fork()
if child == 0:
    with Registry(url, home) as registry:
        registry.add_tenant("auckland", "Auckland")
    os._exit(0 if reader.current().revision == before + 1 else 1)
assert os.waitpid(child, 0)[1] == 0
assert "auckland" in reader.current().tenants
with Registry(url, home) as registry:
    registry.remove_tenant("auckland")
assert "auckland" not in reader.current().tenants
"""


def test_a_reader_used_before_a_fork_works_in_both_processes(registry_url: str, home: Path) -> None:
    subprocess.run([sys.executable, "-c", FORKER, registry_url, str(home)], check=True)


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_a_registry_file_put_in_the_place_of_another_is_noticed(
    registry: Registry, reader: RegistryReader, publish: Publish, home: Path, registry_url: str
) -> None:
    publish()
    assert reader.current().find("helsinki", "buildings") is not None
    registry.close()
    for file in home.glob("registry.sqlite*"):
        file.unlink()
    with pytest.raises(RegistryUnavailable, match=r"registry\.sqlite"):
        reader.current()
    with Registry(registry_url, home) as other:
        other.initialise()
        other.add_tenant("auckland", "Auckland")
        assert reader.current() == other.catalogue()
    assert list(reader.current().tenants) == ["auckland"]


def test_a_reader_that_was_closed_opens_again(registry: Registry, reader: RegistryReader) -> None:
    before = reader.current()
    reader.close()
    assert reader.current() == before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////proc/nothing/registry.sqlite", "there is no data home at .*--home"),
        ("postgresql+psycopg://nobody:sesame@127.0.0.1:1/none", "cannot be read"),
    ],
)
def test_no_database_is_an_error_that_keeps_the_password(url: str, message: str, home: Path) -> None:
    with pytest.raises(RegistryUnavailable, match=message) as caught:
        RegistryReader(url, home).current()
    assert "sesame" not in str(caught.value)


def test_a_lost_connection_is_opened_again(registry_url: str, reader: RegistryReader) -> None:
    before = reader.current()
    engine = open_engine(registry_url)
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    else:
        for link in list(reader._links):
            link.close()
    engine.dispose()
    assert reader.current() == before


@pytest.fixture
def ten_thousand(registry_url: str) -> None:
    """10,000 collections with four representations each, written without their files."""
    numbers = range(1, 10_001)
    common = {"created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z"}
    engine = open_engine(registry_url)
    with engine.begin() as connection:
        connection.execute(
            insert(CollectionRow),
            [
                {
                    "key": n,
                    "tenant_id": "helsinki",
                    "id": f"c{n}",
                    "access": "public",
                    "last_generation": 1,
                    "revision": 1,
                }
                | common
                for n in numbers
            ],
        )
        described = {
            "state": "current",
            "begun": common["created"],
            "number": 1,
            "titles": {"en": "Title", "zh": "标题"},
            "descriptions": {"en": ""},
            "keywords": [],
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "storage_crs": "http://www.opengis.net/def/crs/EPSG/0/3879",
            "attribution": "",
            "licence": "",
            "simulated": False,
            "fields": [["name", "string", None, "name", None]],
        }
        connection.execute(
            insert(GenerationRow), [described | {"key": n, "collection_key": n} for n in numbers]
        )
        connection.execute(
            insert(RepresentationRow),
            [
                {
                    "generation_key": n,
                    "kind": kind,
                    "path": "",
                    "built_generation": 1,
                    "built_change": 0,
                    "properties": {},
                }
                for n in numbers
                for kind in ("features", "tiles", "map", "record")
            ],
        )
    engine.dispose()


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_ten_thousand_collections_are_kept_and_only_the_changed_one_is_read(
    ten_thousand: None, registry: Registry, reader: RegistryReader, publish: Publish, home: Path
) -> None:
    first = reader.current()
    assert len(first.collections) == 10_000
    statements: list[str] = []
    publish("one-more")
    with registry._engine.connect() as connection:

        def rows(sql: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
            found = [tuple(row) for row in connection.exec_driver_sql(sql, parameters)]
            statements.append(f"{len(found)}")
            return found

        second: Catalogue = load_catalogue(rows, home, first)
    # State, representations, earlier generations and collections of the changed one alone, tenants, styles, tokens.
    assert statements == ["1", "2", "0", "1", "1", "0", "1"]
    assert len(second.collections) == 10_001
    assert second.find("helsinki", "c1") is first.find("helsinki", "c1")
    assert reader.current() == second
