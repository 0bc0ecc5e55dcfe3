"""What the builders of representations share: where they write, whom they tell, and what they give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.publish.errors import PublishCancelled
from server.publish.inputs import Input
from server.publish.request import Cancelled, PublishRequest, Report
from server.publish.resuming import Steps
from server.registry.catalogue import Field, Interval, Representation
from server.settings import Settings

TILE_MATRIX_SETS = ["WebMercatorQuad", "WorldCRS84Quad"]


@dataclass(frozen=True, slots=True)
class Task:
    """One publish under way. `folder` becomes the generation; `workspace` is for files that do not stay.

    `steps`: what an earlier attempt that was killed has finished (`steps.once`).
    """

    request: PublishRequest
    inputs: Sequence[Input]
    folder: Path
    workspace: Path
    settings: Settings
    report: Report
    cancelled: Cancelled
    steps: Steps = field(default_factory=Steps)

    def stage(self, name: str, fraction: float = 0.0) -> None:
        """Report progress; the place where a stopped publish ends. Raises PublishCancelled."""
        self.report(name, min(1.0, max(0.0, fraction)))
        if self.cancelled():
            raise PublishCancelled("The publish was stopped; nothing was changed.")


@dataclass(slots=True)
class Built:
    """The content of a generation. `bbox` is CRS84 (4 numbers) or CRS84h (6)."""

    bbox: tuple[float, ...]
    storage_crs: str
    representations: list[Representation]
    fields: tuple[Field, ...] = ()
    interval: Interval | None = None
    count: int | None = None
    warnings: list[str] = field(default_factory=list)
