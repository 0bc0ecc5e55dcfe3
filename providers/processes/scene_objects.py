"""Processes `vertical-profile`, `objects-in-box` and `clearance`: which objects of the city are where."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from providers.analysis.boxes import objects_in_box
from providers.analysis.clearance import clearances
from providers.analysis.profile import object_document, profile_document, vertical_profile
from providers.analysis.scene import Box3
from providers.analysis.sources import find_scene
from providers.errors import InvalidParameter
from providers.processes.description import Processor
from providers.processes.scene_inputs import COLLECTIONS, GROUND, SceneInputs, geometry, number, one

JSON = "application/json"
_MAXIMUM_WITHIN = 100.0
_MAXIMUM_DEGREES = 1.0
_HEIGHTS = "Heights are metres above the WGS 84 ellipsoid"
_SYNCHRONOUS = MappingProxyType(
    {
        "version": "1.0.0",
        "jobControlOptions": ["sync-execute"],
        "outputTransmission": ["value"],
        "links": [],
    }
)

_PROFILE_INPUTS = MappingProxyType(
    {
        "point": one("Point", "The place, in CRS84", geometry("Point")),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class VerticalProfileProcessor(Processor):
    """What is above, at and under a place."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "vertical-profile",
            "title": {"en": "Vertical profile", "zh": "垂直剖面查询"},
            "description": {
                "en": "Lists everything that a plumb line passes, from the sky to the bedrock: buildings, pipes, tunnels, layers of the ground.",
                "zh": "列出某点铅垂线自上而下穿过的一切:建筑、管线、隧道、地层。",
            },
            "keywords": ["3D", "profile", "underground", "剖面", "地下"],
            "inputs": _PROFILE_INPUTS,
            "outputs": {
                "profile": {
                    "title": "Profile",
                    "description": f"Layers from the top down, and the ground. {_HEIGHTS}; depth is below the ground",
                    "schema": {"type": "object", "contentMediaType": JSON},
                }
            },
            "example": {"inputs": {"point": {"type": "Point", "coordinates": [24.9414, 60.1699]}}},
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", profile). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _PROFILE_INPUTS)
        longitude, latitude, _ = inputs.point("point")
        scene = find_scene(self.resolver_key, *inputs.chosen())
        return JSON, profile_document(vertical_profile(scene, longitude, latitude))


_BOX_INPUTS = MappingProxyType(
    {
        "bbox": one(
            "Box",
            "West, south, bottom, east, north, top in CRS84h (degrees, metres above the ellipsoid), or four numbers without heights",
            {"type": "array", "minItems": 4, "maxItems": 6, "items": {"type": "number"}},
        ),
        "collections": COLLECTIONS,
    }
)


