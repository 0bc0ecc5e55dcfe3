"""Publishing: numbers, the one switch, what fails leaves what was served, restore, unpublish, sweep."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import (
    DuplicateCollection,
    InvalidIdentifier,
    InvalidRepresentation,
    PublishInProgress,
    PublishLost,
    RegistryError,
    UnknownCollection,
    UnknownGeneration,
    UnknownTenant,
)
from server.registry.catalogue import Access, Collection, Field, Interval, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.reader import RegistryReader
from server.registry.registry import Registry
from server.registry.staging import dead_staging_folders, staging_folder

Publish = Callable[..., Collection]
Stage = Callable[..., Path]
Draft = Callable[..., CollectionDraft]


def test_a_published_collection_is_read_back_as_it_was_written(
    registry: Registry, reader: RegistryReader, draft: Draft, stage: Stage, features: list[Representation]
) -> None:
    written = draft(
        bbox=(24.9, 60.1, -3.0, 25.0, 60.2, 80.5),
        descriptions={"zh": "来自开放街图"},
        keywords=("building", "建筑"),
        interval=Interval("2020-01-01T00:00:00Z", None),
        attribution="© OpenStreetMap contributors",
        licence="ODbL-1.0",
        licence_url="https://opendatacommons.org/licenses/odbl/1-0/",
        simulated=True,
        fields=(Field("Höhe", "number", None, "f_1", "height"), Field("built", "string", "date", "f_2")),
    )
    published = registry.publish(written, features, stage())
    seen = reader.current().find("helsinki", "buildings")
    assert seen == published
    assert seen is not None
    assert seen.titles == {"en": "Buildings", "zh": "建筑"}
    assert seen.descriptions == {"en": "来自开放街图", "zh": "来自开放街图"}
    assert (seen.keywords, seen.bbox, seen.interval) == (written.keywords, written.bbox, written.interval)
    assert (seen.attribution, seen.licence, seen.licence_url) == (
        written.attribution,
        written.licence,
        written.licence_url,
    )
    assert (seen.simulated, seen.access, seen.fields) == (True, Access.PUBLIC, written.fields)
    assert seen.generation == 1
    assert seen.directory == registry.home / "collections/helsinki/buildings/g000001"
    assert seen.path_of(RepresentationKind.FEATURES).read_text() == "data"
    assert seen.representations[RepresentationKind.FEATURES].properties == {"count": 3, "id_field": None}
    assert seen.representations[RepresentationKind.FEATURES].built_generation == 1
    assert seen.representations[RepresentationKind.RECORD].properties == {}


def test_an_english_title_is_there_where_only_a_chinese_one_was_given(publish: Publish) -> None:
    assert publish(titles={"zh": "建筑"}).titles == {"en": "建筑", "zh": "建筑"}


def test_a_second_publish_needs_replace_and_gets_the_next_number(
    publish: Publish, registry: Registry
) -> None:
    publish(content="one")
    with pytest.raises(DuplicateCollection, match="--replace"):
        publish(content="two")
    current = registry.collection("helsinki", "buildings")
    assert current is not None
    assert current.path_of(RepresentationKind.FEATURES).read_text() == "one"
    replaced = publish(content="three", replace=True)
    assert replaced.generation == 2
    assert replaced.path_of(RepresentationKind.FEATURES).read_text() == "three"
    assert replaced.created == current.created


def test_replacing_keeps_the_rights_unless_others_are_given(publish: Publish) -> None:
    assert publish(access=Access.PRIVATE).access is Access.PRIVATE
    assert publish(replace=True).access is Access.PRIVATE
    assert publish(replace=True, access=Access.PUBLIC).access is Access.PUBLIC


def test_restoring_brings_back_data_and_description_but_not_rights(
    publish: Publish, registry: Registry, reader: RegistryReader
) -> None:
    publish(content="one", titles={"en": "Old"}, bbox=(1.0, 1.0, 2.0, 2.0))
    publish(content="two", replace=True, titles={"en": "New"}, access=Access.PRIVATE)
    assert registry.restore_generation("helsinki", "buildings", 1).title("en") == "Old"
    seen = reader.current().collections["helsinki", "buildings"]
    assert (seen.generation, seen.bbox, seen.access) == (1, (1.0, 1.0, 2.0, 2.0), Access.PRIVATE)
    assert seen.path_of(RepresentationKind.FEATURES).read_text() == "one"
    assert [(item.generation, item.state) for item in registry.generations("helsinki", "buildings")] == [
        (1, "current"),
        (2, "kept"),
    ]
    assert registry.restore_generation("helsinki", "buildings", 1).generation == 1
    assert publish(replace=True).generation == 3


def test_unpublish_takes_the_collection_away_and_keeps_its_files(
    publish: Publish, registry: Registry, reader: RegistryReader
) -> None:
    directory = publish().directory
    assert reader.current().find("helsinki", "buildings") is not None
    registry.unpublish("helsinki", "buildings")
    assert reader.current().find("helsinki", "buildings") is None
    assert (directory / "features.gpkg").exists()
    with pytest.raises(UnknownCollection, match="buildings"):
        registry.unpublish("helsinki", "buildings")
    assert publish().generation == 2


ON_SQLITE = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
"""For tests of what happens before the database is asked."""


@ON_SQLITE
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda r: r.begin_generation("nowhere", "buildings", False), UnknownTenant, "tenants add nowhere"),
        (lambda r: r.begin_generation("helsinki", "catalogue", False), InvalidIdentifier, "reserved"),
        (lambda r: r.begin_generation("helsinki", "../x", False), InvalidIdentifier, "small letter"),
        (lambda r: r.check_publishable("nowhere", "buildings", False), UnknownTenant, "helsinki"),
        # an id that no tenant can have: nothing would make it
        (lambda r: r.check_publishable("city", "buildings", False), UnknownTenant, r"helsinki\)$"),
        (lambda r: r.check_publishable("helsinki", "Buildings", False), InvalidIdentifier, "small letter"),
        (lambda r: r.unpublish("nowhere", "buildings"), UnknownTenant, "nowhere"),
        (lambda r: r.unpublish("helsinki", "nothing"), UnknownCollection, "nothing"),
        (lambda r: r.restore_generation("helsinki", "nothing", 1), UnknownCollection, "nothing"),
        (lambda r: r.generations("helsinki", "nothing"), UnknownCollection, "nothing"),
        (lambda r: r.collection("nowhere", "buildings"), UnknownTenant, "nowhere"),
    ],
)
def test_what_is_not_there_is_said(
    registry: Registry, call: Callable[[Registry], object], error: type[RegistryError], says: str
) -> None:
    with pytest.raises(error, match=says):
        call(registry)


def test_restoring_what_is_not_kept_names_what_is(publish: Publish, registry: Registry) -> None:
    publish()
    with pytest.raises(UnknownGeneration, match="kept are: 1"):
        registry.restore_generation("helsinki", "buildings", 2)


@ON_SQLITE
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"titles": {}}, "titles"),
        ({"titles": {"fi": "Rakennukset"}}, "titles"),
        ({"bbox": (1.0, 2.0, 3.0)}, "bbox"),
        ({"bbox": (1.0, 2.0, float("nan"), 3.0)}, "bbox"),
        ({"bbox": (1.0, 5.0, 2.0, 4.0)}, "south"),
        ({"bbox": (-180.1, 0.0, 2.0, 4.0)}, "longitudes"),
        ({"bbox": (0.0, 0.0, 0.0, 1.0, 90.1, 1.0)}, "latitudes"),
    ],
)
def test_a_draft_that_cannot_be_served_is_refused_and_leaves_nothing(
    publish: Publish, registry: Registry, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidRepresentation, match=says):
        publish(**changes)
    assert registry.collection("helsinki", "buildings") is None
    assert list((registry.home / "collections").glob("*/*/g*")) == []
    assert publish(bbox=(170.0, -90.0, -180.0, 90.0)).bbox[0] == 170.0


@ON_SQLITE
@pytest.mark.parametrize("path", ["/etc/passwd", "../g000001/x", "a/../../x", "not-there.tif"])
def test_a_representation_outside_its_generation_is_refused(
    registry: Registry, draft: Draft, stage: Stage, path: str
) -> None:
    with pytest.raises(InvalidRepresentation):
        registry.publish(draft(), [Representation(RepresentationKind.COVERAGE, path, 0)], stage())
    assert registry.collection("helsinki", "buildings") is None


def test_two_publishers_of_one_id_get_one_clear_error(registry: Registry, publish: Publish) -> None:
    ticket = registry.begin_generation("helsinki", "buildings", False)
    with pytest.raises(PublishInProgress, match=r"helsinki\.buildings"):
        publish()
    with pytest.raises(PublishInProgress):
        registry.check_publishable("helsinki", "buildings", False)
    assert publish("streets").generation == 1
    registry.abandon_generation(ticket)
    registry.abandon_generation(ticket)
    registry.check_publishable("helsinki", "buildings", False)
    assert publish().generation == 2


def test_many_threads_publish_one_id_and_every_number_is_used_once(
    registry: Registry, draft: Draft, stage: Stage, features: list[Representation]
) -> None:
    published: list[int] = []
    refused: list[RegistryError] = []

    def run() -> None:
        for _ in range(3):
            try:
                published.append(registry.publish(draft(), features, stage(), replace=True).generation)
            except PublishInProgress as error:
                refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(published) + len(refused) == 12
    assert len(set(published)) == len(published) >= 1
    states = [item.state for item in registry.generations("helsinki", "buildings")]
    assert states.count("current") == 1


KILLED_PUBLISHER = """
import os, sys
from pathlib import Path
from server.registry.registry import Registry
from server.registry.staging import staging_folder
url, home, how_far = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
registry = Registry(url, home)
with staging_folder(home) as folder:
    (folder / "generation").mkdir()
    (folder / "generation" / "features.gpkg").write_text("half")
    if how_far != "staged":
        ticket = registry.begin_generation("helsinki", "buildings", True)
    if how_far == "renamed":
        (folder / "generation").rename(ticket.directory)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("registry_url", "how_far"),
    [("sqlite", "staged"), ("sqlite", "begun"), ("sqlite", "renamed"), ("postgresql", "renamed")],
    indirect=["registry_url"],
)
def test_a_killed_publisher_leaves_what_was_served_and_nothing_after_a_sweep(
    registry: Registry, registry_url: str, publish: Publish, how_far: str
) -> None:
    publish(content="before")
    before = registry.catalogue()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_PUBLISHER, registry_url, str(registry.home), how_far], check=False
    )
    assert killed.returncode == -9
    assert registry.catalogue().collections == before.collections
    assert dead_staging_folders(registry.home) != []
    report = registry.sweep()
    assert report.freed_bytes > 0
    assert dead_staging_folders(registry.home) == []
    assert registry.orphaned_generations() == []
    assert [path.name for path in (registry.home / "collections/helsinki/buildings").iterdir()] == ["g000001"]
    assert publish(content="after", replace=True).path_of(RepresentationKind.FEATURES).read_text() == "after"


