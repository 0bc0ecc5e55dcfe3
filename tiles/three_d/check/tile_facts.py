"""What metadata say of tiles and contents: volumes, heights, geometric errors (semantics of OGC 22-025r4 clause 9.5)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.property_table import Table
from tiles.three_d.check.volumes import SIZES, Volume, placed, volume_of, with_heights

_SHAPES = {
    "BOUNDING_BOX": ("SCALAR", 12),
    "BOUNDING_REGION": ("SCALAR", 6),
    "BOUNDING_SPHERE": ("SCALAR", 4),
    "MINIMUM_HEIGHT": ("SCALAR", 1),
    "MAXIMUM_HEIGHT": ("SCALAR", 1),
    "GEOMETRIC_ERROR": ("SCALAR", 1),
    "REFINE": ("SCALAR", 1),
    "HORIZON_OCCLUSION_POINT": ("VEC3", 3),
    "TRANSFORM": ("MAT4", 16),
}


class TileFacts(NamedTuple):
    """What a table says of one tile or content; None where it says nothing."""

    volume: Volume | None = None
    lowest: float | None = None
    highest: float | None = None
    error: float | None = None
    refine: str | None = None

    def on(self, volume: Volume | None) -> Volume | None:
        """The volume that holds: its own where there is one, else `volume` with its own heights."""
        chosen = volume if self.volume is None else self.volume
        return None if chosen is None else with_heights(chosen, self.lowest, self.highest)


class FactsReader:
    """The facts of each row of a table. `subject` is "TILE" or "CONTENT"; `transform` (4 x 4) leads from tiles to the root."""

    def __init__(
        self, table: Table | None, subject: str, transform: NDArray[np.float64], findings: FileFindings
    ) -> None:
        self._transform = transform
        self._columns: dict[str, NDArray[np.float64]] = {}
        self._findings = findings
        for name, known in ({} if table is None else table.properties).items():
            semantic = known.stated.get("semantic")
            if not isinstance(semantic, str) or not semantic.startswith(f"{subject}_"):
                continue
            short = semantic.removeprefix(f"{subject}_")
            if short not in _SHAPES:
                continue
            kind, width = _SHAPES[short]
            right = known.type == kind and known.array == (kind == "SCALAR" and width > 1)
            right &= not known.array or known.count == width
            if findings.require(right, "metadata-semantic", f"{name}: {semantic} is not {width} x {kind}"):
                self._read(short, table, name, width)

    def _read(self, short: str, table: Table | None, name: str, width: int) -> None:
        column = None if table is None else table.columns.get(name)
        if table is None or column is None or column.shape[1] != width:
            return
        values = column.astype(np.float64)
        missing = table.properties[name].stated.get("noData")
        if missing is not None:
            # What is missing is that of the tile itself.
            values[(values == np.asarray(missing, np.float64)).all(axis=1)] = np.nan
        self._columns[short] = values

    def row(self, number: int) -> TileFacts:
        """The facts of a row."""
        if not self._columns:
            return TileFacts()
        error = self._number("GEOMETRIC_ERROR", number)
        if error is not None and not 0.0 <= error < np.inf:
            self._findings.add("metadata-semantic", f"row {number}: geometric error {error}")
            error = None
        refine = self._number("REFINE", number)
        self._findings.require(
            refine in (None, 0.0, 1.0), "metadata-semantic", f"row {number}: refinement {refine}"
        )
        lowest, highest = self._number("MINIMUM_HEIGHT", number), self._number("MAXIMUM_HEIGHT", number)
        if lowest is not None and highest is not None:
            rising = lowest <= highest
            self._findings.require(
                rising, "metadata-semantic", f"row {number}: heights {lowest} to {highest} (m)"
            )
        names = {0.0: "ADD", 1.0: "REPLACE"}
        return TileFacts(
            self._volume(number), lowest, highest, error, names.get(-1.0 if refine is None else refine)
        )

    def _number(self, name: str, row: int) -> float | None:
        column = self._columns.get(name)
        return None if column is None or np.isnan(column[row, 0]) else float(column[row, 0])

    def _volume(self, row: int) -> Volume | None:
        found = None
        for kind, size in SIZES.items():
            column = self._columns.get(f"BOUNDING_{kind.upper()}")
            if column is None or np.isnan(column[row]).all():
                continue
            volume = volume_of(kind, column[row], size)
            if self._findings.require(
                volume is not None, "tileset-volume", f"row {row}: {kind} {column[row].tolist()} is none"
            ):
                found = found or (None if volume is None else placed(volume, self._transform))
        return found
