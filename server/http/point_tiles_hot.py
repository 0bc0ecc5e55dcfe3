"""Whole tilesets of points as the hot lane sees tilesets: files that are found, and made where they are not kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from server.http.point_tiles import PointTilesetParts
from server.http.point_tiles_request import PointTilesRequest
from server.http.services import Services
from server.identity.decision import Decision
from server.registry.catalogue import Collection

_WRITTEN_OUT: Final = ("explicit/", "1.0/")


class PointFile(NamedTuple):
    """A file by its name; it is on no disk and never changes."""

    name: str
    revision: int = 0
    file: Path | None = None


@dataclass(frozen=True)
class PointFiles:
    """The implicit tileset of a cloud, all of it, in its default colours. Files of a generation never change."""

    services: Services
    collection: Collection
    decision: Decision
    change: int = 0
    revision: int = 0

    def current(self) -> PointFiles:
        """Itself: a cloud that is edited is another generation."""
        return self

    def find(self, name: str) -> PointFile | None:
        """A file of the implicit form; whether it is there tells `make`."""
        return None if name.startswith(_WRITTEN_OUT) else PointFile(name)

    def make(self, name: str, _room: Callable[[], AbstractContextManager[None]]) -> bytes:
        """The file as gzip. Raises NotFound, RenderingBusy, PointCloudError kinds."""
        request = PointTilesRequest(self.collection, self.decision, ())
        return PointTilesetParts(self.services, request).packed(name)
