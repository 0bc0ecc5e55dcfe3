"""A glTF asset as the content of a tile: everything inside it, and where its vertices are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.accessors import Accessors
from tiles.three_d.check.features import check_feature_ids, check_instance_ids, check_metadata
from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Gltf, Resource, is_index, read_gltf
from tiles.three_d.check.materials import check_materials
from tiles.three_d.check.nodes import PlacedNode, instances_of, placed_nodes
from tiles.three_d.check.primitives import Geometry, read_primitive
from tiles.three_d.check.property_table import Table

# From glTF's axes to the z-up of 3D Tiles: y is up, unless an old tileset says another axis (asset.gltfUpAxis).
UP_AXES = {
    "X": np.array([[0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
    "Y": np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
    "Z": np.eye(4),
}
# Of more placed vertices than these, only those are kept that lie farthest out.
_MOST_POINTS = 400_000
_DIRECTIONS = 128


class Shape(NamedTuple):
    """Vertices (n, 3) in the tile's frame (z up), and how far (m) they may be off by their own rounding."""

    points: NDArray[np.float64]
    slack: float


def model_shapes(
    content: bytes,
    resource: Resource,
    findings: FileFindings,
    *,
    up: str = "Y",
    batch_length: int | None = None,
) -> Iterator[Shape]:
    """Check a .glb or .gltf and give its vertices. `batch_length`: how many features the ids of a b3dm may name."""
    gltf = read_gltf(content, resource, findings)
    if gltf is None:
        return
    gltf.check()
    check_materials(gltf, findings)
    tables = check_metadata(gltf, findings)
    accessors = Accessors(gltf, findings)
    meshes = [
        [
            found
            for primitive in mesh.get("primitives", [])
            if (found := _check_primitive(gltf, accessors, primitive, tables, batch_length, findings))
        ]
        for mesh in gltf.list_of("meshes")
    ]
    frame = UP_AXES.get(up, UP_AXES["Y"]).copy()
    center = gltf.extension("CESIUM_RTC").get("center")
    if center is not None:
        frame[:3, 3] = center
    for node in placed_nodes(gltf, findings):
        if findings.require(
            is_index(node.node["mesh"], len(meshes)),
            "gltf-node",
            f"a node points to mesh {node.node['mesh']!r}",
        ):
            yield from _placed(gltf, accessors, node, meshes[node.node["mesh"]], tables, frame, findings)


def _check_primitive(
    gltf: Gltf,
    accessors: Accessors,
    primitive: Any,
    tables: list[Table],
    batch_length: int | None,
    findings: FileFindings,
) -> Geometry | None:
    if not isinstance(primitive, dict):
        findings.add("gltf-primitive", "a primitive is no object")
        return None
    geometry = read_primitive(gltf, accessors, primitive, findings)
    if geometry is None:
        return None
    check_feature_ids(gltf, primitive, geometry.attributes, tables, findings)
    if batch_length is not None:
        _check_batch_ids(geometry, batch_length, findings)
    return geometry


def _check_batch_ids(geometry: Geometry, batch_length: int, findings: FileFindings) -> None:
    values = geometry.attributes.get("_BATCHID") or geometry.attributes.get("BATCHID")
    if values is None:
        # Without ids everything belongs to the first feature, if there is one.
        findings.require(
            batch_length <= 1, "b3dm-batch", f"no _BATCHID in a primitive, BATCH_LENGTH is {batch_length}"
        )
        return
    low, high = float(values.stored.min()), float(values.stored.max())
    inside = low >= 0 and high < max(batch_length, 1)
    findings.require(inside, "b3dm-batch", f"_BATCHID {low:g} to {high:g}, BATCH_LENGTH is {batch_length}")


def _placed(
    gltf: Gltf,
    accessors: Accessors,
    node: PlacedNode,
    geometries: list[Geometry],
    tables: list[Table],
    frame: NDArray[np.float64],
    findings: FileFindings,
) -> Iterator[Shape]:
    found = instances_of(gltf, node.node, accessors, findings)
    if found is None:
        for geometry in geometries:
            yield _shape(geometry, (frame @ node.matrix)[None])
        return
    matrices, attributes = found
    check_instance_ids(node.node, attributes, tables, findings)
    for geometry in geometries:
        yield _shape(geometry, frame @ node.matrix @ matrices)


def _shape(geometry: Geometry, matrices: NDArray[np.float64]) -> Shape:
    """A geometry at one or many places (n, 4, 4)."""
    return place(_distinct(geometry.positions), geometry.steps, matrices)


def place(points: NDArray[np.float64], step: float, matrices: NDArray[np.float64]) -> Shape:
    """Points (m, 3) at n places (n, 4, 4), or, where that were too many, those of them that lie farthest out."""
    if len(points) * len(matrices) > _MOST_POINTS:
        points = _outermost(points)
    scale = float(np.linalg.norm(matrices[:, :3, :3], axis=1).max())
    placed = np.concatenate(
        [
            (points @ matrix[:, :3, :3].transpose(0, 2, 1) + matrix[:, None, :3, 3]).reshape(-1, 3)
            for matrix in np.array_split(matrices, max(1, len(matrices) // 4096))
        ]
    )
    return Shape(placed, step * scale)


def _distinct(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions without repetitions where these are cheap to find (16-bit integers)."""
    if not len(positions) or np.abs(positions).max() > 65535 or (positions[:100] % 1.0).any():
        return positions
    whole = positions.astype(np.int64)
    if (whole != positions).any():
        return positions
    x, y, z = (whole + 65536).T
    packed = np.unique((x << 36) | (y << 18) | z)
    unpacked = np.column_stack((packed >> 36, (packed >> 18) & 0x3FFFF, packed & 0x3FFFF)) - 65536
    return unpacked.astype(np.float64)


def _outermost(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The farthest point in each of many directions."""
    turns = np.arange(_DIRECTIONS) * np.pi * (3.0 - np.sqrt(5.0))
    z = 1.0 - 2.0 * (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS
    across = np.sqrt(1.0 - z * z)
    directions = np.stack((across * np.cos(turns), across * np.sin(turns), z))
    directions = np.concatenate((directions, np.eye(3), -np.eye(3)), axis=1)
    kept: NDArray[np.float64] = points[np.unique(np.argmax(points @ directions, axis=0))]
    return kept
