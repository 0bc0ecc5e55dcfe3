"""Point records: the layouts of point formats 6, 7 and 8, and the way into them from formats 0-10.

A record array here is a one-dimensional numpy structured array, packed as on disk; the bit fields stay
packed (`Returns`, `Flags`). `dimension` unpacks a column by its LAS name.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.void]
Column = npt.NDArray[np.generic]

_BASE: Final[list[tuple[str, str]]] = [
    ("X", "<i4"),
    ("Y", "<i4"),
    ("Z", "<i4"),
    ("Intensity", "<u2"),
    ("Returns", "u1"),
    ("Flags", "u1"),
    ("Classification", "u1"),
    ("UserData", "u1"),
    ("ScanAngle", "<i2"),
    ("PointSourceId", "<u2"),
    ("GpsTime", "<f8"),
]
_RGB: Final = [("Red", "<u2"), ("Green", "<u2"), ("Blue", "<u2")]
_INFRARED: Final = [("Infrared", "<u2")]
FIELDS: Final = {6: _BASE, 7: _BASE + _RGB, 8: _BASE + _RGB + _INFRARED}
"""Disk fields by point format (LAS 1.4 R15, tables 14-16): 30, 36 and 38 bytes."""

TARGET_FORMAT: Final = {0: 6, 1: 6, 2: 7, 3: 7, 4: 6, 5: 7, 6: 6, 7: 7, 8: 8, 9: 6, 10: 8}
"""COPC allows point formats 6, 7 and 8 only (COPC 1.0, section 3)."""
WAVEFORM_FORMATS: Final = frozenset({4, 5, 9, 10})

# (disk field, shift, mask): LAS 1.4 R15, section 2.6.7
_BITS: Final = {
    "ReturnNumber": ("Returns", 0, 0x0F),
    "NumberOfReturns": ("Returns", 4, 0x0F),
    "Synthetic": ("Flags", 0, 1),
    "KeyPoint": ("Flags", 1, 1),
    "Withheld": ("Flags", 2, 1),
    "Overlap": ("Flags", 3, 1),
    "ScannerChannel": ("Flags", 4, 3),
    "ScanDirectionFlag": ("Flags", 6, 1),
    "EdgeOfFlightLine": ("Flags", 7, 1),
}
DIMENSION_FIELDS: Final = {name: field for name, (field, _, _) in _BITS.items()}
"""Bit dimensions and the disk field each is part of."""
SCAN_ANGLE_STEP: Final = 0.006
"""Degrees of one step of the 16-bit scan angle."""

_CONVERTED: Final = frozenset({"Returns", "Flags", "Classification", "ScanAngle"})
_LASPY_NAMES: Final = {
    "X": "X",
    "Y": "Y",
    "Z": "Z",
    "Intensity": "intensity",
    "UserData": "user_data",
    "PointSourceId": "point_source_id",
    "GpsTime": "gps_time",
    "Red": "red",
    "Green": "green",
    "Blue": "blue",
    "Infrared": "nir",
}


def record_dtype(
    point_format: int, extra: tuple[tuple[str, np.dtype[np.generic]], ...] = ()
) -> np.dtype[np.void]:
    """The packed dtype of point format 6, 7 or 8 followed by extra dimensions."""
    return np.dtype([*FIELDS[point_format], *extra])


def dimension_names(dtype: np.dtype[np.void]) -> tuple[str, ...]:
    """The LAS dimension names of a record dtype, in disk order, bit fields unpacked."""
    names: list[str] = []
    for name in dtype.names or ():
        parts = [dimension for dimension, (field, _, _) in _BITS.items() if field == name]
        names.extend(parts or [name])
    return tuple(names)


def dimension(records: Records, name: str) -> Column:
    """One dimension of a record array by LAS name; bit fields come as uint8. Raises KeyError."""
    if name in _BITS:
        field, shift, mask = _BITS[name]
        return np.asarray((records[field] >> shift) & mask)
    if name not in (records.dtype.names or ()):
        raise KeyError(name)
    return np.asarray(records[name])


def _copy_legacy_attributes(source: Records, target: Records) -> None:
    """Formats 0-5: unpack the 3-bit returns and 5-bit classes into their wider LAS 1.4 places."""
    bits = source["bit_fields"]
    target["Returns"] = (bits & 0x07) | ((bits & 0x38) << 1)
    classes = source["raw_classification"]
    # synthetic, key point, withheld: bits 5-7 become bits 0-2; direction and edge keep bits 6-7
    target["Flags"] = (classes >> 5) | (bits & 0xC0)
    target["Classification"] = classes & 0x1F
    target["ScanAngle"] = np.rint(source["scan_angle_rank"] / SCAN_ANGLE_STEP)


def _copy_modern_attributes(source: Records, target: Records) -> None:
    target["Returns"] = source["bit_fields"]
    target["Flags"] = source["classification_flags"]
    target["Classification"] = source["classification"]
    target["ScanAngle"] = source["scan_angle"]


def copy_into(source: Records, source_format: int, target: Records, target_format: int) -> None:
    """Copy laspy's packed records of any point format into records of format 6, 7 or 8 of equal length.

    X, Y, Z are copied as integers; fields the source lacks become zero; extra dimensions go by name.
    """
    if source_format == target_format and _formats(source) == _formats(target):
        target[:] = source.view(target.dtype)
        return
    available = source.dtype.names or ()
    (_copy_legacy_attributes if source_format < 6 else _copy_modern_attributes)(source, target)
    standard = [name for name, _ in FIELDS[target_format]]
    for name in standard:
        if name not in _CONVERTED:
            laspy_name = _LASPY_NAMES[name]
            target[name] = source[laspy_name] if laspy_name in available else 0
    for name in (target.dtype.names or ())[len(standard) :]:
        target[name] = source[name] if name in available else 0


def _formats(records: Records) -> list[str]:
    return [str(entry[1:]) for entry in records.dtype.descr]
