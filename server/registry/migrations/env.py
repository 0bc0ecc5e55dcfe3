"""Alembic's entry: runs the migrations on the connection that `server.registry.schema.upgrade` opened."""

from __future__ import annotations

from alembic import context

from server.registry.models import Base

connection = context.config.attributes["connection"]
# SQLite does keep DDL inside a transaction; Alembic takes it for granted that it does not.
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
