"""Features as JSON-FG 1.0 (OGC 21-045r1, requirements class Core).

A geometry in CRS84 is in `geometry`, and `place` is null. In any other CRS it is in `place`, in the axis order of its
authority, and `geometry` holds it in CRS84 for those who read GeoJSON only: the profile "jsonfg-plus". `time` is the value of
the collection's time field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.features.crs import CRS84H, ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.store.encoding import geometries_in
from providers.formatters.registry import Batch, WritingContext, bodies_of

CORE = "http://www.opengis.net/spec/json-fg-1/1.0/conf/core"
TYPES_SCHEMAS = "http://www.opengis.net/spec/json-fg-1/1.0/conf/types-schemas"
PROFILE = "http://www.opengis.net/def/profile/OGC/0/jsonfg-plus"
_DIMENSIONS = {
    "Point": 0,
    "MultiPoint": 0,
    "LineString": 1,
    "MultiLineString": 1,
    "Polygon": 2,
    "MultiPolygon": 2,
}
type Feature = dict[str, Any]


def write_jsonfg(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A JSON-FG FeatureCollection, or one JSON-FG feature."""
    extend = _extender(context)
    if context.item:
        for batch in batches:
            for feature in extend(bodies_of(batch)):
                yield orjson.dumps({**_head(context), **feature, "links": _links(context)})
        return
    yield orjson.dumps({"type": "FeatureCollection", **_head(context)})[:-1] + b',"features":['
    between, returned = b"", 0
    for batch in batches:
        features = list(extend(bodies_of(batch)))
        if features:
            yield between + b",".join(map(orjson.dumps, features))
            between = b","
            returned += len(features)
    tail: dict[str, Any] = {}
    if context.number_matched is not None:
        tail["numberMatched"] = context.number_matched
    tail["numberReturned"] = returned
    if context.timestamp:
        tail["timeStamp"] = context.timestamp
    tail["links"] = _links(context)
    yield b"]," + orjson.dumps(tail)[1:]


def _links(context: WritingContext) -> list[dict[str, Any]]:
    return [*map(dict, context.links), {"rel": "profile", "href": PROFILE}]


def _head(context: WritingContext) -> dict[str, Any]:
    """The members of the root that hold for all of the document."""
    head: dict[str, Any] = {"conformsTo": [CORE, TYPES_SCHEMAS], "featureType": context.name}
    dimension = _DIMENSIONS.get(context.schema.geometry_type)
    if dimension is not None and not context.item:
        head["geometryDimension"] = dimension
    if context.url:
        head["featureSchema"] = f"{context.url}/schema"
    if not _is_geojson(context):
        head["coordRefSys"] = context.query.crs
    return head


def _is_geojson(context: WritingContext) -> bool:
    return context.query.crs in (CRS84, CRS84H)


def _extender(context: WritingContext) -> Callable[[list[bytes]], Iterator[Feature]]:
    """What makes JSON-FG features of GeoJSON ones."""
    field = next((field for field in context.fields if field.name == context.schema.time_field), None)
    member = "date" if field is not None and field.format == "date" else "timestamp"
    asked = None if _is_geojson(context) else reference_system(context.query.crs)

    def extend(bodies: list[bytes]) -> Iterator[Feature]:
        features: list[Feature] = orjson.loads(b"[" + b",".join(bodies) + b"]")
        places = None if asked is None else _fallbacks(features, asked)
        for number, feature in enumerate(features):
            value = None if field is None else _time(feature["properties"], field.name)
            feature["time"] = None if value is None else {member: value}
            if places is None:
                feature["place"] = None
            else:
                feature["place"], feature["geometry"] = feature["geometry"], places[number]
            yield feature

    return extend


def _time(properties: Mapping[str, Any], name: str) -> str | None:
    value = properties.get(name)
    return value if isinstance(value, str) and value else None


def _fallbacks(features: list[Feature], asked: ReferenceSystem) -> list[Any]:
    """The geometries of `place` in CRS84, None where there is none or it has no place on Earth."""
    shapes = [feature["geometry"] for feature in features]
    geometries = shapely.from_geojson([None if shape is None else orjson.dumps(shape) for shape in shapes])
    east_first = np.asarray(geometries, dtype=object)
    if asked.swap:
        east_first = _swapped(east_first)
    moved = geometries_in(east_first, asked, reference_system(CRS84))
    texts = shapely.to_geojson(moved)
    return [
        orjson.Fragment(text) if text is not None and _on_earth(box) else None
        for text, box in zip(texts, shapely.bounds(moved), strict=True)
    ]


def _swapped(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Geometries with x and y exchanged, heights left as they are."""
    result = geometries.copy()
    has_z = shapely.has_z(geometries)
    for chosen, three in ((~has_z, False), (has_z, True)):
        numbers = shapely.get_coordinates(geometries[chosen], include_z=three)
        result[chosen] = shapely.set_coordinates(
            geometries[chosen], numbers[:, [1, 0, 2] if three else [1, 0]]
        )
    return result


def _on_earth(box: Any) -> bool:
    west, south, east, north = box
    return bool(west >= -180 and east <= 180 and south >= -90 and north <= 90)  # false for NaN too
