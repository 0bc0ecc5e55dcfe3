"""Random access to a COPC 1.0 file: its octree, and the points of any node."""

import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lazrs
import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.copc.hierarchy import Entries, read_pages, require_walkable
from pointclouds.errors import InvalidCopcError, UnreadablePointCloudError
from pointclouds.las.layout import FIELDS, Records, record_dtype
from pointclouds.las.laz_chunks import require_sound_layers
from pointclouds.las.reader import PointCloudHeader, extra_dimensions, inspect, laszip_record, reading
from pointclouds.las.structures import COPC_INFO_OFFSET, COPC_INFO_SIZE, CopcInfo, unpack_info, unpack_vlr

POSITIONS: Final = lazrs.SELECTIVE_DECOMPRESS_XY_RETURNS_CHANNEL | lazrs.SELECTIVE_DECOMPRESS_Z
EVERYTHING: Final = lazrs.SELECTIVE_DECOMPRESS_ALL
_LARGEST_NODE: Final = 50_000_000
_MOST_POINTS_A_BYTE: Final = 1_024
"""An arithmetic coder spends something even on points that are all alike: at best 555 of them take a byte. What claims more is no LAZ,
and must not decide how much memory is asked for."""
_SELECTIONS: Final = {
    "Intensity": lazrs.SELECTIVE_DECOMPRESS_INTENSITY,
    "Flags": lazrs.SELECTIVE_DECOMPRESS_FLAGS,
    "Classification": lazrs.SELECTIVE_DECOMPRESS_CLASSIFICATION,
    "UserData": lazrs.SELECTIVE_DECOMPRESS_USER_DATA,
    "ScanAngle": lazrs.SELECTIVE_DECOMPRESS_SCAN_ANGLE,
    "PointSourceId": lazrs.SELECTIVE_DECOMPRESS_POINT_SOURCE_ID,
    "GpsTime": lazrs.SELECTIVE_DECOMPRESS_GPS_TIME,
    "Red": lazrs.SELECTIVE_DECOMPRESS_RGB,
    "Green": lazrs.SELECTIVE_DECOMPRESS_RGB,
    "Blue": lazrs.SELECTIVE_DECOMPRESS_RGB,
    "Infrared": lazrs.SELECTIVE_DECOMPRESS_NIR,
}


def selection_of(fields: Iterable[str]) -> int:
    """What the codec has to decode for these disk fields; positions and returns always, extras all or none."""
    selection = int(POSITIONS)
    for name in fields:
        if name not in ("X", "Y", "Z", "Returns"):
            selection |= int(_SELECTIONS.get(name, lazrs.SELECTIVE_DECOMPRESS_ALL_EXTRA_BYTES))
    return selection


