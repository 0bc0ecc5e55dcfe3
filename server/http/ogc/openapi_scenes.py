"""OpenAPI entries of terrain, I3S scene layers and the vertical profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.http.three_d_bytes import GLB

Document = dict[str, Any]
_FILTERS = ("bbox", "datetime", "filter", "filter-lang", "q", "asof")
_BINARY = "application/octet-stream"
_MESH = "application/vnd.quantized-mesh"
_TAG = "3D"


def scene_paths(get: Callable[..., Document]) -> Document:
    """The paths; `get` makes one of operation, tag, summary, formats and parameters."""
    one = "/collections/{collectionId}"
    layer = f"{one}/i3s/SceneServer/layers/0"
    node = ("collectionId", "nodeI3S", *_FILTERS)
    tile = ("collectionId", "level3D", "x3D", "y3D")
    pit = ("collectionId", "polygon", "floor", "depth", "slope", "crs")
    service = get("getSceneService", _TAG, "I3S scene service", ("json",), "collectionId", *_FILTERS)
    texture = get("getSceneTexture", _TAG, "Texture of a node", ("image/jpeg", "image/png"), *node)
    values = get("getSceneAttribute", _TAG, "Values of an attribute", (_BINARY,), "attributeI3S", *node)
    mercator = get("getTerrain3857", _TAG, "The same terrain in EPSG:3857", ("json",), "collectionId")
    images = ("image/webp", "image/png")
    return {
        "/profile": get(
            "getProfile",
            _TAG,
            "What lies above, at and under a place",
            ("json",),
            "coords",
            "collections",
            "ground",
        ),
        f"{one}/i3s/SceneServer": service,
        f"{one}/i3s-mesh/SceneServer": get(
            "getSceneMesh", _TAG, "The same as one mesh", ("json",), "collectionId", *_FILTERS
        ),
        layer: get("getSceneLayer", _TAG, "I3S scene layer", ("json",), "collectionId", *_FILTERS),
        f"{layer}/nodepages/{{pageI3S}}": get(
            "getSceneNodes", _TAG, "Sixty-four nodes", ("json",), "collectionId", "pageI3S", *_FILTERS
        ),
        f"{layer}/nodes/{{nodeI3S}}/geometries/0": get(
            "getSceneGeometry", _TAG, "Geometry buffer of a node", (_BINARY,), *node
        ),
        f"{layer}/nodes/{{nodeI3S}}/textures/0": texture,
        f"{layer}/nodes/{{nodeI3S}}/attributes/{{attributeI3S}}/0": values,
        f"{one}/terrain/{{level}}/{{x}}/{{y}}.terrain": get(
            "getTerrainTile", _TAG, "A quantized-mesh tile, rows from the south", (_MESH,), *tile
        ),
        f"{one}/terrain/WebMercatorQuad/layer.json": mercator,
        f"{one}/terrain-rgb": get(
            "getHeightTiles", _TAG, "TileJSON of heights as colours", ("json",), "collectionId"
        ),
        f"{one}/terrain-rgb/{{encodingRGB}}": get(
            "getHeightTilesOf", _TAG, "The same in one encoding", ("json",), "collectionId", "encodingRGB"
        ),
        f"{one}/terrain-rgb/{{encodingRGB}}/{{level}}/{{x}}/{{y}}.webp": get(
            "getHeightTile", _TAG, "A tile of heights as colours", images, "encodingRGB", *tile
        ),
        f"{one}/terrain/excavation": get(
            "getExcavation", _TAG, "A pit: volumes, clipping and its mesh", ("json", GLB), *pit
        ),
    }


def scene_parameters() -> Document:
    """Nodes and pages of scene layers, encodings of heights, the pit."""
    number = {"type": "integer", "minimum": 0, "maximum": 99_999_999}
    metres = {"type": "number", "minimum": -12_000, "maximum": 12_000}
    paths = (
        ("nodeI3S", "Resource of a node", number),
        ("pageI3S", "Number of the page", number),
        ("attributeI3S", "Key of an attribute, such as f_1", {"type": "string", "pattern": "^f_[0-9]+$"}),
        ("encodingRGB", "How heights are written", {"type": "string", "enum": ["mapbox", "terrarium"]}),
    )
    queries = (
        ("ground", "Id of the collection whose terrain is the ground", {"type": "string"}),
        ("polygon", "Outline of the pit as WKT, longitude first", {"type": "string"}),
        ("floor", "Height of its floor, metres in the terrain's own reference", metres),
        ("depth", "Depth below the lowest ground of its edge, metres", metres),
        ("slope", "Slope of its walls, degrees", {"type": "number", "minimum": 10, "maximum": 90}),
    )
    return {
        name: {"name": name, "in": place, "required": place == "path", "description": text, "schema": schema}
        for place, entries in (("path", paths), ("query", queries))
        for name, text, schema in entries
    }
