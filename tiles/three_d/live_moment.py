"""A tileset at one moment: as published, where an edit touched nothing, and made anew, where one did."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from tiles.three_d.facts import TileFacts
from tiles.three_d.files import compress
from tiles.three_d.live_overlay import OUTSIDE_CODE, Overlay, address_of, code_of
from tiles.three_d.live_store import Change, LiveStore
from tiles.three_d.objects import ObjectSource, SourceRecipe, TileAddress
from tiles.three_d.plan import TilePlan
from tiles.three_d.subtree import subtree_depth, subtree_file, subtree_root

if TYPE_CHECKING:
    from tiles.three_d.build_tile import TileOptions
    from tiles.three_d.facts import DerivedFacts

TILESET = "tileset.json"
OUTSIDE_CONTENT = "content/outside.glb"
type Room = Callable[[], AbstractContextManager[object]]
_TILE = re.compile(r"(content|subtrees)/(\d{1,2})/(\d{1,9})/(\d{1,9})\.(glb|subtree)")
_ENDINGS = {"content": "glb", "subtrees": "subtree"}


class SharedSource:
    """A source that is opened when it is first wanted, and used by one thread at a time."""

    def __init__(self, recipe: SourceRecipe) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self._opened: ObjectSource | None = None

    @contextmanager
    def held(self) -> Iterator[ObjectSource]:
        """The source. Raises ThreeDError where it cannot be read."""
        with self._lock:
            if self._opened is None:
                self._opened = self._recipe.open()
            yield self._opened


class Piece(NamedTuple):
    """One file of a tileset. `revision` rises whenever its bytes change, 0 as published; `file` where it is a published one."""

    name: str
    revision: int
    file: Path | None


def empty_glb() -> bytes:
    """A binary glTF that shows nothing: a tile of which a filter leaves nothing (glTF 2.0, clause 3.5: a scene is not needed)."""
    text = orjson.dumps({"asset": {"version": "2.0", "generator": "chengtu"}})
    text += b" " * (-len(text) % 4)
    header = b"glTF" + (2).to_bytes(4, "little") + (20 + len(text)).to_bytes(4, "little")
    return header + len(text).to_bytes(4, "little") + b"JSON" + text


def empty_b3dm() -> bytes:
    """The same for clients of 3D Tiles 1.0 (OGC 18-053r2, clause 9: header, feature table, glb)."""
    table = b'{"BATCH_LENGTH":0}  '
    content = empty_glb()
    content += b"\x00" * (-(28 + len(table) + len(content)) % 8)
    lengths = (1, 28 + len(table) + len(content), len(table), 0, 0, 0)
    return b"b3dm" + b"".join(number.to_bytes(4, "little") for number in lengths) + table + content


def parse_tile(name: str) -> tuple[str, TileAddress] | None:
    """ "content" or "subtrees" and the tile of a file's name, None for any other name."""
    match = _TILE.fullmatch(name)
    if match is None or _ENDINGS[match[1]] != match[5] or not name.isascii():
        return None
    level, x, y = int(match[2]), int(match[3]), int(match[4])
    if max(x, y) >= 2**level or level > 30:
        return None
    return match[1], TileAddress(level, x, y)


