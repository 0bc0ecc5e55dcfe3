"""Build the 3D tileset of a collection that is served already, wherever its features are stored.

The tileset is built beside what is served and attached by one transaction of the registry. The first one lies where publishing
puts it; each later one in a folder of its own below `scenes/`, so that requests under way keep the one they began with. A build
that was stopped or killed goes on where it was when it is asked for again with the same options.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from providers.features.source import FeatureSource
from providers.features.sources import configure_sources, open_source
from providers.features.store import FeatureStore
from providers.three_d.object_features import SNAPSHOT, FeaturesAt
from providers.three_d.recipes import SCENE_FOLDER
from providers.three_d.snapshot import take_snapshot
from server.errors import PublishInProgress, UnknownCollection
from server.publish.errors import OptionError, PublishCancelled
from server.publish.failures import clear_errors
from server.publish.request import Cancelled, Report, SceneOptions, never_cancelled, report_nothing
from server.publish.scenes import (
    TILESET_FILE,
    Scene,
    asks_for_buildings,
    build_from_recipe,
    check_fields,
    finished_scene,
    footprint_recipe,
    glb_options,
    keep_ground,
)
from server.registry.catalogue import Collection, RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock
from server.settings import Settings
from server.settings.sources import source_settings_of

if TYPE_CHECKING:
    from server.registry.registry import Registry

LATER_FOLDER = "scenes"
_FINISHED = "facts.npy"


@dataclass(frozen=True, slots=True)
class BuiltScene:
    """What was built: the collection as it is then, and what its publisher should know."""

    collection: Collection
    feature_count: int
    warnings: tuple[str, ...]


def build_scene_of(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    options: SceneOptions,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> BuiltScene:
    """Make buildings of a collection's footprints, and return when every new request sees them.

    Until then, and whenever this raises, what was there before is served. Raises PublishError and its kinds, UnknownCollection,
    PublishInProgress, PublishLost.
    """
    with clear_errors(settings.home), _held(registry, tenant, collection) as present:
        configure_sources(source_settings_of(settings))
        source, is_embedded = _features_of(present)
        if not asks_for_buildings(options):
            raise OptionError(
                "Buildings need a height: give --height-field, --levels-field or --default-height."
            )
        if options.base_field is not None and options.ground is not None:
            raise OptionError("--base-field and --ground do not go together: give one or the other.")
        check_fields(options, source.schema.fields)
        if not source.bbox:
            raise OptionError(f"{tenant}.{collection} has no feature with a geometry.")

        def heard(stage: str, fraction: float) -> None:
            report(stage, min(1.0, max(0.0, fraction)))
            if cancelled():
                raise PublishCancelled(
                    "The build was stopped; nothing was changed. The same command goes on where it was."
                )

        root = _root_of(present)
        change = source.change()
        features = FeaturesAt(root, str(_relative(present.directory, root)))
        if not is_embedded:
            features = _snapshot(source, root, heard)
        titles = {field.name: field.title for field in present.fields if field.title}
        ground = keep_ground(options, source.bbox, root)
        recipe = footprint_recipe(options, features, ground, titles)
        glb = glb_options(options, present.attribution)
        summary = build_from_recipe(root, recipe, glb, lambda done: heard("3dtiles", done))
        built = finished_scene(summary)
        heard("switching", 0.0)
        attached = _attach(registry, present, root, built, change)
        report("switching", 1.0)
    return BuiltScene(attached, summary.feature_count, built.warnings)


def _attach(
    registry: Registry, present: Collection, root: Path, built: Scene, change: int | str
) -> Collection:
    path = (root / TILESET_FILE).relative_to(present.directory)
    # A tileset follows the edits of an embedded store from the state it was built of; others are as they were then.
    tileset = replace(
        built.representation, path=str(path), built_change=change if isinstance(change, int) else 0
    )
    attached = registry.attach_tileset(present.tenant, present.id, present.generation, built.bbox, tileset)
    _remove_older(present, root)
    return attached


def _snapshot(source: FeatureSource, root: Path, heard: Any) -> FeaturesAt:
    """Copy the features of a source that lies elsewhere."""
    expected = source.count() or 0

    def counted(done: int) -> None:
        heard("reading", done / expected if expected else 0.0)

    heard("reading", 0.0)
    before = root / SNAPSHOT
    stamp = before.stat().st_mtime_ns if before.exists() else None
    take_snapshot(source, before, counted)
    if stamp is not None and before.stat().st_mtime_ns != stamp:
        _begin_again(root)
    return FeaturesAt(root, SNAPSHOT)


def _begin_again(root: Path) -> None:
    """Forget what was built of an earlier state of the source; the snapshot stays."""
    for path in (root / SCENE_FOLDER).iterdir():
        if path.name == PurePath(SNAPSHOT).name:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _features_of(collection: Collection) -> tuple[FeatureSource, bool]:
    """The features of a collection, and whether they are in the embedded store."""
    representation = collection.representations.get(RepresentationKind.FEATURES)
    if representation is None:
        raise OptionError(f"{collection.qualified_id} has no features of which buildings could be made.")
    description = representation.properties.get("source")
    if description is None:
        return open_source(collection.path_of(RepresentationKind.FEATURES)), True
    path = description.get("path")
    if isinstance(path, str) and not PurePath(path).is_absolute():
        description = {**description, "path": str(collection.directory / path)}
    source = open_source(None, description)
    return source, isinstance(source, FeatureStore)


def _relative(generation: Path, root: Path) -> PurePath:
    """The embedded store as the recipe in `root` names it."""
    name = "features.gpkg"
    depth = len(root.relative_to(generation).parts)
    return PurePath(*[".."] * depth, name)


def _root_of(collection: Collection) -> Path:
    """The folder for the next tileset: that of an unfinished build, else a new one."""
    generation = collection.directory
    served = None
    if RepresentationKind.TILESET_3D in collection.representations:
        served = collection.path_of(RepresentationKind.TILESET_3D).parent.parent
    if served is None:
        return generation
    number = 1
    while True:
        root = generation / LATER_FOLDER / str(number)
        if root != served and not (root / SCENE_FOLDER / _FINISHED).exists():
            root.mkdir(parents=True, exist_ok=True)
            return root
        number += 1


def _remove_older(present: Collection, root: Path) -> None:
    """Remove what was built before the tileset that `present` served until now: no request reads it any more."""
    served = None
    if RepresentationKind.TILESET_3D in present.representations:
        served = present.path_of(RepresentationKind.TILESET_3D).parent.parent
    folder = present.directory / LATER_FOLDER
    for other in folder.iterdir() if folder.is_dir() else ():
        if other not in (root, served):
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _held(registry: Registry, tenant: str, collection: str) -> Iterator[Collection]:
    """The collection, while nobody else publishes or changes it."""
    registry.tenant(tenant)
    lock = try_lock(publish_lock_file(registry.home, tenant, collection))
    if lock is None:
        raise PublishInProgress(
            f"another process is publishing or changing {tenant}.{collection} at this moment; wait until it is done"
        )
    try:
        present = registry.collection(tenant, collection)
        if present is None:
            raise UnknownCollection(f"tenant {tenant!r} has no published collection {collection!r}")
        yield present
    finally:
        lock.release()
