"""Options of a publish that are about point clouds alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCloudOptions:
    """How the files of a point cloud are kept.

    `mosaic`: every file as a tile of its own (True), all points in one COPC (False), or whichever suits their number and size
    (None, see server.publish.point_clouds).
    """

    mosaic: bool | None = None
