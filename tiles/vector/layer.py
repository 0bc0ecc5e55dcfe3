"""One layer of a Mapbox Vector Tile, from arrays of geometries and attributes.

Vector Tile Specification 2.1, https://github.com/mapbox/vector-tile-spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.errors import VectorTileError
from tiles.vector.attributes import encode_tags
from tiles.vector.geometry import TileFrame, encode_geometries
from tiles.vector.message import encode_features, encode_message


def encode_layer(
    name: str,
    geometries: Sequence[Any] | NDArray[Any],
    ids: Sequence[Any] | NDArray[Any] | None,
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    bounds: tuple[float, float, float, float],
    *,
    extent: int = 4096,
    buffer: int = 64,
) -> bytes:
    """One vector tile layer; a tile is the layers' bytes one after the other.

    `geometries` are shapely geometries (or None) in the CRS of `bounds`, which is the tile's box (minx, miny, maxx, maxy).
    What lies more than `buffer` cells outside the tile is cut off, a third coordinate is dropped. `ids` that are not
    integers in [0, 2^64) are left out. Attribute values keep their type (string, integer, float, boolean), dates become
    ISO 8601 text, None and NaN are left out. Returns b"" where nothing is left. Raises VectorTileError where lengths differ
    or the box is empty.
    """
    shapes = np.asarray(geometries, dtype=object)
    minx, miny, maxx, maxy = bounds
    if not (minx < maxx and miny < maxy) or extent < 1 or buffer < 0:
        raise VectorTileError(
            f"layer {name!r}: bounds {bounds}, extent {extent}, buffer {buffer}: the box must have an area, extent be at"
            " least 1, buffer not negative"
        )
    if ids is not None and len(ids) != shapes.size:
        raise VectorTileError(f"layer {name!r}: {len(ids)} ids for {shapes.size} features")
    commands = encode_geometries(shapes, TileFrame((minx, miny, maxx, maxy), extent, buffer))
    if commands.features.size == 0:
        return b""
    tags = encode_tags(columns, commands.features, shapes.size)
    known, numbers = _feature_ids(ids, commands.features)
    return encode_message(name, encode_features(commands, tags, numbers, known), tags, extent)


def _feature_ids(
    ids: Sequence[Any] | NDArray[Any] | None, features: NDArray[np.intp]
) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """(feature has an id, the id or 0) of each feature."""
    if ids is None:
        return np.zeros(features.size, dtype=np.bool_), np.zeros(features.size, dtype=np.uint64)
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        chosen = ids[features]
        known = chosen >= 0
        return known, np.where(known, chosen, 0).astype(np.uint64)
    cells = [ids[index] for index in features]
    usable = [
        isinstance(cell, int | np.integer) and not isinstance(cell, bool) and 0 <= cell < 1 << 64
        for cell in cells
    ]
    numbers = [int(cell) if use else 0 for cell, use in zip(cells, usable, strict=True)]
    return np.array(usable, dtype=np.bool_), np.array(numbers, dtype=np.uint64)
