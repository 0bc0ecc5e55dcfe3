"""No edit is lost between two generations: a store is closed to edits before another generation takes its place.

An edit that comes after the closing is refused and can be made again on the new generation; one that was acknowledged before
it is kept in the old generation's file, with its history. A publish that is killed between closing and switching leaves the
served store closed: `reopen_left_closed` is called by the next publish and by `chengtu sweep`, which `serve` starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from providers.errors import ProviderError
from providers.features.store import FeatureStore, close_stores
from providers.features.store.editor import is_closed
from server.registry.catalogue import Collection, RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock

if TYPE_CHECKING:
    from server.registry.registry import Registry


def embedded_store(collection: Collection | None) -> FeatureStore | None:
    """The store of a collection's features; None where it has none, or they are registered from elsewhere."""
    if collection is None:
        return None
    features = collection.representations.get(RepresentationKind.FEATURES)
    if features is None or features.properties.get("source") is not None:
        return None
    try:
        return FeatureStore(collection.path_of(RepresentationKind.FEATURES))
    except ProviderError:
        return None  # damaged or of an older format: nothing can be edited there anyway


@contextmanager
def closed_to_edits(collection: Collection | None) -> Iterator[None]:
    """While another generation is switched in: refuse edits of this one, for ever unless the switch fails."""
    store = embedded_store(collection)
    if store is None:
        yield
        return
    store.close_to_edits()
    try:
        yield
    except BaseException:
        store.open_to_edits()
        raise


def restore(registry: Registry, tenant: str, collection: str, generation: int) -> Collection:
    """Serve a kept generation again; what was edited since is kept in the generation that leaves.

    Raises UnknownTenant, UnknownCollection, UnknownGeneration.
    """
    present = registry.collection(tenant, collection)
    if present is not None and present.generation == generation:
        return present
    with closed_to_edits(present):
        restored = registry.restore_generation(tenant, collection, generation)
    store = embedded_store(restored)
    if store is not None:
        store.open_to_edits()
    return restored


def reopen_left_closed(registry: Registry) -> list[Collection]:
    """Open the served stores that a killed publish or restore left closed; those it found."""
    opened = []
    for collection in registry.catalogue().collections.values():
        lock = try_lock(publish_lock_file(registry.home, collection.tenant, collection.id))
        if lock is None:
            continue  # being published now
        try:
            store = embedded_store(collection)
            if store is not None and is_closed(store):
                store.open_to_edits()
                opened.append(collection)
        finally:
            lock.release()
    close_stores()
    return opened
