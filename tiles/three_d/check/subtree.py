"""Subtree files read back: their structure, and what their bits say (OGC 22-025r4 clause 7.7, implicit tiling)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Resource, integer, is_index
from tiles.three_d.check.metadata_schema import Classes
from tiles.three_d.check.property_table import Table, Views, check_tables


@dataclass(frozen=True, slots=True)
class Subtree:
    """Availability of one subtree as bits in level and Morton order.

    `contents` has the bits of each content of a tile. `tile_table` and `content_tables` hold the metadata of the available tiles
    and contents, a row each in the order of the bits; None where there is none.
    """

    tiles: NDArray[np.bool_]
    contents: tuple[NDArray[np.bool_], ...]
    children: NDArray[np.bool_]
    tile_table: Table | None = None
    content_tables: tuple[Table | None, ...] = ()


@dataclass(frozen=True, slots=True)
class SubtreeForm:
    """What a tileset says of all its subtrees. `axes`: 2 of a quadtree, 3 of an octree."""

    levels: int
    axes: int
    contents: int
    classes: Classes

    @property
    def nodes(self) -> int:
        """Tiles of a full subtree."""
        branches = 2**self.axes
        return int((branches**self.levels - 1) // (branches - 1))


def read_subtree(
    content: bytes, form: SubtreeForm, resource: Resource, findings: FileFindings
) -> Subtree | None:
    """A binary or JSON subtree; None where it cannot be read."""
    parts = (_json(content, findings), b"") if content[:1] == b"{" else _binary(content, findings)
    if parts is None or parts[0] is None:
        return None
    reader = _Reader(parts[0], parts[1], resource, findings)
    document = parts[0]
    tiles = reader.bits(document.get("tileAvailability"), form.nodes, "tileAvailability")
    stated = document.get("contentAvailability", [])
    contents = [
        reader.bits(one, form.nodes, f"contentAvailability {number}")
        for number, one in enumerate(stated if isinstance(stated, list) else [stated])
    ]
    findings.require(
        len(contents) <= form.contents,
        "subtree-contents",
        f"{len(contents)} content availabilities, tiles have {form.contents} contents",
    )
    branches = 2**form.axes
    children = reader.bits(
        document.get("childSubtreeAvailability"), branches**form.levels, "childSubtreeAvailability"
    )
    found = tuple(bits for bits in contents if bits is not None)
    if tiles is None or children is None or len(found) != len(contents):
        return None
    _check_tree(tiles, found, children, branches, findings)
    tables = check_tables(document.get("propertyTables", []), form.classes, reader.views(), findings)
    return Subtree(
        tiles,
        found,
        children,
        _table(document.get("tileMetadata"), tables, int(tiles.sum()), "tileMetadata", findings),
        tuple(
            _table(number, tables, int(bits.sum()), "contentMetadata", findings)
            for number, bits in zip(document.get("contentMetadata", []), found, strict=False)
        ),
    )


def _binary(content: bytes, findings: FileFindings) -> tuple[dict[str, Any] | None, bytes] | None:
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
    return _json(content[24 : 24 + json_length], findings), content[24 + json_length :]


def _json(content: bytes, findings: FileFindings) -> dict[str, Any] | None:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        findings.add("subtree-json", str(error))
        return None
    if findings.require(isinstance(document, dict), "subtree-json", "not an object"):
        return dict(document)
    return None


def _table(number: Any, tables: list[Table], rows: int, name: str, findings: FileFindings) -> Table | None:
    """The table that metadata refer to, with a row for each that is available."""
    if number is None:
        return None
    if not findings.require(
        is_index(number, len(tables)), "subtree-metadata", f"{name} points to property table {number!r}"
    ):
        return None
    table = tables[number]
    right = table.count == rows
    findings.require(
        right, "subtree-metadata", f"{name} has {table.count} rows for {rows} that are available"
    )
    return table if right else None


def _check_tree(
    tiles: NDArray[np.bool_],
    contents: tuple[NDArray[np.bool_], ...],
    children: NDArray[np.bool_],
    branches: int,
    findings: FileFindings,
) -> None:
    """The root and every parent of a tile exist, and contents and child subtrees are only where tiles are."""
    findings.require(bool(tiles[0]), "subtree-tiles", "the root of the subtree is not available")
    number = np.flatnonzero(tiles[1:]) + 1
    findings.require(
        bool(tiles[(number - 1) // branches].all()), "subtree-tiles", "a tile is available without its parent"
    )
    for bits in contents:
        lost = int((bits & ~tiles).sum())
        findings.require(lost == 0, "subtree-contents", f"{lost} contents are available without their tile")
    lowest = tiles[len(tiles) - len(children) // branches :]
    orphans = int((~np.repeat(lowest, branches) & children).sum())
    findings.require(orphans == 0, "subtree-children", f"{orphans} child subtrees have no tile above them")


class _Reader:
    """The buffers and availability objects of one subtree."""

    def __init__(
        self, document: dict[str, Any], binary: bytes, resource: Resource, findings: FileFindings
    ) -> None:
        self._document, self._findings = document, findings
        self._views = [view if isinstance(view, dict) else {} for view in document.get("bufferViews", [])]
        self._buffers = [
            self._buffer(number, buffer, binary, resource)
            for number, buffer in enumerate(document.get("buffers", []))
        ]
        for number, view in enumerate(self._views):
            start = view.get("byteOffset", 0)
            findings.require(
                start % 8 == 0, "subtree-alignment", f"buffer view {number} starts at {start}, not n x 8"
            )
            end = integer(view.get("byteOffset", 0)) + integer(view.get("byteLength"))
            inside = self.content(number) is not None
            findings.require(
                inside, "subtree-buffer", f"buffer view {number} ends at {end}, after its buffer"
            )

    def _buffer(self, number: int, buffer: dict[str, Any], binary: bytes, resource: Resource) -> bytes:
        uri, declared = buffer.get("uri"), integer(buffer.get("byteLength"))
        content = resource(uri) if isinstance(uri, str) else binary
        inside = isinstance(uri, str) or number == 0
        if not self._findings.require(
            content is not None and inside and declared <= len(content),
            "subtree-buffer",
            f"buffer {number} of {declared} bytes cannot be read",
        ):
            return b""
        return content or b""

    def views(self) -> Views:
        """For property tables."""
        return Views(self.content, self._start)

    def _start(self, number: Any) -> int | None:
        return (
            integer(self._views[number].get("byteOffset", 0)) if is_index(number, len(self._views)) else None
        )

    def content(self, number: Any) -> bytes | None:
        """The bytes of a buffer view, None where it cannot be read."""
        if not is_index(number, len(self._views)):
            return None
        view = self._views[number]
        buffer, start = integer(view.get("buffer", 0)), integer(view.get("byteOffset", 0))
        end = start + integer(view.get("byteLength"))
        if not is_index(buffer, len(self._buffers)) or not 0 <= start < end <= len(self._buffers[buffer]):
            return None
        return self._buffers[buffer][start:end]

    def bits(self, stated: Any, count: int, name: str) -> NDArray[np.bool_] | None:
        """`count` bits; None, and a finding, where they cannot be read."""
        if not isinstance(stated, dict):
            self._findings.add("subtree-availability", f"{name} is missing")
            return None
        if "constant" in stated:
            right = stated["constant"] in (0, 1)
            self._findings.require(right, "subtree-availability", f"{name}: constant {stated['constant']!r}")
            return np.full(count, stated["constant"] == 1)
        packed = self.content(stated.get("bitstream"))
        if packed is None or len(packed) != (count + 7) // 8:
            length = "no" if packed is None else len(packed)
            self._findings.add(
                "subtree-availability",
                f"{name}: bit stream {stated.get('bitstream')!r} has {length} bytes for {count} bits",
            )
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
