"""OGC API resources: documents of ours, and pygeoapi behind one adapter."""

from __future__ import annotations

from flask import Blueprint


def blueprint_of(name: str) -> Blueprint:
    """A blueprint with every OGC API route; registered once for the city's view and once for tenants."""
    from server.http.ogc import (
        common,
        coverages,
        edr,
        ept,
        features,
        files,
        i3s,
        map_tiles,
        maps,
        point_edits,
        point_files,
        point_routes,
        points_profile,
        processes,
        profile,
        styles,
        terrain,
        three_d,
        three_d_dataset,
        tiles,
    )

    blueprint = Blueprint(name, "server.http.ogc")
    for module in (
        common,
        features,
        tiles,
        maps,
        map_tiles,
        styles,
        coverages,
        edr,
        files,
        point_files,
        point_edits,
        point_routes,
        ept,
        terrain,
        three_d,
        three_d_dataset,
        i3s,
        processes,
        profile,
        points_profile,
    ):
        module.register(blueprint)
    return blueprint