@ON_SQLITE
def test_a_publish_over_a_killed_one_needs_no_sweep(
    registry: Registry, registry_url: str, publish: Publish
) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED_PUBLISHER, registry_url, str(registry.home), "renamed"], check=False
    )
    assert publish().generation == 2
    assert [item.state for item in registry.generations("helsinki", "buildings")] == ["removed", "current"]


def test_a_generation_given_up_by_others_cannot_be_switched_in(
    registry: Registry, draft: Draft, features: list[Representation]
) -> None:
    ticket = registry.begin_generation("helsinki", "buildings", False)
    ticket.directory.mkdir()
    (ticket.directory / "features.gpkg").write_text("x")
    ticket.lock.release()
    registry.sweep()
    with pytest.raises(PublishLost, match="publish again"):
        registry.commit_generation(ticket, draft(), features[:0])


def test_sweep_keeps_three_generations_and_what_was_served_just_now(
    publish: Publish, registry: Registry
) -> None:
    for number in range(1, 6):
        publish(content=str(number), replace=True)
    folder = registry.home / "collections/helsinki/buildings"
    assert registry.sweep(grace_seconds=600).removed == ()
    assert len(list(folder.iterdir())) == 5
    assert [path.name for path in registry.sweep(grace_seconds=-1).removed] == ["g000001", "g000002"]
    assert sorted(path.name for path in folder.iterdir()) == ["g000003", "g000004", "g000005"]
    assert registry.restore_generation("helsinki", "buildings", 3).generation == 3
    registry.unpublish("helsinki", "buildings")
    assert registry.sweep(grace_seconds=600).removed == ()
    assert len(registry.sweep(grace_seconds=-1).removed) == 3
    with pytest.raises(UnknownGeneration, match="none"):
        registry.restore_generation("helsinki", "buildings", 3)


