"""One run of PDAL in a child.

PDAL sees relative names only (input-0.las, output.laz), which this module gives: no path of a user, a tenant or a server is in a
pipeline, and none can come back in a message.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pointclouds.errors import NothingLeftError, PipelineFailedError, PipelineLimitError
from pointclouds.las.structures import LAS_14_HEADER_SIZE, unpack_header
from pointclouds.pdal.child import Limits, Program, never, run_child
from pointclouds.pdal.command import Pdal
from pointclouds.pdal.stages import Stage


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
        output: made anew, whole or not at all; its folder is where the work is done. A suffix .tif means a raster by `writer`, .las plain LAS.
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
        suffix = output.suffix if output.suffix in (".tif", ".las") else ".laz"
        made = scratch / f"output{suffix}"
        names = _link(scratch, inputs, files or {})
        document = _document(pdal, names, stages, writer or Stage("writers.las"), made.name)
        (scratch / "pipeline.json").write_text(json.dumps(document, allow_nan=False))
        real = [path.resolve() for path in (*inputs, *(files or {}).values())]
        run_child(_program(pdal), scratch, real, limits, cancelled)
        if not made.is_file() or made.is_symlink() or not _holds_anything(made):
            raise NothingLeftError("nothing is left of the points after this pipeline; look at its filters")
        shutil.move(made, output)


_NEVER_ENDS: Final = "filters.csf"
_PROBE: Final = (
    {"type": "readers.faux", "bounds": "([0,9],[0,9],[0,1])", "count": 50, "mode": "random"},
    {"type": _NEVER_ENDS, "iterations": 1},
    {"type": "writers.null"},
)
_PROBE_LIMITS: Final = (5.0, 1 << 30)


def refuse_what_never_ends(pdal: Pdal, stages: Sequence[Stage]) -> None:
    """Raises PipelineFailedError for a CSF whose build is broken.

    The one of Debian 11 (2.2.0) never comes out of its first loop, whatever its input, and takes memory until it is ended: it is
    tried on 50 points first, once a process.
    """
    asked = pdal.version.startswith("2.2.") and any(stage.type == _NEVER_ENDS for stage in stages)
    if asked and not csf_ends(pdal):
        raise PipelineFailedError(
            f"the CSF of this build of PDAL {pdal.version} does not work: it never ends; use the step ground:method=csf, which "
            "needs no PDAL, filters.smrf, or a newer PDAL"
        )


@lru_cache(maxsize=8)
def csf_ends(pdal: Pdal) -> bool:
    """Whether CSF comes back at all; costs the five seconds of a limit where it does not."""
    seconds, memory = _PROBE_LIMITS
    with tempfile.TemporaryDirectory(prefix="pdal-") as folder:
        (Path(folder) / "pipeline.json").write_text(json.dumps({"pipeline": _PROBE}))
        try:
            run_child(_program(pdal), Path(folder), (), Limits(seconds, memory))
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


def _program(pdal: Pdal) -> Program:
    return Program("PDAL", (*pdal.command, "pipeline", "pipeline.json"), pdal.folders)
