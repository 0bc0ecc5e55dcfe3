"""The terrains that a worker has open: the recipe of each, and its elevation model once a tile has to be made."""

from __future__ import annotations

import threading
from collections import OrderedDict

from server.http.errors import NotFound
from server.http.tile_changes import change_log
from server.registry.catalogue import Collection, RepresentationKind
from tiles.cache.changes import Change
from tiles.terrain.recipe import read_recipe
from tiles.terrain.terrain_tiles import TerrainTiles

_MOST_OPEN = 16

_terrains: OrderedDict[tuple[str, Change], TerrainTiles] = OrderedDict()
_lock = threading.Lock()


def terrain_of(collection: Collection) -> TerrainTiles:
    """The terrain of a collection as its data are now; of those longest not used the files are closed.

    Raises NotFound where it was built before there were recipes, so that nothing beside its files can be made; TerrainError.
    """
    folder = collection.path_of(RepresentationKind.TERRAIN).parent
    key = (str(folder), change_log(collection).change())
    with _lock:
        found = _terrains.get(key)
        if found is None:
            recipe = read_recipe(folder)
            if recipe is None:
                raise NotFound(
                    f"the terrain of {collection.id!r} was built by an earlier release and is served as its files are; publish it "
                    "anew for what is made on request"
                )
            found = _terrains[key] = TerrainTiles(folder, recipe)
            # Not closed: another thread may be using it. Its files go with its last user.
            while len(_terrains) > _MOST_OPEN:
                _terrains.popitem(last=False)
        _terrains.move_to_end(key)
        return found
