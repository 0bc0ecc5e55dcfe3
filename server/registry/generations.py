"""The life of a generation: begun, switched in by one transaction, kept, restored, removed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from server.errors import (
    DuplicateCollection,
    InvalidRepresentation,
    PublishInProgress,
    PublishLost,
    UnknownCollection,
    UnknownGeneration,
)
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft, GenerationRecord, GenerationTicket
from server.registry.folders import generation_directory, publish_lock_file
from server.registry.identifiers import check_collection_id
from server.registry.locks import try_lock
from server.registry.models import CollectionRow, GenerationRow, GenerationState, RepresentationRow
from server.registry.writing import Write, collection_row, generation_in, reading, tenant_row, writing

RESTORABLE = (GenerationState.CURRENT, GenerationState.KEPT)


def check_publishable(engine: Engine, home: Path, tenant: str, collection: str, replace: bool) -> None:
    """Raise what `begin_generation` would raise now, before the long work of building."""
    check_collection_id(collection)
    with reading(engine) as session:
        tenant_row(session, tenant)
        row = collection_row(session, tenant, collection)
        if row is not None and not replace:
            _refuse_published(session, row)
    lock = try_lock(publish_lock_file(home, tenant, collection))
    if lock is None:
        raise _in_progress(tenant, collection)
    lock.release()


def begin_generation(
    engine: Engine, home: Path, tenant: str, collection: str, replace: bool
) -> GenerationTicket:
    """Reserve the next generation number; it is greater than any this id ever had.

    Raises UnknownTenant, InvalidIdentifier, DuplicateCollection, PublishInProgress.
    """
    check_collection_id(collection)
    lock = try_lock(publish_lock_file(home, tenant, collection))
    if lock is None:
        raise _in_progress(tenant, collection)
    try:
        with writing(engine, "begin-publish", tenant, collection) as write:
            tenant_row(write.session, tenant)
            row = collection_row(write.session, tenant, collection)
            if row is None:
                row = CollectionRow(
                    tenant_id=tenant,
                    id=collection,
                    access=Access.PUBLIC,
                    last_generation=0,
                    revision=write.revision,
                    created=write.time,
                    updated=write.time,
                )
                write.session.add(row)
                write.session.flush()
            elif not replace:
                _refuse_published(write.session, row)
            unfinished = generation_in(write.session, row, GenerationState.BUILDING)
            if unfinished is not None:  # its lock was free: whoever began it is dead
                unfinished.state = GenerationState.REMOVED
                write.session.flush()
            row.last_generation += 1
            number = row.last_generation
            write.session.add(
                GenerationRow(
                    collection_key=row.key, number=number, state=GenerationState.BUILDING, begun=write.time
                )
            )
        directory = generation_directory(home, tenant, collection, number)
        directory.parent.mkdir(parents=True, exist_ok=True)
    except BaseException:
        lock.release()
        raise
    return GenerationTicket(tenant, collection, number, directory, replace, lock)


def commit_generation(
    engine: Engine,
    ticket: GenerationTicket,
    draft: CollectionDraft,
    representations: Sequence[Representation],
) -> None:
    """Make the ticket's generation the current one, in one transaction, and let go of its lock.

    Raises InvalidRepresentation, PublishLost, UnknownTenant, DuplicateCollection; the ticket then still stands.
    """
    if (draft.tenant, draft.id) != (ticket.tenant, ticket.collection):
        raise InvalidRepresentation(
            f"the draft is of {draft.tenant}.{draft.id}, the generation of {ticket.tenant}.{ticket.collection}"
        )
    _check_draft(draft)
    for representation in representations:
        _check_path(ticket.directory, representation)
    with writing(engine, "publish", ticket.tenant, ticket.collection, ticket.generation) as write:
        tenant_row(write.session, ticket.tenant)
        row = collection_row(write.session, ticket.tenant, ticket.collection)
        generation = None if row is None else generation_in(write.session, row, GenerationState.BUILDING)
        if row is None or generation is None or generation.number != ticket.generation:
            raise PublishLost(
                f"generation {ticket.generation} of {ticket.tenant}.{ticket.collection} was given up; publish again"
            )
        if not ticket.replace:
            _refuse_published(write.session, row)
        _retire_current(write, row)
        generation.state, generation.committed = GenerationState.CURRENT, write.time
        _fill(generation, draft, representations)
        row.revision, row.updated = write.revision, write.time
        if draft.access is not None:
            row.access = draft.access
    ticket.lock.release()


def abandon_generation(engine: Engine, ticket: GenerationTicket) -> None:
    """Give a generation up: its folder is removed, its number never used again, the id free for the next publisher."""
    try:
        with writing(engine, "abandon-publish", ticket.tenant, ticket.collection, ticket.generation) as write:
            row = collection_row(write.session, ticket.tenant, ticket.collection)
            generation = None if row is None else generation_in(write.session, row, GenerationState.BUILDING)
            if generation is None or generation.number != ticket.generation:
                return
            generation.state = GenerationState.REMOVED
        shutil.rmtree(ticket.directory, ignore_errors=True)
    finally:
        ticket.lock.release()


def unpublish(engine: Engine, tenant: str, collection: str) -> None:
    """Take a collection out of service. Its files stay for requests under way, until `sweep`.

    Raises UnknownTenant, UnknownCollection.
    """
    with writing(engine, "unpublish", tenant, collection) as write:
        row = _known_collection(write.session, tenant, collection)
        if generation_in(write.session, row, GenerationState.CURRENT) is None:
            raise _unknown_collection(tenant, collection)
        _retire_current(write, row)
        row.revision, row.updated = write.revision, write.time


def restore_generation(engine: Engine, home: Path, tenant: str, collection: str, number: int) -> None:
    """Make an older (or newer) kept generation the current one. Raises UnknownTenant, UnknownCollection, UnknownGeneration."""
    with writing(engine, "restore", tenant, collection, number) as write:
        row = _known_collection(write.session, tenant, collection)
        kept = write.session.scalars(
            select(GenerationRow)
            .where(GenerationRow.collection_key == row.key, GenerationRow.state.in_(RESTORABLE))
            .order_by(GenerationRow.number)
        ).all()
        chosen = next((generation for generation in kept if generation.number == number), None)
        if chosen is None or not generation_directory(home, tenant, collection, number).is_dir():
            numbers = ", ".join(str(generation.number) for generation in kept) or "none"
            raise UnknownGeneration(
                f"{tenant}.{collection} has no generation {number} that could be served; kept are: {numbers}"
            )
        if chosen.state == GenerationState.CURRENT:
            return
        _retire_current(write, row)
        chosen.state, chosen.retired = GenerationState.CURRENT, None
        row.revision, row.updated = write.revision, write.time


def generation_records(engine: Engine, home: Path, tenant: str, collection: str) -> list[GenerationRecord]:
    """Every generation the id ever had, oldest first. Raises UnknownTenant, UnknownCollection."""
    with reading(engine) as session:
        row = _known_collection(session, tenant, collection)
        rows = session.scalars(
            select(GenerationRow)
            .where(GenerationRow.collection_key == row.key)
            .order_by(GenerationRow.number)
        )
        return [
            GenerationRecord(
                item.number,
                item.state,
                item.committed,
                generation_directory(home, tenant, collection, item.number),
            )
            for item in rows
        ]


def _fill(
    generation: GenerationRow, draft: CollectionDraft, representations: Sequence[Representation]
) -> None:
    generation.titles = {"en": draft.titles.get("en") or draft.titles["zh"], **draft.titles}
    generation.descriptions = {
        "en": draft.descriptions.get("en") or draft.descriptions.get("zh") or "",
        **draft.descriptions,
    }
    generation.keywords = list(draft.keywords)
    generation.bbox = list(draft.bbox)
    generation.interval = None if draft.interval is None else list(draft.interval)
    generation.storage_crs = draft.storage_crs
    generation.attribution, generation.licence, generation.licence_url = (
        draft.attribution,
        draft.licence,
        draft.licence_url,
    )
    generation.simulated = draft.simulated
    generation.fields = [
        [item.name, item.type, item.format, item.column, item.title] for item in draft.fields
    ]
    generation.representations = [
        RepresentationRow(
            kind=item.kind,
            path=item.path,
            built_generation=generation.number,
            built_change=item.built_change,
            properties=dict(item.properties),
        )
        for item in representations
    ]
    if all(item.kind is not RepresentationKind.RECORD for item in representations):
        generation.representations.append(
            RepresentationRow(
                kind=RepresentationKind.RECORD,
                path="",
                built_generation=generation.number,
                built_change=0,
                properties={},
            )
        )


def _check_draft(draft: CollectionDraft) -> None:
    if not (draft.titles.get("en") or draft.titles.get("zh")) or set(draft.titles) - {"en", "zh"}:
        raise InvalidRepresentation(f"titles are {dict(draft.titles)!r}; allowed: one for en, zh or both")
    box = draft.bbox
    half = len(box) // 2
    if len(box) not in (4, 6) or not all(math.isfinite(value) for value in box):
        raise InvalidRepresentation(f"bbox is {box!r}; allowed: 4 or 6 finite numbers, CRS84 or CRS84h")
    if not (-180 <= box[0] <= 180 and -180 <= box[half] <= 180 and -90 <= box[1] <= box[half + 1] <= 90):
        raise InvalidRepresentation(
            f"bbox is {box!r}; allowed: longitudes from -180 to 180, latitudes from -90 to 90, south not above north"
        )


def _check_path(directory: Path, representation: Representation) -> None:
    path = PurePosixPath(representation.path)
    if path.is_absolute() or ".." in path.parts:
        raise InvalidRepresentation(
            f"path {representation.path!r} of {representation.kind} leads out of its generation"
        )
    if representation.path and not (directory / path).exists():
        raise InvalidRepresentation(
            f"there is nothing at {directory / path}, where {representation.kind} should be"
        )


def _retire_current(write: Write, row: CollectionRow) -> None:
    current = generation_in(write.session, row, GenerationState.CURRENT)
    if current is not None:
        current.state, current.retired = GenerationState.KEPT, write.time
        write.session.flush()  # before the next one becomes current: at no time may there be two


def _refuse_published(session: Session, row: CollectionRow) -> None:
    if generation_in(session, row, GenerationState.CURRENT) is not None:
        raise DuplicateCollection(
            f"collection {row.tenant_id}.{row.id} is published already; choose another id, or replace it with --replace"
        )


def _known_collection(session: Session, tenant: str, collection: str) -> CollectionRow:
    tenant_row(session, tenant)
    row = collection_row(session, tenant, collection)
    if row is None:
        raise _unknown_collection(tenant, collection)
    return row


def _unknown_collection(tenant: str, collection: str) -> UnknownCollection:
    return UnknownCollection(
        f"tenant {tenant!r} has no published collection {collection!r}; `chengtu collections --tenant {tenant}` lists them"
    )


def _in_progress(tenant: str, collection: str) -> PublishInProgress:
    return PublishInProgress(
        f"another process is publishing {tenant}.{collection} at this moment; wait until it is done, then publish again"
    )
