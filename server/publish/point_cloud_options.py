"""Options of a publish that are about point clouds alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCloudOptions:
    """How the files of a point cloud are read and kept.

    `mosaic`: every file as a tile of its own (True), all points in one COPC (False), or whichever suits their number and size
    (None, see server.publish.point_clouds). `columns`: of text, in their order ("x y z intensity r g b", "-" skips one). `vertical`:
    the vertical CRS that heights count from, in place of the files' own. `target_crs`: the projected CRS that points are brought to.
    `pipeline`: steps by which PDAL works on every file before anything is built (server.publish.point_pipeline_options).
    """

    mosaic: bool | None = None
    columns: str | None = None
    vertical: str | None = None
    target_crs: str | None = None
    pipeline: tuple[str, ...] = ()
