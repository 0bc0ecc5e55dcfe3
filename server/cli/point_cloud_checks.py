"""What may be wrong with the files of a point cloud, one COPC or a mosaic, and with what is made of it on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pointclouds.cloud.cloud import CloudTile, open_cloud
from pointclouds.cloud.nodes import load_nodes, nodes_path
from pointclouds.copc.check import check_copc
from pointclouds.copc.reader import CopcFile
from pointclouds.tilesets.plan import read_point_plan
from server.registry.catalogue import Representation


def point_cloud(path: Path, representation: Representation) -> str | None:
    """What is wrong with the files, without decoding points: every COPC, the table beside it, and the points published.

    Raises PointCloudError where the cloud cannot be opened at all.
    """
    if path.suffix != ".sqlite":
        broken = _errors(path)
        if broken is not None:
            return broken
    cloud = open_cloud(path)
    for tile in (*cloud.tiles, *([cloud.overview] if cloud.overview is not None else [])):
        wrong = _tile(tile)
        if wrong is not None:
            return wrong
    published = representation.properties.get("count", cloud.count)
    return (
        None if cloud.count == published else f"{path} has {cloud.count} points, {published} were published"
    )


def _errors(path: Path) -> str | None:
    errors = [finding for finding in check_copc(path, decode=False) if finding.severity == "error"]
    return f"{path}: {errors[0]}" if errors else None


def _tile(tile: CloudTile) -> str | None:
    if not tile.path.is_file():
        return f"{tile.path}, a tile of the mosaic, is not there"
    broken = _errors(tile.path)
    if broken is not None:
        return broken
    with CopcFile(tile.path) as copc:
        if copc.header.count != tile.count:
            return f"{tile.path} has {copc.header.count} points, the index says {tile.count}"
        beside = nodes_path(tile.path)
        # Without it answers are right and slow: files of an earlier release have none.
        if beside.exists() and not np.array_equal(load_nodes(beside).entries, copc.entries):
            return f"{beside} is of another file than {tile.path.name}"
    return None


def point_tileset(path: Path) -> str | None:
    """What is wrong with the plan of 3D Tiles that are made on request. Raises PointCloudError."""
    read_point_plan(path)
    return None


def point_coverage(path: Path) -> str | None:
    """What is wrong with a coverage made of points on request: nothing where the cloud opens. Raises PointCloudError."""
    open_cloud(path)
    return None
