"""The summary of a COPC from its table of nodes, without reading a point."""

from __future__ import annotations

import numpy as np
import pyproj

from pointclouds.cloud.nodes import NodeTable
from pointclouds.cloud.summary import PointCloudSummary, box84
from pointclouds.copc.check import gps_range
from pointclouds.copc.reader import CopcFile
from pointclouds.crs import crs_identifier, require_usable, vertical_name
from pointclouds.las.layout import dimension_names


def summarize_nodes(copc: CopcFile, table: NodeTable, crs: pyproj.CRS | None = None) -> PointCloudSummary:
    """What `cloud.summary.summarize` says of a file; `dropped` stays empty.

    Args:
        crs: the file's, where it is known better than its WKT can say it (which knows no area of use).

    Raises:
        CrsError: no CRS, one that is of no use, or one in which the points lie where it has no meaning.
    """
    name = copc.path.name.removesuffix(".part")
    crs = require_usable(crs or copc.crs, name)
    header = copc.header
    counts = table.class_counts.sum(axis=0, dtype=np.int64).tolist()
    return PointCloudSummary(
        count=table.count,
        bbox84=box84(header.bbox, crs),
        bbox=header.bbox,
        classes=dict(zip(table.classes, counts, strict=True)),
        dimensions=dimension_names(copc.dtype),
        point_format=header.point_format,
        scale=header.scale,
        offset=header.offset,
        crs=crs,
        crs_identifier=crs_identifier(crs),
        vertical_reference=vertical_name(crs),
        gps_range=gps_range(table),
        nodes=len(table.entries),
        depth=int(table.entries["level"].max()),
        bytes=copc.path.stat().st_size,
    )
