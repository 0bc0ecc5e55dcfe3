"""Drives a seeding on several processes, until it is done, or something else is wanted of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from server.seeding.errors import SeedingError
from server.seeding.making import begin_process, make_unit
from server.seeding.seeding import Seeding, UnitResult, Wanted
from server.settings import Settings, settings_environment

_LOOK = 0.25
"""Seconds between two looks at what is wanted."""
_MOST_LOST = 3
"""Times that processes may die one after the other before the seeding is given up."""


def run_seeding(
    seeding: Seeding,
    settings: Settings,
    processes: int,
    report: Callable[[str, float], None] = lambda _what, _fraction: None,
) -> Wanted:
    """Make what is not done; "run" where all is done at the end, "stop" where it was stopped (it can be resumed).

    Raises SeedingError where another process drives it, or its processes die again and again.
    """
    lock = seeding.hold()
    if lock is None:
        raise SeedingError(f"seeding {seeding.id} is running already; `chengtu cache seedings` shows it")
    try:
        for _ in range(_MOST_LOST):
            before = seeding.progress.done
            try:
                return _run(seeding, settings, processes, report)
            except BrokenProcessPool:
                if seeding.progress.done == before:
                    time.sleep(_LOOK)
        raise SeedingError(
            f"seeding {seeding.id} was given up: its processes were killed again and again (is there enough memory?); "
            f"go on with `chengtu seed --resume {seeding.id} --processes {max(1, processes // 2)}`"
        )
    finally:
        seeding.save()
        lock.release()


def _run(
    seeding: Seeding, settings: Settings, processes: int, report: Callable[[str, float], None]
) -> Wanted:
    numbers = seeding.pending()
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), begin_process, (settings_environment(settings), seeding.plan)
    )
    under_way: dict[Future[UnitResult], int] = {}
    try:
        while True:
            wanted = seeding.wanted
            while wanted == "run" and len(under_way) < 2 * processes:
                number = next(numbers, None)
                if number is None:
                    break
                under_way[pool.submit(make_unit, number)] = number
            if not under_way and wanted != "pause":
                return wanted
            _collect(seeding, under_way)
            report("paused" if wanted == "pause" and not under_way else _so_far(seeding), seeding.fraction)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(seeding: Seeding, under_way: dict[Future[UnitResult], int]) -> None:
    if not under_way:
        time.sleep(_LOOK)
        return
    done, _ = wait(under_way, timeout=_LOOK, return_when=FIRST_COMPLETED)
    for future in done:
        seeding.record(under_way.pop(future), future.result())


def _so_far(seeding: Seeding) -> str:
    made, kept, failed, _ = seeding.progress.result
    failures = f", {failed} failed" if failed else ""
    return f"{made} tiles made, {kept} kept before{failures}"
