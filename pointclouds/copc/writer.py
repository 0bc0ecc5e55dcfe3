"""LAS/LAZ -> COPC 1.0 in one call."""

from collections.abc import Sequence
from pathlib import Path

import pyproj

from pointclouds.build.build import build_copc
from pointclouds.build.frame import Progress, quiet
from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.sources import LasSource


def write_copc(
    sources: Path | Sequence[Path],
    out: Path,
    *,
    crs: str | pyproj.CRS | None = None,
    report: Progress = quiet,
) -> PointCloudSummary:
    """Write one COPC file of all points of one or several LAS/LAZ files, and the table of its nodes; see `build.build_copc`.

    Args:
        sources: LAS 1.0-1.4, LAZ or COPC files; several must share one CRS.
        out: the COPC file to make (replaced if it exists).
        crs: used in place of whatever CRS the sources name.
        report: told the stage ("read", "octree", "write") and how much of it is done (0 to 1).

    Raises:
        UnreadablePointCloudError, CrsError, OutputError: see pointclouds.errors.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    return build_copc([LasSource(path, crs) for path in paths], out, report=report)
