"""Tilesets that others have made, taken over as they are: which files belong to one, and where on the globe it lies.

A tileset is followed from its first document through contents, external tilesets, subtrees and the files that glTF names. All
addresses have to be relative and stay inside its folder: a document that sends clients elsewhere is no part of a city that works on
an isolated network, and may leak who looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import orjson
import pyproj
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError

SUFFIXES = frozenset(
    (
        ".json", ".glb", ".gltf", ".b3dm", ".i3dm", ".pnts", ".cmpt", ".vctr", ".geom", ".subtree", ".bin", ".jpg", ".jpeg",
        ".png", ".webp", ".ktx2", ".basis", ".drc",
    )
)  # fmt: skip
"""Endings of files that a tileset may name."""
MOST_DOCUMENTS = 100_000
_LONGEST_JSON = 128 << 20
"""Bytes of JSON that are read of one file."""
_LONGEST_NAME = 255
_HIGHEST = 1e8
"""Metres; heights beyond are mistakes."""
_TEMPLATE = re.compile(r"\{(level|x|y|z)\}")
_IDENTITY = np.eye(4)


class TakeoverError(ThreeDError):
    """The tileset cannot be taken over."""


@dataclass(slots=True)
class ForeignTileset:
    """What a tileset names. `files` are relative to its folder, those that templates (implicit tiling) stand for among them.
    `bbox84h` is west, south, bottom, east, north, top in degrees and metres above the ellipsoid."""

    version: str
    geometric_error: float
    bbox84h: tuple[float, float, float, float, float, float]
    copyright: str
    files: set[str] = field(default_factory=set)


def read_foreign_tileset(folder: Path, name: str = "tileset.json") -> ForeignTileset:
    """Follow the tileset whose first document is `folder/name`.

    Raises TakeoverError where a document is broken, names a file outside or elsewhere, or one that is not there, or where its place
    cannot be told.
    """
    document = _document(folder, name)
    asset = document.get("asset")
    if not isinstance(asset, dict) or not isinstance(document.get("root"), dict):
        raise TakeoverError(f"{name} is no tileset: it needs the members asset and root (3D Tiles 1.1, 7.4)")
    result = ForeignTileset(
        str(asset.get("version", "")),
        _number(document.get("geometricError"), f"geometricError of {name}"),
        _bbox(document["root"], name),
        str(asset.get("copyright", ""))[:500],
        {name},
    )
    _Walk(folder, result).follow(document, name)
    return result


@dataclass(slots=True)
class _Walk:
    folder: Path
    found: ForeignTileset
    _documents: int = 1
    _templates: set[str] = field(default_factory=set)

    def follow(self, document: dict[str, Any], name: str) -> None:
        """Take what a document names, and what the tilesets among it name."""
        waiting = self._named(document, name)
        while waiting:
            inner = waiting.pop()
            document = _document(self.folder, inner)
            if "root" not in document:
                continue
            self._documents += 1
            if self._documents > MOST_DOCUMENTS:
                raise TakeoverError(f"the tileset has more than {MOST_DOCUMENTS} documents")
            waiting += self._named(document, inner)

    def _named(self, document: dict[str, Any], name: str) -> list[str]:
        """Take the files that one document names; those that may be tilesets themselves are left to be read."""
        documents = []
        for uri in _addresses(document.get("root"), name):
            target = _inside(name, uri)
            if target is None or target in self.found.files:
                continue
            if _TEMPLATE.search(target):
                self._take_template(target, name)
                continue
            self._take(target, name)
            if target.endswith(".json"):
                documents.append(target)
        return documents

    def _take_template(self, template: str, name: str) -> None:
        """The files that an address of implicit tiling stands for: which of them there are no document lists."""
        if template in self._templates:
            return
        self._templates.add(template)
        for target in _files_of(self.folder, template):
            if target not in self.found.files:
                self._take(target, name)

    def _take(self, target: str, name: str) -> None:
        """Take a file and those that it names."""
        waiting = [(target, name)]
        while waiting:
            target, name = waiting.pop()
            if target in self.found.files:
                continue
            if PurePosixPath(target).suffix.lower() not in SUFFIXES:
                raise TakeoverError(f"{name} names {target[:200]!r}, which is no file of a tileset")
            file = self.folder / target
            if len(file.name.encode()) > _LONGEST_NAME or not file.is_file():
                raise TakeoverError(f"{name} names {target[:200]!r}, which is not there")
            self.found.files.add(target)
            for uri in _of_file(file):
                beside = _inside(target, uri)
                if beside is not None:
                    waiting.append((beside, target))


def _files_of(folder: Path, template: str) -> Iterator[str]:
    """The files there are for a template such as `content/{level}/{x}/{y}.glb`, relative to the folder."""
    parts = _TEMPLATE.split(template)
    # Every second part is the name of a variable; what stands for one is a number.
    pattern = re.compile(
        "".join(r"\d{1,10}" if at % 2 else re.escape(part) for at, part in enumerate(parts)), re.ASCII
    )
    for path, folders, names in (folder / parts[0].rpartition("/")[0]).walk():
        folders.sort()
        for name in sorted(names):
            target = (path / name).relative_to(folder).as_posix()
            if pattern.fullmatch(target):
                yield target


def _document(folder: Path, name: str) -> dict[str, Any]:
    try:
        size = (folder / name).stat().st_size
        if size > _LONGEST_JSON:
            raise TakeoverError(
                f"{name} has {size:,} bytes; documents of at most {_LONGEST_JSON:,} bytes are read: divide it into external tilesets"
            )
        document = orjson.loads((folder / name).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise TakeoverError(f"{name} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise TakeoverError(f"{name} is no JSON object")
    return document


def _addresses(root: Any, name: str) -> Iterator[str]:
    """The addresses in a tile and those below it: contents, subtrees, a schema."""
    waiting = [root]
    while waiting:
        tile = waiting.pop()
        if not isinstance(tile, dict):
            raise TakeoverError(f"a tile of {name} is no JSON object")
        contents = tile.get("contents", [])
        children = tile.get("children", [])
        if not isinstance(contents, list) or not isinstance(children, list):
            raise TakeoverError(f"contents and children of a tile of {name} have to be lists")
        contents = [*contents, *_several(tile.get("extensions"))]
        implicit = tile.get("implicitTiling")
        subtrees = implicit.get("subtrees") if isinstance(implicit, dict) else None
        for holder in (tile.get("content"), subtrees, *contents):
            if isinstance(holder, dict):
                uri = holder.get("uri", holder.get("url"))
                if not isinstance(uri, str):
                    raise TakeoverError(f"a content of {name} has no address")
                yield uri
        waiting += children


def _several(extensions: Any) -> list[Any]:
    """The contents of a tile in the extension of 3D Tiles 1.0."""
    several = extensions.get("3DTILES_multiple_contents") if isinstance(extensions, dict) else None
    named = several.get("contents", several.get("content")) if isinstance(several, dict) else None
    return named if isinstance(named, list) else []


def _of_file(file: Path) -> list[str]:
    """The addresses that a file names: a .gltf or .glb its buffers and images, a subtree its buffers."""
    suffix = file.suffix.lower()
    # Where the JSON of a binary file begins, and how it says how long it is.
    if suffix == ".glb":
        text = _json_chunk(file, b"glTF", slice(12, 16), 20)
    elif suffix == ".subtree":
        text = _json_chunk(file, b"subt", slice(8, 16), 24)
    elif suffix == ".gltf":
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_JSON)
    else:
        return []
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []  # the checker tells of it
    lists = [document.get(name) for name in ("buffers", "images")] if isinstance(document, dict) else []
    holders = [holder for named in lists if isinstance(named, list) for holder in named]
    return [
        holder["uri"] for holder in holders if isinstance(holder, dict) and isinstance(holder.get("uri"), str)
    ]


def _json_chunk(file: Path, mark: bytes, length: slice, head_bytes: int) -> bytes:
    """The JSON behind the head of a binary file, b"" where it is none of its kind."""
    with file.open("rb") as opened:
        head = opened.read(head_bytes)
        if len(head) < head_bytes or head[:4] != mark:
            return b""
        return opened.read(min(int.from_bytes(head[length], "little"), _LONGEST_JSON))


def _inside(document: str, uri: str) -> str | None:
    """The path in the folder that an address in a document means; None for data in the address itself. Raises TakeoverError."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise TakeoverError(f"{document} names {uri[:200]!r}, which is no address") from error
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc or uri.startswith("/") or "\\" in uri:
        raise TakeoverError(
            f"{document} names {uri[:200]!r}; only files of the tileset's own folder, by relative addresses, can be taken over"
        )
    steps: list[str] = list(PurePosixPath(document).parent.parts)
    for step in unquote(parts.path).split("/"):
        if step == "..":
            if not steps:
                raise TakeoverError(
                    f"{document} names {uri[:200]!r}, which leads out of the tileset's folder"
                )
            steps.pop()
        elif step not in ("", "."):
            steps.append(step)
    if any("\x00" in step for step in steps):
        raise TakeoverError(f"{document} names {uri[:200]!r}, which is no path")
    return "/".join(steps)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        raise TakeoverError(f"{what} is {str(value)[:80]!r}; it has to be a number from 0 on")
    return float(value)


