"""One layer of a Mapbox Vector Tile, from arrays of geometries and attributes.

Vector Tile Specification 2.1, https://github.com/mapbox/vector-tile-spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.errors import VectorTileError
from tiles.vector.attributes import encode_tags
from tiles.vector.geometry import TileFrame, encode_geometries
from tiles.vector.message import Commands, EncodedFeatures, Tags, encode_features, encode_message
from tiles.vector.paths import FULL, Detail

MOST_BYTES = 1_000_000
"""The most bytes of one layer of a tile, before compression."""


def encode_layer(
    name: str,
    geometries: Sequence[Any] | NDArray[Any],
    ids: Sequence[Any] | NDArray[Any] | None,
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    bounds: tuple[float, float, float, float],
    *,
    extent: int = 4096,
    buffer: int = 64,
    tolerance: float = 0.0,
    detail: Detail = FULL,
    most_bytes: int | None = None,
) -> bytes:
    """One vector tile layer; a tile is the layers' bytes one after the other.

    `geometries` are shapely geometries (or None) in the CRS of `bounds`, which is the tile's box (minx, miny, maxx, maxy).
    What lies more than `buffer` cells outside the tile is cut off, a third coordinate is dropped. `ids` that are not
    integers in [0, 2^64) are left out. Attribute values keep their type (string, integer, float, boolean), dates become
    ISO 8601 text, None and NaN are left out. `tolerance` and `detail` as in `encode_geometries`; with `most_bytes` the features
    of the smallest boxes are left out until the layer is no larger. Returns b"" where nothing is left. Raises VectorTileError
    where lengths differ or the box is empty.
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
    commands = encode_geometries(
        shapes, TileFrame((minx, miny, maxx, maxy), extent, buffer), tolerance, detail
    )
    known, numbers = _feature_ids(ids, np.arange(shapes.size))
    return bounded_layer(
        name,
        commands,
        lambda chosen: encode_tags(columns, chosen, shapes.size),
        _Listed(numbers, known, shapes),
        extent,
        most_bytes,
    )


class Identified(Protocol):
    """Features of which a layer is made: ids (and which have one), and boxes (n, 4)."""

    @property
    def ids(self) -> NDArray[np.uint64]:
        """The ids, 0 where there is none."""
        ...

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which features have an id."""
        ...

    @property
    def bounds(self) -> NDArray[Any]:
        """minx, miny, maxx, maxy of each."""
        ...


class _Listed:
    """Shapely geometries with ids."""

    def __init__(self, ids: NDArray[np.uint64], known: NDArray[np.bool_], shapes: NDArray[Any]) -> None:
        self.ids = ids
        self.known = known
        self._shapes = shapes

    @property
    def bounds(self) -> NDArray[np.float64]:
        return np.asarray(shapely.bounds(self._shapes), dtype=np.float64)


def bounded_layer(
    name: str,
    commands: Commands,
    tags: Callable[[NDArray[np.intp]], Tags],
    features: Identified,
    extent: int,
    most_bytes: int | None,
) -> bytes:
    """The layer of these commands, b"" without any; `tags` is asked for the attributes of features by their positions.

    Where it would have more than `most_bytes`, the features of the smallest boxes are left out.
    """
    while commands.features.size:
        chosen = commands.features
        found = tags(chosen)
        encoded = encode_features(commands, found, features.ids[chosen], features.known[chosen])
        layer = encode_message(name, encoded, found, extent)
        if most_bytes is None or len(layer) <= most_bytes or chosen.size == 1:
            return layer
        commands = _largest(commands, encoded, features.bounds[chosen], most_bytes / len(layer))
    return b""


def _largest(commands: Commands, encoded: EncodedFeatures, bounds: NDArray[Any], share: float) -> Commands:
    """The commands of the largest features, as many as make (a little less than) this share of the bytes."""
    sides = bounds.astype(np.float64)
    size = np.maximum(sides[:, 2] - sides[:, 0], sides[:, 3] - sides[:, 1])
    by_size = np.argsort(-size, kind="stable")
    allowed = share * 0.95 * int(encoded.sizes.sum())
    count = max(1, int(np.searchsorted(np.cumsum(encoded.sizes[by_size]), allowed)))
    kept = np.zeros(len(bounds), dtype=np.bool_)
    kept[by_size[:count]] = True
    numbers = commands.numbers[np.repeat(kept, commands.counts)]
    return Commands(commands.features[kept], commands.types[kept], numbers, commands.counts[kept])


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
