"""OpenAPI entries of 3D tilesets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.http.three_d_bytes import GLB, SUBTREE, TILES_JSON

Document = dict[str, Any]
_FILTERS = ("bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs", "q", "asof")
_JSON = ("json", *TILES_JSON)
_TAG = "3D"


def three_d_paths(get: Callable[..., Document]) -> Document:
    """The paths; `get` makes one of operation, tag, summary, formats and parameters."""
    one = "/collections/{collectionId}/3dtiles"
    tile = ("collectionId", "level3D", "x3D", "y3D")
    address = "{level}/{x}/{y}"
    return {
        one: get("get3DTiles", _TAG, "3D Tiles 1.1 tileset", _JSON, "collectionId", *_FILTERS),
        f"{one}/tileset.json": get(
            "get3DTileset",
            _TAG,
            "3D Tiles 1.1 tileset, with edits and filters",
            _JSON,
            "collectionId",
            *_FILTERS,
        ),
        f"{one}/subtrees/{address}.subtree": get(
            "get3DSubtree", _TAG, "A subtree of implicit tiling", (SUBTREE,), *tile, *_FILTERS
        ),
        f"{one}/content/{address}.glb": get(
            "get3DContent", _TAG, "A tile as binary glTF", (GLB,), *tile, *_FILTERS
        ),
        f"{one}/explicit/tileset.json": get(
            "get3DExplicitTileset",
            _TAG,
            "3D Tiles 1.1 without implicit tiling",
            _JSON,
            "collectionId",
            *_FILTERS,
        ),
        f"{one}/1.0/tileset.json": get(
            "get3DTileset10", _TAG, "3D Tiles 1.0", _JSON, "collectionId", *_FILTERS
        ),
        f"{one}/1.0/content/{address}.b3dm": get(
            "get3DContent10", _TAG, "A tile as batched 3D model", (SUBTREE,), *tile, *_FILTERS
        ),
        "/3dtiles/tileset.json": get(
            "getDataset3DTileset",
            _TAG,
            "3D Tiles 1.1 tileset of all collections",
            _JSON,
            "collections",
        ),
    }


def three_d_parameters() -> Document:
    """The place of a tile in the quadtree."""
    number = {"type": "integer", "minimum": 0, "maximum": 999999999}
    return {
        f"{name}3D": {"name": name, "in": "path", "required": True, "description": text, "schema": schema}
        for name, text, schema in (
            ("level", "Level of the tile; 0 is the root", {"type": "integer", "minimum": 0, "maximum": 30}),
            ("x", "Column of the tile, from the west", number),
            ("y", "Row of the tile, from the south", number),
        )
    }
