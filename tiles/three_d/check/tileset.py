"""The whole tileset: tileset.json, its tiles (explicit and implicit), its subtrees and files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.content import check_content
from tiles.three_d.check.findings import FileFindings, Finding
from tiles.three_d.check.subtree import Subtree, read_subtree
from tiles.three_d.check.volumes import Volume, implicit_volume, read_volume

_VERSIONS = ("1.0", "1.1")
_SUFFIXES = {".glb", ".subtree", ".json"}
# 4**12 bits are 2 MB; a larger number is a mistake or an attack.
_MOST_SUBTREE_LEVELS = 12


def check_tileset(path: Path) -> list[Finding]:
    """Check the tileset in `path` (its folder, or its tileset.json). Gives every fault found; none means good."""
    file = path / "tileset.json" if path.is_dir() else path
    check = _Check(file.parent)
    check.run(file.name)
    return check.found


class _Check:
    """One run: collects findings and remembers which files are part of the tileset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()
        self.found: list[Finding] = []

    def run(self, name: str) -> None:
        findings = FileFindings(name)
        content = self._read(name, findings)
        document = self._parse(content, findings) if content is not None else None
        if document is not None:
            self._check_document(document, findings)
        self.found.extend(findings.found)
        if document is not None:
            self._check_unused()

    def _parse(self, content: bytes, findings: FileFindings) -> dict[str, Any] | None:
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            findings.add("tileset-json", str(error))
            return None
        if isinstance(document, dict):
            return document
        findings.add("tileset-json", "not an object")
        return None

    def _check_document(self, document: dict[str, Any], findings: FileFindings) -> None:
        asset = document.get("asset")
        version = asset.get("version") if isinstance(asset, dict) else None
        findings.require(
            version in _VERSIONS, "tileset-asset", f"asset.version is {version!r}, not 1.0 or 1.1"
        )
        error = _error_of(document, "the tileset", findings)
        root = document.get("root")
        if not isinstance(root, dict):
            findings.add("tileset-root", "there is no root tile")
            return
        refine = root.get("refine")
        findings.require(refine in ("ADD", "REPLACE"), "tileset-refine", f"root.refine is {refine!r}")
        self._check_tile(root, error, np.eye(4), "root", findings=findings)

    def _check_tile(
        self,
        tile: dict[str, Any],
        parent_error: float | None,
        transform: NDArray[np.float64],
        where: str,
        *,
        findings: FileFindings,
    ) -> None:
        volume = read_volume(tile.get("boundingVolume"), where, findings)
        error = _error_of(tile, where, findings)
        if error is not None and parent_error is not None:
            message = f"{where} has {error}, more than {parent_error} above it"
            findings.require(error <= parent_error, "tileset-error-order", message)
        matrix = np.array(tile.get("transform", np.eye(4).ravel()), dtype=np.float64).reshape(4, 4).T
        transform = transform @ matrix
        if "implicitTiling" in tile:
            self._check_implicit(tile, volume, transform, where, findings)
            return
        uri = tile.get("content", {}).get("uri") if isinstance(tile.get("content"), dict) else None
        if uri is not None:
            self._check_content(uri, _bound_of(tile, volume, findings, where), transform, findings)
        for number, child in enumerate(tile.get("children", [])):
            self._check_tile(child, error, transform, f"{where}.children[{number}]", findings=findings)

    def _check_implicit(
        self,
        tile: dict[str, Any],
        volume: Volume | None,
        transform: NDArray[np.float64],
        where: str,
        findings: FileFindings,
    ) -> None:
        tiling = tile["implicitTiling"]
        levels, depth = tiling.get("availableLevels"), tiling.get("subtreeLevels")
        uri, subtree_uri = tile.get("content", {}).get("uri"), tiling.get("subtrees", {}).get("uri")
        right = (
            findings.require(
                tiling.get("subdivisionScheme") == "QUADTREE", "implicit-scheme", f"{where}: no QUADTREE"
            )
            & findings.require(
                isinstance(levels, int) and levels >= 1, "implicit-levels", f"{where}: {levels!r}"
            )
            & findings.require(
                isinstance(depth, int) and 1 <= depth <= _MOST_SUBTREE_LEVELS,
                "implicit-levels",
                f"{where}: subtreeLevels is {depth!r}, readable are 1 to {_MOST_SUBTREE_LEVELS}",
            )
            & findings.require(_is_template(uri), "implicit-template", f"{where}: content uri {uri!r}")
            & findings.require(
                _is_template(subtree_uri), "implicit-template", f"{where}: subtree uri {subtree_uri!r}"
            )
            & findings.require("children" not in tile, "implicit-children", f"{where} has children too")
        )
        if not right:
            return
        waiting = [(0, 0, 0)]
        while waiting:
            top, x, y = waiting.pop()
            name = subtree_uri.format(level=top, x=x, y=y)
            subtree = self._read_subtree(name, depth)
            if subtree is None:
                continue
            for level, column, row in _places(subtree.contents, depth, top, x, y):
                inside = None if volume is None else implicit_volume(volume, level, column, row)
                self._check_content(uri.format(level=level, x=column, y=row), inside, transform, findings)
            deepest = top + _deepest(subtree.tiles)
            message = f"{name} has a tile at level {deepest}, availableLevels is {levels}"
            findings.require(deepest < levels, "implicit-levels", message)
            children = np.flatnonzero(subtree.children).tolist()
            waiting.extend((top + depth, *_cell(child, depth, x, y)) for child in children)

    def _read_subtree(self, name: str, depth: int) -> Subtree | None:
        findings = FileFindings(name)
        content = self._read(name, findings)
        subtree = None if content is None else read_subtree(content, depth, findings)
        self.found.extend(findings.found)
        return subtree

    def _check_content(
        self, uri: str, volume: Volume | None, transform: NDArray[np.float64], parent: FileFindings
    ) -> None:
        findings = FileFindings(uri)
        content = self._read(uri, findings)
        if content is not None and parent.require(
            uri.endswith(".glb"), "content-type", f"{uri} is not a .glb, which is all this checker reads"
        ):
            check_content(content, volume, transform, findings)
        self.found.extend(findings.found)

    def _read(self, name: str, findings: FileFindings) -> bytes | None:
        """The bytes of a file of the tileset, after its compressed sibling has been compared with it."""
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            findings.add("file-missing", f"{name} does not exist")
            return None
        self._used.add(path.relative_to(self._folder.resolve()).as_posix())
        content = path.read_bytes()
        packed = path.with_name(path.name + ".gz")
        if packed.is_file():
            self._used.add(packed.relative_to(self._folder.resolve()).as_posix())
            findings.require(_unpacked(packed) == content, "file-gzip", f"{packed.name} holds something else")
        return content

    def _check_unused(self) -> None:
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            part = path.suffix in _SUFFIXES or (path.suffix == ".gz" and Path(path.stem).suffix in _SUFFIXES)
            if part and path.is_file() and name not in self._used:
                self.found.append(Finding(name, "file-unused", "no tile points to this file"))


