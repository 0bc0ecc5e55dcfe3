"""Process `buffer-clip`: features of a collection grown by a distance and cut at a polygon."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from providers.errors import InvalidParameter
from providers.features.query import BBox
from providers.features.source import FeatureColumns
from providers.processes.budget import MAXIMUM_OUTPUT_VERTICES, Budget
from providers.processes.description import COLLECTION_INPUT, POLYGON_SCHEMA, Processor
from providers.processes.geometry import LocalPlane, local_plane, read_features
from providers.processes.inputs import Inputs
from providers.processes.sources import ProcessSource, find_source, opened

MAXIMUM_FEATURES = 10_000
MAXIMUM_DISTANCE = 50_000.0
GEOJSON = "application/geo+json"
_DECIMALS = 1e-7  # of a degree: 11 mm

_INPUTS = MappingProxyType(
    {
        "collection": COLLECTION_INPUT,
        "distance": {
            "title": "Distance",
            "description": "Metres by which features are grown",
            "schema": {"type": "number", "minimum": 0, "maximum": MAXIMUM_DISTANCE},
            "minOccurs": 1,
            "maxOccurs": 1,
        },
        "clip": {
            "title": "Clip polygon",
            "description": "Polygon or MultiPolygon in CRS84 at which the grown features are cut",
            "schema": POLYGON_SCHEMA,
            "minOccurs": 1,
            "maxOccurs": 1,
        },
        "dissolve": {
            "title": "Dissolve",
            "description": "Join all into one feature without attributes (default: false)",
            "schema": {"type": "boolean", "default": False},
            "minOccurs": 0,
            "maxOccurs": 1,
        },
    }
)


class BufferClipProcessor(Processor):
    """Features grown by a distance in metres and cut at a polygon, as GeoJSON."""

    METADATA = MappingProxyType(
        {
            "version": "1.0.0",
            "id": "buffer-clip",
            "title": {"en": "Buffer and clip", "zh": "缓冲与裁剪"},
            "description": {
                "en": "Grows the features of a collection by a distance in metres and cuts them at a polygon.",
                "zh": "将集合中的要素按给定距离(米)做缓冲,再用多边形裁剪。",
            },
            "keywords": ["buffer", "clip", "缓冲区", "裁剪"],
            "jobControlOptions": ["sync-execute"],
            "outputTransmission": ["value"],
            "links": [],
            "inputs": _INPUTS,
            "outputs": {
                "features": {
                    "title": "Features",
                    "description": "GeoJSON FeatureCollection in CRS84 with the attributes of the collection",
                    "schema": {"type": "object", "contentMediaType": GEOJSON},
                }
            },
            "example": {
                "inputs": {
                    "collection": "streets",
                    "distance": 15,
                    "clip": {
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
                }
            },
        }
    )

    def execute(self, data: dict[str, Any], outputs: object = None) -> tuple[str, dict[str, Any]]:
        """("application/geo+json", FeatureCollection). Raises InvalidParameter, AnswerTooLarge."""
        inputs = Inputs(data, _INPUTS)
        clip, distance = inputs.polygon("clip"), inputs.number("distance", 0, MAXIMUM_DISTANCE)
        source = find_source(self.resolver_key, inputs.text("collection"))
        return GEOJSON, buffer_clip(source, distance, clip, dissolve=inputs.truth("dissolve"))


def buffer_clip(
    source: ProcessSource, distance: float, clip: BaseGeometry, *, dissolve: bool = False
) -> dict[str, Any]:
    """Features grown by `distance` metres within `clip` (CRS84), as a GeoJSON FeatureCollection.

    Raises InvalidParameter for a collection without features, AnswerTooLarge, StoreError.
    """
    if source.features is None:
        raise InvalidParameter("collection", source.id, "a collection with features")
    store = opened(source.features)
    plane = local_plane(clip, "aeqd")
    window = plane.from_crs84(clip)
    shown = tuple(one.name for one in store.schema.fields if one.name not in source.hidden)
    wanted = _box_in_crs84(_box_around(window, distance), plane)
    found = read_features(store, wanted, () if dissolve else shown, MAXIMUM_FEATURES)
    geometries = plane.from_storage(found.geometries, store.storage.horizontal)
    budget = Budget(vertices=MAXIMUM_OUTPUT_VERTICES)
    grown = geometries
    if distance > 0:
        grown = budget.in_batches(lambda some: shapely.buffer(some, distance, quad_segs=8), geometries)
    shapely.prepare(window)
    meets = np.flatnonzero(shapely.intersects(window, grown))
    cut = budget.clipped(grown[meets], window)
    if dissolve:
        cut = np.array([budget.united(cut)], dtype=object)
    placed = shapely.orient_polygons(shapely.set_precision(plane.to_crs84(cut), _DECIMALS))
    features = _dissolved(placed) if dissolve else _features(found, meets, placed)
    return {
        "type": "FeatureCollection",
        "features": features,
        "numberReturned": len(features),
        "collection": source.id,
        "distance": distance,
        "measured_in": plane.name,
    }


def _box_around(window: BaseGeometry, distance: float) -> BaseGeometry:
    """The box of a window, wider by `distance`; growing the window itself may take minutes and gigabytes."""
    west, south, east, north = window.bounds
    return shapely.box(west - distance, south - distance, east + distance, north + distance)


def _box_in_crs84(window: BaseGeometry, plane: LocalPlane) -> BBox:
    """The CRS84 box around a window of the plane; across the antimeridian its west is greater than its east."""
    placed = plane.to_crs84(np.array([shapely.segmentize(window, 10_000.0)], dtype=object))[0]
    west, south, east, north = placed.bounds
    if east - west <= 180:
        return BBox(west, south, east, north)
    longitudes = shapely.get_coordinates(placed)[:, 0]
    return BBox(
        float(longitudes[longitudes > 0].min()), south, float(longitudes[longitudes < 0].max()), north
    )


def _features(
    found: FeatureColumns, chosen: NDArray[np.intp], placed: NDArray[np.object_]
) -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "id": found.ids[index],
            "geometry": mapping(geometry),
            "properties": {name: values[index] for name, values in found.columns.items()},
        }
        for index, geometry in zip(chosen.tolist(), placed, strict=True)
        if not geometry.is_empty
    ]


def _dissolved(placed: NDArray[np.object_]) -> list[dict[str, Any]]:
    return [
        {"type": "Feature", "geometry": mapping(one), "properties": {}} for one in placed if not one.is_empty
    ]
