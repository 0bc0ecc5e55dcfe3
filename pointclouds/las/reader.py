"""Reading LAS 1.0-1.4 and LAZ: what the header promises, and the points in bounded chunks.

What is checked before the codec sees the file, because a codec believes what it reads: the header's own
numbers against the file's size, the records, and LAZ's chunk table. Whatever goes wrong is one
`UnreadablePointCloudError` that names the file.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import laspy
import lazrs
import pyproj

from pointclouds.crs import crs_of_records, parse_crs
from pointclouds.errors import EmptyPointCloudError, PointCloudError, UnreadablePointCloudError
from pointclouds.las.layout import Records
from pointclouds.las.laz_chunks import check_all_chunks
from pointclouds.las.structures import (
    EVLR_HEADER_SIZE,
    HEADER_SIZES,
    VLR_HEADER_SIZE,
    LasHeader,
    Vlr,
    unpack_header,
    unpack_vlr,
)

CHUNK_POINTS: Final = 500_000
MINIMUM_RECORD: Final = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)
"""Bytes of a point record by point format, without extra bytes (LAS 1.4 R15, section 2.6)."""
_VARIABLE_CHUNKS: Final = 0xFFFFFFFF
_LONGEST_AXIS: Final = 1e9
_MAXIMUM_RECORDS_BYTES: Final = 1 << 28


@dataclass(frozen=True)
class PointCloudHeader:
    """What a file says of itself, checked as far as that goes without reading a point.

    `bbox` is minx, miny, minz, maxx, maxy, maxz in the CRS; `crs` is None if the file names none.
    """

    path: Path
    version: str
    point_format: int
    compressed: bool
    count: int
    bbox: tuple[float, float, float, float, float, float]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    crs: pyproj.CRS | None
    records: list[Vlr]
    las: LasHeader


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what laspy, lazrs and the operating system raise on a bad file into one clear error."""
    try:
        yield
    except PointCloudError:
        raise
    except (
        laspy.LaspyException,
        lazrs.LazrsError,
        ValueError,
        OSError,
        struct.error,
        KeyError,
        IndexError,
    ) as error:
        raise UnreadablePointCloudError(f"{path.name} cannot be read: {_sentence(error)}") from error
    except (MemoryError, OverflowError, TypeError, NotImplementedError) as error:
        raise UnreadablePointCloudError(f"{path.name} is corrupt: {_sentence(error)}") from error
    except BaseException as error:
        # A panic in the Rust codec arrives as a BaseException whose class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise UnreadablePointCloudError(f"{path.name} is corrupt: the LAZ codec gave up ({error})") from error


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path: messages reach clients
    text = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return (
        text
        if "failed to fill whole buffer" not in text
        else "it ends before its last point; the file is cut off"
    )


def inspect(path: Path, crs: str | pyproj.CRS | None = None) -> PointCloudHeader:
    """Read and check header and records; no point is decoded.

    Args:
        crs: used in place of whatever CRS the file names.

    Raises:
        UnreadablePointCloudError: missing, cut off, corrupt or not LAS/LAZ.
        EmptyPointCloudError: zero points.
        UnusableCrsError: a CRS is named and not understood.
    """
    override = parse_crs(crs) if crs is not None else None
    with reading(path), path.open("rb") as stream:
        size = path.stat().st_size
        las = unpack_header(stream.read(HEADER_SIZES[4]))
        _check_header(path.name, las, size)
        stream.seek(0)
        records = _records(stream.read(las.offset_to_points), las)
        records += _extended_records(stream, las, size)
        if las.compressed:
            _check_laz(path.name, stream, las, records, size)
    return PointCloudHeader(
        path=path,
        version=f"1.{las.version_minor}",
        point_format=las.point_format,
        compressed=las.compressed,
        count=las.point_count,
        bbox=(*las.minimum, *las.maximum),
        scale=las.scale,
        offset=las.offset,
        crs=override or crs_of_records(records, path.name),
        records=records,
        las=las,
    )


def _refuse(name: str, found: str) -> UnreadablePointCloudError:
    return UnreadablePointCloudError(f"{name}: the header {found}; the file is damaged or cut off")


