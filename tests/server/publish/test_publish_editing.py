"""Publishing what can be edited: constraints of fields, the collection's rules, tile fields, closing and opening of stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from providers.errors import InvalidFeature, SourceUnavailable
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore
from providers.features.store.editor import is_closed
from server.publish import EditingOptions
from server.publish.closing import closed_to_edits, reopen_left_closed, restore
from server.publish.constraint_files import read_constraints
from server.publish.errors import BuildError, OptionError, PublishError
from server.registry.catalogue import RepresentationKind


def update(store: FeatureStore, name: str) -> None:
    store.edit([Edit(EditKind.UPDATE, "b1", properties={"name": name})])


def test_constraints_reach_the_store_and_its_edits(publisher: Any, data: Path) -> None:
    constraints = {
        "floors": {"minimum": 0, "required": True},
        "name": {"maxLength": 20, "unique": True},
    }
    editing = EditingOptions(constraints=constraints, if_match_required=False, create_by_put=True)
    done = publisher.publish(data / "blocks.geojson", editing=editing)
    store = publisher.store(done)
    assert store.schema.by_name["floors"].constraints == constraints["floors"]
    properties = done.collection.representations[RepresentationKind.FEATURES].properties
    assert (properties["editable"], properties["if_match_required"], properties["create_by_put"]) == (
        True,
        False,
        True,
    )
    with pytest.raises(InvalidFeature, match="name"):
        update(store, "北京路小学")  # the name of another feature


@pytest.mark.parametrize(
    ("constraints", "kind", "says"),
    [
        ({"flors": {"minimum": 0}}, OptionError, ["no field 'flors'", "floors"]),
        ({"floors": {"minimum": "x"}}, OptionError, ["'floors'", "minimum"]),
        ({"floors": {"pattern": "x"}}, OptionError, ["'floors'", "pattern", "minimum"]),
        ({"name": {"pattern": "(a+)+"}}, OptionError, ["'name'", "repeated groups"]),
        ({"floors": {"minimum": 2}}, BuildError, ["row 1", "'floors'", "Correct the data"]),
        ({"open": {"unique": True}}, BuildError, ["row 3", "'open'", "comes twice"]),
    ],
)
def test_constraints_that_do_not_fit_are_told(
    publisher: Any, data: Path, constraints: Any, kind: type[PublishError], says: list[str]
) -> None:
    with pytest.raises(kind) as caught:
        publisher.publish(data / "blocks.geojson", editing=EditingOptions(constraints=constraints))
    for words in says:
        assert words in str(caught.value)
    assert publisher.collection() is None
    assert publisher.leftovers() == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("floors: {minimum: 0", "neither YAML nor JSON"),
        ("[floors]", "holds no constraints"),
        ("floors: 3", "holds no constraints"),
        (b"\xff\xfe\xff", "neither YAML nor JSON"),
    ],
)
def test_constraint_files_that_are_none(tmp_path: Path, content: str | bytes, says: str) -> None:
    file = tmp_path / "constraints.yml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OptionError, match=says):
        read_constraints(file)
    file.write_text('{"floors": {"minimum": 0}}')
    assert read_constraints(file) == {"floors": {"minimum": 0}}


def test_tile_fields_are_kept_and_checked(publisher: Any, data: Path) -> None:
    done = publisher.publish(data / "blocks.geojson", tile_fields={"0-11": ["name"], "12-": []})
    tiles = done.collection.representations[RepresentationKind.TILES].properties
    assert tiles["tile_fields"] == {"0-11": ["name"], "12-": []}
    for wrong in ({"0-11": ["depth"]}, {"low": ["name"]}):
        with pytest.raises(OptionError, match="--tile-fields"):
            publisher.publish(data / "blocks.geojson", collection="other", tile_fields=wrong)


def test_replacing_closes_what_was_served_and_restoring_opens_it(publisher: Any, data: Path) -> None:
    first = publisher.publish(data / "blocks.geojson")
    old = publisher.store(first)
    update(old, "changed")
    second = publisher.publish(data / "blocks.geojson", replace=True)
    with pytest.raises(SourceUnavailable, match="anew"):
        update(old, "too late")
    update(publisher.store(second), "in the new one")
    again = restore(publisher.registry, "beijing", "blocks", first.generation)
    assert again.generation == first.generation
    assert publisher.columns(first)["b1"]["name"] == "changed"
    update(old, "open again")
    with pytest.raises(SourceUnavailable, match="anew"):
        update(publisher.store(second), "too late")


def test_a_switch_that_fails_leaves_the_served_store_open(publisher: Any, data: Path) -> None:
    done = publisher.publish(data / "blocks.geojson")

    def fail_to_switch() -> None:
        with closed_to_edits(done.collection):
            assert is_closed(publisher.store(done))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_to_switch()
    update(publisher.store(done), "goes on")


def test_what_a_killed_publish_left_closed_is_opened(publisher: Any, data: Path) -> None:
    done = publisher.publish(data / "blocks.geojson")
    publisher.store(done).close_to_edits()  # and then the process died
    assert [one.id for one in reopen_left_closed(publisher.registry)] == ["blocks"]
    assert reopen_left_closed(publisher.registry) == []
    update(publisher.store(done), "goes on")
