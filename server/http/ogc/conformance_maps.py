"""Conformance classes of OGC API - Maps: which the server holds for every map, and which each collection's own map has to pass."""

from __future__ import annotations

_MAPS = "http://www.opengis.net/spec/ogcapi-maps-1/1.0/conf"

MAP_EVERYWHERE = tuple(
    f"{_MAPS}/{name}"
    for name in (
        *("tilesets", "background", "collections-selection", "collection-map", "dataset-map", "styled-map"),
        *("png", "jpeg", "tiff", "html", "api-operations", "cors"),
    )
)
"""What no source can answer wrongly; tests/server/http/test_ogc_maps*.py hold each."""

MAP_CHECKED = tuple(
    f"{_MAPS}/{name}"
    for name in ("core", "scaling", "spatial-subsetting", "crs", "datetime", "display-resolution")
)
"""What `tiles.maps.self_test` asks of a source when its collection is published, in that order."""
