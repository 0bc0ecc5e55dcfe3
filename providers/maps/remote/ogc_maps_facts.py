"""What an OGC API says of a collection's map (20-058) and map tiles (20-057)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

from providers.errors import StoreError
from providers.features.remote.documents import shown, text_of
from providers.maps.remote.facts import RemoteMapFacts, given_box, json_document, kept_members
from providers.maps.remote.image_services import equals_of, plain_crs
from providers.maps.remote.pyramid import RemoteMatrix, TilePyramid, sorted_matrices
from providers.maps.remote.wmts_facts import crs_name
from providers.outgoing import Client
from tiles.crs import parse_crs
from tiles.errors import UnknownTileMatrixSet, UnsupportedCrs
from tiles.grids import grid

_MAP = ("http://www.opengis.net/def/rel/ogc/1.0/map", "[ogc-rel:map]")
_TILESETS = ("http://www.opengis.net/def/rel/ogc/1.0/tilesets-map", "[ogc-rel:tilesets-map]")
_IMAGES = ("image/png", "image/webp", "image/jpeg")
_MAXIMUM_EDGE = 2048


def read(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """The collection `layer` of a landing page, or the collection whose address is given. Raises StoreError, RemoteUnavailable."""
    url = str(description["url"]).rstrip("/")
    layer = str(description.get("layer") or "")
    if layer:
        url = f"{url.removesuffix('/collections')}/collections/{layer}"
    found = json_document(client, url, {"f": "json"})
    links = list(_links(found, url))
    map_link = _first(links, _MAP, _IMAGES)
    pyramid = None
    if map_link is None or str(description.get("tiles", "false")) == "true":
        pyramid = _pyramid(client, links)
    if map_link is None and pyramid is None:
        raise StoreError(
            f"{client.name}: the collection {shown(found.get('id')) or url!r} has neither a map nor map tiles"
        )
    extent = found.get("extent") if isinstance(found.get("extent"), dict) else {}
    box = given_box(description, _box(extent or {}))
    times = _times(extent or {})
    offered = _offered(found)
    remote: dict[str, Any] = {**kept_members(description), "bbox": list(box), "times": list(times)}
    if pyramid is not None:
        remote["tiles"] = pyramid.to_json()
    elif map_link is not None:
        remote["image"] = {
            "kind": "ogc-maps",
            "url": map_link[1].partition("?")[0],
            "crs": offered,
            "format": str(description.get("format") or map_link[2].removeprefix("image/")),
            "maximum": [_MAXIMUM_EDGE, _MAXIMUM_EDGE],
        }
    return RemoteMapFacts(
        title=text_of(found.get("title")) or text_of(found.get("id")) or layer or url,
        remote=remote,
        description=text_of(found.get("description")),
        attribution=str(description.get("attribution") or text_of(found.get("attribution"))[:500]),
        bbox=box,
        times=times,
        crs=crs_name(str(found.get("storageCrs") or "")) or offered[0],
    )


def _links(document: Mapping[str, Any], url: str) -> Iterator[tuple[str, str, str]]:
    """(rel, absolute address, media type) of the links of a document."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            yield str(link.get("rel", "")), urljoin(url + "/", link["href"]), str(link.get("type", ""))


def _first(
    links: list[tuple[str, str, str]], relations: tuple[str, ...], types: tuple[str, ...]
) -> tuple[str, str, str] | None:
    for media_type in types:
        for link in links:
            if link[0] in relations and link[2].partition(";")[0] == media_type:
                return link
    return None


def _offered(found: Mapping[str, Any]) -> list[str]:
    names = [crs_name(each) for each in found.get("crs", ()) if isinstance(each, str)]
    known = []
    for name in dict.fromkeys(names):
        try:
            parse_crs(plain_crs(name or "-"))
        except UnsupportedCrs:
            continue
        known.append(name)
    return known[:64] or ["OGC:CRS84"]


def _box(extent: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        numbers = [float(each) for each in extent["spatial"]["bbox"][0]]
    except (KeyError, IndexError, TypeError, ValueError):
        return ()
    if len(numbers) == 6:
        numbers = [*numbers[:2], *numbers[3:5]]
    return tuple(numbers)


def _times(extent: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        start, end = extent["temporal"]["interval"][0]
    except (KeyError, IndexError, TypeError, ValueError):
        return ()
    return (f"{start or '..'}/{end or '..'}",) if start or end else ()


def _pyramid(client: Client, links: list[tuple[str, str, str]]) -> TilePyramid | None:
    """The map tiles of the collection, on the tile matrix set that is used most widely and known here."""
    listed = _first(links, _TILESETS, ("application/json",)) or next(
        (link for link in links if link[0] in _TILESETS), None
    )
    if listed is None:
        return None
    document = json_document(client, listed[1].partition("?")[0], {"f": "json"})
    best: tuple[int, str, str, str] | None = None
    for tileset in document.get("tilesets", ()):
        own = list(_links(tileset, listed[1])) if isinstance(tileset, dict) else []
        name = _matrix_set(tileset, own)
        address = next((link[1] for link in own if link[0] in ("self", "item") and "{" not in link[1]), None)
        if not name or address is None:
            continue
        rank = 0 if "EPSG:3857" in equals_of(grid(name).authority_code) else 1
        if best is None or rank < best[0]:
            best = (rank, name, address, "")
    return None if best is None else _tiles_of(client, best[1], best[2])


def _matrix_set(tileset: Any, links: list[tuple[str, str, str]]) -> str:
    """The identifier of a tileset's matrix set, where it is one of ours."""
    candidates = (
        [str(tileset.get(member, "")) for member in ("tileMatrixSetURI", "tileMatrixSetId")]
        if isinstance(tileset, dict)
        else []
    )
    candidates += [address for relation, address, _ in links if relation.endswith("tiling-scheme")]
    for each in candidates:
        try:
            return grid(each.partition("?")[0].rstrip("/").rpartition("/")[2]).id
        except UnknownTileMatrixSet:
            continue
    return ""


def _tiles_of(client: Client, name: str, address: str) -> TilePyramid | None:
    document = json_document(client, address.partition("?")[0], {"f": "json"})
    items = [link for link in _links(document, address) if link[0] == "item" and "{" in link[1]]
    chosen = _first(items, ("item",), _IMAGES)
    if chosen is None:
        return None
    template = (
        chosen[1].replace("{tileMatrix}", "{z}").replace("{tileRow}", "{y}").replace("{tileCol}", "{x}")
    )
    pyramid = grid(name)
    limits = {
        str(each["tileMatrix"]): tuple(
            int(each[side]) for side in ("minTileCol", "minTileRow", "maxTileCol", "maxTileRow")
        )
        for each in document.get("tileMatrixSetLimits", ())
    }
    zooms = [
        zoom
        for zoom in range(pyramid.min_zoom, min(pyramid.max_zoom, 22) + 1)
        if not limits or str(zoom) in limits
    ]
    matrices = [
        RemoteMatrix(
            str(zoom),
            each.cell_size,
            each.left,
            each.top,
            each.columns,
            each.rows,
            each.tile_width,
            each.tile_height,
            limits.get(str(zoom), ()),
        )
        for zoom, each in ((zoom, pyramid.matrix(zoom)) for zoom in zooms)
    ]
    found = TilePyramid(template, plain_crs(pyramid.authority_code), sorted_matrices(matrices))
    found.check()
    return found
