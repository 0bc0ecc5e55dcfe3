"""Paths of points, their statistics and sections in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from providers.points.items import FORMS
from server.http.ept_files import LAZ
from server.http.three_d_bytes import GLB, SUBTREE

type Document = dict[str, Any]
type Get = Callable[..., Document]
"""(operation id, tag, summary, formats, *parameter names) -> path item with a get."""

TAG = "Point clouds"
_ONE = "/collections/{collectionId}/points"
_SELECTING = (
    "bbox",
    "bbox-crs",
    "datetime",
    "filter",
    "filter-lang",
    "filter-crs",
    "pointResolution",
    "properties",
    "queryables",
)
_CONDITIONS = ("bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs")
_TOO_MANY = {
    "description": "More points than one request may read",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}


def point_paths(get: Get) -> Document:
    """The paths."""
    forms = tuple(dict.fromkeys(form.media_type for form in FORMS.values()))
    points = get(
        "getPoints",
        TAG,
        "Points of a point cloud",
        forms,
        "collectionId",
        *_SELECTING,
        "crs",
        "maxPoints",
        "limit",
        "cursor",
    )
    statistics = get(
        "getPointStatistics",
        TAG,
        "Counts, classes and spans of points",
        ("json",),
        "collectionId",
        *_SELECTING,
    )
    profile = get(
        "getPointProfile",
        TAG,
        "Points along a line, with terrain and surface",
        ("json", "geojson", "csv", "image/png"),
        "collectionId",
        "profileLine",
        "profileWidth",
        "profileGround",
        "crs",
        *(name for name in _SELECTING if not name.startswith("bbox")),
        "maxPoints",
    )
    for path in (points, statistics, profile):
        path["get"]["responses"]["413"] = _TOO_MANY
    return {
        _ONE: points,
        f"{_ONE}/statistics": statistics,
        f"{_ONE}/profile": profile,
        f"{_ONE}/{{pointId}}": get(
            "getPoint", TAG, "One point", ("geojson",), "collectionId", "pointId", "crs"
        ),
        **_tiles(get),
        **_ept(get),
    }


def _tiles(get: Get) -> Document:
    """3D Tiles that are made of points: an octree where other tilesets have a quadtree."""
    base = "/collections/{collectionId}/3dtiles"
    cell, address = ("level3D", "x3D", "y3D", "z3D"), "{level}/{x}/{y}/{z}"
    look = ("pointColour", "pointProperties", *_CONDITIONS)
    content, subtree = (GLB,), (SUBTREE,)
    return {
        f"{base}/subtrees/{address}.subtree": get(
            "getPointSubtree", TAG, "A subtree of an octree of points", subtree, "collectionId", *cell, *look
        ),
        f"{base}/content/{address}.glb": get(
            "getPointContent", TAG, "Points of a node as binary glTF", content, "collectionId", *cell, *look
        ),
        f"{base}/tiles/{{pointTile}}/tileset.json": get(
            "getPointTileTileset",
            TAG,
            "The octree of one file of a mosaic",
            ("json",),
            "collectionId",
            "pointTile",
            *look,
        ),
    }


def _ept(get: Get) -> Document:
    """A point cloud as Entwine Point Tiles."""
    base = "/collections/{collectionId}/ept"
    return {
        f"{base}/ept.json": get("getEpt", TAG, "A point cloud as EPT", ("json",), "collectionId"),
        f"{base}/ept-hierarchy/{{eptNode}}.json": get(
            "getEptHierarchy", TAG, "Nodes of an EPT", ("json",), "collectionId", "eptNode"
        ),
        f"{base}/ept-data/{{eptNode}}.laz": get(
            "getEptNode", TAG, "Points of a node as LAZ", (LAZ,), "collectionId", "eptNode"
        ),
    }


def point_parameters() -> Document:
    """`components.parameters` that only points have."""
    return {
        "pointId": {
            "name": "pointId",
            "in": "path",
            "description": "Tile, node of the octree and number of the point in it, such as pointcloud.0-0-0-0.17",
            "required": True,
            "schema": {"type": "string"},
        },
        "pointColour": _query("colour", "What points are coloured by [default: as published]", {"type": "string", "enum": ["class", "height", "rgb", "intensity", "return", "time"]}),
        "pointProperties": _query("properties", "Dimensions that points carry, divided by commas; none where empty", {"type": "string"}),
        "pointTile": {
            "name": "pointTile",
            "in": "path",
            "description": "Name of a file of a mosaic",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        },
        "eptNode": {
            "name": "eptNode",
            "in": "path",
            "description": "Depth and cell of a node, such as 0-0-0-0",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9]{1,2}(-[0-9]{1,7}){3}$"},
        },
        "z3D": {
            "name": "z",
            "in": "path",
            "description": "Layer of the tile, from below",
            "required": True,
            "schema": {"type": "integer", "minimum": 0, "maximum": 9999999},
        },
        "pointResolution": _query("resolution", "Distance of points in metres; finer levels are left out", {"type": "number", "minimum": 0, "exclusiveMinimum": True}),
        "profileLine": _query("coords", "A line as WKT in CRS84, or in `crs`: LINESTRING(4.3651 52.0110,4.3672 52.0119)", {"type": "string"}) | {"required": True},
        "profileWidth": _query("width", "Metres to each side of the line", {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 100, "default": 1}),
        "profileGround": _query("ground", "Whether terrain and surface along the line are told too", {"type": "boolean", "default": True}),
        "maxPoints": _query("max-points", "At most so many points, spread evenly", {"type": "integer", "minimum": 1}),
    }  # fmt: skip


def point_schemas() -> Document:
    """`components.schemas` that only points have: none."""
    return {}


def _query(name: str, description: str, schema: Document) -> Document:
    return {"name": name, "in": "query", "description": description, "required": False, "schema": schema}
