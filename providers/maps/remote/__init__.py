"""Maps of other servers, cascaded: WMS, WMTS, TMS, XYZ and quad keys, ArcGIS tiles and exports, OGC API - Maps and Tiles.

`describe_remote_map` asks a service once, at registration, what it has; what it says is kept in the registry as the member
`remote` of the collection's map representation. `open_remote_map` makes the map source of that; it asks for images only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from providers.errors import ProviderError, SourceUnavailable, StoreError
from providers.features.remote.credentials import authorization_of
from providers.features.sources import SourceSettings, source_settings
from providers.maps.changes import DEFAULT_MAX_AGE
from providers.maps.errors import RemoteMapUnavailable
from providers.outgoing import Client, OutgoingPolicy
from tiles.errors import MapSourceError

if TYPE_CHECKING:
    from providers.maps.remote.facts import RemoteMapFacts
    from providers.maps.remote.source import RemoteMapSource

__all__ = ["KINDS", "client_of", "describe_remote_map", "open_remote_map"]

KINDS = ("wms", "wmts", "tms", "xyz", "arcgis-map", "ogc-maps")
_MAXIMUM_OPEN = 256


class _Opened:
    """The open maps of this process, with the settings they were opened under."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sources: OrderedDict[tuple[bytes, int], tuple[SourceSettings, RemoteMapSource]] = OrderedDict()


_opened = _Opened()


def open_remote_map(remote: Mapping[str, Any], settings: SourceSettings | None = None) -> RemoteMapSource:
    """The map source of what the registry keeps; the same one for the same description, so that its breaker lasts.

    `settings` None: those of `providers.features.sources.configure_sources`. Raises MapSourceError for what cannot be used, and
    RemoteMapUnavailable where the settings forbid the host.
    """
    from providers.maps.remote.source import RemoteMapSource

    given = settings or source_settings()
    # The settings stand beside the source, so that their id is that of no other settings.
    key = (orjson.dumps(dict(remote), option=orjson.OPT_SORT_KEYS), id(given))
    with _opened.lock:
        found = _opened.sources.get(key)
        if found is not None:
            _opened.sources.move_to_end(key)
            return found[1]
        try:
            source = RemoteMapSource(remote, _upstream(remote, given))
        except SourceUnavailable as error:
            raise RemoteMapUnavailable(str(error)) from error
        except ProviderError as error:
            raise MapSourceError(str(error)) from error
        _opened.sources[key] = (given, source)
        while len(_opened.sources) > _MAXIMUM_OPEN:
            _opened.sources.popitem(last=False)
        return source


def describe_remote_map(description: Mapping[str, Any], settings: SourceSettings) -> RemoteMapFacts:
    """Ask a service what it has, now. `description` has `store` (of KINDS), `url`, and what `facts` reads beside.

    Raises StoreError for a description that does not fit the service, SourceUnavailable.
    """
    from providers.maps.remote.facts import read_facts

    return read_facts(description, client_of(description, settings))


def client_of(description: Mapping[str, Any], settings: SourceSettings) -> Client:
    """The guarded way to the service of a description. Raises StoreError, RemoteUnavailable."""
    url = description.get("url")
    if not isinstance(url, str) or not url:
        raise StoreError("The description of a remote map names no url")
    policy = OutgoingPolicy(frozenset(settings.allowed_hosts), settings.outgoing)
    subdomains = description.get("subdomains") or ""
    names = subdomains.split(",") if isinstance(subdomains, str) else list(subdomains)
    home = url.replace("{s}", str(names[0]).strip())
    return Client(
        policy,
        home,
        timeout=settings.timeout,
        authorization=authorization_of(description, settings.connections),
    )


def _upstream(remote: Mapping[str, Any], settings: SourceSettings) -> Any:
    import hashlib

    from providers.maps.remote.kept import KeptAnswers
    from providers.maps.remote.upstream import Upstream

    # Two collections with other credentials must not see each other's answers; facts read anew change nothing.
    name = orjson.dumps([remote.get(member) for member in ("store", "url", "layer", "credentials")])
    folder = None
    if settings.cache_directory is not None:
        folder = settings.cache_directory / "maps" / hashlib.blake2b(name, digest_size=10).hexdigest()
    max_age = remote.get("max_age", DEFAULT_MAX_AGE)
    if type(max_age) is not int or max_age < 0:
        raise StoreError(f"max_age of a remote map is a whole number of seconds, not {str(max_age)[:20]!r}")
    return Upstream(client_of(remote, settings), KeptAnswers(folder), max_age)
