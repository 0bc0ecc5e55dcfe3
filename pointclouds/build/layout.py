"""One record layout for several sources, found from what each says of itself before a point is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyproj

from pointclouds.crs import las_wkt, parse_crs, require_usable
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError, UnusableCrsError
from pointclouds.las.dimensions import EXTRA_BYTES_SIZE, Triple
from pointclouds.las.layout import Records, record_dtype
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.las.structures import GPS_STANDARD_TIME
from pointclouds.sources import PointSource, SourceDescription

SYNTHETIC_RETURNS: Final = 0x08
"""Bit of the global encoding: return numbers were made up by the writer."""
_INT32: Final = np.iinfo(np.int32)
_TEXT: Final = slice(4, 36)
"""Where the name of an extra dimension stands in its description (LAS 1.4 R15, table 24)."""


@dataclass(frozen=True)
class PointLayout:
    """What all points of a file, and all tiles of a mosaic, have in common: CRS, point format (6, 7 or 8), scale and offset of x, y and z, and extra dimensions.

    `extra_structs` describes the extra dimensions, 192 bytes each. `global_encoding`: whether GPS times are standard time and return
    numbers synthetic.
    """

    crs: pyproj.CRS
    point_format: int
    scale: Triple
    offset: Triple
    extra: tuple[tuple[str, np.dtype[Any]], ...] = ()
    extra_structs: bytes = b""
    global_encoding: int = 0

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The packed record."""
        return record_dtype(self.point_format, self.extra)

    @property
    def wkt(self) -> str:
        """The CRS as the tiles' files have it."""
        return las_wkt(self.crs)

    def is_of(self, description: SourceDescription) -> bool:
        """Whether the points of a source already are in this layout, to the byte."""
        return (
            description.point_format == self.point_format
            and description.scale == self.scale
            and description.offset == self.offset
            and description.extra == self.extra
            and description.crs is not None
            and description.crs.equals(self.crs, ignore_axis_order=True)
        )


def common_layout(sources: Sequence[PointSource], crs: str | pyproj.CRS | None = None) -> PointLayout:
    """The layout in which all sources can be kept: the richest point format, the finest scale, all extra dimensions.

    The offset is that of the first source, where all points fit around it; otherwise the whole number in their middle. GPS times
    count as standard time (which is a date) only where those of all sources are.

    Args:
        crs: in place of whatever the sources name.

    Raises:
        EmptyPointCloudError: no source.
        MissingCrsError, UnusableCrsError: one without a CRS, one that is not projected, or two that differ.
        UnreadablePointCloudError: extra dimensions of one name and two types, or boxes too far apart for one scale.
    """
    descriptions = [source.description for source in sources]
    if crs is not None:
        given = parse_crs(crs)
        descriptions = [replace(one, crs=given) for one in descriptions]
    if not descriptions:
        raise EmptyPointCloudError("no point cloud file was given; name at least one")
    first = descriptions[0]
    crs = require_usable(first.crs, first.name)
    for one in descriptions[1:]:
        _require_same_crs(one, crs, first.name)
    scale: Triple = (
        min(one.scale[0] for one in descriptions),
        min(one.scale[1] for one in descriptions),
        min(one.scale[2] for one in descriptions),
    )
    extra, structs = _common_extra(descriptions)
    return PointLayout(
        crs=crs,
        point_format=max(one.point_format for one in descriptions),
        scale=scale,
        offset=_common_offset(descriptions, scale),
        extra=extra,
        extra_structs=structs,
        global_encoding=_common_encoding(descriptions),
    )


def _common_encoding(descriptions: Sequence[SourceDescription]) -> int:
    """Times of two kinds are no dates together; one synthetic return number makes them suspect in all."""
    every = any_of = descriptions[0].global_encoding
    for one in descriptions[1:]:
        every &= one.global_encoding
        any_of |= one.global_encoding
    return (every & GPS_STANDARD_TIME) | (any_of & SYNTHETIC_RETURNS)


def _require_same_crs(one: SourceDescription, crs: pyproj.CRS, first: str) -> None:
    own = require_usable(one.crs, one.name)
    if own is not crs and not own.equals(crs, ignore_axis_order=True):
        raise UnusableCrsError(
            f"{first} is in {crs.name} and {one.name} in {own.name}; files of one point cloud share one CRS: "
            "publish them apart, or give --crs if one is mislabelled"
        )


