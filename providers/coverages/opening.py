"""A raster source by the path of its store alone: for those who know no registry (plugins of pygeoapi, processes)."""

from __future__ import annotations

from pathlib import Path

from tiles.rasters import CogSource, RasterSource

_MOSAIC = ".sqlite"
_POINTS = (".copc.laz", "pointcloud.sqlite")


def source_at(path: Path) -> RasterSource:
    """The raster of a file, the mosaic of an index, or what a point cloud is drawn as. Opens nothing yet."""
    if path.name.endswith(_POINTS):
        from providers.points.coverage import PointRasterSource

        return PointRasterSource(path)
    if path.suffix == _MOSAIC:
        from tiles.rasters.mosaic import MosaicSource  # what single files need not

        return MosaicSource(path)
    return CogSource(path)
