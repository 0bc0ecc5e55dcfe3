"""PLY: the vertices of an ASCII or binary file, streamed in blocks; list properties are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.crs import parse_crs
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats.blocks import BlockSource
from pointclouds.formats.columns import Columns, Spans, dimensions_of, make_layout
from pointclouds.formats.ply_header import Element, PlyHeader, read_ply_header
from pointclouds.formats.text import described, line_blocks, parse_lines
from pointclouds.formats.text_lines import SKIPPED, TextLayout
from pointclouds.las.layout import Records
from pointclouds.las.reader import reading

_BLOCK_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class _Block:
    offset: int
    size: int
    rows: int


class PlySource(BlockSource):
    """The vertices of a PLY file."""

    def __init__(self, path: Path, crs: pyproj.CRS | None, *, scale: float | None = None) -> None:
        """Reads the file once; `scale` in place of the data's own.

        Raises:
            UnreadablePointCloudError, EmptyPointCloudError: see ply_header.read_ply_header and columns.make_layout.
        """
        self.path = path
        with reading(path):
            self._header = read_ply_header(path)
            if self._header.vertex.count == 0:
                raise EmptyPointCloudError(f"{path.name} holds no points; there is nothing to publish")
            self._names = _names(self._header.vertex, path.name)
            if crs is None and self._header.crs:
                crs = parse_crs(self._header.crs, f"{path.name}: the comment of its header")
            self._blocks = []
            spans, counts = Spans(), []
            blocks = _text_blocks if self._header.encoding == "ascii" else _binary_blocks
            for block, data in blocks(path, self._header):
                counts.append(spans.add(self._columns(data, block.rows)))
                self._blocks.append(block)
        self._set_blocks(counts)
        self._layout = make_layout(
            spans, path.name, geographic=crs is not None and crs.is_geographic, scale=scale
        )
        lists = tuple(one.name for one in self._header.vertex.properties if one.count_dtype is not None)
        self._description = described(path.name, spans, self._layout, crs, left_out=lists)

    def _columns(self, data: bytes, rows: int) -> Columns:
        vertex = self._header.vertex
        if self._header.encoding == "ascii":
            columns = _of_text(data, vertex, self._names, self.path.name)
        else:
            columns = _of_binary(data, vertex, self._names, rows)
        if len(columns["X"]) != rows:
            raise UnreadablePointCloudError(
                f"{self.path.name}: {rows} vertices should stand here, {len(columns['X'])} do; the file is damaged"
            )
        return columns

    def _read_block(self, number: int) -> Records:
        block = self._blocks[number]
        with reading(self.path), self.path.open("rb") as stream:
            stream.seek(block.offset)
            return self._layout.records(self._columns(stream.read(block.size), block.rows))


def _names(vertex: Element, name: str) -> tuple[str, ...]:
    """The dimension of each property; SKIPPED for lists. A second property of one meaning keeps its own name."""
    found: list[str] = []
    for one, meant in zip(
        vertex.properties, dimensions_of([one.name for one in vertex.properties]), strict=True
    ):
        called = SKIPPED if one.count_dtype is not None else one.name if meant in found else meant
        if called != SKIPPED and called in found:
            raise UnreadablePointCloudError(f"{name}: its PLY header has the property {one.name} twice")
        found.append(called)
    missing = [axis.lower() for axis in "XYZ" if axis not in found]
    if missing:
        raise UnreadablePointCloudError(f"{name}: its vertices have no property {', '.join(missing)}")
    return tuple(found)


def _cut_off(path: Path, header: PlyHeader) -> UnreadablePointCloudError:
    return UnreadablePointCloudError(
        f"{path.name} ends before the last of its {header.vertex.count} vertices; the file is cut off"
    )


def _text_blocks(path: Path, header: PlyHeader) -> Iterator[tuple[_Block, bytes]]:
    """Blocks of the lines of the vertices; elements before them have one line each."""
    before = header.elements[: header.elements.index(header.vertex)]
    passed, left = sum(one.count for one in before), header.vertex.count
    for found, data in line_blocks(path, header.start):
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1
        if not data.endswith(b"\n"):
            ends = np.append(ends, len(data))
        first = min(passed, len(ends))
        rows = min(left, len(ends) - first)
        start = int(ends[first - 1]) if first else 0
        if rows:
            end = int(ends[first + rows - 1])
            yield _Block(found.offset + start, end - start, rows), data[start:end]
        passed, left = passed - first, left - rows
        if left == 0:
            return
    raise _cut_off(path, header)


def _of_text(data: bytes, vertex: Element, names: tuple[str, ...], name: str) -> Columns:
    if vertex.has_lists:
        return _of_uneven_lines(data, vertex, names, name)
    columns = parse_lines(data, TextLayout("utf-8", " ", ".", names, 0), name)
    kinds = {called: one.dtype for called, one in zip(names, vertex.properties, strict=True)}
    # Coordinates as text may be finer than the type they are declared as.
    return {
        called: values if called in ("X", "Y", "Z") else _typed(values, kinds[called])
        for called, values in columns.items()
    }


def _typed(values: npt.NDArray[np.float64], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Text of numbers as its declared type; whole ones only where they keep to it."""
    if kind.kind == "f":
        return values.astype(kind.newbyteorder("="))
    if kind.kind not in "iu" or not np.isfinite(values).all():
        return values
    ends = np.iinfo(kind)
    inside = not len(values) or (values.min() >= ends.min and values.max() <= ends.max)
    return values.astype(kind) if inside else values


