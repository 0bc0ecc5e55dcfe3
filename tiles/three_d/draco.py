"""Meshes compressed by Google's Draco (KHR_draco_mesh_compression).

Positions are quantised to the same step as without compression, normals to 8 bits, texture coordinates to 14; ids and colours are kept
exactly. The encoder joins equal vertices and splits those where surfaces touch without being neighbours, so a mesh
comes back with other vertices in another order: what it holds is asked from what was encoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError

NORMAL_BITS = 8
TEXTURE_BITS = 14
# Of 0 to 10; above 7 the encoder changes to a slower predictor that hardly saves on flat walls.
COMPRESSION_LEVEL = 7
_TYPES = {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2, "TEXCOORD_0": 3}
_MOST_BITS = 30


@dataclass(frozen=True, slots=True)
class DracoMesh:
    """A compressed mesh. `ids` has the number of each attribute inside; `vertices` and `corners` (indices) as decoded."""

    content: bytes
    ids: dict[str, int]
    vertices: int
    corners: int
    low: list[float]
    high: list[float]


def encode_draco(
    triangles: NDArray[np.int64],
    positions: NDArray[np.float64],
    normals: NDArray[np.float64],
    ids: dict[str, NDArray[Any]],
    *,
    step: float,
    texture_coordinates: NDArray[np.float64] | None = None,
    colours: NDArray[np.uint8] | None = None,
) -> DracoMesh:
    """Compress a mesh: `positions` (v, 3) to `step`, `ids` (v,) of uint8, uint16 or float32 by name, `colours` (v, 3)."""
    import DracoPy

    extent = max(float(np.ptp(positions, axis=0).max()), step)
    # At most two of these: with a third the encoder takes time by the square of the vertices (measured with DracoPy 2.2).
    generic = {number: values.reshape(-1, 1) for number, values in enumerate(ids.values())}
    content = DracoPy.encode(
        np.ascontiguousarray(positions),
        np.ascontiguousarray(triangles, dtype=np.uint32),
        quantization_bits=min(max(math.ceil(math.log2(extent / step + 1.0)), 1), _MOST_BITS),
        compression_level=COMPRESSION_LEVEL,
        normals=np.ascontiguousarray(normals),
        normal_quantization_bits=NORMAL_BITS,
        tex_coord=None if texture_coordinates is None else np.ascontiguousarray(texture_coordinates),
        tex_coord_quantization_bits=TEXTURE_BITS,
        colors=colours,
        generic_attributes=generic,
    )
    decoded = DracoPy.decode(content)
    numbers = dict(zip(ids, range(len(ids)), strict=True))
    for entry in decoded.attributes:
        for name, kind in _TYPES.items():
            if entry["attribute_type"] == kind:
                numbers[name] = int(entry["unique_id"])
    points = np.asarray(decoded.points, dtype=np.float32)
    return DracoMesh(
        content,
        numbers,
        len(points),
        int(np.asarray(decoded.faces).size),
        points.min(axis=0).tolist(),
        points.max(axis=0).tolist(),
    )


@dataclass(frozen=True, slots=True)
class DecodedDraco:
    """A mesh out of Draco: `triangles` (t, 3), and the values (v, k) of each attribute by its number inside."""

    triangles: NDArray[np.int64]
    attributes: dict[int, NDArray[Any]]


def decode_draco(content: bytes, most_vertices: int) -> DecodedDraco:
    """Undo `encode_draco`, or any other Draco mesh. Raises GlbError where it is broken or holds more than is allowed."""
    import DracoPy

    try:
        decoded = DracoPy.decode(content)
    except (DracoPy.FileTypeException, DracoPy.EncodingFailedException, ValueError) as error:
        raise GlbError(f"a Draco mesh of {len(content)} bytes cannot be read ({error})") from error
    triangles = np.asarray(getattr(decoded, "faces", np.empty((0, 3))), dtype=np.int64).reshape(-1, 3)
    attributes = {int(entry["unique_id"]): np.asarray(entry["data"]) for entry in decoded.attributes}
    vertices = max((len(values) for values in attributes.values()), default=0)
    if vertices > most_vertices:
        raise GlbError(f"a Draco mesh holds {vertices} vertices; at most {most_vertices} are read")
    return DecodedDraco(triangles, attributes)
