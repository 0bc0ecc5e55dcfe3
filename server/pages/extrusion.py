"""The view for light devices: footprints raised to their heights on a map, over the same collections as the scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.pages.language import Messages
from server.pages.links import Links
from server.pages.scene import content_of, feature_links, group_of, meet, scene_settings
from server.pages.views import flat_bbox, vector_layer
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind

# Names under which heights are known, after those that the 3D representation itself names.
_HEIGHTS = ("height", "building_height", "hoehe", "measuredHeight", "gao_du", "高度", "建筑高度")
_BASES = ("min_height", "base_height", "base", "底高")
_LEVELS = ("levels", "building_levels", "storeys", "floors", "层数", "楼层")
_DRAWN = ("raster", "polygon", "line", "point", "mixed")
"""Kinds of layers from the ground up."""
_NUMBERS = ("number", "integer")
STOREY = 3.2
"""Metres of a storey where only their count is known."""


def extrusion_settings(
    collections: Sequence[Collection], links: Links, messages: Messages, tenant: str
) -> dict[str, Any]:
    """The layers of the light view, its terrain and the box it looks at first."""
    scene = scene_settings(collections, links, messages)
    terrain = next((c for c in collections if Kind.TERRAIN in c.representations), None)
    pictures = [layer for layer in scene["layers"] if layer["type"] == "imagery" and layer["visible"]]
    layers = [_picture(layer) for layer in pictures]
    layers += [_layer(c, links, messages) for c in collections if _is_drawn(c, scene["bounds"])]
    layers.sort(key=lambda layer: _DRAWN.index(layer["geometry"]))
    return {
        "bounds": scene["bounds"],
        "layers": layers,
        "terrain": links.collection(terrain, "terrain-rgb") if terrain else None,
        "scene": links.scene(tenant),
    }


def _is_drawn(collection: Collection, bounds: Any) -> bool:
    return Kind.TILES in collection.representations and (
        bounds is None or meet(bounds, flat_bbox(collection))
    )


def _picture(layer: dict[str, Any]) -> dict[str, Any]:
    """Imagery of the scene as a layer here."""
    shared = ("id", "collection", "title", "href", "simulated", "bounds", "visible", "group")
    drawn = {"geometry": "raster", "tiles": layer["url"], "minZoom": 0, "maxZoom": 20, "dates": []}
    return {name: layer[name] for name in shared} | drawn


def _layer(collection: Collection, links: Links, messages: Messages) -> dict[str, Any]:
    raised = Kind.TILESET_3D in collection.representations
    group = group_of(collection) if raised else "imagery"
    return (
        vector_layer(collection, links, messages)
        | {
            # The same name as in the scene, so that one address serves both views.
            "id": f"{'tileset' if raised else 'imagery'}-{collection.id}",
            "collection": collection.id,
            "group": group,
            "content": content_of(collection),
            "href": links.collection(collection, f="html"),
            "simulated": collection.simulated,
            "visible": raised and group == "above",
            "height": height_expression(collection) if raised else None,
            "dates": [f.name for f in collection.fields],
        }
        | feature_links(collection, links, messages)
    )


def height_expression(collection: Collection) -> dict[str, str] | None:
    """{"height", "base", "levels"}: the fields that say how tall a footprint is, those that there are; None without any.

    A field named by the 3D representation (`height_field`, `levels_field`, `base_field`) is taken first, then one by its usual name.
    """
    said = collection.representations[Kind.TILESET_3D].properties
    numbers = {f.name for f in collection.fields if f.type in _NUMBERS}
    found: dict[str, str] = {}
    for role, usual in (("height", _HEIGHTS), ("base", _BASES), ("levels", _LEVELS)):
        named = [said.get(f"{role}_field"), *usual]
        field = next((name for name in named if isinstance(name, str) and name in numbers), None)
        if field is not None:
            found[role] = field
    return found if "height" in found or "levels" in found else None
