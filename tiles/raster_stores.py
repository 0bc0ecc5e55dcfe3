"""Further kinds of stores of rasters, by name: rooms above register theirs, `tiles.rasters.open_raster` opens them. Loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiles.rasters.source import RasterSource

OWN_STORES = ("cog", "mosaic")

type Opener = Callable[[Path, Mapping[str, Any]], RasterSource]
_OPENERS: dict[str, Opener] = {}


def register_store(kind: str, opener: Opener) -> None:
    """Make a kind of store known. `opener` is given its path and the properties of its representation, and opens no file.

    Raises ValueError where the kind has another opener.
    """
    if kind in OWN_STORES or _OPENERS.setdefault(kind, opener) is not opener:
        raise ValueError(f"the kind of store {kind!r} is taken")


def store_opener(kind: str) -> Opener | None:
    """What opens a registered kind."""
    return _OPENERS.get(kind)


def store_kinds() -> tuple[str, ...]:
    """The kinds of store that are known."""
    return (*OWN_STORES, *sorted(_OPENERS))
