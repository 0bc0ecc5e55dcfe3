"""One layer of a Mapbox Vector Tile, from arrays of geometries and attributes.

Vector Tile Specification 2.1, https://github.com/mapbox/vector-tile-spec. Everything in a feature is a base-128 number, so
all features are laid out in one array of numbers and encoded in a single pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.errors import VectorTileError
from tiles.vector.attributes import Tags, encode_tags
from tiles.vector.geometry import Commands, TileFrame, encode_geometries, spread
from tiles.vector.varint import Numbers, encode_varints, length_delimited, varint, varint_sizes

_VERSION = 2
_ID_KEY, _TAGS_KEY, _TYPE_KEY, _GEOMETRY_KEY = 1 << 3, 2 << 3 | 2, 3 << 3, 4 << 3 | 2
_FEATURE_KEY = 2 << 3 | 2


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
    content = b"".join(
        (
            varint(15 << 3) + varint(_VERSION),
            length_delimited(1, name.encode()),
            _encode_features(commands, tags, known, numbers),
            tags.tables,
            varint(5 << 3) + varint(extent),
        )
    )
    return length_delimited(3, content)


def _feature_ids(
    ids: Sequence[Any] | NDArray[Any] | None, features: NDArray[np.intp]
) -> tuple[NDArray[np.bool_], Numbers]:
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


def _encode_features(commands: Commands, tags: Tags, has_id: NDArray[np.bool_], ids: Numbers) -> bytes:
    """All `features` fields of the layer.

    A feature is: key, length, [id key, id], [tags key, length, tags], type key, type, geometry key, length, commands.
    """
    tag_sizes = varint_sizes(tags.numbers)
    geometry_sizes = varint_sizes(commands.numbers)
    tag_bytes = _sums(tag_sizes, tags.counts)
    geometry_bytes = _sums(geometry_sizes, commands.counts)
    has_tags = tags.counts > 0
    lengths = (
        has_id * (1 + varint_sizes(ids))
        + has_tags * (1 + varint_sizes(tag_bytes.astype(np.uint64)) + tag_bytes)
        + (3 + varint_sizes(geometry_bytes.astype(np.uint64)) + geometry_bytes)
    )
    sizes = 2 + 2 * has_id + has_tags * (2 + tags.counts) + 4 + commands.counts
    ends = np.cumsum(sizes)
    numbers = np.empty(int(ends[-1]), dtype=np.uint64)
    cursor = ends - sizes
    numbers[cursor] = _FEATURE_KEY
    numbers[cursor + 1] = lengths
    cursor = cursor + 2
    numbers[cursor[has_id]] = _ID_KEY
    numbers[cursor[has_id] + 1] = ids[has_id]
    cursor = cursor + 2 * has_id
    numbers[cursor[has_tags]] = _TAGS_KEY
    numbers[cursor[has_tags] + 1] = tag_bytes[has_tags]
    cursor = cursor + 2 * has_tags
    numbers[spread(cursor, tags.counts)] = tags.numbers
    cursor = cursor + tags.counts
    numbers[cursor] = _TYPE_KEY
    numbers[cursor + 1] = commands.types
    numbers[cursor + 2] = _GEOMETRY_KEY
    numbers[cursor + 3] = geometry_bytes
    numbers[spread(cursor + 4, commands.counts)] = commands.numbers
    return encode_varints(numbers, varint_sizes(numbers))


def _sums(sizes: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum of `sizes` over consecutive groups of `counts` entries; groups may be empty."""
    totals: NDArray[np.int64] = np.concatenate([[0], np.cumsum(sizes)])
    ends = np.cumsum(counts)
    sums: NDArray[np.int64] = totals[ends] - totals[ends - counts]
    return sums
