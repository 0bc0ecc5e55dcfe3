"""Processes `point-cloud-profile` and `point-cloud-zonal`: a section along a line, and heights of what stands in footprints."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry import mapping

from pointclouds.cloud.query import PointFilter, PointQuery
from providers.errors import InvalidParameter
from providers.features.crs import reference_system
from providers.features.query import CRS84
from providers.points.areas import native_area
from providers.points.filters import CQL2_TEXT, dimension_filter
from providers.points.places import area_of_rights, moved, native_system
from providers.points.profile import ground_profile, profile_points
from providers.points.profile_answer import columns_of, ground_columns, json_columns, statistics
from providers.points.schema import visible_dimensions
from providers.points.zonal import PERCENTILES, ground_around, heights_of
from providers.processes.cloud_inputs import (
    AREA,
    CLOUD,
    EXAMPLE_AREA,
    MOST_POINTS,
    NamedCloud,
    described,
    find_cloud,
    rounded,
)
from providers.processes.description import Processor
from providers.processes.geometry import box_of, read_features
from providers.processes.scene_inputs import SceneInputs, geometry, number, one
from providers.processes.sources import find_source, opened

MAXIMUM_FEATURES: Final = 10_000
_NAMES: Final = ("Classification", "Intensity", "Red", "Green", "Blue")
_WIDTH, _POINTS = 1.0, 50_000

_FILTER = one(
    "Filter",
    "CQL2 text on the dimensions of points, such as Classification = 6",
    {"type": "string", "minLength": 1, "maxLength": 2_000},
    required=False,
)
_PROFILE_INPUTS = MappingProxyType(
    {
        "collection": CLOUD,
        "line": one("Line", "LineString in CRS84", geometry("LineString")),
        "width": number("Width", "Metres to each side of the line", 0.001, 100, _WIDTH),
        "maxPoints": number("Most points", "The profile is thinned to so many", 1, 1_000_000, _POINTS),
        "filter": _FILTER,
    }
)
_ZONAL_INPUTS = MappingProxyType(
    {
        "collection": CLOUD,
        "features": one(
            "Footprints",
            "Id of a collection of this view with polygons",
            {"type": "string", "minLength": 1, "maxLength": 200},
        ),
        "area": AREA,
        "classes": one(
            "Classes",
            "Classification codes of the points that count (6: buildings, 5: high vegetation); without them all but noise",
            {"type": "array", "maxItems": 32, "items": {"type": "integer", "minimum": 0, "maximum": 255}},
            required=False,
        ),
        "filter": _FILTER,
    }
)


def _filter(inputs: SceneInputs, named: NamedCloud) -> PointFilter | None:
    if not inputs.given("filter"):
        return None
    text = inputs.long_text("filter", 2_000)
    return dimension_filter(text, CQL2_TEXT, named.cloud, CRS84, named.source.hidden)


class PointCloudProfileProcessor(Processor):
    """A section through a cloud."""

    METADATA = described(
        "point-cloud-profile",
        ("Profile of a point cloud", "点云剖面"),
        (
            "The points along a line by their distance on it, with the terrain and the surface under and over it.",
            "沿线提取点云剖面,并给出沿线地形与表面高程。",
        ),
        _PROFILE_INPUTS,
        (
            "profile",
            "Distances and offsets in metres, heights in the cloud's own",
            {"type": "object", "contentMediaType": "application/json"},
        ),
        {
            "collection": "survey",
            "line": {"type": "LineString", "coordinates": [[4.3655, 52.0112], [4.3672, 52.0119]]},
        },
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", profile). Raises InvalidParameter, AnswerTooLarge, RasterError."""
        inputs = SceneInputs(data, _PROFILE_INPUTS)
        named = find_cloud(self.resolver_key, inputs, whole=False)
        width = inputs.number_or("width", 0.001, 100, _WIDTH) / named.unit
        most = int(inputs.number_or("maxPoints", 1, 1_000_000, _POINTS))
        line = shapely.LineString(inputs.line("line")[:, :2])
        try:
            native = shapely.get_coordinates(moved(line, reference_system(CRS84), named.cloud))
        except ValueError as error:
            raise InvalidParameter(
                "line", shapely.to_wkt(line)[:80], f"a line near the points ({error})"
            ) from error
        hidden, limit = named.source.hidden, named.source.area
        query = PointQuery(
            area=None if limit is None else area_of_rights(limit, named.cloud),
            filter=_filter(inputs, named),
            max_points=most,
        )
        dimensions = tuple(one for one in visible_dimensions(named.cloud, hidden) if one.name in _NAMES)
        found = profile_points(named.cloud, native, width, query, dimensions, MOST_POINTS)
        whole = limit is None and "Classification" not in hidden
        ground = ground_profile(named.raster(), native) if whole else None
        answer = {
            "collection": named.id,
            "length": round(found.length * named.unit, 3),
            "width": round(width * named.unit, 3),
            "heights": {
                "reference": named.heights,
                "metresPerUnit": named.height_unit,
            },
            "complete": found.complete,
            "statistics": statistics(found, ground),
            "points": json_columns(columns_of(found, named.unit)),
        }
        if ground is not None:
            answer["ground"] = {"cell": round(ground.cell * named.unit, 3)} | ground_columns(
                ground, named.unit
            )
        return "application/json", answer


