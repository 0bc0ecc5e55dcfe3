"""One tile as a binary glTF 2.0 file.

Extensions: KHR_mesh_quantization (int16 positions, int8 normals), EXT_mesh_features (a feature id per vertex),
EXT_structural_metadata (the property table), EXT_mesh_gpu_instancing with EXT_instance_features (one model many times),
KHR_texture_transform and EXT_texture_webp where a texture needs them, KHR_draco_mesh_compression where it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.errors import GlbError, NothingToBuildError
from tiles.three_d.glb_buffer import GlbBuffer, pack_glb
from tiles.three_d.glb_instances import write_instances
from tiles.three_d.glb_materials import GlbMaterials
from tiles.three_d.glb_primitives import PLAIN, SURFACE_IDS, Placement, lay_out, write_primitive
from tiles.three_d.glb_tables import SCHEMA_ID, SURFACE_CLASS, SURFACE_SCHEMA, write_palette, write_table
from tiles.three_d.mesh import Mesh, SurfaceClass, join_meshes
from tiles.three_d.objects import InstancePart, Material, MeshPart, Part
from tiles.three_d.placement import LocalFrame


class Compression(StrEnum):
    """How geometry is packed inside the file (docs/decisions/0018)."""

    NONE = "none"
    DRACO = "draco"


@dataclass(frozen=True, slots=True)
class GlbOptions:
    """What holds for all tiles of a tileset. `attribution` becomes the copyright of every tile, which clients show.

    `plain`: 32-bit floats, for clients that do not know KHR_mesh_quantization.
    """

    attribution: str = ""
    compression: Compression = Compression.NONE
    plain: bool = False


def write_tile(
    parts: Sequence[Part],
    frame: LocalFrame,
    table: PropertyTable,
    options: GlbOptions = GlbOptions(),
) -> bytes:
    """The .glb of one tile.

    Feature ids of the parts are rows of `table`. Meshes of one material become one primitive, instances of one model one node.

    Raises NothingToBuildError where no triangle and no instance is left, GlbError where a position is not a number or
    a texture is of a kind that glTF does not hold.
    """
    meshes = gather(parts)
    instances = [part for part in parts if isinstance(part, InstancePart) and len(part.positions)]
    if not meshes and not instances:
        raise NothingToBuildError("a tile without triangles and instances is no tile; leave it out")
    document = _Document(frame, options)
    document.add_meshes(meshes, table.count)
    document.nodes += write_instances(
        document.buffer, document.materials, document.meshes, instances, frame, table.count
    )
    return document.pack(table, instanced=bool(instances))


def gather(parts: Sequence[Part]) -> list[MeshPart]:
    """The meshes, those of one look joined to one."""
    found: dict[tuple[Material, tuple[SurfaceClass, ...] | None, bool], list[MeshPart]] = {}
    for part in parts:
        if isinstance(part, MeshPart) and len(part.mesh.triangles):
            classed = part.mesh.classes is not None and part.mesh.palette
            key = (
                part.material,
                part.mesh.palette if classed else None,
                part.texture_coordinates is not None,
            )
            found.setdefault(key, []).append(part)
    return [_join(material, group) for (material, _, _), group in found.items()]


def _join(material: Material, parts: list[MeshPart]) -> MeshPart:
    coordinates = [part.texture_coordinates for part in parts if part.texture_coordinates is not None]
    if material.texture is None or not coordinates:
        material, coordinates = replace(material, texture=None) if material.texture else material, []
    mesh = join_meshes([part.mesh for part in parts])
    return MeshPart(mesh, material, np.concatenate(coordinates) if coordinates else None)


@dataclass(slots=True)
class _Document:
    """A glTF while it is written."""

    frame: LocalFrame
    options: GlbOptions
    buffer: GlbBuffer = field(default_factory=GlbBuffer)
    materials: GlbMaterials = field(init=False)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    palette: dict[SurfaceClass, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.materials = GlbMaterials(self.buffer)

    def add_meshes(self, parts: list[MeshPart], feature_count: int) -> None:
        """One node whose mesh has a primitive for every part; all share one step of positions."""
        if not parts:
            return
        reach = max(float(np.abs(part.mesh.positions).max()) for part in parts)
        if not np.isfinite(reach):
            raise GlbError("a position is not a number; objects like that have to be left out and reported")
        placement = PLAIN if self.options.plain else Placement.reaching(reach)
        for part in parts:
            self.palette |= {
                entry: len(self.palette) + number
                for number, entry in enumerate(
                    entry for entry in dict.fromkeys(part.mesh.palette) if entry not in self.palette
                )
            }
        ids = {"featureCount": feature_count, "attribute": 0, "propertyTable": 0}
        primitives = []
        for part in parts:
            primitive = write_primitive(
                self.buffer,
                self.materials,
                lay_out(part, keep_indices=self.options.compression is Compression.DRACO),
                placement,
                self._palette_rows(part.mesh),
                draco=self.options.compression is Compression.DRACO,
            )
            features = [ids]
            if SURFACE_IDS in primitive["attributes"]:
                features.append({"featureCount": len(self.palette), "attribute": 1, "propertyTable": 1})
            extensions = primitive.setdefault("extensions", {})
            extensions["EXT_mesh_features"] = {"featureIds": features}
            primitives.append(primitive)
        translation, rotation = self.frame.node_transform()
        node: dict[str, Any] = {"mesh": len(self.meshes), "translation": translation, "rotation": rotation}
        if placement.quantised and self.options.compression is not Compression.DRACO:
            node["scale"] = [placement.step] * 3
        self.meshes.append({"primitives": primitives})
        self.nodes.append(node)

    def _palette_rows(self, mesh: Mesh) -> NDArray[np.int64] | None:
        """Where the entries of a mesh's palette stand in that of the tile; None where it has none."""
        if mesh.classes is None or not mesh.palette:
            return None
        return np.array([self.palette[entry] for entry in mesh.palette])

    def pack(self, table: PropertyTable, *, instanced: bool) -> bytes:
        """The file."""
        tables = [write_table(self.buffer, table)]
        classes = {table.class_id: table.schema()}
        if self.palette:
            tables.append(write_palette(self.buffer, tuple(self.palette)))
            classes[SURFACE_CLASS] = SURFACE_SCHEMA
        used, required = self._extensions(instanced=instanced)
        document = {
            "asset": {
                "version": "2.0",
                "generator": "chengtu",
                **({"copyright": self.options.attribution} if self.options.attribution else {}),
            },
            "extensionsUsed": used,
            **({"extensionsRequired": required} if required else {}),
            "extensions": {
                "EXT_structural_metadata": {
                    "schema": {"id": SCHEMA_ID, "classes": classes},
                    "propertyTables": tables,
                }
            },
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self.nodes)))}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            **self.materials.described(),
            "accessors": self.buffer.accessors,
            "bufferViews": self.buffer.views,
            "buffers": [{"byteLength": len(self.buffer.data)}],
        }
        return pack_glb(orjson.dumps(document), bytes(self.buffer.data))

    def _extensions(self, *, instanced: bool) -> tuple[list[str], list[str]]:
        """extensionsUsed and extensionsRequired."""
        used = {"EXT_structural_metadata", *self.materials.extensions}
        required = set(self.materials.required)
        compressed = False
        for mesh in self.meshes:
            for primitive in mesh["primitives"]:
                named = primitive.get("extensions", {})
                used |= named.keys()
                compressed |= "KHR_draco_mesh_compression" in named
        if compressed:
            required.add("KHR_draco_mesh_compression")
        if (not compressed and not self.options.plain) or instanced:
            required.add("KHR_mesh_quantization")
        if instanced:
            used |= {"EXT_mesh_gpu_instancing", "EXT_instance_features"}
            # A client that knows nothing of it would draw one of them, in the middle of the tile.
            required.add("EXT_mesh_gpu_instancing")
        return sorted(used | required), sorted(required)
