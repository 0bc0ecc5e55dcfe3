"""What is under a pixel of a map, with the rights of who asks: features of any store, values of an image, another server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import shapely

from providers.errors import ProviderError
from providers.features.query import BBox, ItemQuery, TimeInterval
from server.http.features import feature_source
from server.http.map_sources import Policy
from server.registry.catalogue import Collection, RepresentationKind
from server.registry.style_choice import hidden_bands_of
from tiles.crs import transformer
from tiles.errors import MapSourceError
from tiles.mapproxy.feature_info import nearest_features, pixel_position
from tiles.mapproxy.layer import InfoPlace
from tiles.maps.clip import parse_area
from tiles.maps.source import Box

Kind = RepresentationKind
type Features = Sequence[Mapping[str, Any]]


def info_at(collection: Collection, policy: Policy, instant: str | None, place: InfoPlace) -> Features:
    """GeoJSON Features at a pixel, nearest first; nothing outside of the areas of the policy, no field it hides.

    An image answers with one Feature: a point with the value of each band. Raises MapSourceError where data cannot be read.
    """
    if not _inside(policy, place):
        return []
    kinds = collection.representations
    if "remote" in kinds[Kind.MAP].properties:
        return _remote_info(collection, instant, place)
    if Kind.FEATURES not in kinds:
        return _pixel_values(collection, policy, instant, place)
    return _features(collection, policy, instant, place)


def _inside(policy: Policy, place: InfoPlace) -> bool:
    if not policy.areas:
        return True
    x, y = transformer(place.crs, "OGC:CRS84").transform(*pixel_position(place))
    if not np.isfinite((x, y)).all():
        return False
    return all(shapely.intersects_xy(parse_area(area), x, y) for area in policy.areas)


def _features(collection: Collection, policy: Policy, instant: str | None, place: InfoPlace) -> Features:
    start, slash, end = (instant or "").partition("/")
    moment = TimeInterval(start or None, (end if slash else start) or None) if instant else None

    def features_at(box: Box, most: int) -> Features:
        try:
            query = ItemQuery(bbox=BBox(*box), limit=most, datetime=moment)
            page = feature_source(collection).page(query, policy.hidden_fields)
        except ProviderError as error:
            raise MapSourceError(str(error)) from error
        return [orjson.loads(body) for body in page.bodies]

    return nearest_features(features_at, place)


def _pixel_values(collection: Collection, policy: Policy, instant: str | None, place: InfoPlace) -> Features:
    from tiles.rasters import open_raster

    coverage = collection.representations[Kind.COVERAGE]
    raster = open_raster(collection.directory, coverage.path, coverage.properties)
    about = raster.description
    to_raster = transformer(place.crs, about.crs.to_wkt())
    x, y = to_raster.transform(*pixel_position(place))
    if not np.isfinite((x, y)).all():
        return []
    left_out = hidden_bands_of(collection, policy.hidden_fields)
    shown = [band for band in about.bands if band.name not in left_out]
    if not shown:
        return []
    bands = [band.number for band in shown]
    values, valid = raster.sample(np.array([x]), np.array([y]), bands, instant=instant)
    if not valid.any():
        return []
    longitude, latitude = transformer(place.crs, "OGC:CRS84").transform(*pixel_position(place))
    properties = {
        band.name: values[number, 0].item() if valid[number, 0] else None for number, band in enumerate(shown)
    }
    if instant is not None:
        properties["time"] = instant
    point = {"type": "Point", "coordinates": [round(longitude, 8), round(latitude, 8)]}
    return [{"type": "Feature", "geometry": point, "properties": properties}]


def _remote_info(collection: Collection, instant: str | None, place: InfoPlace) -> Features:
    """What the other server says: its GeoJSON, or its text as one property."""
    from providers.maps.remote import open_remote_map

    remote = open_remote_map(collection.representations[Kind.MAP].properties["remote"])
    answer = remote.feature_info(
        place.box,
        place.crs,
        place.width,
        place.height,
        place.column,
        place.row,
        count=place.count,
        instant=instant,
    )
    if answer is None:
        return []
    if "json" in answer.media_type:
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            document = None
        features = document.get("features") if isinstance(document, dict) else None
        if isinstance(features, list):
            return [_plain(one) for one in features[: place.count] if isinstance(one, dict)]
    text = answer.body.decode("utf-8", "replace").strip()
    return [{"type": "Feature", "geometry": None, "properties": {"text": text}}] if text else []


def _plain(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Feature of another server with the members we write, whatever else it holds."""
    properties = feature.get("properties")
    return {
        "type": "Feature",
        **({"id": feature["id"]} if isinstance(feature.get("id"), str | int) else {}),
        "geometry": feature.get("geometry") if isinstance(feature.get("geometry"), dict) else None,
        "properties": properties if isinstance(properties, dict) else {},
    }
