"""A subtree file read: which tiles, contents and subtrees below there are, and the true region and error of each tile."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError
from tiles.three_d.read_tables import SCALARS

_HEADER = struct.Struct("<4sIQQ")


@dataclass(frozen=True, slots=True)
class Subtree:
    """Bits in the order of the file: levels from the subtree's root down, Morton order inside a level.

    `tiles`, `contents` (n,), `children` (4**depth,) bool; over all n tiles `regions` (n, 6; west, south, east, north in radians, lowest
    and highest height) and `errors` (n,) in metres, NaN where the file does not say.
    """

    tiles: NDArray[np.bool_]
    contents: NDArray[np.bool_]
    children: NDArray[np.bool_]
    regions: NDArray[np.float64]
    errors: NDArray[np.float64]


def read_subtree(content: bytes, depth: int, schema: dict[str, Any] | None = None) -> Subtree:
    """The subtree of `depth` levels. `schema`: that of the tileset, which says what the metadata of tiles mean.

    Raises ThreeDError where the file is broken.
    """
    try:
        return _read(content, depth, schema or {})
    except (struct.error, orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ThreeDError(f"a subtree cannot be read ({type(error).__name__}: {error})") from error


def _read(content: bytes, depth: int, schema: dict[str, Any]) -> Subtree:
    magic, version, json_length, binary_length = _HEADER.unpack_from(content)
    end = _HEADER.size + json_length
    if magic != b"subt" or version != 1 or end + binary_length > len(content):
        raise ThreeDError(f"{len(content)} bytes are no subtree (they start with {magic!r})")
    document = orjson.loads(content[_HEADER.size : end])
    binary = content[end : end + binary_length]
    views = [
        binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        for view in document.get("bufferViews", [])
    ]
    count = (4**depth - 1) // 3
    tiles = _bits(document["tileAvailability"], views, count)
    contents = document.get("contentAvailability", [{"constant": 0}])
    regions, errors = _facts(document, views, schema, tiles)
    return Subtree(
        tiles,
        _bits(contents[0], views, count),
        _bits(document["childSubtreeAvailability"], views, 4**depth),
        regions,
        errors,
    )


def _bits(availability: dict[str, Any], views: list[bytes], count: int) -> NDArray[np.bool_]:
    if "bitstream" not in availability:
        return np.full(count, bool(availability["constant"]))
    packed = np.frombuffer(views[availability["bitstream"]], np.uint8)
    if len(packed) * 8 < count:
        raise ThreeDError(f"a subtree has {len(packed) * 8} bits for {count} tiles")
    return np.unpackbits(packed, count=count, bitorder="little").astype(np.bool_)


def _facts(
    document: dict[str, Any], views: list[bytes], schema: dict[str, Any], tiles: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Regions and errors out of tileMetadata, whose rows are the available tiles in the order of the bits."""
    regions, errors = np.full((len(tiles), 6), np.nan), np.full(len(tiles), np.nan)
    if "tileMetadata" not in document:
        return regions, errors
    table = document["propertyTables"][document["tileMetadata"]]
    properties = schema.get("classes", {}).get(table["class"], {}).get("properties", {})
    rows = int(tiles.sum())
    for name, stored in table.get("properties", {}).items():
        described = properties.get(name, {})
        semantic, width = described.get("semantic"), int(described.get("count", 1))
        if semantic not in _COLUMNS:
            continue
        kind = SCALARS[described["componentType"]]
        values = np.frombuffer(views[stored["values"]], kind, count=rows * width).reshape(rows, width)
        target = _COLUMNS[semantic]
        if target is None:
            errors[tiles] = values[:, 0]
        else:
            regions[tiles, target] = values if width > 1 else values[:, 0]
    return regions, errors


_COLUMNS: dict[str, slice | int | None] = {
    "TILE_BOUNDING_REGION": slice(0, 6),
    "TILE_MINIMUM_HEIGHT": 4,
    "TILE_MAXIMUM_HEIGHT": 5,
    "TILE_GEOMETRIC_ERROR": None,
}
