"""The city in three dimensions as a request may see it: what the questions of `providers.analysis` are asked of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from providers.errors import InvalidParameter
from server.http.context import RequestContext
from server.http.errors import NotFound
from server.http.ogc.terrain_sources import terrain_of
from server.http.three_d_live import live_tileset
from server.identity.decision import Action
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from providers.analysis.point_columns import CloudPart
    from providers.analysis.scene import Scene, Tileset
    from providers.analysis.terrain_ground import TerrainGround
    from tiles.terrain import HeightSampler
    from tiles.terrain.terrain_tiles import TerrainTiles

Kind = RepresentationKind
MOST_TILESETS = 50
_MOST_OPEN = 8
_samplers: OrderedDict[TerrainTiles, HeightSampler] = OrderedDict()
_lock = threading.Lock()


def scene_of(here: RequestContext, collections: tuple[str, ...], ground: str | None) -> Scene:
    """The 3D tilesets of `collections` (of all that this request may see, for ()) on the terrain `ground` (or the first).

    Raises InvalidParameter for an id that has no tileset or terrain here, or where there are more than fifty.
    """
    from providers.analysis.scene import Scene

    if collections:
        chosen = [
            _having(here, "collections", name, Kind.TILESET_3D, Kind.POINT_CLOUD) for name in collections
        ]
    else:
        chosen = [
            (one, here.scope.public_id(one))
            for one in _visible(here)
            if Kind.TILESET_3D in one.representations or Kind.POINT_CLOUD in one.representations
        ]
    tilesets = [found for one, name in chosen if (found := _tileset(here, one, name)) is not None]
    if len(tilesets) > MOST_TILESETS:
        raise InvalidParameter(
            "collections",
            f"all {len(tilesets)} of this view",
            f"the ids of at most {MOST_TILESETS} collections",
        )
    clouds = [_cloud(here, one, name) for one, name in chosen if Kind.POINT_CLOUD in one.representations]
    return Scene(tuple(tilesets), _ground(here, ground), tuple(clouds[:MOST_TILESETS]))


def _visible(here: RequestContext) -> list[Collection]:
    return here.services.visible(here.catalogue, here.scope, here.who)


def _cloud(here: RequestContext, collection: Collection, public_id: str) -> CloudPart:
    from providers.analysis.point_columns import CloudPart

    _, decision = here.collection(public_id, Action.EXECUTE)
    coverage = collection.representations.get(Kind.COVERAGE)
    of_points = coverage is not None and coverage.properties.get("store") == "points"
    half = len(collection.bbox) // 2
    west, south, east, north = *collection.bbox[:2], *collection.bbox[half : half + 2]
    return CloudPart(
        public_id,
        collection.title(here.language),
        collection.path_of(Kind.POINT_CLOUD),
        (west, south, east, north),
        coverage.properties if coverage is not None and of_points else {},
        decision.hidden_fields,
        decision.area,
    )


def _having(
    here: RequestContext, name: str, public_id: str, *kinds: RepresentationKind
) -> tuple[Collection, str]:
    try:
        collection, _ = here.collection(public_id, Action.EXECUTE)
    except NotFound:
        collection = None
    if collection is None or not any(kind in collection.representations for kind in kinds):
        raise InvalidParameter(
            name, public_id, f"the id of a collection of this view with {' or '.join(kinds)}"
        )
    return collection, public_id


def _tileset(here: RequestContext, collection: Collection, public_id: str) -> Tileset | None:
    """None for a tileset that is not of our making: points, and what was taken over as it is."""
    from providers.analysis.tilesets import MomentTileset, StoredTileset

    _, decision = here.collection(public_id, Action.EXECUTE)
    if Kind.TILESET_3D not in collection.representations:
        return None
    content = str(collection.representations[Kind.TILESET_3D].properties.get("content", ""))
    title = collection.title(here.language)
    live = live_tileset(collection)
    if live is not None:
        return MomentTileset(public_id, title, content, live.current(), decision.hidden_fields)
    files = collection.path_of(Kind.TILESET_3D).parent
    private = files.parent / "scene"
    if not (private / "plan" / "plan.json").is_file():
        return None
    return StoredTileset(public_id, title, content, files, private, decision.hidden_fields)


def _ground(here: RequestContext, ground: str | None) -> TerrainGround | None:
    if ground is not None:
        return _terrain(*_having(here, "ground", ground, Kind.TERRAIN))
    for collection in _visible(here):
        if Kind.TERRAIN in collection.representations:
            try:
                return _terrain(collection, here.scope.public_id(collection))
            except NotFound:
                continue
    return None


def _terrain(collection: Collection, public_id: str) -> TerrainGround:
    from providers.analysis.terrain_ground import TerrainGround
    from tiles.terrain import HeightSampler

    terrain = terrain_of(collection)
    with _lock:
        sampler = _samplers.get(terrain)
        if sampler is None:
            folder = collection.path_of(Kind.TERRAIN).parent
            sampler = _samplers[terrain] = HeightSampler(terrain.recipe.model_path(folder), "OGC:CRS84")
            while len(_samplers) > _MOST_OPEN:
                _samplers.popitem(last=False)
        _samplers.move_to_end(terrain)
    return TerrainGround(public_id, terrain, sampler)
