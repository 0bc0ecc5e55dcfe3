"""The routes of points, and which collections have points for items.

What answers them reads point clouds, which a server without any need not load: `server.http.ogc.points` is imported by the first
request for points.
"""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState

from providers.points.errors import TooManyPoints
from server.http.answer import COMMON_HEADERS
from server.http.context import RequestContext, context
from server.http.errors import MethodNotAllowed, register_status
from server.http.ogc.documents import CATALOGUE_ID
from server.registry.catalogue import Collection, RepresentationKind

register_status(TooManyPoints, 413)


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    base = "/ogc/collections/<public_id>/points"
    blueprint.add_url_rule(base, view_func=points)
    blueprint.add_url_rule(f"{base}/statistics", view_func=point_statistics)
    blueprint.add_url_rule(f"{base}/<point_id>", view_func=point)
    blueprint.record_once(_configure)


def _configure(state: BlueprintSetupState) -> None:
    """Tell this process how much memory decoded nodes may take."""
    from pointclouds.cloud.node_cache import NODE_CACHE

    NODE_CACHE.limit(state.app.extensions["chengtu"].settings.points.node_cache_bytes)


def has_points_only(collection: Collection) -> bool:
    """Whether a collection's items are its points."""
    kinds = collection.representations
    return RepresentationKind.POINT_CLOUD in kinds and RepresentationKind.FEATURES not in kinds


def points(public_id: str) -> Response:
    """A page of points as GeoJSON, or all that are asked for in a format of points."""
    return items_of_points(context(), public_id, "points")


def point(public_id: str, point_id: str) -> Response:
    """One point by its id."""
    return item_of_points(context(), public_id, point_id, "points")


def point_statistics(public_id: str) -> Response:
    """Counts, classes, spans of dimensions, density and time of the points asked for."""
    from server.http.ogc.points import statistics_answer

    return statistics_answer(context(), public_id)


READING = "GET, HEAD, OPTIONS"
"""What can be done with points by way of items: they are edited as files and by class, not one by one."""


def only_reading(public_id: str) -> Response | None:
    """The answer to another method at items of a collection whose items are points; None for other collections.

    Raises MethodNotAllowed where the method would edit.
    """
    if public_id == CATALOGUE_ID or not has_points_only(context().collection(public_id)[0]):
        return None
    if request.method != "OPTIONS":
        raise MethodNotAllowed(
            f"points of {public_id!r} cannot be edited one by one; allowed: {READING}", [("Allow", READING)]
        )
    return Response(status=204, headers=[*COMMON_HEADERS, ("Allow", READING)])


def items_of_points(here: RequestContext, public_id: str, path: str) -> Response:
    """Points as `path` below the collection ("points", "items") answers them."""
    from server.http.ogc.points import points_answer

    return points_answer(here, public_id, path)


def item_of_points(here: RequestContext, public_id: str, point_id: str, path: str) -> Response:
    """One point, the same way."""
    from server.http.ogc.points import point_answer

    return point_answer(here, public_id, point_id, path)
