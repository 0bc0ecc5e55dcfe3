"""The files of the 3D tileset of a point cloud, made of its COPC when they are asked for: documents, subtrees, contents.

    tileset.json, groups/gN.json              documents, with what was asked behind the addresses in them
    subtrees/L/X/Y/Z.subtree                  made in less time than a kept one is looked for
    content/L/X/Y/Z.glb, overview/gN.glb      made once, by one for all who ask, and kept with the tiles

A mosaic has the middle two below tiles/NAME/. The same below explicit/ and 1.0/, written out, without subtrees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from server.http.errors import NotFound
from server.http.features import state_etag
from server.http.point_tiles_request import PointTilesRequest, is_limited
from server.http.services import Services
from server.http.three_d_parts import TILESET, Document, Part, altered_addresses
from tiles.cache import TileName, Tileset
from tiles.cache.changes import Unchanging

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import CloudTile
    from pointclouds.tilesets.documents import PointDocuments
    from pointclouds.tilesets.groups import Group
    from pointclouds.tilesets.octree import Address

_GRID: Final = "3dtiles"
_CELL: Final = r"([0-9]{1,2})/([0-9]{1,7})/([0-9]{1,7})/([0-9]{1,7})"
_PATH: Final = re.compile(r"(?:(explicit|1\.0)/)?(?:tiles/([A-Za-z0-9_-]{1,64})/)?(.+)")
_CONTENT: Final = re.compile(rf"content/{_CELL}\.(glb|pnts)")
_SUBTREE: Final = re.compile(rf"subtrees/{_CELL}\.subtree")
_PART: Final = re.compile(r"([0-9]{1,2})-([0-9]{1,7})-([0-9]{1,7})-([0-9]{1,7})\.json")
_GROUP: Final = re.compile(r"groups/g([0-3]{1,16})\.json")
_OVERVIEW: Final = re.compile(r"overview/g([0-3]{0,16})\.(glb|pnts)")
_KEPT_LEVELS: Final = 14
"""Deeper cells do not fit into the name of a kept tile; few clouds have any, and those tiles are made each time."""
_GZIP_LEVEL: Final = 1
_UNCHANGING: Final = Unchanging()


class _Asked(NamedTuple):
    """A path taken apart: form of the tileset, tile of a mosaic ("" for none), and the rest."""

    prefix: str
    tile: str
    name: str


@dataclass(frozen=True)
class PointTilesetParts:
    """The files of what a request asks for.

    Methods raise NotFound, InvalidParameter, RenderingBusy, and PointCloudError kinds where the cloud is gone or damaged.
    """

    services: Services
    request: PointTilesRequest

    def part(self, path: str) -> Part:
        """A file by its path below `3dtiles/`."""
        asked = _taken_apart(path)
        document = self._document(asked)
        if document is not None:
            return self._as_part(path, asked.prefix, document)
        return Part(path, self._etag(path, asked.prefix), packed=self.packed(path))

    def tileset(self) -> Part:
        """tileset.json."""
        return self.part(TILESET)

    def packed(self, path: str) -> bytes:
        """A subtree or a content by its path, as gzip."""
        asked = _taken_apart(path)
        subtree = _SUBTREE.fullmatch(asked.name)
        if subtree is not None and not asked.prefix:
            return _gzip(self._subtree(asked, _address(subtree)))
        content = _CONTENT.fullmatch(asked.name)
        if content is not None and content[5] == _ending(asked.prefix):
            return self._content(asked, _address(content))
        overview = _OVERVIEW.fullmatch(asked.name)
        if overview is not None and not asked.tile and overview[2] == _ending(asked.prefix):
            return self._overview(asked, overview[1])
        raise _missing(path)

    def _etag(self, path: str, prefix: str) -> str:
        request = self.request
        plain = not request.asked and not is_limited(request.decision)
        # The same validator as the hot lane's, which knows whole tilesets in their default colours only.
        digest = "" if plain else request.digest(prefix)
        tag = state_etag(request.collection, 0, request.decision, path, "0", digest)
        return tag.removeprefix("W/")

    # --- documents -----------------------------------------------------------------------------------------------------

    def _as_part(self, path: str, prefix: str, document: Document) -> Part:
        suffix = self.request.suffix
        if suffix:
            document = altered_addresses(document, lambda uri: f"{uri}{suffix}")
        return Part(path, f"W/{self._etag(path, prefix)}", document=document)

    def _document(self, asked: _Asked) -> Document | None:
        """A document; None where the path is of something else."""
        if not asked.name.endswith(".json"):
            return None
        documents = self._documents(asked.prefix)
        if asked.name == TILESET:
            return documents.tile(self._tile(asked)) if asked.tile else documents.top()
        group = _GROUP.fullmatch(asked.name)
        if group is not None and not asked.tile:
            return documents.group(self._group(asked, group[1]))
        part = _PART.fullmatch(asked.name)
        found = None
        if part is not None and asked.prefix:
            found = documents.part(self._tile(asked), _address(part))
        if found is None:
            raise _missing(asked.name)
        return found

    def _documents(self, prefix: str) -> PointDocuments:
        from pointclouds.tilesets.documents import PointDocuments, Version

        request = self.request
        version: Version = "1.0" if prefix == "1.0" else "explicit" if prefix else "implicit"
        return PointDocuments(request.tileset, request.look(prefix), version, request.query)

    # --- what is asked for ---------------------------------------------------------------------------------------------

    def _tile(self, asked: _Asked) -> CloudTile:
        cloud = self.request.tileset.cloud
        if not cloud.is_mosaic and not asked.tile:
            return cloud.tiles[0]
        found = cloud.tile(asked.tile) if cloud.is_mosaic else None
        if found is None or found is cloud.overview:
            raise _missing(f"tiles/{asked.tile}/{asked.name}" if asked.tile else asked.name)
        return found

    def _group(self, asked: _Asked, number: str) -> Group:
        tileset = self.request.tileset
        found = tileset.group(number) if tileset.cloud.is_mosaic else None
        if found is None:
            raise _missing(asked.name)
        return found

    def _subtree(self, asked: _Asked, address: Address) -> bytes:
        from pointclouds.tilesets.subtrees import subtree_file, subtree_levels

        tile, tileset = self._tile(asked), self.request.tileset
        self.request.look(asked.prefix)  # refuses what contents would refuse
        octree = tileset.octree(tile)
        shown = tileset.shown(tile, self.request.query)
        found = subtree_file(octree, shown, address, subtree_levels(len(octree.levels)))
        if found is None:
            raise _missing(asked.name)
        return found

    def _content(self, asked: _Asked, address: Address) -> bytes:
        tile, tileset = self._tile(asked), self.request.tileset
        if tileset.octree(tile).find(address) is None:
            raise _missing(asked.name)
        look = self.request.look(asked.prefix)

        def render() -> bytes:
            found = tileset.content(tile, address, look, self.request.query)
            if found is None:
                raise _missing(asked.name)
            return _gzip(found)

        if address.level > _KEPT_LEVELS:
            with self.services.tiles.room():
                return render()
        row = address.y << _KEPT_LEVELS | address.z
        return self._kept(asked.prefix, f"t-{asked.tile}", (address.level, address.x, row), render)

    def _overview(self, asked: _Asked, number: str) -> bytes:
        group, tileset = self._group(asked, number), self.request.tileset
        look = self.request.look(asked.prefix)

        def render() -> bytes:
            found = tileset.overview_content(group, look, self.request.query)
            if found is None:
                raise _missing(asked.name)
            return _gzip(found)

        return self._kept(asked.prefix, "groups", (len(number), int(f"0{number}", 4), 0), render)

    def _kept(self, prefix: str, what: str, place: tuple[int, int, int], render: Any) -> bytes:
        """What `render` makes, kept under all that it depends on."""
        collection = self.request.collection
        kept = Tileset(
            collection.tenant,
            collection.id,
            collection.generation,
            f"points-{self._digests(prefix)}-{what}",
            _GRID,
            "b3dm" if prefix == "1.0" else "glb",
        )
        return self.services.tiles.made(TileName(kept, *place), collection, render, log=_UNCHANGING).body

    def _digests(self, prefix: str) -> str:
        known = self._known_digests.get(prefix)
        if known is None:
            known = self._known_digests[prefix] = self.request.digest(prefix)
        return known

    @cached_property
    def _known_digests(self) -> dict[str, str]:
        return {}


def _taken_apart(path: str) -> _Asked:
    """Raises NotFound for what is no path."""
    match = _PATH.fullmatch(path) if len(path) <= 200 else None
    if match is None:
        raise _missing(path)
    return _Asked(match[1] or "", match[2] or "", match[3])


def _ending(prefix: str) -> str:
    return "pnts" if prefix == "1.0" else "glb"


def _address(match: re.Match[str]) -> Address:
    from pointclouds.tilesets.octree import Address

    return Address(int(match[1]), int(match[2]), int(match[3]), int(match[4]))


def _gzip(data: bytes) -> bytes:
    from isal import igzip

    packed: bytes = igzip.compress(data, _GZIP_LEVEL, mtime=0)
    return packed


def _missing(path: str) -> NotFound:
    return NotFound(f"there is no file {path[:200]!r} in this tileset of points")
