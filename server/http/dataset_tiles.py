"""Vector tiles of several collections at once: one layer for each (OGC API - Tiles, dataset tilesets)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2s

from server.http.answer import Answer, Environ, gunzip_bytes, not_modified
from server.http.errors import InvalidParameter
from server.http.features import feature_source, state_etag
from server.http.maps import bounds84
from server.http.scope import Scope
from server.http.services import Services
from server.http.tile_layers import renamed_layers
from server.http.tile_maker import vector_layer
from server.http.tiles import MVT, cache_control, check_vector_format
from server.identity.decision import Decision, Principal
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from tiles.cache import KeptTile
from tiles.errors import TileOutOfRange
from tiles.grids import TileId, grid, tile_range

MOST_LAYERS = 20
"""The most collections of one tile."""

type Allowed = tuple[Collection, Decision]


def parse_collections(text: str | None) -> tuple[str, ...] | None:
    """The public ids that `collections` names, None where it is not given. Raises InvalidParameter."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(text.split(",")))
    allowed = f"1 to {MOST_LAYERS} ids of collections, divided by commas"
    if not all(names) or len(names) > MOST_LAYERS:
        raise InvalidParameter(
            f"collections={text[:200]!r}; allowed: {allowed}", "collections", text, allowed
        )
    return names


def chosen_collections(
    services: Services, catalogue: Catalogue, scope: Scope, who: Principal, names: tuple[str, ...] | None
) -> list[Allowed]:
    """The collections with vector tiles that were named, or all that `who` may see.

    Raises NotFound for a name that is not `who`'s to see, InvalidParameter for one without vector tiles.
    """
    if names is None:
        found = []
        for collection in services.visible(catalogue, scope, who):
            if RepresentationKind.TILES in collection.representations:
                found.append(services.allowed(catalogue, scope, scope.public_id(collection), who))
        return found
    chosen = []
    for name in names:
        collection, decision = services.allowed(catalogue, scope, name, who)
        if RepresentationKind.TILES not in collection.representations:
            raise InvalidParameter(
                f"collection {name!r} has no vector tiles; it has: {', '.join(collection.representations)}",
                "collections",
                name,
                "collections with vector tiles",
            )
        chosen.append((collection, decision))
    return chosen


def dataset_tile_answer(
    services: Services,
    chosen: Sequence[Allowed],
    scope: Scope,
    address: tuple[str, int, int, int],
    form: str | None,
    asof: str | None,
    environ: Environ,
) -> Answer:
    """A tile with a layer for each collection that has something in it, named by its public id; 204 where none has.

    Raises TileOutOfRange, UnknownTileMatrixSet, InvalidParameter where more than 20 collections lie in the tile.
    """
    check_vector_format(form)
    grid_id, zoom, row, column = address
    grid(grid_id).check(TileId(zoom, column, row))
    here = [pair for pair in chosen if _lies_in(pair[0], grid_id, zoom, row, column)]
    if len(here) > MOST_LAYERS:
        raise InvalidParameter(
            f"{len(here)} collections lie in this tile; name those wanted, at most {MOST_LAYERS}: collections=a,b",
            "collections",
            "",
            f"at most {MOST_LAYERS} ids of collections",
        )
    tile = TileId(zoom, column, row)
    private = any(decision.key != "public" for _, decision in chosen)
    if asof is not None:
        return _past_answer(here, scope, grid_id, tile, asof, environ, private=private)
    layers = [
        (services.tiles.vector_tile(collection, decision, grid_id, tile), collection)
        for collection, decision in here
    ]
    named = [(kept, scope.public_id(collection), collection.id) for kept, collection in layers]
    etag = _joined_etag([f"{kept.etag}{name}" for kept, name, _ in named])
    stale = any(kept.stale for kept, _, _ in named)
    body = b"".join(_layer(kept, name, own) for kept, name, own in named if not kept.empty)
    return Answer(
        body,
        MVT,
        status=200 if body else 204,
        etag=etag,
        cache_control="no-cache" if private else cache_control(services.settings, stale=stale),
        private=private,
    )


def _layer(kept: KeptTile, name: str, own_name: str) -> bytes:
    tile = gunzip_bytes(kept.body)
    return tile if name == own_name else renamed_layers(tile, name)


def _past_answer(
    here: Sequence[Allowed],
    scope: Scope,
    grid_id: str,
    tile: TileId,
    asof: str,
    environ: Environ,
    *,
    private: bool,
) -> Answer:
    """The tile of a past state, made for who asks."""
    sources = [(collection, decision, feature_source(collection)) for collection, decision in here]
    parts = (grid_id, *map(str, tile), asof)
    etag = _joined_etag(
        [
            state_etag(collection, source.change(), decision, *parts, scope.public_id(collection))
            for collection, decision, source in sources
        ]
    )
    if not_modified(environ, etag):
        return Answer(b"", MVT, etag=etag, private=private)
    body = b"".join(
        renamed_layers(
            vector_layer(collection, decision, source, grid_id, tile, asof), scope.public_id(collection)
        )
        for collection, decision, source in sources
    )
    return Answer(body, MVT, status=200 if body else 204, etag=etag, private=private)


def _joined_etag(tags: Sequence[str]) -> str:
    return f'W/"tiles-{blake2s("\n".join(tags).encode(), digest_size=12).hexdigest()}"'


def _lies_in(collection: Collection, grid_id: str, zoom: int, row: int, column: int) -> bool:
    """Whether the collection's extent, or what is drawn of it in the tile's margin, can lie in the tile."""
    try:
        tiles = tile_range(grid_id, bounds84(collection), zoom)
    except TileOutOfRange:
        return True
    return (
        tiles.min_column - 1 <= column <= tiles.max_column + 1
        and tiles.min_row - 1 <= row <= tiles.max_row + 1
    )
