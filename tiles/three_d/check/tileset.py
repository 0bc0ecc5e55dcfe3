"""The whole tileset: tileset.json, its tiles (explicit and implicit), its subtrees, contents and files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.content import Place, check_content, is_tileset
from tiles.three_d.check.files import TilesetFiles
from tiles.three_d.check.findings import FileFindings, Journal, reading
from tiles.three_d.check.glb import Resource, is_index, object_of
from tiles.three_d.check.metadata_schema import Classes, check_schema
from tiles.three_d.check.volumes import Bound, Volume, placed, read_volume

VERSIONS = ("1.0", "1.1")
# A tileset that names itself, or many others, never ends.
_MOST_NESTED = 16
_EXTENSIONS_READ = {"3DTILES_content_gltf", "3DTILES_multiple_contents"}


class Above(NamedTuple):
    """What holds for everything below a tile: `transform` (4 x 4) to the root, the volumes, geometric error and refinement."""

    transform: NDArray[np.float64]
    bounds: tuple[Bound, ...] = ()
    error: float | None = None
    refine: str | None = None

    def below(self, volume: Volume | None, owner: str, error: float | None) -> Above:
        """The same with a tile's own volume (in the root's frame) and error."""
        bounds = self.bounds if volume is None else (*self.bounds, Bound(volume, owner))
        return self._replace(bounds=bounds, error=self.error if error is None else error)


class Document(NamedTuple):
    """A tileset.json being checked, and what of it concerns its tiles."""

    file: str
    findings: FileFindings
    version: str
    classes: Classes
    groups: int
    extensions: frozenset[str]
    up: str


class TilesetCheck:
    """One run over a tileset and those it points to; remembers which files are part of it."""

    def __init__(
        self, files: TilesetFiles, journal: Journal, progress: Callable[[int], None] | None = None
    ) -> None:
        self._files, self._journal, self._progress = files, journal, progress
        self._used: set[str] = set()
        self._open: list[str] = []

    def run(self, name: str) -> None:
        """Check the tileset whose document is `name`, and then the files that nothing points to."""
        findings = FileFindings(name, self._journal)
        content = self.read(name, findings)
        if content is not None:
            self.check_document(name, content, Above(np.eye(4)))
            self._check_unused()

    def read(self, name: str, findings: FileFindings) -> bytes | None:
        """The bytes of a file of the tileset, after its compressed sibling has been compared with it."""
        content = self._files.read(name)
        if content is None:
            findings.add("file-missing", f"{name} does not exist")
            return None
        if name not in self._used:
            self._used.add(name)
            findings.count("files")
            findings.count("bytes", len(content))
            if self._progress is not None:
                self._progress(len(self._used))
            packed = self._files.compressed(name)
            if packed is not None:
                self._used.add(f"{name}.gz")
                same = _unpacked(packed) == content
                findings.require(same, "file-gzip", f"{name}.gz holds something else")
        return content

    def locate(self, uri: str, file: str) -> str | None:
        """The path of what `uri` in `file` refers to, None where that is not in the tileset."""
        return self._files.locate(uri, file)

    def resource(self, file: str) -> Resource:
        """What URIs in a file refer to."""
        return partial(self._resource, file)

    def _resource(self, file: str, uri: str) -> bytes | None:
        path = self._files.locate(uri, file)
        content = None if path is None else self._files.read(path)
        if path is not None and content is not None:
            self._used.add(path)
        return content

    def check_document(self, name: str, content: bytes, above: Above) -> None:
        """Check a tileset.json and all below it."""
        findings = FileFindings(name, self._journal)
        if name in self._open or len(self._open) >= _MOST_NESTED:
            findings.add(
                "tileset-circle", f"{' > '.join([*self._open[-3:], name])}: tilesets within each other"
            )
            return
        document = _parsed(content, findings)
        if document is None:
            return
        findings.count("tilesets")
        self._open.append(name)
        with reading(findings):
            self._check_members(name, document, above, findings)
        self._open.pop()

    def _check_members(
        self, name: str, document: dict[str, Any], above: Above, findings: FileFindings
    ) -> None:
        asset = object_of(document, "asset")
        version = asset.get("version")
        findings.require(
            version in VERSIONS, "tileset-asset", f"asset.version is {version!r}, not 1.0 or 1.1"
        )
        used = document.get("extensionsUsed", [])
        required = set(document.get("extensionsRequired", []))
        findings.require(
            required <= set(used), "tileset-extensions", "extensionsRequired names what is not used"
        )
        for one in sorted(required - _EXTENSIONS_READ):
            findings.remark("tileset-extensions", f"the required extension {one} is not read here")
        classes = self._classes(name, document, findings)
        groups = document.get("groups", [])
        for number, group in enumerate(groups):
            check_entity(group, f"group {number}", classes, findings)
        check_entity(document.get("metadata"), "the tileset's metadata", classes, findings)
        error = error_of(document, "the tileset", findings)
        root = document.get("root")
        if not isinstance(root, dict):
            findings.add("tileset-root", "there is no root tile")
            return
        stated = "refine" in root or above.refine is not None
        findings.require(stated, "tileset-refine", "the root says no refine")
        if above.error is not None and error is not None:
            message = f"the tileset has {error}, more than {above.error} of the tile that points to it"
            findings.require(error <= above.error, "tileset-error-order", message)
        from tiles.three_d.check.tiles import TileCheck

        known = Document(
            name,
            findings,
            str(version),
            classes,
            len(groups),
            frozenset(used),
            str(asset.get("gltfUpAxis", "Y")),
        )
        TileCheck(self, known).check(root, above._replace(error=error), "root")

    def _classes(self, name: str, document: dict[str, Any], findings: FileFindings) -> Classes:
        if "schema" in document:
            return check_schema(document["schema"], findings)
        uri = document.get("schemaUri")
        if not isinstance(uri, str):
            return {}
        content = self._resource(name, uri)
        if content is None:
            findings.add("file-missing", f"the schema {uri} does not exist")
            return {}
        try:
            return check_schema(orjson.loads(content), findings)
        except orjson.JSONDecodeError as error:
            findings.add("metadata-schema", f"{uri}: {error}")
            return {}

    def check_content(self, document: Document, uri: Any, above: Above, where: str) -> None:
        """What a tile's content URI points to: another tileset, or something to draw."""
        path = self.locate(uri, document.file) if isinstance(uri, str) else None
        if path is None:
            document.findings.add("content-uri", f"{where}: {uri!r} is no place in the tileset")
            return
        findings = FileFindings(path, self._journal)
        content = self.read(path, findings)
        if content is None:
            return
        if is_tileset(content):
            self.check_document(path, content, above)
            return
        findings.count("contents")
        modern = content[:4] == b"glTF" or content.lstrip()[:1] == b"{"
        declared = document.version != "1.0" or "3DTILES_content_gltf" in document.extensions
        document.findings.require(
            declared or not modern, "tileset-version", f"{where}: glTF as content needs 1.1"
        )
        check_content(
            content, Place(above.transform, above.bounds, document.up), self.resource(path), findings
        )

    def _check_unused(self) -> None:
        for path in self._files.paths():
            if path not in self._used:
                FileFindings(path, self._journal).add("file-unused", "no tile points to this file")


