"""Work on many tiles at once, in processes that stop when their publisher is stopped, cancelled or killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

from pointclouds.errors import BuildCancelledError, UnreadablePointCloudError

_POLL_SECONDS: Final = 0.2
_AHEAD: Final = 2
"""Jobs a process that are handed out before the first is done: a thousand waiting jobs would only take memory."""

Cancelled = Callable[[], bool]
_wanted: Path | None = None
"""In a worker: the file that is there as long as the work is wanted. (A semaphore of multiprocessing would be one more thing to leak.)"""


def stopped() -> bool:
    """In a worker: whether the work is to end."""
    return _wanted is not None and not _wanted.exists()


def _begin(wanted: Path) -> None:
    """In every worker: leave Ctrl-C to the publisher, and end with it even where it is killed."""
    global _wanted
    _wanted = wanted
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # A killed publisher is followed by one that goes on in the same folder: nobody else may write there then.
        os._exit(1)


def in_processes[Job, Result](
    function: Callable[[Job], Result], jobs: Sequence[Job], processes: int, cancelled: Cancelled
) -> Iterator[tuple[int, Result]]:
    """The number and the result of every job, as they become ready. `function` is importable, jobs and results pickle.

    With one process, or one job, the work is done in this one.

    Raises:
        BuildCancelledError: `cancelled` said so; jobs under way have ended.
        UnreadablePointCloudError: a process crashed.
        What `function` raises: the first error ends all jobs.
    """
    if processes < 2 or len(jobs) < 2:
        for number, job in enumerate(jobs):
            if cancelled():
                raise BuildCancelledError("the work on the point cloud was stopped")
            yield number, function(job)
        return
    with tempfile.TemporaryDirectory(prefix="chengtu-tiles-") as folder:
        wanted = Path(folder, "wanted")
        wanted.touch()
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(processes, len(jobs)), context, _begin, (wanted,))
        try:
            yield from _results(pool, function, jobs, processes * _AHEAD, cancelled)
        except BrokenProcessPool as error:
            raise UnreadablePointCloudError(
                "a process that reads point clouds ended unexpectedly (out of memory, or a damaged file); publish the files in "
                "smaller groups to find the one"
            ) from error
        finally:
            wanted.unlink()
            pool.shutdown(wait=True, cancel_futures=True)


def _results[Job, Result](
    pool: ProcessPoolExecutor,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    ahead: int,
    cancelled: Cancelled,
) -> Iterator[tuple[int, Result]]:
    waiting: dict[Future[Result], int] = {}
    following = iter(enumerate(jobs))
    while True:
        for number, job in following:
            waiting[pool.submit(function, job)] = number
            if len(waiting) >= ahead:
                break
        if not waiting:
            return
        done, _ = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
        if cancelled():
            raise BuildCancelledError("the work on the point cloud was stopped")
        for future in done:
            yield waiting.pop(future), future.result()
