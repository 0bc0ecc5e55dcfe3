"""The 3D scene of a tenant: which collections become which layers of the globe, and what the scripts need of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from server.pages.language import Messages
from server.pages.links import Links
from server.pages.views import flat_bbox, text_of
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind

type BBox = tuple[float, float, float, float]

GROUPS = ("above", "surface", "underground", "points")
"""The groups of 3D layers, in the order of the list; imagery and terrain follow."""

# Contents by the names that their makers give them. What is not here stands above the ground.
_GROUP_OF = dict.fromkeys(
    ("pipes", "cables", "manholes", "boreholes", "geology", "bodies", "tunnels", "underground"), "underground"
) | {"points": "points", "roads": "surface", "surface": "surface"}
_EARTH = ("geology", "bodies")
_SOLID = ("buildings", "cityjson", "cityobjects", "citygml", "models")


@dataclass(frozen=True, slots=True)
class SceneServices:
    """What the scene may ask of the server besides its layers; None where the server has no such service.

    `profile` is an address that is asked with `coords=POINT(lon lat)` and `f=json` what is there from the sky to the bedrock.
    """

    profile: str | None = None


NO_SERVICES = SceneServices()


def has_scene(collections: Iterable[Collection]) -> bool:
    """Whether there is anything to see in three dimensions."""
    return any(Kind.TILESET_3D in c.representations or Kind.TERRAIN in c.representations for c in collections)


def scene_settings(
    collections: Sequence[Collection],
    links: Links,
    messages: Messages,
    services: SceneServices = NO_SERVICES,
) -> dict[str, Any]:
    """The layers of the scene, in the order of its list, and the box it looks at first (CRS84 degrees).

    The box is that of the buildings where there are any, so that one far-off layer does not make the city a dot. Maps that do not
    meet it are left out.
    """
    solid = [c for c in collections if content_of(c) in _SOLID] or [
        c for c in collections if Kind.TILESET_3D in c.representations or Kind.TERRAIN in c.representations
    ]
    bounds = _union([flat_bbox(c) for c in solid])
    layers = [
        layer
        for c in collections
        for layer in _layers_of(c, links, messages)
        if layer["type"] != "imagery" or bounds is None or meet(bounds, layer["bounds"])
    ]
    if any(content_of(c) in _SOLID for c in collections):
        # Points stand where the roofs are: one or the other, and the buildings can be asked for their attributes.
        for layer in layers:
            layer["visible"] = layer["visible"] and layer["group"] != "points"
    order = {name: place for place, name in enumerate((*GROUPS, "imagery", "terrain"))}
    layers.sort(key=lambda layer: (order[layer["group"]], layer.get("content") not in _SOLID))
    return {"layers": layers, "bounds": bounds, "profile": services.profile}


def _union(boxes: Sequence[BBox]) -> BBox | None:
    """The box around all boxes; None where there are none."""
    if not boxes:
        return None
    west, south, east, north = zip(*boxes, strict=True)
    return (min(west), min(south), max(east), max(north))


def meet(a: BBox, b: BBox) -> bool:
    """Whether two boxes have a place in common."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def content_of(collection: Collection) -> str:
    """What the 3D tiles of a collection hold ("buildings", "pipes", "points" ...); empty where there are none."""
    tileset = collection.representations.get(Kind.TILESET_3D)
    if tileset is None:
        return ""
    return str(tileset.properties.get("content") or "buildings")


def group_of(collection: Collection) -> str:
    """The group of a 3D collection: what its representation says (`scene_group`), else by what its tiles hold."""
    said = collection.representations[Kind.TILESET_3D].properties.get("scene_group")
    return str(said) if said in GROUPS else _GROUP_OF.get(content_of(collection), "above")


