"""The tiles of a mosaic, built in several processes; those that a killed publish had finished are taken up again."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pointclouds.cloud.cloud import OVERVIEW, TILES_FOLDER, CloudTile
from pointclouds.cloud.nodes import nodes_path
from pointclouds.mosaic.building import BuiltTile, TileJob, build_tile, tile_path
from pointclouds.mosaic.overview import Change, write_overview
from pointclouds.mosaic.tiles import free_name
from pointclouds.mosaic.workers import in_processes
from server.publish.building import Task
from server.publish.point_cloud_sources import OpenInput, build_processes, clear_point_errors

if TYPE_CHECKING:
    from pointclouds.build.layout import PointLayout

STAGE = "pointcloud"
_OVERVIEW_SHARE = 0.1
_NAMED_WARNINGS = 10
_SMALLEST_MEMORY = 256 << 20


def build_tiles(
    task: Task, inputs: Sequence[OpenInput], layout: PointLayout, taken: Container[str] = ()
) -> list[BuiltTile]:
    """A tile of every input below `points/`, in the order of the inputs; `taken` are names they may not have.

    Raises InputError and its kinds, PublishCancelled, PointCloudError.
    """
    folder = task.folder / TILES_FOLDER
    folder.mkdir(exist_ok=True)
    jobs = _jobs(task, inputs, layout, folder, taken)
    steps = [f"tile-{job.name}" for job in jobs]
    done: dict[int, BuiltTile] = {}
    for number, step in enumerate(steps):
        if task.steps.has(step) and jobs[number].out.exists():
            done[number] = task.steps.once(step, _nothing_to_make)
    waiting = [number for number in range(len(jobs)) if number not in done]
    with clear_point_errors():
        _told(task, len(done), len(jobs))
        processes = build_processes(task)
        if len(waiting) < processes:  # few tiles: one after the other, each by all processes
            rest = [replace(jobs[number], processes=0, memory_bytes=_memory(task, 1)) for number in waiting]
            processes = 1
        else:
            rest = [jobs[number] for number in waiting]
        for place, built in in_processes(build_tile, rest, processes, task.cancelled):
            number = waiting[place]
            done[number] = task.steps.once(steps[number], lambda built=built: built)  # type: ignore[misc]  # a default binds
            _told(task, len(done), len(jobs))
    return [done[number] for number in range(len(jobs))]


def _nothing_to_make() -> BuiltTile:
    raise AssertionError("a step that is finished is not made again")


def _told(task: Task, done: int, all_: int) -> None:
    task.stage(STAGE, (1 - _OVERVIEW_SHARE) * done / all_)


def _memory(task: Task, processes: int) -> int:
    return max(task.settings.points.build_memory_bytes // processes, _SMALLEST_MEMORY)


def _jobs(
    task: Task, inputs: Sequence[OpenInput], layout: PointLayout, folder: Path, taken: Container[str]
) -> list[TileJob]:
    names: set[str] = set()
    jobs = []
    memory = _memory(task, min(build_processes(task), len(inputs)))
    for item in inputs:
        name = free_name(item.name, _Either(names, taken))
        names.add(name)
        jobs.append(
            TileJob(
                name=name,
                source=item.source,
                original=item.original,
                out=tile_path(folder, name),
                layout=layout,
                workspace=kept_workspace(task, name),
                memory_bytes=memory,
                leaf_points=task.settings.points.leaf_points,
                grid_cells=1 << task.settings.points.grid_depth,
                start=item.instant,
                end=item.instant,
            )
        )
    return jobs


class _Either:
    """A container of what is in one of two."""

    def __init__(self, one: Container[str], other: Container[str]) -> None:
        self._one, self._other = one, other

    def __contains__(self, name: object) -> bool:
        return name in self._one or name in self._other


def kept_workspace(task: Task, name: str) -> Path:
    """A folder for what a build leaves when it is killed, kept as long as the finished steps are."""
    steps = task.steps.folder
    folder = (task.workspace if steps is None else steps.parent / "builds") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_overview(task: Task, tiles: Sequence[CloudTile], change: Change | None = None) -> CloudTile:
    """The overview of these tiles, below `points/`. Raises PublishCancelled, PointCloudError."""

    def told(fraction: float) -> None:
        task.stage(STAGE, 1 - _OVERVIEW_SHARE + _OVERVIEW_SHARE * fraction)

    folder = task.folder / TILES_FOLDER
    with clear_point_errors():
        return write_overview(
            tiles,
            tile_path(folder, OVERVIEW),
            task.workspace,
            change,
            told,
            leaf_points=task.settings.points.leaf_points,
        )


def remove_others(folder: Path, tiles: Iterable[CloudTile]) -> None:
    """Remove what lies beside the tiles: files of builds that were killed, tiles of inputs that are gone."""
    kept = {name for tile in tiles for name in (tile.path.name, nodes_path(tile.path).name)}
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def warnings_of(inputs: Sequence[OpenInput], built: Sequence[BuiltTile]) -> list[str]:
    """One sentence for each thing that was left out or changed; not more than ten name their file."""
    found = [
        f"{item.name}: {_sentence(text)}"
        for item, one in zip(inputs, built, strict=True)
        for text in (*(f"the dimension {name} was left out" for name in one.dropped), *one.notes)
    ]
    return shortened(found)


def shortened(found: list[str]) -> list[str]:
    """The first of many sentences, and how many more there are."""
    more = len(found) - _NAMED_WARNINGS
    return found if more <= 0 else [*found[:_NAMED_WARNINGS], f"and {more} more of that kind."]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
