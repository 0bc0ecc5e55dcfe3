"""A whole tileset out of a source of objects: planned in one pass, written tile by tile in several processes.

Pass 1 reads all outlines (some 70 bytes an object) and makes the plan. Pass 2 loads each tile's objects by their keys and
writes the tile; a process holds one tile at a time, so memory does not grow with the tileset. What is done stands in a
journal: the same build, started again after it was killed, goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.build_tile import TileOptions, make_tile
from tiles.three_d.errors import BuildCancelledError, BuildProcessError, NothingToBuildError
from tiles.three_d.facts import TileFacts
from tiles.three_d.files import CONTENT_TEMPLATE, SUBTREE_TEMPLATE, TILESET_FILE, FileWriter
from tiles.three_d.journal import Journal, JournalWriter
from tiles.three_d.objects import ObjectSource, Outlines, SourceRecipe, TileAddress
from tiles.three_d.plan import TilePlan, join_outlines
from tiles.three_d.quadtree import VERTICES_PER_TILE, tile_codes_to_index
from tiles.three_d.report import ProblemLog, ReportProblem, TilesetSummary
from tiles.three_d.subtree import described_subtrees, subtree_depth
from tiles.three_d.tileset_document import tileset_error, tileset_json, turned_longitude

PLAN_FOLDER = "plan"
FACTS_FILE = "facts.npy"
BUILD_FILE = "build.json"
JOURNAL_FOLDER = "journal"
BUILD_FORMAT = 1

# A process costs about a second to start: below so many objects one is faster.
_OBJECTS_WORTH_A_PROCESS = 40_000
_OBJECTS_AT_ONCE = 4_000
_LOOK_SECONDS = 0.2
_MOST_LOST = 3
# What of a whole build the first pass is, for progress.
_FIRST_PASS = 0.25


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a tileset is built.

    `processes`: None for one a core (of those this process may use), never more. `capacity`: vertices a tile. `fingerprint`
    stands for inputs and options: only a build of the same one goes on with what is there; "" never does.
    """

    tile: TileOptions = field(default_factory=TileOptions)
    processes: int | None = None
    capacity: int = VERTICES_PER_TILE
    fingerprint: str = ""


@runtime_checkable
class ReportsProblems(Protocol):
    """A source that keeps what was wrong with its objects; complete after `outlines()`."""

    @property
    def problems(self) -> ProblemLog:
        """Objects that were left out or mended."""
        ...


@runtime_checkable
class CountsObjects(Protocol):
    """A source that knows beforehand about how many objects it has; for progress."""

    def count(self) -> int | None:
        """Objects, None where only reading tells."""
        ...


type Progress = Callable[[float], None]
type Cancelled = Callable[[], bool]


def _nobody_listens(_done: float) -> None:
    pass


def _never() -> bool:
    return False


