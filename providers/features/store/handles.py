"""A bounded cache of open stores: pygeoapi makes a provider for every request, and this makes that cheap."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from providers.features.store.reader import FeatureStore

_MAXIMUM = 64  # stores; each keeps a few connections of three files
_stores: OrderedDict[str, FeatureStore] = OrderedDict()
_lock = Lock()


def open_store(path: Path | str) -> FeatureStore:
    """The store at an absolute path, opened at its first use in this process. Never call it before a fork.

    A path names one content for ever (generations have their own folders), so nothing is looked up on disk again. A store
    that falls out of the cache lives until its last user lets go of it. Raises StoreMissing, StoreCorrupt.
    """
    name = str(path)
    with _lock:
        store = _stores.get(name)
        if store is not None:
            _stores.move_to_end(name)
            return store
    store = FeatureStore(Path(path))
    with _lock:
        store = _stores.setdefault(name, store)
        _stores.move_to_end(name)
        while len(_stores) > _MAXIMUM:
            _stores.popitem(last=False)
    return store


def close_stores() -> None:
    """Forget every open store (tests; a worker that ends)."""
    with _lock:
        _stores.clear()
