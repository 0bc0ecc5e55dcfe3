"""The result of a check, and the calls that make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiles.three_d.check.content import Place, check_content
from tiles.three_d.check.files import FolderFiles, TilesetFiles
from tiles.three_d.check.findings import EnoughFound, FileFindings, Finding, Journal
from tiles.three_d.check.tileset import TilesetCheck
from tiles.three_d.check.volumes import Bound, Volume

_SUBJECTS = (
    "tiles",
    "contents",
    "subtrees",
    "features",
    "triangles",
    "points",
    "instances",
    "images",
)


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `findings` are faults, `remarks` are not; `counts` says how much was seen; `complete` is False where
    the check stopped early."""

    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    counts: Mapping[str, int]
    complete: bool = True

    def summary(self) -> str:
        """The result in a sentence."""
        seen = ", ".join(f"{self.counts[name]:,} {name}" for name in _SUBJECTS if self.counts.get(name))
        size = self.counts.get("bytes", 0) / 1e6
        read = f"{seen or 'nothing'} in {self.counts.get('files', 0):,} files ({size:,.1f} MB)"
        if not self.findings:
            return f"no fault in {read}"
        number = len(self.findings)
        faults = f"{number} fault{'' if number == 1 else 's'}"
        return f"{faults} in {read}" if self.complete else f"stopped after {faults}; seen so far: {read}"


def check_tileset(path: Path) -> list[Finding]:
    """Check the tileset in `path` (its folder, or its tileset.json). Gives every fault found; none means good."""
    return list(inspect_tileset(path).findings)


def inspect_tileset(
    files: Path | TilesetFiles,
    name: str = "tileset.json",
    *,
    most: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a tileset. `name` is its document in `files`; a Path is its folder, or the document itself.

    Stops after `most` faults. `progress` is told how many files have been read.
    """
    if isinstance(files, Path):
        name = name if files.is_dir() else files.name
        files = FolderFiles(files if files.is_dir() else files.parent)
    journal = Journal(most)
    try:
        TilesetCheck(files, journal, progress).run(name)
    except EnoughFound:
        return _report(journal, complete=False)
    return _report(journal)


def check_content_bytes(content: bytes, volume: Volume | None = None, name: str = "content") -> list[Finding]:
    """Check one .glb, .b3dm, .i3dm, .cmpt or .pnts by itself; `volume` (region, or box or sphere in its frame) must hold it."""
    return list(inspect_content(content, volume, name).findings)


def inspect_content(
    content: bytes, volume: Volume | None = None, name: str = "content", *, most: int | None = None
) -> Report:
    """The same with remarks and counts; stops after `most` faults."""
    journal = Journal(most)
    bounds = () if volume is None else (Bound(volume, "bounding volume"),)
    findings = FileFindings(name, journal)
    findings.count("files")
    findings.count("bytes", len(content))
    try:
        check_content(content, Place(np.eye(4), bounds), lambda uri: None, findings)
    except EnoughFound:
        return _report(journal, complete=False)
    return _report(journal)


def _report(journal: Journal, *, complete: bool = True) -> Report:
    return Report(
        tuple(one for one in journal.found if one.severity == "error"),
        tuple(one for one in journal.found if one.severity == "remark"),
        dict(journal.counts),
        complete,
    )
