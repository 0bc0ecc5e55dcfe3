"""The bytes of a layer: features with their ids, tags and commands laid out as words, then selected in one go.

Vector Tile Specification 2.1, https://github.com/mapbox/vector-tile-spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.errors import VectorTileError
from tiles.vector.varint import (
    LARGEST,
    Numbers,
    Sizes,
    joined_bytes,
    length_delimited,
    long_varint_words,
    varint,
    varint_words,
)

_VERSION = 2
_FEATURE_KEY, _ID_KEY, _TAGS_KEY = 2 << 3 | 2, 1 << 3, 2 << 3 | 2
_TYPE_KEY, _GEOMETRY_KEY = 3 << 3, 4 << 3 | 2
_ID_SLOT, _TAGS_SLOT, _FIRST_TAG = 2, 6, 8
_FEW_KEYS, _FEW_VALUES = 1 << 7, 1 << 21  # a tag of these fits one word


@dataclass(frozen=True, slots=True)
class Commands:
    """Drawing commands of several features.

    `features` are rising indexes into the geometries that were given; `types` their tile geometry type; `counts[i]` numbers of
    `numbers` belong to features[i].
    """

    features: NDArray[np.intp]
    types: NDArray[np.uint8]
    numbers: Numbers
    counts: NDArray[np.int64]


class Tags(NamedTuple):
    """The attribute part of a layer.

    `keys` are the names; `values[i, k]` is the position in the layer's value table of the k-th attribute of feature i, -1
    where it has none. `table` holds the encoded `values` fields of the layer.
    """

    keys: tuple[str, ...]
    values: NDArray[np.int32]
    table: bytes


class EncodedFeatures(NamedTuple):
    """All `features` fields of a layer, and how many bytes each feature takes."""

    content: bytes
    sizes: NDArray[np.int64]


def encode_message(name: str, features: EncodedFeatures, tags: Tags, extent: int) -> bytes:
    """The layer, as it stands in a tile."""
    content = b"".join(
        (
            varint(15 << 3) + varint(_VERSION),
            length_delimited(1, name.encode()),
            features.content,
            *(length_delimited(3, key.encode("utf-8", "replace")) for key in tags.keys),
            tags.table,
            varint(5 << 3) + varint(extent),
        )
    )
    return length_delimited(3, content)


def encode_features(
    commands: Commands, tags: Tags, ids: NDArray[np.uint64], known: NDArray[np.bool_]
) -> EncodedFeatures:
    """The features in their order; `known` tells which have an id.

    A feature is: key, length, [id key, id], [tags key, length, tags], type key, type, geometry key, length, commands.
    """
    geometry, geometry_sizes = _geometry_bytes(commands)
    heads, sizes = _heads(commands, tags, ids, known, geometry_sizes)
    head_bytes = joined_bytes(heads, sizes)
    head_sizes = sizes.sum(axis=1, dtype=np.int64)
    # Heads and geometries in turns: the flags tell whose a byte is.
    turns = np.stack((head_sizes, geometry_sizes), axis=1).reshape(-1)
    is_head = np.repeat(np.tile(np.array([True, False]), len(head_sizes)), turns)
    content = np.empty(is_head.size, dtype=np.uint8)
    content[np.flatnonzero(is_head)] = head_bytes
    content[np.flatnonzero(~is_head)] = geometry
    return EncodedFeatures(content.tobytes(), head_sizes + geometry_sizes)


def _geometry_bytes(commands: Commands) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of all commands, and how many belong to each feature (each has some)."""
    words, sizes = varint_words(commands.numbers)
    starts = np.cumsum(commands.counts) - commands.counts
    return joined_bytes(words, sizes), np.add.reduceat(sizes, starts, dtype=np.int64)


def _heads(
    commands: Commands,
    tags: Tags,
    ids: NDArray[np.uint64],
    known: NDArray[np.bool_],
    geometry_sizes: NDArray[np.int64],
) -> tuple[Numbers, Sizes]:
    """Words (n, slots) of everything before the commands; what a feature lacks has size 0."""
    tag_words, tag_sizes = _tag_words(tags.values)
    count, width = tag_words.shape
    words = np.empty((count, _FIRST_TAG + width + 2), dtype=np.uint32)
    sizes = np.empty(words.shape, dtype=np.uint8)
    has_tags = np.zeros(count, dtype=np.bool_)
    tag_bytes = tag_sizes.sum(axis=1, dtype=np.uint32)
    has_tags = tag_bytes > 0
    words[:, 0], sizes[:, 0] = _FEATURE_KEY, 1
    words[:, _ID_SLOT], sizes[:, _ID_SLOT] = _ID_KEY, known
    words[:, _ID_SLOT + 1 : _TAGS_SLOT], id_sizes = long_varint_words(ids)
    sizes[:, _ID_SLOT + 1 : _TAGS_SLOT] = id_sizes * known[:, None]
    words[:, _TAGS_SLOT], sizes[:, _TAGS_SLOT] = _TAGS_KEY, has_tags
    words[:, _TAGS_SLOT + 1], length_sizes = varint_words(tag_bytes)
    sizes[:, _TAGS_SLOT + 1] = length_sizes * has_tags
    words[:, _FIRST_TAG:-2], sizes[:, _FIRST_TAG:-2] = tag_words, tag_sizes
    words[:, -2] = commands.types.astype(np.uint32) << np.uint32(8) | np.uint32(
        _TYPE_KEY | _GEOMETRY_KEY << 16
    )
    sizes[:, -2] = 3
    words[:, -1], sizes[:, -1] = varint_words(geometry_sizes.astype(np.uint32))
    lengths = sizes[:, 2:].sum(axis=1, dtype=np.int64) + geometry_sizes
    if int(lengths.max(initial=0)) > LARGEST:
        raise VectorTileError(f"a feature of {int(lengths.max())} bytes does not fit a vector tile")
    words[:, 1], sizes[:, 1] = varint_words(lengths.astype(np.uint32))
    return words, sizes


def _tag_words(values: NDArray[np.int32]) -> tuple[Numbers, Sizes]:
    """Key and value position of each tag, in one word where both are small, else in two."""
    count, width = values.shape
    present = values >= 0
    words, sizes = varint_words(np.where(present, values, 0).astype(np.uint32))
    if width <= _FEW_KEYS and int(values.max(initial=0)) < _FEW_VALUES:
        words = words << np.uint32(8) | np.arange(width, dtype=np.uint32)
        return words, (sizes + np.uint8(1)) * present
    keys, key_sizes = varint_words(np.arange(width, dtype=np.uint32))
    pairs = np.empty((count, width, 2), dtype=np.uint32)
    pairs[:, :, 0], pairs[:, :, 1] = keys, words
    pair_sizes = np.empty(pairs.shape, dtype=np.uint8)
    pair_sizes[:, :, 0], pair_sizes[:, :, 1] = key_sizes * present, sizes * present
    return pairs.reshape(count, -1), pair_sizes.reshape(count, -1)
