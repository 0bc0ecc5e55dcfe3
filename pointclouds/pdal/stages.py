"""A stage of a pipeline: one filter of PDAL, with options that have been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Stage:
    """`type` is PDAL's name ("filters.smrf"), `options` are as its JSON takes them."""

    type: str
    options: Mapping[str, Any] = field(default=_NONE)

    def document(self) -> dict[str, Any]:
        """The stage as PDAL's JSON has it."""
        return {"type": self.type, **self.options}
