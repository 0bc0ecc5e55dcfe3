"""Collects what is wrong with a payload, so that a client learns of all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from providers.errors import InvalidFeature


@dataclass(frozen=True, slots=True)
class EditLimits:
    """How much one request may bring: positions of one geometry, edits of one batch, characters of one text, faults told."""

    vertices: int = 100_000
    edits: int = 5_000
    text: int = 100_000
    faults: int = 100


class Faults:
    """Pairs of a JSON pointer (RFC 6901) and what is wrong there."""

    def __init__(self, limits: EditLimits) -> None:
        self.limits = limits
        self.found: list[tuple[str, str]] = []

    @property
    def full(self) -> bool:
        """Whether no more faults are told: the search may stop."""
        return len(self.found) >= self.limits.faults

    def add(self, pointer: str, fault: str) -> None:
        """Note a fault; those beyond the limit are dropped."""
        if not self.full:
            self.found.append((pointer, fault))

    def check(self) -> None:
        """Raise InvalidFeature where anything was found."""
        if self.found:
            raise InvalidFeature(self.found)


def pointer(*parts: str | int) -> str:
    """A JSON pointer from its parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def shown(value: object) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def listed(names: Iterable[str]) -> str:
    """Names as messages list them."""
    names = list(names)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
