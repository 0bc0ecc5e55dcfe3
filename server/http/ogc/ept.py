"""EPT of a point cloud: a view of the stored COPC, node by node."""

from __future__ import annotations

from flask import Blueprint, Response

from server.http.context import context, respond
from server.http.ept_files import ept_answer
from server.http.ogc.point_files import stored_cloud


def register(blueprint: Blueprint) -> None:
    """Add the route."""
    blueprint.add_url_rule("/ogc/collections/<public_id>/ept/<path:path>", "ept", ept)


def ept(public_id: str, path: str) -> Response:
    """A file of the EPT: ept.json, a page of the hierarchy, a node, what is known of the sources; of a mosaic below its tile's name."""
    here = context()
    here.only()
    collection, decision, cloud = stored_cloud(here, public_id)
    return respond(ept_answer(collection, decision, cloud, path, here.services.settings))