def _layers_of(collection: Collection, links: Links, messages: Messages) -> list[dict[str, Any]]:
    kinds = collection.representations
    common: dict[str, Any] = {
        "collection": collection.id,
        "title": collection.title(messages.language),
        "description": text_of(collection.descriptions, messages.language),
        "href": links.collection(collection, f="html"),
        "simulated": collection.simulated,
        "attribution": collection.attribution,
        "bounds": flat_bbox(collection),
        "temporal": _temporal(collection),
    }
    layers: list[dict[str, Any]] = []
    if Kind.TILESET_3D in kinds:
        layers.append(common | _tileset(collection, links, messages))
    if Kind.TERRAIN in kinds:
        layers.append(
            common
            | {
                "id": f"terrain-{collection.id}",
                "type": "terrain",
                "group": "terrain",
                "url": links.collection(collection, "terrain"),
                "excavation": links.collection(collection, "terrain", "excavation"),
                "visible": True,
            }
        )
    if Kind.MAP in kinds and Kind.TERRAIN not in kinds and Kind.TILESET_3D not in kinds:
        # Only imagery covers the ground from the start: maps of single layers would hide it. What stands there in three dimensions
        # needs no picture of itself on the ground.
        picture = Kind.COVERAGE in kinds
        layers.append(
            common
            | {
                "id": f"imagery-{collection.id}",
                "type": "imagery",
                "group": "imagery",
                "url": links.map_tiles(collection),
                "visible": picture,
            }
        )
    return layers


def _tileset(collection: Collection, links: Links, messages: Messages) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": f"tileset-{collection.id}",
        "type": "tileset",
        "content": content_of(collection),
        "group": group_of(collection),
        "url": links.collection(collection, "3dtiles", "tileset.json"),
        # Volumes of soil and rock hide what is buried in them: they show where the reader cuts, or asks for them.
        "visible": content_of(collection) not in _EARTH,
        "solid": content_of(collection) in _EARTH,
    }
    points = point_links(collection, links, messages.language)
    if points is not None:
        found["points"] = points
        if points["rgb"] and collection.representations[Kind.TILESET_3D].properties.get("store") == "points":
            # The photograph's colours come with the tiles; all others are made of what the points carry.
            found["url"] = links.collection(collection, "3dtiles", "tileset.json", colour="rgb")
    return found | feature_links(collection, links, messages)


def point_links(collection: Collection, links: Links, language: str) -> dict[str, Any] | None:
    """What the scene asks of a point cloud, and what it cannot see in the tiles; None for a tileset that is no point cloud.

    `rgb`: its points have a photograph's colours; `time` "standard" where GPS times are dates, "week" where they are not; `bottom` and
    `top` in metres above the ellipsoid, None where unknown.
    """
    cloud = collection.representations.get(Kind.POINT_CLOUD)
    if content_of(collection) != "points":
        return None
    tiles = collection.representations[Kind.TILESET_3D].properties
    hidden_colours = bool(collection.fields) and all(field.name != "Red" for field in collection.fields)
    asked = links.collection(collection, "points") if cloud is not None else None
    heights = (collection.bbox[2], collection.bbox[5]) if len(collection.bbox) == 6 else (None, None)
    return {
        "rgb": "rgb" in (tiles.get("colour"), *tiles.get("colours", ())) and not hidden_colours,
        "time": str(cloud.properties.get("gps_time", "week")) if cloud is not None else "week",
        "items": asked,
        "statistics": f"{asked}/statistics?f=json&lang={language}" if asked else None,
        "profile": f"{asked}/profile" if asked else None,
        "bottom": heights[0],
        "top": heights[1],
    }


def feature_links(collection: Collection, links: Links, messages: Messages) -> dict[str, Any]:
    """Where the features behind tiles are asked for; empty for a collection that has none."""
    features = collection.representations.get(Kind.FEATURES)
    if features is None:
        return {}
    return {
        "items": links.collection(collection, "items"),
        "schema": links.collection(collection, "schema", f="json", lang=messages.language),
        # Only the embedded store keeps what its features were; the others name themselves.
        "history": "store" not in features.properties,
    }


def _temporal(collection: Collection) -> tuple[str | None, str | None] | None:
    """First and last instant of the data (RFC 3339, None where open), None where they have no time."""
    interval = collection.interval
    return (interval.start, interval.end) if interval else None
