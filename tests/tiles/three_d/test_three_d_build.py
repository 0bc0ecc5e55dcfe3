"""A whole tileset out of a source of objects: tiles, subtrees, journal, cancelling, broken objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.build import BuildOptions, build_tileset, read_options
from tiles.three_d.build_tile import TileOptions, make_tile
from tiles.three_d.check import check_tileset
from tiles.three_d.errors import BuildCancelledError, NothingToBuildError
from tiles.three_d.facts import TileFacts
from tiles.three_d.glb import GlbOptions
from tiles.three_d.journal import RECORD, Journal
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import Detail, Keys, Material, MeshPart, Outlines, Part, TileAddress
from tiles.three_d.placement import LocalFrame, to_ecef
from tiles.three_d.plan import TilePlan
from tiles.three_d.report import ProblemLog
from tiles.three_d.schema import PropertySpec, SchemaBuilder

ALL = (Detail.BLOCK, Detail.LOD1, Detail.FULL)
_CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
_FACES = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7]])


@dataclass
class Boxes:
    """Boxes on a grid; those in `gone` have been deleted since. Its own recipe."""

    size: int
    details: tuple[Detail, ...] = (Detail.LOD1,)
    gone: frozenset[int] = frozenset()
    calls: list[int] = field(default_factory=list)
    content: str = "buildings"
    height_reference: str = "ellipsoid (WGS 84)"

    def __post_init__(self) -> None:
        self.problems = ProblemLog()
        random = np.random.default_rng(self.size)
        place = np.arange(self.size)
        side = max(1, int(self.size**0.5))
        low = np.array([24.9, 60.1]) + np.column_stack((place % side, place // side)) * 6e-4
        extent = random.uniform(1e-4, 3e-4, (self.size, 2))
        self.keys = place + 10
        self.boxes = np.column_stack((low, low + extent))
        self.tops = random.uniform(3.0, 30.0, self.size)
        builder = SchemaBuilder("building", [PropertySpec("height", unit="m")])
        builder.add({"height": self.tops})
        self.schema = builder.finish()

    def open(self) -> Boxes:
        return self

    def outlines(self) -> Iterator[Outlines]:
        self.problems.add("broken", "not a box", "skipped")
        for start in range(0, self.size, 500):
            chosen = np.arange(start, min(start + 500, self.size))
            yield self.outlines_of(chosen)

    def outlines_of(self, chosen: np.ndarray) -> Outlines:
        span = (self.boxes[chosen, 2:] - self.boxes[chosen, :2]) * (55_000, 111_000)
        tops = self.tops[chosen]
        return Outlines(
            self.keys[chosen],
            self.boxes[chosen],
            np.zeros(len(chosen)),
            tops,
            np.hypot(np.hypot(span[:, 0], span[:, 1]), tops),
            np.full(len(chosen), 30),
        )

    def load(self, keys: Keys) -> LoadedBoxes:
        self.calls.append(len(keys))
        return LoadedBoxes(self, np.array([key - 10 for key in keys.tolist() if key not in self.gone], int))


@dataclass
class LoadedBoxes:
    source: Boxes
    chosen: np.ndarray

    @property
    def keys(self) -> Keys:
        return self.source.keys[self.chosen]

    @property
    def table(self) -> PropertyTable:
        names = [f"box {key}" for key in self.keys.tolist()]
        return self.source.schema.table(names, {"height": self.source.tops[self.chosen]})

    def outlines(self) -> Outlines:
        return self.source.outlines_of(self.chosen)

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        count = len(self.chosen)
        boxes = self.source.boxes[self.chosen]
        lonlat = boxes[:, None, :2] + (boxes[:, None, 2:] - boxes[:, None, :2]) * _CORNERS[None, :, :2]
        height = self.source.tops[self.chosen][:, None] * _CORNERS[None, :, 2]
        corners = frame.to_local(
            to_ecef(lonlat[..., 0].ravel(), lonlat[..., 1].ravel(), height.ravel())
        ).reshape(count, 8, 3)
        faces = corners[:, _FACES]
        normals = np.cross(faces[:, :, 1] - faces[:, :, 0], faces[:, :, 2] - faces[:, :, 0])
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        quads = np.arange(count * 5)[:, None] * 4 + np.array([0, 1, 2, 0, 2, 3])
        return (
            MeshPart(
                Mesh(
                    faces.reshape(-1, 3),
                    np.repeat(normals.reshape(-1, 3), 4, axis=0),
                    np.repeat(np.arange(count), 20),
                    quads.reshape(-1, 3),
                ),
                Material(),
            ),
        )


def options(**given: Any) -> BuildOptions:
    return BuildOptions(TileOptions(GlbOptions("someone")), processes=1, capacity=3000, **given)


def build(folder: Path, source: Boxes, given: BuildOptions | None = None, **more: Any) -> Any:
    return build_tileset(folder / "3dtiles", folder / "scene", source, given or options(), **more)


@pytest.mark.parametrize("details", [(Detail.LOD1,), ALL])
@pytest.mark.parametrize("count", [1, 1500])
def test_a_tileset_without_findings(tmp_path: Path, details: tuple[Detail, ...], count: int) -> None:
    summary = build(tmp_path, Boxes(count, details))
    assert (summary.feature_count, summary.skipped) == (count, 1)
    assert check_tileset(tmp_path / "3dtiles") == []
    document = orjson.loads((tmp_path / "3dtiles/tileset.json").read_bytes())
    assert document["root"]["refine"] == ("ADD" if len(details) == 1 else "REPLACE")
    files = [path for path in (tmp_path / "3dtiles").rglob("*") if path.is_file()]
    plain = [path for path in files if path.suffix != ".gz"]
    assert len(files) == 2 * len(plain)
    assert summary.bytes == sum(path.stat().st_size for path in plain)
    assert summary.gzip_bytes == sum(path.stat().st_size for path in files) - summary.bytes
    assert summary.properties == {"id": "id", "height": "height"}
    assert not (tmp_path / "scene/journal").exists()
    assert read_options(tmp_path / "scene") == options().tile


def test_equal_sources_give_equal_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        build(tmp_path / name, Boxes(900))
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "other" / path.relative_to(tmp_path / "one")).read_bytes()


def test_progress_grows_to_its_end(tmp_path: Path) -> None:
    heard: list[float] = []
    build(tmp_path, Boxes(1500), progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) > 2


def test_problems_are_passed_on(tmp_path: Path) -> None:
    heard: list[str] = []
    summary = build(tmp_path, Boxes(10), report=lambda problem: heard.append(problem.id))
    assert heard == ["broken"]
    assert summary.problems[0].problem == "not a box"


def test_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(NothingToBuildError, match="not a box"):
        build(tmp_path, Boxes(0))
    with pytest.raises(NothingToBuildError):
        build(tmp_path, Boxes(3, gone=frozenset({10, 11, 12})))


def test_objects_that_went_away_between_the_passes(tmp_path: Path) -> None:
    summary = build(tmp_path, Boxes(1500, gone=frozenset(range(10, 510))))
    assert summary.feature_count == 1000
    assert check_tileset(tmp_path / "3dtiles") == []


class _StopError(Exception):
    """Stands for the end of the process."""


def killed_at(folder: Path, share: float, fingerprint: str = "same") -> Boxes:
    """Build until `share`, then stop as a killed process does: without any cleaning up."""

    def progress(done: float) -> None:
        if done >= share:
            raise _StopError

    source = Boxes(1500)
    with pytest.raises(_StopError):
        build(folder, source, options(fingerprint=fingerprint), progress=progress)
    return source


@pytest.mark.parametrize("share", [0.01, 0.25, 0.26, 0.97])
def test_a_killed_build_goes_on(tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_AT_ONCE", 200)
    before = killed_at(tmp_path / "killed", share)
    again = Boxes(1500)
    summary = build(tmp_path / "killed", again, options(fingerprint="same"))
    whole = build(tmp_path / "whole", Boxes(1500))
    assert summary == whole
    for path in (tmp_path / "whole/3dtiles").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes()
    if share > 0.25:
        # One load more is for the names of the properties.
        assert sum(again.calls) == 1500 - sum(before.calls) + 1


def test_a_build_of_something_else_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_AT_ONCE", 200)
    killed_at(tmp_path, 0.5)
    other = Boxes(1500)
    build(tmp_path, other, options(fingerprint="other"))
    assert sum(other.calls) == 1501


def test_files_that_a_power_cut_lost_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_AT_ONCE", 200)
    killed_at(tmp_path, 0.9)
    written = sorted((tmp_path / "3dtiles").rglob("*.glb"))
    written[0].write_bytes(b"")
    written[1].with_name(written[1].name + ".gz").unlink()
    journal = next((tmp_path / "scene/journal").glob("*.tiles"))
    assert len(journal.read_bytes()) % RECORD.itemsize == 0
    with journal.open("ab") as file:
        file.write(b"half a record")
    build(tmp_path, Boxes(1500), options(fingerprint="same"))
    assert check_tileset(tmp_path / "3dtiles") == []


def test_without_a_fingerprint_nothing_is_taken_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "")
    journal.begin()
    journal.planned()
    assert not journal.is_planned()


def test_cancelling_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiles.three_d.build._OBJECTS_AT_ONCE", 200)
    asked = iter([False] * 6)
    with pytest.raises(BuildCancelledError):
        build(tmp_path, Boxes(1500), options(fingerprint="f"), cancelled=lambda: next(asked, True))
    again = Boxes(1500)
    build(tmp_path, again, options(fingerprint="f"))
    assert 0 < sum(again.calls) < 1500


def test_one_tile_again_is_the_same_bytes(tmp_path: Path) -> None:
    source = Boxes(1500)
    build(tmp_path, source)
    plan = TilePlan.open(tmp_path / "scene/plan")
    facts = TileFacts.open(tmp_path / "scene/facts.npy")
    tiles = plan.tiles()
    for number in (0, len(plan.codes) - 1):
        tile = TileAddress(*(int(part[number]) for part in tiles))
        keys, detail = plan.members(tile)
        made = make_tile(source, tile, keys, detail, options().tile)
        assert made is not None
        path = tmp_path / f"3dtiles/content/{tile.level}/{tile.x}/{tile.y}.glb"
        assert made.content == path.read_bytes()
        assert made.facts.tobytes() == facts.rows[[number]].tobytes()
        assert made.keys.tolist() == keys.tolist()
    assert make_tile(source, TileAddress(0, 0, 0), np.empty(0, int), Detail.LOD1, TileOptions()) is None
    gone = Boxes(5, gone=frozenset({10}))
    assert make_tile(gone, TileAddress(0, 0, 0), np.array([10]), Detail.LOD1, TileOptions()) is None
