"""Documents of tilesets: tile set metadata (OGC 17-083r4, clause 9) and TileJSON 3.0, of collections and of the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from providers.tiles.choice import fields_at
from server.http.maps import bounds84
from server.http.ogc.documents import REL, link
from server.http.tiles import MVT
from server.identity.decision import Decision
from server.registry.catalogue import CRS84, Collection, RepresentationKind, Tenant
from server.settings import Settings
from tiles.grids import (
    CGCS2000_QUAD,
    HALF_CIRCUMFERENCE,
    all_grid_ids,
    grid,
    grid_ids,
    own_grid_ids,
    tileset_limits,
)
from tiles.grids_china import zones_of

Kind = RepresentationKind
PMTILES = "application/vnd.pmtiles"
ARCHIVE_GRID = "WebMercatorQuad"
_DIMENSIONS = {
    "Point": 0,
    "MultiPoint": 0,
    "LineString": 1,
    "MultiLineString": 1,
    "Polygon": 2,
    "MultiPolygon": 2,
}
_TILEJSON_TYPES = {"integer": "Number", "number": "Number", "boolean": "Boolean"}

type Allowed = tuple[Collection, Decision]
type Box = tuple[float, float, float, float]


def offered(collection: Collection, kind: RepresentationKind) -> list[str]:
    """The tile matrix sets of a collection's tilesets, in their order.

    Tiles come in every set: those the collection names first, then CGCS2000Quad, the 3-degree zone the collection lies in, and
    sets of one's own. A set that was named and is gone is left out.
    """
    named = collection.representations[kind].properties.get("tile_matrix_sets", grid_ids())
    there = set(all_grid_ids())
    own = (*grid_ids(), CGCS2000_QUAD, *zones_of(bounds84(collection)), *own_grid_ids())
    return [name for name in dict.fromkeys((*named, *own)) if name in there]


def dataset_grids() -> list[str]:
    """The tile matrix sets of the dataset's tilesets: those of the whole world, and one's own."""
    return [*grid_ids(), CGCS2000_QUAD, *own_grid_ids()]


def zooms_of(collection: Collection, kind: RepresentationKind, grid_id: str) -> tuple[int, int]:
    """The zooms a tileset lists; tiles are made at any zoom of the tile matrix set."""
    properties = collection.representations[kind].properties
    lowest, highest = grid(grid_id).min_zoom, grid(grid_id).max_zoom
    first = min(max(int(properties.get("min_zoom", 0)), lowest), highest)
    return first, max(min(int(properties.get("max_zoom", 20)), highest), first)


def layer_schema(collection: Collection, decision: Decision, zooms: tuple[int, int]) -> dict[str, Any]:
    """The attributes of a layer as a JSON schema: all that its tiles carry at any of these zooms."""
    return {
        "type": "object",
        "properties": {
            field.name: {"type": field.type} | ({"format": field.format} if field.format else {})
            for field in collection.fields
            if field.name in set(_carried(collection, decision, zooms))
        },
    }


def _carried(collection: Collection, decision: Decision, zooms: tuple[int, int]) -> Iterable[str]:
    names = [field.name for field in collection.fields if field.name not in decision.hidden_fields]
    choice = collection.representations[Kind.TILES].properties.get("tile_fields")
    if not choice:
        return names
    return {name for zoom in range(zooms[0], zooms[1] + 1) for name in fields_at(choice, zoom, names)}


def layer(
    collection: Collection, decision: Decision, public_id: str, zooms: tuple[int, int], url: str
) -> dict[str, Any]:
    """A layer of a vector tileset."""
    properties = collection.representations.get(Kind.FEATURES)
    geometry_type = str(properties.properties.get("geometry_type", "")) if properties else ""
    found: dict[str, Any] = {
        "id": public_id,
        "title": collection.title("en"),
        "dataType": "vector",
        "minTileMatrix": str(zooms[0]),
        "maxTileMatrix": str(zooms[1]),
        "boundingBox": _bounding_box(bounds84(collection)),
        "propertiesSchema": layer_schema(collection, decision, zooms),
        "links": [link(url, "geodata", "application/json")],
    }
    if geometry_type in _DIMENSIONS:
        found["geometryDimension"] = _DIMENSIONS[geometry_type]
    return found


def _bounding_box(box: Box) -> dict[str, Any]:
    return {"lowerLeft": [box[0], box[1]], "upperRight": [box[2], box[3]], "crs": CRS84}


def _center_point(box: Box, grid_id: str, zooms: tuple[int, int]) -> dict[str, Any]:
    """The middle of the extent, and the zoom at which about one tile shows all of it."""
    west, south, east, north = box
    east = east if west <= east else east + 360.0
    middle = (west + east) / 2
    tiling = grid(grid_id)
    metres = max(east - west, north - south) * HALF_CIRCUMFERENCE / 180.0
    fitting = [
        zoom
        for zoom in range(zooms[0], zooms[1] + 1)
        if tiling.cell_size(zoom) * tiling.metres_per_unit * tiling.matrix(zoom).tile_width >= metres
    ]
    return {
        "coordinates": [middle - 360.0 if middle > 180.0 else middle, (south + north) / 2],
        "crs": CRS84,
        "tileMatrix": str(fitting[-1] if fitting else zooms[0]),
    }


def tileset_document(
    title: str,
    url: str,
    root: str,
    grid_id: str,
    box: Box,
    zooms: tuple[int, int],
    *,
    vector: bool,
    query: str = "",
) -> dict[str, Any]:
    """Metadata of one tileset; `url` is that of the list of tilesets, `query` further parameters of its tiles."""
    form, media_type = ("mvt", MVT) if vector else ("png", "image/png")
    found = grid(grid_id)
    template = f"{url}/{grid_id}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}?f={form}{query}"
    document: dict[str, Any] = {
        "title": f"{title} ({grid_id})",
        "dataType": "vector" if vector else "map",
        "crs": found.crs if "://" in found.crs else found.uri,
        "tileMatrixSetLimits": tileset_limits(grid_id, box, *zooms),
        "boundingBox": _bounding_box(box),
        "centerPoint": _center_point(box, grid_id, zooms),
        "links": [
            link(f"{url}/{grid_id}", "self", "application/json"),
            link(f"{root}/tileMatrixSets/{grid_id}", f"{REL}tiling-scheme", "application/json"),
            link(template, "item", media_type) | {"templated": True},
        ],
    }
    if found.uri:
        document["tileMatrixSetURI"] = found.uri
    return document


def collection_tileset(url: str, root: str, allowed: Allowed, grid_id: str) -> dict[str, Any]:
    """Metadata of a vector tileset of one collection; `url` is that of its list of tilesets."""
    collection, decision = allowed
    zooms = zooms_of(collection, Kind.TILES, grid_id)
    document = tileset_document(
        collection.title("en"), url, root, grid_id, bounds84(collection), zooms, vector=True
    )
    above = url.rsplit("/tiles", 1)[0]
    document["layers"] = [layer(collection, decision, collection.id, zooms, above)]
    document["links"].append(
        link(f"{url}/{grid_id}?f=tilejson", "describedby", "application/json", "TileJSON")
    )
    if has_archive(collection, decision) and grid_id == ARCHIVE_GRID:
        document["links"].append(
            link(f"{url}/{ARCHIVE_GRID}.pmtiles", "enclosure", PMTILES, "PMTiles, as published")
        )
    return document


def has_archive(collection: Collection, decision: Decision) -> bool:
    """Whether the collection's archive is there, and this client's to have: it holds every field."""
    return "archive" in collection.representations[Kind.TILES].properties and not decision.hidden_fields


def dataset_tileset(
    url: str, root: str, title: str, chosen: Sequence[tuple[Allowed, str]], grid_id: str, query: str
) -> dict[str, Any]:
    """Metadata of a tileset of several collections (each with its public id)."""
    box = union([bounds84(collection) for (collection, _), _ in chosen])
    zooms = [zooms_of(collection, Kind.TILES, grid_id) for (collection, _), _ in chosen]
    span = (min(low for low, _ in zooms), max(high for _, high in zooms))
    document = tileset_document(title, url, root, grid_id, box, span, vector=True, query=query)
    document["layers"] = [
        layer(*allowed, public_id, zoom, f"{root}/collections/{public_id}")
        for (allowed, public_id), zoom in zip(chosen, zooms, strict=True)
    ]
    document["links"].append(
        link(f"{url}/{grid_id}?f=tilejson{query}", "describedby", "application/json", "TileJSON")
    )
    return document


def union(boxes: Sequence[Box]) -> Box:
    """The box around boxes; one over the antimeridian makes it the whole round."""
    if any(box[0] > box[2] for box in boxes):
        west, east = -180.0, 180.0
    else:
        west, east = min(box[0] for box in boxes), max(box[2] for box in boxes)
    return west, min(box[1] for box in boxes), east, max(box[3] for box in boxes)


def tilejson(
    title: str, attribution: str, template: str, layers: Sequence[tuple[Allowed, str]], grid_id: str
) -> dict[str, Any]:
    """TileJSON 3.0 of a vector tileset."""
    zooms = [zooms_of(collection, Kind.TILES, grid_id) for (collection, _), _ in layers]
    return {
        "tilejson": "3.0.0",
        "name": title,
        "attribution": attribution,
        "tiles": [template],
        "minzoom": min(low for low, _ in zooms),
        "maxzoom": max(high for _, high in zooms),
        "bounds": list(union([bounds84(collection) for (collection, _), _ in layers])),
        "vector_layers": [
            {
                "id": name,
                "minzoom": low,
                "maxzoom": high,
                "fields": {
                    field.name: _TILEJSON_TYPES.get(field.type, "String")
                    for field in collection.fields
                    if field.name in set(_carried(collection, decision, (low, high)))
                },
            }
            for ((collection, decision), name), (low, high) in zip(layers, zooms, strict=True)
        ],
    }


# --- map tilesets ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MapTileset:
    """Map tiles of one collection or several, the first lowest, each with its public id.

    `url` is that of the list of tilesets, `root` that of the API; `style` and `style_url` of a named style; `query` further
    parameters of its tiles.
    """

    url: str
    root: str
    title: str
    collections: tuple[tuple[Collection, str], ...]
    style: str | None = None
    style_url: str = ""
    query: str = ""

    @property
    def box(self) -> Box:
        """The extent of all in CRS84."""
        return union([bounds84(collection) for collection, _ in self.collections])

    def zooms(self, grid_id: str) -> tuple[int, int]:
        """The zooms the tileset lists."""
        spans = [zooms_of(collection, Kind.MAP, grid_id) for collection, _ in self.collections]
        return min(low for low, _ in spans), max(high for _, high in spans)


def map_tileset_document(made: MapTileset, grid_id: str) -> dict[str, Any]:
    """Metadata of one map tileset (OGC 17-083r4, clause 9)."""
    zooms = made.zooms(grid_id)
    document = tileset_document(
        made.title, made.url, made.root, grid_id, made.box, zooms, vector=False, query=made.query
    )
    document["mediaTypes"] = ["image/png", "image/jpeg", "image/webp"]
    own = f"{made.url}/{grid_id}"
    for form in ("jpeg", "webp"):
        template = f"{own}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}?f={form}{made.query}"
        document["links"].append(link(template, "item", f"image/{form}") | {"templated": True})
    document["links"].append(
        link(f"{own}?f=tilejson{made.query}", "describedby", "application/json", "TileJSON")
    )
    document["layers"] = [
        _map_layer(made, collection, name, grid_id) for collection, name in made.collections
    ]
    if made.style is not None:
        document["style"] = _style(made.style, made.style_url)
    credit = _credits(made)
    if credit:
        document["attribution"] = credit
    return document


def _map_layer(made: MapTileset, collection: Collection, name: str, grid_id: str) -> dict[str, Any]:
    low, high = zooms_of(collection, Kind.MAP, grid_id)
    url = f"{made.root}/collections/{name}"
    found: dict[str, Any] = {
        "id": name,
        "title": collection.title("en"),
        "dataType": "map",
        "minTileMatrix": str(low),
        "maxTileMatrix": str(high),
        "boundingBox": _bounding_box(bounds84(collection)),
        "links": [
            link(url, "geodata", "application/json"),
            link(f"{url}/styles", f"{REL}styles", "application/json"),
        ],
    }
    if made.style is not None:
        found["style"] = _style(made.style, f"{url}/styles/{made.style}")
    return found


def _style(style: str, url: str) -> dict[str, Any]:
    return {"id": style, "links": [link(url, "stylesheet", "application/vnd.mapbox.style+json")]}


def _credits(made: MapTileset) -> str:
    return ", ".join(dict.fromkeys(one.attribution for one, _ in made.collections if one.attribution))


def map_tilejson(made: MapTileset, grid_id: str) -> dict[str, Any]:
    """TileJSON 3.0 of a map tileset."""
    low, high = made.zooms(grid_id)
    west, south, east, north = box = made.box
    center = (
        [(west + east) / 2, (south + north) / 2, low] if west <= east else [180.0, (south + north) / 2, low]
    )
    return {
        "tilejson": "3.0.0",
        "name": made.title,
        "attribution": _credits(made),
        "tiles": [f"{made.url}/{grid_id}/{{z}}/{{y}}/{{x}}?f=png{made.query}"],
        "minzoom": low,
        "maxzoom": high,
        "bounds": list(box),
        "center": center,
        "format": "png",
        "tileSize": grid(grid_id).matrix(low).tile_width,
    }


def dataset_title(settings: Settings, tenant: Tenant | None, language: str = "en") -> str:
    """The title of all collections of a view together."""
    if tenant is not None:
        return tenant.titles.get(language) or tenant.titles["en"]
    return settings.pages.title_zh if language == "zh" else settings.pages.title_en
