"""A record of one collection (OGC API - Records Part 1, 20-004r1, clause 8: a GeoJSON feature that describes a resource)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CONFORMS_TO = "http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/record-core"
_TOPICS_SCHEME = "http://standards.iso.org/iso/19139/resources/gmxCodelists.xml#MD_TopicCategoryCode"
_TOPICS: Mapping[str, frozenset[str]] = {
    "elevation": frozenset({"terrain", "elevation", "dem", "lidar", "pointcloud", "地形", "高程", "点云"}),
    "imageryBaseMapsEarthCover": frozenset({"orthophoto", "imagery", "影像", "正射影像"}),
    "structure": frozenset({"buildings", "building", "建筑物", "建筑"}),
    "transportation": frozenset({"streets", "roads", "transport", "traffic", "道路", "交通"}),
    "location": frozenset({"addresses", "places", "points of interest", "地址", "兴趣点"}),
    "utilitiesCommunication": frozenset({"pipes", "utilities", "管线", "地下管线"}),
    "planningCadastre": frozenset({"cadastre", "parcels", "planning", "地籍", "宗地", "规划"}),
    "society": frozenset({"pedestrians", "population", "行人", "人口"}),
    "environment": frozenset({"air quality", "noise", "environment", "环境"}),
}
_NAMES = {"en": ("en", "English"), "zh": ("zh", "中文")}


class _Form(NamedTuple):
    """How a representation is linked: path below the collection, relation, media type, title, and the format's name."""

    path: str
    relation: str
    media_type: str
    title: str
    format: str


_ITEMS = _Form("items?f=json", "items", "application/geo+json", "Features as GeoJSON", "GeoJSON")
_FORMS: Mapping[str, tuple[_Form, ...]] = {
    "features": (
        _ITEMS,
        _Form("items?f=html", "items", "text/html", "Features as HTML", "HTML"),
        _Form(
            "queryables",
            "http://www.opengis.net/def/rel/ogc/1.0/queryables",
            "application/schema+json",
            "Queryables",
            "",
        ),
    ),
    "tiles": (
        _Form(
            "tiles",
            "http://www.opengis.net/def/rel/ogc/1.0/tilesets-vector",
            "application/json",
            "Vector tiles",
            "Mapbox Vector Tiles",
        ),
    ),
    "map": (
        _Form("map?f=png", "http://www.opengis.net/def/rel/ogc/1.0/map", "image/png", "Map image", "PNG"),
        _Form(
            "map/tiles",
            "http://www.opengis.net/def/rel/ogc/1.0/tilesets-map",
            "application/json",
            "Map tiles",
            "",
        ),
    ),
    "coverage": (
        _Form(
            "coverage?f=gtiff",
            "http://www.opengis.net/def/rel/ogc/1.0/coverage",
            "image/tiff; application=geotiff",
            "Coverage as GeoTIFF",
            "GeoTIFF",
        ),
    ),
    "3dtiles": (
        _Form(
            "3dtiles/tileset.json",
            "http://www.opengis.net/def/rel/ogc/0.0/tileset-3dtiles",
            "application/json",
            "3D Tiles",
            "3D Tiles",
        ),
    ),
    "terrain": (
        _Form("terrain/layer.json", "data", "application/json", "Terrain (quantized mesh)", "quantized-mesh"),
    ),
    "pointcloud": (
        _Form(
            "pointcloud.copc.laz", "enclosure", "application/vnd.laszip+copc", "Point cloud as COPC", "COPC"
        ),
    ),
    "mosaic of point clouds": (
        _Form(
            "pointcloud.vpc",
            "enclosure",
            "application/geo+json",
            "Point cloud as virtual point cloud",
            "COPC",
        ),
    ),
    "series": (
        _Form(
            "locations?f=json",
            "data",
            "application/geo+json",
            "Locations with time series (EDR)",
            "CoverageJSON",
        ),
    ),
}


_CONTENTS: Mapping[str, str] = {
    "Mapbox Vector Tiles": "application/vnd.mapbox-vector-tile",
    "CoverageJSON": "application/vnd.cov+json",
    "quantized-mesh": "application/vnd.quantized-mesh",
    "COPC": "application/vnd.laszip+copc",
}
"""Media types of formats whose link leads to a description first."""


