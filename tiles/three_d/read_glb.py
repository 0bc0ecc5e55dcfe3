"""A glb read back into what `write_tile` takes: frame, parts, property table. For tiles of ours, and for models of users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.errors import GlbError
from tiles.three_d.glb_document import GlbDocument, ReadLimits
from tiles.three_d.glb_nodes import PlacedNode, placed_nodes, rotation_matrices
from tiles.three_d.mesh import Mesh, SurfaceClass
from tiles.three_d.objects import InstancePart, MeshPart, Part
from tiles.three_d.placement import LocalFrame, Positions
from tiles.three_d.read_primitives import PrimitiveReader, ReadPrimitive
from tiles.three_d.read_tables import read_table

TILE_LIMITS = ReadLimits()
MODEL_LIMITS = ReadLimits(bytes=32 << 20, vertices=500_000, instances=10_000, nodes=10_000)
# glTF's y-up to the z-up of 3D Tiles: (x, y, z) -> (x, -z, y).
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
# A node that stands farther from the origin than this lies on the globe, not around a model's own origin.
_ON_THE_GLOBE = 100_000.0
_SURFACE_TABLE = 1


@dataclass(frozen=True, slots=True)
class TileContents:
    """What a glb holds. `parts` lie in `frame`; their feature ids are rows of `table`, -1 where there are none."""

    frame: LocalFrame
    parts: tuple[Part, ...]
    table: PropertyTable | None
    attribution: str = ""

    def triangles(self) -> tuple[Positions, NDArray[np.int64]]:
        """All triangles: corners (t, 3, 3) in ECEF and feature ids (t,), with the instances made triangles too."""
        meshes = [part.mesh for part in flattened(self.parts)]
        if not meshes:
            return np.empty((0, 3, 3)), np.empty(0, dtype=np.int64)
        corners = [self.frame.to_ecef(mesh.positions[mesh.triangles.ravel()]) for mesh in meshes]
        ids = [mesh.feature_ids[mesh.triangles[:, 0]] for mesh in meshes]
        return np.concatenate(corners).reshape(-1, 3, 3), np.concatenate(ids)


def read_glb(content: bytes, limits: ReadLimits = TILE_LIMITS) -> TileContents:
    """Decode a glb: quantisation, Draco and node transforms are undone. Points and lines are left out.

    Raises GlbError where it is no glb, is broken, keeps data in other files, or holds more than `limits`.
    """
    document = GlbDocument.parse(content, limits)
    try:
        return _read(document, limits)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        # The JSON is anyone's: a list where an object should be, a text where a number should be.
        raise GlbError(f"the glb is not built as glTF 2.0 says ({type(error).__name__}: {error})") from error


def read_model(content: bytes, limits: ReadLimits = MODEL_LIMITS) -> tuple[MeshPart, ...]:
    """A user's .glb as the model of instances: metres around its own origin, z up, feature ids 0.

    Raises GlbError where it cannot be read or draws nothing.
    """
    contents = read_glb(content, limits)
    parts = flattened(contents.parts)
    if not parts:
        raise GlbError("the model draws no triangles; give a .glb with a mesh")
    if float(np.linalg.norm(contents.frame.origin)) > 0.0:
        raise GlbError("the model stands on the globe; a model for instances lies around its own origin")
    return tuple(
        replace(
            part,
            mesh=replace(
                part.mesh, feature_ids=np.zeros_like(part.mesh.feature_ids), classes=None, palette=()
            ),
        )
        for part in parts
    )


def flattened(parts: tuple[Part, ...] | list[Part]) -> list[MeshPart]:
    """The parts with every instance as a mesh of its own."""
    found: list[MeshPart] = []
    for part in parts:
        found += [part] if isinstance(part, MeshPart) else [_flat(part, piece) for piece in part.model]
    return found


def _flat(part: InstancePart, piece: MeshPart) -> MeshPart:
    """One piece of a model, at all its places."""
    count, vertices = len(part.positions), len(piece.mesh.positions)
    rotations = rotation_matrices(part.rotations)
    linear = rotations * part.scales[:, None, :]
    positions = np.einsum("nij,vj->nvi", linear, piece.mesh.positions) + part.positions[:, None, :]
    scales = np.where(part.scales == 0.0, 1.0, part.scales)
    normals = np.einsum("nij,vj->nvi", rotations / scales[:, None, :], piece.mesh.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    triangles = piece.mesh.triangles + np.arange(count)[:, None, None] * vertices
    mirrored = part.scales.prod(axis=1) < 0.0
    triangles[mirrored] = triangles[mirrored][:, :, ::-1]
    coordinates = piece.texture_coordinates
    return MeshPart(
        Mesh(
            positions.reshape(-1, 3),
            normals.reshape(-1, 3),
            np.repeat(part.feature_ids, vertices),
            triangles.reshape(-1, 3),
        ),
        piece.material,
        None if coordinates is None else np.tile(coordinates, (count, 1)),
    )


def _read(document: GlbDocument, limits: ReadLimits) -> TileContents:
    reader = PrimitiveReader(document, limits)
    placed = list(placed_nodes(document, limits))
    frame = _frame_of(placed)
    surfaces = _surface_names(document)
    parts: list[Part] = []
    for place in placed:
        to_frame = _to_frame(place.matrix, frame)
        primitives = document.entry("meshes", place.node["mesh"]).get("primitives", [])
        found = [read for primitive in primitives if (read := reader.read(primitive)) is not None]
        instancing = place.node.get("extensions", {}).get("EXT_mesh_gpu_instancing")
        if instancing is None:
            parts += [_mesh_part(primitive, to_frame, surfaces) for primitive in found]
        elif found:
            parts.append(_instance_part(document, place.node, found, to_frame, limits))
    attribution = document.json.get("asset", {}).get("copyright", "")
    return TileContents(frame, tuple(parts), read_table(document), str(attribution))


def _frame_of(placed: list[PlacedNode]) -> LocalFrame:
    """The local frame of a tile: that of its first node on the globe. Of a model: its own axes, turned z up."""
    for place in placed:
        origin = Z_UP @ place.matrix[:3, 3]
        if float(np.linalg.norm(origin)) < _ON_THE_GLOBE:
            continue
        linear = place.matrix[:3, :3]
        axes = (Z_UP @ (linear / np.linalg.norm(linear, axis=0)) @ Z_UP.T).T
        straight = np.allclose(axes @ axes.T, np.eye(3), atol=1e-6) and np.linalg.det(axes) > 0.0
        return LocalFrame(origin, axes if straight else np.eye(3))
    return LocalFrame(np.zeros(3), np.eye(3))


def _to_frame(matrix: NDArray[np.float64], frame: LocalFrame) -> NDArray[np.float64]:
    """From a node's y-up coordinates to the frame (4, 4). The large numbers are taken off before anything is multiplied."""
    found = np.eye(4)
    found[:3, :3] = frame.axes @ Z_UP @ matrix[:3, :3]
    found[:3, 3] = frame.axes @ (Z_UP @ matrix[:3, 3] - frame.origin)
    return found