class PointCloudZonalProcessor(Processor):
    """Heights of buildings or trees from a cloud."""

    METADATA = described(
        "point-cloud-zonal",
        ("Heights of features from a point cloud", "由点云统计要素高度"),
        (
            "For each polygon of a feature collection the points inside it: how many, lowest, highest, mean, percentiles, the ground around "
            "it, and so its height.",
            "统计要素多边形内的点云:点数、最低、最高、平均、分位高程,以及周边地面高程与要素高度。",
        ),
        _ZONAL_INPUTS,
        (
            "heights",
            "A GeoJSON FeatureCollection; heights in metres of the cloud's own reference, `height` above the ground",
            {"type": "object", "contentMediaType": "application/geo+json"},
        ),
        {"collection": "survey", "features": "buildings", "area": EXAMPLE_AREA, "classes": [6]},
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/geo+json", features). Raises InvalidParameter, AnswerTooLarge, RasterError, StoreError."""
        inputs = SceneInputs(data, _ZONAL_INPUTS)
        named = find_cloud(self.resolver_key, inputs)
        footprints = find_source(self.resolver_key, inputs.text("features"))
        if footprints.features is None:
            raise InvalidParameter("features", footprints.id, "the id of a collection with features")
        if footprints.area is not None:
            raise InvalidParameter(
                "features", footprints.id, "a collection of which you may see all features"
            )
        area = inputs.polygon("area")
        store = opened(footprints.features)
        found = read_features(store, box_of(area), (), MAXIMUM_FEATURES)
        native, kept = _native(found.geometries, store.storage, named, area)
        ids = [found.ids[index] for index in kept]
        heights = heights_of(named.cloud, native, _filter(inputs, named), _classes(inputs), MOST_POINTS)
        ground = ground_around(named.raster(), native) if len(native) else np.empty(0)
        shown = _in_crs84(native, named)
        unit = named.height_unit
        features = []
        for index, identifier in enumerate(ids):
            values = {
                "ground": ground[index],
                "lowest": heights.lowest[index],
                "mean": heights.mean[index],
                **{
                    f"percentile{share}": heights.percentiles[index, at]
                    for at, share in enumerate(PERCENTILES)
                },
                "highest": heights.highest[index],
                # The roof's highest parts are chimneys and antennas: nineteen of twenty points lie below this.
                "height": heights.percentiles[index, -1] - ground[index],
            }
            known = {
                name: float(value) * unit if np.isfinite(value) else None for name, value in values.items()
            }
            features.append(
                {
                    "type": "Feature",
                    "id": identifier,
                    "geometry": mapping(shown[index]),
                    "properties": {"points": int(heights.points[index])} | rounded(known, 2),
                }
            )
        return "application/geo+json", {
            "type": "FeatureCollection",
            "heights": named.heights,
            "collection": named.id,
            "numberReturned": len(features),
            "features": features,
        }


def _classes(inputs: SceneInputs) -> frozenset[int] | None:
    if not inputs.given("classes"):
        return None
    return frozenset(inputs.whole_numbers("classes", 32, 0, 255))


def _native(geometries: Any, storage: Any, named: NamedCloud, area: Any) -> tuple[Any, list[int]]:
    """The polygons (n,) that meet the area, in the cloud's coordinates, and their places in what was read."""
    from providers.features.crs import transform_between

    transform = transform_between(storage, native_system(named.cloud))
    flat = shapely.force_2d(geometries)
    if transform is not None:

        def there(places: Any) -> Any:
            return np.stack(transform(places[:, 0], places[:, 1]), axis=1)

        flat = shapely.transform(flat, there)
    window = native_area(area, named.cloud)
    polygonal = (
        np.isin(shapely.get_type_id(flat), (3, 6))
        & np.isfinite(shapely.area(flat))
        & (shapely.area(flat) > 0)
    )
    flat = np.where(shapely.is_valid(flat), flat, shapely.buffer(flat, 0))
    kept = np.flatnonzero(polygonal & ~shapely.is_empty(flat) & shapely.intersects(flat, window))
    return flat[kept], kept.tolist()


def _in_crs84(native: Any, named: NamedCloud) -> list[Any]:
    from providers.processes.cloud_inputs import to_crs84

    return to_crs84(list(native), named.cloud)
