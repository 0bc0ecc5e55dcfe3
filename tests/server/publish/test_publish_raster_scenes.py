"""Scenes come to a mosaic that is served and go; killed at any moment it is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from server.errors import PublishInProgress, UnknownCollection
from server.publish.errors import OptionError, PublishError, SchemaMismatch
from server.publish.raster_scenes import add_files, bring_up_to_date, list_scenes, remove_names
from server.publish.request import ReadingOptions
from server.registry.catalogue import Collection, Interval, RepresentationKind
from server.registry.folders import publish_lock_file
from server.registry.locks import waiting_lock
from tiles.rasters import RasterSource, open_raster
from tiles.rasters.mosaic_edits import remove_scenes

SIZE = 64


def scene(path: Path, value: int, column: int = 0, dtype: str = "uint8") -> Path:
    profile = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE,
        "count": 1,
        "dtype": dtype,
        "crs": "EPSG:32650",
        "nodata": 0,
    }
    with rasterio.open(
        path, "w", transform=from_origin(500_000 + column * 640, 4_400_000, 10, 10), **profile
    ) as file:
        file.write(np.full((1, SIZE, SIZE), value, dtype=dtype))
    return path


def coverage(collection: Collection) -> tuple[RasterSource, dict[str, Any]]:
    kept = collection.representations[RepresentationKind.COVERAGE]
    return open_raster(collection.directory, kept.path, kept.properties), dict(kept.properties)


def values_of(raster: RasterSource, edge: int = 8) -> list[int]:
    block = raster.read(raster.description.bounds, (edge, edge), [1])
    return np.unique(block.values[block.valid]).tolist()


def test_scenes_are_added_and_removed_in_place(publisher: Any, tmp_path: Path) -> None:
    published = publisher.publish(
        *(scene(tmp_path / f"d2024050{n}.tif", n, n) for n in (1, 2)), reading={"time": "d%Y%m%d"}
    ).collection
    raster, _ = coverage(published)
    before = raster.change()
    assert raster.dirty_since(before) == []
    new = [scene(tmp_path / f"d2024050{n}.tif", n, n) for n in range(3, 8)]
    reading = ReadingOptions(time="d%Y%m%d")
    changed = add_files(publisher.registry, publisher.settings, "beijing", "blocks", new, reading)

    assert (changed.generation, changed.updated) == (published.generation, published.updated)
    assert changed.interval == Interval("2024-05-01T00:00:00Z", "2024-05-07T00:00:00Z")
    assert changed.bbox[2] > published.bbox[2]
    again, properties = coverage(changed)
    assert (properties["scenes"], properties["instants"]["count"]) == (7, 7)
    assert properties["bands"][0]["maximum"] == 7
    # The source that was open all the time sees them too, also at scales of overview cells.
    assert values_of(raster, 32) == values_of(again, 32) == [1, 2, 3, 4, 5, 6, 7]
    assert raster.change() != before
    boxes = raster.dirty_since(before)
    assert boxes is not None
    assert len(boxes) == 5
    west, south, east, north = published.bbox
    assert raster.touched_since(before, changed.bbox)  # type: ignore[arg-type] # a box of four
    assert not raster.touched_since(before, (west, south, west + (east - west) / 4, north))
    assert raster.dirty_since("another") is None
    assert [one.name for one in list_scenes(changed)][:2] == ["d20240507", "d20240506"]
    assert len(list_scenes(changed, limit=2, offset=6)) == 1

    files = set((changed.directory / "scenes").glob("*.tif"))
    left = remove_names(
        publisher.registry, publisher.settings, "beijing", "blocks", ["d20240501", "d20240507"]
    )
    assert values_of(raster, 32) == [2, 3, 4, 5, 6]
    assert left.interval == Interval("2024-05-02T00:00:00Z", "2024-05-06T00:00:00Z")
    assert len(files - set((left.directory / "scenes").glob("*.tif"))) == 2
    assert left.bbox[0] > changed.bbox[0]


def test_what_cannot_be_added_changes_nothing(publisher: Any, tmp_path: Path) -> None:
    collection = publisher.publish(*(scene(tmp_path / f"s{n}.tif", n + 1, n) for n in range(2))).collection
    raster, _ = coverage(collection)
    before, files = raster.change(), sorted((collection.directory / "scenes").iterdir())

    def add(path: Path, **reading: Any) -> None:
        add_files(
            publisher.registry, publisher.settings, "beijing", "blocks", [path], ReadingOptions(**reading)
        )

    broken = tmp_path / "torn.tif"
    broken.write_bytes(scene(tmp_path / "whole.tif", 5, 5).read_bytes()[:2000])
    cases: list[tuple[Path, dict[str, Any], type[PublishError], str]] = [
        (scene(tmp_path / "s1.tif", 2, 1), {}, SchemaMismatch, "called s1"),
        (scene(tmp_path / "wide.tif", 2, 3, "uint16"), {}, SchemaMismatch, "1 bands of uint16"),
        (scene(tmp_path / "timed.tif", 2, 3), {"time": "2024-05-01"}, OptionError, "with and without a time"),
        (broken, {}, PublishError, "torn.tif"),
        (tmp_path / "absent.tif", {}, PublishError, "absent.tif"),
    ]
    for path, reading, error, said in cases:
        with pytest.raises(error, match=said):
            add(path, **reading)
    for names, said in ((["s9"], "no scene s9"), (["s0", "s1"], "all scenes")):
        with pytest.raises(OptionError, match=said):
            remove_names(publisher.registry, publisher.settings, "beijing", "blocks", names)
    with pytest.raises(UnknownCollection):
        remove_names(publisher.registry, publisher.settings, "beijing", "nothing", ["s0"])
    with (
        waiting_lock(publish_lock_file(publisher.home, "beijing", "blocks")),
        pytest.raises(PublishInProgress),
    ):
        add(scene(tmp_path / "late.tif", 3, 3))
    single = publisher.publish(scene(tmp_path / "one.tif", 3), collection="single").collection
    with pytest.raises(OptionError, match="is no mosaic"):
        list_scenes(single)
    assert raster.change() == before
    assert sorted((collection.directory / "scenes").iterdir()) == files


def test_the_registry_learns_what_a_killed_command_has_not_told(publisher: Any, tmp_path: Path) -> None:
    collection = publisher.publish(*(scene(tmp_path / f"s{n}.tif", n + 1, n) for n in range(3))).collection
    remove_scenes(collection.directory / "mosaic.sqlite", ["s2"])
    told = bring_up_to_date(publisher.registry, collection)
    assert coverage(told)[1]["scenes"] == 2
    assert told.bbox[2] < collection.bbox[2]
    assert bring_up_to_date(publisher.registry, told) is told


@pytest.mark.parametrize("moment", ["first scene", "cells", "before commit"])
def test_killed_while_adding(publisher: Any, tmp_path: Path, moment: str) -> None:
    """A process that is killed (no cleaning up at all) leaves what was served, and nothing that hinders the next."""
    collection = publisher.publish(*(scene(tmp_path / f"s{n}.tif", n + 1, n) for n in range(5))).collection
    raster, _ = coverage(collection)
    before = raster.change()
    new = scene(tmp_path / "s9.tif", 9, 5)
    patched = {
        "first scene": ("server.publish.raster_scenes", "_flush"),
        "cells": ("tiles.rasters.mosaic_edits", "write_cell"),
        "before commit": ("tiles.rasters.mosaic_edits", "joined_statistics"),
    }[moment]
    code = textwrap.dedent(
        f"""
        import importlib, os
        from pathlib import Path
        from server.publish.raster_scenes import add_files
        from server.publish.request import ReadingOptions
        from server.registry.registry import open_registry
        from server.settings import load_settings
        setattr(importlib.import_module({patched[0]!r}), {patched[1]!r}, lambda *_: os._exit(9))
        settings = load_settings((), {{}}, {{"data.home": Path({str(publisher.home)!r})}})
        with open_registry(settings) as registry:
            add_files(registry, settings, "beijing", "blocks", [Path({str(new)!r})], ReadingOptions())
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[3],
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert raster.change() == before
    assert values_of(raster, 32) == [1, 2, 3, 4, 5]
    changed = add_files(publisher.registry, publisher.settings, "beijing", "blocks", [new], ReadingOptions())
    assert values_of(raster, 32) == [1, 2, 3, 4, 5, 9]
    named = {path.name for path in (changed.directory / "scenes").iterdir()}
    assert named == {f"s{n}.tif" for n in (0, 1, 2, 3, 4, 9)}
