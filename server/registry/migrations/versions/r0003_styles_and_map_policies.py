"""Styles of tenants, the default style of a collection, and what a tenant's maps carry: a watermark, a clip."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "style",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("titles", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("descriptions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("keywords", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("collections", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(length=27), nullable=False),
        sa.Column("updated", sa.String(length=27), nullable=False),
        sa.Column("removed", sa.String(length=27), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_style_tenant_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_style")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_style_tenant_id_id")),
    )
    op.create_index("ix_style_revision", "style", ["revision"], unique=False)
    op.add_column("collection", sa.Column("default_style", sa.String(length=63), nullable=True))
    op.add_column("tenant", sa.Column("map_watermark", sa.Text(), nullable=True))
    op.add_column("tenant", sa.Column("map_clip", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them; styles and policies are lost."""
    for table, column in (
        ("tenant", "map_clip"),
        ("tenant", "map_watermark"),
        ("collection", "default_style"),
    ):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)
    op.drop_table("style")
