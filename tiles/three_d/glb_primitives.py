"""Triangles of one material as a glTF primitive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.glb_buffer import (
    ARRAY_BUFFER,
    FLOAT,
    SHORT,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    UNSIGNED_SHORT,
    GlbBuffer,
    feature_id_type,
    limits_of,
)
from tiles.three_d.glb_materials import GlbMaterials, write_texture_coordinates
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import MeshPart
from tiles.three_d.placement import y_up

# A finer step than a centimetre only costs bytes; a coarser one than 4 cm is seen, so wide tiles keep 32-bit floats.
FINEST_STEP = 0.01
COARSEST_STEP = 0.04
_INT16_MAX = 32767
FEATURE_IDS, SURFACE_IDS = "_FEATURE_ID_0", "_FEATURE_ID_1"
PLAIN_STEP = 0.001
# Corners a vertex may be repeated for, on average, before indices are kept.
_MOST_REPEATED = 1.8


class Placement(NamedTuple):
    """How the positions of a tile are stored: in 16-bit steps of `step` metres, or as floats where it is too wide for that.

    `plain`: for clients that know no quantisation all vertex attributes but ids and colours are 32-bit floats.
    """

    step: float
    quantised: bool
    plain: bool = False

    @classmethod
    def reaching(cls, reach: float) -> Placement:
        """The placement of positions up to `reach` metres from the frame's origin on any axis."""
        step = max(FINEST_STEP, reach / _INT16_MAX)
        return cls(step, True) if step <= COARSEST_STEP else cls(FINEST_STEP, False)


PLAIN = Placement(PLAIN_STEP, False, plain=True)


class LaidOut(NamedTuple):
    """A part with its triangles in the order of features. `indexed`: its vertices are shared by index."""

    part: MeshPart
    indexed: bool


def lay_out(part: MeshPart, *, keep_indices: bool = False) -> LaidOut:
    """The part with its triangles in the order of features, and whether it keeps indices.

    Flat-shaded meshes share few vertices; written out without indices they are a third larger in memory and a quarter
    smaller on the wire, for deflate folds repeated vertices but not running numbers (docs/decisions/0005).
    """
    mesh, coordinates = part.mesh, part.texture_coordinates
    owner = mesh.feature_ids[mesh.triangles[:, 0]]
    triangles = mesh.triangles
    if (owner[1:] < owner[:-1]).any():
        triangles = triangles[np.argsort(owner, kind="stable")]
    if keep_indices or triangles.size > _MOST_REPEATED * len(mesh.positions):
        return LaidOut(replace(part, mesh=replace(mesh, triangles=triangles)), True)
    corners = triangles.ravel()
    if corners.size == len(mesh.positions) and (corners == np.arange(corners.size)).all():
        return LaidOut(part, False)
    flat = Mesh(
        mesh.positions[corners],
        mesh.normals[corners],
        mesh.feature_ids[corners],
        np.arange(corners.size).reshape(-1, 3),
        None if mesh.classes is None else mesh.classes[corners],
        mesh.palette,
    )
    return LaidOut(
        MeshPart(flat, part.material, None if coordinates is None else coordinates[corners]), False
    )


def write_primitive(
    buffer: GlbBuffer,
    materials: GlbMaterials,
    laid_out: LaidOut,
    placement: Placement,
    palette_rows: NDArray[np.int64] | None,
    *,
    draco: bool = False,
    ids_name: str = FEATURE_IDS,
) -> dict[str, Any]:
    """The primitive of a part. `palette_rows`: rows of the tile's palette table for the classes of its mesh.

    `ids_name`: the attribute of the feature ids; where it is not ours (3D Tiles 1.0), the classes have none.
    """
    part = laid_out.part
    classes = None if palette_rows is None or part.mesh.classes is None else palette_rows[part.mesh.classes]
    # A texture is the look of a surface; its class then only is what picking tells.
    colours = None if classes is None or part.texture_coordinates is not None else _colours(part.mesh)
    if draco:
        return _compressed(buffer, materials, part, placement, classes, colours)
    attributes = {
        "POSITION": _positions(buffer, part.mesh, placement),
        "NORMAL": _normals(buffer, part.mesh, placement),
    }
    transform = None
    if part.texture_coordinates is not None and placement.plain:
        attributes["TEXCOORD_0"] = buffer.vectors(part.texture_coordinates)
    elif part.texture_coordinates is not None:
        attributes["TEXCOORD_0"], transform = write_texture_coordinates(buffer, part.texture_coordinates)
    attributes[ids_name] = buffer.feature_ids(part.mesh.feature_ids)
    if colours is not None:
        view = buffer.view(colours.tobytes(), target=ARRAY_BUFFER, stride=4)
        attributes["COLOR_0"] = buffer.accessor(view, UNSIGNED_BYTE, len(colours), "VEC3", normalized=True)
    if classes is not None and ids_name == FEATURE_IDS:
        attributes[SURFACE_IDS] = buffer.feature_ids(classes)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "material": materials.number(part.material, coloured=colours is not None, transform=transform),
        "mode": 4,
    }
    if laid_out.indexed:
        primitive["indices"] = buffer.indices(part.mesh.triangles, len(part.mesh.positions))
    return primitive


