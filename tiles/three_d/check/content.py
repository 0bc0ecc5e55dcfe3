"""The content of a tile, of any kind: everything inside it, and whether bounding volumes hold it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings, reading
from tiles.three_d.check.glb import Resource
from tiles.three_d.check.model import Shape, model_shapes
from tiles.three_d.check.version10 import batched_shapes, composite_parts, instanced_shapes, point_shapes
from tiles.three_d.check.volumes import Bound, WorldPoints, farthest_outside

# Metres a vertex may stand out beside the rounding of its own position.
_TOLERANCE = 0.02


class Place(NamedTuple):
    """Where a content belongs: `transform` (4 x 4) leads from its tile to the root; `bounds` are the volumes that must hold it;
    `up` is the axis that is up in its glTF."""

    transform: NDArray[np.float64]
    bounds: tuple[Bound, ...]
    up: str = "Y"


def is_tileset(content: bytes) -> bool:
    """Whether a content looks like another tileset.json, and not like a .gltf."""
    start = content.lstrip()[:1] == b"{"
    return start and b'"root"' in content and b'"geometricError"' in content


def check_content(content: bytes, place: Place, resource: Resource, findings: FileFindings) -> None:
    """Check a .glb, .gltf, .b3dm, .i3dm, .cmpt or .pnts. What it is, its first bytes say.

    A region bounds the content on the globe, a box or sphere in the tile's own frame (OGC 22-025r4 clause 7.3.2).
    """
    worst = dict.fromkeys((bound.owner for bound in place.bounds), 0.0)
    with reading(findings):
        _measure(content, place, resource, findings, worst)
    for owner, outside in worst.items():
        if outside > 0.0:
            findings.add("volume-content", f"a vertex lies {outside:.3f} m outside the {owner}")


def _measure(
    content: bytes, place: Place, resource: Resource, findings: FileFindings, worst: dict[str, float]
) -> None:
    """Check everything inside, and how far vertices stand out of each volume (m)."""
    for shape in _shapes(content, place.up, resource, findings):
        points = shape.points @ place.transform[:3, :3].T + place.transform[:3, 3]
        scale = float(np.linalg.norm(place.transform[:3, :3], axis=0).max())
        world = WorldPoints(points, _TOLERANCE + shape.slack * scale)
        for bound in place.bounds:
            outside = farthest_outside(bound.volume, world)
            if outside > world.slack:
                worst[bound.owner] = max(worst[bound.owner], outside)


def _shapes(content: bytes, up: str, resource: Resource, findings: FileFindings) -> Iterator[Shape]:
    magic = content[:4]
    if magic == b"b3dm":
        yield from batched_shapes(content, up, resource, findings)
    elif magic == b"i3dm":
        yield from instanced_shapes(content, up, resource, findings)
    elif magic == b"pnts":
        yield from point_shapes(content, findings)
    elif magic == b"cmpt":
        for part in composite_parts(content, findings):
            yield from _shapes(part, up, resource, findings)
    elif magic == b"glTF" or content.lstrip()[:1] == b"{" or findings.file.endswith((".glb", ".gltf")):
        yield from model_shapes(content, resource, findings, up=up)
    else:
        findings.add("content-type", f"it starts with {magic!r}, which is no content this checker knows")
