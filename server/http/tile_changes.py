"""What the data behind a collection's tiles says about its edits, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Sequence

from providers.features.query import BBox
from providers.features.store import FeatureStore
from server.http.features import feature_source
from server.registry.catalogue import Collection, RepresentationKind
from tiles.cache.changes import Box84, Change, ChangeLog, Unchanging

_UNCHANGING = Unchanging()


class StoreLog:
    """The edits of an embedded store: it counts them, and knows where each one was."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def change(self) -> int:
        """The counter of edits."""
        return self._store.change()

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Where edits after `change` were; None for a state that this store never had."""
        if not self._had(change):
            return None
        return self._store.dirty_since(int(change))

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Whether an edit after `change` meets the box."""
        return not self._had(change) or self._store.touched_since(int(change), BBox(*box84))

    def _had(self, change: Change) -> bool:
        return isinstance(change, int) and change <= self._store.change()


def change_log(collection: Collection) -> ChangeLog:
    """The edits of a collection's present generation.

    The embedded store and mosaics say where they were edited; databases and files elsewhere only that they were. Raises
    StoreError, SourceUnavailable, RasterError where the data cannot be asked.
    """
    from providers.maps.changes import change_log_of

    features = collection.representations.get(RepresentationKind.FEATURES)
    map_ = collection.representations.get(RepresentationKind.MAP)
    elsewhere = change_log_of(
        None if features is None else features.properties, None if map_ is None else map_.properties
    )
    if elsewhere is not None:
        return elsewhere
    if features is not None:
        source = feature_source(collection)
        return StoreLog(source) if isinstance(source, FeatureStore) else _UNCHANGING
    coverage = collection.representations.get(RepresentationKind.COVERAGE)
    if coverage is None:
        return _UNCHANGING
    from tiles.rasters import open_raster

    return open_raster(collection.directory, coverage.path, coverage.properties)
