"""One child process in a process group and a folder of its own, with limits of time, memory, disk and paths: PDAL, and the cloth of CSF.

What it prints is kept for messages and shown to nobody as it is: its last sentence, without paths.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pointclouds.errors import NothingLeftError, PipelineFailedError, PipelineLimitError
from pointclouds.pdal.command import LAUNCHER, clean_environment

_POLL_SECONDS: Final = 0.05
_SHOWN_CHARACTERS: Final = 300
_LOG_BYTES: Final = 64 * 1024
_GIBIBYTE: Final = 1 << 30
_SYSTEM: Final = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/proj",
)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty")
_PROCESS_FACTS: Final = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system/cpu",
)


@dataclass(frozen=True)
class Limits:
    """What one run may use. seconds: wall clock. memory: address space, bytes. file_bytes: of any one file it writes.

    `given`: the seconds of all programs of a pipeline, for messages, where this one has what others have left.
    """

    seconds: float = 600.0
    memory: int = 4 * _GIBIBYTE
    file_bytes: int = 64 * _GIBIBYTE
    given: float | None = None


def never() -> bool:
    """Nobody wants it stopped."""
    return False


class RunCancelled(Exception):
    """Whoever started the run wants it stopped; its processes are gone."""


@dataclass(frozen=True)
class Program:
    """What runs in the child: `name` in messages, `command` with its arguments, `folders` of its own that it reads."""

    name: str
    command: tuple[str, ...]
    folders: tuple[str, ...]


def run_child(
    program: Program,
    scratch: Path,
    files: Sequence[Path],
    limits: Limits,
    cancelled: Callable[[], bool] = never,
) -> None:
    """Run a program in the folder `scratch`, which it may write; it reads that, `files` and its own folders.

    Raises:
        PipelineFailedError: it refuses its data, or crashes.
        NothingLeftError: it has no point to work on.
        PipelineLimitError: it takes longer, more memory or more disk than `limits`.
        RunCancelled: `cancelled` became true.
    """
    asked = {
        "memory": limits.memory,
        "file_bytes": limits.file_bytes,
        # Four threads at most do the work of a stage; time on the clock is what is promised.
        "seconds": math.ceil(limits.seconds) * 4 + 1,
        "readable": [*_SYSTEM, *_DEVICES, *_PROCESS_FACTS, *program.folders, *map(str, files)],
        "writable": [str(scratch), "/dev/null"],
    }
    command = (sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(asked), *program.command)
    log = scratch / "messages"
    with log.open("wb") as messages:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env=clean_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        try:
            _wait(process, limits, cancelled)
        finally:
            _end_group(process)
    if process.returncode != 0:
        raise _failure(program.name, process.returncode, _read_log(log), limits)


def _wait(process: subprocess.Popen[bytes], limits: Limits, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + limits.seconds
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if cancelled():
                raise RunCancelled("the pipeline was stopped") from None
            if time.monotonic() >= end:
                raise PipelineLimitError(
                    f"the pipeline took longer than its {limits.given or limits.seconds:g} seconds and was stopped; "
                    "ask for a smaller area, or for fewer or cheaper steps (the setting points.pdal_seconds is the operator's)"
                ) from None
        else:
            return


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever the child has started ends with it."""
    # The group is gone, or what is left of it waits to be taken leave of.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_log(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG_BYTES))
        return stream.read().decode("utf-8", "replace")


_OUT_OF_MEMORY: Final = re.compile(
    r"bad_alloc|bad alloc|cannot allocate memory|out of memory|failed to map|MemoryError", re.IGNORECASE
)
_OUT_OF_DISK: Final = re.compile(
    r"file too large|no space left|write failed|unable to write|LASwritePoint", re.IGNORECASE
)


def _failure(name: str, status: int, said: str, limits: Limits) -> PipelineFailedError | PipelineLimitError:
    """The error of a child that ended badly; `status` is negative for a signal."""
    if _OUT_OF_MEMORY.search(said):
        return PipelineLimitError(
            f"the pipeline needs more memory than its {limits.memory / _GIBIBYTE:.2g} GiB; ask for a smaller area or fewer points "
            "(the setting points.pdal_memory_bytes is the operator's)"
        )
    if status in (-signal.SIGXCPU, -signal.SIGXFSZ) or _OUT_OF_DISK.search(said):
        return PipelineLimitError(
            f"the pipeline used up its time or the {limits.file_bytes / _GIBIBYTE:.2g} GiB a file may have; ask for a smaller area"
        )
    words = _sentence(said)
    if re.search(r"with no points|no points to", words, re.IGNORECASE):
        return NothingLeftError(
            "no point is left to work on; a dtm needs points classified as ground (step ground)"
        )
    if status < 0:
        how = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return PipelineFailedError(
            f"{name} crashed ({how}){': ' + words if words else ''}; nothing was changed"
        )
    return PipelineFailedError(f"{name} could not do it: {words or f'it ended with status {status}'}")


_PREFIX: Final = re.compile(r"^\(?(?:pdal\s+\w+\s+)?(?:error\s*)?\)?\s*(?:PDAL:\s*)?", re.IGNORECASE)
_PATHS: Final = re.compile(r"(?:/[\w.+@~-]+){2,}/?")


def _sentence(said: str) -> str:
    """The last thing the child said, on one line, without paths."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Traceback")]
    telling = [line for line in lines if "PDAL:" in line or "rror" in line] or lines
    if not telling:
        return ""
    text = _PATHS.sub("a file", _PREFIX.sub("", telling[-1])).rstrip(".")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
