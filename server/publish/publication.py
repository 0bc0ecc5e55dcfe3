"""One publish from beginning to end: built aside, flushed to disk, switched in by one transaction of the registry."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.publish.archives import ArchiveLimits
from server.publish.building import Built, Task
from server.publish.closing import closed_to_edits, reopen_left_closed
from server.publish.errors import OptionError
from server.publish.failures import check_free_space, clear_errors
from server.publish.formats import Family
from server.publish.inputs import find_inputs
from server.publish.option_checks import check_options, check_values
from server.publish.request import (
    Cancelled,
    PublishRequest,
    PublishResult,
    Report,
    SceneOptions,
    never_cancelled,
    report_nothing,
)
from server.publish.resuming import Staging, publish_staging, removable_staging
from server.publish.styles import check_style_fits, usable_style
from server.registry.catalogue import Interval, Representation
from server.registry.drafts import CollectionDraft

if TYPE_CHECKING:
    from server.registry.registry import Registry
from server.registry.staging import dead_staging_folders
from server.settings import Settings

Builder = Callable[[Task], Built]


def publish(
    request: PublishRequest,
    registry: Registry,
    settings: Settings,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> PublishResult:
    """Publish the files of `request` as one collection, and return when every new request sees it.

    Until then, and whenever this raises, what was there before is served. Raises PublishError (its kinds are in
    `server.publish.errors`) and RegistryError (id taken, unknown tenant, ...); a KeyboardInterrupt passes through after
    the cleaning up.
    """
    started = time.monotonic()
    home = settings.home
    with clear_errors(home):
        report("checking", 0.0)
        _check_request(request, settings)
        if _sweep(removable_staging(home, request)):
            reopen_left_closed(registry)
        registry.check_publishable(request.tenant, request.id, request.replace)
        with publish_staging(home, request) as staging:
            task = _prepare(request, settings, staging, report, cancelled)
            built = _builder(task.inputs[0].format.family)(task)
            _add_extras(task, built)
            _note_provenance(task, built)
            task.stage("syncing")
            flush_tree(task.folder)
            task.stage("switching")
            present = registry.collection(request.tenant, request.id) if request.replace else None
            with closed_to_edits(present):
                collection = registry.publish(
                    _draft(request, built), built.representations, task.folder, request.replace
                )
            report("switching", 1.0)
    return PublishResult(
        collection=collection,
        generation=collection.generation,
        kinds=tuple(collection.representations),
        count=built.count,
        warnings=tuple(built.warnings),
        seconds=time.monotonic() - started,
    )


def sweep_staging(home: Path) -> list[Path]:
    """Remove what killed publishes left in `<home>/staging`; returns the folders removed."""
    return _sweep(dead_staging_folders(home))


def _sweep(folders: list[Path]) -> list[Path]:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return folders


def _check_request(request: PublishRequest, settings: Settings) -> None:
    if not any(request.titles.get(language) for language in ("en", "zh")):
        raise OptionError("A collection needs a title, in English or Chinese.")
    for texts in (request.titles, request.descriptions):
        unknown = sorted(set(texts) - {"en", "zh"})
        if unknown:
            raise OptionError(
                f"Titles and descriptions are in the languages en and zh; found {', '.join(unknown)}."
            )
    check_values(request)
    if request.style is not None:
        usable_style(request.style, settings)


def _prepare(
    request: PublishRequest, settings: Settings, staging: Staging, report: Report, cancelled: Cancelled
) -> Task:
    limits = ArchiveLimits(
        settings.publish.max_uncompressed_bytes,
        settings.publish.max_compression_ratio,
        settings.publish.max_archive_files,
    )
    reading = request.reading
    inputs = find_inputs(
        request.files, staging.workspace, limits, format_key=reading.format, layer=reading.layer
    )
    check_options(request, inputs)
    request = with_heights(request, inputs[0].format.key)
    check_style_fits(request, inputs[0], settings)
    check_free_space(settings.home, [item.path for item in inputs])
    task = Task(
        request, inputs, staging.generation, staging.workspace, settings, report, cancelled, staging.steps
    )
    task.stage("checking", 1.0)
    return task


def with_heights(request: PublishRequest, format_key: str) -> PublishRequest:
    """The request, with the heights of rooms for IMDF where it does not say itself what to make in three dimensions."""
    if format_key != "imdf" or request.scene != SceneOptions():
        return request
    reading = request.reading if request.reading.id_field else replace(request.reading, id_field="unit_id")
    return replace(request, reading=reading, scene=SceneOptions(height_field="top", min_height_field="base"))


def _builder(family: Family) -> Builder:
    """What builds a family; imported when needed, because each brings heavy libraries."""
    if family is Family.VECTOR:
        from server.publish.features import build_features

        return build_features
    if family is Family.RASTER:
        from server.publish.rasters import build_raster

        return build_raster
    if family is Family.POINT_CLOUD:
        from server.publish.point_clouds import build_point_cloud

        return build_point_cloud
    if family is Family.TILESET:
        from server.publish.tilesets import build_tileset_taken_over

        return build_tileset_taken_over
    from server.publish.city_models import build_city_model

    return build_city_model


def _add_extras(task: Task, built: Built) -> None:
    for number, build in enumerate(task.request.extra_representations):
        task.stage("extra", number / len(task.request.extra_representations))
        extra = build(task.folder)
        built.representations.append(Representation(extra.kind, extra.path, 0, 0, dict(extra.properties)))
        built.interval = _wider(built.interval, extra.interval)
        built.warnings += extra.warnings


def _note_provenance(task: Task, built: Built) -> None:
    """Keep with what was derived from points how that was done."""
    provenance = task.request.provenance
    if task.request.points.pipeline:
        from server.publish.point_pipeline import provenance_of_publish  # only where PDAL has worked

        provenance = provenance_of_publish(task)
    if provenance:
        built.representations[:] = [
            replace(one, properties={**one.properties, "derived": dict(provenance)})
            for one in built.representations
        ]


def _wider(one: Interval | None, other: Interval | None) -> Interval | None:
    """The interval that holds both. RFC 3339 texts in UTC compare as times do; None is open."""
    if one is None or other is None:
        return one or other
    start = None if one.start is None or other.start is None else min(one.start, other.start)
    end = None if one.end is None or other.end is None else max(one.end, other.end)
    return Interval(start, end)


def _draft(request: PublishRequest, built: Built) -> CollectionDraft:
    english = request.titles.get("en") or request.titles["zh"]
    return CollectionDraft(
        tenant=request.tenant,
        id=request.id,
        titles={**request.titles, "en": english},
        descriptions=dict(request.descriptions),
        keywords=request.keywords,
        bbox=built.bbox,
        interval=built.interval,
        storage_crs=built.storage_crs,
        access=request.access,
        attribution=request.attribution,
        licence=request.licence,
        licence_url=request.licence_url,
        simulated=request.simulated,
        fields=built.fields,
    )


def flush_tree(folder: Path, *, links_too: bool = True) -> None:
    """Bring every file and folder to the disk, so that a power cut after the switch finds them whole.

    `links_too`: also files that have further names; an edit shares those with the generation before, which was flushed.
    """
    for directory, _, names in os.walk(folder):
        for name in (*names, "."):
            path = os.path.join(directory, name)  # noqa: PTH118  # of thousands of files, a Path each costs as much as the flush
            if not links_too and name != "." and os.stat(path).st_nlink > 1:  # noqa: PTH116  # as above
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
