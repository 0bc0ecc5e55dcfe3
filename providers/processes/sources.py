"""What a process computes with: collections by id, found through a resolver that the server has registered.

The resolver is called in the thread and context of the request that runs the process, so it can honour that request's
rights. A process knows its resolver by key, because pygeoapi constructs processes from configuration alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from providers.errors import InvalidParameter
from providers.features.source import FeatureSource
from providers.features.store import open_store


@dataclass(frozen=True, slots=True)
class ProcessSource:
    """A collection as a process sees it.

    `features` are its features, or the path of an embedded store of them, `coverage` is the path of its raster; None where it
    has none. `points` is the path of its point cloud (COPC, or index of a mosaic), `point_raster` the properties of the rasters made of
    it. `fields` are (name, JSON type, column). `hidden` fields are not to be used or shown; `area` (WKT, CRS84) is where data may be
    seen, None for everywhere.
    """

    id: str
    title: str
    features: FeatureSource | Path | None = None
    coverage: Path | None = None
    storage_crs: str = ""
    fields: tuple[tuple[str, str, str], ...] = ()
    hidden: frozenset[str] = frozenset()
    points: Path | None = None
    point_raster: Mapping[str, Any] = field(default_factory=dict)
    area: str | None = None


def opened(features: FeatureSource | Path) -> FeatureSource:
    """The features of a `ProcessSource`. Raises StoreError."""
    return open_store(features) if isinstance(features, Path) else features


class SourceResolver(Protocol):
    """Finds a collection for the request in whose context it is called."""

    def __call__(self, collection_id: str) -> ProcessSource | None:
        """The collection, or None where there is none that this request may use."""
        ...


class UnknownResolver(LookupError):
    """No resolver is registered under the key that a process is configured with: a mistake of the server's start."""


_lock = threading.Lock()
_resolvers: dict[str, SourceResolver] = {}


def register_resolver(key: str, resolver: SourceResolver) -> None:
    """Register a resolver; one registered before under the same key is replaced."""
    with _lock:
        _resolvers[key] = resolver


def unregister_resolver(key: str) -> None:
    """Forget a resolver; nothing happens where there is none."""
    with _lock:
        _resolvers.pop(key, None)


def find_source(key: str, collection_id: str) -> ProcessSource:
    """The collection that the present request may use. Raises InvalidParameter where there is none, UnknownResolver."""
    resolver = _resolvers.get(key)
    if resolver is None:
        raise UnknownResolver(f"No resolver of collections is registered as {key!r}")
    source = resolver(collection_id)
    if source is None:
        raise InvalidParameter("collection", collection_id, "the id of a collection that is published here")
    return source
