"""Times to the microsecond: a generation that was current for half a second must be told from the one after it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIMES = {
    "organisation": ("created",),
    "tenant": ("created", "removed"),
    "collection": ("created", "updated"),
    "generation": ("begun", "committed", "retired"),
    "event": ("time",),
    "api_key": ("created", "revoked"),
}


def upgrade() -> None:
    """Make room for the longer texts."""
    _set_length(20, 27)


def downgrade() -> None:
    """Cut the texts, and their columns, to seconds."""
    for table, columns in _TIMES.items():
        for column in columns:
            op.execute(
                sa.text(
                    f"UPDATE {table} SET {column} = substr({column}, 1, 19) || 'Z' "  # noqa: S608 - names above
                    f"WHERE length({column}) > 20"
                )
            )
    _set_length(27, 20)


def _set_length(old: int, new: int) -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # it keeps texts of any length whatever the column says
    for table, columns in _TIMES.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.String(length=new), existing_type=sa.String(length=old))
