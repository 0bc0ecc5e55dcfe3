"""Tiles that an edit has touched and that may be shown for a while: kept under a form of their own until made anew."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from tiles.cache.store import StoredTile, TileStore
from tiles.cache.tile import TileName, Tileset
from tiles.errors import TileCacheError

_ENDING = "@stale"


class StaleTiles:
    """The stale tiles of a store; none where `seconds` is 0. A store that does not answer has none."""

    def __init__(self, store: TileStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    def is_stale(self, tileset: Tileset) -> bool:
        """Whether this tileset holds the stale tiles of another one."""
        return tileset.form.endswith(_ENDING)

    def get(self, name: TileName) -> StoredTile | None:
        """The tile as it was before the edit, None where there is none that may still be shown."""
        if not self._seconds:
            return None
        old = _stale_name(name)
        try:
            stored = self._store.get(old)
            if stored is None:
                return None
            if time.time_ns() - stored.stamp <= self._seconds * 1e9:
                return stored
            self._store.remove((old,))
        except TileCacheError:
            return None
        return None

    def keep(self, name: TileName) -> None:
        """Copy a kept tile aside: its time begins now. Raises TileCacheUnavailable."""
        if not self._seconds:
            return
        stored = self._store.get(name)
        if stored is None:
            return
        try:
            self._store.put(_stale_name(name), stored.body)
        except TileCacheError:
            return  # no room: it is simply gone

    def remove(self, names: Iterable[TileName]) -> None:
        """They were made anew."""
        if not self._seconds:
            return
        try:
            self._store.remove([_stale_name(name) for name in names])
        except TileCacheError:
            return  # they are looked at no more, and go when their time is over


def _stale_name(name: TileName) -> TileName:
    return name._replace(tileset=_stale_tileset(name.tileset))


@lru_cache(maxsize=1024)
def _stale_tileset(tileset: Tileset) -> Tileset:
    return replace(tileset, form=tileset.form + _ENDING)
