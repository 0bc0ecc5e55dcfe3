"""Subtree files read back: their structure, and what their bits say (3D Tiles 1.1, implicit tiling)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings


@dataclass(frozen=True, slots=True)
class Subtree:
    """Availability of one subtree as bits in level and Morton order.

    `boxes` (tiles available, 12) are the bounding boxes its tile metadata gives, in that order; None where it gives none.
    """

    tiles: NDArray[np.bool_]
    contents: NDArray[np.bool_]
    children: NDArray[np.bool_]
    boxes: NDArray[np.float64] | None = None


def read_subtree(
    content: bytes, levels: int, findings: FileFindings, axes: int = 2, box_property: str | None = None
) -> Subtree | None:
    """The bits of a subtree of `levels` levels in a quadtree (2 `axes`) or an octree (3); None where it cannot be read.

    `box_property` names the property of the tile metadata that holds TILE_BOUNDING_BOX.
    """
    if not findings.require(len(content) >= 24, "subtree-header", f"{len(content)} bytes are no subtree"):
        return None
    magic, version, json_length, binary_length = struct.unpack_from("<4sIQQ", content)
    findings.require(magic == b"subt", "subtree-header", f"magic is {magic!r}, needed is b'subt'")
    findings.require(version == 1, "subtree-header", f"version is {version}, needed is 1")
    aligned = json_length % 8 == 0 and binary_length % 8 == 0
    findings.require(aligned, "subtree-alignment", "the chunks are not padded to 8 bytes")
    if not findings.require(
        24 + json_length + binary_length == len(content),
        "subtree-header",
        f"chunks of {json_length} and {binary_length} bytes in a file of {len(content)}",
    ):
        return None
    try:
        document = orjson.loads(content[24 : 24 + json_length])
    except orjson.JSONDecodeError as error:
        findings.add("subtree-json", str(error))
        return None
    reader = _Bits(document, content[24 + json_length :], findings)
    branches = 2**axes
    nodes = (branches**levels - 1) // (branches - 1)
    stated = document.get("contentAvailability", [{"constant": 0}])
    tiles = reader.read(document.get("tileAvailability"), nodes, "tileAvailability")
    contents = reader.read(stated[0] if stated else None, nodes, "contentAvailability")
    children = reader.read(
        document.get("childSubtreeAvailability"), branches**levels, "childSubtreeAvailability"
    )
    if tiles is None or contents is None or children is None:
        return None
    _check_tree(tiles, contents, branches, findings)
    boxes = None if box_property is None else reader.boxes(document, box_property, int(tiles.sum()))
    return Subtree(tiles, contents, children, boxes)


def _check_tree(
    tiles: NDArray[np.bool_], contents: NDArray[np.bool_], branches: int, findings: FileFindings
) -> None:
    """The root and every parent of a tile exist, and content is only where tiles are."""
    findings.require(bool(tiles[0]), "subtree-tiles", "the root of the subtree is not available")
    number = np.flatnonzero(tiles[1:]) + 1
    findings.require(
        bool(tiles[(number - 1) // branches].all()), "subtree-tiles", "a tile is available without its parent"
    )
    lost = int((contents & ~tiles).sum())
    findings.require(lost == 0, "subtree-contents", f"{lost} contents are available without their tile")


class _Bits:
    """The availability objects of one subtree."""

    def __init__(self, document: dict[str, Any], binary: bytes, findings: FileFindings) -> None:
        self._views = document.get("bufferViews", [])
        self._binary = binary
        self._findings = findings
        for number, view in enumerate(self._views):
            start = view.get("byteOffset", 0)
            findings.require(
                start % 8 == 0, "subtree-alignment", f"buffer view {number} starts at {start}, not n x 8"
            )

    def read(self, stated: Any, count: int, name: str) -> NDArray[np.bool_] | None:
        """`count` bits; None, and a finding, where they cannot be read."""
        if not isinstance(stated, dict):
            self._findings.add("subtree-availability", f"{name} is missing")
            return None
        if "constant" in stated:
            return np.full(count, stated["constant"] == 1)
        number = stated.get("bitstream")
        if not isinstance(number, int) or not 0 <= number < len(self._views):
            self._findings.add("subtree-availability", f"{name} points to bit stream {number!r}")
            return None
        view = self._views[number]
        start, length = int(view.get("byteOffset", 0)), int(view.get("byteLength", 0))
        packed = self._binary[start : start + length]
        if len(packed) != length or length != (count + 7) // 8:
            self._findings.add("subtree-availability", f"{name} has {length} bytes for {count} bits")
            return None
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little").astype(np.bool_)
        beyond = bool(bits[count:].any())
        self._findings.require(not beyond, "subtree-availability", f"{name} has bits set after its end")
        found = int(bits[:count].sum())
        counted = stated.get("availableCount", found)
        self._findings.require(
            counted == found, "subtree-count", f"{name}: {counted} stated, {found} bits set"
        )
        return bits[:count]

    def boxes(self, document: dict[str, Any], name: str, count: int) -> NDArray[np.float64] | None:
        """`count` boxes of the tile metadata, a row each; None, and a finding, where they cannot be read."""
        tables, number = document.get("propertyTables", []), document.get("tileMetadata")
        table = tables[number] if isinstance(number, int) and 0 <= number < len(tables) else {}
        place = table.get("properties", {}).get(name, {}).get("values")
        if not isinstance(place, int) or not 0 <= place < len(self._views) or table.get("count") != count:
            self._findings.add("subtree-metadata", f"the tile metadata has no {name} of {count} tiles")
            return None
        view = self._views[place]
        start, length = int(view.get("byteOffset", 0)), int(view.get("byteLength", 0))
        content = self._binary[start : start + length]
        if len(content) != length or length != count * 12 * 8:
            self._findings.add("subtree-metadata", f"{name} has {length} bytes for {count} boxes")
            return None
        return np.frombuffer(content, "<f8").reshape(count, 12)
