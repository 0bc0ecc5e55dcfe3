"""One write to the registry: a short transaction that raises the revision and records what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from server.errors import RegistryUnavailable, UnknownTenant
from server.registry.clock import now
from server.registry.identifiers import is_tenant_id
from server.registry.models import (
    CollectionRow,
    EventRow,
    GenerationRow,
    GenerationState,
    RegistryState,
    TenantRow,
)


@dataclass(frozen=True, slots=True)
class Write:
    """An open write transaction. `revision` is the one it makes, `time` goes into all rows it touches."""

    session: Session
    revision: int
    time: str


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the database driver raises into RegistryUnavailable."""
    try:
        yield
    except DBAPIError as error:
        raise RegistryUnavailable(f"the registry's database failed: {error.orig}") from error


@contextmanager
def writing(
    engine: Engine,
    action: str,
    tenant: str | None = None,
    collection: str | None = None,
    generation: int | None = None,
) -> Iterator[Write]:
    """A transaction that is committed on leaving, and undone where an error leaves it.

    Raising the revision comes first: its row lock puts writers on PostgreSQL in one line, as BEGIN IMMEDIATE does on
    SQLite, so revisions become visible in their order.
    """
    with database_errors(), Session(engine) as session, session.begin():
        revision = session.execute(
            update(RegistryState)
            .values(revision=RegistryState.revision + 1)
            .returning(RegistryState.revision)
            .execution_options(synchronize_session=False)
        ).scalar_one()
        time = now()
        session.add(
            EventRow(
                revision=revision,
                time=time,
                action=action,
                tenant_id=tenant,
                collection_id=collection,
                generation=generation,
            )
        )
        yield Write(session, revision, time)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads and stops no writer."""
    with database_errors(), Session(engine.execution_options(reading=True)) as session:
        yield session


def tenant_row(session: Session, tenant: str) -> TenantRow:
    """The tenant's row. Raises UnknownTenant."""
    row = session.get(TenantRow, tenant)
    if row is None or row.removed is not None:
        known = session.scalars(
            select(TenantRow.id).where(TenantRow.removed.is_(None)).order_by(TenantRow.id).limit(20)
        )
        listed = ", ".join(known) or "none"
        message = f"there is no tenant {tenant!r} (tenants: {listed})"
        if is_tenant_id(tenant):
            message += f'; `chengtu tenants add {tenant} --title "..."` makes it'
        raise UnknownTenant(message)
    return row


def collection_row(session: Session, tenant: str, collection: str) -> CollectionRow | None:
    """The row of an id, published or not; None where the id was never used."""
    return session.scalars(
        select(CollectionRow).where(CollectionRow.tenant_id == tenant, CollectionRow.id == collection)
    ).one_or_none()


def generation_in(
    session: Session, collection: CollectionRow, state: GenerationState
) -> GenerationRow | None:
    """The generation that is BUILDING or CURRENT (there is one of each at most)."""
    return session.scalars(
        select(GenerationRow).where(
            GenerationRow.collection_key == collection.key, GenerationRow.state == state
        )
    ).one_or_none()