@dataclass(frozen=True)
class TilesetMoment:
    """`files`: the published folder. `store`: where what is made is kept, None for a past moment. `pruned`: only some of the tiles
    are there, so that no published subtree is true.
    """

    files: Path
    change: Change
    overlay: Overlay
    options: TileOptions
    source: SharedSource
    store: LiveStore | None = None
    pruned: bool = False

    @property
    def plan(self) -> TilePlan:
        """The plan of the published tileset."""
        return self.overlay.plan

    @cached_property
    def revision(self) -> int:
        """The highest revision of a tile."""
        return max(self.overlay.revisions.values(), default=0)

    @cached_property
    def depth(self) -> int:
        """`subtreeLevels`."""
        return subtree_depth(self.plan.levels)

    @cached_property
    def derived(self) -> DerivedFacts | None:
        """What the tiles and all below them contain; None where nothing is left in any."""
        facts = self.overlay.facts
        return facts.derived(self.plan) if len(facts.rows) else None

    @cached_property
    def _subtree_revisions(self) -> dict[tuple[int, int, int], int]:
        """Of each subtree that holds a touched tile, or has one below it."""
        found: dict[tuple[int, int, int], int] = {}
        for code, revision in self.overlay.revisions.items():
            if code == OUTSIDE_CODE:
                continue
            tile = address_of(code)
            level, x, y = tile.level, tile.x, tile.y
            while level >= 0:
                root = subtree_root(level, x, y, self.depth)
                found[root] = max(revision, found.get(root, 0))
                level, x, y = root[0] - 1, root[1] >> 1, root[2] >> 1
        return found

    def find(self, name: str) -> Piece | None:
        """A file of the tileset by its relative name, None where the tileset has no such file at this moment.

        A tile that edits have emptied is still answered, with nothing in it: a client may hold the documents of a moment ago.
        """
        if name == TILESET:
            return self._piece(name, self.revision)
        if name == OUTSIDE_CONTENT:
            revision = self.overlay.revision(OUTSIDE_CODE)
            return Piece(name, revision, None) if self.overlay.outside is not None or revision else None
        parsed = parse_tile(name)
        if parsed is None:
            return None
        kind, tile = parsed
        if kind == "subtrees":
            return self._find_subtree(name, tile)
        code = code_of(tile)
        revision = self.overlay.revision(code)
        return self._piece(name, revision) if self.overlay.has(code) or revision else None

    def within(self, west: float, south: float, east: float, north: float) -> TilesetMoment:
        """The same with only the tiles whose objects meet a CRS84 box (degrees); west > east crosses the antimeridian."""
        rows = self.overlay.facts.rows
        kept = rows[_meets(rows, west, south, east, north)]
        outside = self.overlay.outside
        if outside is not None and not _meets(outside, west, south, east, north)[0]:
            outside = None
        overlay = replace(self.overlay, facts=TileFacts(kept), outside=outside)
        return replace(self, overlay=overlay, pruned=True)

    def make(self, name: str, room: Room = nullcontext) -> bytes:
        """The bytes, as gzip, of a file that is no published one. What is costly is made inside of `room()`."""
        if name == TILESET:
            return compress(self.tileset())
        parsed = parse_tile(name)
        if parsed is not None and parsed[0] == "subtrees":
            return compress(self.subtree(parsed[1]))
        return self.content(OUTSIDE_CODE if parsed is None else code_of(parsed[1]), room)

    def content(self, code: int, room: Room = nullcontext) -> bytes:
        """The glb of a touched tile, as gzip: as it is kept, or made now. Raises ThreeDError."""
        revision = self.overlay.revision(code)
        kept = None if self.store is None else self.store.content(code, revision)
        if kept is not None:
            return kept
        with room():
            made = compress(self._made(code))
        if self.store is not None:
            self.store.keep(code, revision, made)
        return made

    def tileset(self) -> bytes:
        """tileset.json of this moment."""
        from tiles.three_d.tileset_document import tileset_json

        derived = self.derived
        document = _nothing(self.plan) if derived is None else orjson.loads(tileset_json(self.plan, derived))
        if self.overlay.outside is not None:
            document = _with_outside(document, self.overlay.outside)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)

    def subtree(self, tile: TileAddress) -> bytes:
        """The subtree whose root is `tile`."""
        if self.derived is None:
            raise KeyError(f"there is no subtree {tile}")
        return subtree_file(self.derived, tile.level, tile.x, tile.y, self.depth)

    def _find_subtree(self, name: str, tile: TileAddress) -> Piece | None:
        if tile.level % self.depth or self.derived is None:
            return None
        at = np.searchsorted(self.derived.codes, code_of(tile))
        if at == len(self.derived.codes) or int(self.derived.codes[at]) != code_of(tile):
            return None
        return self._piece(name, self._subtree_revisions.get((tile.level, tile.x, tile.y), 0))

    def _piece(self, name: str, revision: int) -> Piece:
        made = revision or (self.pruned and not name.endswith(".glb"))
        return Piece(name, revision, None if made else self.files / name)

    def _made(self, code: int) -> bytes:
        from tiles.three_d.build_tile import make_tile

        tile = TileAddress(0, 0, 0) if code == OUTSIDE_CODE else address_of(code)
        members = self.overlay.members(code)
        with self.source.held() as source:
            made = make_tile(source, tile, members.keys, members.detail, self.options)
        return empty_glb() if made is None else made.content


