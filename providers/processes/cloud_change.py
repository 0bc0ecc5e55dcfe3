"""Processes `point-cloud-change` and `point-cloud-volume`: what two surveys differ by, and what stands above a base."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import numpy as np
from shapely.geometry import mapping

from pointclouds.crs import horizontal_part
from providers.errors import InvalidParameter
from providers.points.areas import AreaCells, Float, area_cells, native_area
from providers.points.change import Surface, compare, geotiff, polygons_of, summarized
from providers.points.volume import plane_of_border, surface_in, volume_between
from providers.processes.cloud_inputs import (
    AREA,
    CELL,
    CLOUD,
    EXAMPLE_AREA,
    MOST_CELLS,
    SURFACE,
    NamedCloud,
    cell_of,
    choice,
    described,
    find_cloud,
    require_same_grid,
    rounded,
    to_crs84,
)
from providers.processes.description import Processor
from providers.processes.scene_inputs import HEIGHT_LIMIT, SceneInputs, number, one

GEOTIFF: Final = "image/tiff; application=geotiff"
_THRESHOLD: Final = 0.3
_BASES: Final = ("border", "terrain", "elevation", "collection")

_CHANGE_INPUTS = MappingProxyType(
    {
        "before": CLOUD | {"title": "Earlier survey"},
        "after": CLOUD | {"title": "Later survey"},
        "area": AREA,
        "surface": SURFACE,
        "cellSize": CELL,
        "threshold": number(
            "Threshold", "Metres of height below which nothing counts as change", 0, 1_000, _THRESHOLD
        ),
        "minimumArea": number(
            "Smallest polygon", "Square metres; smaller patches of change are not listed", 0, 1_000_000, 1
        ),
        "format": one(
            "Format",
            "geojson: polygons of change with their volumes; gtiff: the differences as a raster",
            {"type": "string", "enum": ["geojson", "gtiff"], "default": "geojson"},
            required=False,
        ),
    }
)
_VOLUME_INPUTS = MappingProxyType(
    {
        "collection": CLOUD,
        "area": AREA,
        "surface": SURFACE,
        "base": one(
            "Base",
            "What the volume is measured from: the plane through the heights along the area's border, the terrain, an elevation, or the "
            "same surface of another point cloud",
            {"type": "string", "enum": list(_BASES), "default": "border"},
            required=False,
        ),
        "elevation": one(
            "Elevation",
            "Height of the base in the cloud's heights, metres; with base elevation",
            {"type": "number", "minimum": -HEIGHT_LIMIT, "maximum": HEIGHT_LIMIT},
            required=False,
        ),
        "other": one(
            "Other point cloud",
            "Id of a collection; with base collection",
            {"type": "string", "minLength": 1, "maxLength": 200},
            required=False,
        ),
        "cellSize": CELL,
    }
)


def _surface(inputs: SceneInputs) -> Surface:
    return "dtm" if choice(inputs, "surface", ("dsm", "dtm")) == "dtm" else "dsm"


def _area(inputs: SceneInputs, named: NamedCloud, cell: float) -> AreaCells:
    return area_cells(native_area(inputs.polygon("area"), named.cloud), cell, MOST_CELLS)


class PointCloudChangeProcessor(Processor):
    """Change between two surveys."""

    METADATA = described(
        "point-cloud-change",
        ("Change between two point clouds", "两期点云变化检测"),
        (
            "Where the surface or the terrain of a later survey differs from an earlier one's by more than a threshold and more than its "
            "scatter explains: polygons with volumes, or the differences as a raster.",
            "比较两期点云的表面或地形,找出超过阈值且统计显著的变化,给出变化图斑及体积,或差值栅格。",
        ),
        _CHANGE_INPUTS,
        (
            "change",
            "A GeoJSON FeatureCollection with a summary, or a GeoTIFF with the bands difference, least and significant; metres",
            {"type": "object", "contentMediaType": "application/geo+json"},
        ),
        {"before": "survey-2019", "after": "survey-2024", "area": EXAMPLE_AREA},
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, Any]:
        """(media type, FeatureCollection or GeoTIFF). Raises InvalidParameter, AnswerTooLarge, RasterError."""
        inputs = SceneInputs(data, _CHANGE_INPUTS)
        before = find_cloud(self.resolver_key, inputs, "before")
        after = find_cloud(self.resolver_key, inputs, "after")
        require_same_grid(before, after, "after")
        cell, surface = cell_of(inputs, before, after), _surface(inputs)
        threshold = inputs.number_or("threshold", 0, 1_000, _THRESHOLD)
        least_area = inputs.number_or("minimumArea", 0, 1_000_000, 1)
        form = choice(inputs, "format", ("geojson", "gtiff"))
        found = compare(
            before.raster(cell), after.raster(cell), _area(inputs, before, cell), surface,
            threshold / before.height_unit,
        )  # fmt: skip
        if form == "gtiff":
            return GEOTIFF, geotiff(found, horizontal_part(before.cloud.crs).to_wkt())
        summary = summarized(found)
        plane, height = before.unit**2, before.height_unit
        shapes, rows = polygons_of(found, least_area / plane)
        features = [
            {
                "type": "Feature",
                "geometry": mapping(shape),
                "properties": {"change": row["change"]}
                | rounded(
                    {
                        "area": row["area"] * plane,
                        "volume": row["volume"] * plane * height,
                        "mean": row["mean"] * height,
                        "extreme": row["extreme"] * height,
                    }
                ),
            }
            for shape, row in zip(to_crs84(shapes, before.cloud), rows, strict=True)
        ]
        unchanged = summary.mean_unchanged
        return "application/geo+json", {
            "type": "FeatureCollection",
            "features": features,
            "summary": {
                "before": before.id,
                "after": after.id,
                "surface": surface,
                "cellSize": round(cell * before.unit, 4),
                "threshold": threshold,
            }
            | rounded(
                {
                    "gained": summary.gained * plane * height,
                    "lost": summary.lost * plane * height,
                    "net": summary.net * plane * height,
                    "uncertainty": summary.uncertainty * plane * height,
                    "gainedArea": summary.gained_area * plane,
                    "lostArea": summary.lost_area * plane,
                    "comparedArea": summary.compared * plane,
                    "meanUnchanged": None if unchanged is None else unchanged * height,
                }
            ),
        }


class PointCloudVolumeProcessor(Processor):
    """Volumes of heaps and pits."""

    METADATA = described(
        "point-cloud-volume",
        ("Volume of a point cloud", "点云体积量算"),
        (
            "Cubic metres between the surface of a point cloud and a base within a polygon: a plane through its border, the terrain, an "
            "elevation, or another survey.",
            "计算多边形内点云表面与基准面(边界拟合面、地形、指定高程或另一期点云)之间的体积。",
        ),
        _VOLUME_INPUTS,
        (
            "volumes",
            "Cubic and square metres; `missing` is area without heights",
            {"type": "object", "contentMediaType": "application/json"},
        ),
        {"collection": "survey", "area": EXAMPLE_AREA, "base": "border"},
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", volumes). Raises InvalidParameter, AnswerTooLarge, RasterError."""
        inputs = SceneInputs(data, _VOLUME_INPUTS)
        named = find_cloud(self.resolver_key, inputs)
        kind, surface = choice(inputs, "base", _BASES), _surface(inputs)
        for name, of in (("elevation", "elevation"), ("other", "collection")):
            if inputs.given(name) != (kind == of):
                raise InvalidParameter(
                    name, "given" if inputs.given(name) else "", f"given with base {of}, and only then"
                )
        other = find_cloud(self.resolver_key, inputs, "other") if kind == "collection" else None
        if other is not None:
            require_same_grid(named, other, "other")
        cell = cell_of(inputs, named, *([other] if other is not None else []))
        cells, raster = _area(inputs, named, cell), named.raster(cell)
        top = surface_in(raster, cells, surface)
        base: Float
        if other is not None:
            base = surface_in(other.raster(cell), cells, surface)
        elif kind == "terrain":
            base = surface_in(raster, cells, "dtm")
        elif kind == "border":
            base = plane_of_border(raster, cells, surface)
        else:
            level = inputs.number("elevation", -HEIGHT_LIMIT, HEIGHT_LIMIT) / named.height_unit
            base = np.full(cells.window.shape, level)
        found = volume_between(top, base, cells)
        plane, height = named.unit**2, named.height_unit

        def metres(value: float | None) -> float | None:
            return None if value is None else value * height

        return "application/json", {
            "collection": named.id,
            "surface": surface,
            "base": kind if other is None else other.id,
            "heights": named.heights,
            "cellSize": round(cell * named.unit, 4),
        } | rounded(
            {
                "above": found.above * plane * height,
                "below": found.below * plane * height,
                "net": found.net * plane * height,
                "area": found.area * plane,
                "missing": found.missing * plane,
                "baseElevation": metres(found.base),
                "highest": metres(found.highest),
                "lowest": metres(found.lowest),
            }
        )
