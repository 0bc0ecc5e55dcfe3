"""Tilesets, vector tiles, map tiles and map images: OGC API - Tiles and OGC API - Maps."""

from __future__ import annotations

import contextlib
from typing import Any

from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import context, html_answer, json_answer, respond
from server.http.errors import InvalidParameter, NotFound
from server.http.maps import bounds84
from server.http.ogc.documents import REL, link
from server.http.ogc.map_query import parse_map_query
from server.http.parameters import only
from server.http.tile_request import TileRequest
from server.http.tiles import MAP_FORMATS, MVT, map_tile_answer, vector_tile_answer
from server.registry.catalogue import CRS84, Collection, RepresentationKind
from tiles.grids import grid, grid_ids, tile_matrix_set_document, tileset_limits
from tiles.maps import map_image

Kind = RepresentationKind
_LARGE_MAP = 2_000_000  # pixels: more than a full screen takes a second and more


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    tile = "<grid_id>/<zoom>/<row>/<column>"
    for prefix, kind in (("tiles", Kind.TILES), ("map/tiles", Kind.MAP)):
        name = kind.value
        options = {"kind": kind}
        blueprint.add_url_rule(f"{base}/{prefix}", f"{name}_tilesets", tilesets, defaults=options)
        blueprint.add_url_rule(f"{base}/{prefix}/<grid_id>", f"{name}_tileset", tileset, defaults=options)
    blueprint.add_url_rule(f"{base}/tiles/{tile}", view_func=vector)
    blueprint.add_url_rule(f"{base}/map/tiles/{tile}", view_func=map_tile)
    blueprint.add_url_rule(f"{base}/map", view_func=map_)
    blueprint.add_url_rule("/ogc/tileMatrixSets", view_func=tile_matrix_sets)
    blueprint.add_url_rule("/ogc/tileMatrixSets/<grid_id>", view_func=tile_matrix_set)


def _tileset(url: str, root: str, collection: Collection, kind: RepresentationKind, grid_id: str) -> Any:
    properties = collection.representations[kind].properties
    lowest = int(properties.get("min_zoom", 0))
    highest = min(int(properties.get("max_zoom", 20)), grid(grid_id).max_zoom)
    form, media_type = ("mvt", MVT) if kind is Kind.TILES else ("png", "image/png")
    box = bounds84(collection)
    return {
        "title": f"{collection.title('en')} ({grid_id})",
        "dataType": "vector" if kind is Kind.TILES else "map",
        "crs": grid(grid_id).crs if "://" in grid(grid_id).crs else grid(grid_id).uri,
        "tileMatrixSetURI": grid(grid_id).uri,
        "tileMatrixSetLimits": tileset_limits(grid_id, box, lowest, highest),
        "boundingBox": {"lowerLeft": [box[0], box[1]], "upperRight": [box[2], box[3]], "crs": CRS84},
        "links": [
            link(f"{url}/{grid_id}", "self", "application/json"),
            link(f"{root}/tileMatrixSets/{grid_id}", f"{REL}tiling-scheme", "application/json"),
            link(f"{url}/{grid_id}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}?f={form}", "item", media_type)
            | {"templated": True},
        ],
    }


def _tilejson(url: str, collection: Collection, grid_id: str) -> Any:
    properties = collection.representations[Kind.TILES].properties
    kinds = {"integer": "Number", "number": "Number", "boolean": "Boolean"}
    return {
        "tilejson": "3.0.0",
        "name": collection.title("en"),
        "attribution": collection.attribution,
        "tiles": [f"{url}/{grid_id}/{{z}}/{{y}}/{{x}}?f=mvt"],
        "minzoom": properties.get("min_zoom", 0),
        "maxzoom": properties.get("max_zoom", 20),
        "bounds": list(bounds84(collection)),
        "vector_layers": [
            {
                "id": collection.id,
                "fields": {field.name: kinds.get(field.type, "String") for field in collection.fields},
            }
        ],
    }


def _offered(collection: Collection, kind: RepresentationKind) -> list[str]:
    return list(collection.representations[kind].properties.get("tile_matrix_sets", grid_ids()))


def _url(public_id: str, kind: RepresentationKind) -> str:
    return f"{context().url_of(public_id)}/{'tiles' if kind is Kind.TILES else 'map/tiles'}"


