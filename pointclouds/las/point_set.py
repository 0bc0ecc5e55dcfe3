"""Several LAS/LAZ files as one array of points of point format 6, 7 or 8, on one CRS, scale and offset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.crs import require_usable
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError, UnusableCrsError
from pointclouds.las.layout import (
    FIELDS,
    TARGET_FORMAT,
    WAVEFORM_FORMATS,
    Records,
    copy_into,
    record_dtype,
)
from pointclouds.las.reader import PointCloudHeader, extra_dimensions, inspect, read_chunks
from pointclouds.las.structures import LasHeader, Vlr

Triple = tuple[float, float, float]
Progress = Callable[[str, float], None]

_EXTRA_BYTES_RECORD: Final = ("LASF_Spec", 4)
_EXTRA_BYTES_STRUCT: Final = 192
_RECORDS_NOT_COPIED: Final = frozenset({"copc", "laszip encoded", "LASF_Projection", "liblas"})
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class PointSet:
    """All points in memory. `extra_structs` describes the extra dimensions (192 bytes each, LAS 1.4 R15, table 24)."""

    records: Records
    point_format: int
    scale: Triple
    offset: Triple
    crs: pyproj.CRS
    first: LasHeader
    extra_structs: bytes = b""
    other_records: list[Vlr] = field(default_factory=list)
    dropped: tuple[str, ...] = ()


def load_points(sources: Sequence[Path], crs: str | pyproj.CRS | None, report: Progress) -> PointSet:
    """Read every source fully, converted to one point format.

    Coordinates keep the scale and offset of the first source where all agree; otherwise the finest scale is
    taken and the others' coordinates are rounded to it.

    Raises:
        UnreadablePointCloudError, EmptyPointCloudError: a source is bad, or none is given.
        MissingCrsError, UnusableCrsError: no CRS, one of no use, or two that differ.
    """
    if not sources:
        raise EmptyPointCloudError("no point cloud file was given; name at least one LAS or LAZ file")
    headers = [inspect(path, crs) for path in sources]
    common = _common_crs(headers)
    point_format = max(TARGET_FORMAT[header.point_format] for header in headers)
    scale: Triple = (
        min(header.scale[0] for header in headers),
        min(header.scale[1] for header in headers),
        min(header.scale[2] for header in headers),
    )
    offset = headers[0].offset
    extra, structs = described_extra_dimensions(headers, point_format)
    dtype = record_dtype(point_format, extra)
    total = sum(header.count for header in headers)
    try:
        records = np.empty(total, dtype)
    except (MemoryError, ValueError) as error:
        raise UnreadablePointCloudError(
            f"{sources[0].name}: {total} points need {total * dtype.itemsize / 1e9:.1f} GB of memory, more than there is"
        ) from error
    filled = 0
    for header in headers:
        start = filled
        for chunk in read_chunks(header):
            target = records[filled : filled + len(chunk)]
            copy_into(chunk, header.point_format, target, point_format)
            if header.scale != scale or header.offset != offset:
                _requantise(target, header, scale, offset)
            filled += len(chunk)
            report("read", filled / total)
        _check_box(header, records[start:filled], scale, offset)
    return PointSet(
        records=records,
        point_format=point_format,
        scale=scale,
        offset=offset,
        crs=common,
        first=headers[0].las,
        extra_structs=structs,
        other_records=own_records(headers[0]),
        dropped=("waveform packets",) if any(h.point_format in WAVEFORM_FORMATS for h in headers) else (),
    )


def _common_crs(headers: list[PointCloudHeader]) -> pyproj.CRS:
    first = require_usable(headers[0].crs, headers[0].path.name)
    for header in headers[1:]:
        crs = require_usable(header.crs, header.path.name)
        if not crs.equals(first, ignore_axis_order=True):
            raise UnusableCrsError(
                f"{headers[0].path.name} is in {first.name} and {header.path.name} in {crs.name}; "
                "files of one point cloud share one CRS: publish them apart, or give --crs if one is mislabelled"
            )
    return first


def own_records(header: PointCloudHeader) -> list[Vlr]:
    """The first source's own records, without those this writer makes itself and those over 64 kB."""
    return [
        record
        for record in header.records
        if record.user_id not in _RECORDS_NOT_COPIED
        and (record.user_id, record.record_id) != _EXTRA_BYTES_RECORD
        and len(record.data) <= 0xFFFF
    ]


