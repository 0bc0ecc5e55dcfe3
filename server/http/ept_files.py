"""Files of the EPT of a point cloud: a view of its COPC, answered alike in front of Flask and behind it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from pointclouds.errors import PointCloudError
from server.errors import IdentityError
from server.http.answer import Answer, Environ, StartResponse, send
from server.http.errors import NotFound, RequestError
from server.http.features import state_etag
from server.http.hot_tiles import view_of
from server.http.point_tiles_request import is_limited
from server.http.tiles import cache_control
from server.identity.decision import ANONYMOUS, Decision, Principal
from server.registry.catalogue import Catalogue, Collection, RepresentationKind

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import Cloud
    from pointclouds.ept import EptView, Key
    from server.http.scope import Scope
    from server.http.services import Services
    from server.settings import Settings

Kind = RepresentationKind
LAZ: Final = "application/vnd.laszip"
_JSON: Final = "application/json"
_KEY: Final = r"([0-9]{1,2})-([0-9]{1,7})-([0-9]{1,7})-([0-9]{1,7})"
_NODE: Final = re.compile(rf"ept-data/{_KEY}\.laz")
_PAGE: Final = re.compile(rf"ept-hierarchy/{_KEY}\.json")
_MOST_ADDRESSES: Final = 1024
_VARY: Final = "Accept-Encoding, Authorization"


def ept_answer(
    collection: Collection, decision: Decision, cloud: Cloud, path: str, settings: Settings
) -> Answer:
    """A file by its path below `ept/`, for a client that may see all of the cloud.

    Raises NotFound, and PointCloudError kinds where the cloud is gone or damaged.
    """
    etag = state_etag(collection, 0, decision, "ept", path)
    control, private = cache_control(settings), decision.key != "public"
    if private:
        control = "no-cache"
    view, name = _view(collection, cloud, path)
    node = _NODE.fullmatch(name)
    if node is not None:
        body = view.node(_key(node))
        if body is None:
            raise _missing(path)
        etag = etag.removeprefix("W/")
        return Answer(
            body,
            LAZ,
            etag=etag,
            cache_control=control,
            vary="Authorization",
            private=private,
            compressible=False,
        )
    document = _document(view, name)
    if document is None:
        raise _missing(path)
    return Answer(
        orjson.dumps(document), _JSON, etag=etag, cache_control=control, vary=_VARY, private=private
    )


def _view(collection: Collection, cloud: Cloud, path: str) -> tuple[EptView, str]:
    """The EPT that a path is in, and the rest of the path."""
    from pointclouds.ept import open_ept

    if not cloud.is_mosaic:
        return open_ept(cloud.tiles[0].path), path
    name, _, rest = path.partition("/")
    tile = cloud.tile(name)
    if tile is None or not rest:
        example = cloud.tiles[0].name
        raise NotFound(
            f"there is no {path[:200]!r} here: {collection.id!r} is a mosaic of {len(cloud.tiles)} octrees, and EPT is one. Every tile "
            f"has an EPT of its own, such as ept/{example}/ept.json; pointcloud lists the tiles"
        )
    return open_ept(tile.path), rest


def _document(view: EptView, name: str) -> Any:
    page = _PAGE.fullmatch(name)
    if page is not None:
        return view.hierarchy(_key(page))
    match name:
        case "ept.json":
            return view.document()
        case "ept-sources/list.json":
            return view.sources()
        case "ept-sources/0.json":
            return view.source()
        case _:
            return None


def _key(match: re.Match[str]) -> Key:
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])


def _missing(path: str) -> NotFound:
    return NotFound(
        f"there is no {path[:200]!r} in this EPT; ept.json describes it, ept-hierarchy/0-0-0-0.json lists its nodes"
    )


class _Found(NamedTuple):
    """What an address stands for."""

    asked: tuple[Scope, str]
    collection: Collection
    decision: Decision


class HotEpt:
    """Answers nodes of EPTs in front of Flask; safe in threads. Whatever is wrong falls through to the full application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._catalogue: Catalogue | None = None
        self._found: dict[tuple[str, str], _Found | None] = {}

    def answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """The LAZ of a node, None for any other request. Raises RegistryUnavailable."""
        path = environ["PATH_INFO"]
        if not path.endswith(".laz") or environ["QUERY_STRING"] or "HTTP_RANGE" in environ:
            return None
        head, mark, rest = path.partition("/ept/")
        if not mark or "ept-data/" not in rest:
            return None
        found = self._resolve(head, environ)
        if found is None:
            return None
        from pointclouds.cloud.cloud import open_cloud

        services = self._services
        try:
            cloud = open_cloud(found.collection.path_of(Kind.POINT_CLOUD))
            answer = ept_answer(found.collection, found.decision, cloud, rest, services.settings)
        except (PointCloudError, RequestError, OSError):
            return None
        return send(answer, environ, start_response)

    def _resolve(self, head: str, environ: Environ) -> _Found | None:
        services = self._services
        catalogue = services.catalogue.current()
        if self._catalogue is not catalogue:
            self._catalogue, self._found = catalogue, {}
        known = self._found
        try:
            who = services.principal(environ) if "HTTP_AUTHORIZATION" in environ else ANONYMOUS
            key = (head, who.id)
            if key in known:
                found = known[key]
                if found is None or services.allowed(catalogue, *found.asked, who)[1] == found.decision:
                    return found
            found = self._find(catalogue, head, who)
        except (RequestError, IdentityError):
            return None
        if len(known) >= _MOST_ADDRESSES:
            known.clear()
        known[key] = found
        return found

    def _find(self, catalogue: Catalogue, head: str, who: Principal) -> _Found | None:
        if not head.isascii():
            return None
        scope, parts = view_of(head.split("/"))
        if len(parts) != 3 or parts[:2] != ["ogc", "collections"]:
            return None
        collection, decision = self._services.allowed(catalogue, scope, parts[2], who)
        if Kind.POINT_CLOUD not in collection.representations or is_limited(decision):
            return None
        return _Found((scope, parts[2]), collection, decision)