def tilesets(public_id: str, kind: RepresentationKind) -> Response:
    """The tilesets of a collection."""
    here = context()
    here.only()
    collection, _ = here.having(public_id, kind)
    url = _url(public_id, kind)
    document = {
        "links": [link(url, "self", "application/json")],
        "tilesets": [
            _tileset(url, here.root, collection, kind, grid_id) for grid_id in _offered(collection, kind)
        ],
    }
    if here.format("json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="tilesets"
        )
        return respond(html_answer(page))
    return respond(json_answer(document))


def tileset(public_id: str, grid_id: str, kind: RepresentationKind) -> Response:
    """One tileset; `f=tilejson` gives TileJSON 3.0 of a vector tileset."""
    here = context()
    given = here.only()
    collection, _ = here.having(public_id, kind)
    if grid_id not in _offered(collection, kind):
        raise NotFound(
            f"no tileset {grid_id!r} of {public_id!r}; there are: {', '.join(_offered(collection, kind))}"
        )
    url = _url(public_id, kind)
    if given.get("f") == "tilejson" and kind is Kind.TILES:
        return respond(json_answer(_tilejson(url, collection, grid_id)))
    document = _tileset(url, here.root, collection, kind, grid_id)
    if here.format("json", "html") == "html":
        page = here.services.pages.document(
            here.page_request(), document, here.tenant, collection=collection, kind="tilesets"
        )
        return respond(html_answer(page))
    return respond(json_answer(document))


def vector(public_id: str, grid_id: str, zoom: str, row: str, column: str) -> Response:
    """A vector tile."""
    here = context()
    collection, decision = here.having(public_id, Kind.TILES)
    tile = TileRequest.parse(collection, decision, (grid_id, zoom, row, column), here.parameters)
    return respond(vector_tile_answer(tile, here.services.tile_memory, here.environ))


def map_tile(public_id: str, grid_id: str, zoom: str, row: str, column: str) -> Response:
    """A map tile."""
    here = context()
    collection, decision = here.having(public_id, Kind.MAP)
    tile = TileRequest.parse(collection, decision, (grid_id, zoom, row, column), here.parameters)
    answer = map_tile_answer(tile, here.services.maps, here.environ)
    assert answer is not None  # only None when asked for what is cached only
    return respond(answer)


def map_(public_id: str) -> Response:
    """A map image of a collection (OGC API - Maps, core, with bbox, crs and scaling)."""
    here = context()
    collection, decision = here.having(public_id, Kind.MAP)
    given = only(here.parameters, ("f", "lang", "bbox", "bbox-crs", "crs", "width", "height", "transparent"))
    form = here.format(*MAP_FORMATS)
    query = parse_map_query(given, bounds84(collection), here.services.settings.limits.map_pixels)
    if form not in MAP_FORMATS:
        raise InvalidParameter(f"f={form!r}; allowed: {', '.join(MAP_FORMATS)}")
    large = query.width * query.height > _LARGE_MAP
    with here.services.heavy.taken() if large else contextlib.nullcontext():
        body = map_image(
            [here.services.maps.source(collection)],
            query.bbox,
            query.crs,
            query.width,
            query.height,
            media_type=MAP_FORMATS[form],
            background=None if query.transparent and form != "jpeg" else "#ffffff",
        )
    headers = [
        ("Content-Crs", f"<{query.crs_uri}>"),
        ("Content-Bbox", ",".join(f"{number:.10g}" for number in query.answer_bbox)),
    ]
    private = decision.key != "public"
    return respond(Answer(body, MAP_FORMATS[form], headers=headers, private=private, compressible=False))


def tile_matrix_sets() -> Response:
    """The tile matrix sets this server knows."""
    here = context()
    here.only()
    document = {
        "tileMatrixSets": [
            {
                "id": grid_id,
                "title": grid(grid_id).title,
                "uri": grid(grid_id).uri,
                "links": [link(f"{here.root}/tileMatrixSets/{grid_id}", "self", "application/json")],
            }
            for grid_id in grid_ids()
        ]
    }
    if here.format("json", "html") == "html":
        page = here.services.pages.document(here.page_request(), document, here.tenant, kind="tilesets")
        return respond(html_answer(page))
    return respond(json_answer(document))


def tile_matrix_set(grid_id: str) -> Response:
    """One tile matrix set (OGC 17-083r4)."""
    here = context()
    here.only()
    document = tile_matrix_set_document(grid_id)
    if here.format("json", "html") == "html":
        page = here.services.pages.document(here.page_request(), document, here.tenant, kind="tilesets")
        return respond(html_answer(page))
    return respond(json_answer(document))
