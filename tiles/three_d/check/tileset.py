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
_AXES = {"QUADTREE": 2, "OCTREE": 3}
_SUFFIXES = {".glb", ".subtree", ".json"}
# 4**12 and 8**8 bits are 2 MB; a larger number is a mistake or an attack.
_MOST_SUBTREE_LEVELS = {2: 12, 3: 8}


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
        self._box_property: str | None = None
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
        self._box_property = _box_property(document.get("schema"))
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
        axes = _AXES.get(tiling.get("subdivisionScheme"), 0)
        most = _MOST_SUBTREE_LEVELS.get(axes, 1)
        right = (
            findings.require(axes > 0, "implicit-scheme", f"{where}: neither QUADTREE nor OCTREE")
            & findings.require(
                isinstance(levels, int) and levels >= 1, "implicit-levels", f"{where}: {levels!r}"
            )
            & findings.require(
                isinstance(depth, int) and 1 <= depth <= most,
                "implicit-levels",
                f"{where}: subtreeLevels is {depth!r}, readable are 1 to {most}",
            )
            & findings.require(_is_template(uri, axes), "implicit-template", f"{where}: content uri {uri!r}")
            & findings.require(
                _is_template(subtree_uri, axes), "implicit-template", f"{where}: subtree uri {subtree_uri!r}"
            )
            & findings.require("children" not in tile, "implicit-children", f"{where} has children too")
        )
        if not right:
            return
        waiting: list[tuple[int, tuple[int, ...]]] = [(0, (0,) * axes)]
        while waiting:
            top, root = waiting.pop()
            name = _filled(subtree_uri, top, root)
            subtree = self._read_subtree(name, depth, axes)
            if subtree is None:
                continue
            for index, level, place in _places(subtree.contents, depth, top, root):
                inside = _volume_of(subtree, index, volume, level, place)
                self._check_content(_filled(uri, level, place), inside, transform, findings)
            deepest = top + _deepest(subtree.tiles, 2**axes)
            message = f"{name} has a tile at level {deepest}, availableLevels is {levels}"
            findings.require(deepest < levels, "implicit-levels", message)
            children = np.flatnonzero(subtree.children).tolist()
            waiting.extend((top + depth, _cell(child, depth, root)) for child in children)

    def _read_subtree(self, name: str, depth: int, axes: int) -> Subtree | None:
        findings = FileFindings(name)
        content = self._read(name, findings)
        subtree = None
        if content is not None:
            subtree = read_subtree(content, depth, findings, axes, self._box_property)
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


def _box_property(schema: Any) -> str | None:
    """The property that holds TILE_BOUNDING_BOX, in the one form this checker reads: 12 float64."""
    classes = schema.get("classes", {}) if isinstance(schema, dict) else {}
    for properties in (one.get("properties", {}) for one in classes.values()):
        for name, stated in properties.items():
            if stated.get("semantic") == "TILE_BOUNDING_BOX" and stated.get("componentType") == "FLOAT64":
                return str(name)
    return None


def _volume_of(
    subtree: Subtree, index: int, root: Volume | None, level: int, place: tuple[int, ...]
) -> Volume | None:
    """The tile's own box where the subtree gives one, else its share of the root's volume."""
    if subtree.boxes is not None and subtree.tiles[index]:
        return Volume("box", subtree.boxes[int(subtree.tiles[:index].sum())])
    return None if root is None else implicit_volume(root, level, place)


def _is_template(uri: Any, axes: int) -> bool:
    needed = ("{level}", "{x}", "{y}", "{z}")[: axes + 1]
    return isinstance(uri, str) and all(part in uri for part in needed)


def _filled(template: str, level: int, place: tuple[int, ...]) -> str:
    """The template (OGC 22-025r4 clause 7.7.4) with a tile's numbers."""
    filled = template.replace("{level}", str(level))
    for name, number in zip("xyz", place, strict=False):
        filled = filled.replace(f"{{{name}}}", str(number))
    return filled


def _places(
    bits: NDArray[np.bool_], depth: int, top: int, root: tuple[int, ...]
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Bit, level and place in the whole tree of every set bit of a subtree whose root is at `root` of level `top`."""
    places = []
    start = 0
    for below in range(depth):
        size = 2 ** (len(root) * below)
        for index in np.flatnonzero(bits[start : start + size]).tolist():
            places.append((start + index, top + below, _cell(index, below, root)))
        start += size
    return places


def _deepest(tiles: NDArray[np.bool_], branches: int) -> int:
    """The level, counted from the subtree's root, of the last available tile."""
    last = int(np.flatnonzero(tiles)[-1]) if tiles.any() else 0
    level = 0
    while (branches ** (level + 1) - 1) // (branches - 1) <= last:
        level += 1
    return level


def _cell(index: int, below: int, root: tuple[int, ...]) -> tuple[int, ...]:
    """The place of the Morton index `index`, `below` levels under `root` (x in the lowest bit)."""
    axes = len(root)
    return tuple(
        (above << below) + sum(((index >> (axes * bit + axis)) & 1) << bit for bit in range(below))
        for axis, above in enumerate(root)
    )