def _check_header(name: str, las: LasHeader, size: int) -> None:
    """Numbers that must agree with each other and with the file's size."""
    least = HEADER_SIZES[las.version_minor]
    if las.header_size < least:
        raise _refuse(name, f"says it has {las.header_size} bytes, version 1.{las.version_minor} has {least}")
    if not las.header_size <= las.offset_to_points <= size:
        raise _refuse(name, f"places the points at byte {las.offset_to_points} of {size}")
    if las.header_size + las.vlr_count * VLR_HEADER_SIZE > las.offset_to_points:
        raise _refuse(name, f"says {las.vlr_count} variable length records, there is no room for them")
    if las.point_format >= len(MINIMUM_RECORD):
        raise _refuse(name, f"says point format {las.point_format}; formats 0 to 10 exist")
    if las.record_length < MINIMUM_RECORD[las.point_format]:
        raise _refuse(name, f"says {las.record_length} bytes a point, format {las.point_format} needs more")
    if las.legacy_point_count not in (0, las.point_count):
        raise _refuse(
            name, f"says {las.point_count} points in one place and {las.legacy_point_count} in another"
        )
    if sum(las.points_by_return) > las.point_count > 0:
        raise _refuse(name, f"says {las.point_count} points and {sum(las.points_by_return)} by return")
    if las.point_count == 0:
        raise EmptyPointCloudError(f"{name} holds no points; there is nothing to publish")
    if not las.compressed and las.offset_to_points + las.point_count * las.record_length > size:
        there = (size - las.offset_to_points) // las.record_length
        raise _refuse(name, f"says {las.point_count} points, the file has room for {there}")
    _check_numbers(name, las)


def _check_numbers(name: str, las: LasHeader) -> None:
    for axis, scale, offset, low, high in zip(
        "xyz", las.scale, las.offset, las.minimum, las.maximum, strict=True
    ):
        if not math.isfinite(scale) or not 1e-12 <= scale <= 1e4:
            raise _refuse(name, f"says scale {scale!r} for {axis}; between 1e-12 and 10000 makes sense")
        if not math.isfinite(offset) or abs(offset) > _LONGEST_AXIS:
            raise _refuse(name, f"says offset {offset!r} for {axis}")
        if not (math.isfinite(low) and math.isfinite(high)) or low > high:
            raise _refuse(name, f"says {axis} runs from {low!r} to {high!r}")
        if max(abs(low), abs(high)) > _LONGEST_AXIS:
            raise _refuse(name, f"says {axis} runs from {low!r} to {high!r}, farther than any place on Earth")


def _records(data: bytes, las: LasHeader) -> list[Vlr]:
    records, position = [], las.header_size
    for _ in range(las.vlr_count):
        record, position = unpack_vlr(data, position)
        records.append(record)
    return records


def _extended_records(stream: Any, las: LasHeader, size: int) -> list[Vlr]:
    """EVLRs, without the COPC hierarchy (which is read on its own)."""
    if las.evlr_count == 0:
        return []
    if not las.offset_to_points <= las.evlr_offset <= size - las.evlr_count * EVLR_HEADER_SIZE:
        raise ValueError(
            f"the header places {las.evlr_count} extended records at byte {las.evlr_offset} of {size}"
        )
    if size - las.evlr_offset > _MAXIMUM_RECORDS_BYTES:
        raise ValueError(
            f"its extended records take {size - las.evlr_offset} bytes, at most 256 MiB are read"
        )
    stream.seek(las.evlr_offset)
    data, records, position = stream.read(), [], 0
    for _ in range(las.evlr_count):
        record, position = unpack_vlr(data, position, extended=True)
        if record.user_id != "copc":
            records.append(record)
    return records


def laszip_record(records: list[Vlr]) -> bytes:
    """The data of the laszip record; empty where there is none."""
    return next((r.data for r in records if r.user_id == "laszip encoded" and r.record_id == 22204), b"")


