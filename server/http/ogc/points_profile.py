"""`/points/profile`: the points along a line as a section, with the terrain and the surface under and over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import shapely
from flask import Blueprint, Response

from server.http.answer import Answer
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import InvalidParameter
from server.http.features import state_etag
from server.http.negotiation import MEDIA_TYPES
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pointclouds.cloud.cloud import Cloud
    from providers.points.profile import GroundProfile, PointProfile
    from providers.points.request import PointRequest

Kind = RepresentationKind
FORMATS = ("json", "geojson", "csv", "png")
MOST_POSITIONS = 1_000
MOST_WIDTH = 100.0
DEFAULT_WIDTH = 1.0
DEFAULT_POINTS = 50_000
MOST_POINTS = 1_000_000
OWN = ("coords", "width", "ground")
SHARED = (
    "crs", "datetime", "filter", "filter-lang", "filter-crs", "resolution", "max-points", "properties",
)  # fmt: skip
_DEFAULT_DIMENSIONS = ("Classification", "Intensity", "Red", "Green", "Blue")
_ALLOWED = (
    f"a line as WKT, such as LINESTRING(4.3651 52.0110,4.3672 52.0119), of 2 to {MOST_POSITIONS} positions"
)


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule("/ogc/collections/<public_id>/points/profile", "points_profile", points_profile)


def points_profile(public_id: str) -> Response:
    """The points at most `width` metres from the line `coords`, by distance along it; JSON, GeoJSON, CSV or a picture."""
    from pointclouds.cloud.cloud import open_cloud
    from providers.points.profile import profile_points

    here = context()
    collection, decision = here.having(public_id, Kind.POINT_CLOUD)
    form = here.format(*FORMATS)
    cloud = open_cloud(collection.path_of(Kind.POINT_CLOUD))
    given = {name: value for name, value in here.parameters if name in OWN}
    asked = _request(here, collection, decision, cloud)
    line = _line(given.get("coords", ""), asked, cloud)
    width = _width(given.get("width"))
    with_ground = _ground_wanted(given.get("ground"))
    settings = here.services.settings.points
    with here.services.heavy.taken():
        found = profile_points(
            cloud, line, width / _unit(cloud), asked.query, asked.dimensions, settings.request_points
        )
        ground = _ground(collection, decision, line) if with_ground else None
        answer = _answer(here, form, cloud, found, ground, width, settings.geojson_points)
    answer.etag = state_etag(collection, 0, decision, str(sorted(here.parameters)), form)
    answer.private = decision.key != "public"
    return respond(answer)


def _unit(cloud: Cloud) -> float:
    from providers.points.places import length_unit

    return length_unit(cloud)


def _request(here: RequestContext, collection: Collection, decision: Decision, cloud: Cloud) -> PointRequest:
    """The points asked for, by the rules of `/points`; those of a profile are told few dimensions where none are named."""
    from dataclasses import replace

    from providers.points.request import PointContext, PointLimits, parse_points

    names = [name for name, _ in here.parameters]
    doubled = [name for name in OWN if names.count(name) > 1]
    if doubled:
        raise InvalidParameter(f"{doubled[0]} is given {names.count(doubled[0])} times; give it once")
    interval = collection.interval
    asked = parse_points(
        [(name, value) for name, value in here.parameters if name not in OWN],
        cloud,
        PointContext(
            generation=collection.generation,
            hidden=decision.hidden_fields,
            area=decision.area,
            interval=None if interval is None else (interval.start, interval.end),
            limits=PointLimits(read=here.services.settings.points.request_points),
        ),
        SHARED,
    )
    dimensions = asked.dimensions
    if asked.wanted is None:
        dimensions = tuple(one for one in dimensions if one.name in _DEFAULT_DIMENSIONS)
    most = asked.query.max_points or DEFAULT_POINTS
    if most > MOST_POINTS:
        raise InvalidParameter(f"max-points is {most}; at most {MOST_POINTS} are given in one profile")
    return replace(
        asked,
        dimensions=tuple(one for one in dimensions if one.members == 1),
        query=replace(asked.query, max_points=most),
    )


def _line(text: str, asked: PointRequest, cloud: Cloud) -> NDArray[np.float64]:
    """The line (n, 2) in the cloud's coordinates. Raises InvalidParameter."""
    from providers.features.crs import reference_system
    from providers.features.query import CRS84
    from providers.points.places import moved

    try:
        with np.errstate(invalid="ignore"):  # "nan" is refused below
            line = shapely.force_2d(shapely.from_wkt(text)) if text else None
    except shapely.errors.ShapelyError as error:
        raise InvalidParameter(f"coords is {text[:80]!r}; it is {_ALLOWED}") from error
    count = 0 if line is None else len(shapely.get_coordinates(line))
    if not isinstance(line, shapely.LineString) or not 2 <= count <= MOST_POSITIONS:
        raise InvalidParameter(f"coords is {text[:80]!r}; it is {_ALLOWED}")
    system = reference_system(asked.crs or CRS84)
    places = shapely.get_coordinates(line)
    if not np.isfinite(places).all() or (system.uri == CRS84 and (abs(places) > (180, 90)).any()):
        raise InvalidParameter(f"coords is {text[:80]!r}; longitudes reach 180 and latitudes 90 degrees")
    if system.swap:
        line = shapely.LineString(places[:, ::-1])
    try:
        native = moved(line, system, cloud)
    except ValueError as error:
        raise InvalidParameter(f"coords is {text[:80]!r}: {error}") from error
    if shapely.length(native) <= 0:
        raise InvalidParameter(f"coords is {text[:80]!r}: a line whose positions are all one has no length")
    return np.asarray(shapely.get_coordinates(native), np.float64)


