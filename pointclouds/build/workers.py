"""Doing many parts of a work in several processes, or in this one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Final, Self

from pointclouds.build.frame import Cancelled
from pointclouds.errors import BuildCancelledError, OutputError

_LOOK: Final = 0.2
"""Seconds between two looks at whether the work is still wanted."""


class WorkerKilledError(OutputError):
    """A process was killed; what the others finished can be gone on from."""


class Workers:
    """Processes that are started when there is something to do for them, and end with the context."""

    def __init__(self, processes: int, cancelled: Cancelled) -> None:
        """One process means this one."""
        self._processes = processes
        self._cancelled = cancelled
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def check(self) -> None:
        """Raises BuildCancelledError where the work is not wanted any more."""
        if self._cancelled():
            raise BuildCancelledError("the build was cancelled; nothing was written")

    def run[Task, Result](
        self, function: Callable[[Task], Result], tasks: Iterable[Task], done: Callable[[Result], None]
    ) -> None:
        """Call an importable function with every task, in any order; `done` hears the results, here.

        Raises what the function raises; BuildCancelledError; OutputError where a process was killed.
        """
        if self._processes == 1:
            for task in tasks:
                self.check()
                done(function(task))
            return
        waiting = iter(tasks)
        under_way: set[Future[Result]] = set()
        try:
            while True:
                self.check()
                while len(under_way) < 2 * self._processes:
                    try:
                        task = next(waiting)
                    except StopIteration:
                        break
                    under_way.add(self._started().submit(function, task))
                if not under_way:
                    return
                ready, under_way = wait(under_way, _LOOK, FIRST_COMPLETED)
                for future in ready:
                    done(future.result())
        except BrokenProcessPool as error:
            raise WorkerKilledError(
                "a process that built the point cloud was killed (is there enough memory?); give it less memory or fewer "
                "processes, and build again: what is done is kept"
            ) from error

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not forked: this process may have threads, and handles of libraries that do not survive a fork.
            self._pool = ProcessPoolExecutor(
                self._processes, get_context("spawn"), _begin_process, (os.getpid(),)
            )
        return self._pool


def _begin_process(parent: int) -> None:
    # One thread a process: the processes are the parallel part. Read by the codec at its first use.
    os.environ["RAYON_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with, args=(parent,), name="parent watcher", daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that is killed tells its children nothing, and they would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
