"""What an EPT folder says of itself (Entwine Point Tile 1.0 and 1.1): ept.json and the hierarchy, checked; no point is read.

Every file that is named is one of the folder's own: names are made here, from four numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyproj

from pointclouds.crs import parse_crs, with_vertical
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.sources import Box3

DataType = Literal["laszip", "binary", "zstandard"]
Key = tuple[int, int, int, int]

ROOT: Final[Key] = (0, 0, 0, 0)
FILE_NAME: Final = "ept.json"
SUFFIXES: Final[dict[DataType, str]] = {"laszip": "laz", "binary": "bin", "zstandard": "zst"}
_LONGEST_JSON: Final = 64 << 20
_MOST_NODES: Final = 2_000_000
_DEEPEST: Final = 40
_MOST_DIMENSIONS: Final = 256
_KEY: Final = re.compile(r"(\d{1,3})-(\d{1,13})-(\d{1,13})-(\d{1,13})")
_KINDS: Final = {"signed": "i", "unsigned": "u", "float": "f", "floating": "f"}


@dataclass(frozen=True)
class EptDimension:
    """One dimension of the schema: natural value = stored * scale + offset."""

    name: str
    dtype: np.dtype[Any]
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class EptLayout:
    """An EPT: `nodes` are the files with points and their counts, parents first; `box` holds all points."""

    folder: Path
    data_type: DataType
    count: int
    box: Box3
    schema: tuple[EptDimension, ...]
    crs: pyproj.CRS | None
    nodes: tuple[tuple[Key, int], ...]

    def data_file(self, key: Key) -> Path:
        """The file of a node's points. Raises UnreadablePointCloudError where a link leads out of the folder."""
        return contained(self.folder, f"ept-data/{node_name(key)}.{SUFFIXES[self.data_type]}")


def node_name(key: Key) -> str:
    """D-X-Y-Z."""
    return "-".join(str(number) for number in key)


