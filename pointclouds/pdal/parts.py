"""A pipeline whose steps are done by different programs: runs of PDAL's filters, and the cloth of CSF between them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyproj

from pointclouds.errors import PdalAbsentError, PipelineLimitError
from pointclouds.pdal.child import Limits, never
from pointclouds.pdal.cloth import CLOTH, find_ground
from pointclouds.pdal.command import Pdal
from pointclouds.pdal.handover import Layout, las_writer, only_own
from pointclouds.pdal.running import run_pipeline
from pointclouds.pdal.stages import Stage

_NO_FILES: Final[Mapping[str, Path]] = MappingProxyType({})
_REPROJECTION: Final = "filters.reprojection"


@dataclass(frozen=True)
class Job:
    """What is done to a file of ours.

    `stages` in order; `layout` of the file, `crs` of the points afterwards, `coloured` whether a stage gives them colours, `files` what
    stages name; `writer` of the result (las_writer, or of a raster).
    """

    stages: tuple[Stage, ...]
    layout: Layout
    crs: pyproj.CRS
    writer: Stage
    coloured: bool = False
    files: Mapping[str, Path] = field(default=_NO_FILES)


def run_job(
    pdal: Pdal | None,
    job: Job,
    handed: Path,
    output: Path,
    limits: Limits,
    cancelled: Callable[[], bool] = never,
) -> None:
    """Do it; `output` is made whole or not at all. `limits` are of each program, the seconds of all together.

    Raises:
        PdalAbsentError: a filter of PDAL is needed, and `pdal` is None.
        PipelineError and its kinds, RunCancelled: see run_pipeline and find_ground.
    """
    end = time.monotonic() + limits.seconds
    done: tuple[Stage, ...] = ()
    rest, current = job.stages, handed
    with tempfile.TemporaryDirectory(prefix="parts-", dir=output.parent) as name:
        folder = Path(name)
        while any(stage.type == CLOTH for stage in rest):
            at = next(number for number, stage in enumerate(rest) if stage.type == CLOTH)
            before, cloth, rest = rest[:at], rest[at], rest[at + 1 :]
            done = (*done, *before)
            if before:
                between = folder / f"filtered-{len(done)}-{len(rest)}.las"
                writer = _between(job, done, rest)
                run_pipeline(
                    _there(pdal), before, [current], between, _left(limits, end),
                    writer=writer, files=job.files, cancelled=cancelled,
                )  # fmt: skip
                current = between
            last = output.suffix != ".tif" and (not rest or rest == (only_own(),))
            classified = output if last else folder / f"ground-{len(done)}-{len(rest)}.las"
            find_ground(
                cloth.options,
                current,
                classified,
                _left(limits, end),
                only_own=last and bool(rest),
                cancelled=cancelled,
            )
            if last:
                return
            current = classified
        run_pipeline(
            _there(pdal), rest, [current], output, _left(limits, end),
            writer=job.writer, files=job.files, cancelled=cancelled,
        )  # fmt: skip


def _there(pdal: Pdal | None) -> Pdal:
    if pdal is None:
        raise PdalAbsentError(
            "this needs PDAL, and there is none; of the steps, ground:method=csf alone does without"
        )
    return pdal


def _left(limits: Limits, end: float) -> Limits:
    """What is left of the time. Raises PipelineLimitError where nothing is."""
    left = end - time.monotonic()
    if left <= 0:
        raise PipelineLimitError(
            f"the pipeline took longer than its {limits.seconds:g} seconds and was stopped; ask for a smaller area, or for fewer or "
            "cheaper steps (the setting points.pdal_seconds is the operator's)"
        )
    return replace(limits, seconds=left, given=limits.seconds)


def _between(job: Job, done: Sequence[Stage], rest: Sequence[Stage]) -> Stage:
    """The writer of what stands between two programs: all dimensions so far, in the CRS the points have then."""
    crs = job.crs
    if any(stage.type == _REPROJECTION for stage in rest):
        targets = [stage.options["out_srs"] for stage in done if stage.type == _REPROJECTION]
        crs = pyproj.CRS(targets[-1]) if targets else job.layout.crs
    return las_writer(job.layout, crs, done, coloured=job.coloured, own=only_own() in rest)
