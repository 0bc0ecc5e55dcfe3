"""The 3D scene of a tenant: which collections become which layers of the globe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from server.pages.language import Messages
from server.pages.links import Links
from server.pages.views import flat_bbox, text_of
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind

type BBox = tuple[float, float, float, float]

_SOLID = ("buildings", "cityjson", "pipes")


def has_scene(collections: Iterable[Collection]) -> bool:
    """Whether there is anything to see in three dimensions."""
    return any(Kind.TILESET_3D in c.representations or Kind.TERRAIN in c.representations for c in collections)


def scene_settings(collections: Sequence[Collection], links: Links, messages: Messages) -> dict[str, Any]:
    """The layers of the scene, in the order of its list, and the box it looks at first (CRS84 degrees).

    The box is that of the buildings where there are any, so that one far-off layer does not make the city a dot. Maps that do not
    meet it are left out.
    """
    solid = [c for c in collections if _content(c) in _SOLID] or [
        c for c in collections if Kind.TILESET_3D in c.representations or Kind.TERRAIN in c.representations
    ]
    bounds = _union([flat_bbox(c) for c in solid])
    layers = [
        layer
        for c in collections
        for layer in _layers_of(c, links, messages)
        if layer["type"] != "imagery" or bounds is None or _meet(bounds, layer["bounds"])
    ]
    if any(_content(c) in ("buildings", "cityjson") for c in collections):
        # Points stand where the roofs are: one or the other, and the buildings can be asked for their attributes.
        for layer in layers:
            layer["visible"] = layer["visible"] and layer.get("content") != "points"
    order = {"tileset": 0, "imagery": 1, "terrain": 2}
    contents = {"buildings": 0, "cityjson": 1, "points": 2, "pipes": 3}
    layers.sort(key=lambda layer: (order[layer["type"]], contents.get(layer.get("content", ""), 9)))
    return {"layers": layers, "bounds": bounds}


def _union(boxes: Sequence[BBox]) -> BBox | None:
    """The box around all boxes; None where there are none."""
    if not boxes:
        return None
    west, south, east, north = zip(*boxes, strict=True)
    return (min(west), min(south), max(east), max(north))


def _meet(a: BBox, b: BBox) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _content(collection: Collection) -> str:
    """ "buildings", "cityjson", "pipes", "points" of a 3D tileset; empty where there is none."""
    tileset = collection.representations.get(Kind.TILESET_3D)
    if tileset is None:
        return ""
    return str(tileset.properties.get("content") or "buildings")


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
    }
    layers: list[dict[str, Any]] = []
    if Kind.TILESET_3D in kinds:
        layers.append(
            common
            | {
                "id": f"tileset-{collection.id}",
                "type": "tileset",
                "content": _content(collection),
                "url": links.collection(collection, "3dtiles", "tileset.json"),
                "visible": True,
            }
        )
    if Kind.TERRAIN in kinds:
        layers.append(
            common
            | {
                "id": f"terrain-{collection.id}",
                "type": "terrain",
                "url": links.collection(collection, "terrain"),
                "visible": True,
            }
        )
    if Kind.MAP in kinds and Kind.TERRAIN not in kinds:
        # Only imagery covers the ground from the start: maps of single layers would hide it.
        picture = Kind.COVERAGE in kinds
        layers.append(
            common
            | {
                "id": f"imagery-{collection.id}",
                "type": "imagery",
                "url": links.map_tiles(collection),
                "visible": picture,
            }
        )
    return layers
