"""The JSON of landing page, conformance, collection list and collection, made from the catalogue.

They are ours and not pygeoapi's: its `/collections` is unpaged and takes milliseconds a collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from providers.formatters.registry import ITEM_FORMATS
from server.http.ogc.conformance import classes_of
from server.http.ogc.coverage_documents import coverage_links, data_queries
from server.http.ogc.geovolumes import TILESET_REL, geovolumes_content, geovolumes_links
from server.http.ogc.point_links import point_cloud_links
from server.http.ogc.points_documents import point_item_links
from server.http.scope import Scope
from server.pages.links import downloads
from server.registry.catalogue import CRS84, CRS84H, Catalogue, Collection, RepresentationKind

Kind = RepresentationKind
Document = dict[str, Any]
CATALOGUE_ID = "catalogue"

REL = "http://www.opengis.net/def/rel/ogc/1.0/"
_JSON, _HTML = "application/json", "text/html"
_TITLES = {
    "en": ("Chengtu city data", "Every map, model and measurement of the city, as open services."),
    "zh": ("城图 城市数据", "城市的每一幅地图、每一个模型、每一项观测，皆以开放服务提供。"),
}
_OTHER_CRS = (
    "http://www.opengis.net/def/crs/EPSG/0/4326",
    "http://www.opengis.net/def/crs/EPSG/0/3857",
    "http://www.opengis.net/def/crs/EPSG/0/4490",
)


def link(href: str, rel: str, media_type: str, title: str | None = None) -> Document:
    """A link object."""
    result = {"href": href, "rel": rel, "type": media_type}
    if title is not None:
        result["title"] = title
    return result


def _self_and_html(url: str, html: bool = False) -> list[Document]:
    own = link(f"{url}?f=json", "alternate" if html else "self", _JSON, "This document as JSON")
    other = link(f"{url}?f=html", "self" if html else "alternate", _HTML, "This document as HTML")
    return [own, other]


def landing_document(
    scope: Scope,
    catalogue: Catalogue,
    root: str,
    language: str,
    extent: tuple[float, float, float, float] | None = None,
) -> Document:
    """The landing page of a view; `root` is its URL without a slash at the end (OGC API - Common Part 1, 7.2).

    `extent` (CRS84) is that of the dataset's map (OGC 20-058, dataset-map).
    """
    title, description = _TITLES.get(language, _TITLES["en"])
    if scope.tenant is not None:
        titles = catalogue.tenants[scope.tenant].titles
        title = titles.get(language) or titles["en"]
    whole = {} if extent is None else {"extent": {"spatial": {"bbox": [list(extent)], "crs": CRS84}}}
    return {
        "title": title,
        "description": description,
        **whole,
        "crs": [CRS84, *_OTHER_CRS],
        "links": [
            *_self_and_html(f"{root}/"),
            link(f"{root}/api", "service-desc", "application/vnd.oai.openapi+json;version=3.0", "The API"),
            link(f"{root}/api?f=html", "service-doc", _HTML, "The API, to read"),
            link(f"{root}/conformance", "conformance", _JSON, "Conformance classes"),
            link(f"{root}/conformance", f"{REL}conformance", _JSON),
            link(f"{root}/collections", "data", _JSON, "Collections"),
            link(f"{root}/collections", f"{REL}data", _JSON),
            link(
                f"{root}/collections/{CATALOGUE_ID}", f"{REL}ogc-catalog", _JSON, "Records of the collections"
            ),
            link(f"{root}/processes", f"{REL}processes", _JSON, "Processes"),
            link(f"{root}/functions", f"{REL}functions", _JSON, "Functions of filters"),
            link(f"{root}/tiles", f"{REL}tilesets-vector", _JSON, "Vector tilesets of all collections"),
            link(f"{root}/map", f"{REL}map", "image/png", "Map of all collections"),
            link(f"{root}/map?f=html", f"{REL}map", _HTML, "Map of all collections, as a page"),
            link(f"{root}/map/tiles", f"{REL}tilesets-map", _JSON, "Map tilesets of all collections"),
            link(f"{root}/styles", f"{REL}styles", _JSON, "Styles"),
            link(f"{root}/3dtiles/tileset.json", TILESET_REL, _JSON, "3D Tiles of all collections"),
            link(
                f"{root.removesuffix('/ogc')}/wfs?service=WFS&request=GetCapabilities",
                "service",
                "application/xml",
                "WFS 2.0",
            ),
            link(f"{root}/tileMatrixSets", f"{REL}tiling-schemes", _JSON, "Tile matrix sets"),
        ],
    }


def conformance_document(root: str, classes: Sequence[str]) -> Document:
    """The conformance classes of a view."""
    return {"conformsTo": list(classes), "links": _self_and_html(f"{root}/conformance")}


def extent_of(collection: Collection) -> Document:
    """Spatial and temporal extent (OGC API - Features Part 1, 7.13)."""
    spatial: Document = {
        "bbox": [list(collection.bbox)],
        "crs": CRS84H if len(collection.bbox) == 6 else CRS84,
    }
    extent: Document = {"spatial": spatial}
    if collection.interval is not None:
        extent["temporal"] = {
            "interval": [list(collection.interval)],
            "trs": "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian",
        }
    return extent


def has_uri(crs: str) -> bool:
    """Whether a CRS of the registry is an OGC URI; one that no authority knows is well-known text."""
    return crs.startswith("http")


def supported_crs(collection: Collection) -> list[str]:
    """The CRS the list promises; `crs=` understands every CRS of EPSG that PROJ knows.

    Clients such as GDAL and QGIS ask only for what is in the list, so the zones of CGCS2000 that a city lies in are. A storage
    CRS without a code has no URI by which it could be asked for.
    """
    result = [CRS84, *_OTHER_CRS, *_zones_of_cgcs2000(collection.bbox)]
    if collection.storage_crs not in result and has_uri(collection.storage_crs):
        result.append(collection.storage_crs)
    return result


def _zones_of_cgcs2000(bbox: Sequence[float]) -> list[str]:
    """The 3-degree Gauss-Kruger zones of CGCS2000 that an extent in China meets; none where it is wider than a city.

    Each has two codes: 4534-4554 for the central meridians 75 to 135 E, 4513-4533 with the zone's number in eastings.
    """
    half = len(bbox) // 2
    (west, south), (east, north) = bbox[:2], bbox[half : half + 2]
    if not (73.5 <= west <= east <= 136.5 and 3.0 <= south <= north <= 54.0) or east - west > 6.0:
        return []
    zones = range(round((west - 75) / 3), round((east - 75) / 3) + 1)
    return [
        f"http://www.opengis.net/def/crs/EPSG/0/{first + zone}" for zone in zones for first in (4534, 4513)
    ]


def _feature_links(url: str, whole: bool) -> list[Document]:
    return [
        link(f"{url}/items", "items", "application/geo+json", "Features as GeoJSON"),
        link(f"{url}/items?f=html", "items", _HTML, "Features as a page"),
        *(
            link(f"{url}/items?f={form.name}", "items", form.media_type, f"Features as {form.name}")
            for form in ITEM_FORMATS.values()
            if form.items and whole
        ),
        link(f"{url}/queryables", f"{REL}queryables", "application/schema+json", "Queryables"),
        link(f"{url}/sortables", f"{REL}sortables", "application/schema+json", "Sortables"),
        link(f"{url}/schema", f"{REL}schema", "application/schema+json", "Schema"),
        link(f"{url}/schema", "describedby", "application/schema+json", "Schema"),
    ]


def _map_links(url: str, whole: bool) -> list[Document]:
    forms = (
        ("image/jpeg", "jpeg", "JPEG"),
        ("image/webp", "webp", "WebP"),
        ("image/tiff; application=geotiff", "tiff", "GeoTIFF"),
    )
    return [
        link(f"{url}/map", f"{REL}map", "image/png", "Map"),
        *(
            link(f"{url}/map?f={form}", f"{REL}map", media_type, f"Map as {name}")
            for media_type, form, name in (forms if whole else ())
        ),
        link(f"{url}/map?f=html", f"{REL}map", _HTML, "Map as a page"),
        link(f"{url}/map/tiles", f"{REL}tilesets-map", _JSON, "Map tilesets"),
        link(f"{url}/styles", f"{REL}styles", _JSON, "Styles"),
    ]


def _terrain_links(url: str) -> list[Document]:
    forms = (
        ("terrain/layer.json", "Quantized-mesh terrain in EPSG:4326"),
        ("terrain/WebMercatorQuad/layer.json", "Quantized-mesh terrain in EPSG:3857"),
        ("terrain-rgb", "TileJSON of heights as colours (Mapbox Terrain-RGB)"),
        ("terrain-rgb/terrarium", "TileJSON of heights as colours (Terrarium)"),
    )
    return [link(f"{url}/{path}", f"{REL}terrain", _JSON, title) for path, title in forms]


def _representation_links(
    collection: Collection, kind: RepresentationKind, url: str, whole: bool
) -> list[Document]:
    match kind:
        case Kind.FEATURES:
            return _feature_links(url, whole)
        case Kind.TILES:
            return [link(f"{url}/tiles", f"{REL}tilesets-vector", _JSON, "Vector tilesets")]
        case Kind.MAP:
            return _map_links(url, whole)
        case Kind.COVERAGE:
            return coverage_links(collection, url, whole=whole)
        case Kind.TILESET_3D:
            return geovolumes_links(collection, url)
        case Kind.TERRAIN:
            return _terrain_links(url)
        case Kind.POINT_CLOUD:
            files = point_cloud_links(collection, url, whole=whole)
            return [*files, *point_item_links(collection, url, whole=whole)]
        case Kind.SERIES:
            return [
                link(f"{url}/locations", "data", "application/geo+json", "Locations with time series (EDR)")
            ]
        case Kind.RECORD:
            return []


def collection_url(root: str, scope: Scope, collection: Collection) -> str:
    """The URL of a collection in a view."""
    return f"{root}/collections/{quote(scope.public_id(collection))}"


def collection_document(
    collection: Collection, scope: Scope, root: str, language: str, *, whole: bool = True
) -> Document:
    """One collection (OGC API - Common Part 2, 8.2; Features Part 1, 7.14).

    Not `whole`: as an entry of a list, without its conformance classes, its downloads, the links to further formats of the same
    resource and the WKT of data queries. They are three quarters of it, and its `self` has them.
    """
    url = collection_url(root, scope, collection)
    document: Document = {
        "id": scope.public_id(collection),
        "title": collection.title(language),
        "description": collection.descriptions.get(language) or collection.descriptions.get("en", ""),
        "keywords": list(collection.keywords),
        "attribution": collection.attribution,
        "license": collection.licence,
        "simulated": collection.simulated,
        "created": collection.created,
        "updated": collection.updated,
        "extent": extent_of(collection),
        "crs": supported_crs(collection),
        **({"storageCrs": collection.storage_crs} if has_uri(collection.storage_crs) else {}),
        "links": _self_and_html(url),
    }
    features = collection.representations.get(Kind.FEATURES)
    classes = classes_of(collection) if whole else []
    if classes:
        document["conformsTo"] = classes
    if features is not None:
        document["itemType"] = "feature"
        document["itemCount"] = features.properties.get("count")
        document["supportsNonAutogeneratedResourceIds"] = bool(features.properties.get("create_by_put"))
    elif Kind.POINT_CLOUD in collection.representations:
        document["itemType"] = "feature"  # points: GeoJSON Features of a Point each
        document["itemCount"] = collection.representations[Kind.POINT_CLOUD].properties.get("count")
    elif Kind.COVERAGE in collection.representations:
        document["dataType"] = "coverage"
    for kind in collection.representations:
        document["links"].extend(_representation_links(collection, kind, url, whole))
    for download in downloads(collection) if whole else ():
        href = f"{url}/download/{download.name}"
        document["links"].append(link(href, "enclosure", download.media_type, download.name))
    if collection.licence_url is not None:
        document["links"].append(link(collection.licence_url, "license", _HTML, collection.licence))
    record = f"{root}/collections/{CATALOGUE_ID}/items/{quote(scope.public_id(collection))}"
    document["links"].append(link(record, "describedby", "application/geo+json", "Record of this collection"))
    document.update(data_queries(collection, url, whole=whole))
    if collection.default_style is not None and Kind.MAP in collection.representations:
        document["defaultStyle"] = collection.default_style
    content = geovolumes_content(collection, url)
    if content:
        document["content"] = content
    return document


def catalogue_document(root: str, language: str) -> Document:
    """The collection of records that describes all the others (OGC API - Records, 7.4)."""
    url = f"{root}/collections/{CATALOGUE_ID}"
    titles = {"en": "Catalogue of this server", "zh": "本服务器目录"}
    return {
        "id": CATALOGUE_ID,
        "title": titles.get(language, titles["en"]),
        "description": "One record for each collection, filled from the data.",
        "itemType": "record",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]], "crs": CRS84}},
        "links": [
            *_self_and_html(url),
            link(f"{url}/items", "items", "application/geo+json", "Records"),
        ],
    }
