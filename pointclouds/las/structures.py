"""The fixed binary structures of LAS 1.0-1.4 (ASPRS LAS 1.4 R15) and COPC 1.0: headers, VLRs, octree entries.

All are little-endian. Only bytes and numbers here: no file is opened, nothing is judged.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np

LAS_14_HEADER_SIZE: Final = 375
HEADER_SIZES: Final = {0: 227, 1: 227, 2: 227, 3: 235, 4: 375}
VLR_HEADER_SIZE: Final = 54
EVLR_HEADER_SIZE: Final = 60
COPC_INFO_SIZE: Final = 160
COPC_INFO_OFFSET: Final = LAS_14_HEADER_SIZE + VLR_HEADER_SIZE
"""Where the COPC info record's data starts: the info VLR has to be the first one (COPC 1.0, section 3.1)."""

GPS_STANDARD_TIME: Final = 0x01
WKT_FLAG: Final = 0x10

_LEGACY = struct.Struct("<4sHH16sBB32s32sHHHIIBHI5I12d")
_V14 = struct.Struct("<QQIQ15Q")
_VLR = struct.Struct("<H16sHH32s")
_EVLR = struct.Struct("<H16sHQ32s")
_INFO = struct.Struct("<5dQQ2d11Q")

HIERARCHY_ENTRY: Final = np.dtype(
    [
        ("level", "<i4"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("z", "<i4"),
        ("offset", "<u8"),
        ("byte_size", "<i4"),
        ("point_count", "<i4"),
    ]
)
"""One entry of a hierarchy page. `point_count` -1: the entry points to a further page."""


@dataclass(frozen=True)
class LasHeader:
    """The public header block. Boxes and scales are (x, y, z); counts by return have 5 or 15 members."""

    version_minor: int
    header_size: int
    offset_to_points: int
    vlr_count: int
    point_format: int
    compressed: bool
    record_length: int
    point_count: int
    points_by_return: tuple[int, ...]
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    minimum: tuple[float, float, float]
    maximum: tuple[float, float, float]
    global_encoding: int = WKT_FLAG
    file_source_id: int = 0
    guid: bytes = bytes(16)
    system_identifier: str = ""
    generating_software: str = "Chengtu"
    creation: tuple[int, int] = (0, 0)
    evlr_offset: int = 0
    evlr_count: int = 0
    legacy_point_count: int = 0

    def pack(self) -> bytes:
        """The 375 bytes of a LAS 1.4 header. Legacy counts are zero, as point formats 6-10 require."""
        box = [edge for pair in zip(self.maximum, self.minimum, strict=True) for edge in pair]
        legacy = _LEGACY.pack(
            b"LASF",
            self.file_source_id,
            self.global_encoding,
            self.guid,
            1,
            4,
            self.system_identifier.encode("ascii", "replace")[:32],
            self.generating_software.encode("ascii", "replace")[:32],
            *self.creation,
            LAS_14_HEADER_SIZE,
            self.offset_to_points,
            self.vlr_count,
            self.point_format | (0x80 if self.compressed else 0),
            self.record_length,
            0,
            *([0] * 5),
            *self.scale,
            *self.offset,
            *box,
        )
        by_return = (*self.points_by_return, *([0] * 15))[:15]
        return legacy + _V14.pack(0, self.evlr_offset, self.evlr_count, self.point_count, *by_return)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()


def unpack_header(data: bytes) -> LasHeader:
    """Read a public header block of LAS 1.0-1.4 from the first 375 (or fewer) bytes of a file.

    Raises:
        ValueError: not a LAS signature, an unknown version, or fewer bytes than the version's header has.
    """
    if len(data) < _LEGACY.size or data[:4] != b"LASF":
        raise ValueError("does not start with the LAS signature 'LASF' and a header of 227 bytes")
    values = _LEGACY.unpack_from(data)
    major, minor = values[4], values[5]
    if major != 1 or minor not in HEADER_SIZES:
        raise ValueError(f"says LAS version {major}.{minor}; versions 1.0 to 1.4 can be read")
    count, by_return = values[15], values[16:21]
    doubles = values[21:33]
    evlr_offset = evlr_count = 0
    if minor == 4:
        if len(data) < LAS_14_HEADER_SIZE:
            raise ValueError("ends inside its LAS 1.4 header")
        _, evlr_offset, evlr_count, count14, *by_return14 = _V14.unpack_from(data, 227)
        # LAS 1.4, section 2.4: the 64-bit counts rule; early writers left them at zero for legacy formats.
        if count14 or not count:
            count, by_return = count14, tuple(by_return14)
    return LasHeader(
        version_minor=minor,
        header_size=values[10],
        offset_to_points=values[11],
        vlr_count=values[12],
        point_format=values[13] & 0x3F,
        compressed=bool(values[13] & 0x80),
        record_length=values[14],
        point_count=count,
        points_by_return=tuple(by_return),
        scale=(doubles[0], doubles[1], doubles[2]),
        offset=(doubles[3], doubles[4], doubles[5]),
        maximum=(doubles[6], doubles[8], doubles[10]),
        minimum=(doubles[7], doubles[9], doubles[11]),
        global_encoding=values[2],
        file_source_id=values[1],
        guid=values[3],
        system_identifier=_text(values[6]),
        generating_software=_text(values[7]),
        creation=(values[8], values[9]),
        evlr_offset=evlr_offset,
        evlr_count=evlr_count,
        legacy_point_count=values[15],
    )


@dataclass(frozen=True)
class Vlr:
    """A variable length record: who defined it, its number, its bytes."""

    user_id: str
    record_id: int
    data: bytes = field(repr=False)
    description: str = ""

    def pack(self) -> bytes:
        """Header (54 bytes) and data of a VLR. Raises ValueError above 65,535 bytes of data."""
        if len(self.data) > 0xFFFF:
            raise ValueError(f"a VLR holds 65,535 bytes at most, {self.user_id}/{self.record_id} has more")
        user, text = self.user_id.encode("latin-1"), self.description.encode("latin-1", "replace")[:32]
        return _VLR.pack(0, user, self.record_id, len(self.data), text) + self.data

    def pack_extended(self) -> bytes:
        """Header (60 bytes) and data of an EVLR."""
        user, text = self.user_id.encode("latin-1"), self.description.encode("latin-1", "replace")[:32]
        return _EVLR.pack(0, user, self.record_id, len(self.data), text) + self.data


def unpack_vlr(data: bytes, position: int, *, extended: bool = False) -> tuple[Vlr, int]:
    """The VLR (or EVLR) at `position` and the position after it. Raises ValueError where the bytes end."""
    form = _EVLR if extended else _VLR
    if position < 0 or position + form.size > len(data):
        raise ValueError(f"a variable length record at byte {position} is cut off")
    _, user, record, length, text = form.unpack_from(data, position)
    start = position + form.size
    if start + length > len(data):
        raise ValueError(
            f"the variable length record at byte {position} says {length} bytes, the file ends before"
        )
    return Vlr(_text(user), record, data[start : start + length], _text(text)), start + length


@dataclass(frozen=True)
class CopcInfo:
    """The COPC info record (COPC 1.0, section 3.1): the octree's cube, and where its first page is.

    `centre` and `halfsize` are in CRS units, `spacing` is the point distance of the root node.
    """

    centre: tuple[float, float, float]
    halfsize: float
    spacing: float
    root_offset: int
    root_size: int
    gps_minimum: float
    gps_maximum: float

    def pack(self) -> bytes:
        """The 160 bytes of the record."""
        return _INFO.pack(
            *self.centre,
            self.halfsize,
            self.spacing,
            self.root_offset,
            self.root_size,
            self.gps_minimum,
            self.gps_maximum,
            *([0] * 11),
        )


def unpack_info(data: bytes) -> CopcInfo:
    """Read the info record. Raises ValueError if fewer than 160 bytes are given."""
    if len(data) < COPC_INFO_SIZE:
        raise ValueError(f"the COPC info record has {len(data)} bytes, it must have {COPC_INFO_SIZE}")
    x, y, z, halfsize, spacing, offset, size, gps_minimum, gps_maximum, *_ = _INFO.unpack_from(data)
    return CopcInfo((x, y, z), halfsize, spacing, offset, size, gps_minimum, gps_maximum)
