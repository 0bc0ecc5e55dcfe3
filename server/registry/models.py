"""The registry's tables. The same on SQLite and PostgreSQL; migrations/ makes them, and a test compares the two.

Times are RFC 3339 texts in UTC. What a generation says about itself (titles, extent, fields ...) is kept with the
generation, so that restoring an older one restores it too; the rights rule belongs to the collection and stays.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_IDENTIFIER = String(63)
_TIME = String(27)
_JSON = JSON(none_as_null=True)


class GenerationState(StrEnum):
    """Where a generation is in its life."""

    BUILDING = "building"
    CURRENT = "current"
    KEPT = "kept"
    REMOVED = "removed"


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class RegistryState(Base):
    """One row: the number of the last change, raised by every write in its own transaction; and which registry this is."""

    __tablename__ = "registry_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int]
    instance: Mapped[str] = mapped_column(String(32))


class OrganisationRow(Base):
    """An organisation; owns tenants."""

    __tablename__ = "organisation"

    id: Mapped[str] = mapped_column(_IDENTIFIER, primary_key=True)
    title_en: Mapped[str] = mapped_column(Text)
    title_zh: Mapped[str | None] = mapped_column(Text)
    created: Mapped[str] = mapped_column(_TIME)


class TenantRow(Base):
    """An isolated owner of collections. A removed one keeps its row, so that generation numbers are never used twice."""

    __tablename__ = "tenant"

    id: Mapped[str] = mapped_column(_IDENTIFIER, primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisation.id"), index=True)
    title_en: Mapped[str] = mapped_column(Text)
    title_zh: Mapped[str | None] = mapped_column(Text)
    created: Mapped[str] = mapped_column(_TIME)
    removed: Mapped[str | None] = mapped_column(_TIME)
    map_watermark: Mapped[str | None] = mapped_column(Text)
    map_clip: Mapped[str | None] = mapped_column(Text)
    """A polygon or multipolygon as WKT in CRS84: nothing is drawn outside."""


class CollectionRow(Base):
    """An id of a tenant with its rights. Published where one of its generations is CURRENT."""

    __tablename__ = "collection"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        CheckConstraint("access IN ('public', 'private')", name="access"),
        Index("ix_collection_revision", "revision"),
    )

    key: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    id: Mapped[str] = mapped_column(_IDENTIFIER)
    access: Mapped[str] = mapped_column(String(16))
    last_generation: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int]
    """The registry's revision at which this collection last changed: readers load only what is newer than they have."""
    created: Mapped[str] = mapped_column(_TIME)
    updated: Mapped[str] = mapped_column(_TIME)
    default_style: Mapped[str | None] = mapped_column(_IDENTIFIER)
    """The style of the tenant, or of the installation, that draws it; without it the one its generation names."""


class StyleRow(Base):
    """A style of a tenant. A removed one keeps its row, so that readers learn of the removal."""

    __tablename__ = "style"
    __table_args__ = (UniqueConstraint("tenant_id", "id"), Index("ix_style_revision", "revision"))

    key: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    id: Mapped[str] = mapped_column(_IDENTIFIER)
    titles: Mapped[dict[str, str]] = mapped_column(_JSON)
    descriptions: Mapped[dict[str, str]] = mapped_column(_JSON)
    keywords: Mapped[list[str]] = mapped_column(_JSON)
    collections: Mapped[list[str]] = mapped_column(_JSON)
    """Ids of the tenant's collections it is offered for; [] for all that it fits."""
    format: Mapped[str] = mapped_column(String(32))
    """What the document is: maplibre, sld-1.0, sld-1.1 or chengtu."""
    document: Mapped[str] = mapped_column(Text)
    """The style as it was given."""
    version: Mapped[int]
    """Rises with every change of the document; part of the ETag and of the names of kept tiles."""
    revision: Mapped[int]
    created: Mapped[str] = mapped_column(_TIME)
    updated: Mapped[str] = mapped_column(_TIME)
    removed: Mapped[str | None] = mapped_column(_TIME)


class GenerationRow(Base):
    """One publish of a collection."""

    __tablename__ = "generation"
    __table_args__ = (
        UniqueConstraint("collection_key", "number"),
        CheckConstraint("state IN ('building', 'current', 'kept', 'removed')", name="state"),
        Index(
            "uq_generation_current",
            "collection_key",
            unique=True,
            sqlite_where=text("state = 'current'"),
            postgresql_where=text("state = 'current'"),
        ),
        Index(
            "uq_generation_building",
            "collection_key",
            unique=True,
            sqlite_where=text("state = 'building'"),
            postgresql_where=text("state = 'building'"),
        ),
    )

    key: Mapped[int] = mapped_column(primary_key=True)
    collection_key: Mapped[int] = mapped_column(ForeignKey("collection.key", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    begun: Mapped[str] = mapped_column(_TIME)
    committed: Mapped[str | None] = mapped_column(_TIME)
    retired: Mapped[str | None] = mapped_column(_TIME)
    titles: Mapped[dict[str, str] | None] = mapped_column(_JSON)
    descriptions: Mapped[dict[str, str] | None] = mapped_column(_JSON)
    keywords: Mapped[list[str] | None] = mapped_column(_JSON)
    bbox: Mapped[list[float] | None] = mapped_column(_JSON)
    interval: Mapped[list[str | None] | None] = mapped_column("time_interval", _JSON)
    storage_crs: Mapped[str | None] = mapped_column(Text)
    attribution: Mapped[str | None] = mapped_column(Text)
    licence: Mapped[str | None] = mapped_column(Text)
    licence_url: Mapped[str | None] = mapped_column(Text)
    simulated: Mapped[bool | None]
    fields: Mapped[list[list[Any]] | None] = mapped_column(_JSON)
    """[name, type, format, column, title] of each field."""
    representations: Mapped[list[RepresentationRow]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, order_by="RepresentationRow.kind"
    )


class RepresentationRow(Base):
    """One stored form of a generation, and the state of the data it was built from."""

    __tablename__ = "representation"

    generation_key: Mapped[int] = mapped_column(
        ForeignKey("generation.key", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    built_generation: Mapped[int]
    built_change: Mapped[int] = mapped_column(default=0)
    properties: Mapped[dict[str, Any]] = mapped_column(_JSON)


class EventRow(Base):
    """What was done to the registry, in order; never changed, never removed."""

    __tablename__ = "event"

    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[str] = mapped_column(_TIME)
    action: Mapped[str] = mapped_column(String(32))
    tenant_id: Mapped[str | None] = mapped_column(_IDENTIFIER)
    collection_id: Mapped[str | None] = mapped_column(_IDENTIFIER)
    generation: Mapped[int | None]


class ApiKeyRow(Base):
    """A bearer token, of which only the SHA-256 is kept."""

    __tablename__ = "api_key"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[str] = mapped_column(_TIME)
    revoked: Mapped[str | None] = mapped_column(_TIME)
