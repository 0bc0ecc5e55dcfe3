"""What is kept of all tiles of a mosaic answers as the tiles' own tables do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from pointclouds.cloud import counting, node_choice
from pointclouds.cloud.cloud import Cloud, CloudTile, open_cloud, write_table
from pointclouds.cloud.mosaic_table import BOXES_FILE, TILES_FILE, MosaicTable, load_table, table_of
from pointclouds.cloud.nodes import NodeTable
from pointclouds.cloud.query import PointQuery, plan
from pointclouds.report import validation_report


class Classes:
    """Points of some classes."""

    fields = frozenset({"Classification"})

    def __init__(self, *codes: int) -> None:
        self.codes = codes

    def _columns(self, table: NodeTable) -> list[int]:
        return [column for column, code in enumerate(table.classes) if code in self.codes]

    def may_match(self, table: NodeTable) -> Any:
        return table.class_counts[:, self._columns(table)].any(axis=1)

    def all_match(self, table: NodeTable) -> Any:
        matching = table.class_counts[:, self._columns(table)].sum(axis=1)
        return matching == table.class_counts.sum(axis=1)

    def mask(self, values: Mapping[str, Any]) -> Any:
        return np.isin(values["Classification"], self.codes)


@pytest.fixture
def copied(mosaic: Cloud, tmp_path: Path) -> Cloud:
    """The mosaic with its table beside it."""
    shutil.copytree(mosaic.path.parent, tmp_path / "copy")
    path = tmp_path / "copy" / mosaic.path.name
    write_table(path, open_cloud(path).tiles)
    return Cloud(path, open_cloud(path).tiles, open_cloud(path).overview)


def same(one: MosaicTable | None, other: MosaicTable | None) -> None:
    assert one is not None
    assert other is not None
    assert np.array_equal(one.starts, other.starts)
    assert one.tiles.classes == other.tiles.classes
    for name in ("class_counts", "return_counts", "lowest", "highest", "sums", "squares"):
        assert np.array_equal(getattr(one.tiles, name), getattr(other.tiles, name), equal_nan=True), name
    for name in one.nodes.dtype.names or ():
        assert np.array_equal(one.nodes[name], other.nodes[name], equal_nan=True), name


def test_it_is_read_as_it_was_written_and_made_where_it_is_missing(copied: Cloud) -> None:
    folder = copied.path.parent / "points"
    made = table_of([copied.nodes(tile) for tile in copied.tiles])
    same(load_table(folder, [tile.count for tile in copied.tiles]), made)
    same(copied.table, made)
    assert copied.table is not None
    assert copied.table.tiles.count == copied.count == copied.table.nodes["count"].sum()
    (folder / BOXES_FILE).unlink()
    same(Cloud(copied.path, copied.tiles, None).table, made)


@pytest.mark.parametrize("name", [TILES_FILE, BOXES_FILE])
@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75])
def test_a_damaged_one_is_not_believed(copied: Cloud, name: str, part: float) -> None:
    file = copied.path.parent / "points" / name
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * part)])
    assert load_table(file.parent, [tile.count for tile in copied.tiles]) is None
    assert copied.table is not None


def test_one_of_other_tiles_is_not_believed(copied: Cloud) -> None:
    counts = [tile.count for tile in copied.tiles]
    assert load_table(copied.path.parent / "points", [*counts[:-1], counts[-1] + 1]) is None
    assert load_table(copied.path.parent / "points", counts[:-1]) is None


def test_an_edit_reads_the_tables_of_changed_tiles_only(
    copied: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = tmp_path / "after"
    (after / "points").mkdir(parents=True)
    tiles: list[CloudTile] = []
    for number, tile in enumerate(copied.tiles[1:]):
        out = after / "points" / tile.path.name
        for ending in ("", ".nodes"):
            source, target = Path(f"{tile.path}{ending}"), Path(f"{out}{ending}")
            if number:
                target.hardlink_to(source)
            else:  # a file of its own: it may be another
                shutil.copy(source, target)
        tiles.append(replace(tile, path=out))
    assert copied.table is not None
    read: list[Path] = []
    from pointclouds.cloud import cloud as module

    real = module.load_nodes
    monkeypatch.setattr(module, "load_nodes", lambda path: read.append(path) or real(path))
    write_table(after / copied.path.name, list(reversed(tiles)), copied)
    assert [path.name for path in read] == [f"{tiles[0].path.name}.nodes"]
    monkeypatch.undo()
    same(
        load_table(after / "points", [tile.count for tile in tiles]),
        table_of([copied.nodes(tile) for tile in tiles]),
    )


AREA = shapely.Point(84_960, 447_560).buffer(35)
BOX = (84_930.0, 447_520.0, -100.0, 85_000.0, 447_590.0, 100.0)
QUESTIONS = {
    "all": PointQuery(tiles=frozenset({"t00", "t01", "t10", "t11"})),
    "box": PointQuery(box=BOX),
    "area": PointQuery(area=AREA),
    "resolution": PointQuery(box=BOX, resolution=0.5),
    "class": PointQuery(filter=Classes(2)),
    "class in a box": PointQuery(box=BOX, filter=Classes(2, 6)),
    "no class": PointQuery(filter=Classes(200)),
    "every class": PointQuery(filter=Classes(*range(256))),
    "tiles": PointQuery(tiles=frozenset({"t01", "t11"})),
    "nowhere": PointQuery(box=(0, 0, 0, 1, 1, 1)),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_many_tiles_are_planned_as_few_are(mosaic: Cloud, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = QUESTIONS[name]
    few, known = plan(mosaic, asked), counting.statistics(mosaic, asked)
    monkeypatch.setattr(node_choice, "_FEW", -1)
    monkeypatch.setattr(counting, "_FEW", -1)
    many, found = plan(mosaic, asked), counting.statistics(mosaic, asked)
    assert many.tiles == few.tiles
    for column in ("tile", "row", "counts", "spacing", "inside", "whole"):
        assert np.array_equal(getattr(many, column), getattr(few, column)), column
    assert (found.count, found.classes, found.returns) == (known.count, known.classes, known.returns)
    for dimension, one in known.dimensions.items():
        other = found.dimensions[dimension]
        assert (other.lowest, other.highest) == (one.lowest, one.highest)
        assert other.mean == pytest.approx(one.mean)
        assert other.deviation == pytest.approx(one.deviation, rel=1e-4, abs=1e-3)


def test_statistics_of_the_whole_open_no_table(mosaic: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mosaic.table is not None
    monkeypatch.setattr(node_choice, "_FEW", -1)
    monkeypatch.setattr(counting, "_FEW", -1)
    monkeypatch.setattr(Cloud, "nodes", lambda _self, tile: pytest.fail(f"{tile.name} was opened"))
    assert counting.statistics(mosaic, PointQuery()).count == mosaic.count


def test_the_report_needs_no_tile(mosaic: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cloud, "table", property(lambda _self: None))
    known = validation_report(mosaic).as_json()
    monkeypatch.undo()
    found = validation_report(mosaic).as_json()
    for name, span in known.pop("dimensions").items():
        assert found["dimensions"][name] == pytest.approx(span, rel=1e-6, abs=1e-3)
    del found["dimensions"]
    assert found == known
