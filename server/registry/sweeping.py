"""Removes what nobody serves or builds any more: leftovers of killed publishes, and generations beyond those kept.

Rows are marked removed by a transaction first and files are deleted after it, so a sweep that dies leaves folders that
no row names, which the next sweep removes.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from server.registry.clock import seconds_ago
from server.registry.drafts import SweepReport
from server.registry.folders import generation_of, publish_lock_file
from server.registry.locks import try_lock
from server.registry.models import CollectionRow, GenerationRow, GenerationState
from server.registry.staging import dead_staging_folders
from server.registry.writing import reading, writing

_ALIVE = (GenerationState.BUILDING, GenerationState.CURRENT, GenerationState.KEPT)


def sweep(
    engine: Engine, home: Path, keep: int, grace_seconds: float, caches: Sequence[Path] = ()
) -> SweepReport:
    """Remove dead staging folders, generations given up, beyond the newest `keep`, and those of unpublished collections.

    `caches` are folders that keep something made from generations at `TENANT/COLLECTION/gNNNNNN`: it goes with them.

    What stopped being served less than `grace_seconds` ago stays: requests may still be reading it.
    """
    _mark_removed(engine, home, keep, seconds_ago(grace_seconds))
    removed, freed = [], 0
    roots = [home / "collections", *caches]
    for folder in [*dead_staging_folders(home), *orphaned_generations(engine, roots)]:
        size = size_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            removed.append(folder)
            freed += size
    return SweepReport(tuple(removed), freed)


def orphaned_generations(engine: Engine, roots: Sequence[Path]) -> list[Path]:
    """Generation folders below `roots` that no living row of the registry names."""
    # The folders first: one that appears later has its row already, since rows come before folders.
    folders = [found for root in roots for found in _generation_folders(root)]
    with reading(engine) as session:
        rows = session.execute(
            select(CollectionRow.tenant_id, CollectionRow.id, GenerationRow.number)
            .join(GenerationRow, GenerationRow.collection_key == CollectionRow.key)
            .where(GenerationRow.state.in_(_ALIVE))
        )
        alive = {(tenant, collection, number) for tenant, collection, number in rows}
    return [
        folder for tenant, collection, number, folder in folders if (tenant, collection, number) not in alive
    ]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_size
            except FileNotFoundError:
                continue  # removed by its owner while we look
    return total


def _generation_folders(root: Path) -> Iterator[tuple[str, str, int, Path]]:
    for folder in sorted(root.glob("*/*/g*")):
        number = generation_of(folder)
        if number is not None:
            yield folder.parent.parent.name, folder.parent.name, number, folder


def _mark_removed(engine: Engine, home: Path, keep: int, retired_before: str) -> None:
    with reading(engine) as session:
        if not any(True for _ in _removable(session, home, keep, retired_before)):
            return
    with writing(engine, "sweep") as write:
        for generation in _removable(write.session, home, keep, retired_before):
            generation.state = GenerationState.REMOVED


def _removable(session: Session, home: Path, keep: int, retired_before: str) -> Iterator[GenerationRow]:
    rows = session.execute(
        select(CollectionRow, GenerationRow)
        .join(GenerationRow, GenerationRow.collection_key == CollectionRow.key)
        .where(GenerationRow.state.in_(_ALIVE))
        .order_by(CollectionRow.key, GenerationRow.number.desc())
    )
    for collection, group in itertools.groupby(rows.all(), key=lambda row: row[0]):
        generations = [row[1] for row in group]
        building = [item for item in generations if item.state == GenerationState.BUILDING]
        served = [item for item in generations if item.state != GenerationState.BUILDING]
        published = any(item.state == GenerationState.CURRENT for item in served)
        for item in building:
            if _owner_is_dead(home, collection):
                yield item
        for item in served[keep:] if published else served:
            if item.state == GenerationState.KEPT and (item.retired or "") < retired_before:
                yield item


def _owner_is_dead(home: Path, collection: CollectionRow) -> bool:
    lock = try_lock(publish_lock_file(home, collection.tenant_id, collection.id))
    if lock is None:
        return False
    lock.release()
    return True
