"""A folder of links to the kept tiles of public collections, for a web server in front (docker/nginx.conf).

    public/TENANT/COLLECTION/tiles          vector tiles
    public/TENANT/COLLECTION/map            map tiles in the collection's own style
    public/TENANT/COLLECTION/styles/STYLE   map tiles in a named style

Each is a symbolic link to the folder of one form of the present generation. A link is swapped by a rename, so a request finds
the tiles of one generation or of the other; it is removed when the collection is not public any more, or is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from server.http.hot_tiles import map_max_age
from server.http.maps import MapServices
from server.http.tile_forms import vector_tileset
from server.identity.decision import ANONYMOUS, Action, decide
from server.registry.catalogue import Catalogue, Collection, RepresentationKind, StyleRecord, Tenant
from tiles.cache import Tileset
from tiles.errors import TilesError

_ANY_GRID = "WebMercatorQuad"  # a form's folder holds its grids
_log = logging.getLogger(__name__)

type Links = Mapping[str, str]
"""Where below the public folder, and where below the folder of kept tiles it leads."""

type StyleNames = Callable[[Catalogue, Collection], Iterable[str]]


class _Seen(NamedTuple):
    """What the links of a collection follow from, and what they were."""

    collection: Collection
    tenant: Tenant | None
    styles: tuple[StyleRecord, ...]
    links: Links


class TileLinks:
    """The links of one cache. One process at a time may keep them (see `tile_keeper`)."""

    def __init__(self, kept: Path, public: Path, maps: MapServices, style_names: StyleNames) -> None:
        self._kept = kept
        self._public = public
        self._maps = maps
        self._style_names = style_names
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._made: dict[str, str] | None = None

    def bring_up_to_date(self, catalogue: Catalogue) -> None:
        """Let the links be those of a catalogue. Costs what has changed since the last call. Raises OSError."""
        if self._made is None:
            self._made = self._found()
        wanted: dict[str, str] = {}
        seen: dict[tuple[str, str], _Seen] = {}
        styles = _styles_by_tenant(catalogue)
        for key, collection in catalogue.collections.items():
            seen[key] = self._of(catalogue, collection, styles.get(collection.tenant, ()))
            wanted.update(seen[key].links)
        self._seen = seen
        for path in self._made.keys() - wanted.keys():  # what must not be seen any more goes first
            self._remove(path)
        for path, target in wanted.items():
            if self._made.get(path) != target:
                self._swap(path, target)

    def _of(self, catalogue: Catalogue, collection: Collection, styles: tuple[StyleRecord, ...]) -> _Seen:
        tenant = catalogue.tenants.get(collection.tenant)
        known = self._seen.get((collection.tenant, collection.id))
        if (
            known is not None
            and known.collection is collection
            and known.tenant == tenant
            and known.styles == styles
        ):
            return known
        return _Seen(collection, tenant, styles, self._links(catalogue, collection))

    def _links(self, catalogue: Catalogue, collection: Collection) -> Links:
        decision = decide(ANONYMOUS, Action.READ, collection)
        if not decision.allowed or decision.key != "public":
            return {}
        kinds = collection.representations
        base = f"{collection.tenant}/{collection.id}"
        links: dict[str, str] = {}
        if RepresentationKind.TILES in kinds:
            links[f"{base}/tiles"] = _folder(vector_tileset(collection, decision, _ANY_GRID))
        if RepresentationKind.MAP not in kinds or map_max_age(collection) is not None:
            return links  # tiles that age are judged by the server
        names: list[str | None] = [None, *self._style_names(catalogue, collection)]
        for style in names:
            name = "map" if style is None else f"styles/{style}"
            # A style that cannot be drawn has no tiles; the server says why.
            with contextlib.suppress(TilesError, KeyError):
                tileset = self._maps.tileset(
                    collection, decision, style, _ANY_GRID, "png", catalogue=catalogue
                )
                links[f"{base}/{name}"] = _folder(tileset)
        return links

    def _found(self) -> dict[str, str]:
        """The links that are there, made by a process before this one; what is half made goes."""
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self._public):
            for name in (*folders, *files):
                path = Path(folder, name)
                if not path.is_symlink():
                    continue
                if name.startswith("."):
                    path.unlink(missing_ok=True)
                    continue
                target = os.path.normpath(Path(folder, path.readlink()))
                found[str(path.relative_to(self._public))] = os.path.relpath(target, self._kept)
        return found

    def _swap(self, path: str, target: str) -> None:
        link = self._public / path
        link.parent.mkdir(parents=True, exist_ok=True)
        aside = link.with_name(f".{secrets.token_hex(8)}")
        # Relative, so that both folders may be mounted elsewhere by the web server's container.
        aside.symlink_to(os.path.relpath(self._kept / target, link.parent))
        aside.replace(link)
        self._links_made()[path] = target

    def _remove(self, path: str) -> None:
        link = self._public / path
        link.unlink(missing_ok=True)
        self._links_made().pop(path, None)
        for folder in list(link.parents)[: path.count("/")]:
            try:
                folder.rmdir()
            except OSError:  # another link lies in it
                break

    def _links_made(self) -> dict[str, str]:
        if self._made is None:
            self._made = {}
        return self._made


def _folder(tileset: Tileset) -> str:
    return f"{tileset.folder}/{tileset.form}"


def _styles_by_tenant(catalogue: Catalogue) -> dict[str, tuple[StyleRecord, ...]]:
    found: dict[str, list[StyleRecord]] = {}
    for (tenant, _), record in catalogue.styles.items():
        found.setdefault(tenant, []).append(record)
    return {tenant: tuple(records) for tenant, records in found.items()}
