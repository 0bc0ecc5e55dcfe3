"""What stands in the streets of the demo city, where OpenStreetMap has it: lamps, benches, traffic lights, shelters ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from shapely.geometry import LineString, Point
from shapely.geometry.base import BaseGeometry

from server.demo.ground import Ground
from server.demo.openstreetmap import Element, Extract
from server.demo.vector_files import Column

COLUMNS = (
    Column("osm_id", "str:24"),
    Column("kind", "str:20"),
    Column("kind_zh", "str:20"),
    Column("heading", "float"),
    Column("street", "str:80"),
    Column("material", "str:40"),
    Column("operator", "str:80"),
)
# The first that a point has says what it is; a lamp that carries a sign is a lamp.
_KINDS: Sequence[tuple[str, str, str, str]] = (
    ("highway", "street_lamp", "street_lamp", "路灯"),
    ("highway", "traffic_signals", "traffic_light", "交通信号灯"),
    ("highway", "bus_stop", "bus_shelter", "公交候车亭"),
    ("amenity", "bench", "bench", "长椅"),
    ("amenity", "waste_basket", "litter_bin", "垃圾箱"),
    ("amenity", "bicycle_parking", "bicycle_stand", "自行车架"),
    ("emergency", "fire_hydrant", "hydrant", "消防栓"),
    ("barrier", "bollard", "bollard", "隔离桩"),
    ("man_made", "utility_pole", "utility_pole", "电杆"),
    ("man_made", "surveillance", "camera", "监控摄像头"),
)
_CARRIAGEWAYS = frozenset(
    (
        "primary",
        "secondary",
        "tertiary",
        "residential",
        "unclassified",
        "service",
        "pedestrian",
        "living_street",
    )
)
# Models that stand beside a street look at it; those that face traffic look along it.
_ALONG = frozenset(("traffic_light", "utility_pole", "bicycle_stand"))
_ON_THE_LINE = 0.5


def furniture_features(extract: Extract, ground: Ground) -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Points of the city grid on the ground, with the attributes of `COLUMNS`.

    `heading` is degrees clockwise from north: the mapped `direction`, else towards the nearest street (along it for
    what faces traffic).
    """
    found = [(one, known) for one in extract.points if (known := _kind_of(one.tags)) is not None]
    streets = [one for one in extract.lines if one.tags.get("highway") in _CARRIAGEWAYS]
    x = np.array([one.planar.x for one, _ in found])
    y = np.array([one.planar.y for one, _ in found])
    level = ground.sample(x, y)
    nearest = np.asarray(shapely.STRtree([one.planar for one in streets]).nearest(shapely.points(x, y)))
    for number, (one, (kind, chinese)) in enumerate(found):
        street = streets[int(nearest[number])]
        yield (
            Point(round(one.planar.x, 2), round(one.planar.y, 2), round(float(level[number]), 2)),
            {
                "osm_id": one.osm_id,
                "kind": kind,
                "kind_zh": chinese,
                "heading": round(_heading(one, kind, street.planar), 1),
                "street": street.tags.get("name"),
                "material": one.tags.get("material"),
                "operator": one.tags.get("operator"),
            },
        )


def _kind_of(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """The model of a point and its Chinese name; a bus stop without a shelter has none."""
    for key, value, kind, chinese in _KINDS:
        if tags.get(key) == value:
            return None if kind == "bus_shelter" and tags.get("shelter") != "yes" else (kind, chinese)
    return None


def _heading(one: Element[Point], kind: str, street: LineString) -> float:
    """Degrees clockwise from north."""
    try:
        return float(one.tags.get("direction", "")) % 360.0
    except ValueError:  # none, or in words
        pass
    at = shapely.line_locate_point(street, one.planar)
    foot = shapely.get_coordinates(shapely.line_interpolate_point(street, at))[0]
    east, north = foot - (one.planar.x, one.planar.y)
    if kind in _ALONG or np.hypot(east, north) < _ON_THE_LINE:
        ends = shapely.line_interpolate_point(street, [max(at - 1.0, 0.0), at + 1.0])
        (west_x, west_y), (east_x, east_y) = shapely.get_coordinates(ends)
        east, north = east_x - west_x, east_y - west_y
    return float(np.degrees(np.arctan2(east, north)) % 360.0)
