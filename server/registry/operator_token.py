"""The operator's bearer token: 256 random bits in `<home>/operator.token`; the registry keeps its SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from server.registry.folders import operator_token_file
from server.registry.models import ApiKeyRow
from server.registry.writing import reading, writing

OPERATOR = "operator"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def token_digest(token: str) -> str:
    """SHA-256 of a token, hexadecimal. The token is 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def ensure_operator_token(engine: Engine, home: Path) -> None:
    """Make the token's file where it is not there, and the registry accept that token and no older one of the operator.

    Deleting the file and calling this is how a token is changed.
    """
    token = _read_token(operator_token_file(home))
    if token is None:
        token = secrets.token_urlsafe(32)
        _write_token(operator_token_file(home), token)
    digest = token_digest(token)
    with reading(engine) as session:
        if _accepted(session) == [digest]:
            return
    with writing(engine, "operator-token") as write:
        write.session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.name == OPERATOR, ApiKeyRow.revoked.is_(None), ApiKeyRow.token_hash != digest)
            .values(revoked=write.time)
        )
        row = write.session.get(ApiKeyRow, digest)
        if row is None:
            row = ApiKeyRow(token_hash=digest, name=OPERATOR, role=OPERATOR, created=write.time)
            write.session.add(row)
        row.revoked = None


def _accepted(session: Session) -> list[str]:
    return list(
        session.scalars(
            select(ApiKeyRow.token_hash).where(ApiKeyRow.name == OPERATOR, ApiKeyRow.revoked.is_(None))
        )
    )


def _read_token(file: Path) -> str | None:
    try:
        token = file.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    return token if _TOKEN.fullmatch(token) else None


def _write_token(file: Path, token: str) -> None:
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
