"""Terrain of a collection: quantized-mesh in two tilings, heights as colours for flat maps."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response

from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import InvalidParameter, NotFound
from server.http.features import state_etag
from server.http.files import contained
from server.http.ogc import terrain_excavation
from server.http.ogc.files import send_file
from server.http.ogc.terrain_sources import terrain_of
from server.http.tile_changes import change_log
from server.http.tile_forms import rights_digest
from server.http.tiles import cache_control, kept_answer
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind
from tiles.cache.areas import form_with_reach
from tiles.cache.tile import TileName, Tileset
from tiles.terrain.recipe import read_recipe
from tiles.terrain.terrain_rgb import (
    DEEPEST_RGB_LEVEL,
    ENCODINGS,
    FORMATS,
    SIZES,
    Encoding,
    ImageFormat,
    deepest_rgb_level,
)
from tiles.terrain.tiling import GEOGRAPHIC, GRIDS, TerrainGrid

Kind = RepresentationKind
_QUANTIZED_MESH = "application/vnd.quantized-mesh;extensions=octvertexnormals-watermask-metadata"
_GRIDS = "|".join(GRIDS)
_LAYER = re.compile(rf"(?:({_GRIDS})/)?layer\.json")
_TILE = re.compile(rf"(?:({_GRIDS})/)?(\d{{1,2}})/(\d{{1,8}})/(\d{{1,8}})\.terrain", re.ASCII)
_RGB_TILE = re.compile(
    rf"({'|'.join(ENCODINGS)})/(\d{{1,2}})/(\d{{1,8}})/(\d{{1,8}})(@2x)?\.({'|'.join(FORMATS)})", re.ASCII
)
_MESH_REACH, _RGB_REACH = 16, 4
"""By how many of 256 pixels of a tile its neighbourhood matters: normals and what a coarse model merges."""


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/terrain/<path:path>", "terrain", terrain)
    blueprint.add_url_rule(f"{base}/terrain-rgb", "terrain_rgb", terrain_rgb)
    blueprint.add_url_rule(f"{base}/terrain-rgb/<path:path>", "terrain_rgb_file", terrain_rgb)
    terrain_excavation.register(blueprint)


class _Asked(NamedTuple):
    """The collection a request is about, and what it may see of it."""

    here: RequestContext
    collection: Collection
    decision: Decision

    @property
    def private(self) -> bool:
        return self.decision.key != "public"


def terrain(public_id: str, path: str) -> Response:
    """layer.json and quantized-mesh tiles. Cesium adds parameters of its own (`v`, `extensions`), which change nothing.

    A tile that is not there is 404, which tells Cesium to enlarge the one above it.
    """
    here = context()
    here.only("v", "extensions")
    asked = _Asked(here, *here.having(public_id, Kind.TERRAIN))
    layer, tile = _LAYER.fullmatch(path), _TILE.fullmatch(path)
    if layer is not None:
        return _layer(asked, GRIDS[layer[1]] if layer[1] else GEOGRAPHIC)
    if tile is not None:
        grid = GRIDS[tile[1]] if tile[1] else GEOGRAPHIC
        return _tile(asked, grid, int(tile[2]), int(tile[3]), int(tile[4]))
    raise NotFound(
        f"there is no {path[:200]!r} here; terrain has layer.json and Z/X/Y.terrain, both also below {' and '.join(GRIDS)}"
    )


def _layer(asked: _Asked, grid: TerrainGrid) -> Response:
    collection = asked.collection
    file = collection.path_of(Kind.TERRAIN)
    if grid is GEOGRAPHIC and read_recipe(file.parent) is None:
        return send_file(asked.here, collection, asked.decision, file.resolve())
    change = change_log(collection).change()
    document = terrain_of(collection).layer_json(grid, f"{collection.generation}.{_number(change)}.0")
    etag = state_etag(collection, change, asked.decision, "terrain", grid.id)
    return respond(json_answer(document, etag=etag, private=asked.private))


def _number(change: Any) -> str:
    """A state of the data as part of a version: digits only."""
    return str(change) if isinstance(change, int) else "0"


def _tile(asked: _Asked, grid: TerrainGrid, z: int, x: int, y: int) -> Response:
    collection, decision = asked.collection, asked.decision
    folder = collection.path_of(Kind.TERRAIN).parent
    control = "no-cache" if asked.private else cache_control(asked.here.services.settings)
    if grid is GEOGRAPHIC and z <= _prebuilt(collection):
        file = contained(folder, f"{z}/{x}/{y}.terrain")
        return send_file(
            asked.here, collection, decision, file, media_type=_QUANTIZED_MESH, cache_control=control
        )
    tiles = terrain_of(collection)
    if not tiles.availability(grid).has(z, x, y):
        raise NotFound(f"this terrain has no tile {z}/{x}/{y} of {grid.id}")
    name = _name(collection, decision, "terrain", _MESH_REACH, grid.id, "terrain")
    row = grid.size(z)[1] - 1 - y
    kept = asked.here.services.tiles.made(
        TileName(name, z, x, row), collection, lambda: tiles.tile(z, x, y, grid.id) or b""
    )
    return respond(kept_answer(asked.here.services, kept._replace(media_type=_QUANTIZED_MESH), decision))


def _prebuilt(collection: Collection) -> int:
    """The deepest level that is files; terrains of an earlier release are files altogether."""
    kept = collection.representations[Kind.TERRAIN].properties.get("prebuilt")
    return kept if isinstance(kept, int) else 99


def _name(
    collection: Collection, decision: Decision, form: str, reach: int, grid_id: str, extension: str
) -> Tileset:
    rights = rights_digest(decision)
    return Tileset(
        collection.tenant,
        collection.id,
        collection.generation,
        form_with_reach(f"{form}-{rights}" if rights else form, reach),
        grid_id,
        extension,
    )


def terrain_rgb(public_id: str, path: str = ENCODINGS[0]) -> Response:
    """TileJSON of the heights as colours, and its tiles: ENCODING/Z/X/Y.webp or .png, with @2x 512 pixels wide."""
    here = context()
    asked = _Asked(here, *here.having(public_id, Kind.TERRAIN))
    tile = _RGB_TILE.fullmatch(path)
    if tile is not None:
        here.only("v")
        encoding = next(one for one in ENCODINGS if one == tile[1])
        form = next(one for one in FORMATS if one == tile[6])
        place = (int(tile[2]), int(tile[3]), int(tile[4]))
        return _rgb_tile(asked, encoding, form, SIZES[tile[5] is not None], place)
    if path in ENCODINGS:
        return _tilejson(asked, public_id, path)
    raise NotFound(
        f"there is no {path[:200]!r} here; heights as colours are {', '.join(ENCODINGS)}, and tiles below them Z/X/Y.webp or .png"
    )


def _tilejson(asked: _Asked, public_id: str, encoding: str) -> Response:
    """TileJSON 2.2 (3.0 is for vector tiles) with the members that MapLibre takes for a source of type raster-dem."""
    given = asked.here.only("size", "format")
    size = _choice(given, "size", [str(one) for one in SIZES], str(SIZES[0]))
    form = _choice(given, "format", list(FORMATS), FORMATS[0])
    collection = asked.collection
    surface = terrain_of(collection).surface
    west, south, east, north = surface.bounds
    middle = (max(south, -85.0) + min(north, 85.0)) / 2.0
    change = change_log(collection).change()
    version = f"{collection.generation}.{_number(change)}"
    large = "@2x" if size == str(SIZES[1]) else ""
    base = f"{asked.here.url_of(public_id)}/terrain-rgb/{encoding}"
    deepest = deepest_rgb_level(surface.model.pixel_size(), middle, int(size))
    document = {
        "tilejson": "2.2.0",
        "name": collection.title(asked.here.language),
        "attribution": collection.attribution,
        "version": "1.0.0",
        "scheme": "xyz",
        "format": form,
        "encoding": encoding,
        "tileSize": int(size),
        "minzoom": 0,
        "maxzoom": deepest,
        "bounds": [west, max(south, -85.051129), min(east, 180.0), min(north, 85.051129)]
        if east <= 180.0
        else [-180.0, max(south, -85.051129), 180.0, min(north, 85.051129)],
        "center": [round((west + east) / 2.0, 6), round((south + north) / 2.0, 6), max(deepest - 3, 0)],
        "tiles": [f"{base}/{{z}}/{{x}}/{{y}}{large}.{form}?{urlencode({'v': version})}"],
    }
    parts = ("terrain-rgb", encoding, size, form, asked.here.language, asked.here.root)
    etag = state_etag(collection, change, asked.decision, *parts)
    return respond(json_answer(document, etag=etag, private=asked.private))


def _choice(given: dict[str, str], name: str, allowed: list[str], default: str) -> str:
    value = given.get(name, default)
    if value not in allowed:
        words = ", ".join(allowed)
        raise InvalidParameter(f"{name}={value[:200]!r}; allowed: {words}", name, value, words)
    return value


def _rgb_tile(
    asked: _Asked, encoding: Encoding, form: ImageFormat, size: int, place: tuple[int, int, int]
) -> Response:
    z, x, y = place
    if z > DEEPEST_RGB_LEVEL or x >= 2**z or y >= 2**z:
        raise NotFound(
            f"there is no tile {z}/{x}/{y}; levels are 0 to {DEEPEST_RGB_LEVEL}, columns and rows below 2**level"
        )
    tiles = terrain_of(asked.collection)
    name = _name(
        asked.collection, asked.decision, f"terrain-{encoding}-{size}", _RGB_REACH, "WebMercatorQuad", form
    )
    kept = asked.here.services.tiles.made(
        TileName(name, z, x, y),
        asked.collection,
        lambda: tiles.rgb(z, x, y, size=size, encoding=encoding, form=form),
    )
    return respond(kept_answer(asked.here.services, kept, asked.decision))