def _common_offset(descriptions: Sequence[SourceDescription], scale: Triple) -> Triple:
    boxes = [one.box for one in descriptions if one.box is not None]
    if not boxes:
        return descriptions[0].offset
    corners = np.array(boxes, np.float64)
    low, high = corners[:, :3].min(axis=0), corners[:, 3:].max(axis=0)
    steps = np.array(scale)
    offset = np.array(descriptions[0].offset)
    middle = np.floor((low + high) / 2)
    for candidate in (offset, np.where(_fits(low, high, offset, steps), offset, middle)):
        if _fits(low, high, candidate, steps).all():
            return float(candidate[0]), float(candidate[1]), float(candidate[2])
    raise UnreadablePointCloudError(
        f"the points lie in {_shown(low)} to {_shown(high)}, too far apart for whole numbers of 32 bits at a scale of "
        f"{', '.join(f'{step:g}' for step in scale)}; publish the files apart, or those of the finest scale by themselves"
    )


def _fits(low: Any, high: Any, offset: Any, steps: Any) -> Any:
    lowest, highest = np.rint((low - offset) / steps), np.rint((high - offset) / steps)
    return (lowest >= _INT32.min) & (highest <= _INT32.max)


def _shown(corner: Any) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in corner) + ")"


def _common_extra(
    descriptions: Sequence[SourceDescription],
) -> tuple[tuple[tuple[str, np.dtype[Any]], ...], bytes]:
    """All extra dimensions by name, in the order in which they are met, and their descriptions."""
    found: dict[str, tuple[np.dtype[Any], bytes, str]] = {}
    for one in descriptions:
        structs = described(one.extra_structs)
        for name, dtype in one.extra:
            entry = (dtype, structs.get(name) or _undescribed(name, dtype.itemsize), one.name)
            known = found.setdefault(name, entry)
            if known[0] != dtype:
                raise UnreadablePointCloudError(
                    f"{one.name} has extra dimension {name!r} as {dtype}, {known[2]} as {known[0]}; "
                    "rename it in one of them, or publish the files apart"
                )
            if known[1] and entry[1] and known[1][112:160] != entry[1][112:160]:
                raise UnreadablePointCloudError(
                    f"{one.name} and {known[2]} have extra dimension {name!r} with different scale or offset; "
                    "publish the files apart"
                )
    return tuple((name, dtype) for name, (dtype, _, _) in found.items()), b"".join(
        raw for _, raw, _ in found.values()
    )


def _undescribed(name: str, size: int) -> bytes:
    """Extra bytes without a description: data type 0, `options` is their number (LAS 1.4 R15, table 25)."""
    return b"\0\0\0" + bytes([min(size, 255)]) + name.encode("utf-8")[:32].ljust(32, b"\0") + bytes(156)


def _scaling(struct: bytes) -> tuple[int, bytes]:
    """Which of scale and offset count, and their bytes (LAS 1.4 R15, table 24)."""
    used = struct[3] & 0x18 if struct[2] else 0
    return used, (struct[112:136] if used & 0x08 else b"") + (struct[136:160] if used & 0x10 else b"")


def described(structs: bytes) -> dict[str, bytes]:
    """Descriptions of extra dimensions by name; 192 bytes each."""
    parts = [structs[at : at + EXTRA_BYTES_SIZE] for at in range(0, len(structs), EXTRA_BYTES_SIZE)]
    return {raw[_TEXT].split(b"\0", 1)[0].decode("utf-8", "replace"): raw for raw in parts}


class ConformedSource:
    """A source whose points are given in another layout; small, pickles."""

    def __init__(self, source: PointSource, layout: PointLayout) -> None:
        self.source = source
        self._layout = layout
        self._description = replace(
            source.description,
            crs=layout.crs,
            point_format=layout.point_format,
            scale=layout.scale,
            offset=layout.offset,
            extra=layout.extra,
            extra_structs=layout.extra_structs,
        )

    @property
    def description(self) -> SourceDescription:
        """What the source says, in the layout."""
        return self._description

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """See PointSource.chunks. Raises UnreadablePointCloudError also for points outside what the layout can hold."""
        for records in self.source.chunks(points, start, stop):
            yield self._conformed(records)

    def _conformed(self, records: Records) -> Records:
        own, layout = self.source.description, self._layout
        target = np.zeros(len(records), layout.dtype)
        available = set(records.dtype.names or ())
        for name in layout.dtype.names or ():
            if name in available:
                target[name] = records[name]
        for axis, name in enumerate("XYZ"):
            if (own.scale[axis], own.offset[axis]) != (layout.scale[axis], layout.offset[axis]):
                values = records[name] * own.scale[axis] + own.offset[axis]
                steps = np.rint((values - layout.offset[axis]) / layout.scale[axis])
                if len(steps) and (steps.min() < _INT32.min or steps.max() > _INT32.max):
                    raise UnreadablePointCloudError(
                        f"{own.name}: {name} goes outside the box that its header says, and outside what fits beside the other files"
                    )
                target[name] = steps
        return target


def conformed(source: PointSource, layout: PointLayout) -> PointSource:
    """The source itself where it is in the layout already, else one that converts while it is read."""
    return source if layout.is_of(source.description) else ConformedSource(source, layout)
