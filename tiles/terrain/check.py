"""A checker of quantized-mesh terrain: reads everything back and says what is wrong with it. No finding means good.

It checks layer.json, what it and the tiles' metadata say is available against the tiles that are there, every tile's header, vertices,
triangles, edges and extensions, and whether tiles meet: those of one level within a step of their heights, those of two levels
within the skirts that clients hang below their edges.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiles.terrain.check_tile import check_normals, check_tile
from tiles.terrain.errors import TerrainError
from tiles.terrain.mesh import LARGEST, TileMesh, read_tile
from tiles.terrain.recipe import read_recipe
from tiles.terrain.tiling import GRIDS, METADATA_LEVELS, TerrainGrid, TileRange
from tiles.three_d.check.findings import Finding

type ReadTile = Callable[[int, int, int], bytes | None]
"""Level, column, row from the south -> the tile's bytes, None where there is none."""

# What a client assumes of a level (65 samples along a quarter of the equator at level 0 of EPSG:4326), and how many times that
# its skirts reach down.
_ERROR_AT_LEVEL_0, _SKIRT = 77_067.34, 5.0
_MOST_FINDINGS = 1_000
# A tile with such a fault still has a mesh that can be compared with its neighbours'.
_COMPARABLE = frozenset({"sphere", "center", "horizon", "normals", "water", "extension"})
_NAME = re.compile(r"(\d{1,2})/(\d{1,8})/(\d{1,8})\.terrain")


def check_terrain(folder: Path, *, most_tiles: int | None = None) -> list[Finding]:
    """What is wrong with a terrain's folder (layer.json and Z/X/Y.terrain): all its files, or `most_tiles` spread over every level.

    Levels that are made on request are not there to be checked; `check_tiles` checks those of a server.
    """
    findings: list[Finding] = []
    try:
        layer = json.loads((folder / "layer.json").read_bytes())
    except (OSError, ValueError) as error:
        return [Finding("layer.json", "layer", f"cannot be read: {error}")]
    try:
        recipe = read_recipe(folder)
    except TerrainError as error:
        findings.append(Finding("terrain.json", "recipe", str(error)))
        recipe = None
    deepest = None if recipe is None else recipe.prebuilt

    def read(z: int, x: int, y: int) -> bytes | None:
        try:
            return (folder / f"{z}/{x}/{y}.terrain").read_bytes()
        except OSError:
            return None

    findings += check_tiles(layer, read, deepest=deepest, most_tiles=most_tiles)
    findings += _stray_files(folder, layer)
    return findings[:_MOST_FINDINGS]


def check_tiles(
    layer: Any, read: ReadTile, *, deepest: int | None = None, most_tiles: int | None = None
) -> list[Finding]:
    """What is wrong with a layer.json and the tiles it lists, down to level `deepest` (None: all)."""
    checked = _Layer(layer)
    checked.check()
    if checked.grid is None or not checked.levels:
        return checked.found
    run = _Run(checked, checked.grid, read, deepest, checked.found)
    run.check(most_tiles)
    return checked.found[:_MOST_FINDINGS]