def _check_laz(name: str, stream: Any, las: LasHeader, records: list[Vlr], size: int) -> None:
    """LAZ: the laszip record, and the chunk table it promises (its size decides what the codec allocates)."""
    laszip = laszip_record(records)
    if len(laszip) < 34:
        raise _refuse(name, "says LAZ, the laszip record is missing")
    (chunk_size,) = struct.unpack_from("<I", laszip, 12)
    stream.seek(las.offset_to_points)
    (table,) = struct.unpack("<q", (stream.read(8) + bytes(8))[:8])
    if table == -1:
        # Written to a pipe: the table's place stands in the last eight bytes of the file.
        stream.seek(size - 8)
        (table,) = struct.unpack("<q", stream.read(8))
    if not las.offset_to_points + 8 <= table <= size - 8:
        raise _refuse(name, f"leads to a LAZ chunk table at byte {table} of {size}")
    stream.seek(table)
    _, chunks = struct.unpack("<II", stream.read(8))
    if chunks == 0 or chunks * MINIMUM_RECORD[las.point_format] > size:
        raise _refuse(name, f"leads to a LAZ chunk table of {chunks} chunks in {size} bytes")
    if (
        chunk_size != _VARIABLE_CHUNKS
        and not (chunks - 1) * chunk_size < las.point_count <= chunks * chunk_size
    ):
        raise _refuse(
            name, f"says {las.point_count} points, the chunk table is of {chunks} times {chunk_size}"
        )


def extra_dimensions(header: PointCloudHeader) -> tuple[tuple[str, Any], ...]:
    """Name and numpy dtype of every extra dimension, in the order of the record."""
    with reading(header.path), laspy.open(header.path, read_evlrs=False) as source:
        layout = source.header.point_format
        dtype = layout.dtype()
        return tuple((str(name), dtype[name]) for name in layout.extra_dimension_names)


def check_compressed(header: PointCloudHeader) -> None:
    """Look at the head of every chunk of a layered LAZ; nothing is decoded.

    Raises:
        UnreadablePointCloudError: a chunk, or the table of chunks, is damaged.
    """
    if not header.compressed:
        return
    with reading(header.path), header.path.open("rb") as stream:
        check_all_chunks(
            stream,
            header.path.name,
            start=header.las.offset_to_points,
            laszip=laszip_record(header.records),
            point_format=header.las.point_format,
            record_length=header.las.record_length,
        )


def read_chunks(
    header: PointCloudHeader,
    points: int = CHUNK_POINTS,
    start: int = 0,
    stop: int | None = None,
    *,
    checked: bool = False,
) -> Iterator[Records]:
    """The points as laspy's packed records, at most `points` at a time; only points `start` to `stop` (not included).

    Args:
        checked: `check_compressed` has been passed already.

    Raises:
        UnreadablePointCloudError: the points end early or do not decode.
    """
    stop = header.count if stop is None else min(stop, header.count)
    seen = start
    if not checked:
        check_compressed(header)
    if seen >= stop:
        return
    with reading(header.path), laspy.open(header.path, read_evlrs=False) as source:
        if start:
            source.seek(start)
        while seen < stop:
            chunk = source.read_points(min(points, stop - seen))
            if not len(chunk):
                break
            seen += len(chunk)
            yield chunk.array
    if seen < stop:
        raise _refuse(header.path.name, f"says {header.count} points, {seen} could be read")


def require_inside(header: PointCloudHeader, records: Records) -> None:
    """Points far outside the header's box mean a damaged scale, offset or box: nothing tells which is right.

    Args:
        records: with the file's own integers X, Y, Z.

    Raises:
        UnreadablePointCloudError: a point lies a hundredth of the box's size or more outside it.
    """
    if not len(records):
        return
    for axis, name in enumerate("XYZ"):
        scale, offset = header.scale[axis], header.offset[axis]
        low = int(records[name].min()) * scale + offset
        high = int(records[name].max()) * scale + offset
        said_low, said_high = header.bbox[axis], header.bbox[axis + 3]
        slack = 0.01 * (said_high - said_low) + 10 * scale
        if low < said_low - slack or high > said_high + slack:
            raise UnreadablePointCloudError(
                f"{header.path.name}: the header says its points lie in {name} {said_low:.3f} to {said_high:.3f}, "
                f"they lie in {low:.3f} to {high:.3f}; scale, offset or box of the header is damaged"
            )
