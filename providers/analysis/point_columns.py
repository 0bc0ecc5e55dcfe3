"""What a point cloud holds at a place: the points of a column, and the terrain and surface that are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import shapely

from providers.errors import AnswerTooLarge

RADIUS: Final = 0.5
"""Metres around the place."""
_MOST_READ: Final = 2_000_000
_REACH: Final = 0.001
"""Degrees: a cloud farther away than that is not opened."""


@dataclass(frozen=True, slots=True)
class CloudPart:
    """A point cloud as the one who asks may see it: the path of its COPC or index, the properties of its rasters, hidden dimensions,
    the area (WKT, CRS84) it may be seen in, and its extent (west, south, east, north)."""

    id: str
    title: str
    path: Path
    extent: tuple[float, float, float, float]
    raster: Mapping[str, Any] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    area: str | None = None


class PointColumn(NamedTuple):
    """Points within RADIUS of a place. Heights are the cloud's own, in its unit, above what `heights` names; `classes` is code ->
    points, None where they are hidden; `terrain` and `surface` None where unknown."""

    cloud: CloudPart
    points: int
    lowest: float
    highest: float
    classes: dict[int, int] | None
    terrain: float | None
    surface: float | None
    heights: str


def column_at(part: CloudPart, longitude: float, latitude: float) -> PointColumn | None:
    """The points of a cloud at a place (degrees); None where it has none. Raises AnswerTooLarge, PointCloudError, RasterError."""
    west, south, east, north = part.extent
    if not (west - _REACH <= longitude <= east + _REACH and south - _REACH <= latitude <= north + _REACH):
        return None
    place = shapely.Point(longitude, latitude)
    if part.area is not None and not shapely.intersects(shapely.from_wkt(part.area), place):
        return None
    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.cloud.query import PointQuery, plan, read_plan
    from pointclouds.crs import vertical_name
    from providers.features.crs import reference_system
    from providers.features.query import CRS84
    from providers.points.places import area_of_rights, length_unit, moved

    cloud = open_cloud(part.path)
    try:
        centre = moved(place, reference_system(CRS84), cloud)
    except ValueError:
        return None
    disc: shapely.Geometry = shapely.buffer(centre, RADIUS / length_unit(cloud))
    if part.area is not None:
        disc = shapely.intersection(disc, area_of_rights(part.area, cloud))
    planned = plan(cloud, PointQuery(area=disc, dimensions=("Classification",)))
    if planned.points > _MOST_READ:
        raise AnswerTooLarge(
            f"{planned.points} points of {part.id!r} would have to be read at this place; at most {_MOST_READ} are"
        )
    records = [batch.records for batch in read_plan(planned)]
    if not sum(map(len, records)):
        return None
    z = np.concatenate([one["Z"] for one in records]) * cloud.scale[2] + cloud.offset[2]
    codes = np.bincount(np.concatenate([one["Classification"] for one in records]))
    terrain, surface = _surfaces(part, shapely.get_coordinates(centre))
    return PointColumn(
        part,
        len(z),
        float(z.min()),
        float(z.max()),
        None
        if "Classification" in part.hidden
        else {int(code): int(codes[code]) for code in np.flatnonzero(codes)},
        terrain,
        surface,
        vertical_name(cloud.crs),
    )


def _surfaces(part: CloudPart, place: Any) -> tuple[float | None, float | None]:
    """Terrain and surface; not told where not all points, or their classes, may be seen: they are made of all."""
    if part.area is not None or "Classification" in part.hidden:
        return None, None
    from pointclouds.rasters.ground import CloudGround
    from providers.points.coverage import PointRasterSource, raster_errors

    raster = PointRasterSource(part.path, part.raster).raster
    with raster_errors():
        terrain = CloudGround(raster, "dtm").heights(place[:, 0], place[:, 1])[0]
        surface = CloudGround(raster, "dsm").heights(place[:, 0], place[:, 1])[0]
    return _known(terrain), _known(surface)


def _known(height: float) -> float | None:
    return float(height) if np.isfinite(height) else None


def column_document(column: PointColumn) -> dict[str, Any]:
    """A column as JSON."""
    return {
        "collection": column.cloud.id,
        "title": column.cloud.title,
        "heights": column.heights,
        "points": column.points,
        "lowest": round(column.lowest, 3),
        "highest": round(column.highest, 3),
        "terrain": None if column.terrain is None else round(column.terrain, 3),
        "surface": None if column.surface is None else round(column.surface, 3),
        "classes": None
        if column.classes is None
        else {str(code): count for code, count in column.classes.items()},
    }
