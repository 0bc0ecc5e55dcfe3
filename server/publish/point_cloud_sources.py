"""The inputs of a point cloud, opened; and what goes wrong with them in the words of a publish."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pointclouds.errors import BuildCancelledError, EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.errors import CrsError as PointCloudCrsError
from pointclouds.formats.opening import SourceOptions, open_sources
from server.publish.building import Task
from server.publish.errors import CrsError, DamagedFile, EmptyDataset, PublishCancelled
from server.publish.inputs import Input
from server.publish.raster_times import instant_of
from server.publish.reference_systems import parse_crs

if TYPE_CHECKING:
    from pointclouds.sources import PointSource


@dataclass(frozen=True, slots=True)
class OpenInput:
    """An input, its points, when it is of (RFC 3339, UTC), and its file where that may be taken over as it is."""

    name: str
    source: PointSource
    instant: str | None
    original: Path | None


@contextmanager
def clear_point_errors() -> Iterator[None]:
    """Turn what reading and building a point cloud raises into the errors of a publish; others pass."""
    try:
        yield
    except BuildCancelledError as error:
        raise PublishCancelled("The publish was stopped; nothing was changed.") from error
    except PointCloudCrsError as error:
        raise CrsError(str(error)) from error
    except EmptyPointCloudError as error:
        raise EmptyDataset(str(error)) from error
    except UnreadablePointCloudError as error:
        raise DamagedFile(str(error)) from error


def open_inputs(task: Task, inputs: Sequence[Input] | None = None) -> list[OpenInput]:
    """The inputs of a publish (or `inputs`), each as a source of points with a CRS. Raises InputError and its kinds."""
    items = list(task.inputs if inputs is None else inputs)
    asked = task.request.reading.crs
    crs = parse_crs(asked) if asked else None
    time = task.request.reading.time
    instants = [instant_of(item, time, None) for item in items]
    points = task.request.points
    options = SourceOptions(
        format=items[0].format.key,
        columns=points.columns,
        encoding=task.request.reading.encoding,
        vertical=points.vertical,
        target_crs=points.target_crs,
        workspace=task.workspace,
    )
    with clear_point_errors():
        sources = open_sources(
            [item.path for item in items],
            crs,
            options,
            report=lambda _stage, fraction: task.stage("reading", fraction),
        )
    return [
        OpenInput(item.path.name, source, instant, item.path if item.path.is_file() else None)
        for item, source, instant in zip(items, sources, instants, strict=True)
    ]


def build_processes(task: Task) -> int:
    """How many processes the settings give to the building of one point cloud."""
    return task.settings.points.build_processes or os.cpu_count() or 1