class CopcFile:
    """An open COPC file, safe in threads: every read names its place. Use as a context manager, or let go of the last reference.

    `entries` are the nodes (HIERARCHY_ENTRY), parents before children, along the file within a level.

    Raises:
        UnreadablePointCloudError: not LAS/LAZ, cut or corrupt.
        InvalidCopcError: LAZ, but not COPC, or a hierarchy that cannot be walked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: PointCloudHeader = inspect(path)
        self.info: CopcInfo = read_info(path)
        if self.header.point_format not in FIELDS or not self.header.compressed:
            raise InvalidCopcError(
                f"{path.name}: COPC is LAZ of point format 6, 7 or 8; this is something else"
            )
        self.dtype = record_dtype(self.header.point_format, extra_dimensions(self.header))
        if self.dtype.itemsize != self.header.las.record_length:
            raise InvalidCopcError(
                f"{path.name}: its dimensions take {self.dtype.itemsize} bytes a point, "
                f"the header says {self.header.las.record_length}"
            )
        self._laszip = laszip_record(self.header.records)
        with reading(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Clouds keep files open and drop them while a thread may still read: the last reference closes.
        self._descriptor, self._close = descriptor, weakref.finalize(self, os.close, descriptor)
        self.entries = self._load_entries()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def crs(self) -> pyproj.CRS | None:
        """The CRS the file names."""
        return self.header.crs

    @property
    def corner(self) -> npt.NDArray[np.float64]:
        """Lowest corner of the octree's cube, CRS units."""
        return np.array(self.info.centre) - self.info.halfsize

    def _load_entries(self) -> Entries:
        size = self.path.stat().st_size
        entries, problems = read_pages(self._read, self.info.root_offset, self.info.root_size, size)
        require_walkable(entries, problems, self.path.name)
        counts, sizes = entries["point_count"].astype(np.int64), entries["byte_size"].astype(np.int64)
        filled = counts > 0
        bad = (sizes < 0) | (counts < 0) | (counts > _LARGEST_NODE) | (counts > _MOST_POINTS_A_BYTE * sizes)
        # In this order no sum can run over: an offset is below the file's size before a length is added.
        outside = (entries["offset"] > size) | (sizes < self.dtype.itemsize)
        outside |= np.minimum(entries["offset"], size).astype(np.int64) + sizes > size
        if (bad | (filled & outside)).any():
            raise InvalidCopcError(
                f"{self.path.name}: a node's points lie outside the file, or are more than it has room for; the file is corrupt"
            )
        if counts.sum() > self.header.count:
            raise InvalidCopcError(
                f"{self.path.name}: the nodes hold {counts.sum()} points, the header says {self.header.count}; the file is corrupt"
            )
        return entries[np.lexsort((entries["offset"], entries["level"]))]

    def _read(self, offset: int, size: int) -> bytes:
        parts, end = [], offset + size
        while offset < end:
            part = os.pread(self._descriptor, end - offset, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def read_chunk(self, entry: np.void) -> bytes:
        """The LAZ chunk of a node as it lies in the file; b"" of a node without points.

        Raises UnreadablePointCloudError where the file has become shorter since it was opened.
        """
        if not entry["point_count"]:
            return b""
        with reading(self.path):
            data = self._read(int(entry["offset"]), int(entry["byte_size"]))
        if len(data) != entry["byte_size"]:
            raise UnreadablePointCloudError(
                f"{self.path.name} cannot be read: it ends inside a node; the file was cut off"
            )
        return data

    @property
    def laszip(self) -> bytes:
        """The data of the file's laszip record."""
        return self._laszip

    def node_boxes(self, entries: Entries) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper corners (n, 3) of nodes, CRS units."""
        edge = 2 * self.info.halfsize / np.exp2(entries["level"].astype(np.float64))
        cells = np.stack([entries[axis] for axis in "xyz"], axis=1)
        low = self.corner + cells * edge[:, None]
        return low, low + edge[:, None]

    def read_node(self, entry: np.void, selection: int = EVERYTHING) -> Records:
        """All points of one node as packed records; fields outside `selection` hold no meaning.

        Raises:
            UnreadablePointCloudError, InvalidCopcError: the chunk does not decode, or holds another count.
        """
        count = int(entry["point_count"])
        if not count:
            return np.empty(0, self.dtype)
        with reading(self.path):
            data = self._read(int(entry["offset"]), int(entry["byte_size"]))
            stored = require_sound_layers(
                data, len(data), self.header.point_format, self.dtype.itemsize, self.path.name
            )
            if stored != count:
                raise InvalidCopcError(
                    f"{self.path.name}: the hierarchy says a node has {count} points, its chunk has {stored}"
                )
            raw = np.zeros(count * self.dtype.itemsize, np.uint8)
            lazrs.decompress_points_with_chunk_table(
                data, self._laszip, raw, [(count, len(data))], lazrs.DecompressionSelection(selection)
            )
        return raw.view(self.dtype)

    def coordinates(self, records: Records) -> npt.NDArray[np.float64]:
        """x, y, z (n, 3) in CRS units."""
        scale, offset = self.header.scale, self.header.offset
        return np.stack(
            [records[name] * scale[axis] + offset[axis] for axis, name in enumerate("XYZ")], axis=1
        )


def read_info(path: Path) -> CopcInfo:
    """The info record of a COPC file.

    Raises:
        InvalidCopcError: the first VLR is not the COPC info record.
    """
    with reading(path), path.open("rb") as stream:
        start = stream.read(COPC_INFO_OFFSET + COPC_INFO_SIZE)
        try:
            record, _ = unpack_vlr(start, COPC_INFO_OFFSET - 54)
        except ValueError:
            record = None
    if record is None or (record.user_id, record.record_id) != ("copc", 1):
        raise InvalidCopcError(
            f"{path.name} is not COPC: its first variable length record is not the COPC info record"
        )
    info = unpack_info(record.data)
    numbers = (*info.centre, info.halfsize, info.spacing)
    if not np.isfinite(numbers).all() or info.halfsize <= 0 or info.spacing <= 0:
        raise InvalidCopcError(
            f"{path.name}: the COPC info record holds an octree of half size {info.halfsize}"
        )
    return info
