"""Documents of tilesets: tile set metadata (OGC 17-083r4, clause 9) and TileJSON 3.0, of collections and of the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from providers.tiles.choice import fields_at
from server.http.maps import bounds84
from server.http.ogc.documents import REL, link
from server.http.tiles import MVT
from server.identity.decision import Decision
from server.registry.catalogue import CRS84, Collection, RepresentationKind
from tiles.grids import CGCS2000_QUAD, grid, grid_ids, own_grid_ids, tileset_limits
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

    Vector tiles come in every set: those the collection names first, then CGCS2000Quad, the 3-degree zone the collection lies
    in, and sets of one's own. A set that was named and is gone is left out.
    """
    named = list(collection.representations[kind].properties.get("tile_matrix_sets", grid_ids()))
    if kind is not Kind.TILES:
        return named
    return list(
        dict.fromkeys((*named, *grid_ids(), CGCS2000_QUAD, *zones_of(bounds84(collection)), *own_grid_ids()))
    )


def dataset_grids() -> list[str]:
    """The tile matrix sets of the dataset's vector tilesets: those of the whole world, and one's own."""
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
        "links": [
            link(f"{url}/{grid_id}", "self", "application/json"),
            link(f"{root}/tileMatrixSets/{grid_id}", f"{REL}tiling-scheme", "application/json"),
            link(template, "item", media_type) | {"templated": True},
        ],
    }
    if found.uri:
        document["tileMatrixSetURI"] = found.uri
    return document


def collection_tileset(
    url: str, root: str, allowed: Allowed, kind: RepresentationKind, grid_id: str
) -> dict[str, Any]:
    """Metadata of a tileset of one collection; `url` is that of its list of tilesets."""
    collection, decision = allowed
    zooms = zooms_of(collection, kind, grid_id)
    vector = kind is Kind.TILES
    document = tileset_document(
        collection.title("en"), url, root, grid_id, bounds84(collection), zooms, vector=vector
    )
    if vector:
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
