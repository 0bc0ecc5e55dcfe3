"""Features as a GeoPackage: written whole with its spatial index, then sent."""

from __future__ import annotations

from collections.abc import Iterator

from providers.formatters.arrow_batches import arrow_layout
from providers.formatters.columns import free_names, has_heights, named_target, type_of, written_crs
from providers.formatters.ogr import OgrFile, write_file
from providers.formatters.registry import Batch, WritingContext, columns_of, first_columns
from providers.formatters.scratch import scratch_folder, sent


def write_geopackage(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A GeoPackage with one layer, named as the collection. Raises InvalidParameter for a CRS it cannot name."""
    target = named_target(context)
    first, batches = first_columns(batches)
    has_z = has_heights(context, first)
    names = [field.name for field in context.fields]
    key = free_names(["fid"], [*names, "id"])[0]
    layout = arrow_layout(context, target, has_z=has_z, reserved=(key,))
    with scratch_folder() as folder:
        path = folder / f"{context.name}.gpkg"
        # 1.4 and times without a fraction are what readers of a few years ago warn of (GDAL 3.6, QGIS 3.22).
        options = {
            "VERSION": "1.2",
            "DATETIME_PRECISION": "MILLISECOND",
            "FID": key,
            "IDENTIFIER": context.title or context.name,
        }
        if layout.geometry is not None:
            options["GEOMETRY_NAME"] = layout.geometry
        file = OgrFile(
            driver="GPKG",
            path=str(path),
            layer=context.name,
            geometry_name=layout.geometry,
            geometry_type=None if layout.geometry is None else type_of(context, has_z),
            crs=written_crs(target).to_wkt(),
            options=options,
        )
        write_file(file, layout.schema, (layout.batch(columns_of(batch)) for batch in batches))
        yield from sent(path)
