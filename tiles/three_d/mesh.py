"""The triangles of one tile, before they become glTF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SurfaceClass(NamedTuple):
    """One entry of a palette: the name that is stored and the colour that is drawn (linear red, green, blue, 0-1)."""

    name: str
    colour: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in the local frame of a tile.

    `positions` (v, 3) float64 are east, north, up in metres; `normals` (v, 3) unit vectors in the same axes;
    `feature_ids` (v,) rows of the tile's property table; `triangles` (t, 3) vertex indices, counter-clockwise seen from
    outside. `classes` (v,) uint8 index into `palette`, or None where everything has one colour.
    """

    positions: NDArray[np.float64]
    normals: NDArray[np.float64]
    feature_ids: NDArray[np.int64]
    triangles: NDArray[np.int64]
    classes: NDArray[np.uint8] | None = None
    palette: tuple[SurfaceClass, ...] = ()


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several in the same frame. All must have classes, of the same palette, or none."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0, *(len(mesh.positions) for mesh in meshes[:-1])])
    classes = [mesh.classes for mesh in meshes if mesh.classes is not None]
    return Mesh(
        np.concatenate([mesh.positions for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.feature_ids for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
        np.concatenate(classes) if classes else None,
        meshes[0].palette,
    )
