"""What those who write to the registry hand in and get back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from server.registry.catalogue import Access, Field, Interval
from server.registry.locks import HeldLock

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDraft:
    """A collection as it is to be published; the fields are those of `Collection`.

    `titles` has "en", "zh" or both. `access` None keeps the rights that the collection has (a new one is public), so
    that replacing private data never makes them public unasked.
    """

    tenant: str
    id: str
    titles: Mapping[str, str]
    bbox: tuple[float, ...]
    storage_crs: str
    descriptions: Mapping[str, str] = field(default_factory=lambda: _NO_TEXTS)
    keywords: tuple[str, ...] = ()
    interval: Interval | None = None
    access: Access | None = None
    attribution: str = ""
    licence: str = ""
    licence_url: str | None = None
    simulated: bool = False
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationTicket:
    """The right to switch in one generation. `directory` does not exist yet, the folder it is to be in does.

    Nobody else can publish this collection while `lock` is held; `commit_generation` and `abandon_generation` let go.
    """

    tenant: str
    collection: str
    generation: int
    directory: Path
    replace: bool
    lock: HeldLock


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation in the registry's history. `state` is "building", "current", "kept" or "removed".

    Those "current" and "kept" can be restored. `committed` is None where it never was switched in.
    """

    generation: int
    state: str
    committed: str | None
    directory: Path

    @property
    def current(self) -> bool:
        """Whether this is the one being served."""
        return self.state == "current"


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What `Registry.sweep` removed: absolute paths, and the size of what was in them."""

    removed: tuple[Path, ...]
    freed_bytes: int
