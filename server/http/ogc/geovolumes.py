"""OGC API - 3D GeoVolumes (draft 22-029, as restructured in July 2026): links, contents and conformance of 3D collections.

The draft has no resources of its own: it asks a collection for a bounding box with heights, and for a link with the relation
`[ogc-rel:3d-geovolumes]`. It names the media type of a 3D Tiles tileset in two ways, `application/json+3dtiles` in clause "Core" and
`application/3dtiles+json` in clause "3D Tiles"; so there is a link for each, and tileset.json is served as whichever a client accepts.
"""

from __future__ import annotations

from typing import Any

from server.http.ogc.point_links import whole_cloud
from server.http.point_tiles_request import is_of_points
from server.http.three_d_bytes import JSON, TILES_JSON
from server.registry.catalogue import Collection, RepresentationKind

GEOVOLUMES = "https://www.opengis.net/spec/ogcapi-geovolumes-1/1.0/conf"
GEOVOLUMES_REL = "[ogc-rel:3d-geovolumes]"
_WRITTEN_OUT = "http://www.opengis.net/def/rel/ogc/1.0/3d-geovolumes"
"""What the relation stands for: `ogc-rel` is the prefix of OGC's register of link relations."""
TILESET_REL = "http://www.opengis.net/def/rel/ogc/0.0/tileset-3dtiles"
"""The relation that ldproxy and GeoServer's clients know."""
I3S_JSON = ("application/json+i3s", "application/i3s+json")
"""Both ways in which clients name a scene layer; as with tilesets, the layer is served as whichever they accept."""
I3S_CLASS = f"{GEOVOLUMES}/i3s"
CLASSES = (f"{GEOVOLUMES}/core", f"{GEOVOLUMES}/3d-tiles")

Kind = RepresentationKind
type Link = dict[str, Any]


def geovolumes_links(collection: Collection, url: str) -> list[Link]:
    """The links of a collection with a 3D tileset; `url` is the collection's own."""
    if Kind.TILESET_3D not in collection.representations:
        return []
    tileset = f"{url}/3dtiles/tileset.json"
    links = [
        _link(tileset, GEOVOLUMES_REL, media_type, "3D Tiles 1.1") for media_type in reversed(TILES_JSON)
    ]
    links.append(_link(tileset, _WRITTEN_OUT, TILES_JSON[0], "3D Tiles 1.1"))
    links.append(_link(tileset, TILESET_REL, JSON, "3D Tiles 1.1"))
    if is_implicit(collection) or is_of_points(collection):
        links.append(
            _link(
                f"{url}/3dtiles/explicit/tileset.json",
                TILESET_REL,
                JSON,
                "3D Tiles 1.1, without implicit tiling",
            )
        )
        links.append(_link(f"{url}/3dtiles/1.0/tileset.json", TILESET_REL, JSON, "3D Tiles 1.0"))
    if has_scene_layer(collection):
        layer = f"{url}/i3s/SceneServer/layers/0"
        links += [_link(layer, GEOVOLUMES_REL, media_type, "I3S scene layer") for media_type in I3S_JSON]
    return links


def geovolumes_content(collection: Collection, url: str) -> list[Link]:
    """The member `content`: every three-dimensional form of the collection."""
    has = collection.representations
    content = []
    if Kind.TILESET_3D in has:
        points = has[Kind.TILESET_3D].properties.get("content") == "points"
        title = "Point cloud as 3D Tiles 1.1" if points else "3D Tiles 1.1"
        content.append(_link(f"{url}/3dtiles/tileset.json", "original", TILES_JSON[1], title))
        if has_scene_layer(collection):
            content.append(
                _link(f"{url}/i3s/SceneServer/layers/0", "alternate", I3S_JSON[0], "I3S scene layer")
            )
    if Kind.TERRAIN in has:
        content.append(_link(f"{url}/terrain/layer.json", "alternate", JSON, "Quantized-mesh terrain"))
    if Kind.POINT_CLOUD in has:
        content.append(whole_cloud(collection, url, "alternate"))
    return content


def geovolumes_classes(collection: Collection) -> tuple[str, ...]:
    """The classes that a collection conforms to: those of 3D Tiles where its extent has heights, which the core demands."""
    if Kind.TILESET_3D not in collection.representations or len(collection.bbox) != 6:
        return ()
    return (*CLASSES, I3S_CLASS) if has_scene_layer(collection) else CLASSES


def is_implicit(collection: Collection) -> bool:
    """Whether the tileset may be one that this server planned, of which explicit ones are made."""
    return collection.representations[Kind.TILESET_3D].properties.get("content") not in ("points", "tileset")


def has_scene_layer(collection: Collection) -> bool:
    """Whether an I3S layer can be made of the collection's tileset: what its tiles contain is known."""
    root = collection.path_of(Kind.TILESET_3D).parent.parent
    return is_implicit(collection) and (root / "scene" / "facts.npy").is_file()


def _link(href: str, rel: str, media_type: str, title: str) -> Link:
    return {"href": href, "rel": rel, "type": media_type, "title": title}