class ObjectsInBoxProcessor(Processor):
    """The objects in a box."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "objects-in-box",
            "title": {"en": "Objects in a 3D box", "zh": "三维范围查询"},
            "description": {
                "en": "Lists the objects of which a surface lies in a box of longitude, latitude and height.",
                "zh": "列出表面落在给定经纬度与高程范围内的对象。",
            },
            "keywords": ["3D", "bbox", "三维"],
            "inputs": _BOX_INPUTS,
            "outputs": {
                "objects": {
                    "title": "Objects",
                    "description": f"The lowest first. {_HEIGHTS}",
                    "schema": {"type": "object", "contentMediaType": JSON},
                }
            },
            "example": {"inputs": {"bbox": [24.94, 60.169, -20, 24.942, 60.17, 5]}},
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", objects). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _BOX_INPUTS)
        box = _box(data.get("bbox"))
        scene = find_scene(self.resolver_key, inputs.chosen()[0])
        found = objects_in_box(scene, box)
        return JSON, {
            "heights": "metres above the WGS 84 ellipsoid",
            "numberReturned": len(found),
            "objects": [
                object_document(each.object) | {"bottom": round(each.bottom, 2), "top": round(each.top, 2)}
                for each in found
            ],
        }


def _box(value: Any) -> Box3:
    allowed = "west, south, bottom, east, north, top (or west, south, east, north) with west below east, at most 1 degree wide and high"
    value = value.get("value", value) if isinstance(value, dict) else value
    good = isinstance(value, list) and len(value) in (4, 6)
    good = good and all(
        isinstance(n, int | float) and not isinstance(n, bool) and bool(np.isfinite(n)) for n in value
    )
    if not good:
        raise InvalidParameter("bbox", str(value)[:80], allowed)
    if len(value) == 4:
        box = Box3(*(float(n) for n in value))
    else:
        west, south, bottom, east, north, top = (float(n) for n in value)
        box = Box3(west, south, east, north, bottom, top)
    wide, high = box.east - box.west, box.north - box.south
    on_earth = abs(box.west) <= 180 and abs(box.east) <= 180 and abs(box.south) <= 89 and abs(box.north) <= 89
    if not (
        on_earth and 0 <= wide <= _MAXIMUM_DEGREES and 0 <= high <= _MAXIMUM_DEGREES and box.bottom <= box.top
    ):
        raise InvalidParameter("bbox", str(value)[:80], allowed)
    return box


_CLEARANCE_INPUTS = MappingProxyType(
    {
        "line": one(
            "Planned line",
            "Its axis, in CRS84 with heights above the ellipsoid; without heights `depth` says how far below the terrain it lies",
            geometry("LineString"),
        ),
        "diameter": number("Diameter", "Outer diameter of the planned line, metres", 0, 50, 0.3),
        "depth": number(
            "Depth", "Metres from the terrain down to the axis, for lines without heights", -100, 1_000, 1.5
        ),
        "within": number("Within", "Objects farther than this are not listed, metres", 0, _MAXIMUM_WITHIN, 5),
        "required": number("Required", "Clearance that has to be kept, metres", 0, _MAXIMUM_WITHIN, 0),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class ClearanceProcessor(Processor):
    """How far a planned line stays from what is there."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "clearance",
            "title": {"en": "Clearance of a planned line", "zh": "管线净距分析"},
            "description": {
                "en": "Measures the distances in space, in plan and in height between a planned pipe or cable and existing pipes, tunnels and foundations.",
                "zh": "计算规划管线与现有管线、隧道、基础之间的空间净距、水平净距与垂直净距。",
            },
            "keywords": ["3D", "clearance", "pipes", "净距", "管线"],
            "inputs": _CLEARANCE_INPUTS,
            "outputs": {
                "clearances": {
                    "title": "Clearances",
                    "description": "Nearest first; distances from outside to outside, below 0 where they overlap. "
                    "Round sections are drawn with flat sides: distances to them are up to 5 % of their radius too large",
                    "schema": {"type": "object", "contentMediaType": JSON},
                }
            },
            "example": {
                "inputs": {
                    "line": {"type": "LineString", "coordinates": [[24.9405, 60.1695], [24.9425, 60.1705]]},
                    "diameter": 0.4,
                    "depth": 2,
                    "required": 0.5,
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", clearances). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _CLEARANCE_INPUTS)
        line = inputs.line("line")
        radius = inputs.number_or("diameter", 0, 50, 0.3) / 2.0
        depth = inputs.number_or("depth", -100, 1_000, 1.5)
        within = inputs.number_or("within", 0, _MAXIMUM_WITHIN, 5)
        required = inputs.number_or("required", 0, _MAXIMUM_WITHIN, 0)
        scene = find_scene(self.resolver_key, *inputs.chosen())
        bare = np.isnan(line[:, 2])
        if bare.any():
            heights = (
                np.full(len(line), np.nan) if scene.ground is None else scene.ground.heights(line[:, :2])
            )
            line[bare, 2] = heights[bare] - depth
            if np.isnan(line[:, 2]).any():
                raise InvalidParameter(
                    "line", "a line without heights", "heights at each point, where there is no terrain"
                )
        found = clearances(scene, line, radius, max(within, required))
        return JSON, {
            "heights": "metres above the WGS 84 ellipsoid",
            "required": required,
            "kept": all(each.distance >= required for each in found),
            "clearances": [
                object_document(each.object)
                | {
                    "distance": round(each.distance, 3),
                    "horizontal": round(each.horizontal, 3),
                    "vertical": round(each.vertical, 3),
                    "kept": each.distance >= required,
                    "place": [round(each.place[0], 7), round(each.place[1], 7), round(each.place[2], 2)],
                    "along": round(each.along, 2),
                }
                for each in found
            ],
        }
