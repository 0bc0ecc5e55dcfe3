"""An elevation model -> a folder of quantized-mesh tiles with layer.json, and the recipe to make every further tile.

Tiles down to a level are written as files (EPSG:4326); deeper ones, and those of EPSG:3857, are made when they are asked for. Both
root tiles always exist, flat where there are no data, and so does every tile above and beside the data that is needed to
reach it. Tiles are written block by block, in several processes where that is worth it; a journal of finished blocks lets a build
that was killed go on.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from tiles.terrain.elevation import ElevationModel
from tiles.terrain.errors import TerrainError
from tiles.terrain.quantized_mesh import GRID
from tiles.terrain.recipe import RECIPE_FILE, TerrainRecipe
from tiles.terrain.surface import Surface
from tiles.terrain.terrain_tiles import ERROR_AT_LEVEL_0, TerrainTiles
from tiles.terrain.tiling import DEEPEST_LEVEL, GEOGRAPHIC, Availability, TileRange
from tiles.terrain.water import WaterRule
from tiles.three_d.files import FileWriter
from tiles.three_d.vertical import VerticalReference

MOST_PREBUILT = 20_000
"""Tiles that are written when nothing else is asked for: two minutes of one core. What is deeper is made on request."""
JOURNAL_FILE = "terrain.journal"
_METRES_PER_DEGREE = 111_320.0
_BLOCK_EDGE = 16
# Fewer tiles than this are written sooner by one process than others start.
_WORTH_PROCESSES = 2_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TerrainSummary:
    """What was built. `bbox84h`: west, south, bottom, east, north, top of the data, degrees and metres above the
    ellipsoid (west > east across the antimeridian). `bytes` counts the plain files, `gzip_bytes` their compressed siblings;
    `tile_count` the files, down to level `prebuilt`. `largest_difference`: see TerrainTiles."""

    min_zoom: int
    max_zoom: int
    tile_count: int
    bytes: int
    gzip_bytes: int
    bbox84h: tuple[float, float, float, float, float, float]
    height_reference: str
    prebuilt: int
    largest_difference: float


class _Block(NamedTuple):
    """Some tiles of one level that are made together."""

    level: int
    tiles: TileRange

    @property
    def name(self) -> str:
        return f"{self.level}/{self.tiles.west}/{self.tiles.south}"


class _Written(NamedTuple):
    """A finished block."""

    name: str
    tiles: int
    plain: int
    packed: int


def build_terrain(
    out_dir: Path,
    dem_path: Path,
    *,
    vertical: VerticalReference | None = None,
    attribution: str = "",
    max_zoom: int | None = None,
    max_error: float | None = None,
    water: WaterRule | None = None,
    prebuilt: int | None = None,
    processes: int = 1,
    report: Progress | None = None,
) -> TerrainSummary:
    """Write `layer.json`, the recipe and `{z}/{x}/{y}.terrain` for an elevation model into `out_dir`.

    `dem_path` is a raster (any CRS, heights in band 1) or a mosaic's index; the recipe names it relative to `out_dir`, so the two
    have to move together. `vertical` says what its heights refer to (default: the ellipsoid); a grid file it names has to lie in
    `out_dir` too if it is to move with it. The deepest level follows from the model's pixel size unless `max_zoom` says
    otherwise. `max_error` (m) is the largest error of the mesh at that level. Files of `water` are in `out_dir`. Levels down to
    `prebuilt` are written; None: as many as hold no more than 20,000 tiles, -1: none. Where the model has no data the ground lies at
    its lowest height; around its border it slopes down to that. `report(done, total)` is called after every block of tiles; what it
    raises stops the build, and the same call again goes on.

    Raises TerrainError where the file is no elevation model, PlacementError where it cannot be placed, VerticalReferenceError where
    its heights have no way to the ellipsoid.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    recipe, availability = _planned(out_dir, dem_path, vertical, attribution, max_zoom, max_error, water)
    recipe = replace(recipe, prebuilt=_prebuilt(availability, prebuilt))
    journal = _Journal(out_dir / JOURNAL_FILE, recipe)
    recipe.write(out_dir)
    done = _write_tiles(out_dir, recipe, availability, journal, max(1, processes), report)
    with TerrainTiles(out_dir, recipe) as tiles:
        layer = orjson.dumps(tiles.layer_json(), option=orjson.OPT_INDENT_2)
        difference = tiles.largest_difference
    FileWriter(out_dir).write("layer.json", layer)
    journal.remove()
    west, south, east, north = recipe.bounds
    return TerrainSummary(
        min_zoom=0,
        max_zoom=recipe.deepest,
        tile_count=sum(one.tiles for one in done),
        bytes=sum(one.plain for one in done) + len(layer),
        gzip_bytes=sum(one.packed for one in done),
        bbox84h=(west, south, recipe.lowest, east if east <= 180.0 else east - 360.0, north, recipe.highest),
        height_reference=recipe.height_reference,
        prebuilt=recipe.prebuilt,
        largest_difference=difference,
    )


