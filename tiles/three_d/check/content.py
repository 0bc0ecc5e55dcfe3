"""One .glb as the content of a tile: everything inside it, and whether the tile's bounding volume holds it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import (
    Glb,
    check_document,
    check_unit_normals,
    check_vertex_alignment,
    read_accessor,
    read_glb,
)
from tiles.three_d.check.metadata import check_feature_ids, check_property_tables
from tiles.three_d.check.volumes import Volume, farthest_outside

# glTF's y-up to the z-up of 3D Tiles.
_Z_UP = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
# Metres a vertex may stand out beside the rounding of its own positions.
_TOLERANCE = 0.02


def check_content(
    content: bytes, volume: Volume | None, transform: NDArray[np.float64], findings: FileFindings
) -> None:
    """Check a .glb. `transform` (4 x 4, column vectors) leads from the tile to the globe; `volume` None: not checked.

    A region bounds the content on the globe, a box or sphere in the tile's own frame (OGC 22-025r4 clause 7.3.2).
    """
    glb = read_glb(content, findings)
    if glb is None:
        return
    check_document(glb, findings)
    counts = check_property_tables(glb, findings)
    frame = transform @ _Z_UP if volume is not None and volume.kind == "region" else _Z_UP
    meshes = glb.list_of("meshes")
    for node, matrix in _placed_nodes(glb, findings):
        number = node.get("mesh")
        if not isinstance(number, int) or not 0 <= number < len(meshes):
            findings.add("gltf-node", f"a node points to mesh {number!r}")
            continue
        for primitive in meshes[number].get("primitives", []):
            positions = _check_primitive(glb, primitive, counts, findings)
            if positions is not None and volume is not None:
                step = float(np.linalg.norm(matrix[:3, :3], axis=0).max())
                slack = _TOLERANCE + (step if positions.dtype.kind in "iu" else 0.0)
                world = _apply(frame @ matrix, _distinct(positions))
                outside = farthest_outside(volume, world)
                findings.require(
                    outside <= slack,
                    "volume-content",
                    f"a vertex lies {outside:.3f} m outside the bounding volume",
                )


def _check_primitive(
    glb: Glb, primitive: dict[str, Any], counts: list[int], findings: FileFindings
) -> NDArray[Any] | None:
    attributes = primitive.get("attributes", {})
    positions = read_accessor(glb, attributes.get("POSITION"), findings)
    if positions is None:
        return None
    accessor = glb.list_of("accessors")[attributes["POSITION"]]
    bounded = "min" in accessor and "max" in accessor
    findings.require(bounded, "gltf-accessor-bounds", "POSITION has no min and max")
    quantised = positions.dtype.kind in "iu"
    declared = "KHR_mesh_quantization" in glb.document.get("extensionsRequired", [])
    findings.require(
        declared or not quantised, "gltf-extensions", "integer positions need KHR_mesh_quantization"
    )
    finite = bool(np.isfinite(positions).all())
    findings.require(finite, "gltf-positions", "a position is not a number")
    for name, number in attributes.items():
        values = read_accessor(glb, number, findings)
        if values is None:
            continue
        check_vertex_alignment(glb, name, number, findings)
        same = len(values) == len(positions)
        findings.require(same, "gltf-attributes", f"{name} has {len(values)} of {len(positions)} vertices")
        if name == "NORMAL":
            check_unit_normals(values, findings)
    _check_triangles(glb, primitive, len(positions), findings)
    check_feature_ids(glb, primitive, counts, findings)
    return positions if finite else None


def _check_triangles(glb: Glb, primitive: dict[str, Any], count: int, findings: FileFindings) -> None:
    corners = count
    if "indices" in primitive:
        indices = read_accessor(glb, primitive["indices"], findings)
        if indices is None:
            return
        corners = len(indices)
        highest = int(indices.max())
        findings.require(highest < count, "gltf-indices", f"index {highest} of {count} vertices")
    if primitive.get("mode", 4) == 4:
        findings.require(corners % 3 == 0, "gltf-indices", f"{corners} corners are no triangles")


def _placed_nodes(glb: Glb, findings: FileFindings) -> list[tuple[dict[str, Any], NDArray[np.float64]]]:
    """Nodes with a mesh and their matrix to the scene, following children."""
    nodes, scenes = glb.list_of("nodes"), glb.list_of("scenes")
    start = scenes[glb.document.get("scene", 0)].get("nodes", []) if scenes else []
    waiting: list[tuple[Any, NDArray[np.float64]]] = [(number, np.eye(4)) for number in start]
    placed: list[tuple[dict[str, Any], NDArray[np.float64]]] = []
    for _ in range(len(nodes) + 1):
        if not waiting:
            return placed
        number, above = waiting.pop()
        if not isinstance(number, int) or not 0 <= number < len(nodes):
            findings.add("gltf-node", f"node {number!r} does not exist")
            continue
        matrix = above @ _matrix_of(nodes[number], findings)
        waiting.extend((child, matrix) for child in nodes[number].get("children", []))
        if "mesh" in nodes[number]:
            placed.append((nodes[number], matrix))
    findings.add("gltf-node", "the nodes form a circle")
    return placed


def _matrix_of(node: dict[str, Any], findings: FileFindings) -> NDArray[np.float64]:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    length = x * x + y * y + z * z + w * w
    findings.require(abs(length - 1.0) < 1e-6, "gltf-node", f"rotation has length {length:.6f}")
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def _distinct(positions: NDArray[Any]) -> NDArray[np.float64]:
    """Positions without repetitions where these are cheap to find (16-bit integers), as float64."""
    if positions.dtype.kind not in "iu" or positions.dtype.itemsize > 2:
        return positions.astype(np.float64)
    lowest = 0 if positions.dtype.kind == "u" else -32768
    x, y, z = (positions[:, axis].astype(np.int64) - lowest for axis in range(3))
    packed = np.unique((x << 32) | (y << 16) | z)
    return (
        np.column_stack((packed >> 32, (packed >> 16) & 0xFFFF, packed & 0xFFFF)).astype(np.float64) + lowest
    )


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
