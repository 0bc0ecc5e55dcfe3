"""What kept tiles of collections that are not stored here are told about edits.

Databases and files in place say when they have changed, though not where (`SourceChanges`). Remote services do not say it at all:
maps of theirs have a maximum age instead (`max_age_of`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from providers.errors import SourceUnavailable
from providers.features.source import FeatureSource
from providers.features.sources import open_source
from tiles.cache.changes import Box84, Change, ChangeLog, Unchanging

REMOTE_STORES = frozenset({"wfs", "features", "arcgis"})
DEFAULT_MAX_AGE = 86_400
_REMEMBERED_SECONDS = 0.25


class SourceChanges:
    """The changes of a source that tells only that something has changed: every tile is touched then.

    `change` is asked of the source four times a second at most. Where the source is down, `change` gives what it gave last
    (so that kept tiles stay), or raises SourceUnavailable where it never answered; nothing new is kept meanwhile.
    """

    def __init__(self, opening: Callable[[], FeatureSource]) -> None:
        self._open = opening
        self._lock = threading.Lock()
        self._known: Change | None = None
        self._asked = float("-inf")

    def change(self) -> Change:
        """The state, at most a quarter of a second old."""
        known = self._known
        if known is not None and time.monotonic() - self._asked < _REMEMBERED_SECONDS:
            return known
        try:
            return self._ask()
        except SourceUnavailable:
            if known is None:
                raise
            self._asked = time.monotonic()
            return known

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Nothing where the state is the same, else None: it is not known where."""
        return [] if self.change() == change else None

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Whether anything changed at all, asked now: a tile drawn meanwhile must not outlive the edit."""
        try:
            return self._ask() != change
        except SourceUnavailable:
            return True

    def _ask(self) -> Change:
        found = self._open().change()
        with self._lock:
            self._known, self._asked = found, time.monotonic()
        return found


def change_log_of(features: Mapping[str, Any] | None, map_: Mapping[str, Any] | None) -> ChangeLog | None:
    """The log of a collection by the properties of its features and map representations; None where it is stored here."""
    if map_ is not None and "remote" in map_:
        return Unchanging()
    description = (features or {}).get("source")
    if description is None:
        return None
    if description.get("store") in REMOTE_STORES:
        return Unchanging()
    return SourceChanges(lambda: open_source(None, description))


def is_cascaded(map_: Mapping[str, Any]) -> bool:
    """Whether a map representation is drawn by another server."""
    return "remote" in map_


def max_age_of(map_: Mapping[str, Any]) -> int | None:
    """Seconds for which a kept tile of this map counts as current; None where edits invalidate it instead."""
    age = map_.get("max_age")
    return int(age) if age is not None else DEFAULT_MAX_AGE if "remote" in map_ else None