def _planned(
    out_dir: Path,
    dem_path: Path,
    vertical: VerticalReference | None,
    attribution: str,
    max_zoom: int | None,
    max_error: float | None,
    water: WaterRule | None,
) -> tuple[TerrainRecipe, Availability]:
    with ElevationModel(dem_path) as model:
        surface = Surface(model, vertical or VerticalReference.ellipsoidal())
        deepest = _deepest_level(model) if max_zoom is None else max_zoom
        if not 0 <= deepest <= DEEPEST_LEVEL:
            raise TerrainError(f"level {deepest} was asked; allowed are 0 to {DEEPEST_LEVEL}")
        if max_error is not None and not 0.0 < max_error < float("inf"):
            raise TerrainError(f"an error of {max_error} m was asked; allowed are numbers above 0")
        availability = Availability(GEOGRAPHIC, surface.boxes(), deepest)
        recipe = TerrainRecipe(
            model=os.path.relpath(dem_path.resolve(), out_dir.resolve()),
            vertical=_relative(vertical or VerticalReference.ellipsoidal(), out_dir),
            deepest=deepest,
            max_error=ERROR_AT_LEVEL_0 / 2.0**deepest if max_error is None else max_error,
            lowest=surface.lowest,
            highest=surface.highest,
            bounds=surface.bounds,
            height_reference=surface.description,
            attribution=attribution,
            water=water,
        )
        return recipe, availability


def _relative(vertical: VerticalReference, folder: Path) -> VerticalReference:
    if vertical.path is None:
        return vertical
    return VerticalReference.grid(Path(os.path.relpath(vertical.path.resolve(), folder.resolve())))


def _deepest_level(model: ElevationModel) -> int:
    """The level whose samples lie about as far apart as the model's pixels."""
    spacing_at_0 = 180.0 * _METRES_PER_DEGREE / (GRID - 1)
    return int(np.clip(round(float(np.log2(spacing_at_0 / model.pixel_size()))), 0, DEEPEST_LEVEL))


def _prebuilt(availability: Availability, asked: int | None) -> int:
    """The deepest level that is written."""
    if asked is not None:
        return max(-1, min(asked, availability.deepest))
    fitting = [
        level for level in range(availability.deepest + 1) if availability.count(level) <= MOST_PREBUILT
    ]
    return max(fitting, default=-1)


def _blocks(availability: Availability, prebuilt: int) -> Iterator[_Block]:
    for level in range(prebuilt + 1):
        for tiles in availability.blocks(level, _BLOCK_EDGE):
            yield _Block(level, tiles)


