"""Scenes come to a mosaic and go: one transaction of its index, in which the overview cells they touch are made anew.

Files are written before the transaction commits and removed after it; one that is killed leaves files that no row names,
which the next edit removes.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import from_bounds

from tiles.crs import transformer
from tiles.errors import RasterError, UnsupportedCrs
from tiles.rasters.datasets import FileFacts, file_facts, footprint84, modified_ns
from tiles.rasters.mosaic import Part, cells_of, compose_parts
from tiles.rasters.mosaic_index import (
    CELL_PIXELS,
    COMPOSITE,
    KEPT_EDITS,
    MosaicIndex,
    MosaicRules,
    cell_range,
    connect,
    files_in_use,
    rules_text,
)
from tiles.rasters.source import Bounds, RasterBlock
from tiles.rasters.statistics import joined_statistics

SCENES_FOLDER = "scenes"
CELLS_FOLDER = "overview"
FEW_SCENES = 4
"""Up to so many scenes are read themselves at every scale: their own overviews serve."""
_MOST_CELLS = 4
_LAST_LEVEL = 24
type Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class NewScene:
    """A scene to add. `file` is relative to the mosaic's folder, `statistics` those of `file_statistics`."""

    name: str
    file: str
    instant: str | None
    statistics: list[dict[str, Any]]


def _unheard(_fraction: float) -> None:
    """A `Report` for those who do not watch."""


def _part_of(report: Report, number: int, count: int) -> Report:
    return lambda fraction: report((number + fraction) / count)


def scene_bounds(bounds: Bounds, crs: str, target: str) -> Bounds:
    """The box of a scene in the mosaic's CRS. Raises RasterError where that cannot express it."""
    if crs == target:
        return bounds
    try:
        box = transformer(crs, target).transform_bounds(*bounds, densify_pts=21, errcheck=False)
    except UnsupportedCrs as error:
        raise RasterError(str(error)) from error
    if not all(map(math.isfinite, box)) or box[0] > box[2]:
        raise RasterError(
            f"the box {tuple(bounds)} of {crs[:40]} has no place in the mosaic's CRS {target[:40]}"
        )
    return Bounds(*(float(value) for value in box))


def add_scenes(path: Path, scenes: Sequence[NewScene], report: Report = _unheard) -> None:
    """Add scenes whose files are in place; `report` hears how much is done, 0 to 1, and may raise to stop.

    Raises RasterError for a name that is there already; nothing is changed then.
    """
    with _editing(path) as editor:
        for scene in scenes:
            editor.insert(scene)
        editor.finish(report)


def remove_scenes(path: Path, names: Sequence[str], report: Report = _unheard) -> None:
    """Take scenes out, and remove their files. Raises RasterError for a name that is not there, or if none would be left."""
    with _editing(path) as editor:
        for name in names:
            editor.delete(name)
        editor.finish(report)


