"""What the checker finds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `file` is relative to the tileset's folder; `rule` is a short stable name; `message` says what is wrong."""

    file: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.rule}: {self.message}"


@dataclass(slots=True)
class FileFindings:
    """Collects the findings of one file."""

    file: str
    found: list[Finding] = field(default_factory=list)

    def add(self, rule: str, message: str) -> None:
        """Record a fault."""
        self.found.append(Finding(self.file, rule, message))

    def require(self, condition: bool, rule: str, message: str) -> bool:
        """Record a fault unless `condition`; gives `condition` back."""
        if not condition:
            self.add(rule, message)
        return condition
