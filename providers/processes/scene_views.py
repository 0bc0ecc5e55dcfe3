"""Processes `line-of-sight`, `viewshed`, `shadow` and `sky-view`: what is seen and what is lit."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np

from providers.analysis.light import horizon, shadow_grid, shadows, sunshine
from providers.analysis.place import Place
from providers.analysis.profile import object_document
from providers.analysis.sight import line_of_sight, viewshed
from providers.analysis.sources import find_scene
from providers.errors import InvalidParameter
from providers.processes.description import POLYGON_SCHEMA, Processor
from providers.processes.scene_inputs import (
    COLLECTIONS,
    GROUND,
    SceneInputs,
    absolute_height,
    geometry,
    number,
    one,
)
from providers.processes.scene_masks import mask_polygons

JSON = "application/json"
GEOJSON = "application/geo+json"
MAXIMUM_CELLS = 1_000_000
MAXIMUM_INSTANTS = 24
MAXIMUM_RADIUS = 5_000.0
_DAY_STEP = 4
_SYNCHRONOUS = MappingProxyType(
    {
        "version": "1.0.0",
        "jobControlOptions": ["sync-execute"],
        "outputTransmission": ["value"],
        "links": [],
    }
)

_SIGHT_INPUTS = MappingProxyType(
    {
        "observer": one(
            "Observer",
            "Where the eye is; with a height above the ellipsoid, or above the terrain",
            geometry("Point"),
        ),
        "target": one("Target", "What is looked at, in the same way", geometry("Point")),
        "eyeHeight": number(
            "Eye height", "Metres above the terrain, for an observer without a height", 0, 1_000, 1.6
        ),
        "targetHeight": number(
            "Target height", "Metres above the terrain, for a target without a height", 0, 1_000, 1.6
        ),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class LineOfSightProcessor(Processor):
    """Whether one place is seen from another."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "line-of-sight",
            "title": {"en": "Line of sight", "zh": "通视分析"},
            "description": {
                "en": "Tells whether a target is seen from a place, and if not, what is in the way and where.",
                "zh": "判断两点之间是否通视;不通视时给出遮挡物及其位置。",
            },
            "keywords": ["3D", "visibility", "通视"],
            "inputs": _SIGHT_INPUTS,
            "outputs": {
                "sight": {
                    "title": "Sight line",
                    "description": "Metres; `by` is the object in the way, null for the terrain",
                    "schema": {"type": "object", "contentMediaType": JSON},
                }
            },
            "example": {
                "inputs": {
                    "observer": {"type": "Point", "coordinates": [24.9405, 60.1695]},
                    "target": {"type": "Point", "coordinates": [24.9425, 60.1705]},
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", sight line). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _SIGHT_INPUTS)
        observer, target = inputs.point("observer"), inputs.point("target")
        scene = find_scene(self.resolver_key, *inputs.chosen())
        eye = inputs.number_or("eyeHeight", 0, 1_000, 1.6)
        mark = inputs.number_or("targetHeight", 0, 1_000, 1.6)
        ends = [
            np.array([*place[:2], absolute_height(scene, name, place, above)])
            for name, place, above in (("observer", observer, eye), ("target", target, mark))
        ]
        if max(abs(ends[0][:2] - ends[1][:2])) > 0.2:
            raise InvalidParameter("target", str(target[:2]), "a place at most 0.2 degrees from the observer")
        found = line_of_sight(scene, ends[0], ends[1])
        return JSON, {
            "visible": found.visible,
            "length": round(found.length, 2),
            "clear": round(found.clear, 2),
            "blockedAt": None
            if found.blocked_at is None
            else {"type": "Point", "coordinates": list(found.blocked_at)},
            "by": None if found.by is None else object_document(found.by),
        }


_VIEWSHED_INPUTS = MappingProxyType(
    {
        "observer": one("Observer", "Where the eye is, in CRS84", geometry("Point")),
        "eyeHeight": number(
            "Eye height", "Metres above the ground, or the roof that is there", 0, 1_000, 1.6
        ),
        "targetHeight": number(
            "Target height", "Metres above each surface that have to be seen", 0, 1_000, 0
        ),
        "radius": number("Radius", "Metres", 1, MAXIMUM_RADIUS, 500),
        "cellSize": number("Cell size", "Metres", 0.25, 100, 2),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class ViewshedProcessor(Processor):
    """What is seen from a place."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "viewshed",
            "title": {"en": "Viewshed", "zh": "可视域分析"},
            "description": {
                "en": "The surfaces (ground and roofs) that are seen from a place within a radius.",
                "zh": "计算从某点在给定半径内能看到的地面与屋顶范围。",
            },
            "keywords": ["3D", "visibility", "可视域"],
            "inputs": _VIEWSHED_INPUTS,
            "outputs": {
                "viewshed": {
                    "title": "Viewshed",
                    "description": "A GeoJSON Feature: the visible cells as a MultiPolygon, with areas in square metres",
                    "schema": {"type": "object", "contentMediaType": GEOJSON},
                }
            },
            "example": {
                "inputs": {"observer": {"type": "Point", "coordinates": [24.9414, 60.1699]}, "radius": 300}
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/geo+json", Feature). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _VIEWSHED_INPUTS)
        longitude, latitude, _ = inputs.point("observer")
        radius = inputs.number_or("radius", 1, MAXIMUM_RADIUS, 500)
        size = inputs.number_or("cellSize", 0.25, 100, 2)
        scene = find_scene(self.resolver_key, *inputs.chosen())
        found = viewshed(
            scene,
            longitude,
            latitude,
            eye_height=inputs.number_or("eyeHeight", 0, 1_000, 1.6),
            target_height=inputs.number_or("targetHeight", 0, 1_000, 0),
            radius=radius,
            size=size,
            maximum=MAXIMUM_CELLS,
        )
        cell = size * size
        return GEOJSON, {
            "type": "Feature",
            "geometry": mask_polygons(found.grid, found.visible),
            "properties": {
                "eye": round(found.eye, 2),
                "radius": radius,
                "cellSize": size,
                "visibleArea": round(float(found.visible.sum()) * cell, 1),
                "area": round(float(found.within.sum()) * cell, 1),
            },
        }


_SHADOW_INPUTS = MappingProxyType(
    {
        "area": one("Area", "Polygon in CRS84 whose box is looked at", POLYGON_SCHEMA),
        "instants": one(
            "Instants",
            f"1 to {MAXIMUM_INSTANTS} instants with their zone",
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MAXIMUM_INSTANTS,
                "items": {"type": "string", "format": "date-time"},
            },
        ),
        "cellSize": number("Cell size", "Metres", 0.25, 100, 2),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class ShadowProcessor(Processor):
    """Where the sun does not shine."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "shadow",
            "title": {"en": "Shadow", "zh": "阴影分析"},
            "description": {
                "en": "Shadows of buildings and terrain on the ground and on roofs at given times.",
                "zh": "计算建筑与地形在给定时刻投射到地面及屋顶上的阴影。",
            },
            "keywords": ["3D", "sun", "shadow", "日照", "阴影"],
            "inputs": _SHADOW_INPUTS,
            "outputs": {
                "shadows": {
                    "title": "Shadows",
                    "description": "A GeoJSON FeatureCollection, a feature per instant, with the sun's azimuth and altitude in degrees",
                    "schema": {"type": "object", "contentMediaType": GEOJSON},
                }
            },
            "example": {
                "inputs": {
                    "area": {
                        "type": "Polygon",
                        "coordinates": [
                            [
                                [24.94, 60.169],
                                [24.943, 60.169],
                                [24.943, 60.171],
                                [24.94, 60.171],
                                [24.94, 60.169],
                            ]
                        ],
                    },
                    "instants": ["2026-06-21T09:00:00+03:00", "2026-06-21T15:00:00+03:00"],
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/geo+json", FeatureCollection). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _SHADOW_INPUTS)
        west, south, east, north = inputs.polygon("area").bounds
        instants = inputs.instants("instants", MAXIMUM_INSTANTS)
        size = inputs.number_or("cellSize", 0.25, 100, 2)
        scene = find_scene(self.resolver_key, *inputs.chosen())
        if max(east - west, north - south) > 0.2:
            raise InvalidParameter(
                "area", f"{east - west:g} x {north - south:g} degrees", "at most 0.2 degrees wide and high"
            )
        place = Place.at((west + east) / 2.0, (south + north) / 2.0)
        edge = place.from_geodetic(
            np.array([[west, south], [east, north], [west, north], [east, south]]), np.zeros(4)
        )
        low, high = edge.min(axis=0), edge.max(axis=0)
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        grid = shadow_grid(scene, place, box, size, instants, MAXIMUM_CELLS)
        x, y = grid.centres()
        inside = ((y >= low[1]) & (y <= high[1]))[:, None] & ((x >= low[0]) & (x <= high[0]))[None, :]
        features = []
        for instant in instants:
            found = shadows(grid, instant)
            shaded = found.shaded & inside
            features.append(
                {
                    "type": "Feature",
                    "geometry": mask_polygons(grid, shaded),
                    "properties": {
                        "instant": instant.isoformat(),
                        "azimuth": round(found.sun.azimuth, 2),
                        "altitude": round(found.sun.altitude, 2),
                        "shadedArea": round(float(shaded.sum()) * size * size, 1),
                        "area": round(float(inside.sum()) * size * size, 1),
                    },
                }
            )
        return GEOJSON, {"type": "FeatureCollection", "features": features, "numberReturned": len(features)}


_SKY_INPUTS = MappingProxyType(
    {
        "point": one("Point", "The place, in CRS84", geometry("Point")),
        "height": number("Height", "Metres above the ground, or the roof that is there", 0, 1_000, 1.6),
        "radius": number(
            "Radius", "What stands farther away is not looked at, metres", 10, MAXIMUM_RADIUS, 500
        ),
        "cellSize": number("Cell size", "Metres", 0.25, 100, 2),
        "date": one(
            "Date",
            "A day whose hours of sunshine are wanted, by local time of the zone, such as 2026-01-20+08:00",
            {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[+-][0-9]{2}:[0-9]{2}$"},
            required=False,
        ),
        "collections": COLLECTIONS,
        "ground": GROUND,
    }
)


class SkyViewProcessor(Processor):
    """How much sky and sun a place gets."""

    METADATA = MappingProxyType(
        {
            **_SYNCHRONOUS,
            "id": "sky-view",
            "title": {"en": "Sky view and sunshine", "zh": "天空可视度与日照时数"},
            "description": {
                "en": "The skyline around a place, the sky view factor, and the hours of sunshine of a day.",
                "zh": "计算某点四周的天际线、天空可视因子以及某日的日照时数。",
            },
            "keywords": ["3D", "sky view factor", "sunshine", "日照", "天际线"],
            "inputs": _SKY_INPUTS,
            "outputs": {
                "sky": {
                    "title": "Sky",
                    "description": "`skyline` has altitudes in degrees, clockwise from north; `sunshine` minutes of the day and its beginnings and ends",
                    "schema": {"type": "object", "contentMediaType": JSON},
                }
            },
            "example": {
                "inputs": {
                    "point": {"type": "Point", "coordinates": [24.9414, 60.1699]},
                    "date": "2026-03-20+02:00",
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", sky). Raises InvalidParameter, AnswerTooLarge, ThreeDError."""
        inputs = SceneInputs(data, _SKY_INPUTS)
        longitude, latitude, _ = inputs.point("point")
        day = _day(inputs.maybe_text("date"))
        scene = find_scene(self.resolver_key, *inputs.chosen())
        found = horizon(
            scene,
            longitude,
            latitude,
            height=inputs.number_or("height", 0, 1_000, 1.6),
            radius=inputs.number_or("radius", 10, MAXIMUM_RADIUS, 500),
            size=inputs.number_or("cellSize", 0.25, 100, 2),
            maximum=MAXIMUM_CELLS,
        )
        answer: dict[str, Any] = {
            "height": round(found.height, 2),
            "skyViewFactor": round(found.sky_view_factor, 4),
            "openSky": round(found.open_sky, 4),
            "skyline": [round(float(altitude), 2) for altitude in found.altitudes],
        }
        if day is not None:
            instants = [day + timedelta(minutes=minute) for minute in range(0, 1440, _DAY_STEP)]
            sun = sunshine(found, instants, _DAY_STEP)
            answer["sunshine"] = {"minutes": sun.minutes, "intervals": _intervals(instants, sun.lit)}
        return JSON, answer


def _day(text: str | None) -> datetime | None:
    """Midnight of a day such as 2026-01-20+08:00."""
    if text is None:
        return None
    try:
        return (
            datetime.fromisoformat(f"{text[:10]}T00:00:00{text[10:]}") if len(text) == 16 else _refuse(text)
        )
    except ValueError:
        return _refuse(text)


def _refuse(text: str) -> datetime:
    raise InvalidParameter("date", text, "a day with its zone, such as 2026-01-20+08:00")


def _intervals(instants: list[datetime], lit: tuple[bool, ...]) -> list[list[str]]:
    """Beginning and end of each time of sunshine."""
    result: list[list[str]] = []
    before = False
    step = timedelta(minutes=_DAY_STEP)
    for instant, shines in zip(instants, lit, strict=True):
        if shines and not before:
            result.append([instant.isoformat(), ""])
        if shines:
            result[-1][1] = (instant + step).isoformat()
        before = shines
    return result
