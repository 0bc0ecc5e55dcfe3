"""The tilesets of this process that follow edits: one for each generation that is asked for, opened when it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from providers.errors import ProviderError
from providers.features.source import FeatureSource
from providers.features.store import FeatureStore, open_store
from server.http.features import feature_source
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from tiles.three_d.live import Edits, LiveTileset

_MOST_OPEN = 64
_SCENE = "scene"
_PLAN = "scene/plan/plan.json"
_RECIPE = "scene/recipe.json"
_TILES = "3dtiles"
_REBUILT = "scenes"
_EMBEDDED = "features.gpkg"


class _Open:
    """Those that are open, least used first; None for a tileset that cannot follow edits. By the folder of the tileset."""

    def __init__(self) -> None:
        self.tilesets: OrderedDict[Path, LiveTileset | None] = OrderedDict()
        self.lock = threading.Lock()


_open = _Open()


def tileset_root(collection: Collection) -> Path:
    """The folder that holds `3dtiles` and `scene`: that of the generation, or one inside of it for a tileset that was built again."""
    return collection.path_of(RepresentationKind.TILESET_3D).parent.parent


def live_tileset(collection: Collection) -> LiveTileset | None:
    """The tileset of the present generation with its edits, None where it is as published for ever.

    Raises ThreeDError where its plan is broken, StoreError, SourceUnavailable.
    """
    root = tileset_root(collection)
    with _open.lock:
        if root in _open.tilesets:
            _open.tilesets.move_to_end(root)
            return _open.tilesets[root]
    if RepresentationKind.FEATURES not in collection.representations or not _has_plan(root):
        return None
    built = collection.representations[RepresentationKind.TILESET_3D].built_change
    return _keep(root, feature_source(collection), built)


def past_root(directory: Path) -> Path | None:
    """The folder of the latest tileset of an earlier generation, None where it has none with a plan."""
    rebuilt = directory / _REBUILT
    numbered = [one for one in rebuilt.iterdir() if one.name.isdigit()] if rebuilt.is_dir() else []
    roots = [*sorted(numbered, key=lambda one: -int(one.name)), directory]
    return next((root for root in roots if _has_plan(root)), None)


def past_tileset(directory: Path) -> LiveTileset | None:
    """The tileset of an earlier generation that is kept, with the edits it had; None where it has none that follows edits."""
    root = past_root(directory)
    if root is None or not (directory / _EMBEDDED).is_file():
        return None
    with _open.lock:
        if root in _open.tilesets:
            return _open.tilesets[root]
    try:
        return _keep(root, open_store(directory / _EMBEDDED), 0)
    except ProviderError:
        return None


def _has_plan(root: Path) -> bool:
    return (root / _PLAN).is_file() and (root / _RECIPE).is_file()


def _edits_of(source: FeatureSource, root: Path) -> Edits | None:
    from providers.three_d.compared_edits import ComparedEdits
    from providers.three_d.edits import EmbeddedEdits
    from providers.three_d.object_features import SNAPSHOT

    if isinstance(source, FeatureStore):
        return EmbeddedEdits(source)
    snapshot = root / SNAPSHOT
    return ComparedEdits(source, snapshot) if snapshot.is_file() else None


def _keep(root: Path, source: FeatureSource, built: int) -> LiveTileset | None:
    # Numpy, the plan's code and the sources: only for who asks for a tileset.
    from providers.three_d.recipes import read_recipe
    from tiles.three_d.live import LiveTileset

    edits = _edits_of(source, root)
    opened = None
    if edits is not None:
        opened = LiveTileset(
            root / _TILES,
            root / _SCENE,
            read_recipe(root),
            edits,
            built if isinstance(source, FeatureStore) else 0,
            failures=(ProviderError, OSError),
        )
    with _open.lock:
        kept = _open.tilesets.setdefault(root, opened)
        _open.tilesets.move_to_end(root)
        while len(_open.tilesets) > _MOST_OPEN:
            _open.tilesets.popitem(last=False)
    return kept


def close_tilesets() -> None:
    """Forget what is open (tests)."""
    with _open.lock:
        _open.tilesets.clear()