@contextmanager
def _editing(path: Path) -> Iterator[_Editor]:
    connection = connect(path, writing=True)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        editor = _Editor(connection, path.parent)
        try:
            yield editor
        except BaseException:
            connection.execute("ROLLBACK")
            editor.forget()
            raise
        connection.execute("COMMIT")
        remove_unused(path.parent, connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise RasterError(f"the index {path.name} of the mosaic cannot be changed: {error}") from error
    finally:
        connection.close()


def remove_leftovers(path: Path) -> None:
    """Remove files that an edit which was killed has left. The caller keeps others from editing."""
    connection = connect(path)
    try:
        remove_unused(path.parent, connection)
    finally:
        connection.close()


def remove_unused(folder: Path, connection: sqlite3.Connection) -> None:
    """Remove scenes and cells that no row names. The caller keeps others from editing."""
    used = files_in_use(connection)
    for room in (SCENES_FOLDER, CELLS_FOLDER):
        for file in (folder / room).glob("*"):
            if f"{room}/{file.name}" not in used:
                file.unlink(missing_ok=True)


class _Editor:
    """One edit under way."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._index = MosaicIndex(connection)
        self._folder = folder
        self._rules = self._index.rules()
        self._touched: list[tuple[str | None, Bounds]] = []
        self._written: list[Path] = []
        self._change = self._index.change() + 1

    def insert(self, scene: NewScene) -> None:
        if self._index.find(scene.name) is not None:
            raise RasterError(
                f"the mosaic has a scene {scene.name!r} already; remove it first, or name the new one otherwise"
            )
        path = self._folder / scene.file
        facts = file_facts(path, modified_ns(path))
        box = scene_bounds(facts.bounds, facts.crs, self._rules.crs)
        (position,) = self._connection.execute("SELECT coalesce(max(position), 0) + 1 FROM scene").fetchone()
        cursor = self._connection.execute(
            "INSERT INTO scene (name, file, crs, west, south, east, north, width, height, instant, position, statistics)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                scene.name, scene.file, facts.crs, *facts.bounds, facts.width, facts.height, scene.instant, position,
                json.dumps(scene.statistics, allow_nan=False),
            ),
        )  # fmt: skip
        self._connection.execute(
            "INSERT INTO scene_box VALUES (?, ?, ?, ?, ?)",
            (cursor.lastrowid, box.west, box.east, box.south, box.north),
        )
        self._touch(scene.instant, box, footprint84(facts.bounds, facts.crs))

    def delete(self, name: str) -> None:
        scene = self._index.find(name)
        if scene is None:
            raise RasterError(f"the mosaic has no scene {name!r}; `chengtu scenes list` shows them")
        self._connection.execute("DELETE FROM scene WHERE id = ?", (scene.id,))
        self._connection.execute("DELETE FROM scene_box WHERE id = ?", (scene.id,))
        box = scene_bounds(scene.bounds, scene.crs, self._rules.crs)
        self._touch(scene.instant, box, footprint84(scene.bounds, scene.crs))

    def _touch(self, instant: str | None, box: Bounds, box84: tuple[float, float, float, float]) -> None:
        self._touched.append((instant, box))
        self._connection.execute("INSERT INTO edit VALUES (?, ?, ?, ?, ?)", (self._change, *box84))

    def finish(self, report: Report) -> None:
        """Bring cells, statistics and the change up to date."""
        if not self._index.count():
            raise RasterError(
                "a mosaic keeps at least one scene; `chengtu unpublish` takes the whole collection away"
            )
        self._rebuild(report)
        bands = tuple(
            dict(band) | joined_statistics(list(parts))
            for band, parts in zip(
                self._rules.bands, zip(*self._index.statistics(), strict=True), strict=True
            )
        )
        self._rules = replace(self._rules, bands=bands)
        self._connection.execute(
            "UPDATE meta SET description = ?, change = ?", (rules_text(self._rules), self._change)
        )
        self._forget_old_edits()

    def _forget_old_edits(self) -> None:
        row = self._connection.execute(
            "SELECT change FROM edit ORDER BY change DESC LIMIT 1 OFFSET ?", (KEPT_EDITS,)
        ).fetchone()
        if row is not None:
            self._connection.execute("DELETE FROM edit WHERE change <= ?", row)
            self._connection.execute("UPDATE meta SET known_since = ?", row)

    def forget(self) -> None:
        """Remove what an edit that failed has written."""
        for file in self._written:
            file.unlink(missing_ok=True)

    def _rebuild(self, report: Report) -> None:
        sets: dict[str, list[Bounds]] = {}
        for instant, box in self._touched:
            if instant is not None:
                sets.setdefault(instant, []).append(box)
            if self._rules.latest == "pixel":
                sets.setdefault(COMPOSITE, []).append(box)
        for number, (of, boxes) in enumerate(sets.items()):
            self._rebuild_set(of, boxes, _part_of(report, number, len(sets)))
        report(1.0)

    def _rebuild_set(self, of: str, boxes: Sequence[Bounds], report: Report) -> None:
        instant = None if of == COMPOSITE else of
        had = self._index.top_level(of)
        if self._index.count(instant) <= FEW_SCENES:
            self._connection.execute("DELETE FROM cell WHERE of = ?", (of,))
            return
        everything = self._set_boxes(instant)
        if had is None:
            boxes = everything
        top = _top_level(everything, self._rules)
        self._connection.execute("DELETE FROM cell WHERE of = ? AND level > ?", (of, top))
        if had is not None and top > had:
            # Levels that were not there are made of everything, not only of what was touched.
            boxes_of = [boxes if level <= had else everything for level in range(top + 1)]
        else:
            boxes_of = [boxes] * (top + 1)
        work = [
            cell
            for level in range(top + 1)
            for cell in sorted(
                {cell for box in boxes_of[level] for cell in cells_of((level,), box, self._rules)}
            )
        ]
        for number, cell in enumerate(work):
            self._make_cell(of, instant, *cell)
            report((number + 1) / len(work))

    def _set_boxes(self, instant: str | None) -> list[Bounds]:
        condition = "" if instant is None else " JOIN scene s ON s.id = b.id WHERE s.instant = ?"
        rows = self._connection.execute(
            f"SELECT b.west, b.south, b.east, b.north FROM scene_box b{condition}",  # noqa: S608 - our own words only
            () if instant is None else (instant,),
        )
        return [Bounds(*row) for row in rows]

    def _make_cell(self, of: str, instant: str | None, level: int, across: int, down: int) -> None:
        bounds = self._rules.cell_bounds(level, across, down)
        bands = list(range(1, len(self._rules.bands) + 1))
        parts = self._children(of, level, bounds) if level else self._scenes(instant, bounds)
        block = compose_parts(
            parts, bounds, self._rules.crs, (CELL_PIXELS, CELL_PIXELS), bands,
            "nearest" if self._rules.codes else "bilinear", self._rules,
        )  # fmt: skip
        key = (of, level, across, down)
        self._connection.execute(
            "DELETE FROM cell WHERE of = ? AND level = ? AND across = ? AND down = ?", key
        )
        if block is None or not block.valid.any():
            return
        file = f"{CELLS_FOLDER}/{uuid.uuid4().hex}.tif"
        path = self._folder / file
        path.parent.mkdir(exist_ok=True)
        self._written.append(path)
        write_cell(path, block, self._rules)
        self._connection.execute("INSERT INTO cell VALUES (?, ?, ?, ?, ?)", (*key, file))

    def _scenes(self, instant: str | None, bounds: Bounds) -> list[Part]:
        scenes = self._index.scenes(bounds, instant, self._rules.on_top)
        return [Part(self._folder / scene.file, scene.bounds, scene.crs) for scene in scenes]

    def _children(self, of: str, level: int, bounds: Bounds) -> Iterable[Part]:
        size = self._rules.cell_size(level - 1)
        inner = Bounds(
            bounds.west + size[0] / 4, bounds.south + size[1] / 4, bounds.east - size[0] / 4, bounds.north - size[1] / 4
        )  # fmt: skip
        for across, down, file in self._index.cells(of, level - 1, *cell_range(inner, size)):
            yield Part(self._folder / file, self._rules.cell_bounds(level - 1, across, down), self._rules.crs)


def _top_level(boxes: Sequence[Bounds], rules: MosaicRules) -> int:
    """The level at which few cells hold the whole."""
    extent = Bounds(
        min(box.west for box in boxes), min(box.south for box in boxes),
        max(box.east for box in boxes), max(box.north for box in boxes),
    )  # fmt: skip
    for level in range(_LAST_LEVEL):
        columns, rows = cell_range(extent, rules.cell_size(level))
        if len(columns) * len(rows) <= _MOST_CELLS:
            return level
    return _LAST_LEVEL


def write_cell(path: Path, block: RasterBlock, rules: MosaicRules) -> None:
    """Write an overview cell and bring it to the disk. Raises RasterError."""
    nodata = math.nan if rules.dtype.startswith("float") else rules.nodata
    values = block.values
    if nodata is not None:
        values = np.where(block.valid, values, np.asarray(nodata, dtype=values.dtype))
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": CELL_PIXELS, "height": CELL_PIXELS, "count": len(values), "dtype": rules.dtype,
        "crs": rules.crs, "transform": from_bounds(*block.bounds, CELL_PIXELS, CELL_PIXELS), "nodata": nodata,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
        "predictor": 3 if rules.dtype.startswith("float") else 2,
    }  # fmt: skip
    if values.dtype.itemsize == 8 and values.dtype.kind != "f":
        profile["predictor"] = 1
    try:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
            file.write(values)
            if nodata is None:
                file.write_mask(block.valid.all(axis=0))
        _flush(path)
    except (RasterioError, OSError) as error:
        raise RasterError(f"an overview of the mosaic cannot be written: {error}") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overview_factor(scenes: Sequence[FileFacts]) -> int:
    """How many pixels the finest overview cells merge: a tile of that scale meets four scenes or so."""
    edges = sorted(min(facts.width, facts.height) for facts in scenes)
    typical = edges[len(edges) // 2]
    return 1 << max(1, round(math.log2(max(typical, 2) / 128)))
