"""Where the nodes of a glTF stand: their matrices in the scene, in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError
from tiles.three_d.glb_document import GlbDocument, ReadLimits

# Metres, and factors. What is larger can only overflow.
_FARTHEST = 1e12


class PlacedNode(NamedTuple):
    """A node with a mesh, and the matrix (4, 4; column vectors) from it to the scene."""

    node: dict[str, Any]
    matrix: NDArray[np.float64]


def placed_nodes(document: GlbDocument, limits: ReadLimits) -> Iterator[PlacedNode]:
    """The nodes of the scene that draw a mesh, in the order of the file. Raises GlbError for a circle or a missing node."""
    scenes, nodes = document.list_of("scenes"), document.list_of("nodes")
    if len(nodes) > limits.nodes:
        raise GlbError(f"the glb has {len(nodes)} nodes; at most {limits.nodes} are read")
    scene = (
        document.entry("scenes", document.json.get("scene", 0)) if scenes else {"nodes": range(len(nodes))}
    )
    waiting = [(number, np.eye(4)) for number in reversed(list(scene.get("nodes", [])))]
    seen: set[int] = set()
    while waiting:
        number, above = waiting.pop()
        node = document.entry("nodes", number)
        if number in seen:
            raise GlbError(f"node {number} of the glb stands in the scene twice; nodes form a tree")
        seen.add(number)
        matrix = above @ node_matrix(node)
        waiting.extend((child, matrix) for child in reversed(node.get("children", [])))
        if "mesh" in node:
            yield PlacedNode(node, matrix)


def node_matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """The local matrix of a node (4, 4). Raises GlbError where its numbers cannot be read."""
    try:
        if "matrix" in node:
            return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
        matrix = np.eye(4)
        rotation = np.array(node.get("rotation", (0.0, 0.0, 0.0, 1.0)), dtype=np.float64).reshape(1, 4)
        scale = np.array(node.get("scale", (1.0, 1.0, 1.0)), dtype=np.float64).reshape(3)
        matrix[:3, :3] = rotation_matrices(rotation)[0] * scale
        matrix[:3, 3] = np.array(node.get("translation", (0.0, 0.0, 0.0)), dtype=np.float64).reshape(3)
    except (TypeError, ValueError) as error:
        raise GlbError(f"the transform of a node cannot be read ({error})") from error
    if not (np.abs(matrix) < _FARTHEST).all():
        raise GlbError("the transform of a node has a number that is none, or is far beyond the globe")
    return matrix


def rotation_matrices(quaternions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices (n, 3, 3) of quaternions (n, 4; x, y, z, w), which are brought to length 1 first."""
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    x, y, z, w = (quaternions / np.where(length > 0.0, length, 1.0)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
