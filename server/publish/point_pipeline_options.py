"""Pipelines as options: a name of ready steps, or a file of PDAL JSON, checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from pointclouds.errors import PipelineRefusedError
from pointclouds.pdal.allowed import check_pipeline
from pointclouds.pdal.stages import Stage
from pointclouds.pdal.steps import STEPS, Step, parse_step
from server.publish.errors import OptionError

if TYPE_CHECKING:
    from providers.processes.point_steps import Work

_LARGEST = 256 * 1024


def work_of(given: Sequence[str]) -> Work:
    """The work of `--step` and `--pipeline` values, in order: a step (ground:method=smrf), several names with commas between, or the
    path of a PDAL pipeline (NAME.json).

    Raises:
        OptionError: a step, stage or option that does not exist or is not allowed, or a file that is no pipeline.
    """
    work: list[Step | Stage] = []
    try:
        for text in given:
            if text.endswith(".json"):
                work += check_pipeline(_read(Path(text)))
            elif ":" not in text and "," in text:
                work += [parse_step(name) for name in text.split(",")]
            else:
                work.append(parse_step(text))
    except PipelineRefusedError as error:
        hint = (
            ""
            if "there is no step" not in str(error)
            else f", or the path of a PDAL pipeline ({', '.join(STEPS)}; FILE.json)"
        )
        raise OptionError(f"{str(error)[:1].upper()}{str(error)[1:]}{hint}.") from error
    return tuple(work)


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _LARGEST:
            raise OptionError(
                f"{path.name} is larger than {_LARGEST // 1024} kB; a pipeline is a short list of filters."
            )
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise OptionError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except orjson.JSONDecodeError as error:
        raise OptionError(f"{path.name} is no JSON: {error}.") from error
