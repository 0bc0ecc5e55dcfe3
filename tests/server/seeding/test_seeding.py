"""Seeding: what is planned, made, written down, and gone on with after a kill; and the care of kept tiles by commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.http.tile_maker import open_tile_maker
from server.seeding.errors import SeedingError, UnknownSeeding
from server.seeding.plan import Division, Layer, SeedingPlan
from server.seeding.seeding import Seeding, UnitResult
from server.settings import Settings
from tiles.grids import tile_range

Command = Callable[..., tuple[int, str, str]]
BOX = (114.0, 22.5, 114.05, 22.55)


def plan(**changes: Any) -> SeedingPlan:
    given: dict[str, Any] = {
        "layers": (Layer("demo.squares", "tiles", "mvt", None, BOX),),
        "grids": ("WebMercatorQuad",),
        "min_zoom": 0,
        "max_zoom": 3,
    }
    return SeedingPlan(**(given | changes))


def tiles_of(of: SeedingPlan) -> list[tuple[str, str, int, int, int]]:
    division = Division(of)
    units = [division.unit(number) for number in range(division.units)]
    return [(unit.layer.collection, unit.grid, *tile) for unit in units for tile in division.tiles(unit)]


def test_units_are_all_tiles_of_the_box_each_once() -> None:
    both = ("WebMercatorQuad", "WorldCRS84Quad")
    found = tiles_of(plan(max_zoom=17, min_zoom=15, grids=both))
    expected = {
        ("demo.squares", grid, zoom, x, y)
        for grid in both
        for zoom in (15, 16, 17)
        for block in [tile_range(grid, BOX, zoom)]
        for x in range(block.min_column, block.max_column + 1)
        for y in range(block.min_row, block.max_row + 1)
    }
    assert set(found) == expected
    assert len(found) == len(expected) == Division(plan(max_zoom=17, min_zoom=15, grids=both)).most_tiles
    assert [one[2] for one in found] == sorted(one[2] for one in found)


def test_a_plan_of_the_world_costs_nothing() -> None:
    division = Division(plan(layers=(Layer("a.b", "map", "png", None, (-180, -85, 180, 85)),), max_zoom=20))
    assert division.most_tiles > 10**12
    last = division.unit(division.units - 1)
    assert last.tiles.max_column == 2**20 - 1
    with pytest.raises(IndexError):
        division.unit(division.units)


@pytest.mark.parametrize(
    ("changes", "tiles"),
    [
        ({"area": (114.0, 22.5, 114.001, 22.501), "min_zoom": 15, "max_zoom": 15}, 1),
        ({"area": (10.0, 10.0, 11.0, 11.0)}, 0),
        ({"area": (179.0, 0.0, 114.01, 23.0)}, 4),  # over the antimeridian, and nearly around the Earth
        (
            {
                "coverage": "POLYGON ((114 22.5, 114.05 22.5, 114 22.55, 114 22.5))",
                "min_zoom": 16,
                "max_zoom": 16,
            },
            73,
        ),
        ({"layers": (Layer("a.b", "map", "png", None, (179.0, -1.0, -179.0, 1.0)),), "min_zoom": 3}, 4),
    ],
)
def test_an_area_limits_what_is_made(changes: dict[str, Any], tiles: int) -> None:
    found = tiles_of(plan(**changes))
    assert len(set(found)) == len(found)
    if "coverage" in changes:
        block = tile_range("WebMercatorQuad", BOX, 16)
        whole = (block.max_column - block.min_column + 1) * (block.max_row - block.min_row + 1)
        assert whole / 2 < len(found) < whole * 0.75
    else:
        assert len(found) == tiles


def test_what_is_done_is_written_down(tmp_path: Path) -> None:
    made = Seeding.create(tmp_path, plan(max_zoom=18, min_zoom=18))
    units = made.division.units
    assert units > 30
    for number in (0, 1, 2, 5, 7):
        made.record(number, UnitResult(3, 1, 0))
    made.record(9, UnitResult(0, 0, 1, "the first"))
    made.record(8, UnitResult(0, 0, 1, "the second"))
    made.save()
    again = Seeding.open(tmp_path, made.id)
    assert again.plan == made.plan
    assert again.progress == made.progress
    assert (again.progress.below, again.progress.above) == (3, {5, 7, 8, 9})
    assert again.progress.result == UnitResult(15, 5, 2, "the first")
    assert list(again.pending())[:4] == [3, 4, 6, 10]
    assert not again.finished
    for number in list(again.pending()):
        again.record(number, UnitResult(1, 0, 0))
    assert again.finished
    assert again.progress.below == units
    assert (again.wanted, again.running) == ("run", False)
    again.wanted = "pause"
    assert made.wanted == "pause"
    held = made.hold()
    assert held is not None
    assert again.running
    held.release()
    with pytest.raises(UnknownSeeding, match=made.id):
        Seeding.open(tmp_path, "../x")
    (made.folder / "progress.json").write_text("{}")
    with pytest.raises(SeedingError, match="damaged"):
        Seeding.open(tmp_path, made.id)


def test_seeding_makes_what_is_not_kept(
    settings: Settings, published: str, command: Command, tmp_path: Path
) -> None:
    code, _, said = command("seed", published, "--kind", "tiles", "--levels", "10-14", "--processes", "1")
    assert code == 0, said
    made = int(re.search(r"(\d+) tiles made, 0 were kept before, 0 failed", said)[1])  # type: ignore[index]  # asserted by use
    assert made == len(
        tiles_of(
            plan(
                min_zoom=10,
                max_zoom=14,
                layers=(Layer(published, "tiles", "mvt", None, (114.0, 22.5, 114.049, 22.549)),),
            )
        )
    )
    code, _, said = command("seed", published, "--kind", "tiles", "--levels", "10-14", "--processes", "1")
    assert f"0 tiles made, {made} were kept before" in said

    (listed,) = command("cache", "list", "demo.squares")[1].splitlines()
    assert listed.split("\t")[:7] == [published, "1", "mvt", "WebMercatorQuad", "mvt", "10-14", str(made)]
    (document,) = json.loads(command("cache", "list", "--json")[1])
    assert (document["tiles"], document["levels"]) == (made, [10, 11, 12, 13, 14])
    statistics = json.loads(command("cache", "stats", "demo.squares", "--json")[1])
    assert (statistics["tiles"], statistics["renderings"]) == (made, made)
    assert 0 < statistics["hit_rate"] < 1
    assert "hit rate\t" in command("cache", "stats")[1]
    seedings = json.loads(command("cache", "seedings", "--json")[1])
    assert [(one["state"], one["made"], one["kept_before"]) for one in seedings] == [
        ("done", made, 0),
        ("done", 0, made),
    ]

    assert command("cache", "clean", "demo.squares", "--levels", "11")[2] == "Removed 1 tiles.\n"
    assert command("cache", "clean", "demo", "--older-than", "1")[2] == "Removed 0 tiles.\n"
    assert command("cache", "clean", "--all", "--bbox", "10,10,11,11")[2] == "Removed 0 tiles.\n"
    assert command("cache", "clean", "--all")[2] == f"Removed {made - 1} tiles.\n"
    assert json.loads(command("cache", "list", "--json")[1])[0]["tiles"] == 0


REFUSED: list[tuple[list[str], str]] = [
    (["seed"], "name collections"),
    (["seed", "demo.squares", "--resume", "x"], "name collections"),
    (["seed", "demo.nothing"], "no collection"),
    (["seed", "squares"], "TENANT.COLLECTION"),
    (["seed", "demo.squares", "--levels", "5-3"], "levels '5-3'"),
    (["seed", "demo.squares", "--levels", "25-30"], "0 to 24"),
    (["seed", "demo.squares", "--grid", "Nowhere"], "Nowhere"),
    (["seed", "demo.squares", "--bbox", "1,2,3"], "west,south,east,north"),
    (["seed", "demo.squares", "--bbox", "1,2,nan,4"], "west,south,east,north"),
    (["seed", "demo.squares", "--kind", "coverage"], "map, tiles"),
    (["seed", "demo.squares", "--format", "gif"], "png, jpeg, webp"),
    (["seed", "demo.squares", "--coverage", "COVERAGE"], "no GeoJSON"),
    (["seed", "demo.squares", "--coverage", "/nowhere.geojson"], "No such file"),
    (["seed", "--resume", "x"], "no seeding 'x'"),
    (["cache", "pause", "../../x"], "no seeding"),
    (["cache", "clean"], "--all"),
    (["cache", "clean", "demo", "--levels", "x"], "levels 'x'"),
    (["cache", "list", "../.."], "cannot be the id"),
    (["cache", "stats", "demo.squares/.."], "squares/.."),
]


def test_what_makes_no_sense_is_refused(published: str, command: Command, tmp_path: Path) -> None:
    coverage = tmp_path / "coverage.geojson"
    coverage.write_text('{"type": "Nothing"}')
    for arguments, says in REFUSED:
        code, out, said = command(*(str(coverage) if one == "COVERAGE" else one for one in arguments))
        assert (code, out) == (1, ""), arguments
        assert says in said, arguments
        assert "Traceback" not in said


def seeding_process(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "server.cli", "seed", *arguments],
        env={**os.environ, "CHENGTU_DATA_HOME": str(settings.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_a_killed_seeding_goes_on_without_making_anything_twice(
    settings: Settings, published: str, command: Command
) -> None:
    process = seeding_process(settings, published, "--kind", "tiles", "--levels", "14-17", "--processes", "1")
    cache = open_tile_maker(settings).cache
    try:
        wait_until(lambda: cache.usage().tiles >= 60 or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert process.returncode == -signal.SIGKILL  # it had not come to its end
    (name,) = (one["id"] for one in json.loads(command("cache", "seedings", "--json")[1]))
    before = -1
    while before != cache.usage().tiles:  # its child ends a moment later
        before = cache.usage().tiles
        time.sleep(0.8)
    code, _, said = command("seed", "--resume", name, "--processes", "1")
    assert code == 0, said
    expected = Seeding.open(settings.home / "cache" / "seedings", name).division.most_tiles
    assert cache.usage().tiles == expected
    assert (
        expected <= cache.statistics().renderings <= expected + 1
    )  # the tile that was being made may be made twice
    (document,) = json.loads(command("cache", "seedings", "--json")[1])
    assert (document["state"], document["failed"]) == ("done", 0)
    cache.close()


def test_a_seeding_waits_goes_on_and_stops(settings: Settings, published: str, command: Command) -> None:
    process = seeding_process(settings, published, "--kind", "tiles", "--levels", "14-20", "--processes", "1")
    cache = open_tile_maker(settings).cache
    try:
        wait_until(lambda: cache.usage().tiles >= 5)
        (name,) = (one["id"] for one in json.loads(command("cache", "seedings", "--json")[1]))
        assert command("cache", "pause", name)[0] == 0
        tiles = [-1]

        def still() -> bool:
            tiles.append(cache.usage().tiles)
            time.sleep(0.5)
            return cache.usage().tiles == tiles[-1]

        wait_until(still)
        assert process.poll() is None
        assert json.loads(command("cache", "seedings", "--json")[1])[0]["state"] == "paused"
        code, _, said = command("seed", "--resume", name)
        assert (code, "running already" in said) == (1, True)
        assert "goes on" in command("cache", "resume", name)[2]
        wait_until(lambda: cache.usage().tiles > tiles[-1])
        assert command("cache", "stop", name)[0] == 0
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(20)
    assert process.returncode == 0
    assert json.loads(command("cache", "seedings", "--json")[1])[0]["state"] == "stopped"
    assert "run by no process" in command("cache", "resume", name)[2]
    cache.close()