@ON_SQLITE
def test_what_caches_made_of_a_generation_goes_with_it(
    publish: Publish, registry: Registry, registry_url: str, tmp_path: Path
) -> None:
    for _ in range(2):
        publish(replace=True)
    maps = tmp_path / "maps"
    tiles = [
        maps / "helsinki/buildings" / name / "default/0.png" for name in ("g000001", "g000002", "g000009")
    ]
    other = maps / "helsinki/buildings/legend.png"
    for file in (*tiles, other):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    with Registry(registry_url, registry.home, keep_generations=1, caches=(maps,)) as sweeping:
        removed = sweeping.sweep(grace_seconds=-1).removed
    assert [path.relative_to(tmp_path).as_posix() for path in removed] == [
        "home/collections/helsinki/buildings/g000001",
        "maps/helsinki/buildings/g000001",
        "maps/helsinki/buildings/g000009",
    ]
    assert tiles[1].exists()
    assert other.exists()


def test_an_old_generation_that_was_restored_is_never_swept(publish: Publish, registry: Registry) -> None:
    for number in range(1, 4):
        publish(content=str(number), replace=True)
    registry.restore_generation("helsinki", "buildings", 1)
    for number in range(4, 6):
        publish(content=str(number), replace=True)
    registry.restore_generation("helsinki", "buildings", 1)
    registry.sweep(grace_seconds=-1)
    current = registry.collection("helsinki", "buildings")
    assert current is not None
    assert current.path_of(RepresentationKind.FEATURES).read_text() == "1"


@ON_SQLITE
def test_a_staging_folder_is_removed_on_leaving_and_alive_until_then(registry: Registry) -> None:
    with staging_folder(registry.home) as folder:
        (folder / "generation").mkdir()
        assert dead_staging_folders(registry.home) == []
        registry.sweep()
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), staging_folder(registry.home) as folder:
        raise ZeroDivisionError
    assert not folder.exists()