type _Box = tuple[float, float, float, float, float, float]


def _bbox(root: dict[str, Any], name: str) -> _Box:
    """Where the root lies: degrees and ellipsoidal metres. Raises TakeoverError where that is no place."""
    with np.errstate(over="ignore", invalid="ignore"):
        west, south, bottom, east, north, top = found = _volume_box(root, name)
    places = (abs(west) <= 180.0, abs(east) <= 180.0, -90.0 <= south <= north <= 90.0)
    if not all(places) or not -_HIGHEST <= bottom <= top <= _HIGHEST:
        shown = ", ".join(f"{value:g}" for value in found)
        raise TakeoverError(
            f"the bounding volume of the root of {name} is no place on Earth (west, south, bottom, east, north, top: {shown}); a region "
            "has radians and metres, a box needs a transform to where it stands"
        )
    return found


def _volume_box(root: dict[str, Any], name: str) -> _Box:
    volume = root.get("boundingVolume")
    if not isinstance(volume, dict):
        raise TakeoverError(f"the root of {name} has no boundingVolume")
    region = _numbers(volume.get("region"), 6)
    if region is not None:
        limits = np.array([180.0, 90.0, 180.0, 90.0])
        degrees = np.degrees(region[:4])
        # Writers round pi up.
        near = np.abs(np.abs(degrees) - limits) < 1e-4
        west, south, east, north = np.where(near, np.copysign(limits, degrees), degrees).tolist()
        return west, south, float(region[4]), east, north, float(region[5])
    corners = _corners(volume, name)
    matrix = _numbers(root.get("transform"), 16)
    placed = _IDENTITY if matrix is None else matrix.reshape(4, 4).T
    ecef = corners @ placed[:3, :3].T + placed[:3, 3]
    if np.linalg.norm(ecef.mean(axis=0)) < 6_000_000.0:
        raise TakeoverError(
            f"the tileset of {name} does not lie on the globe: its root has neither a region nor a transform that places it. "
            "Give its root a transform to where it stands"
        )
    transformer = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    longitude, latitude, height = (
        np.asarray(part) for part in transformer.transform(ecef[:, 0], ecef[:, 1], ecef[:, 2])
    )
    if longitude.max() - longitude.min() > 180.0:
        longitude = np.where(longitude < 0.0, longitude + 360.0, longitude)
    west, east = float(longitude.min()), float(longitude.max())
    return (
        west - 360.0 if west > 180.0 else west,
        float(latitude.min()),
        float(height.min()),
        east - 360.0 if east > 180.0 else east,
        float(latitude.max()),
        float(height.max()),
    )


def _corners(volume: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Corners (n, 3) around a box or a sphere."""
    box, sphere = _numbers(volume.get("box"), 12), _numbers(volume.get("sphere"), 4)
    signs = np.array(
        [[x, y, z] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0) for z in (-1.0, 0.0, 1.0)]
    )
    if box is not None:
        return np.asarray(box[:3] + signs @ box[3:].reshape(3, 3))
    if sphere is not None:
        return np.asarray(sphere[:3] + signs * sphere[3])
    raise TakeoverError(f"the root of {name} has no region, box or sphere of numbers")


def _numbers(value: Any, count: int) -> NDArray[np.float64] | None:
    good = isinstance(value, list) and len(value) == count
    if not good or not all(isinstance(one, int | float) and np.isfinite(one) for one in value):
        return None
    return np.array(value, dtype=np.float64)
