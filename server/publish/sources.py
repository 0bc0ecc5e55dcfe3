"""Open the reader that a vector format needs."""

from __future__ import annotations

from pathlib import Path

from server.publish.inputs import Input
from server.publish.request import ReadingOptions
from server.publish.vectors import VectorSource


def open_vector_source(item: Input, options: ReadingOptions, workspace: Path) -> VectorSource:
    """The reader of one vector file. Raises subclasses of InputError."""
    if item.format.driver == "GPKG":
        from server.publish.geopackage_source import GeoPackageSource, reads_directly

        if reads_directly(item, options):
            return GeoPackageSource(item, options)
    if item.format.driver not in (None, "GeoJSON", "GeoJSONSeq"):
        from server.publish.ogr_source import OgrSource

        return OgrSource(item, options, workspace)
    if item.format.key in ("geojson", "geojsonseq", "imdf"):
        from server.publish.geojson_source import GeoJSONSource

        return GeoJSONSource(item, options)
    if item.format.key == "geoparquet":
        from server.publish.parquet_source import ParquetSource

        return ParquetSource(item, options)
    if item.format.key == "swmm":
        from server.publish.swmm_source import SwmmSource

        return SwmmSource(item, options)
    from server.publish.csv_source import CsvSource

    return CsvSource(item, options)