def _write_tiles(
    out_dir: Path,
    recipe: TerrainRecipe,
    availability: Availability,
    journal: _Journal,
    processes: int,
    report: Progress | None,
) -> list[_Written]:
    total = availability.count(recipe.prebuilt) if recipe.prebuilt >= 0 else 0
    done = list(journal.done.values())
    left = [block for block in _blocks(availability, recipe.prebuilt) if block.name not in journal.done]
    count = sum(one.tiles for one in done)
    many = processes > 1 and sum(block.tiles.size for block in left) >= _WORTH_PROCESSES
    written = _in_processes(out_dir, recipe, left, processes) if many else _here(out_dir, recipe, left)
    for one in written:
        journal.add(one)
        done.append(one)
        count += one.tiles
        if report is not None:
            report(count, total)
    return done


def _here(out_dir: Path, recipe: TerrainRecipe, blocks: list[_Block]) -> Iterator[_Written]:
    with TerrainTiles(out_dir, recipe, whole=True) as tiles:
        for block in blocks:
            yield _write_block(out_dir, tiles, block)


def _in_processes(
    out_dir: Path, recipe: TerrainRecipe, blocks: list[_Block], processes: int
) -> Iterator[_Written]:
    """Blocks in whatever order they are finished. Only a few wait in the queue, so that a stop is a stop."""
    pool = ProcessPoolExecutor(
        processes,
        # A forked child would share GDAL's and PROJ's open files with its parent.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(out_dir, recipe),
    )
    waiting: set[Future[_Written]] = set()
    try:
        for block in blocks:
            if len(waiting) >= 2 * processes:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in finished)
            waiting.add(pool.submit(_write_in_child, block))
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)
    except BrokenProcessPool as error:
        raise TerrainError(
            "a process that makes terrain was ended from outside, perhaps for want of memory; start again, it goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_child: tuple[Path, TerrainTiles] | None = None
"""What a child process works on, set once when it begins."""


def _begin(out_dir: Path, recipe: TerrainRecipe) -> None:
    global _child
    _child = (out_dir, TerrainTiles(out_dir, recipe, whole=True))


def _write_in_child(block: _Block) -> _Written:
    if _child is None:
        raise TerrainError("a child process was given work before it was told of which terrain")
    return _write_block(*_child, block)


def _write_block(out_dir: Path, tiles: TerrainTiles, block: _Block) -> _Written:
    writer = FileWriter(out_dir)
    west, south, east, north = block.tiles
    for x in range(west, east + 1):
        for y in range(south, north + 1):
            content = tiles.tile(block.level, x, y)
            if content is None:
                raise TerrainError(f"tile {block.level}/{x}/{y} was planned and is not there any more")
            writer.write(f"{block.level}/{x}/{y}.terrain", content)
    return _Written(block.name, block.tiles.size, writer.plain_bytes, writer.gzip_bytes)


class _Journal:
    """Blocks that are finished, one line each. Of a build of something else it is begun anew."""

    def __init__(self, path: Path, recipe: TerrainRecipe) -> None:
        self._path = path
        self._heading = hashlib.blake2s(repr(recipe).encode()).hexdigest()
        self.done: dict[str, _Written] = {}
        if not self._read():
            self.done = {}
            path.write_text(f"{self._heading}\n", "utf-8")

    def _read(self) -> bool:
        try:
            heading, *lines = self._path.read_text("utf-8").split("\n")
        except FileNotFoundError:
            return False
        if heading != self._heading:
            return False
        # The last line may have been cut off; what follows the last line end is never a whole one.
        for line in lines[:-1]:
            try:
                name, tiles, plain, packed = json.loads(line)
            except ValueError:
                continue
            self.done[name] = _Written(name, tiles, plain, packed)
        return True

    def add(self, written: _Written) -> None:
        """Note a finished block."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(list(written)) + "\n")

    def remove(self) -> None:
        """The build is over."""
        self._path.unlink(missing_ok=True)


PRIVATE_FILES = frozenset({RECIPE_FILE, JOURNAL_FILE})
"""Files beside the tiles that are not for clients; those of water and geoids begin with an underscore."""
