"""Points for clients that draw triangles only: a small triangle a point, coloured by a texture of all colours of the tile.

QGIS (3.40) reads glTF in tiled scenes, but neither points nor vertex colours nor quantised positions; a texture it draws in maps
and in 3D views alike.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.tilesets.colours import Colours, srgb
from pointclouds.tilesets.glb import GlbWriter, Positions, empty_glb, y_up
from pointclouds.tilesets.local_frame import column_extremes

_TRIANGLES_MODE: Final = 4
_FLOAT: Final = 5126
_WIDTH: Final = 64
_MOST_COLOURS: Final = 4096
_SWATCH: Final = 4
"""Pixels along the edge of a colour: what smooths between pixels stays inside."""
_INSIDE: Final = np.array([[0.3, 0.3], [0.7, 0.3], [0.3, 0.7]])
"""Places of a triangle's corners in its colour. Three times the same would be no triangle, which QGIS does not draw."""
_NEAREST: Final = 9728
_CLAMPED: Final = 33071
# An equilateral triangle of radius 1 in a tilted plane: seen from above and from the sides.
_FLAT: Final = np.array([[np.cos(turn), np.sin(turn), 0.0] for turn in np.radians((90.0, 210.0, 330.0))])
_TILT: Final = np.radians(30.0)
_CORNERS: Final = _FLAT @ np.array(
    [[1, 0, 0], [0, np.cos(_TILT), np.sin(_TILT)], [0, -np.sin(_TILT), np.cos(_TILT)]]
)


def mark_glb(positions: Positions, colours: Colours, radius: float) -> bytes:
    """Triangles of three vertices a point, in the order of the points.

    Args:
        positions: (n, 3) metres, z up; 32-bit floats around the node's translation.
        colours: (n, 3) linear, uint8 or uint16; where they are more than 4,096 different ones, rounded to 4 bits a channel.
        radius: of a triangle, metres.
    """
    if not len(positions):
        return empty_glb()
    writer = GlbWriter()
    centre = np.mean(column_extremes(positions), axis=0)
    corners = (positions - centre)[:, None] + _CORNERS * radius
    floats = y_up(corners.reshape(-1, 3)).astype(np.float32)
    palette, places = _palette(srgb(colours))
    rows = -(-len(palette) // _WIDTH)
    swatches = np.stack((places % _WIDTH, places // _WIDTH), axis=1)[:, None]
    texture = ((swatches + _INSIDE) / (_WIDTH, rows)).reshape(-1, 2)
    named = {
        "POSITION": writer.attribute(floats, _FLOAT, "VEC3", ends=True),
        "TEXCOORD_0": writer.attribute(texture.astype(np.float32), _FLOAT, "VEC2"),
    }
    document = writer.document
    document["images"] = [{"bufferView": writer.view(_png(palette, rows)), "mimeType": "image/png"}]
    clamped = {"wrapS": _CLAMPED, "wrapT": _CLAMPED}
    document["samplers"] = [{"magFilter": _NEAREST, "minFilter": _NEAREST, **clamped}]
    document["textures"] = [{"source": 0, "sampler": 0}]
    base = {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 1}
    material = {
        "pbrMetallicRoughness": base,
        "doubleSided": True,
        "extensions": {"KHR_materials_unlit": {}},
    }
    document["materials"] = [material]
    document["extensionsUsed"] = ["KHR_materials_unlit"]
    primitive = {"mode": _TRIANGLES_MODE, "material": 0, "attributes": named}
    translation = y_up(centre[None])[0].tolist()
    return writer.pack(primitive, {"translation": translation})


def _palette(colours: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Different colours (k, 3), k at most 4,096, and for each point the place of its own (n,)."""
    codes, places = _different(colours)
    if len(codes) > _MOST_COLOURS:
        codes, places = _different(((colours >> 4) * 17).astype(np.uint8))
    palette = np.stack([codes >> 16, codes >> 8 & 0xFF, codes & 0xFF], axis=1).astype(np.uint8)
    return palette, places


def _different(colours: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    wide = colours.astype(np.uint32)
    codes, places = np.unique(wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2], return_inverse=True)
    return codes, places.reshape(-1)


def _png(palette: npt.NDArray[np.uint8], rows: int) -> bytes:
    """An image of 64 colours a row (PNG, 8 bits, RGB, no filter)."""
    colours = np.zeros((rows * _WIDTH, 3), np.uint8)
    colours[: len(palette)] = palette
    pixels = colours.reshape(rows, _WIDTH, 3).repeat(_SWATCH, axis=0).repeat(_SWATCH, axis=1)
    lines = np.zeros((len(pixels), 1 + pixels.shape[1] * 3), np.uint8)
    lines[:, 1:] = pixels.reshape(len(pixels), -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), 8, 2, 0, 0, 0)
    image = zlib.compress(lines.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", image) + chunk(b"IEND", b"")