def build_tileset(
    out_dir: Path,
    private_dir: Path,
    recipe: SourceRecipe,
    options: BuildOptions = BuildOptions(),
    *,
    report: ReportProblem | None = None,
    progress: Progress = _nobody_listens,
    cancelled: Cancelled = _never,
) -> TilesetSummary:
    """Write the tileset of all objects of a source into `out_dir`; what later changes of it need goes into `private_dir`.

    `progress` hears 0 to 1. Raises NothingToBuildError where no object can be drawn, BuildCancelledError where `cancelled`
    says so (what is done is kept), BuildProcessError, and what the source raises.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    private_dir.mkdir(parents=True, exist_ok=True)
    source = recipe.open()
    journal = Journal(private_dir / JOURNAL_FOLDER, options.fingerprint)
    build = _Build(out_dir, private_dir, recipe, options, progress, cancelled)
    said = _plan(build, source, journal, report)
    build.progress(_FIRST_PASS)
    plan = TilePlan.open(private_dir / PLAN_FOLDER)
    _write_tiles(build, plan, journal)
    return _finish(build, plan, journal, source, said)


@dataclass(frozen=True, slots=True)
class _Build:
    """A build under way."""

    out_dir: Path
    private_dir: Path
    recipe: SourceRecipe
    options: BuildOptions
    progress: Progress
    cancelled: Cancelled

    def stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise BuildCancelledError("the build of the 3D tileset was stopped")


@dataclass(frozen=True, slots=True)
class _Said:
    """What the first pass found, kept for a build that goes on."""

    height_reference: str
    skipped: int
    repaired: int
    problems: tuple[tuple[str, str, str], ...]

    def log(self) -> ProblemLog:
        log = ProblemLog()
        for identifier, problem, action in self.problems:
            log.add(identifier, problem, "repaired" if action == "repaired" else "skipped")
        log.counts["skipped"], log.counts["repaired"] = self.skipped, self.repaired
        return log


# --- the first pass ----------------------------------------------------------------------------------------------------


def _plan(build: _Build, source: ObjectSource, journal: Journal, report: ReportProblem | None) -> _Said:
    """Make the plan, or find that of an earlier attempt."""
    said_file = build.private_dir / JOURNAL_FOLDER / "said.json"
    if journal.is_planned():
        said = _Said(**orjson.loads(said_file.read_bytes()))
        return _Said(said.height_reference, said.skipped, said.repaired, tuple(map(tuple, said.problems)))  # type: ignore[arg-type]  # lists of three texts, as written below
    journal.begin()
    if report is not None and isinstance(source, ReportsProblems):
        source.problems.report = report
    outlines = join_outlines(_watched(build, source))
    log = source.problems if isinstance(source, ReportsProblems) else ProblemLog()
    if not len(outlines):
        first = f" ({log.listed[0].id}: {log.listed[0].problem})" if log.listed else ""
        raise NothingToBuildError(f"no object is left that could be drawn{first}")
    plan = TilePlan.make(outlines, source.details, build.options.capacity)
    plan.save(build.private_dir / PLAN_FOLDER)
    said = _Said(
        source.height_reference,
        log.counts["skipped"],
        log.counts["repaired"],
        tuple((item.id, item.problem, item.action) for item in log.listed),
    )
    said_file.write_bytes(orjson.dumps({name: getattr(said, name) for name in _Said.__dataclass_fields__}))
    journal.planned()
    return said


def _watched(build: _Build, source: ObjectSource) -> Iterator[Outlines]:
    expected = source.count() if isinstance(source, CountsObjects) else None
    done = 0
    for part in source.outlines():
        build.stop_if_cancelled()
        done += len(part)
        if expected:
            build.progress(_FIRST_PASS * min(1.0, done / expected))
        yield part


# --- the second pass ---------------------------------------------------------------------------------------------------


class _TileWriter:
    """Writes tiles of a plan, in whichever process."""

    def __init__(self, out_dir: Path, private_dir: Path, source: ObjectSource, options: TileOptions) -> None:
        self._files = FileWriter(out_dir)
        self._plan = TilePlan.open(private_dir / PLAN_FOLDER)
        self._journal = JournalWriter(private_dir / JOURNAL_FOLDER)
        self._source = source
        self._options = options

    def write(self, numbers: list[int]) -> int:
        """Write the tiles of these numbers; the number of their objects."""
        objects = 0
        plan = self._plan
        for number in numbers:
            code = np.array([plan.codes[number]])
            level, x, y = (int(part[0]) for part in tile_codes_to_index(code))
            tile = TileAddress(level, x, y)
            keys = plan.keys_of(number)
            made = make_tile(self._source, tile, keys, plan.detail_of(tile), self._options)
            objects += len(keys)
            if made is None:
                self._journal.add(_no_facts(int(code[0])), 0, 0)
                continue
            name = CONTENT_TEMPLATE.format(level=level, x=x, y=y)
            plain, packed = self._files.write(name, made.content)
            self._journal.add(made.facts, plain, packed)
        return objects

    def close(self) -> None:
        self._journal.close()


def _no_facts(code: int) -> NDArray[np.void]:
    from tiles.three_d.facts import TILE_FACTS

    row = np.zeros(1, dtype=TILE_FACTS)
    row["code"] = code
    return row


def _write_tiles(build: _Build, plan: TilePlan, journal: Journal) -> None:
    """Write the tiles that are not finished yet."""
    sizes = np.diff(plan.starts)
    total = max(int(sizes.sum()), 1)
    for _ in range(_MOST_LOST):
        finished = journal.finished(build.out_dir)["facts"]["code"]
        left = np.flatnonzero(~np.isin(plan.codes, finished))
        done = total - int(sizes[left].sum())
        try:
            for objects in _in_processes(build, left, sizes):
                done += objects
                build.progress(_FIRST_PASS + (0.98 - _FIRST_PASS) * done / total)
        except BrokenProcessPool:
            continue
        return
    raise BuildProcessError(
        "processes that wrote 3D tiles were killed again and again (is there enough memory?); "
        "what is done is kept: run the same command again, with fewer processes"
    )


def _batches(left: NDArray[np.intp], sizes: NDArray[np.int64]) -> Iterator[list[int]]:
    """Tiles in runs of some thousand objects."""
    batch: list[int] = []
    objects = 0
    for number in left.tolist():
        batch.append(number)
        objects += int(sizes[number])
        if objects >= _OBJECTS_AT_ONCE:
            yield batch
            batch, objects = [], 0
    if batch:
        yield batch


def _in_processes(build: _Build, left: NDArray[np.intp], sizes: NDArray[np.int64]) -> Iterator[int]:
    """The numbers of objects written, as they are."""
    batches = _batches(left, sizes)
    processes = _process_count(build.options.processes, int(sizes[left].sum()))
    if processes <= 1:
        writer = _TileWriter(build.out_dir, build.private_dir, build.recipe.open(), build.options.tile)
        try:
            for batch in batches:
                build.stop_if_cancelled()
                yield writer.write(batch)
        finally:
            writer.close()
        return
    pool = ProcessPoolExecutor(
        processes,
        get_context("spawn"),
        _begin_process,
        (build.out_dir, build.private_dir, build.recipe, build.options.tile),
    )
    under_way: set[Future[int]] = set()
    try:
        for batch in batches:
            under_way.add(pool.submit(_write_batch, batch))
            while len(under_way) >= 2 * processes:
                yield _collect(build, under_way)
        while under_way:
            yield _collect(build, under_way)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(build: _Build, under_way: set[Future[int]]) -> int:
    build.stop_if_cancelled()
    done, _ = wait(under_way, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
    under_way -= done
    return sum(future.result() for future in done)


def _process_count(asked: int | None, objects: int) -> int:
    cores = len(os.sched_getaffinity(0))
    return min(cores if asked is None else max(asked, 1), cores, 1 + objects // _OBJECTS_WORTH_A_PROCESS)


_writers: list[_TileWriter] = []
"""The writer of this process, where it is one of a pool."""


def _begin_process(out_dir: Path, private_dir: Path, recipe: SourceRecipe, options: TileOptions) -> None:
    _writers[:] = [_TileWriter(out_dir, private_dir, recipe.open(), options)]


def _write_batch(numbers: list[int]) -> int:
    return _writers[0].write(numbers)


# --- the end -----------------------------------------------------------------------------------------------------------


def _finish(
    build: _Build, plan: TilePlan, journal: Journal, source: ObjectSource, said: _Said
) -> TilesetSummary:
    """Subtrees and tileset.json of the finished tiles."""
    build.stop_if_cancelled()
    records = journal.finished(build.out_dir)
    facts = TileFacts.of(records["facts"])
    if not len(facts.rows):
        raise NothingToBuildError("no object is left that could be drawn")
    derived = facts.derived(plan)
    depth = subtree_depth(plan.levels)
    writer = FileWriter(build.out_dir)
    for subtree in described_subtrees(derived, depth, plan.levels):
        name = SUBTREE_TEMPLATE.format(level=subtree.level, x=subtree.x, y=subtree.y)
        writer.write(name, subtree.content)
    table = source.load(plan.keys_of(0)[:1]).table
    writer.write(TILESET_FILE, tileset_json(plan, derived))
    facts.save(build.private_dir / FACTS_FILE)
    _, unique = np.unique(records["facts"]["code"], return_index=True)
    west, south, bottom, east, north, top = facts.bbox()
    document: dict[str, Any] = {"format": BUILD_FORMAT, "options": build.options.tile.to_json()}
    (build.private_dir / BUILD_FILE).write_bytes(orjson.dumps(document))
    journal.end()
    build.progress(1.0)
    log = said.log()
    return TilesetSummary(
        content=source.content,
        feature_count=_object_count(plan, facts),
        skipped=said.skipped,
        repaired=said.repaired,
        problems=tuple(log.listed),
        bbox84h=(turned_longitude(west), south, bottom, turned_longitude(east), north, top),
        geometric_error=tileset_error(derived),
        levels=plan.levels,
        tile_count=len(facts.rows),
        bytes=writer.plain_bytes + int(records["plain"][unique].sum()),
        gzip_bytes=writer.gzip_bytes + int(records["packed"][unique].sum()),
        height_reference=said.height_reference,
        properties={column.id: column.name for column in table.columns},
    )


def _object_count(plan: TilePlan, facts: TileFacts) -> int:
    """The objects in the tileset, each counted once: in REPLACE those of tiles that show the finest detail."""
    if len(plan.details) == 1:
        return int(facts.rows["count"].sum())
    finest = plan.details_at(facts.rows["code"]) == int(plan.details[-1])
    return int(facts.rows["count"][finest].sum())


def read_options(private_dir: Path) -> TileOptions:
    """How the tiles of a built tileset were encoded."""
    return TileOptions.from_json(orjson.loads((private_dir / BUILD_FILE).read_bytes())["options"])
