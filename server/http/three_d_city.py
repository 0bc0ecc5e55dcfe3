"""One tileset of many: a root of our own above the tilesets of collections, those near each other grouped."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from providers.errors import ProviderError
from server.http.three_d_live import live_tileset
from server.registry.catalogue import Collection, RepresentationKind
from tiles.errors import TilesError

_GROUP = 8
"""Children of a tile: a client that sees one corner of the city asks for the tilesets there."""
_RADIUS = 6_378_137.0
_LOWEST, _HIGHEST = -500.0, 9000.0
"""Heights (m) of a collection whose tileset tells none: no place of a city is lower or higher."""
_EMBEDDED = "features.gpkg"
_log = logging.getLogger(__name__)
type Region = tuple[float, float, float, float, float, float]
type Signature = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a tileset: its region (radians; metres above the ellipsoid; west > east crosses the antimeridian), its error (m)."""

    region: Region
    error: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A tileset and its address, relative to the one above."""

    root: Root
    uri: str


class _Known:
    """The roots of collections, with the state of the files they were read of."""

    def __init__(self) -> None:
        self.roots: dict[Path, tuple[Signature, Root]] = {}
        self.lock = threading.Lock()


_known = _Known()
_MOST_KNOWN = 20_000


def root_of(collection: Collection) -> Root:
    """The root of a collection's tileset, edits included. Costs some `stat` calls where nothing changed."""
    directory = collection.directory
    signature = _signature(directory)
    known = _known.roots.get(directory)
    if known is not None and known[0] == signature:
        return known[1]
    root = _read_root(collection)
    with _known.lock:
        if len(_known.roots) >= _MOST_KNOWN:
            _known.roots.clear()
        _known.roots[directory] = (signature, root)
    return root


def _signature(directory: Path) -> Signature:
    return tuple(_state(directory / name) for name in (_EMBEDDED, f"{_EMBEDDED}-wal"))


def _state(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return (found.st_mtime_ns, found.st_size) if found.st_size else (0, 0)


def _read_root(collection: Collection) -> Root:
    file = collection.path_of(RepresentationKind.TILESET_3D)
    try:
        document = file.read_bytes()
        if any(changed > file.stat().st_mtime_ns for changed, _ in _signature(collection.directory)):
            live = live_tileset(collection)
            document = document if live is None else live.current().tileset()
        return _root_in(orjson.loads(document), collection)
    except (OSError, ValueError, KeyError, TypeError, TilesError, ProviderError) as error:
        # One broken tileset must not take the city's away: its own address says what is wrong with it.
        _log.warning(
            "root of a 3D tileset cannot be read",
            extra={"collection": collection.qualified_id, "reason": str(error)},
        )
        return Root(_region_of_extent(collection), 0.0)


def _root_in(document: dict[str, Any], collection: Collection) -> Root:
    root = document["root"]
    region = root["boundingVolume"].get("region")
    if region is None:
        return Root(_region_of_extent(collection), float(document["geometricError"]))
    west, south, east, north, low, high = map(float, region)
    error = max(float(document["geometricError"]), float(root["geometricError"]))
    return Root((west, south, east, north, low, high), error)


def _region_of_extent(collection: Collection) -> Region:
    box = collection.bbox
    if len(box) == 6:
        west, south, low, east, north, high = box
    elif len(box) == 4:
        (west, south, east, north), low, high = box, _LOWEST, _HIGHEST
    else:
        return (-math.pi, -math.pi / 2, math.pi, math.pi / 2, _LOWEST, _HIGHEST)
    return (math.radians(west), math.radians(south), math.radians(east), math.radians(north), low, high)


def city_tileset(entries: Sequence[Entry]) -> dict[str, Any]:
    """The tileset above the others; each child holds what lies in it, and has an error no smaller than its children's."""
    if not entries:
        world = [-math.pi, -math.pi / 2, math.pi, math.pi / 2, 0.0, 0.0]
        root: dict[str, Any] = {"boundingVolume": {"region": world}, "geometricError": 0.0, "refine": "ADD"}
    else:
        ordered = sorted(entries, key=lambda entry: (_place(entry.root.region), entry.uri))
        root = _group(ordered)
    from pointclouds.tilesets.subtrees import TILE_SCHEMA as POINT_TILE_SCHEMA
    from tiles.three_d.subtree import TILE_SCHEMA

    return {
        "asset": {"version": "1.1", "generator": "chengtu"},
        # CesiumJS reads the metadata in subtrees of external tilesets by the schema of the outermost one.
        "schema": {
            **TILE_SCHEMA,
            "classes": {**TILE_SCHEMA["classes"], **POINT_TILE_SCHEMA["classes"]},
        },
        "geometricError": root["geometricError"],
        "root": root,
    }


def _group(entries: Sequence[Entry]) -> dict[str, Any]:
    """A tile above entries in the order of their places."""
    if len(entries) <= _GROUP:
        children = [_leaf(entry) for entry in entries]
    else:
        limits = [round(number * len(entries) / _GROUP) for number in range(_GROUP + 1)]
        parts = [entries[start:stop] for start, stop in pairwise(limits)]
        children = [_leaf(part[0]) if len(part) == 1 else _group(part) for part in parts if part]
    region = _around(tuple(tuple(child["boundingVolume"]["region"]) for child in children))
    error = max(_diagonal(region), *(child["geometricError"] for child in children))
    return {
        "boundingVolume": {"region": list(region)},
        "geometricError": error,
        "refine": "ADD",
        "children": children,
    }


def _leaf(entry: Entry) -> dict[str, Any]:
    return {
        "boundingVolume": {"region": list(entry.root.region)},
        "geometricError": entry.root.error,
        "refine": "ADD",
        "content": {"uri": entry.uri},
    }


@lru_cache(maxsize=64)
def _around(regions: tuple[Region, ...]) -> Region:
    from tiles.three_d.live_moment import union_of_regions

    west, south, east, north, low, high = union_of_regions([list(region) for region in regions])
    return west, south, east, north, low, high


def _place(region: Region) -> int:
    """The place of a region's middle along a Z-order curve."""
    west, south, east, north = region[:4]
    east += 2 * math.pi if east < west else 0.0
    x = int(((west + east) / 2 + math.pi) / (2 * math.pi) * 0xFFFF) & 0xFFFF
    y = int(((south + north) / 2 + math.pi / 2) / math.pi * 0xFFFF) & 0xFFFF
    return sum(((x >> bit & 1) << 2 * bit) | ((y >> bit & 1) << 2 * bit + 1) for bit in range(16))


def _diagonal(region: Region) -> float:
    """Length (m) across a region; good to a few per cent."""
    west, south, east, north, low, high = region
    width = (east - west) % (2 * math.pi)
    across = width * math.cos((south + north) / 2) * _RADIUS
    return math.sqrt(across**2 + ((north - south) * _RADIUS) ** 2 + (high - low) ** 2)
