"""One seeding: its plan, and durably how far it has come. No process, terminal or clock of its own: whoever drives it makes units,
records them, and looks at what is wanted of it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from server.registry.locks import HeldLock, try_lock
from server.seeding.errors import SeedingError, UnknownSeeding
from server.seeding.plan import Division, SeedingPlan, check_plan

type Wanted = Literal["run", "pause", "stop"]

_PLAN, _PROGRESS, _WANTED, _LOCK = "plan.json", "progress.json", "wanted", "lock"


class UnitResult(NamedTuple):
    """What came of a unit: tiles made, found kept, and failed, with the first reason."""

    made: int
    kept: int
    failed: int
    reason: str | None = None

    def __add__(self, other: object) -> UnitResult:
        if not isinstance(other, UnitResult):
            return NotImplemented
        return UnitResult(
            self.made + other.made,
            self.kept + other.kept,
            self.failed + other.failed,
            self.reason or other.reason,
        )


NOTHING = UnitResult(0, 0, 0)


@dataclass
class Progress:
    """Units below `below` are done, and those in `above`; `result` sums what came of them."""

    below: int = 0
    above: set[int] = field(default_factory=set)
    result: UnitResult = NOTHING

    @property
    def done(self) -> int:
        """Units done."""
        return self.below + len(self.above)


class Seeding:
    """A seeding in a folder of its own, which outlives every process. Raises OSError where the folder cannot be used."""

    def __init__(self, folder: Path, plan: SeedingPlan, progress: Progress) -> None:
        self.folder = folder
        self.plan = plan
        self.progress = progress
        self.division = Division(plan)
        self._saved = 0.0

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @classmethod
    def create(cls, seedings: Path, plan: SeedingPlan) -> Seeding:
        """A new one below the folder of all seedings. Raises SeedingError where the plan makes no sense."""
        check_plan(plan)
        folder = seedings / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        folder.mkdir(parents=True)
        _write(folder / _PLAN, plan.document())
        made = cls(folder, plan, Progress())
        made.save()
        return made

    @classmethod
    def open(cls, seedings: Path, name: str) -> Seeding:
        """A seeding as it was last saved. Raises UnknownSeeding, SeedingError where its files are damaged."""
        folder = seedings / name
        if "/" in name or name.startswith(".") or not (folder / _PLAN).is_file():
            known = ", ".join(names(seedings)) or "none"
            raise UnknownSeeding(f"there is no seeding {name!r} (seedings: {known})")
        plan = SeedingPlan.from_document(_read(folder / _PLAN))
        saved = _read(folder / _PROGRESS) if (folder / _PROGRESS).exists() else asdict(Progress())
        try:
            progress = Progress(saved["below"], set(saved["above"]), UnitResult(*saved["result"]))
        except (KeyError, TypeError) as error:
            raise SeedingError(f"{folder / _PROGRESS} is damaged: {error!r}; remove the folder") from error
        return cls(folder, plan, progress)

    @property
    def finished(self) -> bool:
        """Whether every unit is done."""
        return self.progress.done >= self.division.units

    @property
    def fraction(self) -> float:
        """Share of the units that are done."""
        return self.progress.done / self.division.units if self.division.units else 1.0

    @property
    def running(self) -> bool:
        """Whether a process of this machine drives it now."""
        lock = self.hold()
        if lock is None:
            return True
        lock.release()
        return False

    def hold(self) -> HeldLock | None:
        """Be the one that drives it; None where another process does. A killed process lets go of it."""
        return try_lock(self.folder / _LOCK)

    def pending(self) -> Iterator[int]:
        """Numbers of the units that are not done, rising."""
        for number in range(self.progress.below, self.division.units):
            if number not in self.progress.above:
                yield number

    def record(self, number: int, result: UnitResult) -> None:
        """A unit is done; saved at most once a second."""
        progress = self.progress
        progress.above.add(number)
        while progress.below in progress.above:
            progress.above.remove(progress.below)
            progress.below += 1
        progress.result = progress.result + result
        if time.monotonic() - self._saved >= 1.0:
            self.save()

    def save(self) -> None:
        """Write down how far it is."""
        progress = self.progress
        _write(
            self.folder / _PROGRESS,
            {"below": progress.below, "above": sorted(progress.above), "result": list(progress.result)},
        )
        self._saved = time.monotonic()

    @property
    def wanted(self) -> Wanted:
        """What is wanted of who drives it: go on, wait, or end."""
        try:
            text = (self.folder / _WANTED).read_text(encoding="ascii")
        except FileNotFoundError:
            return "run"
        return "pause" if text == "pause" else "stop" if text == "stop" else "run"

    @wanted.setter
    def wanted(self, wanted: Wanted) -> None:
        (self.folder / _WANTED).write_text(wanted, encoding="ascii")


def names(seedings: Path) -> list[str]:
    """Names of all seedings, the oldest first."""
    if not seedings.is_dir():
        return []
    return sorted(path.name for path in seedings.iterdir() if (path / _PLAN).is_file())


def _write(path: Path, document: object) -> None:
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    aside.write_text(json.dumps(document), encoding="utf-8")
    aside.rename(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise SeedingError(f"{path} is damaged; remove its folder and seed anew") from error
    if not isinstance(found, dict):
        raise SeedingError(f"{path} is damaged; remove its folder and seed anew")
    return found
