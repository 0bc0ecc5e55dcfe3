"""The part of the OpenAPI definition about maps and map tilesets; operation ids end as OGC API - Maps wants them (Table 11)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.http.ogc.map_query import LONGEST_SIDE, MM_PER_PIXEL

Document = dict[str, Any]
type Get = Callable[..., Document]

_SPACE = ("bbox", "bbox-crs", "mapSubset", "subset-crs", "center", "center-crs", "crs")
_SIZE = ("width", "height", "scale-denominator", "mm-per-pixel")
_GROUND = ("bgcolor", "transparent", "void-color", "void-transparent")
_MAP = (*_SPACE, *_SIZE, "datetime", *_GROUND)
_MAP_FORMS = ("png", "jpeg", "webp", "gtiff", "html")
_TILE_FORMS = ("png", "jpeg", "webp")
_ORIGINS = (
    ("/collections/{collectionId}", ("collectionId",), "collection", "a collection"),
    (
        "/collections/{collectionId}/styles/{styleId}",
        ("collectionId", "styleId"),
        "collection.style",
        "a collection in a style",
    ),
    ("", ("collections",), "dataset", "all collections"),
    ("/styles/{styleId}", ("styleId", "collections"), "dataset.style", "all collections in a style"),
)


def map_parameters() -> Document:
    """`components.parameters` that only maps have."""
    text = {"type": "string"}
    side = {"type": "integer", "minimum": 1, "maximum": LONGEST_SIDE}
    numbers = {"type": "array", "items": {"type": "number"}}
    number = {"type": "number", "minimum": 0, "exclusiveMinimum": True}
    colour = text | {"default": "0xFFFFFF"}
    return {
        "styleId": {
            "name": "styleId",
            "in": "path",
            "required": True,
            "description": "Id of a style",
            "schema": text,
        },
        "mapSubset": _query(
            "subset",
            'A part of axes, like Lat(60.1:60.2),Lon(24.9:25.0) or time("2024-05-01T00:00:00Z")',
            {"type": "array", "items": {"type": "string"}},
        ),
        "subset-crs": _query("subset-crs", "CRS of subset, a URI; CRS84 where absent", text),
        "center": _query("center", "Middle of the map", numbers | {"minItems": 2, "maxItems": 2}),
        "center-crs": _query("center-crs", "CRS of center, a URI; CRS84 where absent", text),
        "width": _query("width", "Width in pixels", side),
        "height": _query("height", "Height in pixels", side),
        "scale-denominator": _query("scale-denominator", "1 to so many on the ground", number),
        "mm-per-pixel": _query(
            "mm-per-pixel", "Size of a pixel in millimetres", number | {"default": MM_PER_PIXEL}
        ),
        "bgcolor": _query("bgcolor", "Colour below the data: 0xRRGGBB or a name", colour),
        "transparent": _query("transparent", "Transparent background", {"type": "boolean"}),
        "void-color": _query("void-color", "Colour where the CRS has no place on Earth", colour),
        "void-transparent": _query("void-transparent", "Transparent there", {"type": "boolean"}),
    }


def _query(name: str, description: str, schema: Document) -> Document:
    parameter = {
        "name": name,
        "in": "query",
        "description": description,
        "required": False,
        "schema": schema,
    }
    return parameter | ({"style": "form", "explode": False} if schema.get("type") == "array" else {})


def map_paths(get: Get) -> Document:
    """`paths` of maps and map tilesets; `get` makes a GET operation (see openapi)."""
    paths: Document = {}
    for base, parameters, origin, of_what in _ORIGINS:
        paths |= _paths(get, base, parameters, origin, of_what)
    return paths


def _paths(get: Get, base: str, parameters: Sequence[str], origin: str, of_what: str) -> Document:
    place = ("tileMatrixSetId", "tileMatrix", "tileRow", "tileCol")
    tile = "{tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}"
    documents = ("json", "html")
    made = get(f".{origin}.getMap", "Maps", f"A map of {of_what}", _MAP_FORMS, *parameters, *_MAP)
    made["get"]["responses"] |= {"204": {"description": "The subset lies outside its axes"}, **_busy()}
    del made["get"]["responses"]["304"]
    tiles = get(
        f".{origin}.map.getTile",
        "Tiles",
        f"A map tile of {of_what}",
        _TILE_FORMS,
        *place,
        *parameters,
        "datetime",
    )
    tiles["get"]["responses"] |= _busy()
    return {
        f"{base}/map": made,
        f"{base}/map/tiles": get(
            f".{origin}.map.getTileSetsList",
            "Tiles",
            f"Map tilesets of {of_what}",
            documents,
            *parameters,
            "datetime",
        ),
        f"{base}/map/tiles/{{tileMatrixSetId}}": get(
            f".{origin}.map.getTileSet",
            "Tiles",
            f"A map tileset of {of_what}",
            documents,
            "tileMatrixSetId",
            *parameters,
            "datetime",
        ),
        f"{base}/map/tiles/{tile}": tiles,
    }


def _busy() -> Mapping[str, Document]:
    return {"503": {"$ref": "#/components/responses/Problem"}}