def _of_uneven_lines(data: bytes, vertex: Element, names: tuple[str, ...], name: str) -> Columns:
    rows = []
    for line in data.splitlines():
        words, at, row = line.split(), 0, []
        try:
            for one in vertex.properties:
                if one.count_dtype is None:
                    row.append(float(words[at]))
                    at += 1
                else:
                    at += 1 + int(words[at])
        except (ValueError, IndexError) as error:
            raise UnreadablePointCloudError(f"{name}: a line {line[:60]!r} is no vertex") from error
        rows.append(row)
    table = np.array(rows, np.float64).reshape(len(rows), -1)
    kept = [
        (called, one.dtype) for called, one in zip(names, vertex.properties, strict=True) if called != SKIPPED
    ]
    return {
        called: table[:, column] if called in ("X", "Y", "Z") else _typed(table[:, column], kind)
        for column, (called, kind) in enumerate(kept)
    }


def _binary_blocks(path: Path, header: PlyHeader) -> Iterator[tuple[_Block, bytes]]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        offset = header.start
        for element in header.elements:
            left, wanted = element.count, element is header.vertex
            while left:
                rows = min(left, max(1, _BLOCK_BYTES // max(element.least_bytes, 1)))
                stream.seek(offset)
                if element.has_lists:
                    data = stream.read(2 * _BLOCK_BYTES)
                    rows, length = _whole_rows(data, element, rows)
                else:
                    length = rows * element.least_bytes
                    data = stream.read(length) if wanted else b""
                if rows == 0 or offset + length > size:
                    raise _cut_off(path, header)
                if wanted:
                    yield _Block(offset, length, rows), data[:length]
                offset, left = offset + length, left - rows
            if wanted:
                return


def _whole_rows(data: bytes, element: Element, most: int) -> tuple[int, int]:
    """How many whole rows `data` begins with (at most `most`), and their bytes."""
    starts = _walk(data, element, most)
    return len(starts) - 1, starts[-1][0]


def _walk(data: bytes, element: Element, most: int) -> list[list[int]]:
    """Where the properties of each row stand, one list a row; after the last whole row one list more, of its end."""
    rows: list[list[int]] = []
    at = 0
    for _ in range(most):
        begun, places = at, []
        for one in element.properties:
            places.append(at)
            if one.count_dtype is None:
                at += one.dtype.itemsize
                continue
            if at + one.count_dtype.itemsize > len(data):
                at = len(data) + 1
                break
            count = int(np.frombuffer(data, one.count_dtype, 1, at)[0])
            at += one.count_dtype.itemsize + max(count, 0) * one.dtype.itemsize
        if at > len(data):
            at = begun
            break
        rows.append(places)
    rows.append([at])
    return rows


def _of_binary(data: bytes, vertex: Element, names: tuple[str, ...], rows: int) -> Columns:
    if not vertex.has_lists:
        packed = np.dtype([(f"{number}", one.dtype) for number, one in enumerate(vertex.properties)])
        table = np.frombuffer(data, packed, rows)
        return {called: _native(table[f"{number}"]) for number, called in enumerate(names)}
    places = np.array(_walk(data, vertex, rows)[:-1], np.int64).reshape(rows, -1)
    raw = np.frombuffer(data, np.uint8)
    columns = {}
    for number, (called, one) in enumerate(zip(names, vertex.properties, strict=True)):
        if called != SKIPPED:
            picked = raw[places[:, number, None] + np.arange(one.dtype.itemsize)]
            columns[called] = _native(np.ascontiguousarray(picked).view(one.dtype)[:, 0])
    return columns


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)
