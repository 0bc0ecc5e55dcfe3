"""Rasters of points by PDAL: which points, what of them, and the grid they are put on."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from pointclouds.errors import PipelineRefusedError
from pointclouds.pdal.stages import Stage
from pointclouds.pdal.steps import HEIGHT

NODATA: Final = -9999.0
MAXIMUM_CELLS: Final = 100_000_000


@dataclass(frozen=True)
class RasterKind:
    """`only`: PDAL's ranges of the points that count. `statistic`: what of those in reach of a cell's centre."""

    dimension: str
    statistic: str
    only: str | None = None
    fill: int = 0


RASTERS: Final = MappingProxyType(
    {
        "dtm": RasterKind("Z", "idw", "Classification[2:2]", fill=10),
        "dsm": RasterKind("Z", "max", "Classification![7:7]", fill=2),
        "chm": RasterKind(HEIGHT, "max", "Classification![7:7]", fill=2),
        "intensity": RasterKind("Intensity", "mean", None, fill=1),
    }
)
"""dtm: the ground. dsm: the highest of all. chm: the highest above the ground, in points that have that dimension."""


@dataclass(frozen=True)
class Grid:
    """Cells on the raster's native grid. `x`, `y`: lower left corner, CRS units; `size`: of a cell."""

    x: float
    y: float
    columns: int
    rows: int
    size: float


def grid_over(minx: float, miny: float, maxx: float, maxy: float, size: float) -> Grid:
    """The grid of cells whose corners are multiples of `size`, so that neighbouring blocks fit.

    Raises:
        PipelineRefusedError: a size that makes no sense, or too many cells.
    """
    if not 0.01 <= size <= 10_000:
        raise PipelineRefusedError(f"a cell of {size:g} makes no sense; give 0.01 to 10000 CRS units")
    left, bottom = int(np.floor(minx / size)), int(np.floor(miny / size))
    columns = max(1, int(np.ceil(maxx / size)) - left)
    rows = max(1, int(np.ceil(maxy / size)) - bottom)
    if columns * rows > MAXIMUM_CELLS:
        raise PipelineRefusedError(
            f"{columns} x {rows} cells of {size:g} are more than {MAXIMUM_CELLS}; ask for a coarser raster or a smaller area"
        )
    return Grid(left * size, bottom * size, columns, rows, size)


def raster_stages(kind: str) -> tuple[Stage, ...]:
    """The filters before the writer. Raises PipelineRefusedError."""
    only = _kind(kind).only
    return (Stage("filters.range", {"limits": only}),) if only else ()


def raster_writer(kind: str, grid: Grid) -> Stage:
    """The writer, to a tiled and compressed GeoTIFF of one float band."""
    asked = _kind(kind)
    return Stage(
        "writers.gdal",
        {
            "gdaldriver": "GTiff",
            "gdalopts": "TILED=YES,COMPRESS=DEFLATE,PREDICTOR=3,BIGTIFF=IF_SAFER",
            "data_type": "float",
            "nodata": NODATA,
            "dimension": asked.dimension,
            "output_type": asked.statistic,
            "resolution": grid.size,
            # A circle around a cell's centre that holds the cell: no point of it is missed.
            "radius": grid.size * float(np.sqrt(0.5)),
            "window_size": asked.fill,
            "origin_x": grid.x,
            "origin_y": grid.y,
            "width": grid.columns,
            "height": grid.rows,
        },
    )


def _kind(name: str) -> RasterKind:
    if name not in RASTERS:
        raise PipelineRefusedError(f"there is no raster {name[:60]!r}; there are {', '.join(RASTERS)}")
    return RASTERS[name]