def contained(folder: Path, name: str) -> Path:
    """A file below the folder. Raises UnreadablePointCloudError where it is missing, or a link leads out."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadablePointCloudError(
            f"{folder.name}: {name} is a link out of the folder; it is not followed"
        )
    if not path.is_file():
        raise UnreadablePointCloudError(f"{folder.name}: the file {name} is missing; the EPT is not whole")
    return path


def read_ept(folder: Path, crs: pyproj.CRS | None = None) -> EptLayout:
    """Read ept.json and the whole hierarchy.

    Args:
        crs: in place of the one it names.

    Raises:
        UnreadablePointCloudError: something is missing, contradicts itself, or leads in a circle.
        EmptyPointCloudError: no points.
        UnusableCrsError: its srs is not understood and `crs` not given.
    """
    document = _json(folder, FILE_NAME)
    try:
        data_type = document["dataType"]
        if data_type not in SUFFIXES:
            raise ValueError(f"data type {data_type!r}; laszip, binary and zstandard can be read")
        if document.get("hierarchyType", "json") != "json":
            raise ValueError(f"a hierarchy of type {document['hierarchyType']!r}; json can be read")
        count = int(document["points"])
        schema = tuple(_dimension(one) for one in document["schema"][: _MOST_DIMENSIONS + 1])
        box = _box(document.get("boundsConforming") or document["bounds"])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadablePointCloudError(
            f"{folder.name}: its ept.json is of no use: {_words(error)}"
        ) from error
    _check_schema(schema, folder.name)
    nodes = _hierarchy(folder)
    found = sum(points for _, points in nodes)
    if found == 0:
        raise EmptyPointCloudError(f"{folder.name} holds no points; there is nothing to publish")
    if found != count:
        raise UnreadablePointCloudError(
            f"{folder.name}: ept.json says {count} points, its hierarchy {found}; the EPT is not whole"
        )
    return EptLayout(
        folder, data_type, count, box, schema, crs or _srs(document.get("srs"), folder.name), nodes
    )


def _words(error: BaseException) -> str:
    return (
        f"{error} is missing" if isinstance(error, KeyError) else (str(error) or type(error).__name__)[:200]
    )


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = contained(folder, name)
    if path.stat().st_size > _LONGEST_JSON:
        raise UnreadablePointCloudError(f"{folder.name}: {name} has more than {_LONGEST_JSON} bytes")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UnreadablePointCloudError(f"{folder.name}: {name} is no JSON: {_words(error)}") from error
    if not isinstance(document, dict):
        raise UnreadablePointCloudError(f"{folder.name}: {name} holds no JSON object")
    return document


def _dimension(entry: dict[str, Any]) -> EptDimension:
    kind, size = _KINDS.get(str(entry["type"])), int(entry["size"])
    if kind is None or size not in (1, 2, 4, 8) or (kind == "f" and size < 4):
        raise ValueError(
            f"the dimension {str(entry['name'])[:40]!r} of type {entry['type']!r} and {size} bytes"
        )
    scale, offset = float(entry.get("scale") or 1.0), float(entry.get("offset") or 0.0)
    if not np.isfinite((scale, offset)).all() or abs(offset) > 1e9 or not 1e-12 <= scale <= 1e4:
        raise ValueError(
            f"scale {scale!r} and offset {offset!r} of the dimension {str(entry['name'])[:40]!r}"
        )
    return EptDimension(str(entry["name"]), np.dtype(f"<{kind}{size}"), scale, offset)


def _box(values: Any) -> Box3:
    numbers = [float(value) for value in values]
    if len(numbers) != 6 or not np.isfinite(numbers).all() or max(abs(value) for value in numbers) > 1e9:
        raise ValueError(f"bounds {values!r}"[:120])
    if any(numbers[axis] > numbers[axis + 3] for axis in range(3)):
        raise ValueError("bounds that end before they begin")
    return numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]


def _check_schema(schema: tuple[EptDimension, ...], name: str) -> None:
    names = [one.name for one in schema]
    missing = [axis for axis in "XYZ" if axis not in names]
    if missing or len(set(names)) != len(names) or len(names) > _MOST_DIMENSIONS:
        raise UnreadablePointCloudError(
            f"{name}: the schema in ept.json is of no use: "
            + (
                f"{', '.join(missing)} missing"
                if missing
                else f"{len(names)} dimensions, some twice or too many"
            )
        )


def _srs(srs: Any, name: str) -> pyproj.CRS | None:
    """The WKT, else the codes; None where there is neither."""
    if not isinstance(srs, dict):
        return None
    vertical, authority = srs.get("vertical"), str(srs.get("authority") or "EPSG")
    if srs.get("wkt"):
        crs = parse_crs(str(srs["wkt"]), f"{name}: the srs of ept.json")
        if crs.is_compound or not vertical:
            return crs
    elif srs.get("horizontal"):
        crs = parse_crs(f"{authority}:{srs['horizontal']}", f"{name}: the srs of ept.json")
    else:
        return None
    return with_vertical(crs, f"{authority}:{vertical}") if vertical else crs


def _hierarchy(folder: Path) -> tuple[tuple[Key, int], ...]:
    """All nodes with points; pages are read once each, and hold nothing but what lies below their own node."""
    counts: dict[Key, int] = {}
    waiting: list[Key] = [ROOT]
    read: set[Key] = set()
    while waiting:
        page = waiting.pop()
        if page in read:
            raise _broken(folder, f"leads to the page {node_name(page)} twice")
        read.add(page)
        for text, value in _json(folder, f"ept-hierarchy/{node_name(page)}.json").items():
            key = _key(folder, text)
            if not _is_below(key, page):
                raise _broken(folder, f"has the node {text} on the page of {node_name(page)}")
            if not isinstance(value, int) or isinstance(value, bool) or value < -1:
                raise _broken(folder, f"says {value!r} points of the node {text}"[:120])
            if value == -1:
                if key == page:
                    raise _broken(folder, f"leads from the page {text} to itself")
                waiting.append(key)
            elif counts.setdefault(key, value) != value:
                raise _broken(folder, f"says {counts[key]} and {value} points of the node {text}")
        if len(counts) + len(waiting) > _MOST_NODES:
            raise _broken(folder, f"has more than {_MOST_NODES} nodes")
    return tuple(sorted((key, count) for key, count in counts.items() if count))


def _broken(folder: Path, what: str) -> UnreadablePointCloudError:
    return UnreadablePointCloudError(f"{folder.name}: its hierarchy {what}; the EPT is damaged")


def _key(folder: Path, text: str) -> Key:
    found = _KEY.fullmatch(text)
    if found is None:
        raise _broken(folder, f"has a node {text[:40]!r}")
    depth, x, y, z = (int(number) for number in found.groups())
    if depth > _DEEPEST or max(x, y, z) >= 1 << depth:
        raise _broken(folder, f"has a node {text[:40]!r}, which is none of an octree")
    return depth, x, y, z


def _is_below(key: Key, page: Key) -> bool:
    shift = key[0] - page[0]
    return shift >= 0 and all(key[axis] >> shift == page[axis] for axis in (1, 2, 3))