def _positions(buffer: GlbBuffer, mesh: Mesh, placement: Placement) -> int:
    """POSITION: int16 steps with the step as the node's scale, or floats in metres."""
    points = y_up(mesh.positions)
    if not placement.quantised:
        return buffer.vectors(points, bounded=True)
    packed = np.zeros((len(points), 4), dtype="<i2")
    packed[:, :3] = np.rint(points / placement.step)
    view = buffer.view(packed.tobytes(), target=ARRAY_BUFFER, stride=8)
    return buffer.accessor(view, SHORT, len(points), "VEC3", **limits_of(packed[:, :3]))


def _normals(buffer: GlbBuffer, mesh: Mesh, placement: Placement) -> int:
    return buffer.vectors(y_up(mesh.normals)) if placement.plain else buffer.normals(mesh.normals)


def _colours(mesh: Mesh) -> NDArray[np.uint8]:
    """Colours (v, 4) of the classes of a mesh; the fourth byte only fills."""
    shades = np.zeros((len(mesh.palette), 4), dtype=np.uint8)
    shades[:, :3] = np.rint(np.array([entry.colour for entry in mesh.palette]) * 255.0)
    return np.asarray(shades[mesh.classes], dtype=np.uint8)


def _compressed(
    buffer: GlbBuffer,
    materials: GlbMaterials,
    part: MeshPart,
    placement: Placement,
    classes: NDArray[np.int64] | None,
    colours: NDArray[np.uint8] | None,
) -> dict[str, Any]:
    """The primitive by Draco: its accessors only describe, the values lie in one buffer view."""
    from tiles.three_d.draco import encode_draco

    mesh = part.mesh
    ids: dict[str, NDArray[Any]] = {}
    components: dict[str, int] = {}
    for name, rows in ((FEATURE_IDS, mesh.feature_ids), (SURFACE_IDS, classes)):
        if rows is not None:
            kind, components[name] = feature_id_type(int(rows.max()))
            ids[name] = rows.astype(kind)
    packed = encode_draco(
        mesh.triangles,
        y_up(mesh.positions),
        y_up(mesh.normals),
        ids,
        step=placement.step,
        texture_coordinates=part.texture_coordinates,
        colours=None if colours is None else np.ascontiguousarray(colours[:, :3]),
    )
    count = packed.vertices
    attributes = {
        "POSITION": buffer.accessor(None, FLOAT, count, "VEC3", min=packed.low, max=packed.high),
        "NORMAL": buffer.accessor(None, FLOAT, count, "VEC3"),
    }
    if part.texture_coordinates is not None:
        attributes["TEXCOORD_0"] = buffer.accessor(None, FLOAT, count, "VEC2")
    for name, component in components.items():
        attributes[name] = buffer.accessor(None, component, count, "SCALAR")
    if colours is not None:
        attributes["COLOR_0"] = buffer.accessor(None, UNSIGNED_BYTE, count, "VEC3", normalized=True)
    extension = {"bufferView": buffer.view(packed.content), "attributes": packed.ids}
    return {
        "attributes": attributes,
        "indices": buffer.accessor(
            None, UNSIGNED_SHORT if count <= 0xFFFF else UNSIGNED_INT, packed.corners, "SCALAR"
        ),
        "material": materials.number(part.material, coloured=colours is not None),
        "mode": 4,
        "extensions": {"KHR_draco_mesh_compression": extension},
    }


def write_model_primitive(
    buffer: GlbBuffer, materials: GlbMaterials, part: MeshPart, *, plain: bool = False
) -> dict[str, Any]:
    """The primitive of a model that is drawn many times: floats, for it is small and its instances bring their own scale."""
    laid_out = lay_out(part)
    mesh = laid_out.part.mesh
    attributes = {
        "POSITION": buffer.vectors(y_up(mesh.positions), bounded=True),
        "NORMAL": buffer.vectors(y_up(mesh.normals)) if plain else buffer.normals(mesh.normals),
    }
    transform = None
    coordinates = laid_out.part.texture_coordinates if part.material.texture is not None else None
    if coordinates is not None and plain:
        attributes["TEXCOORD_0"] = buffer.vectors(coordinates)
    elif coordinates is not None:
        attributes["TEXCOORD_0"], transform = write_texture_coordinates(buffer, coordinates)
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "material": materials.number(part.material, transform=transform),
        "mode": 4,
    }
    if laid_out.indexed:
        primitive["indices"] = buffer.indices(mesh.triangles, len(mesh.positions))
    return primitive
