"""Tunnels: lines with a section, hollow, so that one sees into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from providers.three_d.pipes import PipeRecipe


@dataclass(frozen=True, slots=True)
class TunnelRecipe(PipeRecipe):
    """A collection of tunnels. Its rules have a `wall`; what is measured goes to the outer shell."""

    kind: ClassVar[str] = "tunnels"
