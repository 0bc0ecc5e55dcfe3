"""The files of a collection's 3D tileset as a client may see them: whole or filtered, implicit, explicit, or of version 1.0.

Whatever was published and not edited since goes out as it lies on disk. What differs is made of it: an edited tile by its plan,
a filtered one as a subset of the whole one, one of version 1.0 around the glb.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from server.http.answer import gunzip_bytes
from server.http.errors import NotFound
from server.http.features import state_etag
from server.http.files import contained
from server.http.services import Services
from server.http.three_d_request import TilesetRequest
from server.registry.catalogue import RepresentationKind
from tiles.cache import TileName, Tileset

if TYPE_CHECKING:
    from tiles.three_d.live_moment import Piece, TilesetMoment

_GRID = "3dtiles"
_EXPLICIT_CHILD = re.compile(r"(\d{1,2})-(\d{1,9})-(\d{1,9})\.json")
_EXPLICIT_CONTENT = re.compile(r"content/.+\.glb")
_OLD_CONTENT = re.compile(r"content/(.+)\.(?:b3dm|i3dm|cmpt)")
TILESET = "tileset.json"
type Document = dict[str, Any]


class Part(NamedTuple):
    """A file to be sent: a published one, the gzip of one that was made, or a document. `etag` is strong but for documents."""

    name: str
    etag: str
    file: Path | None = None
    packed: bytes = b""
    document: Document | None = None


@dataclass(frozen=True)
class TilesetParts:
    """The files of what a request asks for."""

    services: Services
    request: TilesetRequest

    def part(self, path: str) -> Part:
        """A file by its path below `3dtiles/`. Raises NotFound, and what parsing, reading and making raise."""
        form, _, rest = path.partition("/")
        if form == "explicit" and rest:
            plain = _EXPLICIT_CONTENT.fullmatch(rest)
            return self._of_explicit(rest, "1.1") if plain is None else self._of_plain_glb(rest)
        if form == "1.0" and rest:
            old = _OLD_CONTENT.fullmatch(rest)
            if old is not None:
                return self._of_version10(f"content/{old[1]}.glb", rest)
            return self._of_explicit(rest, "1.0")
        if path == TILESET and self.request.suffix:
            return self.tileset()
        return self._plain(path)

    def tileset(self) -> Part:
        """tileset.json as a document, the conditions behind the addresses in it."""
        return self._document(TILESET, _with_suffix(self._tileset(), self.request.suffix))

    @cached_property
    def moment(self) -> TilesetMoment | None:
        """The tileset as it is asked for, without the tiles that a bbox leaves out."""
        moment, query = self.request.moment, self.request.query
        if moment is None or query is None or query.bbox is None:
            return moment
        return moment.within(*query.bbox)

    @property
    def folder(self) -> Path:
        """Where the published files of a tileset without edits are."""
        return self.request.collection.path_of(RepresentationKind.TILESET_3D).parent

    def _find(self, name: str) -> Piece:
        """A file of the tileset before any filter. Raises NotFound."""
        from tiles.three_d.live_moment import Piece

        moment = self.moment
        if moment is None:
            if name.endswith(".gz"):
                raise NotFound(f"there is no file {name[:200]!r} here")
            return Piece(name, 0, contained(self.folder, name))
        found = moment.find(name)
        if found is None:
            raise NotFound(f"there is no file {name[:200]!r} in this tileset")
        return found

    def _plain(self, name: str) -> Part:
        piece = self._find(name)
        etag = self._etag(name, piece.revision)
        if name.endswith(".glb") and self._alters_contents:
            return Part(name, etag, packed=self._altered(piece))
        if piece.file is not None:
            return Part(name, etag, file=piece.file)
        return Part(name, etag, packed=self._packed(piece))

    @property
    def _alters_contents(self) -> bool:
        return self.request.filters or bool(self.request.decision.hidden_fields)

    def _packed(self, piece: Piece) -> bytes:
        """The bytes of a file before any filter, as gzip."""
        if piece.file is None and self.moment is not None:
            return self.moment.make(piece.name, self.services.tiles.room)
        from tiles.three_d.files import compress

        file = piece.file or contained(self.folder, piece.name)
        packed = file.with_name(file.name + ".gz")
        return packed.read_bytes() if packed.is_file() else compress(file.read_bytes())

    def _bytes(self, name: str) -> bytes:
        piece = self._find(name)
        return gunzip_bytes(self._packed(piece)) if piece.file is None else piece.file.read_bytes()

    def _etag(self, name: str, revision: int, *more: str) -> str:
        request = self.request
        tag = state_etag(request.collection, 0, request.decision, name, str(revision), request.digest, *more)
        return tag.removeprefix("W/")

    # --- tiles with some of the features, or without some of the attributes -------------------------------------------

    def _altered(self, piece: Piece) -> bytes:
        """The glb of a tile with what may and shall be seen of it, as gzip."""
        from server.http.three_d_subset import visible_glb

        def render() -> bytes:
            whole = gunzip_bytes(self._packed(piece)) if piece.file is None else piece.file.read_bytes()
            return visible_glb(whole, self.request)

        return self._kept(piece, "3dtiles", "glb", render)

    def _kept(self, piece: Piece, form: str, extension: str, render: Callable[[], bytes]) -> bytes:
        """What `render` makes of a file, kept under all that it depends on."""
        from tiles.three_d.live_moment import parse_tile

        request = self.request
        parsed = parse_tile(piece.name)
        level, x, y = (0, 0, 0) if parsed is None else (parsed[1].level, parsed[1].x, parsed[1].y)
        place = "outside" if parsed is None else "tile"
        tileset = Tileset(
            request.collection.tenant,
            request.collection.id,
            request.collection.generation,
            f"{form}-{place}-{request.digest or 'all'}-{piece.revision:x}",
            _GRID,
            extension,
        )
        return self.services.tiles.made(TileName(tileset, level, x, y), request.collection, render).body

    # --- documents -----------------------------------------------------------------------------------------------------

    def _tileset(self) -> Document:
        document: Document = orjson.loads(self._bytes(TILESET))
        return document

    def _document(self, name: str, document: Document) -> Part:
        revision = 0 if self.moment is None else self.moment.revision
        etag = f"W/{self._etag(name, revision, self.request.suffix)}"
        return Part(name, etag, document=document)

    def _of_explicit(self, name: str, version: str) -> Part:
        """A document of the tree without implicit tiling. Raises NotFound."""
        from tiles.three_d.objects import TileAddress

        match = _EXPLICIT_CHILD.fullmatch(name)
        if name != TILESET and match is None:
            raise NotFound(f"there is no document {name[:200]!r} here; {TILESET} is the first one")
        at = TileAddress(0, 0, 0) if match is None else TileAddress(*map(int, match.groups()))
        document = self._explicit_document(at, version)
        return self._document(f"{version}/{name}", _with_suffix(document, self.request.suffix))

    def _explicit_document(self, at: Any, version: str) -> Document:
        from tiles.three_d.explicit import ExplicitLayout, explicit_tileset

        stem = "content"
        ending = "glb" if version == "1.1" else self._ending
        layout = ExplicitLayout(version, f"{stem}/{{level}}/{{x}}/{{y}}.{ending}")
        tileset = self._tileset()
        root = tileset["root"]
        implicit = next((one for one in (root, *root.get("children", ())) if "implicitTiling" in one), None)
        if implicit is None:
            return explicit_tileset(tileset, None, at, layout=layout)
        subtree = self._bytes(f"subtrees/{at.level}/{at.x}/{at.y}.subtree")
        inner = explicit_tileset({**tileset, "root": implicit}, subtree, at, layout=layout)
        if implicit is root or (at.level, at.x, at.y) != (0, 0, 0):
            return inner
        beside = [one for one in root["children"] if one is not implicit]
        for one in beside:
            name = one["content"]["uri"].removeprefix("content/").removesuffix("glb")
            one["content"]["uri"] = f"{stem}/{name}{ending}"
        return {
            **inner,
            "geometricError": tileset["geometricError"],
            "root": {**root, "children": [inner["root"], *beside]},
        }

    @property
    def _ending(self) -> str:
        """Of contents of version 1.0: composites where a tile may hold instances and meshes."""
        properties = self.request.collection.representations[RepresentationKind.TILESET_3D].properties
        return "cmpt" if properties.get("content") == "instances" else "b3dm"

    def _of_plain_glb(self, name: str) -> Part:
        """The content of a tile for clients of the explicit tree, such as QGIS 3.40, which read 32-bit floats and neither instances
        nor Draco. Raises NotFound.
        """
        from tiles.three_d.live_moment import empty_glb
        from tiles.three_d.plain_glb import plain_glb

        piece = self._find(name)

        def render() -> bytes:
            content = gunzip_bytes(self._altered(piece) if self._alters_contents else self._packed(piece))
            return content if content == empty_glb() else plain_glb(content)

        packed = self._kept(piece, "3dtilesplain", "glb", render)
        asked = f"explicit/{name}"
        return Part(asked, self._etag(asked, piece.revision), packed=packed)

    def _of_version10(self, name: str, asked: str) -> Part:
        """The content of a tile for clients of 3D Tiles 1.0. Raises NotFound."""
        from tiles.three_d.live_moment import empty_b3dm, empty_glb
        from tiles.three_d.version10 import version10_tile

        piece = self._find(name)

        def render() -> bytes:
            whole = self._altered(piece) if self._alters_contents else self._packed(piece)
            content = gunzip_bytes(whole)
            if content == empty_glb():
                return empty_b3dm()
            return version10_tile(content, composite=self._ending == "cmpt")

        packed = self._kept(piece, f"3dtiles10{self._ending}", "b3dm", render)
        return Part(asked, self._etag(asked, piece.revision), packed=packed)


def _with_suffix(value: Any, suffix: str) -> Any:
    """A document with `suffix` behind each of its addresses."""
    if not suffix:
        return value
    return altered_addresses(value, lambda uri: f"{uri}{suffix}")


def altered_addresses(value: Any, alter: Callable[[str], str]) -> Any:
    """A tileset document with other relative addresses."""
    if isinstance(value, dict):
        return {
            name: alter(one) if name == "uri" and isinstance(one, str) else altered_addresses(one, alter)
            for name, one in value.items()
        }
    return [altered_addresses(one, alter) for one in value] if isinstance(value, list) else value
