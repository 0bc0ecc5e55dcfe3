"""Opens the source behind a collection: the embedded store by its path, every other kind by its description.

A description is a JSON object with the member `store` (a key of `OPENERS`) and what that kind needs; the registry keeps it as
the property `source` of the features representation. Nothing secret is in it: databases are named, and `configure_sources`
tells which address a name stands for.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from providers.errors import StoreError
from providers.features.source import FeatureSource
from providers.features.store import open_store

type Opener = Callable[[Mapping[str, Any], SourceSettings], FeatureSource]

OPENERS: Mapping[str, str] = MappingProxyType(
    {
        "postgis": "providers.features.postgis:open_postgis",
        "parquet": "providers.features.parquet:open_parquet",
        "ogr": "providers.features.ogr:open_ogr",
        "wfs": "providers.features.remote:open_wfs",
        "features": "providers.features.remote:open_features",
        "arcgis": "providers.features.remote:open_arcgis",
    }
)
"""Where the function that opens a kind of source is: loaded when the first collection of that kind is asked for."""
_MAXIMUM = 256  # open sources; each cheap beside the pools they share


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What the server allows sources to reach.

    `connections`: PostgreSQL connection strings by name. `file_roots`: folders in which OGR files may be read in place.
    `allowed_hosts`: `host` or `host:port` of remote services that may lie on private addresses; any public address may be asked
    where `outgoing` is true. `timeout`: seconds for one answer of a remote service.
    """

    connections: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold passwords
    file_roots: tuple[Path, ...] = ()
    outgoing: bool = True
    allowed_hosts: frozenset[str] = frozenset()
    timeout: float = 10.0
    cache_directory: Path | None = None


class _Sources:
    """The open sources of this process."""

    def __init__(self) -> None:
        self.settings = SourceSettings()
        self.opened: OrderedDict[bytes, FeatureSource] = OrderedDict()
        self.lock = threading.Lock()


_sources = _Sources()


def configure_sources(settings: SourceSettings) -> None:
    """Set what sources of this process may reach; closes nothing that is in use."""
    with _sources.lock:
        _sources.settings = settings
        _sources.opened.clear()


def source_settings() -> SourceSettings:
    """What `configure_sources` set."""
    return _sources.settings


def open_source(path: Path | str | None, description: Mapping[str, Any] | None = None) -> FeatureSource:
    """The source of a collection: the embedded store at `path`, or what `description` says.

    A relative member `path` of a description has been made absolute by the caller. Raises StoreError, SourceUnavailable.
    """
    if description is None:
        if path is None:
            raise StoreError("The collection has neither a feature store nor a source")
        return open_store(path)
    key = orjson.dumps(dict(description), option=orjson.OPT_SORT_KEYS)
    with _sources.lock:
        source = _sources.opened.get(key)
        if source is not None:
            _sources.opened.move_to_end(key)
            return source
        settings = _sources.settings
    source = opener(str(description.get("store")))(description, settings)
    with _sources.lock:
        if settings is _sources.settings:
            source = _sources.opened.setdefault(key, source)
            while len(_sources.opened) > _MAXIMUM:
                _sources.opened.popitem(last=False)
    return source


def opener(kind: str) -> Opener:
    """The function that opens a kind of source. Raises StoreError for a kind nobody knows."""
    target = OPENERS.get(kind)
    if target is None:
        raise StoreError(f"There is no kind of feature source {kind!r}; there are: {', '.join(OPENERS)}")
    module, _, name = target.partition(":")
    found: Opener = getattr(importlib.import_module(module), name)
    return found


def close_sources() -> None:
    """Forget every open source, and end the pools of databases (tests; a worker that ends)."""
    with _sources.lock:
        _sources.opened.clear()
    postgis = sys.modules.get("providers.features.postgis")
    if postgis is not None:
        postgis.close_pools()
