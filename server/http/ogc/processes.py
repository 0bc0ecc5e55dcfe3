"""OGC API - Processes Part 1 (18-062r2) through pygeoapi and a process manager of ours."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import orjson
import pygeoapi.api.processes as processes_api
from flask import Blueprint, Response, request

from providers.analysis.scene import Scene
from providers.analysis.sources import register_scenes
from providers.errors import InvalidParameter as ProcessParameter
from providers.processes.manager import process_resources
from providers.processes.point_tools import PdalTools, register_pdal
from providers.processes.sources import ProcessSource, register_resolver
from server.http.answer import Answer
from server.http.context import RequestContext, context, html_answer, json_answer, respond
from server.http.errors import InvalidParameter, NotFound
from server.http.features import feature_source
from server.http.negotiation import MEDIA_TYPES
from server.http.ogc.pygeoapi_adapter import Caller, PlainRequest
from server.http.scene_sources import scene_of
from server.identity.decision import Action
from server.registry.catalogue import Collection, RepresentationKind
from server.settings.sections import PointSettings

Kind = RepresentationKind
_KEY = "request"
_DEEPEST = 32  # levels of an execution's JSON; a MultiPolygon in an input takes 7
_present: ContextVar[RequestContext | None] = ContextVar("processes_request", default=None)


def _resolve(collection_id: str) -> ProcessSource | None:
    """The collection a process asks for, by the view and the rights of the request that runs it."""
    here = _present.get()
    if here is None:
        return None
    try:
        collection, decision = here.collection(collection_id, Action.EXECUTE)
    except NotFound:
        return None
    has = collection.representations
    return ProcessSource(
        id=collection_id,
        title=collection.title("en"),
        features=feature_source(collection) if Kind.FEATURES in has else None,
        coverage=collection.path_of(Kind.COVERAGE) if Kind.COVERAGE in has else None,
        storage_crs=collection.storage_crs,
        fields=tuple((field.name, field.type, field.column) for field in collection.fields),
        hidden=decision.hidden_fields,
        points=collection.path_of(Kind.POINT_CLOUD) if Kind.POINT_CLOUD in has else None,
        point_raster=_point_raster(collection),
        area=decision.area,
    )


def _point_raster(collection: Collection) -> Mapping[str, Any]:
    """The properties of the rasters made of its points; {} where it has none."""
    coverage = collection.representations.get(Kind.COVERAGE)
    is_points = coverage is not None and coverage.properties.get("store") == "points"
    return coverage.properties if coverage is not None and is_points else {}


register_resolver(_KEY, _resolve)


def _scene(collections: tuple[str, ...], ground: str | None) -> Scene:
    """The 3D tilesets and the terrain that the request which runs the process may see."""
    here = _present.get()
    if here is None:
        raise ProcessParameter("collections", ", ".join(collections), "asked within a request")
    return scene_of(here, collections, ground)


register_scenes(_KEY, _scene)


def use_pdal(points: PointSettings) -> None:
    """Say to the processes on point clouds which PDAL there is, and what one execution may take."""
    register_pdal(_KEY, PdalTools(points.pdal, points.pdal_seconds, points.pdal_memory_bytes))


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule("/ogc/processes", view_func=processes)
    blueprint.add_url_rule("/ogc/processes/<process_id>", view_func=process)
    blueprint.add_url_rule("/ogc/processes/<process_id>/execution", view_func=execution, methods=["POST"])
    blueprint.add_url_rule("/ogc/jobs", view_func=jobs)


def _caller(here: RequestContext) -> Caller:
    return here.adapter.for_resources("processes", partial(process_resources, _KEY), here.root, here.language)


def _document(here: RequestContext, kind: str, document: Any) -> Response:
    if here.format("json", "html") == "html":
        return respond(
            html_answer(here.services.pages.document(here.page_request(), document, here.tenant, kind=kind))
        )
    return respond(json_answer(document))


def processes() -> Response:
    """The list of processes."""
    here = context()
    given = here.only("limit")
    asked = {"limit": given["limit"]} if "limit" in given else {}
    document = _caller(here).call(processes_api.describe_processes, PlainRequest(asked)).json()
    # pygeoapi also links to a JSON-LD form, which is not given here.
    document["links"] = [link for link in document["links"] if link["type"] != "application/ld+json"]
    return _document(here, "processes", document)


def process(process_id: str) -> Response:
    """The description of one process."""
    here = context()
    here.only()
    document = _caller(here).call(processes_api.describe_processes, PlainRequest(), process_id).json()
    return _document(here, "process", document)


def jobs() -> Response:
    """The job list: empty, since every process of this release answers at once."""
    here = context()
    here.only()
    document = {
        "jobs": [],
        "links": [{"href": f"{here.root}/jobs", "rel": "self", "type": MEDIA_TYPES["json"]}],
    }
    return _document(here, "jobs", document)


def _check_execution(body: bytes) -> None:
    """Refuse what is no execution request (18-062r2, 7.11.1): pygeoapi trusts its members' types."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"the request body is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("inputs", {}), dict):
        raise InvalidParameter('the request body must be an object with "inputs", an object')
    if "subscriber" in document:
        raise InvalidParameter('"subscriber" is given; callbacks are not offered: leave it out')
    if _depth_over(document, _DEEPEST):
        raise InvalidParameter(f"the request body is nested more than {_DEEPEST} levels deep")


def _depth_over(document: Any, most: int) -> bool:
    level = [document]
    for _ in range(most):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def execution(process_id: str) -> Response:
    """Run a process and answer with its result."""
    here = context()
    here.only()
    body = here.services.bodies.read(request.stream, request.content_length)
    _check_execution(body)
    token = _present.set(here)
    try:
        with here.services.heavy.taken():
            answer = _caller(here).call(
                processes_api.execute_process,
                PlainRequest(headers={"Content-Type": MEDIA_TYPES["json"]}, data=body),
                process_id,
            )
    finally:
        _present.reset(token)
    media_type = answer.headers.get("Content-Type", MEDIA_TYPES["json"])
    return respond(Answer(answer.content, media_type, status=answer.status, private=True))
