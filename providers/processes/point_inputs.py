"""Inputs that the processes on point clouds share: which points, what is done to them, and finding what steps name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyproj
import shapely

from pointclouds.cloud.cloud import open_cloud
from pointclouds.cloud.query import PointQuery
from pointclouds.errors import PipelineRefusedError
from pointclouds.pdal.allowed import check_pipeline
from pointclouds.pdal.steps import STEPS, make_step, parse_step
from providers.errors import InvalidParameter
from providers.processes.description import COLLECTION_INPUT, POLYGON_SCHEMA
from providers.processes.inputs import Inputs
from providers.processes.point_steps import Work, native_polygon
from providers.processes.sources import ProcessSource, find_source, opened

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import Cloud
    from providers.features.source import FeatureSource
    from tiles.rasters.source import RasterSource

MAXIMUM_STEPS = 16
_BOX = "4 numbers west, south, east, north in CRS84 degrees, or 6 with heights after each pair in units of the point cloud"


def optional(title: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The description of an input that may be left out."""
    return {"title": title, "description": description, "schema": schema, "minOccurs": 0, "maxOccurs": 1}


WHERE: Mapping[str, Any] = {
    "collection": COLLECTION_INPUT,
    "bbox": optional(
        "Bounding box",
        f"Only points inside: {_BOX}",
        {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
    ),
    "polygon": optional("Polygon", "Only points inside this polygon in CRS84", POLYGON_SCHEMA),
}


class PointInputs(Inputs):
    """Inputs of a process on points."""

    def given(self, name: str) -> bool:
        """Whether it is there."""
        return name in self._data

    def raw(self, name: str) -> Any:
        """The value as it came, None where it is absent."""
        return self._data.get(name)

    def number_or(self, name: str, lowest: float, highest: float, default: float) -> float:
        """An optional number."""
        return self.number(name, lowest, highest) if self.given(name) else default

    def box(self) -> tuple[float, ...] | None:
        """The bounding box, checked as far as it can be without the points. Raises InvalidParameter."""
        value = self._data.get("bbox")
        if value is None:
            return None
        numbers = isinstance(value, list) and all(
            isinstance(one, int | float)
            and not isinstance(one, bool)
            and abs(one) < 1e9
            and math.isfinite(one)
            for one in value
        )
        if not numbers or len(value) not in (4, 6):
            raise InvalidParameter("bbox", str(value)[:80], _BOX)
        half = len(value) // 2
        west, south, east, north = value[0], value[1], value[half], value[half + 1]
        on_earth = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
        if not on_earth or (half == 3 and value[2] > value[5]):
            raise InvalidParameter("bbox", str(value)[:80], _BOX)
        return tuple(float(one) for one in value)

    def work(self) -> Work:
        """`steps` and `pipeline`: exactly one of them. Raises InvalidParameter."""
        if self.given("steps") == self.given("pipeline"):
            raise InvalidParameter(
                "steps", "with or without pipeline", "one of `steps` and `pipeline`, not both"
            )
        try:
            if self.given("pipeline"):
                return check_pipeline(self._data["pipeline"])
            return _steps(self._data["steps"])
        except PipelineRefusedError as error:
            name = "pipeline" if self.given("pipeline") else "steps"
            raise InvalidParameter(name, str(error), "what the description of this process lists") from error


def _steps(value: Any) -> Work:
    """Steps as texts ("ground:method=smrf") or objects {"step": "ground", "method": "smrf"}. Raises PipelineRefusedError."""
    if not isinstance(value, list) or not 0 < len(value) <= MAXIMUM_STEPS:
        raise PipelineRefusedError(f"steps are a list of 1 to {MAXIMUM_STEPS} of {', '.join(STEPS)}")
    found: Work = ()
    for one in value:
        if isinstance(one, str) and len(one) <= 500:
            found = (*found, parse_step(one))
        elif isinstance(one, Mapping) and isinstance(one.get("step"), str):
            options = {str(name): item for name, item in one.items() if name != "step"}
            found = (*found, make_step(one["step"], options))
        else:
            raise PipelineRefusedError(
                'a step is a text such as "ground", or an object such as {"step": "ground"}'
            )
    return found


@dataclass(frozen=True)
class AskedPoints:
    """The points of one execution: the cloud as whoever asks may see it."""

    source: ProcessSource
    cloud: Cloud
    query: PointQuery


def asked_points(resolver_key: str, inputs: PointInputs) -> AskedPoints:
    """The cloud and the part of it that is asked for and may be seen.

    Raises InvalidParameter: no point cloud, or a place that makes no sense; UnreadablePointCloudError, InvalidCopcError.
    """
    from providers.points.places import area_of_rights, near_cloud, polygons

    source = find_source(resolver_key, inputs.text("collection"))
    if source.points is None:
        raise InvalidParameter("collection", source.id, "the id of a collection with a point cloud")
    cloud = open_cloud(source.points)
    areas: list[Any] = [] if source.area is None else [area_of_rights(source.area, cloud)]
    low, high = -math.inf, math.inf
    box = inputs.box()
    if box is not None:
        half = len(box) // 2
        edges = shapely.box(box[0], box[1], box[half], box[half + 1])
        if edges.area == 0:
            raise InvalidParameter("bbox", str(list(box)), "a box with an area")
        areas.append(polygons(near_cloud(edges, cloud)))
        low, high = (box[2], box[5]) if half == 3 else (low, high)
    if inputs.given("polygon"):
        try:
            areas.append(native_polygon(inputs.polygon("polygon"), pyproj.CRS("OGC:CRS84"), cloud.crs))
        except PipelineRefusedError as error:
            raise InvalidParameter("polygon", str(error), "a polygon near the point cloud") from error
    area = None
    if areas:
        area = polygons(shapely.intersection_all(areas))
    limits = (-math.inf, -math.inf, low, math.inf, math.inf, high)
    return AskedPoints(source, cloud, PointQuery(box=limits if math.isfinite(low) else None, area=area))


@dataclass(frozen=True)
class RequestResources:
    """What steps name, with the rights of the request that runs the process."""

    resolver_key: str

    def raster(self, collection: str) -> RasterSource:
        """See Resources.raster. One of which only a part may be seen cannot be used: its colours would show the rest."""
        from providers.coverages.opening import source_at

        source = self._found(collection)
        if source.coverage is None:
            raise PipelineRefusedError(f"{collection!r} has no coverage")
        if source.area is not None or source.hidden:
            raise PipelineRefusedError(f"{collection!r} may be seen in part only, and cannot be used here")
        return source_at(source.coverage)

    def features(self, collection: str) -> FeatureSource:
        """See Resources.features."""
        source = self._found(collection)
        if source.features is None:
            raise PipelineRefusedError(f"{collection!r} has no features")
        if source.area is not None:
            raise PipelineRefusedError(f"{collection!r} may be seen in part only, and cannot be used here")
        return opened(source.features)

    def _found(self, collection: str) -> ProcessSource:
        try:
            return find_source(self.resolver_key, collection)
        except InvalidParameter as error:
            raise PipelineRefusedError(f"there is no collection {collection!r} here") from error
