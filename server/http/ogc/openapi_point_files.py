"""Paths of the files and edits of point clouds in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.http.ogc.point_links import COPC, VPC

type Document = dict[str, Any]
type Get = Callable[..., Document]
"""(operation id, tag, summary, formats, *parameter names) -> path item with a get."""

_ONE = "/collections/{collectionId}"
_PROBLEM = {"$ref": "#/components/responses/Problem"}


def point_file_paths(get: Get) -> Document:
    """The paths."""
    tile = get("getPointCloudTile", "3D", "One file of a mosaic; byte ranges", (COPC,), "collectionId")
    tile["get"]["parameters"].insert(1, _TILE)
    return {
        f"{_ONE}/pointcloud.copc.laz": get(
            "getPointCloud", "3D", "Point cloud as COPC; byte ranges", (COPC,), "collectionId"
        ),
        f"{_ONE}/pointcloud.vpc": get(
            "getVirtualPointCloud", "3D", "The files as a virtual point cloud", (VPC,), "collectionId"
        ),
        f"{_ONE}/pointcloud": get(
            "getPointCloudTiles",
            "3D",
            "The files of a point cloud",
            ("json",),
            *("collectionId", "bbox", "limit", "offset"),
        ),
        f"{_ONE}/pointcloud/{{name}}.copc.laz": tile,
        f"{_ONE}/pointcloud/{{name}}": {
            "delete": _edit("removePointCloudTile", "Take a file out of a mosaic", [_TILE])
        },
        f"{_ONE}/pointcloud/reclassify": {
            "post": _edit("reclassifyPoints", "Give the points inside a polygon another class", [])
            | {
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Reclassification"}}
                    },
                }
            }
        },
    }


_TILE: Document = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}


def _edit(operation: str, summary: str, parameters: list[Document]) -> Document:
    return {
        "operationId": operation,
        "tags": ["3D"],
        "summary": f"{summary}: a new generation of the collection",
        "parameters": [{"$ref": "#/components/parameters/collectionId"}, *parameters],
        "responses": {
            "200": {
                "description": "What was changed; every new request sees it",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "409": _PROBLEM,
            "default": _PROBLEM,
        },
    }


def point_file_parameters() -> Document:
    """None of their own."""
    return {}


def point_file_schemas() -> Document:
    """The body of a reclassification."""
    code = {"type": "integer", "minimum": 0, "maximum": 255}
    return {
        "Reclassification": {
            "type": "object",
            "required": ["polygon", "to"],
            "additionalProperties": False,
            "properties": {
                "polygon": {"type": "object", "description": "GeoJSON Polygon or MultiPolygon"},
                "crs": {"type": "string", "description": "CRS of the polygon; CRS84 where it is left out"},
                "heights": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "low": {"type": "number"},
                        "high": {"type": "number"},
                        "above": {"type": "string", "enum": ["z", "ground"]},
                    },
                },
                "from": {"type": "array", "items": code},
                "to": code,
            },
        }
    }
