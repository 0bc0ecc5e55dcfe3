"""Publishing: from files of any common geodata format to one collection, built aside and switched in at once."""

from __future__ import annotations

from server.publish.publication import publish, sweep_staging
from server.publish.request import (
    STAGES,
    EditingOptions,
    ExtraRepresentation,
    PublishRequest,
    PublishResult,
    ReadingOptions,
    RepresentationBuilder,
    SceneOptions,
)

__all__ = [
    "STAGES",
    "EditingOptions",
    "ExtraRepresentation",
    "PublishRequest",
    "PublishResult",
    "ReadingOptions",
    "RepresentationBuilder",
    "SceneOptions",
    "publish",
    "sweep_staging",
]
