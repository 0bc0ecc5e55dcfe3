"""What each node of a COPC holds, kept beside it: counts, boxes, classes, and the span of every dimension.

With it a question is answered without reading a point where the node's statistics suffice, and a filter leaves out the nodes
in which nothing can match. The file is `NAME.copc.laz.nodes`: eight bytes of signature, the length of a JSON header, the header,
and one packed record a node in the order of `CopcFile.entries`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.copc.hierarchy import Entries
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError
from pointclouds.las.dimensions import Dimension, dimensions_of
from pointclouds.las.layout import Records
from pointclouds.las.structures import HIERARCHY_ENTRY

SIGNATURE: Final = b"CTNODES1"
SUFFIX: Final = ".nodes"
RETURNS: Final = 16
CLASSES: Final = 256
_ALIGNMENT: Final = 64
_LONGEST_HEADER: Final = 1 << 20


@dataclass(frozen=True)
class NodeTable:
    """Statistics of the n nodes of one COPC, in the order of `entries` (by level, then place in the file).

    entries: (n,) HIERARCHY_ENTRY. class_counts: (n, k) uint32, one column for each code of `classes`. return_counts: (n, 16) uint32
    by return number. lowest, highest, sums, squares: (n, d) float64 of natural values, one column for each of `dimensions` (those of
    one number); NaN lowest and highest where a node has no points. The first three dimensions are X, Y and Z: the true box.
    """

    entries: Entries
    classes: tuple[int, ...]
    dimensions: tuple[str, ...]
    class_counts: npt.NDArray[np.uint32]
    return_counts: npt.NDArray[np.uint32]
    lowest: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def column(self, name: str) -> int:
        """The column of a dimension in lowest, highest, sums and squares. Raises KeyError."""
        try:
            return self.dimensions.index(name)
        except ValueError:
            raise KeyError(name) from None

    @property
    def count(self) -> int:
        """Points of all nodes."""
        return int(self.entries["point_count"].sum(dtype=np.int64))

    def save(self, path: Path) -> None:
        """Write it whole, or leave what was there."""
        header = json.dumps({"classes": self.classes, "dimensions": self.dimensions}).encode()
        header += b" " * (-(len(SIGNATURE) + 4 + len(header)) % _ALIGNMENT)
        rows = np.empty(len(self.entries), _row_dtype(len(self.classes), len(self.dimensions)))
        for name in rows.dtype.names or ():
            rows[name] = getattr(self, name)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as stream:
            stream.write(SIGNATURE + len(header).to_bytes(4, "little") + header)
            rows.tofile(stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)


def _row_dtype(classes: int, dimensions: int) -> np.dtype[np.void]:
    doubles = ("<f8", (dimensions,))
    return np.dtype(
        [
            ("entries", HIERARCHY_ENTRY),
            ("class_counts", "<u4", (classes,)),
            ("return_counts", "<u4", (RETURNS,)),
            ("lowest", *doubles),
            ("highest", *doubles),
            ("sums", *doubles),
            ("squares", *doubles),
        ]
    )


def load_nodes(path: Path) -> NodeTable:
    """Map a table into memory; pages are read when they are looked at.

    Raises:
        InvalidCopcError: the file is missing, cut off, or not such a table.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(len(SIGNATURE) + 4)
            length = int.from_bytes(start[len(SIGNATURE) :], "little")
            if start[: len(SIGNATURE)] != SIGNATURE or not 0 < length <= _LONGEST_HEADER:
                raise ValueError("it does not begin as one")
            header = json.loads(stream.read(length))
            classes = tuple(int(code) for code in header["classes"])
            names = tuple(str(name) for name in header["dimensions"])
        at = len(SIGNATURE) + 4 + length
        dtype = _row_dtype(len(classes), len(names))
        size = path.stat().st_size - at
        if size <= 0 or size % dtype.itemsize:
            raise ValueError(f"{size} bytes are no whole number of rows of {dtype.itemsize}")
        rows: Any = np.memmap(path, dtype, "r", at)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidCopcError(
            f"{path.name} is no table of nodes: {error}; publish the point cloud again"
        ) from error
    return NodeTable(np.array(rows["entries"]), classes, names, *(rows[name] for name in dtype.names[1:]))  # type: ignore[index]  # a dtype of fields has names


