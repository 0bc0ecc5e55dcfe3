"""The raster of a collection, opened by its COVERAGE representation."""

from __future__ import annotations

from server.http.errors import NotFound
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind
from tiles.rasters import RasterSource, open_raster


def raster_source(collection: Collection, decision: Decision | None = None) -> RasterSource:
    """Its raster, kept open below. Raises KeyError where it has no coverage, RasterError for a store of an unknown kind.

    With a `decision` NotFound, where cells are made of points of which this client may not see all or all dimensions: what is hidden
    cannot be taken out of a mean.
    """
    kept = collection.representations[RepresentationKind.COVERAGE]
    limited = decision is not None and (decision.area is not None or decision.hidden_fields)
    if limited and kept.properties.get("store") == "points":
        raise NotFound(
            f"collection {collection.id!r} has no coverage for this client: its cells are made of all points, of which this client may "
            "see a part; ask for /points"
        )
    return open_raster(collection.directory, kept.path, kept.properties)
