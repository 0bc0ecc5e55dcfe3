"""Vector tiles of several collections at once: one layer for each (OGC API - Tiles, dataset tilesets)."""

from __future__ import annotations

from collections.abc import Sequence

from isal import isal_zlib

from server.http.answer import Answer, Environ, not_modified
from server.http.errors import InvalidParameter
from server.http.features import feature_source, state_etag
from server.http.maps import bounds84
from server.http.scope import Scope
from server.http.services import Services
from server.http.tile_request import TileRequest
from server.http.tiles import MVT, KeptTile, check_vector_format, made_tile
from server.identity.decision import Decision, Principal
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from tiles.errors import TileOutOfRange
from tiles.grids import TileId, grid, tile_range

MOST_LAYERS = 20
"""The most collections of one tile."""
_GZIP_WINDOW = 31

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
    layers = []
    for collection, decision in here:
        source = feature_source(collection)
        tile = TileRequest(collection, decision, grid_id, zoom, row, column, None, asof)
        layers.append((tile, source, source.change(), scope.public_id(collection)))
    tags = [
        state_etag(tile.collection, change, tile.decision, *map(str, address), asof or "", name)
        for tile, _, change, name in layers
    ]
    etag = _joined_etag(tags)
    private = any(decision.key != "public" for _, decision in chosen)
    if not_modified(environ, etag):
        return Answer(b"", MVT, etag=etag, private=private)
    body = b"".join(
        _plain(made_tile(tile, source, change, services.tile_memory, name))
        for tile, source, change, name in layers
    )
    return Answer(body, MVT, status=200 if body else 204, etag=etag, private=private)


def _joined_etag(tags: Sequence[str]) -> str:
    from hashlib import blake2s

    return f'W/"tiles-{blake2s("".join(tags).encode(), digest_size=12).hexdigest()}"'


def _plain(kept: KeptTile) -> bytes:
    return isal_zlib.decompress(kept.body, _GZIP_WINDOW) if kept.gzipped and kept.body else kept.body


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
