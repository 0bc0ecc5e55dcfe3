"""Parts of PMTiles archives answered in front of Flask: clients read a tile by a range of a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from server.errors import IdentityError
from server.http.answer import Environ, StartResponse
from server.http.errors import RequestError
from server.http.features import state_etag
from server.http.files import contained
from server.http.hot_tiles import view_of
from server.identity.decision import ANONYMOUS, Principal
from server.registry.catalogue import Catalogue, RepresentationKind

if TYPE_CHECKING:
    from server.http.services import Services

_SUFFIX = ".pmtiles"
_MOST_ADDRESSES = 1024


class _Archive(NamedTuple):
    file: Path
    etag: str
    private: bool


class _Known:
    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.archives: dict[tuple[str, str], _Archive | None] = {}


class HotFiles:
    """Answers archives of one worker; safe in threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: _Known | None = None

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """A byte range of an archive, None for any other request. Raises RangeNotSatisfiable, NotFound, Overloaded."""
        path = environ["PATH_INFO"]
        if not path.endswith(_SUFFIX) or "HTTP_RANGE" not in environ or environ["QUERY_STRING"]:
            return None
        found = self._archive(path, environ)
        if found is None:
            return None
        from server.http.ogc.tilesets import PMTILES

        return self._services.files.send(
            found.file, environ, start_response, etag=found.etag, media_type=PMTILES, private=found.private
        )

    def _archive(self, path: str, environ: Environ) -> _Archive | None:
        services, known = self._services, self._known
        catalogue = services.catalogue.current()
        if known is None or known.catalogue is not catalogue:
            known = self._known = _Known(catalogue)
        try:
            who = services.principal(environ) if "HTTP_AUTHORIZATION" in environ else ANONYMOUS
        except IdentityError:
            return None
        key = (path, who.id)
        if key not in known.archives:
            if len(known.archives) >= _MOST_ADDRESSES:
                known.archives.clear()
            try:
                known.archives[key] = self._find(catalogue, path, who)
            except RequestError:
                return None  # so says the full application
        return known.archives.get(key)

    def _find(self, catalogue: Catalogue, path: str, who: Principal) -> _Archive | None:
        from server.http.ogc.tilesets import ARCHIVE_GRID, has_archive

        scope, parts = view_of(path.split("/"))
        match parts:
            case ["ogc", "collections", public_id, "tiles", name] if name == ARCHIVE_GRID + _SUFFIX:
                collection, decision = self._services.allowed(catalogue, scope, public_id, who)
            case _:
                return None
        if RepresentationKind.TILES not in collection.representations or not has_archive(
            collection, decision
        ):
            return None
        relative = str(collection.representations[RepresentationKind.TILES].properties["archive"])
        file = contained(collection.directory, relative)
        etag = state_etag(collection, 0, decision, str(file.relative_to(collection.directory.resolve())))
        return _Archive(file, etag.removeprefix("W/"), decision.key != "public")