def _parsed(content: bytes, findings: FileFindings) -> dict[str, Any] | None:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        findings.add("tileset-json", str(error))
        return None
    if isinstance(document, dict):
        return document
    findings.add("tileset-json", "not an object")
    return None


def _unpacked(packed: bytes) -> bytes | None:
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        return None


def error_of(value: dict[str, Any], where: str, findings: FileFindings) -> float | None:
    """The geometric error (m) of a tileset or tile; None, and a finding, where it has none."""
    error = value.get("geometricError")
    if isinstance(error, int | float) and not isinstance(error, bool) and 0.0 <= error < float("inf"):
        return float(error)
    findings.add("tileset-error", f"geometricError of {where} is {error!r}, needed is a number of at least 0")
    return None


def check_entity(value: Any, where: str, classes: Classes, findings: FileFindings) -> None:
    """Metadata in JSON: the class is there, its properties are known, what it requires is given."""
    if value is None:
        return
    name = value.get("class") if isinstance(value, dict) else None
    known = classes.get(str(name))
    if known is None:
        findings.add("metadata-class", f"{where} is of class {name!r}, which the schema lacks")
        return
    given = object_of(value, "properties")
    strange = sorted(given.keys() - known.keys())
    findings.require(not strange, "metadata-property", f"{where} has {strange}, which its class lacks")
    for key, one in known.items():
        there = key in given or not one.stated.get("required", False)
        findings.require(there, "metadata-property", f"{where} lacks the required {key!r}")


def check_group(value: Any, where: str, document: Document) -> None:
    """A content's group is there."""
    known = value is None or is_index(value, document.groups)
    document.findings.require(known, "tileset-group", f"{where} is in group {value!r} of {document.groups}")


def volume_below(
    value: Any, transform: NDArray[np.float64], where: str, findings: FileFindings
) -> Volume | None:
    """A bounding volume in JSON, in the root's frame; None where it has no valid one."""
    volume = read_volume(value, where, findings)
    return None if volume is None else placed(volume, transform)
