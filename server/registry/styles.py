"""Tenants' styles in the registry: kept, replaced, removed; and which style draws a collection by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.errors import InvalidIdentifier, RegistryError, UnknownCollection
from server.registry.identifiers import IDENTIFIER

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from server.registry.models import StyleRow
    from server.settings import Settings

RESERVED_STYLE_IDS = frozenset({"default"})


class UnknownStyleRecord(RegistryError):
    """The tenant has no such style of its own."""


class DuplicateStyle(RegistryError):
    """The tenant has a style of that id, and replacing it was not asked."""


class StyleVersionConflict(RegistryError):
    """The style is not at the version that was expected."""


@dataclass(frozen=True, slots=True)
class StyleDraft:
    """A style to be kept. `format` is one of tiles.maps.style_documents.STYLE_FORMATS; the document was checked before."""

    tenant: str
    id: str
    format: str
    document: str
    titles: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    keywords: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()


def check_style_id(style: str) -> str:
    """The id itself. Raises InvalidIdentifier."""
    if IDENTIFIER.fullmatch(style) is None or style in RESERVED_STYLE_IDS:
        raise InvalidIdentifier(
            f"style id {style[:80]!r} is not allowed; allowed are a small letter a-z, then up to 62 of a-z, 0-9, _ and -, "
            f"and none of {', '.join(sorted(RESERVED_STYLE_IDS))}"
        )
    return style


@contextmanager
def style_engine(settings: Settings) -> Iterator[Engine]:
    """An engine for a few writes; SQLAlchemy is loaded here and not before. Raises RegistryUnavailable."""
    from server.registry.database import open_engine

    engine = open_engine(settings.registry_url)
    try:
        yield engine
    finally:
        engine.dispose()


def put_style(
    engine: Engine, draft: StyleDraft, *, create: bool | None = None, expected_version: int | None = None
) -> tuple[int, bool]:
    """Keep a style; (its version, whether it is new). One with the same content keeps its version.

    `create` True allows only a new one, False only a replacement, None both. Raises DuplicateStyle, UnknownStyleRecord,
    StyleVersionConflict, InvalidIdentifier, UnknownTenant.
    """
    from server.registry.models import StyleRow
    from server.registry.writing import tenant_row, writing

    check_style_id(draft.id)
    with writing(engine, "put-style", draft.tenant) as write:
        session = write.session
        tenant_row(session, draft.tenant)
        row = _row(session, draft.tenant, draft.id)
        is_new = row is None or row.removed is not None
        if create is True and not is_new:
            raise DuplicateStyle(
                f"tenant {draft.tenant!r} has a style {draft.id!r}; replace it with PUT and If-Match"
            )
        if is_new and (create is False or expected_version is not None):
            raise UnknownStyleRecord(f"tenant {draft.tenant!r} has no style {draft.id!r}")
        if row is None:
            row = StyleRow(tenant_id=draft.tenant, id=draft.id, created=write.time, version=0)
            session.add(row)
        if not is_new:
            _check_version(row, expected_version)
        changed = is_new or (row.format, row.document) != (draft.format, draft.document)
        row.version += 1 if changed else 0
        row.titles, row.descriptions = dict(draft.titles), dict(draft.descriptions)
        row.keywords, row.collections = list(draft.keywords), list(draft.collections)
        row.format, row.document = draft.format, draft.document
        row.revision, row.updated, row.removed = write.revision, write.time, None
        return row.version, is_new


def remove_style(
    engine: Engine, tenant: str, style: str, *, expected_version: int | None = None
) -> tuple[str, ...]:
    """Remove a style; ids of the collections that lose their default by it. Raises UnknownStyleRecord, StyleVersionConflict."""
    from sqlalchemy import select

    from server.registry.models import CollectionRow
    from server.registry.writing import writing

    with writing(engine, "remove-style", tenant) as write:
        row = _row(write.session, tenant, style)
        if row is None or row.removed is not None:
            raise UnknownStyleRecord(f"tenant {tenant!r} has no style {style!r}")
        _check_version(row, expected_version)
        row.removed = row.updated = write.time
        row.revision = write.revision
        drawn = write.session.scalars(
            select(CollectionRow).where(
                CollectionRow.tenant_id == tenant, CollectionRow.default_style == style
            )
        ).all()
        for collection in drawn:
            collection.default_style, collection.revision = None, write.revision
            collection.updated = write.time
        return tuple(collection.id for collection in drawn)


def set_default_style(engine: Engine, tenant: str, collection: str, style: str | None) -> None:
    """Let a style draw a collection; None: the one it was published with. Whether the style fits is the caller's to know.

    Raises UnknownCollection.
    """
    from server.registry.writing import collection_row, writing

    with writing(engine, "set-default-style", tenant, collection) as write:
        row = collection_row(write.session, tenant, collection)
        if row is None:
            raise UnknownCollection(f"tenant {tenant!r} has no collection {collection!r}")
        row.default_style, row.revision, row.updated = style, write.revision, write.time


def _row(session: Session, tenant: str, style: str) -> StyleRow | None:
    from sqlalchemy import select

    from server.registry.models import StyleRow

    return session.scalars(
        select(StyleRow).where(StyleRow.tenant_id == tenant, StyleRow.id == style)
    ).one_or_none()


def _check_version(row: StyleRow, expected: int | None) -> None:
    if expected is not None and row.version != expected:
        raise StyleVersionConflict(
            f"style {row.id!r} is at version {row.version}, not {expected}; read it again, then change it"
        )