def _width(text: str | None) -> float:
    """Metres to each side."""
    if text is None:
        return DEFAULT_WIDTH
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not 0 < width <= MOST_WIDTH:
        raise InvalidParameter(
            f"width is {text[:40]!r}; it is metres to each side of the line, above 0 to {MOST_WIDTH:g}"
        )
    return width


def _ground_wanted(text: str | None) -> bool:
    if text not in (None, "true", "false"):
        raise InvalidParameter(f"ground is {text[:40]!r}; it is true or false")
    return text != "false"


def _ground(collection: Collection, decision: Decision, line: NDArray[np.float64]) -> GroundProfile | None:
    """Terrain and surface along the line; not where points or classes may not all be seen, for they are made of all."""
    from providers.points.coverage import PointRasterSource
    from providers.points.profile import ground_profile

    if decision.area is not None or "Classification" in decision.hidden_fields:
        return None
    coverage = collection.representations.get(Kind.COVERAGE)
    properties = (
        coverage.properties if coverage is not None and coverage.properties.get("store") == "points" else {}
    )
    return ground_profile(PointRasterSource(collection.path_of(Kind.POINT_CLOUD), properties).raster, line)


def _answer(
    here: RequestContext,
    form: str,
    cloud: Cloud,
    found: PointProfile,
    ground: GroundProfile | None,
    width: float,
    most_features: int,
) -> Answer:
    from pointclouds.crs import vertical_name
    from providers.points import profile_answer
    from providers.points.places import height_unit

    unit = _unit(cloud)
    columns = profile_answer.columns_of(found, unit)
    if form == "csv":
        return Answer(profile_answer.csv_bytes(columns), MEDIA_TYPES["csv"])
    if form == "png":
        picture = profile_answer.picture(found, ground, unit)
        return Answer(picture, MEDIA_TYPES["png"], compressible=False)
    about: dict[str, Any] = {
        "length": round(found.length * unit, 3),
        "width": width,
        "numberReturned": len(found),
        "complete": found.complete,
        "heights": {"reference": vertical_name(cloud.crs), "metresPerUnit": height_unit(cloud)},
        "statistics": profile_answer.statistics(found, ground),
    }
    if form == "geojson":
        if len(found) > most_features:
            raise InvalidParameter(
                f"{len(found)} points lie in this profile; GeoJSON gives {most_features}: ask for less with max-points, or for json or csv"
            )
        longitude, latitude = _degrees(cloud, found)
        head = orjson.dumps(about)[1:-1] + b","
        heights = found.z * height_unit(cloud)
        body = profile_answer.geojson_bytes(columns, longitude, latitude, heights, head)
        return Answer(body, MEDIA_TYPES["geojson"])
    document = about | {"points": profile_answer.json_columns(columns)}
    if ground is not None:
        document["ground"] = {"cell": round(ground.cell * unit, 3)} | profile_answer.ground_columns(
            ground, unit
        )
    document["links"] = [
        {"href": f"{here.origin}{here.environ['PATH_INFO']}", "rel": "self", "type": MEDIA_TYPES["json"]}
    ]
    return json_answer(document)


def _degrees(cloud: Cloud, found: PointProfile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from providers.features.crs import reference_system, transform_between
    from providers.features.query import CRS84
    from providers.points.places import native_system

    transform = transform_between(native_system(cloud), reference_system(CRS84))
    if transform is None:
        return found.x, found.y
    longitude, latitude = transform(found.x, found.y)
    return longitude, latitude
