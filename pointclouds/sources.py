"""What points are read from: the protocol of files and of what is no file (an EPT), and LAS as the first of them.

Further formats, and opening any of them, are in `pointclouds.formats`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyproj

from pointclouds.crs import parse_crs
from pointclouds.las.layout import TARGET_FORMAT, WAVEFORM_FORMATS, Records, copy_into, record_dtype
from pointclouds.las.point_set import described_extra_dimensions, own_records
from pointclouds.las.reader import (
    CHUNK_POINTS,
    PointCloudHeader,
    check_compressed,
    inspect,
    read_chunks,
    require_inside,
)
from pointclouds.las.structures import GPS_STANDARD_TIME, Vlr

Triple = tuple[float, float, float]
Box3 = tuple[float, float, float, float, float, float]
_KEPT_ENCODING: Final = GPS_STANDARD_TIME | 0x08


@dataclass(frozen=True)
class SourceDescription:
    """What a source says of itself before a point is read.

    `count` is exact, or None where only reading tells. `box` is minx, miny, minz, maxx, maxy, maxz in the CRS, None where unknown.
    `point_format` is 6, 7 or 8: what the source becomes. `scale` and `offset`: of the integers that `chunks` gives. `extra`: name and
    numpy dtype of extra dimensions, `extra_structs` their description (192 bytes each, LAS 1.4 R15, table 24). `records` are the
    source's own variable length records that a copy keeps. `dropped` names what it holds and COPC cannot ("waveform packets").
    `creation` is day of the year and year. `notes` tell a person what was chosen, changed or left out on
    the way in: clauses without the source's name before and a full stop behind them.
    """

    name: str
    count: int | None
    box: Box3 | None
    crs: pyproj.CRS | None
    point_format: int
    scale: Triple
    offset: Triple
    extra: tuple[tuple[str, np.dtype[Any]], ...] = ()
    extra_structs: bytes = b""
    records: tuple[Vlr, ...] = field(default=(), repr=False)
    global_encoding: int = 0
    file_source_id: int = 0
    system_identifier: str = ""
    creation: tuple[int, int] = (0, 0)
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The packed record of `chunks`."""
        return record_dtype(self.point_format, self.extra)


class PointSource(Protocol):
    """Points to be read once or several times, in an order that stays the same. Small, pickles: processes open it themselves."""

    @property
    def description(self) -> SourceDescription:
        """What it holds; read once."""
        ...

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """Records of `description.dtype`, at most `points` at a time; only points `start` to `stop` (not included) of the source's
        order. Raises UnreadablePointCloudError where they end early or do not decode."""
        ...


class LasSource:
    """A LAS, LAZ or COPC file, of version 1.0-1.4 and point format 0-10."""

    def __init__(self, path: Path, crs: str | pyproj.CRS | None = None) -> None:
        """`crs` in place of whatever the file names. Raises as las.reader.inspect does."""
        self.path = path
        self._header: PointCloudHeader = inspect(path, parse_crs(crs) if crs is not None else None)
        self._checked = False
        header = self._header
        extra, structs = described_extra_dimensions([header], TARGET_FORMAT[header.point_format])
        self._description = SourceDescription(
            name=path.name,
            count=header.count,
            box=header.bbox,
            crs=header.crs,
            point_format=TARGET_FORMAT[header.point_format],
            scale=header.scale,
            offset=header.offset,
            extra=extra,
            extra_structs=structs,
            records=tuple(own_records(header)),
            global_encoding=header.las.global_encoding & _KEPT_ENCODING,
            file_source_id=header.las.file_source_id,
            system_identifier=header.las.system_identifier,
            creation=header.las.creation,
            dropped=("waveform packets",) if header.point_format in WAVEFORM_FORMATS else (),
        )

    @property
    def header(self) -> PointCloudHeader:
        """The file's header."""
        return self._header

    @property
    def description(self) -> SourceDescription:
        """What the file says."""
        return self._description

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """See PointSource.chunks. The first call looks at every chunk of a LAZ, later ones (and copies of this source) do not."""
        header, target_format = self._header, self._description.point_format
        if not self._checked:
            check_compressed(header)
            self._checked = True
        dtype = self._description.dtype
        for chunk in read_chunks(header, points, start, stop, checked=True):
            records = np.empty(len(chunk), dtype)
            copy_into(chunk, header.point_format, records, target_format)
            require_inside(header, records)
            yield records
