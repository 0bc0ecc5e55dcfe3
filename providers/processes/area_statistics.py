"""Process `area-statistics`: what of a collection lies inside a polygon, in numbers."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds
from shapely.geometry.base import BaseGeometry

from providers.coverages.opening import source_at
from providers.coverages.references import own_reference
from providers.coverages.windows import bounds_of, window_of
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.source import FeatureSource
from providers.processes.budget import Budget
from providers.processes.description import COLLECTION_INPUT, POLYGON_SCHEMA, Processor
from providers.processes.geometry import LocalPlane, box_of, local_plane, read_features
from providers.processes.inputs import Inputs
from providers.processes.sources import ProcessSource, find_source, opened
from tiles.rasters import Bounds

MAXIMUM_FEATURES = 100_000
MAXIMUM_VALUES = 16_777_216
MAXIMUM_FIELDS = 20

_INPUTS = MappingProxyType(
    {
        "collection": COLLECTION_INPUT,
        "area": {
            "title": "Area",
            "description": "Polygon or MultiPolygon in CRS84 within which the collection is measured",
            "schema": POLYGON_SCHEMA,
            "minOccurs": 1,
            "maxOccurs": 1,
        },
        "fields": {
            "title": "Fields",
            "description": "Numeric fields of a feature collection to be summed up, or bands of a coverage (default: all)",
            "schema": {"type": "array", "maxItems": MAXIMUM_FIELDS, "items": {"type": "string"}},
            "minOccurs": 0,
            "maxOccurs": 1,
        },
    }
)


class AreaStatisticsProcessor(Processor):
    """Counts, areas, lengths and field statistics of features, or statistics of a coverage's values, inside a polygon."""

    METADATA = MappingProxyType(
        {
            "version": "1.0.0",
            "id": "area-statistics",
            "title": {"en": "Statistics of an area", "zh": "区域统计"},
            "description": {
                "en": "Measures what of a collection lies inside a polygon: number, area and length of features with "
                "statistics of their numeric fields, or statistics of a coverage's values.",
                "zh": "统计多边形内某个集合的内容:要素的数量、面积、长度及数值字段统计,或覆盖数据的取值统计。",
            },
            "keywords": ["statistics", "zonal statistics", "area", "区域统计"],
            "jobControlOptions": ["sync-execute"],
            "outputTransmission": ["value"],
            "links": [],
            "inputs": _INPUTS,
            "outputs": {
                "statistics": {
                    "title": "Statistics",
                    "description": "Areas in square metres, lengths in metres; a feature counts when it meets the polygon, "
                    "and its area or length counts as far as it lies inside",
                    "schema": {"type": "object", "contentMediaType": "application/json"},
                }
            },
            "example": {
                "inputs": {
                    "collection": "buildings",
                    "area": {
                        "type": "Polygon",
                        "coordinates": [
                            [
                                [24.94, 60.165],
                                [24.95, 60.165],
                                [24.95, 60.17],
                                [24.94, 60.17],
                                [24.94, 60.165],
                            ]
                        ],
                    },
                    "fields": ["height"],
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/json", statistics). Raises InvalidParameter, AnswerTooLarge."""
        inputs = Inputs(data, _INPUTS)
        area = inputs.polygon("area")
        source = find_source(self.resolver_key, inputs.text("collection"))
        return "application/json", area_statistics(source, area, inputs.texts("fields", MAXIMUM_FIELDS))


def area_statistics(
    source: ProcessSource, area: BaseGeometry, fields: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Statistics of a collection inside `area` (CRS84). Raises InvalidParameter, AnswerTooLarge, StoreError."""
    if source.features is not None:
        return _of_features(source, opened(source.features), area, fields)
    if source.coverage is not None:
        return _of_coverage(source, source.coverage, area, fields)
    raise InvalidParameter("collection", source.id, "a collection with features or with a coverage")


def _of_features(
    source: ProcessSource, store: FeatureSource, area: BaseGeometry, fields: tuple[str, ...]
) -> dict[str, Any]:
    numeric = {
        one.name
        for one in store.schema.fields
        if one.type in ("integer", "number") and one.name not in source.hidden
    }
    unknown = [name for name in fields if name not in numeric]
    if unknown:
        raise InvalidParameter(
            "fields", unknown[0], "a numeric field: " + (", ".join(sorted(numeric)) or "there is none")
        )
    found = read_features(store, box_of(area), fields, MAXIMUM_FEATURES)
    plane = local_plane(area, "laea")
    window = plane.from_crs84(area)
    geometries = plane.from_storage(found.geometries, store.storage.horizontal)
    shapely.prepare(window)
    meets = shapely.intersects(window, geometries)
    inside = Budget().clipped(geometries[meets], window)
    return {
        "collection": source.id,
        "title": source.title,
        "measured_in": plane.name,
        "area_of_polygon": _rounded(window.area),
        "count": int(meets.sum()),
        "area": _rounded(float(shapely.area(inside).sum())),
        "length": _rounded(float(shapely.length(inside[shapely.get_dimensions(inside) == 1]).sum())),
        "fields": {name: _summary(_numbers(found.columns[name], meets)) for name in fields},
    }


def _numbers(values: list[Any], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The chosen values as floats, NaN for null."""
    column = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    return column[chosen]


def _summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Count, missing, minimum, maximum, mean, standard deviation and sum; null where there is no value."""
    known = values[np.isfinite(values)]
    missing = int(len(values) - len(known))
    if not len(known):
        empty = dict.fromkeys(("minimum", "maximum", "mean", "standard_deviation", "sum"))
        return {"count": 0, "missing": missing, **empty}
    return {
        "count": len(known),
        "missing": missing,
        "minimum": _rounded(float(known.min())),
        "maximum": _rounded(float(known.max())),
        "mean": _rounded(float(known.mean())),
        "standard_deviation": _rounded(float(known.std())),
        "sum": _rounded(float(known.sum())),
    }


def _rounded(value: float) -> float:
    return round(value, 4)


def _of_coverage(
    source: ProcessSource, path: Path, area: BaseGeometry, fields: tuple[str, ...]
) -> dict[str, Any]:
    """Statistics of the pixels whose centres lie inside the area, at full resolution."""
    raster = source_at(path)
    coverage = raster.description
    reference = own_reference(coverage)
    by_name = {str(band.number): band for band in coverage.bands}
    by_name |= {band.name: band for band in coverage.bands}
    unknown = [name for name in fields if name not in by_name]
    if unknown:
        raise InvalidParameter("fields", unknown[0], "a band: " + ", ".join(by_name))
    bands = tuple(by_name[name] for name in fields) or coverage.bands
    plane = LocalPlane(reference.horizontal, reference.crs.name)
    window = plane.from_crs84(area)
    equal_area = local_plane(area, "laea").from_crs84(area).area
    pixels = window_of(coverage, Bounds(*window.bounds))
    answer = {
        "collection": source.id,
        "title": source.title,
        "measured_in": plane.name,
        "area_of_polygon": _rounded(float(equal_area)),
    }
    if pixels.width < 1 or pixels.height < 1:
        return answer | {"count": 0, "fields": {band.name: _summary(np.empty(0)) for band in bands}}
    shape = (pixels.height, pixels.width)
    if shape[0] * shape[1] * len(bands) > MAXIMUM_VALUES:
        raise AnswerTooLarge(
            f"The area's box holds {shape[1]} x {shape[0]} pixels of {len(bands)} bands; at most {MAXIMUM_VALUES} values are "
            "read at once. Ask for a smaller area or fewer fields"
        )
    box = bounds_of(coverage, pixels)
    part = raster.read(box, shape, [band.number for band in bands])
    inside = geometry_mask([window], shape, from_bounds(*box, shape[1], shape[0]), invert=True)
    return answer | {
        "count": int(inside.sum()),
        "fields": {
            band.name: _summary(part.values[index][inside & part.valid[index]].astype(np.float64))
            for index, band in enumerate(bands)
        },
    }
