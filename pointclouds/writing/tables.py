"""Batches of points as CSV, as a binary PLY, and as a stream of Arrow record batches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyproj

from pointclouds.cloud.query import Batch
from pointclouds.errors import OutputError
from pointclouds.las.layout import Column
from pointclouds.writing.columns import ColumnMaker, PointColumns, joined, pieces, texts

CSV_NAMES: Final = ("X", "Y", "Z")
_PLY_TYPES: Final = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float", "f8": "double",
    "i8": "double", "u8": "double",
}  # fmt: skip
"""PLY has no integers of 64 bits."""
_COUNT_DIGITS: Final = 20


def csv_chunks(batches: Iterable[Batch], maker: ColumnMaker) -> Iterator[bytes]:
    """A header line and one line a point: X, Y, Z and the dimensions by name; RFC 4180, lines end with CRLF."""
    yield ",".join((*CSV_NAMES, *map(_quoted, maker.names))).encode() + b"\r\n"
    for records in pieces(batches):
        columns = maker(records)
        parts: list[bytes | list[bytes]] = []
        for column in (columns.x, columns.y, columns.z, *columns.columns.values()):
            parts += [_cells(column), b","]
        parts[-1] = b"\r\n"
        yield joined(parts)


def _quoted(name: str) -> str:
    if any(letter in name for letter in ',"\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name


def _cells(column: Column) -> list[bytes]:
    found = texts(column)
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        return [b"" if cell == b"null" else cell for cell in found]
    return found


def write_ply(path: Path, batches: Iterable[Batch], maker: ColumnMaker, comment: str = "") -> int:
    """A binary little-endian PLY with one element `vertex`: x, y, z as doubles and the dimensions in lower case.

    Raises:
        OutputError: it cannot be written.
    """
    fields = [("x", "<f8"), ("y", "<f8"), ("z", "<f8")]
    taken = {"x", "y", "z"}
    for name, kind in maker.dtypes.items():
        fields.append((_property(name, taken), _ply_dtype(kind)))
    dtype = np.dtype(fields)
    count = 0
    try:
        with path.open("w+b") as stream:
            stream.write(_ply_header(dtype, 0, comment))
            for batch in batches:
                columns = maker(batch.records)
                stream.write(_ply_rows(columns, dtype))
                count += len(columns)
            stream.seek(0)
            stream.write(_ply_header(dtype, count, comment))
    except OSError as error:
        raise OutputError(f"the points cannot be written: {error}; free space and ask again") from error
    return count


def _property(name: str, taken: set[str]) -> str:
    """A word that names a property, unlike all others."""
    word = re.sub(r"[^a-z0-9_]", "_", name.lower()) or "_"
    while word in taken:
        word += "_"
    taken.add(word)
    return word


def _ply_dtype(kind: np.dtype[np.generic]) -> str:
    code = f"{kind.kind}{kind.itemsize}"
    return "<f8" if _PLY_TYPES.get(code, "double") == "double" else f"<{code}"


def _ply_header(dtype: np.dtype[np.void], count: int, comment: str) -> bytes:
    """As long for any count: a comment fills up what the number leaves."""
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {comment}"] if comment else []
    lines.append("comment " + "." * (_COUNT_DIGITS - len(str(count))))
    lines.append(f"element vertex {count}")
    for name in dtype.names or ():
        kind = dtype[name]
        lines.append(f"property {_PLY_TYPES[f'{kind.kind}{kind.itemsize}']} {name}")
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii", "replace")


def _ply_rows(columns: PointColumns, dtype: np.dtype[np.void]) -> bytes:
    rows = np.empty(len(columns), dtype)
    values = (columns.x, columns.y, columns.z, *columns.columns.values())
    for name, column in zip(dtype.names or (), values, strict=True):
        rows[name] = column
    return rows.tobytes()


def arrow_chunks(batches: Iterable[Batch], maker: ColumnMaker, crs: pyproj.CRS) -> Iterator[bytes]:
    """An Arrow IPC stream: `geometry` (geoarrow.point, x, y and z apart) and a column a dimension."""
    import pyarrow as pa  # half a second that other formats do not need

    schema = _arrow_schema(pa, maker, crs)
    sink = _Pieces()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            columns = maker(batch.records)
            point = pa.StructArray.from_arrays(
                [pa.array(column) for column in (columns.x, columns.y, columns.z)],
                fields=list(schema.field(0).type),
            )
            arrays = [point, *(pa.array(np.ascontiguousarray(one)) for one in columns.columns.values())]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _arrow_schema(pa: Any, maker: ColumnMaker, crs: pyproj.CRS) -> Any:
    metadata = {
        "ARROW:extension:name": "geoarrow.point",
        "ARROW:extension:metadata": f'{{"crs": {crs.to_json()}}}',
    }
    axes = pa.struct([pa.field(axis, pa.float64(), nullable=False) for axis in "xyz"])
    fields = [pa.field("geometry", axes, nullable=False, metadata=metadata)]
    fields += [pa.field(name, pa.from_numpy_dtype(kind)) for name, kind in maker.dtypes.items()]
    return pa.schema(fields)


class _Pieces:
    """A file object that hands out what was written since it was last asked."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._parts.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        piece, self._parts = b"".join(self._parts), []
        return piece

    def flush(self) -> None:
        """Nothing waits here."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True