@dataclass
class _Layer:
    """layer.json, and what it says is available, by level."""

    document: Any
    found: list[Finding] = field(default_factory=list)
    grid: TerrainGrid | None = None
    levels: list[list[TileRange]] = field(default_factory=list)

    def add(self, rule: str, message: str) -> None:
        self.found.append(Finding("layer.json", rule, message))

    def check(self) -> None:
        document = self.document
        if not isinstance(document, Mapping):
            self.add("layer", "is no JSON object")
            return
        for name, allowed in (
            ("format", ("quantized-mesh-1.0",)),
            ("scheme", ("tms",)),
            ("projection", tuple(grid.projection for grid in GRIDS.values())),
        ):
            if document.get(name) not in allowed:
                self.add(name, f"{document.get(name)!r}; allowed: {', '.join(allowed)}")
        self.grid = next(
            (grid for grid in GRIDS.values() if grid.projection == document.get("projection")), None
        )
        self._check_members(document)
        if self.grid is not None:
            self._check_available(document, self.grid)

    def _check_members(self, document: Mapping[str, Any]) -> None:
        tiles = document.get("tiles")
        if not (isinstance(tiles, list) and tiles and all(_is_template(one) for one in tiles)):
            self.add("tiles", f"{tiles!r} is no list of templates with {{z}}, {{x}} and {{y}}")
        if not isinstance(document.get("version"), str):
            self.add("version", "is missing: clients put it into the address of tiles")
        for name in ("bounds", "valid_bounds"):
            box = document.get(name)
            if box is None and name == "valid_bounds":
                continue
            if not (isinstance(box, list) and len(box) == 4 and all(_is_number(one) for one in box)):
                self.add(name, f"{box!r}; needed: west, south, east, north")
            elif not (-180 <= box[0] <= 180 and -90 <= box[1] < box[3] <= 90 and -180 <= box[2] <= 180):
                self.add(name, f"{box} is no box in degrees")
        step = document.get("metadataAvailability")
        if step is not None and not (isinstance(step, int) and step > 0):
            self.add("metadataAvailability", f"{step!r} is no number of levels")
        extensions = document.get("extensions", [])
        if not isinstance(extensions, list) or not set(map(str, extensions)) <= {
            "octvertexnormals",
            "watermask",
            "metadata",
        }:
            self.add("extensions", f"{extensions!r}; known: octvertexnormals, watermask, metadata")
        if step is not None and "metadata" not in extensions:
            self.add("extensions", "metadataAvailability is given, and the extension metadata is not")

    def _check_available(self, document: Mapping[str, Any], grid: TerrainGrid) -> None:
        available, deepest = document.get("available"), document.get("maxzoom")
        if not isinstance(available, list) or not isinstance(deepest, int):
            self.add("available", "available (a list a level) and maxzoom (a number) are needed")
            return
        whole = len(available) == deepest + 1
        if not whole and document.get("metadataAvailability") is None:
            self.add("available", f"lists {len(available)} levels; maxzoom is {deepest}")
        for level, ranges in enumerate(available):
            try:
                found = [TileRange(one["startX"], one["startY"], one["endX"], one["endY"]) for one in ranges]
            except (KeyError, TypeError):
                self.add("available", f"level {level}: {str(ranges)[:200]} is no list of ranges")
                return
            columns, rows = grid.size(level)
            for one in found:
                if not (0 <= one.west <= one.east < columns and 0 <= one.south <= one.north < rows):
                    self.add("available", f"level {level}: {one} lies outside {columns} x {rows} tiles")
                    return
            self.levels.append(found)
        if self.levels and sum(one.size for one in self.levels[0]) != grid.columns:
            self.add("available", f"a globe needs all {grid.columns} tiles of level 0")
        self._check_parents()

    def _check_parents(self) -> None:
        for level in range(1, len(self.levels)):
            for one in self.levels[level]:
                corners = (
                    (one.west, one.south),
                    (one.east, one.north),
                    (one.west, one.north),
                    (one.east, one.south),
                )
                for x, y in corners:
                    if not _holds(self.levels[level - 1], x // 2, y // 2):
                        self.add("parents", f"{level}/{x}/{y} is available, and the tile above it is not")
                        break


def _holds(ranges: list[TileRange], x: int, y: int) -> bool:
    return any(one.west <= x <= one.east and one.south <= y <= one.north for one in ranges)


def _is_template(text: Any) -> bool:
    return isinstance(text, str) and all(part in text for part in ("{z}", "{x}", "{y}"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


@dataclass
class _Run:
    """Goes through the tiles, level by level; a tile is read once, and kept while its neighbours are compared."""

    layer: _Layer
    grid: TerrainGrid
    read: ReadTile
    deepest: int | None
    found: list[Finding]
    above: dict[tuple[int, int], TileMesh] = field(default_factory=dict)

    def check(self, most_tiles: int | None) -> None:
        levels = self.layer.levels
        last = len(levels) - 1 if self.deepest is None else min(self.deepest, len(levels) - 1)
        share = None if most_tiles is None else max(1, most_tiles // (last + 1))
        for level in range(last + 1):
            here: dict[tuple[int, int], TileMesh] = {}
            for x, y in self._chosen(levels[level], share):
                mesh = self._tile(level, x, y)
                if mesh is not None:
                    here[x, y] = mesh
                if len(self.found) >= _MOST_FINDINGS:
                    return
            for (x, y), mesh in here.items():
                self._meets(level, x, y, mesh, here)
            self.above = here

    def _chosen(self, ranges: list[TileRange], share: int | None) -> Iterator[tuple[int, int]]:
        """All tiles of a level, or a block of neighbours of each of its ranges."""
        for one in ranges:
            edge = None if share is None else max(1, int((share / len(ranges)) ** 0.5))
            east = one.east if edge is None else min(one.east, one.west + edge - 1)
            north = one.north if edge is None else min(one.north, one.south + edge - 1)
            for x in range(one.west, east + 1):
                for y in range(one.south, north + 1):
                    yield x, y

    def _tile(self, level: int, x: int, y: int) -> TileMesh | None:
        name = f"{level}/{x}/{y}.terrain"
        content = self.read(level, x, y)
        if content is None:
            self.found.append(Finding(name, "missing", "is available by layer.json, and not there"))
            return None
        try:
            mesh = read_tile(content, self.grid.box(level, x, y))
        except TerrainError as error:
            self.found.append(Finding(name, "format", str(error)))
            return None
        wanted = self.layer.document.get("extensions", [])
        faults = check_tile(mesh, wanted)
        self.found.extend(Finding(name, rule, message) for rule, message in faults)
        if not faults:
            self._check_metadata(name, level, x, y, mesh)
        return mesh if all(rule in _COMPARABLE for rule, _ in faults) else None

    def _check_metadata(self, name: str, level: int, x: int, y: int, mesh: TileMesh) -> None:
        step = self.layer.document.get("metadataAvailability")
        if step is None or level % step:
            return
        try:
            metadata = mesh.metadata()
        except TerrainError as error:
            self.found.append(Finding(name, "metadata", str(error)))
            return
        if metadata is None:
            self.found.append(
                Finding(name, "metadata", f"every {step} levels tiles say what is below them; this does not")
            )
            return
        listed = metadata.get("available")
        for number, ranges in enumerate(listed if isinstance(listed, list) else [None]):
            below = level + number + 1
            if below >= len(self.layer.levels):
                break
            wide = 1 << (number + 1)
            area = TileRange(x * wide, y * wide, (x + 1) * wide - 1, (y + 1) * wide - 1)
            said = _tiles_within(ranges, area)
            listed_here = sum(_overlap(one, area) for one in self.layer.levels[below])
            if said != listed_here:
                self.found.append(
                    Finding(
                        name,
                        "metadata",
                        f"says {said} tiles of level {below} lie below it, layer.json {listed_here}",
                    )
                )
        deeper = min(level + METADATA_LEVELS, len(self.layer.levels) - 1)
        missing = range(level + 1 + (len(listed) if isinstance(listed, list) else 0), deeper + 1)
        if any(
            _overlap(
                one,
                TileRange(
                    x << (down - level),
                    y << (down - level),
                    ((x + 1) << (down - level)) - 1,
                    ((y + 1) << (down - level)) - 1,
                ),
            )
            for down in missing
            for one in self.layer.levels[down]
        ):
            self.found.append(
                Finding(name, "metadata", f"does not tell of the levels {list(missing)} below it")
            )

    def _meets(
        self, level: int, x: int, y: int, mesh: TileMesh, here: dict[tuple[int, int], TileMesh]
    ) -> None:
        """Compare a tile with its eastern and northern neighbours, and its edges with those of the tile above."""
        name = f"{level}/{x}/{y}.terrain"
        columns, _ = self.grid.size(level)
        for other, mine, theirs in ((((x + 1) % columns, y), 2, 0), ((x, y + 1), 3, 1)):
            if other in here and other != (x, y):
                fault = _crack(mesh, mine, here[other], theirs)
                if fault is not None:
                    self.found.append(Finding(name, "crack", f"{fault} of {level}/{other[0]}/{other[1]}"))
        parent = self.above.get((x // 2, y // 2))
        if parent is not None:
            gap = _gap_to_parent(mesh, x & 1, y & 1, parent)
            skirt = _SKIRT * _ERROR_AT_LEVEL_0 * (2 / self.grid.columns) / 2.0 ** (level - 1)
            if gap > skirt:
                self.found.append(
                    Finding(
                        name,
                        "crack",
                        f"its edge lies up to {gap:.1f} m from that of the tile above; skirts reach {skirt:.1f} m",
                    )
                )


def _tiles_within(ranges: Any, area: TileRange) -> int | None:
    try:
        parts = [TileRange(one["startX"], one["startY"], one["endX"], one["endY"]) for one in ranges]
    except (KeyError, TypeError):
        return None
    return sum(_overlap(one, area) for one in parts)


def _overlap(one: TileRange, other: TileRange) -> int:
    wide = min(one.east, other.east) - max(one.west, other.west) + 1
    high = min(one.north, other.north) - max(one.south, other.south) + 1
    return max(wide, 0) * max(high, 0)


def _edge(mesh: TileMesh, side: int) -> tuple[Any, Any]:
    """Steps along an edge (0 west, 1 south, 2 east, 3 north), rising, and metres."""
    chosen = mesh.edges[side]
    along = (mesh.v if side in (0, 2) else mesh.u)[chosen]
    order = np.argsort(along, kind="stable")
    return along[order], (mesh.header[3] + mesh.h[chosen] * mesh.step)[order]


def _crack(mesh: TileMesh, mine: int, other: TileMesh, theirs: int) -> str | None:
    """What gapes between two neighbours of a level, None where they meet."""
    along, high = _edge(mesh, mine)
    other_along, other_high = _edge(other, theirs)
    if not np.array_equal(along, other_along):
        return f"its edge has {len(along)} vertices, elsewhere than the {len(other_along)}"
    gap = float(np.abs(high - other_high).max())
    allowed = mesh.step + other.step + 1e-3
    return None if gap <= allowed else f"its edge lies up to {gap:.3f} m (allowed {allowed:.3f}) from that"


def _gap_to_parent(mesh: TileMesh, right: int, upper: int, parent: TileMesh) -> float:
    """The largest distance (m) of a tile's outer edges from the same edges of the tile above."""
    largest = 0.0
    for side, shift in ((2 if right else 0, upper), (3 if upper else 1, right)):
        along, high = _edge(mesh, side)
        other_along, other_high = _edge(parent, side)
        if not len(along) or not len(other_along):
            continue
        there = np.interp((along + shift * LARGEST) / 2.0, other_along, other_high)
        largest = max(largest, float(np.abs(high - there).max()))
    return largest


def _stray_files(folder: Path, layer: Any) -> list[Finding]:
    """Tiles that no level lists, and compressed siblings that hold something else."""
    checked = _Layer(layer)
    checked.check()
    found = []
    for path in sorted(folder.glob("[0-9]*/*/*.terrain")):
        name = path.relative_to(folder).as_posix()
        match = _NAME.fullmatch(name)
        z, x, y = (int(part) for part in match.groups()) if match else (-1, 0, 0)
        if 0 <= z < len(checked.levels) and not _holds(checked.levels[z], x, y):
            found.append(Finding(name, "stray", "is there, and not available by layer.json"))
        packed = path.with_name(path.name + ".gz")
        if packed.is_file() and not _holds_same(packed, path):
            found.append(Finding(f"{name}.gz", "compressed", "does not unpack to its sibling"))
        if len(found) >= _MOST_FINDINGS:
            break
    return found


def _holds_same(packed: Path, plain: Path) -> bool:
    try:
        return gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    except (OSError, EOFError, ValueError):
        return False


__all__ = ["check_normals", "check_terrain", "check_tile", "check_tiles"]