def _mesh_part(primitive: ReadPrimitive, matrix: NDArray[np.float64], surfaces: tuple[str, ...]) -> MeshPart:
    linear = matrix[:3, :3]
    triangles = primitive.triangles if np.linalg.det(linear) > 0.0 else primitive.triangles[:, ::-1]
    classes: NDArray[np.uint8] | None = None
    palette: tuple[SurfaceClass, ...] = ()
    material = primitive.material
    if primitive.surface_ids is not None and surfaces:
        classes, palette = _classes(primitive.surface_ids, primitive.colours, surfaces)
    elif primitive.colours is not None:
        mean = primitive.colours[:, :3].mean(axis=0) * material.colour[:3]
        material = replace(
            material, colour=(float(mean[0]), float(mean[1]), float(mean[2]), material.colour[3])
        )
    mesh = Mesh(
        primitive.positions @ np.ascontiguousarray(linear.T) + matrix[:3, 3],
        _turned(primitive.normals, linear),
        primitive.feature_ids,
        triangles,
        classes,
        palette,
    )
    return MeshPart(mesh, material, primitive.texture_coordinates)


def _turned(normals: NDArray[np.float64], linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normals by the inverse transpose of a matrix (its cofactors, which also exist where it flattens), of length 1."""
    cofactors = np.stack(
        [np.cross(linear[1], linear[2]), np.cross(linear[2], linear[0]), np.cross(linear[0], linear[1])]
    )
    if np.linalg.det(linear) < 0.0:
        cofactors = -cofactors
    found = normals @ np.ascontiguousarray(cofactors.T)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.where(length > 0.0, found / np.where(length > 0.0, length, 1.0), [0.0, 0.0, 1.0]))


def _surface_names(document: GlbDocument) -> tuple[str, ...]:
    """The kinds of surfaces of a tile of ours: the only text column of its second table."""
    table = read_table(document, _SURFACE_TABLE)
    if table is None or not table.columns or table.columns[0].offsets is None:
        return ()
    column = table.columns[0]
    assert column.offsets is not None
    limits, text = column.offsets.tolist(), column.values.tobytes()
    return tuple(text[start:stop].decode("utf-8", "replace") for start, stop in pairwise(limits))


def _classes(
    ids: NDArray[np.int64], colours: NDArray[np.float64] | None, names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], tuple[SurfaceClass, ...]]:
    """Classes of vertices, and the palette with the colours that vertices of each class have."""
    if ids.min() < 0 or ids.max() >= min(len(names), 256):
        raise GlbError(f"a surface id is outside the {len(names)} kinds of surfaces of the glb")
    shades = np.ones((len(names), 3))
    if colours is not None:
        present, first = np.unique(ids, return_index=True)
        shades[present] = colours[first, :3]
    palette = tuple(
        SurfaceClass(name, (red, green, blue))
        for name, (red, green, blue) in zip(names, shades.tolist(), strict=True)
    )
    return ids.astype(np.uint8), palette


def _instance_part(
    document: GlbDocument,
    node: dict[str, Any],
    primitives: list[ReadPrimitive],
    matrix: NDArray[np.float64],
    limits: ReadLimits,
) -> InstancePart:
    """The instances of one node. Raises GlbError where the node's own matrix scales or shears them."""
    attributes = node["extensions"]["EXT_mesh_gpu_instancing"].get("attributes", {})
    values = {name: document.numbers(number, limits.instances) for name, number in attributes.items()}
    counts = {len(array) for array in values.values()}
    if len(counts) != 1:
        raise GlbError("the attributes of instances have different lengths, or there are none")
    count = counts.pop()
    linear = matrix[:3, :3]
    factor = float(np.cbrt(abs(np.linalg.det(linear))))
    turn = linear @ Z_UP.T / max(factor, 1e-12)
    if not np.allclose(turn, np.eye(3), atol=1e-6):
        raise GlbError("the instances of a node stand in a frame of their own; only that of the tile is read")
    translations = values.get("TRANSLATION", np.zeros((count, 3))) @ Z_UP.T * factor + matrix[:3, 3]
    rotations = values.get("ROTATION", np.tile([0.0, 0.0, 0.0, 1.0], (count, 1)))
    rotations = rotations[:, [0, 2, 1, 3]] * np.array([1.0, -1.0, 1.0, 1.0])
    rotations /= np.maximum(np.linalg.norm(rotations, axis=1, keepdims=True), 1e-12)
    scales = values.get("SCALE", np.ones((count, 3)))[:, [0, 2, 1]] * factor
    upright = np.eye(4)
    upright[:3, :3] = Z_UP
    model = tuple(
        replace(part, mesh=replace(part.mesh, feature_ids=np.zeros_like(part.mesh.feature_ids)))
        for part in (_mesh_part(primitive, upright, ()) for primitive in primitives)
    )
    return InstancePart(model, translations, rotations, scales, _instance_ids(node, values, count))


def _instance_ids(
    node: dict[str, Any], values: dict[str, NDArray[np.float64]], count: int
) -> NDArray[np.int64]:
    entries = node["extensions"].get("EXT_instance_features", {}).get("featureIds", [])
    for entry in entries:
        if entry.get("propertyTable", 0) == 0:
            if "attribute" not in entry:
                return np.arange(count, dtype=np.int64)
            return np.rint(values[f"_FEATURE_ID_{entry['attribute']}"][:, 0]).astype(np.int64)
    return np.full(count, -1, dtype=np.int64)
