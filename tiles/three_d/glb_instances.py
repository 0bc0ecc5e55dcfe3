"""Models drawn many times inside a glb (EXT_mesh_gpu_instancing, EXT_instance_features)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError
from tiles.three_d.glb_buffer import ARRAY_BUFFER, SHORT, GlbBuffer
from tiles.three_d.glb_materials import GlbMaterials
from tiles.three_d.glb_primitives import write_model_primitive
from tiles.three_d.objects import InstancePart, MeshPart
from tiles.three_d.placement import LocalFrame, y_up

_UPRIGHT = np.array([0, 0, 0, 32767])


def write_instances(
    buffer: GlbBuffer,
    materials: GlbMaterials,
    meshes: list[dict[str, Any]],
    parts: list[InstancePart],
    frame: LocalFrame,
    feature_count: int,
) -> list[dict[str, Any]]:
    """The nodes of instances, one a model; models are appended to `meshes`.

    Positions are 32-bit floats around the frame's origin (1 mm within 8 km), rotations 16 bits, and scales are left out where all are 1.
    """
    translation, rotation = frame.node_transform()
    nodes = []
    for part in _one_a_model(parts):
        if not (np.isfinite(part.positions).all() and np.isfinite(part.scales).all()):
            raise GlbError(
                "an instance has no place or size; objects like that have to be left out and reported"
            )
        primitives = [
            write_model_primitive(buffer, materials, piece)
            for piece in part.model
            if len(piece.mesh.triangles)
        ]
        if not primitives:
            continue
        meshes.append({"primitives": primitives})
        attributes = {"TRANSLATION": buffer.vectors(y_up(part.positions))}
        rotations = _rotations(part.rotations)
        if not (np.abs(rotations) == _UPRIGHT).all():
            view = buffer.view(rotations.tobytes(), target=ARRAY_BUFFER, stride=8)
            attributes["ROTATION"] = buffer.accessor(view, SHORT, len(rotations), "VEC4", normalized=True)
        if not (part.scales == 1.0).all():
            attributes["SCALE"] = buffer.vectors(part.scales[:, [0, 2, 1]])
        attributes["_FEATURE_ID_0"] = buffer.feature_ids(part.feature_ids)
        ids = {"featureCount": feature_count, "attribute": 0, "propertyTable": 0}
        nodes.append(
            {
                "mesh": len(meshes) - 1,
                "translation": translation,
                "rotation": rotation,
                "extensions": {
                    "EXT_mesh_gpu_instancing": {"attributes": attributes},
                    "EXT_instance_features": {"featureIds": [ids]},
                },
            }
        )
    return nodes


def _one_a_model(parts: list[InstancePart]) -> list[InstancePart]:
    """The parts, those of the very same model joined."""
    groups: dict[tuple[int, ...], list[InstancePart]] = {}
    for part in parts:
        groups.setdefault(tuple(_identity(piece) for piece in part.model), []).append(part)
    return [
        group[0]
        if len(group) == 1
        else replace(
            group[0],
            positions=np.concatenate([part.positions for part in group]),
            rotations=np.concatenate([part.rotations for part in group]),
            scales=np.concatenate([part.scales for part in group]),
            feature_ids=np.concatenate([part.feature_ids for part in group]),
        )
        for group in groups.values()
    ]


def _identity(piece: MeshPart) -> int:
    """Arrays are compared by being the same: a source gives each model once."""
    return id(piece)


def _rotations(rotations: NDArray[np.float64]) -> NDArray[np.int16]:
    """Quaternions (n, 4) about east, north, up as normalised 16-bit ones about glTF's axes."""
    turned = rotations[:, [0, 2, 1, 3]] * np.array([1.0, 1.0, -1.0, 1.0])
    return np.asarray(np.rint(turned * 32767.0), dtype=np.int16)
