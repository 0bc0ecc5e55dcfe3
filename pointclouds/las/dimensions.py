"""The dimensions of a point cloud as people ask for them: by LAS name, in natural units."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.las.layout import (
    DIMENSION_FIELDS,
    SCAN_ANGLE_STEP,
    Column,
    Records,
    dimension,
    dimension_names,
)
from pointclouds.las.structures import Vlr

EXTRA_BYTES_RECORD: Final = ("LASF_Spec", 4)
EXTRA_BYTES_SIZE: Final = 192
_HAS_SCALE, _HAS_OFFSET = 0x08, 0x10

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension. `name` is LAS's ("Classification"; an extra dimension: its own), `field` the disk field it is (part) of.

    `dtype` is the numpy dtype of what is stored; a natural value is stored * scale + offset: coordinates are CRS units, ScanAngle
    degrees, extra dimensions as their description says. `members` is above 1 for extra dimensions that hold several numbers each;
    these can be read, not asked for.
    """

    name: str
    field: str
    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    members: int = 1
    extra: bool = False
    description: str = ""

    @property
    def is_scaled(self) -> bool:
        """Whether natural and stored values differ."""
        return self.scale != 1.0 or self.offset != 0.0

    def values(self, records: Records) -> Column:
        """Natural values (n,): float64 where scaled, else as stored."""
        stored = dimension(records, self.name)
        return stored.astype(np.float64) * self.scale + self.offset if self.is_scaled else stored


def dimensions_of(
    dtype: np.dtype[np.void], scale: Triple, offset: Triple, records: Sequence[Vlr] = ()
) -> tuple[Dimension, ...]:
    """The dimensions of packed records (las.layout.record_dtype), in disk order.

    Args:
        scale, offset: of x, y, z.
        records: the file's variable length records; the extra bytes record gives scale, offset and description of extra ones.
    """
    described = _described(records)
    found = []
    for name in dimension_names(dtype):
        field = DIMENSION_FIELDS.get(name, name)
        kind = dtype[field]
        if name in ("X", "Y", "Z"):
            axis = "XYZ".index(name)
            found.append(Dimension(name, field, "<i4", scale[axis], offset[axis]))
        elif name == "ScanAngle":
            found.append(Dimension(name, field, "<i2", SCAN_ANGLE_STEP))
        elif name in described:
            factor, shift, text = described[name]
            base = kind.subdtype[0] if kind.subdtype else kind
            members = int(np.prod(kind.shape)) if kind.shape else 1
            found.append(Dimension(name, field, base.str, factor, shift, members, True, text))
        else:
            base = kind.subdtype[0] if kind.subdtype else kind
            members = int(np.prod(kind.shape)) if kind.shape else 1
            found.append(Dimension(name, field, base.str, members=members, extra=name not in _STANDARD))
    return tuple(found)


_STANDARD: Final = frozenset(dimension_names(np.dtype([(name, "u1") for name in (
    "X", "Y", "Z", "Intensity", "Returns", "Flags", "Classification", "UserData", "ScanAngle", "PointSourceId", "GpsTime",
    "Red", "Green", "Blue", "Infrared")])))  # fmt: skip


def _described(records: Sequence[Vlr]) -> dict[str, tuple[float, float, str]]:
    """Scale, offset and description by name, from the extra bytes record (LAS 1.4 R15, table 24)."""
    found = {}
    for record in records:
        if (record.user_id, record.record_id) != EXTRA_BYTES_RECORD:
            continue
        for at in range(0, len(record.data) - EXTRA_BYTES_SIZE + 1, EXTRA_BYTES_SIZE):
            raw = record.data[at : at + EXTRA_BYTES_SIZE]
            options = raw[3] if raw[2] else 0
            scale = struct.unpack_from("<d", raw, 112)[0] if options & _HAS_SCALE else 1.0
            offset = struct.unpack_from("<d", raw, 136)[0] if options & _HAS_OFFSET else 0.0
            if not np.isfinite((scale, offset)).all() or scale == 0:
                scale, offset = 1.0, 0.0
            found[_text(raw[4:36])] = (scale, offset, _text(raw[160:192]))
    return found


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


def coordinates(records: Records, scale: Triple, offset: Triple) -> npt.NDArray[np.float64]:
    """x, y, z (n, 3) in CRS units."""
    columns: list[Any] = [records[name] * scale[axis] + offset[axis] for axis, name in enumerate("XYZ")]
    return np.stack(columns, axis=1)
