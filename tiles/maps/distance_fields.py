"""Signed distance fields: shapes that MapLibre draws sharply at any size, in any colour, with a halo.

A pixel of a field holds 255 - 255 * (d / 8 + 0.25), d the distance to the shape's edge in pixels, positive outside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING = 5
"""Pixels of a shape a pixel of its field, in each direction; odd, so that a pixel has a middle."""

BUFFER = 3
"""Pixels around a glyph in its field."""

_RADIUS = 8
_CUTOFF = 0.25


def distance_fields(shapes: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Fields (n, h, w) of shapes (n, h * SUPERSAMPLING, w * SUPERSAMPLING)."""
    outside, inside = _distances(shapes), _distances(~shapes)
    distance = (outside - inside) / SUPERSAMPLING
    return np.clip(np.rint(255 - 255 * (distance / _RADIUS + _CUTOFF)), 0, 255).astype(np.uint8)


def _distances(shapes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance from the middle of each pixel of the field to the nearest pixel of the shape, bounded by the radius."""
    reach = _RADIUS * SUPERSAMPLING
    padded = np.pad(shapes, ((0, 0), (reach, reach), (reach, reach)))
    count, height, width = shapes.shape
    middle = SUPERSAMPLING // 2
    far = np.int32((reach + 1) ** 2)
    vertical = np.full((count, height // SUPERSAMPLING, width + 2 * reach), far, dtype=np.int32)
    for offset in range(-reach, reach + 1):
        rows = padded[:, reach + middle + offset : reach + height + offset : SUPERSAMPLING]
        np.minimum(vertical, np.where(rows, np.int32(offset * offset), far), out=vertical)
    nearest = np.full((count, height // SUPERSAMPLING, width // SUPERSAMPLING), far, dtype=np.int32)
    for offset in range(-reach, reach + 1):
        columns = vertical[:, :, reach + middle + offset : reach + width + offset : SUPERSAMPLING]
        np.minimum(nearest, columns + np.int32(offset * offset), out=nearest)
    # Half a pixel: the edge lies between two pixels, not in the middle of one.
    distances: NDArray[np.float32] = np.maximum(np.sqrt(nearest, dtype=np.float32) - 0.5, 0)
    return distances
