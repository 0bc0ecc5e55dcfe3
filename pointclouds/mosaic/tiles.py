"""The tiles of a mosaic: their names, and what the index says of each."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Final

from pointclouds.cloud.cloud import COPC_SUFFIX, OVERVIEW, CloudTile
from pointclouds.cloud.nodes import load_nodes, nodes_path
from pointclouds.copc.reader import CopcFile
from pointclouds.las.structures import GPS_STANDARD_TIME

_ENDINGS: Final = (COPC_SUFFIX, ".copc", ".las", ".laz", ".e57", ".ply", ".xyz", ".csv", ".txt", ".asc")
_NOT_ALLOWED: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST: Final = 64
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What the name of a tile may be."""


def plain_name(file: str) -> str:
    """The name of a tile made of a file: its own, without its ending and what an address would have to escape."""
    stem = file
    for ending in _ENDINGS:
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    name = _NOT_ALLOWED.sub("_", stem).strip("_")[:_LONGEST]
    return name or "tile"


def free_name(file: str, taken: Container[str]) -> str:
    """`plain_name`, with a number behind it where it is taken; "overview" always is."""
    name = plain_name(file)
    number, free = 1, name
    while free in taken or free == OVERVIEW:
        number += 1
        ending = f"_{number}"
        free = name[: _LONGEST - len(ending)] + ending
    return free


def described_tile(
    name: str, path: Path, facts: Mapping[str, Any], start: str | None = None, end: str | None = None
) -> CloudTile:
    """What the index says of a COPC whose node table stands beside it.

    `facts` are kept, with the classes and their points, the root's spacing, and whether its GPS times are dates. `start` and `end`
    are RFC 3339 in UTC. Raises InvalidCopcError, UnreadablePointCloudError.
    """
    table = load_nodes(nodes_path(path))
    classes = table.class_counts.sum(axis=0, dtype="int64")
    with CopcFile(path) as copc:
        header, info = copc.header, copc.info
        told = {
            "classes": {str(code): int(count) for code, count in zip(table.classes, classes, strict=True)},
            "spacing": info.spacing,
            "gps_time": "standard" if header.las.global_encoding & GPS_STANDARD_TIME else "week",
            "nodes": len(copc.entries),
            **facts,
        }
        gps = (info.gps_minimum, info.gps_maximum)
        return CloudTile(name, path, header.count, header.bbox, start, end, gps, told)
