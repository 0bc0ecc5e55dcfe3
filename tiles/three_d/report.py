"""What a build says about itself: problems of single objects, and the summary of the tileset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Action = Literal["skipped", "repaired", "kept"]
BBox84h = tuple[float, float, float, float, float, float]
MAX_LISTED_PROBLEMS = 1000


@dataclass(frozen=True, slots=True)
class ObjectProblem:
    """One object that could not be drawn as given. `action` says whether it was left out, mended, or is drawn as it is."""

    id: str
    problem: str
    action: Action


ReportProblem = Callable[[ObjectProblem], None]


@dataclass(slots=True)
class ProblemLog:
    """Collects problems during a build: counts all, lists the first thousand, passes each on to `report`."""

    report: ReportProblem | None = None
    listed: list[ObjectProblem] = field(default_factory=list)
    counts: Counter[Action] = field(default_factory=Counter)

    def add(self, identifier: str, problem: str, action: Action) -> None:
        """Record one problem."""
        found = ObjectProblem(identifier, problem, action)
        self.counts[action] += 1
        if len(self.listed) < MAX_LISTED_PROBLEMS:
            self.listed.append(found)
        if self.report is not None:
            self.report(found)


@dataclass(slots=True)
class Survivors:
    """Which objects can still be drawn: `alive` (n,). Every one that drops out is reported once, with its first reason."""

    ids: Sequence[str]
    log: ProblemLog
    alive: NDArray[np.bool_]

    @classmethod
    def all_of(cls, ids: Sequence[str], log: ProblemLog) -> Survivors:
        """All objects alive."""
        return cls(ids, log, np.ones(len(ids), dtype=np.bool_))

    def drop(self, which: NDArray[np.bool_], why: str) -> None:
        """Drop the objects marked in `which` (n,)."""
        for row in np.flatnonzero(which & self.alive).tolist():
            self.log.add(self.ids[row], why, "skipped")
        self.alive[which] = False

    def drop_owners(self, owner: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
        """Drop the objects that own a bad part: `owner` (v,) rows, `bad` (v,)."""
        which = np.zeros(len(self.alive), dtype=np.bool_)
        which[owner[bad]] = True
        self.drop(which, why)

    def first_problem(self) -> str:
        """The first listed problem in words."""
        listed = self.log.listed
        return f"{listed[0].id}: {listed[0].problem}" if listed else "there are no objects"


@dataclass(frozen=True, slots=True)
class TilesetSummary:
    """What was built.

    `content` is "buildings", "pipes" or "cityjson". `bbox84h` is west, south, bottom, east, north, top in degrees and
    metres above the WGS 84 ellipsoid; west > east where it crosses the antimeridian. `geometric_error` (m) is the
    tileset's. `properties` maps the glTF property id to the name people know. `bytes` counts the plain files,
    `gzip_bytes` their compressed siblings.
    """

    content: str
    feature_count: int
    skipped: int
    repaired: int
    problems: tuple[ObjectProblem, ...]
    bbox84h: BBox84h
    geometric_error: float
    levels: int
    tile_count: int
    bytes: int
    gzip_bytes: int
    height_reference: str
    properties: Mapping[str, str]
