"""Point clouds as they are stored: the COPC of a collection, the tiles of a mosaic, their list, and a virtual point cloud of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import RequestContext, context, respond
from server.http.errors import Forbidden, NotFound
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.common import parse_bbox3
from server.http.ogc.documents import link
from server.http.ogc.files import send_file
from server.http.ogc.point_links import VPC
from server.http.parameters import integer
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import Cloud

Kind = RepresentationKind

MOST_TILES: Final = 1_000
_TILES: Final = 100


def register(blueprint: Blueprint) -> None:
    """Add the routes that read; those that edit are in point_edits."""
    base = "/ogc/collections/<public_id>"
    blueprint.add_url_rule(f"{base}/pointcloud.copc.laz", "point_cloud", point_cloud)
    blueprint.add_url_rule(f"{base}/pointcloud.vpc", "point_cloud_vpc", virtual_point_cloud)
    blueprint.add_url_rule(f"{base}/pointcloud", "point_cloud_tiles", tiles)
    blueprint.add_url_rule(f"{base}/pointcloud/<name>.copc.laz", "point_cloud_tile", tile)


def raw_allowed(decision: Decision) -> bool:
    """Whether a client may have the stored files: they hold every dimension of every point."""
    return not decision.hidden_fields and decision.area is None


def stored_cloud(here: RequestContext, public_id: str) -> tuple[Collection, Decision, Cloud]:
    """The collection and its cloud, for a client that may have the files themselves.

    Raises NotFound, Forbidden, and PointCloudError where a file is damaged.
    """
    from pointclouds.cloud.cloud import open_cloud

    collection, decision = here.having(public_id, Kind.POINT_CLOUD)
    if not raw_allowed(decision):
        raise Forbidden(
            f"{here.who.id!r} may see a part of {public_id!r}, and its files hold all of it; ask for the points: "
            f"{here.url_of(public_id)}/points"
        )
    return collection, decision, open_cloud(collection.path_of(Kind.POINT_CLOUD).resolve())


def point_cloud(public_id: str) -> Response:
    """The COPC file of a cloud that is one file, whole or by byte ranges."""
    here = context()
    here.only()
    collection, decision, cloud = stored_cloud(here, public_id)
    if cloud.is_mosaic:
        url = here.url_of(public_id)
        raise NotFound(
            f"{public_id!r} is a mosaic of {len(cloud.tiles)} files: {url}/pointcloud lists them, {url}/pointcloud.vpc is the whole as "
            "a virtual point cloud"
        )
    return send_file(here, collection, decision, cloud.path)


def tile(public_id: str, name: str) -> Response:
    """The COPC file of one tile, or of the overview."""
    here = context()
    here.only()
    collection, decision, cloud = stored_cloud(here, public_id)
    found = cloud.tile(name)
    if found is None:
        raise NotFound(
            f"{public_id!r} has no tile {name[:200]!r}; {here.url_of(public_id)}/pointcloud lists what there is"
        )
    return send_file(here, collection, decision, found.path.resolve())


# --- the list ------------------------------------------------------------------------------------------------------------


def tiles(public_id: str) -> Response:
    """The tiles: boxes, counts, classes, times and addresses; by pages, those that meet `bbox`."""
    here = context()
    given = here.only("bbox", "limit", "offset")
    here.format("json")
    collection, decision, cloud = stored_cloud(here, public_id)
    limit = integer(given, "limit", _TILES, 1, MOST_TILES)
    offset = integer(given, "offset", 0, 0, 999_999_999)
    chosen = _meeting(cloud, given.get("bbox"))
    url = here.url_of(public_id)
    document = {
        "collection": public_id,
        "mosaic": cloud.is_mosaic,
        "crs": collection.storage_crs,
        "count": cloud.count,
        "numberMatched": len(chosen),
        "numberReturned": len(chosen[offset : offset + limit]),
        "tiles": [_tile_document(cloud, number, url) for number in chosen[offset : offset + limit]],
        "links": _list_links(here, url, given, offset, limit, len(chosen)),
    }
    if cloud.overview is not None:
        overview = cloud.overview
        document["overview"] = {
            "count": overview.count,
            "spacing": overview.facts.get("spacing"),
            "bytes": _size(overview.path),
            "href": tile_url(url, cloud, overview.name),
        }
    return _answer(document, MEDIA_TYPES["json"], decision)


def _answer(document: Any, media_type: str, decision: Decision) -> Response:
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    tag = hashlib.blake2s(decision.key.encode() + b"\n" + body, digest_size=12).hexdigest()
    return respond(Answer(body, media_type, etag=f'W/"{tag}"', private=decision.key != "public"))


def _meeting(cloud: Cloud, bbox: str | None) -> list[int]:
    """Numbers of the tiles that meet a bbox in CRS84 (heights in metres where it has six numbers). Raises InvalidParameter."""
    if bbox is None:
        return list(range(len(cloud.tiles)))
    (west, south, east, north), heights = parse_bbox3(bbox)
    boxes = boxes_of(cloud)
    meets = (boxes[:, 1] <= north) & (boxes[:, 4] >= south)
    if west <= east:
        meets &= (boxes[:, 0] <= east) & (boxes[:, 3] >= west)
    else:  # over the antimeridian
        meets &= (boxes[:, 0] <= east) | (boxes[:, 3] >= west)
    if heights is not None:
        meets &= (boxes[:, 2] <= heights[1]) & (boxes[:, 5] >= heights[0])
    return [int(number) for number in meets.nonzero()[0]]


@lru_cache(maxsize=64)
def _boxes(path: Path) -> Any:
    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.mosaic.boxes import boxes_in_crs84

    cloud = open_cloud(path)
    return boxes_in_crs84([one.box for one in cloud.tiles], cloud.crs)


def boxes_of(cloud: Cloud) -> Any:
    """West, south, bottom, east, north, top of every tile, (n, 6); degrees and metres."""
    return _boxes(cloud.path)


def tile_url(url: str, cloud: Cloud, name: str) -> str:
    """The address of a tile's file; `url` is the collection's."""
    return f"{url}/pointcloud/{quote(name)}.copc.laz" if cloud.is_mosaic else f"{url}/pointcloud.copc.laz"


def _size(path: Path) -> int:
    """Bytes of a file. Raises UnreadablePointCloudError where it is gone."""
    from pointclouds.las.reader import reading

    with reading(path):
        return path.stat().st_size


def _tile_document(cloud: Cloud, number: int, url: str) -> dict[str, Any]:
    one = cloud.tiles[number]
    document: dict[str, Any] = {
        "name": one.name,
        "count": one.count,
        "bbox": [round(float(value), 9) for value in boxes_of(cloud)[number]],
        "nativeBbox": list(one.box),
        "bytes": _size(one.path),
        "href": tile_url(url, cloud, one.name),
    }
    if one.start is not None or one.end is not None:
        document["interval"] = [one.start, one.end]
    for name in ("classes", "spacing", "source"):
        if name in one.facts:
            document[name] = one.facts[name]
    return document


def _list_links(
    here: RequestContext, url: str, given: dict[str, str], offset: int, limit: int, matched: int
) -> list[dict[str, Any]]:
    def page(start: int) -> str:
        kept = [
            f"{name}={quote(value, safe=',')}" for name, value in given.items() if name in ("bbox", "limit")
        ]
        query = "&".join([*kept, *([f"offset={start}"] if start else [])])
        return f"{url}/pointcloud" + (f"?{query}" if query else "")

    json = MEDIA_TYPES["json"]
    links = [
        link(page(offset), "self", json, "Files of the point cloud"),
        link(url, "collection", json, "The collection"),
        link(f"{url}/pointcloud.vpc", "alternate", VPC, "Virtual point cloud (VPC)"),
    ]
    if offset + limit < matched:
        links.append(link(page(offset + limit), "next", json, "Next page"))
    if offset:
        links.append(link(page(max(0, offset - limit)), "prev", json, "Previous page"))
    return links


# --- a virtual point cloud -----------------------------------------------------------------------------------------------


def virtual_point_cloud(public_id: str) -> Response:
    """All files as a virtual point cloud: a STAC FeatureCollection, as QGIS from 3.32 on and PDAL Wrench read it."""
    here = context()
    here.only()
    collection, decision, cloud = stored_cloud(here, public_id)
    body = _vpc(cloud.path, here.url_of(public_id), collection.updated)
    return _answer(body, VPC, decision)


@lru_cache(maxsize=8)
def _vpc(path: Path, url: str, updated: str) -> bytes:
    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.mosaic.vpc import virtual_point_cloud as document_of

    cloud = open_cloud(path)
    overview = None if cloud.overview is None else tile_url(url, cloud, cloud.overview.name)
    document = document_of(
        cloud, boxes_of(cloud), lambda one: tile_url(url, cloud, one.name), overview, updated
    )
    return orjson.dumps(document)
