"""The raster of a collection, opened by its COVERAGE representation."""

from __future__ import annotations

from server.registry.catalogue import Collection, RepresentationKind
from tiles.rasters import RasterSource, open_raster


def raster_source(collection: Collection) -> RasterSource:
    """Its raster, kept open below. Raises KeyError where it has no coverage, RasterError for a store of an unknown kind."""
    kept = collection.representations[RepresentationKind.COVERAGE]
    return open_raster(collection.directory, kept.path, kept.properties)
