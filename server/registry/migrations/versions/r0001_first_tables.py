"""The first tables: organisations, tenants, collections, generations, representations, events, keys."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the one row that counts changes."""
    op.create_table(
        "api_key",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created", sa.String(length=20), nullable=False),
        sa.Column("revoked", sa.String(length=20), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_api_key")),
    )
    op.create_table(
        "event",
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", sa.String(length=20), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=63), nullable=True),
        sa.Column("collection_id", sa.String(length=63), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_event")),
    )
    op.create_table(
        "organisation",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=True),
        sa.Column("created", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisation")),
    )
    op.create_table(
        "registry_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("instance", sa.String(length=32), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_registry_state_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_state")),
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("organisation_id", sa.String(length=63), nullable=False),
        sa.Column("title_en", sa.Text(), nullable=False),
        sa.Column("title_zh", sa.Text(), nullable=True),
        sa.Column("created", sa.String(length=20), nullable=False),
        sa.Column("removed", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name=op.f("fk_tenant_organisation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_index(op.f("ix_tenant_organisation_id"), "tenant", ["organisation_id"], unique=False)
    op.create_table(
        "collection",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("access", sa.String(length=16), nullable=False),
        sa.Column("last_generation", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(length=20), nullable=False),
        sa.Column("updated", sa.String(length=20), nullable=False),
        sa.CheckConstraint("access IN ('public', 'private')", name=op.f("ck_collection_access")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_collection_tenant_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_collection")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_collection_tenant_id_id")),
    )
    op.create_index("ix_collection_revision", "collection", ["revision"], unique=False)
    op.create_table(
        "generation",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("collection_key", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("begun", sa.String(length=20), nullable=False),
        sa.Column("committed", sa.String(length=20), nullable=True),
        sa.Column("retired", sa.String(length=20), nullable=True),
        sa.Column("titles", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("descriptions", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("keywords", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("bbox", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("time_interval", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("storage_crs", sa.Text(), nullable=True),
        sa.Column("attribution", sa.Text(), nullable=True),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("licence_url", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=True),
        sa.Column("fields", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('building', 'current', 'kept', 'removed')", name=op.f("ck_generation_state")
        ),
        sa.ForeignKeyConstraint(
            ["collection_key"],
            ["collection.key"],
            name=op.f("fk_generation_collection_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_generation")),
        sa.UniqueConstraint("collection_key", "number", name=op.f("uq_generation_collection_key_number")),
    )
    op.create_index(
        "uq_generation_building",
        "generation",
        ["collection_key"],
        unique=True,
        sqlite_where=sa.text("state = 'building'"),
        postgresql_where=sa.text("state = 'building'"),
    )
    op.create_index(
        "uq_generation_current",
        "generation",
        ["collection_key"],
        unique=True,
        sqlite_where=sa.text("state = 'current'"),
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "representation",
        sa.Column("generation_key", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("built_generation", sa.Integer(), nullable=False),
        sa.Column("built_change", sa.Integer(), nullable=False),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_key"],
            ["generation.key"],
            name=op.f("fk_representation_generation_key"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("generation_key", "kind", name=op.f("pk_representation")),
    )
    op.execute(
        sa.text("INSERT INTO registry_state (id, revision, instance) VALUES (1, 0, :instance)").bindparams(
            instance=uuid.uuid4().hex
        )
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "representation",
        "generation",
        "collection",
        "tenant",
        "organisation",
        "event",
        "api_key",
        "registry_state",
    ):
        op.drop_table(table)
