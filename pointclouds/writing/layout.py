"""The record of an answer in LAS: the cloud's own, or one with fewer dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pointclouds.cloud.cloud import Cloud
from pointclouds.las.dimensions import EXTRA_BYTES_RECORD, EXTRA_BYTES_SIZE
from pointclouds.las.layout import DIMENSION_FIELDS, FIELDS, Records, record_dtype

_COLOURS: Final = frozenset(("Red", "Green", "Blue"))
_BIT_WIDTHS: Final = {
    "ReturnNumber": (0, 0x0F), "NumberOfReturns": (4, 0x0F), "Synthetic": (0, 1), "KeyPoint": (1, 1), "Withheld": (2, 1),
    "Overlap": (3, 1), "ScannerChannel": (4, 3), "ScanDirectionFlag": (6, 1), "EdgeOfFlightLine": (7, 1),
}  # fmt: skip
"""Place and mask of the dimensions that share a byte (LAS 1.4 R15, tables 16 and 17)."""


@dataclass(frozen=True)
class OutputLayout:
    """`dtype` is the packed record of `point_format` (6, 7, 8) and the extra dimensions of `extra_structs` (192 bytes each).
    `masks`: disk field -> bits that are kept of it, 0 for none; fields not named are kept whole. `is_own`: nothing is left out."""

    point_format: int
    dtype: np.dtype[np.void]
    extra_structs: bytes
    masks: dict[str, int]
    is_own: bool

    def convert(self, records: Records) -> Records:
        """Records of the cloud in this layout; what is left out of a field is zero."""
        if self.is_own:
            return records
        made = np.zeros(len(records), self.dtype)
        for name in self.dtype.names or ():
            kept = self.masks.get(name)
            if kept is None:
                made[name] = records[name]
            elif kept:
                made[name] = records[name] & kept
        return made


def output_layout(
    cloud: Cloud, wanted: frozenset[str] | None, hidden: frozenset[str] = frozenset()
) -> OutputLayout:
    """The layout for some dimensions (None: all) of which none is hidden.

    Positions are always kept, and the numbers of returns unless they are hidden, since readers of LAS count by them. Other
    dimensions of the standard record that are not wanted are zero, extra ones and colours are left out.
    """
    names = frozenset(one.name for one in cloud.dimensions)
    kept = names if wanted is None else (wanted & names) | (names & {"ReturnNumber", "NumberOfReturns"})
    kept = (kept - hidden) | {"X", "Y", "Z"}
    structs = _structs(cloud)
    if kept == names:
        return OutputLayout(cloud.point_format, cloud.dtype, b"".join(structs.values()), {}, True)
    point_format = 8 if "Infrared" in kept else 7 if kept & _COLOURS else 6
    own = [name for name, _ in FIELDS[cloud.point_format]]
    extra = tuple(
        (name, cloud.dtype[name]) for name in cloud.dtype.names or () if name not in own and name in kept
    )
    masks: dict[str, int] = {}
    for name, _ in FIELDS[point_format]:
        parts = [one for one, field in DIMENSION_FIELDS.items() if field == name]
        if parts:
            masks[name] = sum(_BIT_WIDTHS[one][1] << _BIT_WIDTHS[one][0] for one in parts if one in kept)
        elif name not in kept:
            masks[name] = 0
    described = b"".join(structs[name] for name, _ in extra if name in structs)
    return OutputLayout(point_format, record_dtype(point_format, extra), described, masks, False)


def _structs(cloud: Cloud) -> dict[str, bytes]:
    """The description of each extra dimension, in disk order."""
    header = cloud.file(cloud.tiles[0]).header
    found = {}
    for record in header.records:
        if (record.user_id, record.record_id) == EXTRA_BYTES_RECORD:
            for at in range(0, len(record.data) - EXTRA_BYTES_SIZE + 1, EXTRA_BYTES_SIZE):
                raw = record.data[at : at + EXTRA_BYTES_SIZE]
                found[raw[4:36].split(b"\0", 1)[0].decode("utf-8", "replace").strip()] = raw
    return found