def _meets(
    rows: np.ndarray[Any, np.dtype[np.void]], west: float, south: float, east: float, north: float
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of some facts (n,) meet a box. Their longitudes may lie a turn further east or west than the box's."""
    if west > east:
        east += 360.0
    meets = np.zeros(len(rows), dtype=np.bool_)
    for turn in (-360.0, 0.0, 360.0):
        meets |= (rows["west"] <= east + turn) & (rows["east"] >= west + turn)
    return np.asarray(meets & (rows["south"] <= north) & (rows["north"] >= south))


def _region(row: np.ndarray[Any, np.dtype[np.void]]) -> list[float]:
    """A 3D Tiles region, with a margin for the rounding of positions."""
    west, east = (_turned(float(row[name][0])) for name in ("west", "east"))
    south, north = float(row["south"][0]), float(row["north"][0])
    margin = 1e-8
    sides = [
        np.radians(west) - margin,
        np.radians(south) - margin,
        np.radians(east) + margin,
        np.radians(north) + margin,
    ]
    return [*map(float, sides), float(row["bottom"][0]) - 0.1, float(row["top"][0]) + 0.1]


def _turned(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0 if abs(longitude) > 180.0 else longitude


def _nothing(plan: TilePlan) -> dict[str, Any]:
    """A tileset of which edits have left nothing."""
    region = plan.region
    sides = [np.radians(_turned(value)) for value in region]
    return {
        "asset": {"version": "1.1", "generator": "chengtu"},
        "geometricError": 0.0,
        "root": {
            "boundingVolume": {"region": [*map(float, sides), 0.0, 0.0]},
            "geometricError": 0.0,
            "refine": "ADD",
        },
    }


def _with_outside(document: dict[str, Any], outside: np.ndarray[Any, np.dtype[np.void]]) -> dict[str, Any]:
    """A tileset with a tile beside it that holds what lies outside its root: implicit tiling cannot reach there."""
    root, region = document["root"], _region(outside)
    inner = root["boundingVolume"]["region"]
    has_content = "implicitTiling" in root
    whole = union_of_regions([inner, region]) if has_content else region
    error = max(document["geometricError"], float(outside["largest"][0]), 1.0)
    tile = {
        "boundingVolume": {"region": region},
        "geometricError": 0.0,
        "refine": "ADD",
        "content": {"uri": OUTSIDE_CONTENT},
    }
    return {
        **document,
        "geometricError": error,
        "root": {
            "boundingVolume": {"region": whole},
            "geometricError": error,
            "refine": "ADD",
            "children": [root, tile] if has_content else [tile],
        },
    }


def union_of_regions(regions: list[list[float]]) -> list[float]:
    """The region around regions (radians, metres); west > east where it crosses the antimeridian."""
    array = np.array(regions)
    west, east = array[:, 0], array[:, 2].copy()
    east[east < west] += 2 * np.pi
    plain = (west.min(), east.max())
    # What lies west of Greenwich one turn further east: narrower where the regions lie around the antimeridian.
    shift = np.where(west < 0, 2 * np.pi, 0.0)
    turned = ((west + shift).min(), (east + shift).max())
    # Turning rounds, so it has to be worth it.
    low, high = turned if turned[1] - turned[0] < plain[1] - plain[0] - 1e-9 else plain
    if high - low >= 2 * np.pi:
        low, high = -np.pi, np.pi
    wrap = [float(value - 2 * np.pi) if value > np.pi else float(value) for value in (low, high)]
    return [
        wrap[0],
        float(array[:, 1].min()),
        wrap[1],
        float(array[:, 3].max()),
        float(array[:, 4].min()),
        float(array[:, 5].max()),
    ]
