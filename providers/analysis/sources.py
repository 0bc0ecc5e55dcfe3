"""The city that a request may see: found through a resolver that the server has registered, by key.

The resolver is called in the thread and context of the request, so it can honour that request's rights.
"""

from __future__ import annotations

import threading
from typing import Protocol

from providers.analysis.scene import Scene
from providers.processes.sources import UnknownResolver


class SceneResolver(Protocol):
    """Makes the scene for the request in whose context it is called."""

    def __call__(self, collections: tuple[str, ...], ground: str | None) -> Scene:
        """The 3D tilesets of these collections, all that the request may see for (), on the terrain `ground` or the view's own.

        Raises InvalidParameter for an id that is none of these.
        """
        ...


_lock = threading.Lock()
_resolvers: dict[str, SceneResolver] = {}


def register_scenes(key: str, resolver: SceneResolver) -> None:
    """Register a resolver; one registered before under the same key is replaced."""
    with _lock:
        _resolvers[key] = resolver


def unregister_scenes(key: str) -> None:
    """Forget a resolver; nothing happens where there is none."""
    with _lock:
        _resolvers.pop(key, None)


def find_scene(key: str, collections: tuple[str, ...] = (), ground: str | None = None) -> Scene:
    """The scene that the present request may see. Raises InvalidParameter, UnknownResolver."""
    resolver = _resolvers.get(key)
    if resolver is None:
        raise UnknownResolver(f"No resolver of scenes is registered as {key!r}")
    return resolver(collections, ground)
