"""`/profile`: what lies above, at and under a place, by GET; what the process `vertical-profile` answers, and flat features."""

from __future__ import annotations

import math
from typing import Any

import shapely
from flask import Blueprint, Response

from providers.analysis.plan import features_at
from providers.analysis.profile import object_document, profile_document, vertical_profile
from providers.processes.sources import ProcessSource
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import InvalidParameter
from server.http.features import feature_source
from server.http.scene_sources import scene_of
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
MOST_COLLECTIONS = 50
_FLAT = ("Polygon", "MultiPolygon", "Geometry", "GeometryCollection")


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule("/ogc/profile", "profile", profile)


def profile() -> Response:
    """The objects on a plumb line from the top down, the ground, and the flat features in which the place lies."""
    here = context()
    given = here.only("coords", "collections", "ground")
    here.format("json")
    longitude, latitude = _place(given.get("coords", ""))
    names = tuple(name for name in given.get("collections", "").split(",") if name)
    if len(names) > MOST_COLLECTIONS:
        raise InvalidParameter(
            f"collections names {len(names)}; at most {MOST_COLLECTIONS} are looked at together"
        )
    scene = scene_of(here, names, given.get("ground"))
    with here.services.heavy.taken():
        document: dict[str, Any] = profile_document(vertical_profile(scene, longitude, latitude))
        document["features"] = [
            object_document(one)
            for one in features_at(_flat_sources(here, names, longitude, latitude), longitude, latitude)
        ]
    return respond(json_answer(document, private=True))


def _place(text: str) -> tuple[float, float]:
    """Longitude and latitude of a WKT point in CRS84."""
    allowed = (
        "coords is a place as WKT in CRS84, such as POINT(24.94 60.17), at most 89 degrees north or south"
    )
    try:
        point = shapely.from_wkt(text)
    except shapely.errors.ShapelyError as error:
        raise InvalidParameter(f"coords is {text[:80]!r}; {allowed}") from error
    if not isinstance(point, shapely.Point) or point.is_empty:
        raise InvalidParameter(f"coords is {text[:80]!r}; {allowed}")
    longitude, latitude = point.x, point.y
    if not math.isfinite(longitude + latitude) or abs(longitude) > 180 or abs(latitude) > 89:
        raise InvalidParameter(f"coords is {text[:80]!r}; {allowed}")
    return longitude, latitude


def _flat_sources(
    here: RequestContext, names: tuple[str, ...], longitude: float, latitude: float
) -> list[ProcessSource]:
    """The collections of flat features whose extent holds the place; those with a tileset are in the profile already."""
    result = []
    for collection in here.services.visible(here.catalogue, here.scope, here.who):
        public_id = here.scope.public_id(collection)
        if (names and public_id not in names) or not _may_hold(collection, longitude, latitude):
            continue
        _, decision = here.collection(public_id)
        result.append(
            ProcessSource(
                id=public_id,
                title=collection.title(here.language),
                features=feature_source(collection),
                hidden=decision.hidden_fields,
            )
        )
        if len(result) == MOST_COLLECTIONS:
            break
    return result


def _may_hold(collection: Collection, longitude: float, latitude: float) -> bool:
    kinds = collection.representations
    if Kind.FEATURES not in kinds or Kind.TILESET_3D in kinds or len(collection.bbox) not in (4, 6):
        return False
    west, south = collection.bbox[:2]
    half = len(collection.bbox) // 2
    east, north = collection.bbox[half : half + 2]
    across = west <= longitude <= east if west <= east else longitude >= west or longitude <= east
    return (
        across
        and south <= latitude <= north
        and kinds[Kind.FEATURES].properties.get("geometry_type", "Geometry") in _FLAT
    )
