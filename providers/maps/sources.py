"""Which map source draws which collection: found by key through a function that the server registers.

pygeoapi constructs the plugin from configuration alone, so the plugin knows its source by key only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from providers.errors import StoreMissing
from tiles.maps import MapSource

MapSourceFinder = Callable[[str], MapSource | None]
"""Gives the source of a key, or None."""

_lock = threading.Lock()
_finders: list[MapSourceFinder] = []


def register_map_sources(finder: MapSourceFinder) -> None:
    """Register a finder; the latest registered one is asked first. The same finder is registered once."""
    with _lock:
        if finder not in _finders:
            _finders.insert(0, finder)


def unregister_map_sources(finder: MapSourceFinder) -> None:
    """Forget a finder; nothing happens where it is not registered."""
    with _lock:
        if finder in _finders:
            _finders.remove(finder)


def find_map_source(key: str) -> MapSource:
    """The map source of a key. Raises StoreMissing where no finder has one."""
    for finder in tuple(_finders):
        source = finder(key)
        if source is not None:
            return source
    raise StoreMissing(
        f"No map is drawn for {key!r}: it has no map representation, or it was published anew meanwhile"
    )