def record_of(collection: Mapping[str, Any], base_url: str, language: str = "en") -> dict[str, Any]:
    """The record of a collection.

    `collection` has the fields of `server.registry.catalogue.Collection` by name (representations by kind, their keys as
    text; keywords, titles and descriptions as they are) and `view_id`, its id in the view. `base_url` is the URL of the
    view's OGC API without a slash at its end. `language` is "en" or "zh".
    """
    view_id = collection["view_id"]
    url = f"{base_url}/collections/{view_id}"
    kinds = [_kind(kind, one) for kind, one in collection["representations"].items()]
    titles, descriptions = collection["titles"], collection["descriptions"]
    properties: dict[str, Any] = {
        "type": "dataset",
        "title": _in(titles, language) or view_id,
        "description": _in(descriptions, language),
        "keywords": list(collection["keywords"]),
        "language": _language(language),
        "languages": [_language(code) for code in titles if code in _NAMES],
        "resourceLanguages": [_language(code) for code in titles if code in _NAMES],
        "created": collection["created"],
        "updated": collection["updated"],
        "formats": _formats(kinds),
        "license": collection["licence"] or None,
        "rights": collection["attribution"] or None,
        "contacts": _contacts(collection["attribution"], collection["tenant"]),
        "themes": _themes(collection["keywords"], [str(kind) for kind in collection["representations"]]),
        "externalIds": [{"value": f"{collection['tenant']}.{collection['id']}"}],
        "simulated": bool(collection["simulated"]),
        "titles": dict(titles),
        "descriptions": dict(descriptions),
        "crs": collection["storage_crs"] or None,
    }
    return {
        "type": "Feature",
        "id": view_id,
        "conformsTo": [CONFORMS_TO],
        "geometry": _geometry(collection["bbox"]),
        "time": _time(collection["interval"]),
        "properties": {name: value for name, value in properties.items() if value not in (None, [], "")},
        "links": _links(url, kinds, collection),
    }


def _kind(kind: object, representation: Any) -> str:
    """The kind as _FORMS knows it: a point cloud of many files has no one file to link to."""
    properties = getattr(representation, "properties", None) or {}
    is_mosaic = str(kind) == "pointcloud" and properties.get("mosaic")
    return "mosaic of point clouds" if is_mosaic else str(kind)


def _in(texts: Mapping[str, str], language: str) -> str | None:
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), None)


def _language(code: str) -> dict[str, str]:
    known, name = _NAMES[code if code in _NAMES else "en"]
    return {"code": known, "name": name, "dir": "ltr"}


def _formats(kinds: Sequence[str]) -> list[dict[str, str]]:
    forms = [form for kind in kinds for form in _FORMS.get(kind, ()) if form.format and form.format != "HTML"]
    return [{"name": form.format, "mediaType": _CONTENTS.get(form.format, form.media_type)} for form in forms]


def _contacts(attribution: str, tenant: str) -> list[dict[str, Any]]:
    """Who made the data, as its attribution says, and which tenant publishes it."""
    maker = [{"organization": attribution, "roles": ["author"]}] if attribution else []
    return [*maker, {"organization": tenant, "roles": ["publisher"]}]


def _themes(keywords: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The ISO 19115 topic categories that keywords and kinds of representation stand for."""
    words = {word.casefold() for word in keywords} | set(kinds)
    concepts = [{"id": topic} for topic, signs in _TOPICS.items() if words & signs]
    return [{"concepts": concepts, "scheme": _TOPICS_SCHEME}] if concepts else []


def _geometry(bbox: Sequence[float]) -> dict[str, Any] | None:
    """The extent as a polygon, two of them across the antimeridian; None where there is no extent."""
    if len(bbox) not in (4, 6):
        return None
    upper = len(bbox) // 2
    west, south, east, north = bbox[0], bbox[1], bbox[upper], bbox[upper + 1]
    if west <= east:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}
    parts = [[_ring(west, south, 180.0, north)], [_ring(-180.0, south, east, north)]]
    return {"type": "MultiPolygon", "coordinates": parts}


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _time(interval: Sequence[str | None] | None) -> dict[str, Any] | None:
    """The `time` member: an interval with ".." for an open end, null where the resource has no time."""
    if interval is None or (interval[0] is None and interval[1] is None):
        return None
    return {"interval": [interval[0] or "..", interval[1] or ".."]}


def _links(url: str, kinds: Sequence[str], collection: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Links to the collection, to each of its representations, and to its licence."""
    title = collection["titles"].get("en") or collection["id"]
    links = [
        {"href": f"{url}?f=json", "rel": "describes", "type": "application/json", "title": title},
        {"href": f"{url}?f=html", "rel": "describes", "type": "text/html", "title": title},
    ]
    for kind in kinds:
        links += [
            {"href": f"{url}/{form.path}", "rel": form.relation, "type": form.media_type, "title": form.title}
            for form in _FORMS.get(kind, ())
        ]
    if collection["licence_url"]:
        licence = collection["licence"] or "Licence"
        links.append(
            {"href": collection["licence_url"], "rel": "license", "type": "text/html", "title": licence}
        )
    return links
