"""Batches of points as one LAS 1.4 or LAZ file, of point format 6, 7 or 8.

The chunks of a LAZ vary in size: a node that belongs to the answer as a whole is copied as it lies in its COPC, the rest is gathered
and compressed. Header and chunk table are written last, so the file has to be one that can be gone back in.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import lazrs
import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.query import Batch
from pointclouds.crs import las_wkt
from pointclouds.errors import OutputError
from pointclouds.las.layout import FIELDS, Records
from pointclouds.las.structures import GPS_STANDARD_TIME, LAS_14_HEADER_SIZE, WKT_FLAG, LasHeader, Vlr
from pointclouds.writing.layout import OutputLayout

_CHUNK: Final = 50_000
_GATHERED: Final = 4
"""Chunks that are compressed at once."""
_ITEMS: Final = 34
"""Where the items (kind, size and version of each part of a record) begin in the laszip record."""
_KEPT_ENCODING: Final = GPS_STANDARD_TIME | 0x08


@dataclass
class _Totals:
    """What the header says of all points."""

    count: int = 0
    returns: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(16, np.int64))
    low: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.inf))
    high: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(3, -np.inf))

    def add(self, cloud: Cloud, records: Records) -> None:
        self.count += len(records)
        self.returns += np.bincount(records["Returns"] & 0x0F, minlength=16)
        for axis, name in enumerate("XYZ"):
            column = records[name]
            ends = np.array([column.min(), column.max()]) * cloud.scale[axis] + cloud.offset[axis]
            self.low[axis], self.high[axis] = min(self.low[axis], ends[0]), max(self.high[axis], ends[1])

    def add_node(self, cloud: Cloud, batch: Batch) -> None:
        table = cloud.nodes(batch.tile)
        self.count += batch.count
        self.returns += table.return_counts[batch.row].astype(np.int64)
        self.low = np.minimum(self.low, table.lowest[batch.row, :3])
        self.high = np.maximum(self.high, table.highest[batch.row, :3])


def write_las(
    path: Path, cloud: Cloud, batches: Iterable[Batch], layout: OutputLayout, *, compressed: bool = True
) -> int:
    """Write all batches; the number of points. Memory: a few nodes, whatever the size of the answer.

    Raises:
        OutputError: it cannot be written.
        UnreadablePointCloudError, InvalidCopcError: a node does not decode.
    """
    try:
        with path.open("w+b") as stream:
            writer = _Writer(stream, cloud, layout, compressed)
            for batch in batches:
                writer.add(batch)
            return writer.finish()
    except OSError as error:
        raise OutputError(f"the points cannot be written: {error}; free space and ask again") from error


class _Writer:
    def __init__(self, stream: BinaryIO, cloud: Cloud, layout: OutputLayout, compressed: bool) -> None:
        self._stream, self._cloud, self._layout, self._compressed = stream, cloud, layout, compressed
        extra = layout.dtype.itemsize - np.dtype(FIELDS[layout.point_format]).itemsize
        self._laz = lazrs.LazVlr.new_for_compression(layout.point_format, extra, True)
        self._items = bytes(self._laz.record_data())[_ITEMS:]
        self._table: list[tuple[int, int]] = []
        self._waiting: list[Records] = []
        self._waiting_count = 0
        self._totals = _Totals()
        self._vlrs = self._records()
        stream.write(bytes(LAS_14_HEADER_SIZE) + b"".join(record.pack() for record in self._vlrs))
        self._start = stream.tell()
        if compressed:
            stream.write(bytes(8))

    def _records(self) -> list[Vlr]:
        found = [Vlr("LASF_Projection", 2112, las_wkt(self._cloud.crs).encode() + b"\0", "OGC WKT")]
        if self._compressed:
            found.insert(
                0, Vlr("laszip encoded", 22204, bytes(self._laz.record_data()), "laszip variable chunks")
            )
        if self._layout.extra_structs:
            found.append(Vlr("LASF_Spec", 4, self._layout.extra_structs, "extra bytes"))
        return found

    def add(self, batch: Batch) -> None:
        if batch.whole and self._copies(batch):
            chunk = batch.chunk()
            self._table.append((batch.count, len(chunk)))
            self._stream.write(chunk)
            self._totals.add_node(self._cloud, batch)
            return
        records = self._layout.convert(batch.records)
        self._totals.add(self._cloud, records)
        if not self._compressed:
            self._stream.write(np.ascontiguousarray(records).data)
            return
        self._waiting.append(records)
        self._waiting_count += len(records)
        if self._waiting_count >= _CHUNK * _GATHERED:
            self._compress()

    def _copies(self, batch: Batch) -> bool:
        """Whether chunks of this batch's file can stand in ours: same record, compressed by the same items."""
        if not (self._compressed and self._layout.is_own):
            return False
        theirs = self._cloud.file(batch.tile).laszip
        return theirs[_ITEMS:] == self._items

    def _compress(self) -> None:
        if not self._waiting_count:
            return
        records = np.concatenate(self._waiting)
        self._waiting, self._waiting_count = [], 0
        parts = [records[at : at + _CHUNK].view(np.uint8) for at in range(0, len(records), _CHUNK)]
        memory = io.BytesIO()
        compressor = lazrs.ParLasZipCompressor(memory, self._laz)
        compressor.reserve_offset_to_chunk_table()
        compressor.compress_chunks(parts)
        compressor.done()
        memory.seek(0)
        table = [(int(count), int(size)) for count, size in lazrs.read_chunk_table(memory, self._laz)]
        self._stream.write(memory.getbuffer()[8 : 8 + sum(size for _, size in table)])
        self._table.extend(table)

    def finish(self) -> int:
        if self._compressed:
            self._compress()
            end = self._stream.tell()
            lazrs.write_chunk_table(self._stream, self._table, self._laz)
            self._stream.seek(self._start)
            self._stream.write(end.to_bytes(8, "little"))
        self._stream.seek(0)
        self._stream.write(self._header().pack())
        return self._totals.count

    def _header(self) -> LasHeader:
        own, totals = self._cloud.file(self._cloud.tiles[0]).header.las, self._totals
        low, high = (totals.low, totals.high) if totals.count else (np.zeros(3), np.zeros(3))
        today = datetime.now(UTC).date()
        return LasHeader(
            version_minor=4,
            header_size=LAS_14_HEADER_SIZE,
            offset_to_points=self._start,
            vlr_count=len(self._vlrs),
            point_format=self._layout.point_format,
            compressed=self._compressed,
            record_length=self._layout.dtype.itemsize,
            point_count=totals.count,
            points_by_return=tuple(int(count) for count in totals.returns[1:]),
            scale=self._cloud.scale,
            offset=self._cloud.offset,
            minimum=(float(low[0]), float(low[1]), float(low[2])),
            maximum=(float(high[0]), float(high[1]), float(high[2])),
            global_encoding=(own.global_encoding & _KEPT_ENCODING) | WKT_FLAG,
            file_source_id=own.file_source_id,
            system_identifier=own.system_identifier or "Chengtu",
            creation=(today.timetuple().tm_yday, today.year),
        )
