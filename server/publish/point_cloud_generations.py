"""A new generation of a point cloud out of the one that is served: files linked, what is derived made again, switched in at once."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pointclouds.cloud.cloud import INDEX_FILE, TILES_FOLDER, Cloud, open_cloud
from pointclouds.cloud.nodes import compute_nodes, nodes_path
from server.errors import UnknownCollection
from server.publish.building import Built
from server.publish.errors import OptionError
from server.publish.failures import clear_errors
from server.publish.point_cloud_representations import (
    derived_again,
    derived_options,
    describe,
)
from server.publish.point_cloud_sources import clear_point_errors
from server.publish.publication import flush_tree
from server.publish.request import Report
from server.publish.scenes import TILESET_FOLDER
from server.registry.catalogue import Collection, Interval, Representation, RepresentationKind
from server.registry.clock import now
from server.registry.drafts import CollectionDraft
from server.registry.staging import staging_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.drafts import GenerationTicket
    from server.registry.registry import Registry
    from server.settings import Settings

MOST_EDITS: Final = 200
"""Entries of the history that are kept; the oldest go first."""
_NO_LINK: Final = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP))
_CHANGING: Final = (".sqlite", ".gpkg", ".sqlite-wal", ".sqlite-shm", ".gpkg-wal", ".gpkg-shm")
"""Endings of files that are written in place while they are served: copied, never linked."""

Change = Callable[["Editing"], None]


@dataclass
class Editing:
    """An edit under way. `folder` becomes the new generation; `path` is where its cloud stands in it, set by the edit.

    `present` is the collection as it is served, `cloud` its cloud.
    """

    present: Collection
    cloud: Cloud
    folder: Path
    workspace: Path
    path: str
    warnings: list[str] = field(default_factory=list)
    entry: dict[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Any]:
        """Of the present POINT_CLOUD representation."""
        return self.present.representations[RepresentationKind.POINT_CLOUD].properties

    def note(self, what: str, **facts: Any) -> None:
        """What the history is to say of this edit; facts that are empty are left out."""
        self.entry = {"what": what, **{name: fact for name, fact in facts.items() if fact not in (None, [])}}


@dataclass(frozen=True, slots=True)
class CloudEdit:
    """What an edit did: the collection as it is served now, the entry of its history, sentences for whoever edits.

    `entry` has "time", "who", "what" and "generation" and "before" (the numbers of the new one and of the one it
    is made of), and what more the kind of edit tells.
    `is_new` is False where there was nothing to change: then nothing was written and the collection is the same.
    """

    collection: Collection
    entry: Mapping[str, Any]
    warnings: tuple[str, ...]
    seconds: float
    is_new: bool = True


class NothingToChange(Exception):
    """Raised inside a change that turns out to change nothing."""


def point_cloud_of(registry: Registry, tenant: str, collection: str) -> Collection:
    """The collection, if it is a point cloud. Raises UnknownTenant, UnknownCollection, OptionError."""
    present = registry.collection(tenant, collection)
    if present is None:
        raise UnknownCollection(f"tenant {tenant!r} has no published collection {collection!r}")
    if RepresentationKind.POINT_CLOUD not in present.representations:
        kinds = ", ".join(present.representations)
        raise OptionError(f"{tenant}.{collection} is no point cloud; it has: {kinds}.")
    return present


def edited(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    who: str,
    change: Change,
    report: Report,
) -> CloudEdit:
    """Let `change` fill the folder of a new generation, make what is derived, and switch it in.

    Whatever happens before the switch, what is served stays as it is. Raises PublishError and its kinds, UnknownCollection,
    PublishInProgress.
    """
    started = time.monotonic()
    with clear_errors(settings.home):
        point_cloud_of(registry, tenant, collection)
        ticket = registry.begin_generation(tenant, collection, replace=True)
        try:
            present = point_cloud_of(registry, tenant, collection)
            _refuse_other_contents(present)
            with staging_folder(settings.home) as staging, clear_point_errors():
                editing = _begun(present, staging)
                change(editing)
                made = _finish(registry, settings, ticket, editing, who, report)
        except NothingToChange:
            registry.abandon_generation(ticket)
            return CloudEdit(present, editing.entry, (), time.monotonic() - started, is_new=False)
        except BaseException:
            registry.abandon_generation(ticket)
            raise
    report("switching", 1.0)
    return CloudEdit(*made, tuple(editing.warnings), time.monotonic() - started)


def _refuse_other_contents(present: Collection) -> None:
    features = present.representations.get(RepresentationKind.FEATURES)
    if features is not None:
        raise OptionError(
            f"{present.qualified_id} also has features, whose edits would go on in two generations. Publish the point cloud as a "
            "collection of its own to edit it."
        )


def _begun(present: Collection, staging: Path) -> Editing:
    folder, workspace = staging / "generation", staging / "workspace"
    folder.mkdir()
    workspace.mkdir()
    path = present.representations[RepresentationKind.POINT_CLOUD].path
    cloud = open_cloud(present.directory / path)
    _complete_tables(cloud)
    return Editing(present, cloud, folder, workspace, path)


def _complete_tables(cloud: Cloud) -> None:
    """Node tables that an earlier release did not write: they belong to the files as if they had always been there."""
    for tile in cloud.tiles:
        beside = nodes_path(tile.path)
        if not beside.exists():
            compute_nodes(cloud.file(tile)).save(beside)


def _finish(
    registry: Registry,
    settings: Settings,
    ticket: GenerationTicket,
    editing: Editing,
    who: str,
    report: Report,
) -> tuple[Collection, dict[str, Any]]:
    present, folder = editing.present, editing.folder
    entry = {
        "time": now(),
        "who": who,
        "generation": ticket.generation,
        "before": present.generation,
        **editing.entry,
    }
    edits = [*editing.properties.get("edits", ()), entry][-MOST_EDITS:]
    _link_others(editing)
    options = derived_options(present)
    built = describe(folder, editing.path, options, edits)
    built.interval = _interval(editing, built)
    report("3dtiles", 0.0)
    representations = _with_provenance(
        derived_again(folder, editing.path, built, options, present), editing.properties
    )
    report("syncing", 0.0)
    flush_tree(folder, links_too=False)
    report("switching", 0.0)
    collection = registry.switch_generation(ticket, _draft(present, built), representations, folder)
    return collection, entry


def _with_provenance(made: list[Representation], before: Mapping[str, Any]) -> list[Representation]:
    """What was derived by a pipeline still was, after an edit."""
    derived = before.get("derived")
    if derived is None:
        return made
    return [replace(one, properties={**one.properties, "derived": derived}) for one in made]


def _interval(editing: Editing, built: Built) -> Interval | None:
    """When it is of: what the tiles say; of one COPC, where a publish may have said it, as it was."""
    return built.interval if editing.path == INDEX_FILE else editing.present.interval


def _link_others(editing: Editing) -> None:
    """Files of the present generation that are not its cloud's, nor of the 3D Tiles of its points: linked, they stay as they are."""
    root = editing.present.directory.resolve()
    cloud = root / editing.present.representations[RepresentationKind.POINT_CLOUD].path
    left = {cloud, nodes_path(cloud), root / TILES_FOLDER, root / TILESET_FOLDER}
    tileset = editing.present.representations.get(RepresentationKind.TILESET_3D)
    if tileset is not None and tileset.properties.get("content") != "points":
        left.remove(root / TILESET_FOLDER)
    for path in sorted(_files_below(root, left)):
        target = editing.folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(_CHANGING):
            shutil.copy2(path, target)
        else:
            link_one(path, target)


def _files_below(folder: Path, left: Container[Path]) -> Iterator[Path]:
    """All files but those that are left out or lie in a folder that is: thousands of tiles are not walked over."""
    for path in folder.iterdir():
        if path in left:
            continue
        if path.is_dir():
            yield from _files_below(path, left)
        else:
            yield path


def link_file(copc: Path, target: Path) -> None:
    """A COPC and the table of its nodes in a new generation, by hard links; copies where the file system has none."""
    link_one(copc, target)
    link_one(nodes_path(copc), nodes_path(target))


def link_one(source: Path, target: Path) -> None:
    """A hard link, or a copy where that is not possible. Raises OSError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)


def _draft(present: Collection, built: Built) -> CollectionDraft:
    return CollectionDraft(
        tenant=present.tenant,
        id=present.id,
        titles=dict(present.titles),
        descriptions=dict(present.descriptions),
        keywords=present.keywords,
        bbox=built.bbox,
        interval=built.interval,
        storage_crs=built.storage_crs,
        attribution=present.attribution,
        licence=present.licence,
        licence_url=present.licence_url,
        simulated=present.simulated,
        fields=present.fields,
    )
