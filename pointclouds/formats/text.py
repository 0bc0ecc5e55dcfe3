"""XYZ, CSV, PTS and other text of points, streamed in blocks of whole lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.errors import UnreadablePointCloudError
from pointclouds.formats.blocks import BlockSource
from pointclouds.formats.columns import Columns, Layout, Spans, make_layout
from pointclouds.formats.text_lines import LONGEST_LINE, SAMPLE_BYTES, SKIPPED, TextLayout, look_at
from pointclouds.las.layout import Records
from pointclouds.las.reader import reading
from pointclouds.sources import Box3, SourceDescription

_BLOCK_BYTES: Final = 8 << 20
_COMMENT_LINES: Final = re.compile(rb"(?m)^[ \t]*(?:#|//|!|%)[^\n]*\n?")
_NULLS: Final = ["", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "*", "-"]


@dataclass(frozen=True)
class TextBlock:
    """Whole lines of a file: `size` bytes from `offset`."""

    offset: int
    size: int


def line_blocks(
    path: Path, start: int, newline: bytes = b"\n", *, size: int = _BLOCK_BYTES
) -> Iterator[tuple[TextBlock, bytes]]:
    """Blocks of whole lines from byte `start` on.

    Args:
        newline: the end of a line in the text's encoding; blocks are cut at whole characters of its length.

    Raises:
        UnreadablePointCloudError: a line longer than LONGEST_LINE.
    """
    with path.open("rb") as stream:
        stream.seek(start)
        offset, rest = start, b""
        while True:
            part = stream.read(size)
            if not part:
                break
            data = rest + part
            end = _last_newline(data, newline)
            if end == 0 and len(data) > LONGEST_LINE:
                raise UnreadablePointCloudError(
                    f"{path.name} has a line of more than {LONGEST_LINE} bytes at byte {offset}; it is no text of points"
                )
            if end:
                yield TextBlock(offset, end), data[:end]
                offset += end
            rest = data[end:]
        if len(rest) > LONGEST_LINE:
            raise UnreadablePointCloudError(
                f"{path.name} has a line of more than {LONGEST_LINE} bytes at byte {offset}; it is no text of points"
            )
        if rest:
            yield TextBlock(offset, len(rest)), rest


def _last_newline(data: bytes, newline: bytes) -> int:
    """The byte after the last end of a line; 0 where there is none."""
    end = data.rfind(newline)
    while end > 0 and end % len(newline):
        end = data.rfind(newline, 0, end + len(newline) - 1)
    return end + len(newline) if end >= 0 else 0


class TextSource(BlockSource):
    """Text of points. Lines of a wrong number of columns are an error; points without three finite coordinates are left out."""

    def __init__(
        self,
        path: Path,
        crs: pyproj.CRS | None,
        *,
        columns: str | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        scale: float | None = None,
    ) -> None:
        """Reads the file once. `columns`, `separator`, `encoding`: see text_lines.look_at; `scale` in place of the data's own.

        Raises:
            UnreadablePointCloudError, EmptyPointCloudError: see there, and columns.make_layout.
        """
        self.path = path
        with reading(path), path.open("rb") as stream:
            head = stream.read(SAMPLE_BYTES)
        self._text = look_at(head, path.name, columns=columns, separator=separator, encoding=encoding)
        self._blocks: list[TextBlock] = []
        spans, counts = Spans(), []
        with reading(path):
            for block, data in line_blocks(path, self._text.start, self._newline()):
                counts.append(spans.add(parse_lines(data, self._text, path.name)))
                self._blocks.append(block)
        self._set_blocks(counts)
        self._layout: Layout = make_layout(
            spans, path.name, geographic=crs is not None and crs.is_geographic, scale=scale
        )
        self._description = described(path.name, spans, self._layout, crs, left_out=self._text.left_out)

    def _newline(self) -> bytes:
        return "\n".encode(self._text.codec) if self._text.codec.startswith("utf-16") else b"\n"

    def _read_block(self, number: int) -> Records:
        block = self._blocks[number]
        with reading(self.path), self.path.open("rb") as stream:
            stream.seek(block.offset)
            return self._layout.records(parse_lines(stream.read(block.size), self._text, self.path.name))


def described(
    name: str,
    spans: Spans,
    layout: Layout,
    crs: pyproj.CRS | None,
    *,
    left_out: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    system: str = "",
) -> SourceDescription:
    """The description of a source whose points were all seen once."""
    return SourceDescription(
        name=name,
        count=spans.kept,
        box=_kept_box(spans, layout),
        crs=crs,
        point_format=layout.point_format,
        scale=layout.scale,
        offset=layout.offset,
        extra=layout.extra,
        extra_structs=layout.extra_structs,
        global_encoding=layout.global_encoding,
        system_identifier=system,
        dropped=left_out,
        notes=(*layout.notes, *notes),
    )


def _kept_box(spans: Spans, layout: Layout) -> Box3:
    """The box of the coordinates as they are kept: rounded to the scale."""
    ends = [
        round((value - offset) / scale) * scale + offset
        for corner in (spans.low, spans.high)
        for value, scale, offset in zip(corner, layout.scale, layout.offset, strict=True)
    ]
    return ends[0], ends[1], ends[2], ends[3], ends[4], ends[5]


def parse_lines(data: bytes, text: TextLayout, name: str) -> Columns:
    """The columns (n,) float64 of whole lines, by name; what is empty or "nan" becomes NaN.

    Raises:
        UnreadablePointCloudError: a line of another number of columns, or something that is no number.
    """
    from pyarrow import ArrowException, csv, float64

    data = _plain(data, text)
    if not data.strip():
        return {column: np.empty(0) for column in text.columns if column != SKIPPED}
    names = [f"{number}" for number in range(len(text.columns))]
    taken = [number for number, column in zip(names, text.columns, strict=True) if column != SKIPPED]
    problems: list[str] = []

    def judge(row: Any) -> str:
        # The lone number is the count of points with which each scan of a PTS file begins.
        if row.actual_columns == 1 and row.text.strip().isdecimal():
            return "skip"
        problems.append(row.text[:60])
        return "error"

    try:
        table = csv.read_csv(
            _buffer(data),
            read_options=csv.ReadOptions(
                column_names=names, use_threads=False, block_size=max(len(data) + 1, 1024)
            ),
            parse_options=csv.ParseOptions(delimiter=text.separator, invalid_row_handler=judge),
            convert_options=csv.ConvertOptions(
                include_columns=taken,
                column_types=dict.fromkeys(taken, float64()),
                null_values=_NULLS,
                decimal_point=text.decimal,
                check_utf8=False,
            ),
        )
    except ArrowException as error:
        shown = f"a line {problems[0]!r} does not have {len(names)} columns" if problems else str(error)[:200]
        raise UnreadablePointCloudError(f"{name} cannot be read as text of points: {shown}") from error
    return {
        column: _numbers(table[number])
        for number, column in zip(names, text.columns, strict=True)
        if column != SKIPPED
    }


def _buffer(data: bytes) -> Any:
    from pyarrow import BufferReader

    return BufferReader(data)


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    """Float64 with NaN for what is missing; writable or not does not matter."""
    values: npt.NDArray[np.float64] = column.combine_chunks().to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def _plain(data: bytes, text: TextLayout) -> bytes:
    """The lines as the CSV reader wants them: ASCII-like bytes, no comments, one separator between two numbers."""
    if text.codec.startswith("utf-16"):
        data = data.decode(text.codec, "replace").encode()
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if any(mark in data for mark in (b"#", b"//", b"!", b"%")):
        data = _COMMENT_LINES.sub(b"", data)
    if text.separator == " ":
        data = data.replace(b"\t", b" ")
        while b"  " in data:
            data = data.replace(b"  ", b" ")
    if b" " in data:
        data = data.replace(b"\n ", b"\n").replace(b" \n", b"\n").strip(b" ")
        if text.separator != " ":
            mark = text.separator.encode()
            data = data.replace(b" " + mark, mark).replace(mark + b" ", mark)
    return data