def _unpacked(path: Path) -> bytes | None:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        return None


def _error_of(value: dict[str, Any], where: str, findings: FileFindings) -> float | None:
    error = value.get("geometricError")
    if isinstance(error, int | float) and not isinstance(error, bool) and 0.0 <= error < float("inf"):
        return float(error)
    findings.add("tileset-error", f"geometricError of {where} is {error!r}, needed is a number of at least 0")
    return None


def _bound_of(
    tile: dict[str, Any], volume: Volume | None, findings: FileFindings, where: str
) -> Volume | None:
    """The content's own bounding volume where it has one, else the tile's."""
    own = tile["content"].get("boundingVolume")
    return volume if own is None else read_volume(own, f"{where}.content", findings)


def _is_template(uri: Any) -> bool:
    return isinstance(uri, str) and all(part in uri for part in ("{level}", "{x}", "{y}"))


def _places(bits: NDArray[np.bool_], depth: int, top: int, x: int, y: int) -> list[tuple[int, int, int]]:
    """Level, column and row in the whole tree of every set bit of a subtree rooted at (top, x, y)."""
    places = []
    start = 0
    for below in range(depth):
        for index in np.flatnonzero(bits[start : start + 4**below]).tolist():
            places.append((top + below, *_cell(index, below, x, y)))
        start += 4**below
    return places


def _deepest(tiles: NDArray[np.bool_]) -> int:
    """The level, counted from the subtree's root, of the last available tile."""
    last = int(np.flatnonzero(tiles)[-1]) if tiles.any() else 0
    level = 0
    while (4 ** (level + 1) - 1) // 3 <= last:
        level += 1
    return level


def _cell(index: int, below: int, x: int, y: int) -> tuple[int, int]:
    """Column and row of the Morton index `index`, `below` levels under (x, y)."""
    column = sum(((index >> (2 * bit)) & 1) << bit for bit in range(below))
    row = sum(((index >> (2 * bit + 1)) & 1) << bit for bit in range(below))
    return (x << below) + column, (y << below) + row
