"""Nodes of a glTF scene: their tree, their matrices, and instances (glTF 2.0, clause 3.5; EXT_mesh_gpu_instancing)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.accessors import Accessors, Values
from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Gltf, is_index, object_of

_UNIT_TOLERANCE = 1e-3
_INSTANCES = {"TRANSLATION": ("VEC3", False), "ROTATION": ("VEC4", True), "SCALE": ("VEC3", False)}


class PlacedNode(NamedTuple):
    """A node with a mesh, and its matrix (4 x 4) to the scene."""

    node: dict[str, Any]
    matrix: NDArray[np.float64]


def placed_nodes(gltf: Gltf, findings: FileFindings) -> list[PlacedNode]:
    """Nodes with a mesh, following children from the scene."""
    nodes, scenes = gltf.list_of("nodes"), gltf.list_of("scenes")
    number = gltf.document.get("scene", 0)
    if scenes and not findings.require(
        is_index(number, len(scenes)), "gltf-node", f"scene {number!r} does not exist"
    ):
        return []
    if nodes and not scenes:
        findings.remark("gltf-node", "there is no scene, so nothing need be drawn")
    return [
        PlacedNode(nodes[node], matrix)
        for node, matrix in _walk(scenes[number].get("nodes", []) if scenes else [], nodes, findings)
        if "mesh" in nodes[node]
    ]


def _walk(
    start: list[Any], nodes: list[dict[str, Any]], findings: FileFindings
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    waiting: list[tuple[Any, NDArray[np.float64]]] = [(number, np.eye(4)) for number in start]
    seen: set[int] = set()
    while waiting:
        number, above = waiting.pop()
        if not is_index(number, len(nodes)):
            findings.add("gltf-node", f"node {number!r} does not exist")
            continue
        if not findings.require(
            number not in seen, "gltf-node", f"node {number} has two parents, or is in a circle"
        ):
            continue
        seen.add(number)
        matrix = above @ _matrix_of(nodes[number], findings)
        waiting.extend((child, matrix) for child in nodes[number].get("children", []))
        yield number, matrix


def _matrix_of(node: dict[str, Any], findings: FileFindings) -> NDArray[np.float64]:
    parts = node.keys() & {"translation", "rotation", "scale"}
    if "matrix" in node:
        findings.require(not parts, "gltf-node", f"a node has a matrix and {sorted(parts)}")
        numbers = _numbers(node["matrix"], 16, "matrix", findings)
        return np.eye(4) if numbers is None else numbers.reshape(4, 4).T
    translation, rotation, scale = (
        _numbers(node[name], size, name, findings) if name in node else None
        for name, size in (("translation", 3), ("rotation", 4), ("scale", 3))
    )
    if rotation is not None:
        length = float(np.linalg.norm(rotation))
        right = abs(length - 1.0) < _UNIT_TOLERANCE
        findings.require(right, "gltf-node", f"a rotation has length {length:.4f}")
    matrix: NDArray[np.float64] = _matrices(
        np.zeros((1, 3)) if translation is None else translation[None],
        np.array([[0.0, 0.0, 0.0, 1.0]]) if rotation is None else rotation[None],
        np.ones((1, 3)) if scale is None else scale[None],
    )[0]
    return matrix


def _numbers(value: Any, size: int, name: str, findings: FileFindings) -> NDArray[np.float64] | None:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    right = numbers.shape == (size,) and bool(np.isfinite(numbers).all())
    findings.require(right, "gltf-node", f"{name} of a node is not {size} numbers")
    return numbers if right else None


def _matrices(
    translations: NDArray[np.float64], rotations: NDArray[np.float64], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Matrices (n, 4, 4) that scale, turn (quaternions x, y, z, w) and move."""
    x, y, z, w = rotations.T
    columns = (
        (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)),
        (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w)),
        (2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)),
    )
    matrices = np.zeros((len(rotations), 4, 4))
    for column, values in enumerate(columns):
        matrices[:, :3, column] = np.stack(values, axis=1) * scales[:, column, None]
    matrices[:, :3, 3] = translations
    matrices[:, 3, 3] = 1.0
    return matrices


def instances_of(
    gltf: Gltf, node: dict[str, Any], accessors: Accessors, findings: FileFindings
) -> tuple[NDArray[np.float64], dict[str, Values]] | None:
    """Matrices (n, 4, 4) of a node's instances within it, and their attributes; None where it has none."""
    extension = object_of(object_of(node, "extensions"), "EXT_mesh_gpu_instancing")
    if not extension:
        return None
    attributes: dict[str, Values] = {}
    for name, number in object_of(extension, "attributes").items():
        values = accessors.read(number)
        if values is not None:
            attributes[name] = values
            _check_attribute(gltf, name, number, values, findings)
    counts = {len(values.values) for values in attributes.values()}
    if not findings.require(
        len(counts) == 1,
        "gltf-instances",
        f"instance attributes have {sorted(counts)} entries, not one number",
    ):
        return None
    (count,) = counts
    findings.count("instances", count)
    shapes = {"TRANSLATION": (0.0,) * 3, "ROTATION": (0.0, 0.0, 0.0, 1.0), "SCALE": (1.0,) * 3}
    parts = [
        attributes[name].values.astype(np.float64)
        if name in attributes and attributes[name].values.shape[1] == len(neutral)
        else np.tile(np.array(neutral), (count, 1))
        for name, neutral in shapes.items()
    ]
    return _matrices(*parts), attributes


def _check_attribute(gltf: Gltf, name: str, number: int, values: Values, findings: FileFindings) -> None:
    if name not in _INSTANCES:
        findings.require(name.startswith("_"), "gltf-instances", f"{name} is no attribute of instances")
        return
    shape, small = _INSTANCES[name]
    accessor = gltf.list_of("accessors")[number]
    whole = values.stored.dtype.kind == "i" and values.normalized and small
    right = accessor.get("type") == shape and (values.stored.dtype.kind == "f" or whole)
    findings.require(right, "gltf-instances", f"{name} is {accessor.get('type')} of {values.stored.dtype}")
    if not findings.require(
        bool(np.isfinite(values.values).all()), "gltf-instances", f"a {name} is not a number"
    ):
        return
    if name == "ROTATION" and right:
        worst = float(np.abs(np.linalg.norm(values.values, axis=1) - 1.0).max())
        findings.require(worst < 0.02, "gltf-instances", f"a ROTATION's length is off by {worst:.3f}")