class NodeStatistics:
    """Collects the statistics of nodes as they are written or read, in any order, then makes the table."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._dimensions = tuple(one for one in dimensions if one.members == 1)
        self._rows: dict[int, tuple[Any, ...]] = {}

    def add(self, number: int, records: Records) -> None:
        """The points of a node; `number` is its own, taken up again in `table`."""
        self._rows[number] = self.row(records)

    def row(self, records: Records) -> tuple[Any, ...]:
        """Statistics of one node; small, pickles (for processes that encode), taken by `put`."""
        classes = np.bincount(records["Classification"], minlength=CLASSES).astype(np.uint32)
        returns = np.bincount(records["Returns"] & 0x0F, minlength=RETURNS).astype(np.uint32)
        spans = np.zeros((4, len(self._dimensions)))
        spans[:2] = np.nan
        for column, one in enumerate(self._dimensions):
            if len(records):
                spans[:, column] = _span(one, records)
        return classes, returns, spans

    def put(self, number: int, row: tuple[Any, ...]) -> None:
        """A row that `row` made elsewhere."""
        self._rows[number] = row

    def table(self, entries: Entries, numbers: Iterable[int]) -> NodeTable:
        """The table of `entries` (sorted as `CopcFile.entries` are), whose rows were added under `numbers`; a number never added
        stands for a node without points."""
        empty = (
            np.zeros(CLASSES, np.uint32),
            np.zeros(RETURNS, np.uint32),
            np.array([[np.nan], [np.nan], [0], [0]]) + np.zeros((1, len(self._dimensions))),
        )
        rows = [self._rows.get(number, empty) for number in numbers]
        all_classes = np.stack([row[0] for row in rows])
        codes = np.flatnonzero(all_classes.any(axis=0))
        spans = np.stack([row[2] for row in rows])
        return NodeTable(
            entries=entries,
            classes=tuple(int(code) for code in codes),
            dimensions=tuple(one.name for one in self._dimensions),
            class_counts=all_classes[:, codes],
            return_counts=np.stack([row[1] for row in rows]),
            lowest=spans[:, 0],
            highest=spans[:, 1],
            sums=spans[:, 2],
            squares=spans[:, 3],
        )


def _span(one: Dimension, records: Records) -> tuple[float, float, float, float]:
    """Lowest, highest, sum and sum of squares; computed on what is stored, then made natural."""
    plain = Dimension(one.name, one.field, one.dtype).values(records)
    numbers = plain.astype(np.float64)
    if numbers.dtype.kind == "f":
        numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return np.nan, np.nan, 0.0, 0.0
    # Not `numbers @ numbers`: BLAS would start its threads, which cost more than all else here.
    squares = float(np.einsum("i,i->", numbers, numbers))
    count, total = numbers.size, float(numbers.sum())
    ends = sorted(
        (float(numbers.min()) * one.scale + one.offset, float(numbers.max()) * one.scale + one.offset)
    )
    natural = total * one.scale + count * one.offset
    squared = squares * one.scale**2 + 2 * one.scale * one.offset * total + count * one.offset**2
    return ends[0], ends[1], natural, squared


def leaf_nodes(entries: Entries) -> npt.NDArray[np.bool_]:
    """(n,): below which nodes none has points."""
    cells = np.stack([entries[name].astype(np.int64) for name in ("level", "x", "y", "z")], axis=1)
    parents = cells[entries["point_count"] > 0] // (1, 2, 2, 2) - (1, 0, 0, 0)
    _, places = np.unique(np.concatenate((cells, parents)), axis=0, return_inverse=True)
    places = places.reshape(-1)
    return np.asarray(~np.isin(places[: len(cells)], places[len(cells) :]))


def nodes_path(copc: Path) -> Path:
    """Where the table of a COPC stands."""
    return copc.with_name(copc.name + SUFFIX)


def compute_nodes(copc: CopcFile) -> NodeTable:
    """The table of a file that has none; decodes every point.

    Raises:
        UnreadablePointCloudError, InvalidCopcError: a node does not decode.
    """
    header = copc.header
    statistics = NodeStatistics(dimensions_of(copc.dtype, header.scale, header.offset, header.records))
    for number, entry in enumerate(copc.entries):
        if entry["point_count"] > 0:
            statistics.add(number, copc.read_node(entry))
    return statistics.table(copc.entries, range(len(copc.entries)))
