"""The header of a PLY file: its elements, their properties, and where the data begin."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np

from pointclouds.errors import UnreadablePointCloudError

Encoding = Literal["ascii", "binary_little_endian", "binary_big_endian"]

_LONGEST_HEADER: Final = 65_536
_MOST_PROPERTIES: Final = 256
_TYPES: Final = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_CRS_COMMENT: Final = re.compile(r"(?:crs|srs|epsg|coordinate system)\s*[:=]?\s+?(.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Property:
    """One property. `dtype` of its values; `count_dtype` of the number before them where it is a list, else None."""

    name: str
    dtype: np.dtype[np.generic]
    count_dtype: np.dtype[np.generic] | None = None


@dataclass
class Element:
    """An element ("vertex", "face") and how many of it there are."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        """Whether its rows are of different lengths."""
        return any(one.count_dtype is not None for one in self.properties)

    @property
    def least_bytes(self) -> int:
        """Bytes of the shortest binary row."""
        return sum((one.count_dtype or one.dtype).itemsize for one in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """`start` is the byte after the header; `crs` what a comment says of it, as it stands there."""

    encoding: Encoding
    elements: tuple[Element, ...]
    start: int
    crs: str | None

    @property
    def vertex(self) -> Element:
        """The points."""
        return next(one for one in self.elements if one.name == "vertex")


def read_ply_header(path: Path) -> PlyHeader:
    """Read and check the header against the file's size.

    Raises:
        UnreadablePointCloudError: it is no PLY header, has no points, or promises more than the file has room for.
    """
    with path.open("rb") as stream:
        data = stream.read(_LONGEST_HEADER)
        size = stream.seek(0, 2)
    found = re.search(rb"(?m)^end_header[ \t]*(\r\n|\n|\r)", data)
    if not data.startswith(b"ply") or found is None:
        raise UnreadablePointCloudError(
            f"{path.name} is no PLY: it has no header from 'ply' to 'end_header' in its first {_LONGEST_HEADER} bytes"
        )
    header = _parsed(data[: found.start()].decode("latin-1").splitlines(), found.end(), path.name)
    _check(header, size, path.name)
    return header


def _parsed(lines: list[str], start: int, name: str) -> PlyHeader:
    encoding: Encoding | None = None
    elements: list[Element] = []
    crs = None
    for line in lines[1:]:
        words = line.split()
        try:
            match words:
                case ["format", "ascii" | "binary_little_endian" | "binary_big_endian" as kind, *_]:
                    encoding = kind
                case ["element", element, count]:
                    elements.append(Element(element, int(count)))
                case ["property", "list", counted, kind, called]:
                    elements[-1].properties.append(Property(called, _dtype(kind), _dtype(counted)))
                case ["property", kind, called]:
                    elements[-1].properties.append(Property(called, _dtype(kind)))
                case ["comment" | "obj_info", *rest]:
                    said = _CRS_COMMENT.fullmatch(" ".join(rest))
                    crs = said.group(1).strip() if said else crs
                case []:
                    continue
                case _:
                    raise ValueError(f"a line {line[:60]!r} that PLY does not have")
        except (ValueError, KeyError, IndexError) as error:
            raise UnreadablePointCloudError(f"{name}: its PLY header holds {_reason(error, line)}") from error
    if encoding is None:
        raise UnreadablePointCloudError(f"{name}: its PLY header does not say ascii or binary")
    byte_order: Literal["<", ">"] = ">" if encoding == "binary_big_endian" else "<"
    return PlyHeader(encoding, tuple(_ordered(one, byte_order) for one in elements), start, crs)


def _reason(error: Exception, line: str) -> str:
    return (
        str(error)
        if isinstance(error, ValueError) and "PLY" in str(error)
        else f"a line {line[:60]!r} that makes no sense"
    )


def _dtype(kind: str) -> np.dtype[np.generic]:
    return np.dtype(_TYPES[kind])


def _ordered(element: Element, byte_order: Literal["<", ">"]) -> Element:
    properties = [
        Property(
            one.name,
            one.dtype.newbyteorder(byte_order),
            one.count_dtype.newbyteorder(byte_order) if one.count_dtype is not None else None,
        )
        for one in element.properties
    ]
    return Element(element.name, element.count, properties)


def _check(header: PlyHeader, size: int, name: str) -> None:
    if not any(one.name == "vertex" for one in header.elements):
        raise UnreadablePointCloudError(f"{name}: its PLY header has no element vertex; it holds no points")
    room = size - header.start
    for element in header.elements:
        if element.count < 0 or len(element.properties) > _MOST_PROPERTIES:
            raise UnreadablePointCloudError(
                f"{name}: its PLY header says {element.count} of {element.name} with {len(element.properties)} properties"
            )
        # A row of text has a digit and a separator for each property at least; the last line may end without one.
        least = 2 * len(element.properties) if header.encoding == "ascii" else element.least_bytes
        if element.count * least > room + 1:
            raise UnreadablePointCloudError(
                f"{name}: its PLY header says {element.count} of {element.name}, the file has room for {room // max(least, 1)}; "
                "the file is damaged or cut off"
            )
        room -= element.count * least
