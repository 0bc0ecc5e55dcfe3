"""What the checker finds: faults, remarks, and how much it has seen."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

type Severity = Literal["error", "remark"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, or one remark. `file` is relative to the tileset's folder; `rule` is a short stable name; `message` says what is
    wrong.

    An "error" breaks a standard, or shows the wrong thing. A "remark" is good to know: what this checker cannot read, or what
    is allowed but costs.
    """

    file: str
    rule: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.file}: {self.rule}: {self.message}"


class EnoughFound(Exception):
    """As many faults have been found as were asked for."""


@dataclass(slots=True)
class Journal:
    """All that one run finds. Stops it (EnoughFound) after `most` faults; `counts` says how much was seen."""

    most: int | None = None
    found: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    errors: int = 0

    def add(self, finding: Finding) -> None:
        """Record a finding."""
        self.found.append(finding)
        self.errors += finding.severity == "error"
        if self.most is not None and self.errors >= self.most:
            raise EnoughFound


@dataclass(slots=True)
class FileFindings:
    """Collects the findings of one file into a journal."""

    file: str
    journal: Journal = field(default_factory=Journal)

    @property
    def found(self) -> list[Finding]:
        """All findings of the journal, those of other files too."""
        return self.journal.found

    def add(self, rule: str, message: str) -> None:
        """Record a fault."""
        self.journal.add(Finding(self.file, rule, message))

    def remark(self, rule: str, message: str) -> None:
        """Record a remark."""
        self.journal.add(Finding(self.file, rule, message, "remark"))

    def require(self, condition: bool, rule: str, message: str) -> bool:
        """Record a fault unless `condition`; gives `condition` back."""
        if not condition:
            self.add(rule, message)
        return condition

    def count(self, what: str, number: int = 1) -> None:
        """Add to what the run has seen."""
        self.journal.counts[what] += number

    def of(self, file: str) -> FileFindings:
        """Findings of another file in the same journal."""
        return FileFindings(file, self.journal)


@contextmanager
def reading(findings: FileFindings) -> Iterator[None]:
    """Makes a finding of a file whose JSON has something else than the standard's types somewhere, or whose numbers are absurd.

    What is read here may be anything: each member would need a check of its own before it is used.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        ArithmeticError,
        struct.error,
    ) as error:
        findings.add("unreadable", f"it cannot be read any further: {type(error).__name__}: {error}")
