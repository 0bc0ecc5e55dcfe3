"""Edits of point clouds: another class for the points in a polygon, a tile taken out of a mosaic. Each is a new generation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from flask import Blueprint, Response, request

from server.http.answer import Answer
from server.http.context import RequestContext, context, json_answer, respond
from server.http.errors import Forbidden, InvalidParameter, NotAuthenticated, NotFound
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.transactions_headers import check_type
from server.http.point_edit_process import run_edit
from server.identity.decision import ANONYMOUS, Action, decide
from server.registry.catalogue import Collection, RepresentationKind

CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_JSON: Final = ("application/json",)
_MEMBERS: Final = frozenset({"polygon", "crs", "heights", "from", "to"})
_HEIGHTS: Final = frozenset({"low", "high", "above"})
_ABOVE: Final = ("z", "ground")
_CLASSES: Final = 255


def register(blueprint: Blueprint) -> None:
    """Add the routes that edit."""
    base = "/ogc/collections/<public_id>/pointcloud"
    blueprint.add_url_rule(f"{base}/reclassify", "point_cloud_reclassify", reclassify, methods=["POST"])
    blueprint.add_url_rule(f"{base}/<name>", "point_cloud_remove", remove, methods=["DELETE"])


def _editable(here: RequestContext, public_id: str) -> Collection:
    """The collection, for a client that may edit all of it.

    Raises NotFound where it is not this client's to see or has no point cloud, then NotAuthenticated, Forbidden.
    """
    collection, seen = here.having(public_id, RepresentationKind.POINT_CLOUD)
    writing = decide(here.who, Action.WRITE, collection)
    if not writing.allowed:
        if here.who == ANONYMOUS:
            raise NotAuthenticated(
                f"editing {public_id!r} needs an Authorization header with a token that may write"
            )
        raise Forbidden(f"{here.who.id!r} may read {public_id!r} and not edit it")
    if any(one.hidden_fields or one.area is not None for one in (seen, writing)):
        raise Forbidden(f"{here.who.id!r} may see a part of {public_id!r} only, and edits are of the whole")
    return collection


def reclassify(public_id: str) -> Response:
    """POST: give the points inside a polygon another class, and wait until every new request sees it."""
    here = context()
    here.only()
    collection = _editable(here, public_id)
    check_type(_JSON, "Accept-Post")
    asked = _parsed(here.services.bodies.read(request.stream, request.content_length))
    document = {
        "edit": "reclassify",
        "tenant": collection.tenant,
        "collection": collection.id,
        "who": here.who.id,
        "most_points": here.services.settings.points.request_points,
        **asked,
    }
    return _made(here, document)


def remove(public_id: str, name: str) -> Response:
    """DELETE: take a tile out of a mosaic, by its name or the name of its file."""
    from pointclouds.cloud.cloud import open_cloud

    here = context()
    here.only()
    collection = _editable(here, public_id)
    wanted = name.removesuffix(".copc.laz")
    cloud = open_cloud(collection.path_of(RepresentationKind.POINT_CLOUD).resolve())
    if wanted not in {one.name for one in cloud.tiles}:
        raise NotFound(
            f"{public_id!r} has no tile {wanted[:200]!r}; {here.url_of(public_id)}/pointcloud lists what there is"
        )
    document = {
        "edit": "remove",
        "tenant": collection.tenant,
        "collection": collection.id,
        "who": here.who.id,
        "names": [wanted],
    }
    return _made(here, document)


def _made(here: RequestContext, document: dict[str, Any]) -> Response:
    with here.services.heavy.taken():
        told = run_edit(here.services.settings, document)
    answer = {**told["entry"], "generation": told["generation"], "changed": told["changed"]} | (
        {"counts": told["entry"]["changed"]} if "changed" in told["entry"] else {}
    )
    if told["warnings"]:
        answer["warnings"] = told["warnings"]
    made: Answer = json_answer(answer, MEDIA_TYPES["json"], private=True)
    return respond(made)


# --- the body ------------------------------------------------------------------------------------------------------------


def _parsed(body: bytes) -> dict[str, Any]:
    """The members of a reclassification, checked. Raises InvalidParameter."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"the body is not JSON: {error}", "body", "", "a JSON object") from error
    if not isinstance(given, dict):
        raise InvalidParameter("the body is no JSON object", "body", "", "a JSON object")
    unknown = sorted(set(given) - _MEMBERS)
    if unknown:
        raise InvalidParameter(
            f"the body has a member {unknown[0][:80]!r}; allowed: {', '.join(sorted(_MEMBERS))}",
            unknown[0],
            "",
            ", ".join(sorted(_MEMBERS)),
        )
    polygon = given.get("polygon")
    if not isinstance(polygon, dict) or polygon.get("type") not in ("Polygon", "MultiPolygon"):
        raise InvalidParameter(
            "polygon has to be a GeoJSON geometry of type Polygon or MultiPolygon",
            "polygon",
            str(polygon)[:80],
            "Polygon, MultiPolygon",
        )
    return {
        "area": polygon,
        "crs": _crs(given.get("crs", CRS84)),
        "to": _class(given.get("to"), "to"),
        "from": _classes(given.get("from")),
        **_heights(given.get("heights")),
    }


def _crs(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise InvalidParameter(
            "crs has to be the URI or code of a CRS", "crs", str(value)[:80], f"such as {CRS84} or EPSG:28992"
        )
    return value


def _class(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _CLASSES:
        allowed = f"a whole number from 0 to {_CLASSES}"
        raise InvalidParameter(
            f"{name} is {str(value)[:80]!r}; allowed: {allowed}", name, str(value)[:80], allowed
        )
    return value


def _classes(value: Any) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= _CLASSES + 1:
        allowed = f"a list of whole numbers from 0 to {_CLASSES}"
        raise InvalidParameter(
            f"from is {str(value)[:80]!r}; allowed: {allowed}", "from", str(value)[:80], allowed
        )
    return [_class(one, "from") for one in value]


def _heights(value: Any) -> dict[str, Any]:
    if value is None:
        return {"low": None, "high": None, "above": "z"}
    if not isinstance(value, Mapping) or set(value) - _HEIGHTS:
        allowed = 'an object with "low", "high" and "above"'
        raise InvalidParameter(
            f"heights is {str(value)[:80]!r}; allowed: {allowed}", "heights", str(value)[:80], allowed
        )
    low, high = _height(value.get("low"), "low"), _height(value.get("high"), "high")
    above = value.get("above", "z")
    if above not in _ABOVE:
        raise InvalidParameter(
            f"above is {str(above)[:80]!r}; allowed: {', '.join(_ABOVE)}",
            "above",
            str(above)[:80],
            ", ".join(_ABOVE),
        )
    if low is None and high is None:
        raise InvalidParameter("heights has neither low nor high", "heights", "", "low, high or both")
    return {"low": low, "high": high, "above": above}


def _height(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidParameter(
            f"{name} is {str(value)[:80]!r}; allowed: a finite number",
            name,
            str(value)[:80],
            "a finite number",
        )
    return float(value)
