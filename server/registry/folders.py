"""Where the data home keeps what."""

from __future__ import annotations

import re
from pathlib import Path

_GENERATION = re.compile(r"g(\d{6,})")


def collection_directory(home: Path, tenant: str, collection: str) -> Path:
    """The folder that holds a collection's generations."""
    return home / "collections" / tenant / collection


def generation_directory(home: Path, tenant: str, collection: str, generation: int) -> Path:
    """The folder of one generation."""
    return collection_directory(home, tenant, collection) / f"g{generation:06d}"


def generation_of(folder: Path) -> int | None:
    """The number of a generation's folder, None where the folder is none."""
    match = _GENERATION.fullmatch(folder.name)
    return int(match[1]) if match else None


def operator_token_file(home: Path) -> Path:
    """The file that holds the operator's bearer token."""
    return home / "operator.token"


def publish_lock_file(home: Path, tenant: str, collection: str) -> Path:
    """The file whose lock the publisher of a collection holds."""
    return home / "locks" / f"publish-{tenant}.{collection}.lock"
