"""Blocks of features as vector tiles want them: fixed-point coordinates, attribute values already encoded.

`tile_part` holds blocks of some 64 features that are neighbours in key order: one array of heads, one of paths, one of vertices,
and their attributes. A column whose values repeat is kept as codes of `tile_value` (encoded once in the store), another one as
its encoded values; either way a tile copies bytes and never looks at a value. `tile_index` is an R-tree of the blocks in
units of `tiles.vector.fixed_point`, its third axis the band: band ALL has every feature once, for tiles from two zooms
below `full_zoom` on; bands 0, 1, ... hold again the features that first appear at that zoom, for the tiles below. A feature of
`big` has a block of its own, so that no other block grows by it.

Blocks of a band never overlap in key order. An edit leaves them as they are: it notes in `tile_gone` which features of a block no
longer count, and writes the features as they are now as blocks of one feature each, in a band beside (`beside`). Where a block
has gathered `MOST_LOOSE` of both, it is put together anew (`providers.features.store.tile_parts_edit`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

ALL = 100
"""The band that holds every feature."""
FAR = 2
"""Tiles at least this many zooms below `full_zoom` are made of the bands of their zooms."""
BLOCK = 64
MOST_LOOSE = 32
"""Features beside a block, and features of it that no longer count, together: more, and the block is written anew."""
META = "tile_blocks"
TABLES = """
CREATE TABLE tile_part (id INTEGER PRIMARY KEY, band INTEGER NOT NULL, first INTEGER NOT NULL, heads BLOB NOT NULL,
  paths BLOB NOT NULL, vertices BLOB NOT NULL, codes BLOB NOT NULL, sizes BLOB NOT NULL, texts BLOB NOT NULL);
