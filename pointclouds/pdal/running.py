"""One run of PDAL: a child in a process group and a folder of its own, with limits of time, memory, disk and paths.

PDAL sees relative names only (input-0.las, output.laz), which this module gives: no path of a user, a tenant or a server is in a
pipeline, and none can come back in a message.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pointclouds.errors import NothingLeftError, PipelineFailedError, PipelineLimitError
from pointclouds.las.structures import LAS_14_HEADER_SIZE, unpack_header
from pointclouds.pdal.command import LAUNCHER, Pdal, clean_environment
from pointclouds.pdal.stages import Stage

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
    """What one run may use. seconds: wall clock. memory: address space, bytes. file_bytes: of any one file it writes."""

    seconds: float = 600.0
    memory: int = 4 * _GIBIBYTE
    file_bytes: int = 64 * _GIBIBYTE


def never() -> bool:
    """Nobody wants it stopped."""
    return False


class RunCancelled(Exception):
    """Whoever started the run wants it stopped; its processes are gone."""


def run_pipeline(
    pdal: Pdal,
    stages: Sequence[Stage],
    inputs: Sequence[Path],
    output: Path,
    limits: Limits,
    *,
    writer: Stage | None = None,
    files: Mapping[str, Path] | None = None,
    cancelled: Callable[[], bool] = never,
) -> None:
    """Read `inputs` (LAS, LAZ), apply `stages`, write `output`.

    Args:
        stages: checked ones (pdal.allowed) or those of steps (pdal.steps), in order; without one the points are copied.
        output: made anew, whole or not at all; its folder is where the work is done. A suffix .tif means a raster by `writer`.
        writer: a stage without a file name; None: writers.las.
        files: what stages may name as files, by the name they use for it ("raster.tif"): linked into the folder of the run.

    Raises:
        PipelineFailedError: PDAL refuses its data, or crashes.
        NothingLeftError: no point is left.
        PipelineLimitError: it takes longer, more memory or more disk than `limits`.
        RunCancelled: `cancelled` became true.
    """
    refuse_what_never_ends(pdal, stages)
    with tempfile.TemporaryDirectory(prefix="pdal-", dir=output.parent) as folder:
        scratch = Path(folder)
        suffix = ".tif" if output.suffix == ".tif" else ".laz"
        made = scratch / f"output{suffix}"
        names = _link(scratch, inputs, files or {})
        document = _document(pdal, names, stages, writer or Stage("writers.las"), made.name)
        (scratch / "pipeline.json").write_text(json.dumps(document, allow_nan=False))
        real = [path.resolve() for path in (*inputs, *(files or {}).values())]
        _run(pdal, scratch, real, limits, cancelled)
        if not made.is_file() or made.is_symlink() or not _holds_anything(made):
            raise NothingLeftError("nothing is left of the points after this pipeline; look at its filters")
        shutil.move(made, output)


_NEVER_ENDS: Final = "filters.csf"
_PROBE: Final = (
    {"type": "readers.faux", "bounds": "([0,9],[0,9],[0,1])", "count": 50, "mode": "random"},
    {"type": _NEVER_ENDS, "iterations": 1},
    {"type": "writers.null"},
)
_PROBE_LIMITS: Final = (5.0, _GIBIBYTE)


def refuse_what_never_ends(pdal: Pdal, stages: Sequence[Stage]) -> None:
    """Raises PipelineFailedError for a CSF whose build is broken.

    The one of Debian 11 (2.2.0) never comes out of its first loop, whatever its input, and takes memory until it is ended: it is
    tried on 50 points first, once a process.
    """
    asked = pdal.version.startswith("2.2.") and any(stage.type == _NEVER_ENDS for stage in stages)
    if asked and not csf_ends(pdal):
        raise PipelineFailedError(
            f"the CSF of this build of PDAL {pdal.version} does not work: it never ends; use ground:method=smrf, or a newer PDAL"
        )


@lru_cache(maxsize=8)
def csf_ends(pdal: Pdal) -> bool:
    """Whether CSF comes back at all; costs the five seconds of a limit where it does not."""
    seconds, memory = _PROBE_LIMITS
    with tempfile.TemporaryDirectory(prefix="pdal-") as folder:
        (Path(folder) / "pipeline.json").write_text(json.dumps({"pipeline": _PROBE}))
        try:
            _run(pdal, Path(folder), (), Limits(seconds, memory), never)
        except (PipelineFailedError, PipelineLimitError):
            return False
    return True


def _holds_anything(made: Path) -> bool:
    if made.suffix == ".tif":
        return made.stat().st_size > 0
    with made.open("rb") as stream:
        return unpack_header(stream.read(LAS_14_HEADER_SIZE)).point_count > 0


def _link(scratch: Path, inputs: Sequence[Path], files: Mapping[str, Path]) -> list[str]:
    """The names of the inputs within the run's folder. Links, because PDAL expands wild cards in names it is given."""
    names = [
        f"input-{number}{'.las' if path.suffix == '.las' else '.laz'}" for number, path in enumerate(inputs)
    ]
    for name, path in (*zip(names, inputs, strict=True), *files.items()):
        (scratch / name).symlink_to(path.resolve())
    return names


def _document(
    pdal: Pdal, names: Sequence[str], stages: Sequence[Stage], writer: Stage, output: str
) -> dict[str, Any]:
    # Several readers are merged by the first stage that follows them; a filters.merge says so for every version.
    readers = [
        {"type": "readers.las", "filename": name, "tag": f"input{at}"} for at, name in enumerate(names)
    ]
    merge: list[dict[str, Any]] = []
    if len(names) > 1:
        merge = [{"type": "filters.merge", "inputs": [reader["tag"] for reader in readers]}]
    return {
        "pipeline": [
            *readers,
            *merge,
            *(stage.document() for stage in stages),
            {**writer.document(), "filename": output},
        ]
    }


def _run(
    pdal: Pdal, scratch: Path, files: Sequence[Path], limits: Limits, cancelled: Callable[[], bool]
) -> None:
    asked = {
        "memory": limits.memory,
        "file_bytes": limits.file_bytes,
        # Four threads at most do the work of a stage; time on the clock is what is promised.
        "seconds": math.ceil(limits.seconds) * 4 + 1,
        "readable": [*_SYSTEM, *_DEVICES, *_PROCESS_FACTS, *pdal.folders, *map(str, files)],
        "writable": [str(scratch), "/dev/null"],
    }
    command = (
        *(sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(asked)),
        *(*pdal.command, "pipeline", "pipeline.json"),
    )
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
        raise _failure(process.returncode, _read_log(log), limits)


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
                    f"the pipeline took longer than its {limits.seconds:g} seconds and was stopped; "
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


def _failure(status: int, said: str, limits: Limits) -> PipelineFailedError | PipelineLimitError:
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
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return PipelineFailedError(
            f"PDAL crashed ({name}){': ' + words if words else ''}; nothing was changed"
        )
    return PipelineFailedError(f"PDAL could not do it: {words or f'it ended with status {status}'}")


_PREFIX: Final = re.compile(r"^\(?(?:pdal\s+\w+\s+)?(?:error\s*)?\)?\s*(?:PDAL:\s*)?", re.IGNORECASE)
_PATHS: Final = re.compile(r"(?:/[\w.+@~-]+){2,}/?")


def _sentence(said: str) -> str:
    """The last thing PDAL said, on one line, without paths."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Traceback")]
    telling = [line for line in lines if "PDAL:" in line or "rror" in line] or lines
    if not telling:
        return ""
    text = _PATHS.sub("a file", _PREFIX.sub("", telling[-1])).rstrip(".")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
