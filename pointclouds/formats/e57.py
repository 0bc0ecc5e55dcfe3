"""E57: its scans brought together, unpacked once into a file of plain records by a process of its own."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyproj

from pointclouds.crs import parse_crs
from pointclouds.errors import UnreadablePointCloudError
from pointclouds.formats.blocks import BlockSource
from pointclouds.formats.e57_unpacking import unpack_e57
from pointclouds.formats.guarded import Limits, Report, run_guarded
from pointclouds.formats.text import described
from pointclouds.las.layout import Records
from pointclouds.las.reader import reading

_BLOCK_POINTS: Final = 200_000


class E57Source(BlockSource):
    """The valid points of all scans of an E57 file. Its unpacked records are removed with this object, copies read them meanwhile."""

    def __init__(
        self,
        path: Path,
        crs: pyproj.CRS | None,
        *,
        scale: float | None = None,
        workspace: Path | None = None,
        limits: Limits | None = None,
        report: Report | None = None,
    ) -> None:
        """Reads the file in a child process.

        Args:
            crs: in place of the file's coordinateMetadata.
            scale: in place of what the data suggest.
            workspace: folder for the unpacked records; None: the system's temporary folder.
            limits: of the child.
            report: gets ("e57", 0 to 1).

        Raises:
            UnreadablePointCloudError, EmptyPointCloudError: it cannot be read, or holds no valid point.
            UnusableCrsError: its coordinateMetadata is not understood and `crs` not given.
        """
        self.path = path
        with reading(path):
            path.stat()
            folder = Path(tempfile.mkdtemp(prefix="e57-", dir=workspace))
        self._clean = weakref.finalize(self, shutil.rmtree, str(folder), ignore_errors=True)
        self._records = folder / "points.bin"
        try:
            facts = run_guarded(
                unpack_e57,
                *(str(path), str(self._records), scale, crs.is_geographic if crs is not None else None),
                limits=limits,
                report=report,
                what=path.name,
            )
            if crs is None and facts.crs:
                crs = parse_crs(facts.crs, f"{path.name}: coordinateMetadata")
        except BaseException:
            self._clean()
            raise
        count = facts.spans.kept
        self._set_blocks([min(_BLOCK_POINTS, count - at) for at in range(0, count, _BLOCK_POINTS)])
        notes = [f"{facts.scans} scans were brought together, the point source id tells them apart"]
        if facts.invalid:
            notes.append(f"{facts.invalid} points that the scanner marked as invalid were left out")
        made = described(
            path.name, facts.spans, facts.layout, crs, left_out=facts.dropped, notes=tuple(notes)
        )
        self._description = replace(made, system_identifier="E57")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clean": None}

    def _read_block(self, number: int) -> Records:
        first = number * _BLOCK_POINTS
        dtype = self._description.dtype
        with reading(self.path):
            records: Records = np.fromfile(
                self._records, dtype, int(self._ends[number]) - first, offset=first * dtype.itemsize
            )
        if first + len(records) != int(self._ends[number]):
            raise UnreadablePointCloudError(f"{self.path.name}: its unpacked points are gone; read it again")
        return records