CREATE UNIQUE INDEX tile_part_key ON tile_part (band, first);
CREATE TABLE tile_gone (part INTEGER NOT NULL, key INTEGER NOT NULL, PRIMARY KEY (part, key)) WITHOUT ROWID;
CREATE VIRTUAL TABLE tile_index USING rtree(id, minx, maxx, miny, maxy, minband, maxband);
CREATE TABLE tile_value (code INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
"""
OWN_TABLES = ("tile_part", "tile_gone", "tile_index", "tile_value")

HEAD = np.dtype(
    [
        ("key", "<i8"),
        ("id", "<u8"),
        ("minx", "<i4"),
        ("miny", "<i4"),
        ("maxx", "<i4"),
        ("maxy", "<i4"),
        ("paths", "<u4"),
        ("zoom", "u1"),
        ("kind", "u1"),
        ("known", "u1"),
        ("big", "u1"),
    ]
)


def beside(band: int) -> int:
    """The band in which edits write single features for this one: so that a tile asks for one interval of bands."""
    return ALL + 1 if band == ALL else -1 - band


@dataclass(frozen=True, slots=True)
class PartColumns:
    """Which columns stand where: `coded` as codes of `tile_value`, `plain` as their values, each in this order.

    `id_name` is the attribute that carries ids which are no integers; it is the first of `plain`, None where ids are integers.
    """

    coded: tuple[str, ...]
    plain: tuple[str, ...]
    id_name: str | None

    def write(self, connection: sqlite3.Connection) -> None:
        """Store them."""
        text = orjson.dumps({"coded": self.coded, "plain": self.plain, "id_name": self.id_name}).decode()
        connection.execute("INSERT OR REPLACE INTO chengtu_meta VALUES (?, ?)", (META, text))

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> PartColumns | None:
        """The columns of an open store, None where it has no tile parts."""
        row = connection.execute("SELECT value FROM chengtu_meta WHERE name = ?", (META,)).fetchone()
        if row is None:
            return None
        value = orjson.loads(row[0])
        return cls(tuple(value["coded"]), tuple(value["plain"]), value["id_name"])


class Encoded(NamedTuple):
    """Features as rows of the arrays of a block: `marks` (2 * size + is a hole) of their paths, `vertices` (n, 2) of those,
    `codes` and `sizes` a row for each feature, the bytes of the plain values one behind the other."""

    heads: NDArray[Any]
    marks: NDArray[np.uint32]
    vertices: NDArray[np.int32]
    codes: NDArray[np.int32]
    sizes: NDArray[np.uint32]
    texts: NDArray[np.uint8]

    @classmethod
    def of_blocks(cls, rows: Sequence[Sequence[bytes]], columns: PartColumns) -> Encoded:
        """Blocks as they are stored (heads, paths, vertices, codes, sizes, texts), one behind the other."""
        heads, paths, vertices, codes, sizes, texts = (b"".join(part) for part in zip(*rows, strict=True))
        head = np.frombuffer(heads, dtype=HEAD)
        return cls(
            head,
            np.frombuffer(paths, dtype="<u4"),
            np.frombuffer(vertices, dtype="<i4").reshape(-1, 2),
            np.frombuffer(codes, dtype="<i4").reshape(len(head), len(columns.coded)),
            np.frombuffer(sizes, dtype="<u4").reshape(len(head), len(columns.plain)),
            np.frombuffer(texts, dtype=np.uint8),
        )

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """The features of all parts, in this order."""
        return (
            parts[0]
            if len(parts) == 1
            else cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        )

    def take(self, chosen: NDArray[np.intp]) -> Encoded:
        """These features, in this order."""
        counts = self.heads["paths"].astype(np.int64)
        paths = _runs(counts, chosen)
        return Encoded(
            self.heads[chosen],
            self.marks[paths],
            self.vertices[_runs((self.marks >> 1).astype(np.int64), paths)],
            self.codes[chosen],
            self.sizes[chosen],
            self.texts[_runs(self.sizes.sum(axis=1, dtype=np.int64), chosen)],
        )

    def cut(self, starts: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], tuple[bytes, ...]]]:
        """(heads, blobs) of the blocks that begin at `starts` (the first is 0)."""
        ends = np.append(starts[1:], len(self.heads))[: len(starts)]
        of_paths = _places(self.heads["paths"].astype(np.int64))
        of_vertices = _places((self.marks >> 1).astype(np.int64))
        of_texts = _places(self.sizes.sum(axis=1, dtype=np.int64))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            first_path, last_path = of_paths[start], of_paths[end]
            heads = self.heads[start:end]
            yield (
                heads,
                (
                    heads.tobytes(),
                    self.marks[first_path:last_path].tobytes(),
                    self.vertices[of_vertices[first_path] : of_vertices[last_path]].tobytes(),
                    self.codes[start:end].tobytes(),
                    self.sizes[start:end].tobytes(),
                    self.texts[of_texts[start] : of_texts[end]].tobytes(),
                ),
            )


def _places(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of consecutive runs begins; the last number is where all end."""
    return np.concatenate([[0], np.cumsum(sizes)])


def _runs(sizes: NDArray[np.int64], chosen: NDArray[np.intp]) -> NDArray[np.int64]:
    """The positions of the elements of these runs, in this order."""
    lengths = sizes[chosen]
    shifts = _places(sizes)[chosen] - (np.cumsum(lengths) - lengths)
    positions: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
    return positions


def insert_blocks(
    connection: sqlite3.Connection, band: int, encoded: Encoded, starts: NDArray[np.int64], ids: Iterable[int]
) -> None:
    """Store blocks that begin at `starts`, under these ids."""
    parts = [
        (number, band, int(heads["key"][0]), *blobs)
        for number, (heads, blobs) in zip(ids, encoded.cut(starts), strict=False)
    ]
    if not parts:
        return
    heads = encoded.heads
    corners = [
        reduce.reduceat(heads[name], starts).tolist()
        for name, reduce in (
            ("minx", np.minimum),
            ("maxx", np.maximum),
            ("miny", np.minimum),
            ("maxy", np.maximum),
        )
    ]
    places = [(part[0], *corner, band, band) for part, *corner in zip(parts, *corners, strict=True)]
    connection.executemany("INSERT INTO tile_part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", parts)
    connection.executemany("INSERT INTO tile_index VALUES (?, ?, ?, ?, ?, ?, ?)", places)


def block_starts(big: NDArray[Any], size: int = BLOCK) -> NDArray[np.int64]:
    """Where blocks of at most `size` features begin; each flagged feature has a block of its own."""
    if len(big) == 0:
        return np.empty(0, dtype=np.int64)
    flags = big.astype(np.bool_)
    cuts = np.zeros(len(flags), dtype=np.bool_)
    cuts[0] = True
    cuts |= flags
    cuts[1:] |= flags[:-1]
    runs = np.flatnonzero(cuts)
    within = np.arange(len(flags)) - np.repeat(runs, np.diff(np.append(runs, len(flags))))
    starts: NDArray[np.int64] = np.flatnonzero(within % size == 0)
    return starts
