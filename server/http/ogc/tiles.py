"""Vector tilesets and tiles, and tile matrix sets (OGC API - Tiles); map tiles are in `map_tiles`."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response

from providers.features.parameter_values import parse_asof
from server.http.context import RequestContext, context, json_answer, respond
from server.http.dataset_tiles import (
    MOST_LAYERS,
    chosen_collections,
    dataset_tile_answer,
    parse_collections,
)
from server.http.errors import NotFound
from server.http.files import contained
from server.http.ogc.documents import link
from server.http.ogc.files import send_file
from server.http.ogc.tilesets import (
    ARCHIVE_GRID,
    PMTILES,
    Allowed,
    collection_tileset,
    dataset_grids,
    dataset_tileset,
    dataset_title,
    has_archive,
    offered,
    tilejson,
)
from server.http.ogc.tilesets_answer import document_answer
from server.http.tile_request import TileRequest, parse_address
from server.http.tiles import vector_tile_answer
from server.registry.catalogue import RepresentationKind
from tiles.grids import all_grid_ids, grid, tile_matrix_set_document

Kind = RepresentationKind


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    tile = "<grid_id>/<zoom>/<row>/<column>"
    blueprint.add_url_rule(f"{base}/tiles", "tilesets", tilesets)
    blueprint.add_url_rule(f"{base}/tiles/<grid_id>", "tileset", tileset)
    blueprint.add_url_rule(f"{base}/tiles/{tile}", view_func=vector)
    blueprint.add_url_rule(f"{base}/tiles/<grid_id>.pmtiles", "tile_archive", archive)
    blueprint.add_url_rule("/ogc/tiles", view_func=dataset_tilesets)
    blueprint.add_url_rule("/ogc/tiles/<grid_id>", "dataset_tileset", dataset_tileset_of)
    blueprint.add_url_rule(f"/ogc/tiles/{tile}", view_func=dataset_tile)
    blueprint.add_url_rule("/ogc/tileMatrixSets", view_func=tile_matrix_sets)
    blueprint.add_url_rule("/ogc/tileMatrixSets/<grid_id>", view_func=tile_matrix_set)


def tilesets(public_id: str) -> Response:
    """The vector tilesets of a collection."""
    here = context()
    here.only()
    allowed = here.having(public_id, Kind.TILES)
    url = f"{here.url_of(public_id)}/tiles"
    document = {
        "links": [link(url, "self", "application/json")],
        "tilesets": [
            collection_tileset(url, here.root, allowed, grid_id)
            for grid_id in offered(allowed[0], Kind.TILES)
        ],
    }
    return document_answer(here, document, allowed[0])


def tileset(public_id: str, grid_id: str) -> Response:
    """One vector tileset; `f=tilejson` gives TileJSON 3.0."""
    here = context()
    given = here.only()
    collection, decision = allowed = here.having(public_id, Kind.TILES)
    sets = offered(collection, Kind.TILES)
    if grid_id not in sets and grid_id not in all_grid_ids():
        raise NotFound(f"no tileset {grid_id[:100]!r} of {public_id!r}; there are: {', '.join(sets)}")
    url = f"{here.url_of(public_id)}/tiles"
    if given.get("f") == "tilejson":
        template = f"{url}/{grid_id}/{{z}}/{{y}}/{{x}}?f=mvt"
        layers = [(allowed, collection.id)]
        document = tilejson(collection.title("en"), collection.attribution, template, layers, grid_id)
        return respond(json_answer(document, private=decision.key != "public"))
    return document_answer(here, collection_tileset(url, here.root, allowed, grid_id), collection)


def _chosen(here: RequestContext, given: dict[str, str]) -> tuple[list[tuple[Allowed, str]], str]:
    """The collections of a dataset tileset with their public ids, and the parameter that says so in addresses of tiles.

    Raises NotFound where there is none.
    """
    names = parse_collections(given.get("collections"))
    chosen = chosen_collections(here.services, here.catalogue, here.scope, here.who, names)
    if not chosen:
        raise NotFound("there is no collection with vector tiles here")
    query = "" if names is None else f"&collections={quote(','.join(names), safe=',.')}"
    return [(allowed, here.scope.public_id(allowed[0])) for allowed in chosen], query


def dataset_tilesets() -> Response:
    """The vector tilesets of all collections together."""
    here = context()
    layers, query = _chosen(here, here.only("collections"))
    url = f"{here.root}/tiles"
    some = layers[:MOST_LAYERS]
    document = {
        "links": [link(url, "self", "application/json")],
        "tilesets": [
            dataset_tileset(
                url, here.root, dataset_title(here.services.settings, here.tenant), some, grid_id, query
            )
            for grid_id in dataset_grids()
        ],
    }
    return document_answer(here, document)


def dataset_tileset_of(grid_id: str) -> Response:
    """A vector tileset of all collections together, or of those that `collections` names; `f=tilejson` gives TileJSON 3.0."""
    here = context()
    given = here.only("collections")
    layers, query = _chosen(here, given)
    grid(grid_id)
    url = f"{here.root}/tiles"
    some, title = layers[:MOST_LAYERS], dataset_title(here.services.settings, here.tenant)
    if given.get("f") == "tilejson":
        template = f"{url}/{grid_id}/{{z}}/{{y}}/{{x}}?f=mvt{query}"
        credit = ", ".join(dict.fromkeys(found.attribution for (found, _), _ in some if found.attribution))
        private = any(decision.key != "public" for (_, decision), _ in some)
        return respond(json_answer(tilejson(title, credit, template, some, grid_id), private=private))
    return document_answer(here, dataset_tileset(url, here.root, title, some, grid_id, query))


def dataset_tile(grid_id: str, zoom: str, row: str, column: str) -> Response:
    """A vector tile with a layer for each collection: those that `collections` names, or all that lie in it."""
    here = context()
    given = here.only("collections", "asof")
    names = parse_collections(given.get("collections"))
    asof = given.get("asof")
    return respond(
        dataset_tile_answer(
            here.services,
            chosen_collections(here.services, here.catalogue, here.scope, here.who, names),
            here.scope,
            parse_address((grid_id, zoom, row, column)),
            given.get("f"),
            None if asof is None else parse_asof(asof),
            here.environ,
        )
    )


def archive(public_id: str, grid_id: str) -> Response:
    """The tiles that were built when the collection was published, as one PMTiles file, whole or by byte ranges."""
    here = context()
    here.only()
    collection, decision = here.having(public_id, Kind.TILES)
    if grid_id != ARCHIVE_GRID or not has_archive(collection, decision):
        raise NotFound(f"there is no archive of {grid_id[:100]!r} tiles of {public_id!r}")
    name = str(collection.representations[Kind.TILES].properties["archive"])
    file = contained(collection.directory, name)
    return send_file(here, collection, decision, file, media_type=PMTILES)


def vector(public_id: str, grid_id: str, zoom: str, row: str, column: str) -> Response:
    """A vector tile."""
    here = context()
    collection, decision = here.having(public_id, Kind.TILES)
    tile = TileRequest.parse(collection, decision, (grid_id, zoom, row, column), here.parameters)
    return respond(vector_tile_answer(here.services, tile, here.environ))


def tile_matrix_sets() -> Response:
    """The tile matrix sets this server knows."""
    here = context()
    here.only()
    document = {
        "tileMatrixSets": [
            {
                "id": grid_id,
                "title": grid(grid_id).title,
                **({"uri": uri} if (uri := grid(grid_id).uri) else {}),
                "crs": grid(grid_id).crs,
                "links": [link(f"{here.root}/tileMatrixSets/{grid_id}", "self", "application/json")],
            }
            for grid_id in all_grid_ids()
        ]
    }
    return document_answer(here, document)


def tile_matrix_set(grid_id: str) -> Response:
    """One tile matrix set (OGC 17-083r4)."""
    here = context()
    here.only()
    return document_answer(here, tile_matrix_set_document(grid_id))
