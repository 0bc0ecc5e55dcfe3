"""Files of 3D tilesets answered in front of Flask: tileset.json, subtrees and contents as they lie on disk, whole and public or not.

What an address stands for (rights, generation, folder, edits) is worked out once a catalogue and asked again for each request
only where it may have changed: the decision, and the counter of edits. Compressed bodies are kept in memory. Filters, hidden
fields, ranges, other forms and whatever is wrong fall through to the full application.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pointclouds.errors import PointCloudError
from providers.errors import ProviderError
from server.errors import IdentityError
from server.http.answer import (
    COMMON_HEADERS,
    Environ,
    Header,
    StartResponse,
    accepts_gzip,
    not_modified,
)
from server.http.errors import RequestError
from server.http.features import state_etag
from server.http.hot_tiles import view_of
from server.http.point_tiles_hot import PointFiles
from server.http.point_tiles_request import is_of_points
from server.http.scope import Scope
from server.http.three_d_bytes import GLB, SUBTREE, VARY
from server.http.three_d_live import live_tileset
from server.http.tiles import cache_control
from server.identity.decision import ANONYMOUS, Decision, Principal
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from tiles.errors import TilesError

if TYPE_CHECKING:
    from server.http.services import Services
    from tiles.three_d.live import LiveTileset

_FOLDER = "/3dtiles/"
_TYPES = {"glb": GLB, "subtree": SUBTREE}
_MOST_ADDRESSES = 1024
_MOST_PIECES = 4096
_MOST_BYTES = 64 << 20
_LARGEST = 4 << 20
_GZIP: Header = ("Content-Encoding", "gzip")


class _Body(NamedTuple):
    """A file ready to be sent to whoever takes gzip. `state`: the latest state of the tileset that it was found to belong to."""

    state: object
    packed: bytes
    etag: str
    headers: tuple[Header, ...]


class _Tileset:
    """The tileset behind an address, and what was read of it."""

    def __init__(
        self,
        asked: tuple[Scope, str],
        collection: Collection,
        decision: Decision,
        live: LiveTileset | PointFiles,
    ) -> None:
        self.asked = asked
        self.collection = collection
        self.decision = decision
        self.live = live
        self.bodies: dict[str, _Body] = {}


class _Known:
    """What addresses stand for in one catalogue; `None`: nothing that is answered here."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.tilesets: dict[tuple[str, str], _Tileset | None] = {}


class _Memory:
    """Bodies of one worker, no more than so many bytes; those longest not used go first."""

    def __init__(self) -> None:
        self._order: OrderedDict[tuple[int, str], tuple[_Tileset, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def put(self, tileset: _Tileset, name: str, body: _Body) -> None:
        """Keep a body with its tileset."""
        if len(body.packed) > _LARGEST:
            return
        key = (id(tileset), name)
        with self._lock:
            tileset.bodies[name] = body
            _, size = self._order.pop(key, (tileset, 0))
            self._order[key] = (tileset, len(body.packed))
            self._size += len(body.packed) - size
            while self._size > _MOST_BYTES or len(self._order) > _MOST_PIECES:
                (_, old), (owner, length) = self._order.popitem(last=False)
                owner.bodies.pop(old, None)
                self._size -= length


class HotThreeD:
    """Answers files of tilesets of one worker; safe in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._memory = _Memory()
        self._known: _Known | None = None

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """A subtree or a content, None for any other request. Raises RegistryUnavailable."""
        path = environ["PATH_INFO"]
        at = path.find(_FOLDER)
        if at < 0 or environ["QUERY_STRING"] or "HTTP_RANGE" in environ or not accepts_gzip(environ):
            return None
        name = path[at + len(_FOLDER) :]
        media_type = _TYPES.get(name.rpartition(".")[2])
        if media_type is None:
            return None
        tileset = self._tileset(path[:at], environ)
        if tileset is None:
            return None
        try:
            body = self._body(tileset, name, media_type)
        except (ProviderError, TilesError, RequestError, PointCloudError, OSError, KeyError):
            return None  # the full application says what is wrong
        return None if body is None else _send(body, environ, start_response)

    def _body(self, tileset: _Tileset, name: str, media_type: str) -> _Body | None:
        moment = tileset.live.current()
        state = (moment.change, moment.revision)
        kept = tileset.bodies.get(name)
        if kept is not None and kept.state == state:
            return kept
        piece = moment.find(name)
        if piece is None:
            return None
        etag = state_etag(tileset.collection, 0, tileset.decision, name, str(piece.revision), "")
        etag = etag.removeprefix("W/")
        if kept is not None and kept.etag == etag:
            kept = kept._replace(state=state)  # edits elsewhere
        else:
            if piece.file is not None:
                packed = piece.file.with_name(f"{piece.file.name}.gz").read_bytes()
            else:
                packed = moment.make(name, self._services.tiles.room)
            kept = _Body(state, packed, etag, self._headers(tileset, media_type, packed, etag))
        self._memory.put(tileset, name, kept)
        return kept

    def _headers(self, tileset: _Tileset, media_type: str, packed: bytes, etag: str) -> tuple[Header, ...]:
        private = tileset.decision.key != "public"
        control = "private, no-cache" if private else f"public, {cache_control(self._services.settings)}"
        return (
            *COMMON_HEADERS,
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
            ("Cache-Control", control),
            ("Vary", VARY),
            _GZIP,
            ("Content-Type", media_type),
            ("Content-Length", str(len(packed))),
        )

    def _tileset(self, head: str, environ: Environ) -> _Tileset | None:
        services, known = self._services, self._known
        catalogue = services.catalogue.current()
        if known is None or known.catalogue is not catalogue:
            known = self._known = _Known(catalogue)
        try:
            who = services.principal(environ) if "HTTP_AUTHORIZATION" in environ else ANONYMOUS
        except IdentityError:
            return None
        key = (head, who.id)
        try:
            if key in known.tilesets:
                found = known.tilesets[key]
                if found is None or services.allowed(catalogue, *found.asked, who)[1] == found.decision:
                    return found
            found = self._resolve(catalogue, head, who)
        except (RequestError, ProviderError, TilesError):
            return None
        if len(known.tilesets) >= _MOST_ADDRESSES:
            known.tilesets.clear()
        known.tilesets[key] = found
        return found

    def _resolve(self, catalogue: Catalogue, head: str, who: Principal) -> _Tileset | None:
        if not head.isascii():
            return None
        scope, parts = view_of(head.split("/"))
        if len(parts) != 3 or parts[:2] != ["ogc", "collections"]:
            return None
        collection, decision = self._services.allowed(catalogue, scope, parts[2], who)
        if RepresentationKind.TILESET_3D not in collection.representations or decision.hidden_fields:
            return None
        if is_of_points(collection):
            if decision.area is not None:
                return None
            return _Tileset(
                (scope, parts[2]),
                collection,
                decision,
                PointFiles(services=self._services, collection=collection, decision=decision),
            )
        live = live_tileset(collection)
        return None if live is None else _Tileset((scope, parts[2]), collection, decision, live)


def _send(body: _Body, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if "HTTP_IF_NONE_MATCH" in environ and not_modified(environ, body.etag):
        kept = [header for header in body.headers[:-2] if header is not _GZIP]
        start_response("304 Not Modified", kept)
        return []
    start_response("200 OK", list(body.headers))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body.packed]