def described_extra_dimensions(
    headers: list[PointCloudHeader], point_format: int
) -> tuple[tuple[tuple[str, Any], ...], bytes]:
    """The union of the sources' extra dimensions by name, and their description for the extra bytes record."""
    taken = {name for name, _ in FIELDS[point_format]}
    found: dict[str, tuple[np.dtype[Any], bytes]] = {}
    for header in headers:
        described = _described(header)
        for name, dtype in extra_dimensions(header):
            if name in taken:
                raise UnreadablePointCloudError(
                    f"{header.path.name} has an extra dimension called {name!r}, the name of a standard one; rename it"
                )
            entry = (dtype, described.get(name) or _undocumented(name, dtype.itemsize))
            if found.setdefault(name, entry)[0] != entry[0]:
                raise UnreadablePointCloudError(
                    f"{header.path.name} has extra dimension {name!r} as {entry[0]}, another source as {found[name][0]}"
                )
    return tuple((name, dtype) for name, (dtype, _) in found.items()), b"".join(
        raw for _, raw in found.values()
    )


def _described(header: PointCloudHeader) -> dict[str, bytes]:
    data = b"".join(r.data for r in header.records if (r.user_id, r.record_id) == _EXTRA_BYTES_RECORD)
    whole = len(data) // _EXTRA_BYTES_STRUCT * _EXTRA_BYTES_STRUCT
    structs = [data[at : at + _EXTRA_BYTES_STRUCT] for at in range(0, whole, _EXTRA_BYTES_STRUCT)]
    return {raw[4:36].split(b"\0", 1)[0].decode("utf-8", "replace"): raw for raw in structs}


def _undocumented(name: str, size: int) -> bytes:
    """Extra bytes without a description: data type 0, `options` is their number (LAS 1.4 R15, table 25)."""
    return b"\0\0\0" + bytes([min(size, 255)]) + name.encode("utf-8")[:32].ljust(32, b"\0") + bytes(156)


def _requantise(records: Records, header: PointCloudHeader, scale: Triple, offset: Triple) -> None:
    for axis, name in enumerate("XYZ"):
        values = records[name] * header.scale[axis] + header.offset[axis]
        steps = np.rint((values - offset[axis]) / scale[axis])
        if steps.min() < _INT32.min or steps.max() > _INT32.max:
            raise UnreadablePointCloudError(
                f"{header.path.name}: {name} does not fit beside the first file at scale {scale[axis]}; "
                "publish the files apart"
            )
        records[name] = steps


def box_of(
    records: Records, scale: Triple, offset: Triple
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lowest and highest x, y, z of the records, in CRS units."""
    low = [int(records[name].min()) for name in "XYZ"]
    high = [int(records[name].max()) for name in "XYZ"]
    factor, shift = np.array(scale), np.array(offset)
    return np.array(low) * factor + shift, np.array(high) * factor + shift


def _check_box(header: PointCloudHeader, records: Records, scale: Triple, offset: Triple) -> None:
    """Points far outside the header's box mean a damaged scale, offset or box: nothing tells which is right."""
    low, high = box_of(records, scale, offset)
    said_low, said_high = np.array(header.bbox[:3]), np.array(header.bbox[3:])
    slack = 0.01 * (said_high - said_low) + 10 * np.array(header.scale)
    if (low < said_low - slack).any() or (high > said_high + slack).any():
        raise UnreadablePointCloudError(
            f"{header.path.name}: the header says its points lie in {_box(said_low, said_high)}, they lie in "
            f"{_box(low, high)}; scale, offset or box of the header is damaged"
        )


def _box(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> str:
    return " to ".join("(" + ", ".join(f"{value:.3f}" for value in corner) + ")" for corner in (low, high))
