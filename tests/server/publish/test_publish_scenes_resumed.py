"""A publish that was killed while it built 3D goes on where it was; 3D of collections that are served already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from providers.features.source import Edit, EditKind
from providers.features.sources import close_sources
from server.errors import PublishInProgress, UnknownCollection
from server.publish import SceneOptions
from server.publish.errors import OptionError, PublishCancelled
from server.publish.registering import RegisterRequest, register
from server.publish.resuming import RESUME_FILE
from server.publish.scene_building import build_scene_of
from server.registry.catalogue import RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock
from server.registry.registry import open_registry
from server.settings import load_settings
from tiles.three_d.check import check_tileset

TILESET = RepresentationKind.TILESET_3D
KILLED = """
import json, os, signal, sys
from pathlib import Path
from server.publish import PublishRequest, SceneOptions, publish
from server.registry.registry import open_registry
from server.settings import load_settings

home, file, scene, stage, share = sys.argv[1:]

def report(name, fraction):
    if name == stage and fraction >= float(share):
        os.kill(os.getpid(), signal.SIGKILL)

settings = load_settings((), {}, {"data.home": home})
with open_registry(settings) as registry:
    request = PublishRequest(
        files=(Path(file),), tenant="beijing", id="blocks", titles={"en": "Blocks", "zh": "街区"},
        scene=SceneOptions(**json.loads(scene)),
    )
    publish(request, registry, settings, report)
"""
SCENE = {"height_field": "height"}


def kill_a_publish(home: Path, file: Path, stage: str, share: float = 0.0) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), str(file), json.dumps(SCENE), stage, str(share)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stderr


@pytest.fixture(scope="module")
def killed_home(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a publish of the blocks was killed when its features were stored."""
    home = tmp_path_factory.mktemp("killed") / "home"
    with open_registry(load_settings((), {}, {"data.home": home})) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
    file = home.parent / "blocks.geojson"
    shutil.copyfile(data / "blocks.geojson", file)
    kill_a_publish(home, file, "3dtiles")
    return home


@pytest.fixture
def blocks(killed_home: Path, publisher: Any) -> Path:
    """The file whose publish was killed; `publisher` has its staging folder too."""
    shutil.copytree(killed_home / "staging", publisher.home / "staging", dirs_exist_ok=True)
    return killed_home.parent / "blocks.geojson"


@pytest.mark.parametrize(("stage", "share"), [("3dtiles", 0.2), ("syncing", 0.0)])
def test_a_killed_publish_goes_on(publisher: Any, data: Path, stage: str, share: float) -> None:
    kill_a_publish(publisher.home, data / "blocks.geojson", stage, share)
    (left,) = (publisher.home / "staging").iterdir()
    kept = (left / "generation/features.gpkg").stat().st_ino
    heard: list[str] = []
    result = publisher.publish(
        data / "blocks.geojson",
        scene=SCENE,
        callbacks={"report": lambda name, _fraction: heard.append(name)},
    )
    assert "reading" not in heard
    assert "3dtiles" in heard
    assert result.collection.path_of(RepresentationKind.FEATURES).stat().st_ino == kept
    assert result.count == 3
    assert check_tileset(result.collection.path_of(TILESET).parent) == []
    assert publisher.leftovers() == []
    whole = publisher.publish(data / "blocks.geojson", collection="whole", scene=SCENE)
    for collection in (result.collection, whole.collection):
        assert len(collection.bbox) == 6
    assert (
        result.collection.representations[TILESET].properties
        == whole.collection.representations[TILESET].properties
    )


def test_what_was_killed_is_taken_up_from_another_home(publisher: Any, blocks: Path) -> None:
    """So the tests below that begin again do so for their own reasons."""
    heard: list[str] = []
    publisher.publish(blocks, scene=SCENE, callbacks={"report": lambda name, _f: heard.append(name)})
    assert "reading" not in heard


def test_other_options_begin_again(publisher: Any, blocks: Path) -> None:
    heard: list[str] = []
    publisher.publish(
        blocks,
        scene={"height_field": "height", "default_height": 3.0},
        callbacks={"report": lambda name, _fraction: heard.append(name)},
    )
    assert "reading" in heard
    assert publisher.leftovers() == []


def test_a_changed_file_begins_again(publisher: Any, blocks: Path) -> None:
    before = blocks.stat().st_mtime_ns
    os.utime(blocks, ns=(before + 5_000_000_000, before + 5_000_000_000))
    heard: list[str] = []
    publisher.publish(blocks, scene=SCENE, callbacks={"report": lambda name, _f: heard.append(name)})
    os.utime(blocks, ns=(before, before))
    assert "reading" in heard


def test_what_another_collection_may_resume_stays_for_a_week(publisher: Any, blocks: Path) -> None:
    publisher.publish(blocks, collection="other")
    (left,) = (publisher.home / "staging").iterdir()
    week = time.time() - 7 * 86_400 - 60
    os.utime(left / RESUME_FILE, (week, week))
    publisher.publish(blocks, collection="another")
    assert list((publisher.home / "staging").iterdir()) == []


