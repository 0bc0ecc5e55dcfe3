"""Tilesets of maps: of a collection, of the dataset, in any of their styles (OGC API - Tiles, and the class `tilesets` of Maps)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import blake2s
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response

from providers.features.parser import parse_datetime
from server.http.answer import Answer, not_modified
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import NotFound
from server.http.map_sources import Drawing
from server.http.ogc.documents import link
from server.http.ogc.map_layers import (
    MapChoice,
    collection_choice,
    dataset_choices,
    drawings_of,
    in_box,
    instant_of,
    log_left_out,
    parse_collections,
)
from server.http.ogc.tilesets import (
    MapTileset,
    dataset_grids,
    dataset_title,
    map_tilejson,
    map_tileset_document,
    offered,
)
from server.http.ogc.tilesets_answer import document_answer
from server.http.parameters import only
from server.http.tile_request import TileRequest, parse_address
from server.http.tiles import cache_control, map_extension, map_tile_answer
from server.registry.catalogue import Collection, RepresentationKind
from tiles.cache import KeptTile
from tiles.errors import MapSourceError, RasterError, TileOutOfRange
from tiles.grids import TileId, all_grid_ids, grid, tile_bounds_crs84

Kind = RepresentationKind
_TILE = "<grid_id>/<zoom>/<row>/<column>"


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    collection = "/ogc/collections/<public_id>"
    for base, name, list_, one, tile in (
        (f"{collection}/map/tiles", "map", tilesets, tileset, map_tile),
        (f"{collection}/styles/<style_id>/map/tiles", "styled_map", tilesets, tileset, map_tile),
        ("/ogc/map/tiles", "dataset_map", dataset_tilesets, dataset_tileset, dataset_tile),
        (
            "/ogc/styles/<style_id>/map/tiles",
            "styled_dataset_map",
            dataset_tilesets,
            dataset_tileset,
            dataset_tile,
        ),
    ):
        blueprint.add_url_rule(base, f"{name}_tilesets", list_)
        blueprint.add_url_rule(f"{base}/<grid_id>", f"{name}_tileset", one)
        blueprint.add_url_rule(f"{base}/{_TILE}", f"{name}_tile", tile)


# --- of one collection -----------------------------------------------------------------------------------------------------------


def _collection_tileset(
    here: RequestContext, public_id: str, choice: MapChoice, style_id: str | None, query: str
) -> MapTileset:
    base = here.url_of(public_id)
    style = "" if style_id is None else f"/styles/{quote(style_id, safe='')}"
    return MapTileset(
        f"{base}{style}/map/tiles",
        here.root,
        choice.collection.title(here.language),
        ((choice.collection, public_id),),
        style=style_id,
        style_url="" if style_id is None else f"{base}{style}",
        query=query,
    )


def tilesets(public_id: str, style_id: str | None = None) -> Response:
    """The map tilesets of a collection, in its default style or a named one."""
    here = context()
    query = _datetime_query(here.only("datetime"))
    choice = collection_choice(here, public_id, style_id)
    made = _collection_tileset(here, public_id, choice, style_id, query)
    return _list(here, made, offered(choice.collection, Kind.MAP), choice.collection)


def tileset(public_id: str, grid_id: str, style_id: str | None = None) -> Response:
    """One of them; `f=tilejson` gives TileJSON 3.0."""
    here = context()
    given = here.only("datetime")
    choice = collection_choice(here, public_id, style_id)
    sets = offered(choice.collection, Kind.MAP)
    if grid_id not in sets and grid_id not in all_grid_ids():
        raise NotFound(f"no map tileset {grid_id[:100]!r} of {public_id!r}; there are: {', '.join(sets)}")
    made = _collection_tileset(here, public_id, choice, style_id, _datetime_query(given))
    private = choice.decision.key != "public"
    return _one(here, made, grid_id, given, private=private, collection=choice.collection)


def map_tile(
    public_id: str, grid_id: str, zoom: str, row: str, column: str, style_id: str | None = None
) -> Response:
    """A map tile of a collection; `datetime` chooses the time."""
    here = context()
    choice = collection_choice(here, public_id, style_id)
    given = only(here.parameters, ("f", "lang", "datetime"))
    asked = TileRequest.parse(
        choice.collection,
        choice.decision,
        (grid_id, zoom, row, column),
        here.parameters,
        ("f", "lang", "datetime"),
    )
    interval = parse_datetime(given["datetime"]) if "datetime" in given else None
    instant = instant_of(choice.collection, interval)
    return respond(map_tile_answer(here.services, asked, style=choice.style, instant=instant))


# --- of the dataset --------------------------------------------------------------------------------------------------------------


def _dataset(
    here: RequestContext, given: dict[str, str], style_id: str | None
) -> tuple[MapTileset, list[MapChoice]]:
    names = parse_collections(here, given.get("collections"))
    choices = dataset_choices(here, names, style_id)
    query = "" if names is None else f"&collections={quote(','.join(names), safe=',.')}"
    style = "" if style_id is None else f"/styles/{quote(style_id, safe='')}"
    made = MapTileset(
        f"{here.root}{style}/map/tiles",
        here.root,
        dataset_title(here.services.settings, here.tenant, here.language),
        tuple((choice.collection, here.scope.public_id(choice.collection)) for choice in choices),
        style=style_id,
        style_url="" if style_id is None else f"{here.root}{style}",
        query=f"{query}{_datetime_query(given)}",
    )
    return made, choices


def dataset_tilesets(style_id: str | None = None) -> Response:
    """The map tilesets of all collections together, or of those that `collections` names."""
    here = context()
    made, _ = _dataset(here, here.only("collections", "datetime"), style_id)
    return _list(here, made, dataset_grids())


def dataset_tileset(grid_id: str, style_id: str | None = None) -> Response:
    """One of them; `f=tilejson` gives TileJSON 3.0."""
    here = context()
    given = here.only("collections", "datetime")
    made, choices = _dataset(here, given, style_id)
    grid(grid_id)
    private = any(choice.decision.key != "public" for choice in choices)
    return _one(here, made, grid_id, given, private=private)


def dataset_tile(grid_id: str, zoom: str, row: str, column: str, style_id: str | None = None) -> Response:
    """A map tile of several collections over each other, the first lowest; each comes from its own kept tiles."""
    here = context()
    given = here.only("collections", "datetime")
    extension = map_extension(given.get("f"))
    address = parse_address((grid_id, zoom, row, column))
    tile = TileId(address[1], address[3], address[2])
    grid(grid_id).check(tile)
    names = parse_collections(here, given.get("collections"))
    interval = parse_datetime(given["datetime"]) if "datetime" in given else None
    choices = dataset_choices(here, names, style_id)
    shown = in_box(here, choices, _around(grid_id, tile), named=names is not None)
    drawings = [drawing for _, drawing in drawings_of(here, shown, interval, named=names is not None)]
    private = any(choice.decision.key != "public" for choice in choices)
    single = len(drawings) == 1
    wanted = extension if single else "png"
    kept = _kept_tiles(here, drawings, grid_id, tile, wanted, named=names is not None)
    return respond(_composed(here, kept, grid_id, tile, extension, private=private, single=single))


def _around(grid_id: str, tile: TileId) -> tuple[float, float, float, float]:
    """The box of a tile in degrees, wider by what is drawn of things beside it."""
    try:
        west, south, east, north = tile_bounds_crs84(grid_id, tile)
    except TileOutOfRange:
        return -180.0, -90.0, 180.0, 90.0
    wide, high = (east - west) / 2, (north - south) / 2
    return (
        max(west - wide, -180.0),
        max(south - high, -90.0),
        min(east + wide, 180.0),
        min(north + high, 90.0),
    )


def _kept_tiles(
    here: RequestContext,
    drawings: Sequence[Drawing],
    grid_id: str,
    tile: TileId,
    extension: str,
    *,
    named: bool,
) -> list[KeptTile]:
    kept = []
    for drawing in drawings:
        try:
            kept.append(here.services.tiles.map_tile(drawing, grid_id, tile, extension))
        except (MapSourceError, RasterError) as error:
            if named or len(drawings) == 1:
                raise
            log_left_out(drawing.collection.qualified_id, error)
    return kept


def _composed(
    here: RequestContext,
    kept: Sequence[KeptTile],
    grid_id: str,
    tile: TileId,
    extension: str,
    *,
    private: bool,
    single: bool,
) -> Answer:
    media_type = f"image/{extension}"
    tags = "\n".join((*(one.etag for one in kept), extension))
    etag = f'W/"map-{blake2s(tags.encode(), digest_size=12).hexdigest()}"'
    stale = any(one.stale for one in kept)
    control = "no-cache" if private else cache_control(here.services.settings, stale=stale)
    made = partial(
        Answer, content_type=media_type, etag=etag, private=private, cache_control=control, compressible=False
    )
    if not_modified(here.environ, etag):
        return made(b"")
    if single and kept:
        return made(kept[0].body)
    matrix = grid(grid_id).matrix(tile.z)
    return made(
        _over_each_other([one.body for one in kept], matrix.tile_width, matrix.tile_height, extension)
    )


def _over_each_other(bodies: Sequence[bytes], width: int, height: int, extension: str) -> bytes:
    import io

    import numpy as np
    from PIL import Image

    from tiles.maps import encode_image

    image = Image.new("RGBA", (width, height))
    for body in bodies:
        with Image.open(io.BytesIO(body)) as layer:
            image.alpha_composite(layer.convert("RGBA"))
    return encode_image(np.asarray(image), f"image/{extension}")


# --- documents -------------------------------------------------------------------------------------------------------------------


def _datetime_query(given: dict[str, str]) -> str:
    """`datetime` as a further parameter of the addresses of tiles. Raises InvalidParameter."""
    text = given.get("datetime")
    if text is None:
        return ""
    parse_datetime(text)
    return f"&datetime={quote(text, safe=':/.')}"


def _list(
    here: RequestContext, made: MapTileset, grids: Sequence[str], collection: Collection | None = None
) -> Response:
    document: dict[str, Any] = {
        "links": [link(made.url, "self", "application/json")],
        "tilesets": [map_tileset_document(made, grid_id) for grid_id in grids],
    }
    return document_answer(here, document, collection)


def _one(
    here: RequestContext,
    made: MapTileset,
    grid_id: str,
    given: dict[str, str],
    *,
    private: bool,
    collection: Collection | None = None,
) -> Response:
    if given.get("f") == "tilejson":
        return respond(json_answer(map_tilejson(made, grid_id), private=private))
    return document_answer(here, map_tileset_document(made, grid_id), collection)
