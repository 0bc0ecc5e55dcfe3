"""Tile services without much of a document: TMS 1.0.0 (its TileMap resource), and templates of URLs (XYZ, quad keys)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml import etree

from providers.errors import StoreError
from providers.features.remote.documents import local_name, shown, text_of, xml_root
from providers.maps.remote.facts import RemoteMapFacts, document, given_box, kept_members, whole
from providers.maps.remote.image_services import plain_crs
from providers.maps.remote.pyramid import RemoteMatrix, TilePyramid, sorted_matrices
from providers.maps.remote.wms_facts import _below, _text
from providers.outgoing import Client, RemoteUnavailable
from tiles.crs import parse_crs, transformer
from tiles.errors import UnknownTileMatrixSet, UnsupportedCrs
from tiles.grids import TileId, grid, tile_bounds_crs84

_PROFILES = {"global-mercator": "EPSG:3857", "global-geodetic": "EPSG:4326"}


def read(description: Mapping[str, Any], client: Client) -> RemoteMapFacts:
    """A template, or a TMS that describes itself. Raises StoreError, RemoteUnavailable."""
    url = str(description["url"])
    if "{" in url:
        return _template(description, url)
    if description["store"] == "xyz":
        raise StoreError("A template of tiles has places in braces, such as https://HOST/{z}/{x}/{y}.png")
    return _tile_map(description, url, client)


def _template(description: Mapping[str, Any], url: str) -> RemoteMapFacts:
    """Tiles on a tile matrix set of ours; a TMS counts rows from the bottom."""
    if description["store"] == "tms":
        url = url.replace("{y}", "{-y}")
    size = whole(description, "tile_size", 256, 64, 4096)
    try:
        pyramid = grid(str(description.get("grid", "WebMercatorQuad")))
    except UnknownTileMatrixSet as error:
        raise StoreError(str(error)) from error
    lowest = whole(description, "min_zoom", pyramid.min_zoom, pyramid.min_zoom, pyramid.max_zoom)
    highest = whole(description, "max_zoom", min(19, pyramid.max_zoom), lowest, pyramid.max_zoom)
    matrices = []
    for zoom in range(lowest, highest + 1):
        each = pyramid.matrix(zoom)
        factor = each.tile_width / size
        matrices.append(
            RemoteMatrix(
                str(zoom), each.cell_size * factor, each.left, each.top, each.columns, each.rows, size, size
            )
        )
    text = str(description.get("subdomains", ""))
    subdomains = tuple(part.strip() for part in text.split(",") if part.strip())
    found = TilePyramid(url, plain_crs(pyramid.authority_code), sorted_matrices(matrices), subdomains)
    found.check()
    whole_box = tile_bounds_crs84(pyramid.id, TileId(pyramid.min_zoom, 0, 0)) if pyramid.columns == 1 else ()
    box = given_box(description, tuple(whole_box))
    remote = {**kept_members(description), "tiles": found.to_json(), "bbox": list(box)}
    remote.pop("subdomains", None)
    return RemoteMapFacts(
        title=urlsplit(url).hostname or url,
        remote=remote | ({"subdomains": list(subdomains)} if subdomains else {}),
        attribution=str(description.get("attribution") or ""),
        bbox=box,
        crs=pyramid.authority_code,
    )


def _tile_map(description: Mapping[str, Any], url: str, client: Client) -> RemoteMapFacts:
    """The TileMap resource at the URL, or the one named `layer` of the TileMapService there."""
    root = xml_root(document(client, url, {}).body, client.name)
    if local_name(root) == "TileMapService":
        url = _chosen(root, url, str(description.get("layer") or ""), client.name)
        root = xml_root(document(client, url, {}).body, client.name)
    if local_name(root) != "TileMap":
        raise RemoteUnavailable(
            f"{client.name} answers no TileMap of a TMS; name its address, with the layer"
        )
    crs = plain_crs(_text(root, "SRS").upper().replace("OSGEO:41001", "EPSG:3857"))
    profile = next((each.get("profile", "") for each in _below(root, "TileSets")), "")
    try:
        crs = _PROFILES.get(profile, crs)
        parse_crs(crs)
        matrices, box = _tile_sets(root)
    except (UnsupportedCrs, ValueError, ZeroDivisionError):
        raise StoreError(f"{client.name}: the TileMap has no CRS or sizes that can be read") from None
    extension = next((each.get("extension", "png") for each in _below(root, "TileFormat")), "png")
    sets = {each.get("order", ""): each.get("href", "") for each in _below(root, "TileSets", "TileSet")}
    base = url if url.endswith("/") else url + "/"
    first_order = next(iter(sets))
    # Addresses of the levels end in their order; where they do not, tiles lie below the TileMap itself, as TMS says.
    first = urljoin(base, sets[first_order]).rstrip("/")
    prefix = first[: -len(first_order)] if first.endswith(f"/{first_order}") else base
    found = TilePyramid(f"{prefix}{{z}}/{{x}}/{{-y}}.{extension}", crs, matrices)
    found.check()
    limits = transformer(crs, "OGC:CRS84").transform_bounds(*box, densify_pts=21)
    box84 = given_box(description, limits if all(map(math.isfinite, limits)) else ())
    remote = {**kept_members(description), "tiles": found.to_json(), "bbox": list(box84)}
    return RemoteMapFacts(
        title=text_of(_text(root, "Title")) or url.rstrip("/").rpartition("/")[2],
        remote=remote,
        description=text_of(_text(root, "Abstract")),
        attribution=str(description.get("attribution") or ""),
        bbox=box84,
        crs=crs,
    )


def _chosen(root: etree._Element, url: str, layer: str, name: str) -> str:
    maps = [(each.get("title", ""), each.get("href", "")) for each in _below(root, "TileMaps", "TileMap")]
    for title, address in maps:
        segments = address.rstrip("/").split("/")
        if layer and layer in (title, address, segments[-1], "/".join(segments[-2:])):
            return str(urljoin(url, address))
    raise StoreError(
        f"{name} has {'no layer ' + repr(layer[:80]) if layer else 'several layers; name one after #'}; there are: "
        f"{shown(', '.join(address for _, address in maps[:50]))}"
    )


def _tile_sets(root: etree._Element) -> tuple[tuple[RemoteMatrix, ...], tuple[float, float, float, float]]:
    """The levels, and the box of the TileMap in its CRS. Raises ValueError."""
    (extent,) = _below(root, "BoundingBox")
    (origin,) = _below(root, "Origin")
    (size,) = _below(root, "TileFormat")
    minx, miny, maxx, maxy = (float(extent.get(side, "")) for side in ("minx", "miny", "maxx", "maxy"))
    left, bottom = float(origin.get("x", "")), float(origin.get("y", ""))
    width, height = int(size.get("width", "")), int(size.get("height", ""))
    matrices = []
    for each in _below(root, "TileSets", "TileSet"):
        cell = float(each.get("units-per-pixel", ""))
        columns = max(math.ceil((maxx - left) / (cell * width) - 1e-6), 1)
        rows = max(math.ceil((maxy - bottom) / (cell * height) - 1e-6), 1)
        top = bottom + rows * cell * height
        matrices.append(RemoteMatrix(each.get("order", ""), cell, left, top, columns, rows, width, height))
    if not matrices:
        raise ValueError("no levels")
    return sorted_matrices(matrices), (minx, miny, maxx, maxy)
