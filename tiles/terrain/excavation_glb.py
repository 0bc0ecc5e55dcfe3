"""A pit as glTF and as a 3D Tiles tileset of one tile, placed where it is on the globe."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.terrain.excavation import Pit
from tiles.terrain.terrain_tiles import TerrainTiles
from tiles.three_d.glb_buffer import GlbBuffer, pack_glb
from tiles.three_d.placement import LocalFrame, to_ecef, y_up

_WALLS = {"name": "walls", "colour": [0.30, 0.22, 0.15, 1.0]}
_FLOOR = {"name": "floor", "colour": [0.40, 0.35, 0.29, 1.0]}


def pit_glb(pit: Pit, terrain: TerrainTiles) -> bytes:
    """Walls and floor of a pit as a binary glTF 2.0, y up, placed in ECEF by its node's translation and rotation as 3D Tiles are."""
    mesh = pit.mesh
    heights = terrain.ground_to_ellipsoid(mesh.lonlat, mesh.positions[:, 2])
    frame = _frame(pit, heights)
    local = frame.to_local(to_ecef(mesh.lonlat[:, 0], mesh.lonlat[:, 1], heights))
    buffer = GlbBuffer()
    primitives = [
        _primitive(buffer, local[triangles], number)
        for number, triangles in enumerate((mesh.walls, mesh.floor))
    ]
    translation, rotation = frame.node_transform()
    document = {
        "asset": {"version": "2.0", "generator": "chengtu"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "pit", "mesh": 0, "translation": translation, "rotation": rotation}],
        "meshes": [{"name": "pit", "primitives": primitives}],
        "materials": [
            {
                "name": one["name"],
                "pbrMetallicRoughness": {
                    "baseColorFactor": one["colour"],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
                # The pit is looked into from above and, with the ground let through, from beside.
                "doubleSided": True,
            }
            for one in (_WALLS, _FLOOR)
        ],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
        "extensionsUsed": ["KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
    }
    return pack_glb(orjson.dumps(document), bytes(buffer.data))


def _frame(pit: Pit, heights: NDArray[np.float64]) -> LocalFrame:
    lonlat = pit.mesh.lonlat
    middle = (lonlat.min(axis=0) + lonlat.max(axis=0)) / 2.0
    return LocalFrame.at(float(middle[0]), float(middle[1]), float(heights.min()))


def _primitive(buffer: GlbBuffer, corners: NDArray[np.float64], material: int) -> dict[str, Any]:
    """Flat-shaded triangles (t, 3, 3), east, north, up."""
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(facing, axis=1)
    whole = length > 1e-9
    corners, facing = corners[whole], facing[whole] / length[whole][:, None]
    positions = y_up(corners.reshape(-1, 3))
    return {
        "attributes": {
            "POSITION": buffer.vectors(positions, bounded=True),
            "NORMAL": buffer.normals(np.repeat(facing, 3, axis=0)),
        },
        "material": material,
        "mode": 4,
    }


def pit_bbox(pit: Pit, terrain: TerrainTiles) -> tuple[float, float, float, float, float, float]:
    """West, south, bottom, east, north, top: degrees, metres above the ellipsoid."""
    lonlat = pit.mesh.lonlat
    heights = terrain.ground_to_ellipsoid(lonlat, pit.mesh.positions[:, 2])
    west, south = lonlat.min(axis=0).tolist()
    east, north = lonlat.max(axis=0).tolist()
    return west, south, float(heights.min()), east, north, float(heights.max())


def pit_tileset(pit: Pit, terrain: TerrainTiles, uri: str) -> dict[str, Any]:
    """A 3D Tiles 1.1 tileset whose one tile is the pit's glb at `uri`."""
    west, south, bottom, east, north, top = pit_bbox(pit, terrain)
    region = [*np.radians([west, south, east, north]).tolist(), bottom, top]
    # Drawn from as far as the whole pit covers a pixel.
    error = max(1.0, float(np.sqrt(pit.area)))
    return {
        "asset": {"version": "1.1", "tilesetVersion": "1"},
        "geometricError": error,
        "root": {
            "boundingVolume": {"region": region},
            "geometricError": 0.0,
            "refine": "ADD",
            "content": {"uri": uri},
        },
    }
