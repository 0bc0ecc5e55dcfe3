"""The scenes of a published mosaic: listed, added and removed in place, while it is served."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import PublishInProgress, UnknownCollection
from server.publish.archives import ArchiveLimits
from server.publish.building import Task
from server.publish.errors import OptionError, SchemaMismatch
from server.publish.failures import check_free_space, clear_errors
from server.publish.formats import Family
from server.publish.inputs import find_inputs
from server.publish.option_checks import check_options, check_values
from server.publish.rasters import MOSAIC_FILE, mosaic_properties, write_scene
from server.publish.request import (
    Cancelled,
    PublishRequest,
    ReadingOptions,
    Report,
    never_cancelled,
    report_nothing,
)
from server.registry.catalogue import Collection, Interval, RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock
from server.registry.staging import staging_folder
from server.settings import Settings
from tiles.errors import RasterError
from tiles.rasters.datasets import close_rasters, footprint84
from tiles.rasters.mosaic import MosaicSource
from tiles.rasters.mosaic_edits import SCENES_FOLDER, NewScene, add_scenes, remove_leftovers, remove_scenes
from tiles.rasters.mosaic_index import close_indexes, lease_index

if TYPE_CHECKING:
    from server.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class ListedScene:
    """A scene as it is listed: its box in CRS84, its own CRS and size in pixels."""

    name: str
    instant: str | None
    crs: str
    width: int
    height: int
    bbox: tuple[float, float, float, float]


def list_scenes(collection: Collection, limit: int = -1, offset: int = 0) -> list[ListedScene]:
    """The scenes of a mosaic, the uppermost first; a limit below 0 is none. Raises OptionError where it is none."""
    path = _mosaic_path(collection)
    with lease_index(path) as index:
        scenes = index.scenes(None, None, index.rules().on_top, limit, offset)
    return [
        ListedScene(one.name, one.instant, one.crs, one.width, one.height, footprint84(one.bounds, one.crs))
        for one in scenes
    ]


def add_files(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    files: Sequence[Path],
    reading: ReadingOptions,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> Collection:
    """Add raster files to a mosaic that is served, and return the collection as it is then.

    All come in at once, in one transaction of the mosaic's index; until then, and whenever this raises, nothing has changed.
    Raises PublishError and its kinds, UnknownCollection, PublishInProgress.
    """
    request = PublishRequest(files=tuple(files), tenant=tenant, id=collection, titles={}, reading=reading)
    with (
        clear_errors(settings.home),
        _held(registry, tenant, collection) as present,
        staging_folder(settings.home) as staging,
    ):
        check_values(request)
        limits = settings.publish
        inputs = find_inputs(
            files,
            staging,
            ArchiveLimits(
                limits.max_uncompressed_bytes, limits.max_compression_ratio, limits.max_archive_files
            ),
            format_key=reading.format,
        )
        if inputs[0].format.family is not Family.RASTER or inputs[0].format.key != "raster":
            raise OptionError(
                f"{inputs[0].name} is {inputs[0].format.title}; scenes are GeoTIFF and other GDAL rasters."
            )
        check_options(request, inputs)
        check_free_space(settings.home, [item.path for item in inputs])
        task = Task(request, inputs, present.directory, staging, settings, report, cancelled)
        path = _mosaic_path(present)
        remove_leftovers(path)
        try:
            _add(task, path)
        except BaseException:
            close_rasters()
            remove_leftovers(path)
            raise
        return _told(registry, present)


def _add(task: Task, path: Path) -> None:
    rules = MosaicSource(path).rules
    expected = tuple(band["dtype"] for band in rules.bands)
    notes: list[str] = []
    new = []
    for number, item in enumerate(task.inputs):

        def heard(fraction: float, number: int = number) -> None:
            task.stage("coverage", 0.8 * (number + fraction) / len(task.inputs))

        name, instant, cog = write_scene(item, task, notes, heard)
        found = tuple(band["dtype"] for band in cog.bands)
        if found != expected:
            raise SchemaMismatch(
                f"{item.name} has {len(found)} bands of {found[0]}; the scenes of this mosaic have {len(expected)} of "
                f"{expected[0]}. Add files with the same bands."
            )
        _flush(cog.path)
        new.append(NewScene(name, f"{SCENES_FOLDER}/{cog.path.name}", instant, cog.statistics))
    _flush(path.parent / SCENES_FOLDER)
    instants = {scene.instant is None for scene in new} | {not MosaicSource(path).description.instants}
    if len(instants) > 1:
        raise OptionError(
            "Scenes with and without a time do not go together. Give --time as it was given when the mosaic was published."
        )
    add_scenes(path, new, lambda fraction: task.stage("coverage", 0.8 + 0.2 * fraction))


def remove_names(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    names: Sequence[str],
    report: Report = report_nothing,
) -> Collection:
    """Take scenes out of a mosaic that is served, by name. Raises OptionError for one that is not there, or for all of them."""
    with clear_errors(settings.home), _held(registry, tenant, collection) as present:
        path = _mosaic_path(present)
        with lease_index(path) as index:
            unknown = [name for name in names if index.find(name) is None]
            left = index.count() - len(set(names))
        if unknown:
            raise OptionError(
                f"{tenant}.{collection} has no scene {', '.join(unknown[:10])}; `chengtu scenes list {tenant}.{collection}` shows them."
            )
        if left < 1:
            raise OptionError(
                f"These are all scenes of {tenant}.{collection}. One has to stay; `chengtu unpublish` takes the collection away."
            )
        remove_scenes(path, list(dict.fromkeys(names)), lambda fraction: report("coverage", fraction))
        return _told(registry, present)


def bring_up_to_date(registry: Registry, collection: Collection) -> Collection:
    """Tell the registry what an edit that was killed has not told it any more; the collection as it is then."""
    path = _mosaic_path(collection)
    coverage = collection.representations[RepresentationKind.COVERAGE]
    if dict(coverage.properties) == mosaic_properties(path, coverage.properties["crs"]):
        return collection
    with _held(registry, collection.tenant, collection.id) as present:
        return _told(registry, present)


@contextmanager
def _held(registry: Registry, tenant: str, collection: str) -> Iterator[Collection]:
    """The collection as it is served, while nobody else publishes or edits it. Raises UnknownCollection, PublishInProgress."""
    lock = try_lock(publish_lock_file(registry.home, tenant, collection))
    if lock is None:
        raise PublishInProgress(
            f"another process is publishing or changing {tenant}.{collection} at this moment; wait until it is done"
        )
    try:
        yield published_collection(registry, tenant, collection)
    finally:
        close_rasters()
        close_indexes()
        lock.release()


def published_collection(registry: Registry, tenant: str, collection: str) -> Collection:
    """The collection. Raises UnknownTenant, UnknownCollection."""
    present = registry.collection(tenant, collection)
    if present is None:
        raise UnknownCollection(f"tenant {tenant!r} has no published collection {collection!r}")
    return present


def _mosaic_path(collection: Collection) -> Path:
    coverage = collection.representations.get(RepresentationKind.COVERAGE)
    if coverage is None or coverage.properties.get("store") != "mosaic":
        raise OptionError(
            f"{collection.qualified_id} is no mosaic, so it has no scenes. Publish several raster files as one collection, or "
            "one with --time, to make a mosaic."
        )
    return collection.directory / coverage.path


def _told(registry: Registry, collection: Collection) -> Collection:
    """The registry's extent, interval and properties after an edit of the mosaic, which is the one that counts."""
    path = collection.directory / MOSAIC_FILE
    coverage = collection.representations[RepresentationKind.COVERAGE]
    properties = mosaic_properties(path, coverage.properties["crs"])
    instants = properties.get("instants")
    interval = None if instants is None else Interval(instants["first"], instants["last"])
    try:
        bbox = MosaicSource(path).description.footprint
    except RasterError as error:
        raise OptionError(str(error)) from error
    return registry.update_coverage(
        collection.tenant, collection.id, collection.generation, bbox, interval, properties
    )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
