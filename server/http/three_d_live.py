"""The tilesets of this process that follow edits: one for each generation that is asked for, opened when it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from providers.errors import ProviderError
from providers.features.store import FeatureStore, open_store
from server.http.features import feature_source
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from tiles.three_d.live import LiveTileset

_MOST_OPEN = 64
_SCENE = "scene"
_PLAN = "scene/plan/plan.json"
_RECIPE = "scene/recipe.json"
_TILES = "3dtiles"
_EMBEDDED = "features.gpkg"


class _Open:
    """Those that are open, least used first; None for a generation whose tileset cannot follow edits."""

    def __init__(self) -> None:
        self.tilesets: OrderedDict[Path, LiveTileset | None] = OrderedDict()
        self.lock = threading.Lock()


_open = _Open()


def live_tileset(collection: Collection) -> LiveTileset | None:
    """The tileset of the present generation with its edits, None where it is as published for ever.

    Raises ThreeDError where its plan is broken, StoreError, SourceUnavailable.
    """
    directory = collection.directory
    with _open.lock:
        if directory in _open.tilesets:
            _open.tilesets.move_to_end(directory)
            return _open.tilesets[directory]
    if RepresentationKind.FEATURES not in collection.representations or not _has_plan(directory):
        return None
    source = feature_source(collection)
    built = collection.representations[RepresentationKind.TILESET_3D].built_change
    return _keep(directory, source if isinstance(source, FeatureStore) else None, built)


def past_tileset(directory: Path) -> LiveTileset | None:
    """The tileset of an earlier generation that is kept, with the edits it had; None where it has none that follows edits."""
    with _open.lock:
        if directory in _open.tilesets:
            return _open.tilesets[directory]
    if not _has_plan(directory) or not (directory / _EMBEDDED).is_file():
        return None
    try:
        return _keep(directory, open_store(directory / _EMBEDDED), 0)
    except ProviderError:
        return None


def _has_plan(directory: Path) -> bool:
    return (directory / _PLAN).is_file() and (directory / _RECIPE).is_file()


def _keep(directory: Path, store: FeatureStore | None, built: int) -> LiveTileset | None:
    # Numpy, the plan's code and the sources: only for who asks for a tileset.
    from providers.three_d.edits import EmbeddedEdits
    from providers.three_d.recipes import read_recipe
    from tiles.three_d.live import LiveTileset

    opened = None
    if store is not None:
        recipe = read_recipe(directory)
        opened = LiveTileset(
            directory / _TILES,
            directory / _SCENE,
            recipe,
            EmbeddedEdits(store),
            built,
            failures=(ProviderError, OSError),
        )
    with _open.lock:
        kept = _open.tilesets.setdefault(directory, opened)
        _open.tilesets.move_to_end(directory)
        while len(_open.tilesets) > _MOST_OPEN:
            _open.tilesets.popitem(last=False)
    return kept


def close_tilesets() -> None:
    """Forget what is open (tests)."""
    with _open.lock:
        _open.tilesets.clear()