def test_a_sweep_removes_what_could_be_resumed(publisher: Any, blocks: Path) -> None:
    publisher.registry.sweep(grace_seconds=0)
    assert publisher.leftovers() == []


def test_a_living_publish_is_not_taken_over(publisher: Any, blocks: Path) -> None:
    (left,) = (publisher.home / "staging").iterdir()
    lock = try_lock(left / "owner.json")
    assert lock is not None
    heard: list[str] = []
    publisher.publish(blocks, scene=SCENE, callbacks={"report": lambda name, _f: heard.append(name)})
    assert "reading" in heard
    assert left.exists()
    lock.release()


# --- collections that are served already -------------------------------------------------------------------------------


def build(publisher: Any, name: str = "blocks", **options: Any) -> Any:
    callbacks = {key: options.pop(key) for key in ("report", "cancelled") if key in options}
    return build_scene_of(
        publisher.registry, publisher.settings, "beijing", name, SceneOptions(**options), **callbacks
    )


def test_3d_of_a_published_collection_and_once_more(publisher: Any, data: Path) -> None:
    first = publisher.publish(data / "blocks.geojson").collection
    built = build(publisher, height_field="height")
    assert built.feature_count == 3
    assert built.collection.generation == first.generation
    assert built.collection.representations[TILESET].path == "3dtiles/tileset.json"
    assert len(built.collection.bbox) == 6
    again = build(publisher, height_field="height", min_height_field="floors")
    assert again.collection.representations[TILESET].path == "scenes/1/3dtiles/tileset.json"
    assert check_tileset(again.collection.path_of(TILESET).parent) == []
    # Requests under way still read the one before; the one before that is gone.
    assert built.collection.path_of(TILESET).exists()
    build(publisher, height_field="height")
    third = build(publisher, height_field="height")
    kept = sorted(path.name for path in (third.collection.directory / "scenes").iterdir())
    assert len(kept) == 2
    assert publisher.leftovers() == []


def test_a_build_tells_which_edits_it_has_seen(publisher: Any, data: Path) -> None:
    result = publisher.publish(data / "blocks.geojson")
    store = publisher.store(result)
    name = next(iter(store.slices())).ids[0]
    store.edit([Edit(EditKind.UPDATE, name, properties={"height": 77.0})])
    built = build(publisher, height_field="height").collection
    assert built.representations[TILESET].built_change == store.change() > 0
    assert built.bbox[5] == pytest.approx(77.0, abs=0.2)


def test_3d_of_a_registered_source(publisher: Any, data: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "blocks.geojson").write_bytes((data / "blocks.geojson").read_bytes())
    settings = load_settings((), {}, {"data.home": publisher.home, "sources.file_roots": [str(files)]})
    register(
        RegisterRequest(
            source=f"ogr:{files / 'blocks.geojson'}", tenant="beijing", id="there", titles={"en": "There"}
        ),
        publisher.registry,
        settings,
    )
    stages: list[str] = []
    built = build_scene_of(
        publisher.registry,
        settings,
        "beijing",
        "there",
        SceneOptions(height_field="height"),
        lambda stage, _fraction: stages.append(stage),
    )
    close_sources()
    assert built.feature_count == 3
    assert list(dict.fromkeys(stages)) == ["reading", "3dtiles", "switching"]
    assert check_tileset(built.collection.path_of(TILESET).parent) == []


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("blocks", {}, OptionError, "--height-field, --levels-field or --default-height"),
        ("blocks", {"height_field": "hoogte"}, OptionError, "no field 'hoogte'"),
        ("blocks", {"height_field": "height", "base_field": "floors", "ground": Path("a.tif")}, OptionError, "do not go"),
        ("nothing", {"height_field": "height"}, UnknownCollection, "no published collection 'nothing'"),
    ],
)  # fmt: skip
def test_what_cannot_be_built(
    publisher: Any, data: Path, name: str, options: Any, error: type[Exception], message: str
) -> None:
    publisher.publish(data / "blocks.geojson")
    with pytest.raises(error, match=message):
        build(publisher, name, **options)
    assert TILESET not in publisher.collection().representations


def test_a_build_that_is_stopped_changes_nothing(publisher: Any, data: Path) -> None:
    publisher.publish(data / "blocks.geojson")
    with pytest.raises(PublishCancelled, match="goes on where it was"):
        build(publisher, height_field="height", cancelled=lambda: True)
    assert TILESET not in publisher.collection().representations
    assert build(publisher, height_field="height").feature_count == 3


def test_one_at_a_time(publisher: Any, data: Path) -> None:
    publisher.publish(data / "blocks.geojson")
    path = publish_lock_file(publisher.home, "beijing", "blocks")
    path.parent.mkdir(exist_ok=True)
    lock = try_lock(path)
    assert lock is not None
    with pytest.raises(PublishInProgress):
        build(publisher, height_field="height")
    lock.release()
