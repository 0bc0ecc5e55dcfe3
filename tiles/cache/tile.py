"""Names of kept tiles: which pyramid, and which tile of it.

A name says the generation and the look, never the state of edits: an edit takes out the tiles it touches and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tiles.errors import TileCacheError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")

EXTENSIONS = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "mvt": "application/vnd.mapbox-vector-tile",
    "terrain": "application/vnd.quantized-mesh",
    "glb": "model/gltf-binary",
    "b3dm": "application/octet-stream",
    "i3s": "application/octet-stream",
}
"""Extensions of kept tiles with their media types."""
GZIPPED = frozenset({"mvt", "terrain", "glb", "b3dm", "i3s"})
"""Extensions whose tiles are kept gzip-compressed, so that they can be sent as they are."""


@dataclass(frozen=True, slots=True)
class Tileset:
    """One pyramid of tiles: one form of one generation of a collection on one grid.

    `form` tells apart whatever gives other bytes: "map-STYLE-DIGEST", "mvt", "mvt-DECISION"; with dimensions after an "@"
    ("map-ortho-1a2b3c4d@20250101T000000Z"). `extension` is a key of EXTENSIONS. Raises TileCacheError for parts that are no
    plain names.
    """

    tenant: str
    collection: str
    generation: int
    form: str
    grid: str
    extension: str

    def __post_init__(self) -> None:
        _check(self.tenant, self.collection, self.form, self.grid)
        if self.generation < 0 or self.extension not in EXTENSIONS:
            raise TileCacheError(
                f"generation {self.generation}, extension {self.extension!r}; the generation counts from 0, extensions are "
                f"{', '.join(EXTENSIONS)}"
            )

    @property
    def folder(self) -> str:
        """Relative path of the collection's generation: what goes when the generation goes."""
        return f"{self.tenant}/{self.collection}/g{self.generation:06d}"

    @property
    def path(self) -> str:
        """Relative path of the pyramid."""
        return f"{self.tenant}/{self.collection}/g{self.generation:06d}/{self.form}/{self.grid}"


class TileName(NamedTuple):
    """A tile: row 0 (`y`) is the northernmost."""

    tileset: Tileset
    z: int
    x: int
    y: int

    @property
    def path(self) -> str:
        """Relative path: pyramid, zoom, column, row."""
        return f"{self.tileset.path}/{self.z}/{self.x}/{self.y}.{self.tileset.extension}"


@lru_cache(maxsize=4096)
def _check(*parts: str) -> None:
    for part in parts:
        if not _PART.fullmatch(part):
            raise TileCacheError(f"{part!r} is not a plain name of letters, digits, '_', '-', '.' and '@'")


_PATH = re.compile(r"([^/]+)/([^/]+)/g(\d{6,9})/([^/]+)/([^/]+)/(\d{1,2})/(\d{1,9})/(\d{1,9})\.([a-z]+)")


def parse_path(path: str) -> TileName | None:
    """The tile of a relative path (`TileName.path`), None where it is not one."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    tenant, collection, generation, form, grid, z, x, y, extension = match.groups()
    try:
        tileset = Tileset(tenant, collection, int(generation), form, grid, extension)
    except TileCacheError:
        return None
    return TileName(tileset, int(z), int(x), int(y))


def checked_folder(folder: str) -> str:
    """A folder of kept tiles as it was given. Raises TileCacheError for one that is none, or that leads out of its place."""
    if not folder or any(not part or part.startswith(".") for part in folder.split("/")):
        raise TileCacheError(f"{folder!r} is no folder of kept tiles")
    return folder
