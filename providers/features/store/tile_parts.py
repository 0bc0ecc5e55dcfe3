"""Blocks of features as vector tiles want them: fixed-point coordinates, attribute values already encoded.

`tile_part` holds blocks of some 64 features that are neighbours in key order: one array of heads, one of paths, one of vertices,
and their attributes. A column whose values repeat is kept as codes of `tile_value` (encoded once in the store), another one as
its encoded values; either way a tile copies bytes and never looks at a value. `tile_index` is an R-tree of the blocks in
units of `tiles.vector.fixed_point`, its third axis the band: band ALL has every feature once, for tiles from two zooms
below `full_zoom` on; bands 0, 1, ... hold again the features that first appear at that zoom, for the tiles below. A feature of
`big` has a block of its own, so that no other block grows by it.

Blocks of a band never overlap in key order; edits rewrite the blocks of their keys (`refresh_tile_parts`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.query import CRS84
from providers.features.store.layout import StoreFacts
from providers.features.store.values import shown_values
from tiles.vector.attributes import encode_values
from tiles.vector.fixed_point import to_units
from tiles.vector.paths import LINESTRING, POINT, POLYGON

ALL = 100
"""The band that holds every feature."""
FAR = 2
"""Tiles at least this many zooms below `full_zoom` are made of the bands of their zooms."""
BLOCK = 64
_META = "tile_parts"
TABLES = """
CREATE TABLE tile_part (id INTEGER PRIMARY KEY, band INTEGER NOT NULL, first INTEGER NOT NULL, heads BLOB NOT NULL,
  paths BLOB NOT NULL, vertices BLOB NOT NULL, codes BLOB NOT NULL, sizes BLOB NOT NULL, texts BLOB NOT NULL);
CREATE UNIQUE INDEX tile_part_key ON tile_part (band, first);
CREATE VIRTUAL TABLE tile_index USING rtree(id, minx, maxx, miny, maxy, minband, maxband);
CREATE TABLE tile_value (code INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
"""
OWN_TABLES = ("tile_part", "tile_index", "tile_value")

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
        ("spare", "u1"),
    ]
)
_KIND_OF_DIMENSION = {0: POINT, 1: LINESTRING, 2: POLYGON}


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
        connection.execute("INSERT OR REPLACE INTO chengtu_meta VALUES (?, ?)", (_META, text))

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> PartColumns | None:
        """The columns of an open store, None where it has no tile parts."""
        row = connection.execute("SELECT value FROM chengtu_meta WHERE name = ?", (_META,)).fetchone()
        if row is None:
            return None
        value = orjson.loads(row[0])
        return cls(tuple(value["coded"]), tuple(value["plain"]), value["id_name"])


class PartRows(NamedTuple):
    """Features to encode, ascending by key.

    `geometries` are in the storage CRS, x = east; None has no part. `columns` are stored values by field name. `zooms` and
    `big` say where a feature belongs.
    """

    keys: NDArray[np.int64]
    ids: Sequence[str]
    geometries: NDArray[np.object_]
    columns: Mapping[str, Sequence[Any]]
    zooms: NDArray[np.int64]
    big: NDArray[np.bool_]


class Shapes(NamedTuple):
    """Geometries as flat arrays of units; `paths` per feature, `marks` (2 * size + is a hole) per path."""

    kinds: NDArray[np.uint8]
    paths: NDArray[np.int64]
    marks: NDArray[np.uint32]
    vertices: NDArray[np.int32]


class Encoded(NamedTuple):
    """Features as rows of the arrays of a block, ready to be cut."""

    heads: NDArray[Any]
    marks: NDArray[np.uint32]
    vertices: NDArray[np.int32]
    codes: NDArray[np.int32]
    sizes: NDArray[np.uint32]
    texts: bytes

    def cut(self, starts: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], tuple[bytes, ...]]]:
        """(heads, blobs) of the blocks that begin at `starts` (the first is 0)."""
        ends = np.append(starts[1:], len(self.heads))[: len(starts)]
        of_paths = np.concatenate([[0], np.cumsum(self.heads["paths"].astype(np.int64))])
        of_vertices = np.concatenate([[0], np.cumsum((self.marks >> 1).astype(np.int64))])
        of_texts = np.concatenate([[0], np.cumsum(self.sizes.sum(axis=1, dtype=np.int64))])
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
                    self.texts[of_texts[start] : of_texts[end]],
                ),
            )


class PartEncoder:
    """Encodes rows of one store. `codes` maps encoded values to their codes; new values are added to `fresh`."""

    def __init__(
        self, facts: StoreFacts, storage: ReferenceSystem, columns: PartColumns, known: CodeBook
    ) -> None:
        self._fields = {field.name: field for field in facts.fields}
        self._to84 = transform_between(storage, reference_system(CRS84))
        self._columns = columns
        self._codes = known

    def encode(self, rows: PartRows) -> Encoded:
        """The features that have something to draw (a point, line or area anywhere), in the order of `rows`."""
        shapes, chosen = self._shapes(rows.geometries)
        heads = np.zeros(len(chosen), dtype=HEAD)
        heads["key"] = rows.keys[chosen]
        heads["zoom"] = rows.zooms[chosen]
        heads["paths"], heads["kind"] = shapes.paths, shapes.kinds
        if len(chosen):
            starts = np.cumsum(shapes.paths) - shapes.paths
            vertices = np.cumsum(shapes.marks >> 1) - (shapes.marks >> 1)
            for reduce, x, y in ((np.minimum, "minx", "miny"), (np.maximum, "maxx", "maxy")):
                corners = reduce.reduceat(shapes.vertices, vertices[starts].astype(np.intp), axis=0)
                heads[x], heads[y] = corners[:, 0], corners[:, 1]
        ids = [rows.ids[i] for i in chosen.tolist()]
        if self._columns.id_name is None:
            usable = [text.isascii() and text.isdecimal() and len(text) < 20 for text in ids]
            heads["known"] = usable
            heads["id"] = [int(text) if use else 0 for text, use in zip(ids, usable, strict=True)]
        codes = np.empty((len(chosen), len(self._columns.coded)), dtype="<i4")
        for number, name in enumerate(self._columns.coded):
            codes[:, number] = self._codes.codes(self._values(rows, name, chosen))
        plain = [
            encode_values(ids if number == 0 and self._columns.id_name else self._values(rows, name, chosen))
            for number, name in enumerate(self._columns.plain)
        ]
        sizes = np.array([list(map(len, bodies)) for bodies in plain], dtype="<u4").reshape(
            len(plain), len(chosen)
        )
        texts = b"".join([body for bodies in zip(*plain, strict=True) for body in bodies])
        return Encoded(heads, shapes.marks, shapes.vertices, codes, np.ascontiguousarray(sizes.T), texts)

    def _values(self, rows: PartRows, name: str, chosen: NDArray[np.intp]) -> list[Any]:
        shown = shown_values(self._fields[name], rows.columns[name])
        return list(shown) if len(chosen) == len(shown) else [shown[i] for i in chosen.tolist()]

    def _shapes(self, geometries: NDArray[np.object_]) -> tuple[Shapes, NDArray[np.intp]]:
        """Flat arrays of the geometries, and which of them they are (those with something to draw)."""
        dimensions = shapely.get_dimensions(geometries)
        parts, owners = geometries, np.arange(len(geometries))
        while (shapely.get_type_id(parts) > 3).any():  # collections, which may hold others
            parts, source = shapely.get_parts(parts, return_index=True)
            owners = owners[source]
        # A tile feature has one type: of a mixed collection the parts of the highest dimension count.
        kept = (
            (dimensions[owners] >= 0)
            & (shapely.get_dimensions(parts) == dimensions[owners])
            & ~shapely.is_empty(parts)
        )
        parts, owners = parts[kept], owners[kept]
        chosen, paths_of, sizes, holes, coordinates = _flattened(parts, owners, dimensions)
        x, y = coordinates[:, 0], coordinates[:, 1]
        if self._to84 is not None and len(x):
            x, y = self._to84(x, y)
        kinds = np.array([_KIND_OF_DIMENSION[d] for d in dimensions[chosen].tolist()], dtype=np.uint8)
        marks = (sizes << 1 | holes).astype("<u4")
        return Shapes(kinds, paths_of, marks, to_units(x, y)), chosen


def _flattened(
    parts: NDArray[np.object_], owners: NDArray[np.intp], dimensions: NDArray[np.signedinteger[Any]]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(features, paths of each, vertices of each path, which paths are holes, coordinates): rings open, points one path."""
    areal = shapely.get_dimensions(parts) == 2
    lines = parts.copy()
    # As a tile wants them: exterior rings clockwise on the screen, which has its y downwards.
    turned = shapely.orient_polygons(parts[areal], exterior_cw=True)
    rings, polygon = shapely.get_rings(turned, return_index=True)
    # Each polygon gives way to its rings, in place.
    repeats = np.ones(len(parts), dtype=np.int64)
    repeats[areal] = np.bincount(polygon, minlength=int(areal.sum()))
    lines = np.repeat(lines, repeats)
    is_ring = np.repeat(areal, repeats)
    lines[is_ring] = rings
    holes = np.zeros(len(lines), dtype=np.int64)
    part = np.repeat(np.arange(len(parts)), repeats)
    holes[1:] = is_ring[1:] & (part[1:] == part[:-1])
    owner = owners[part]
    coordinates, of = shapely.get_coordinates(lines, return_index=True)
    sizes = np.bincount(of, minlength=len(lines)) - is_ring
    closing = np.zeros(len(of), dtype=np.bool_)
    ends = np.cumsum(np.bincount(of, minlength=len(lines))) - 1
    closing[ends[is_ring]] = True
    coordinates = coordinates[~closing]
    features, first, counts = np.unique(owner, return_index=True, return_counts=True)
    point = dimensions[features] == 0
    if point.any():
        # The points of a multipoint are one path.
        is_point = np.repeat(point, counts)
        heads = np.zeros(len(lines), dtype=np.bool_)
        heads[first] = True
        starts = np.flatnonzero(~is_point | heads)
        sizes = np.add.reduceat(sizes, starts)
        holes = holes[starts]
        counts = np.where(point, 1, counts)
    return features, counts, sizes, holes, coordinates


class CodeBook:
    """Codes of encoded values: those known, and a place for new ones."""

    def __init__(self, first: int = 0) -> None:
        self.fresh: dict[bytes, int] = {}
        self._next = first

    def codes(self, values: list[Any]) -> list[int]:
        """The code of each value, -1 for what a tile leaves out."""
        bodies = encode_values(values)
        distinct = set(bodies) - {b""}
        known = self.look_up(distinct)
        for body in sorted(distinct - known.keys()):
            known[body] = self.fresh[body] = self._next
            self._next += 1
        known[b""] = -1
        return [known[body] for body in bodies]

    def look_up(self, bodies: set[bytes]) -> dict[bytes, int]:
        """The codes of those that have one."""
        return {body: self.fresh[body] for body in bodies if body in self.fresh}

    def write(self, connection: sqlite3.Connection) -> None:
        """Store what is new."""
        rows = ((code, body) for body, code in self.fresh.items())
        connection.executemany("INSERT INTO tile_value VALUES (?, ?)", rows)


class StoredCodeBook(CodeBook):
    """The codes of an open store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT ifnull(max(code), -1) + 1 FROM tile_value").fetchone()
        super().__init__(int(row[0]))
        self._connection = connection

    def look_up(self, bodies: set[bytes]) -> dict[bytes, int]:
        """The codes of those that have one, in the store or since."""
        found = super().look_up(bodies)
        for body in bodies - found.keys():
            row = self._connection.execute("SELECT code FROM tile_value WHERE body = ?", (body,)).fetchone()
            if row is not None:
                found[body] = int(row[0])
        return found


def insert_blocks(
    connection: sqlite3.Connection, band: int, encoded: Encoded, starts: NDArray[np.int64], ids: Iterable[int]
) -> None:
    """Store blocks that begin at `starts`, under these ids."""
    parts, places = [], []
    for number, (heads, blobs) in zip(ids, encoded.cut(starts), strict=False):
        parts.append((number, band, int(heads["key"][0]), *blobs))
        box = (heads["minx"].min(), heads["maxx"].max(), heads["miny"].min(), heads["maxy"].max())
        places.append((number, *map(int, box), band, band))
    connection.executemany("INSERT INTO tile_part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", parts)
    connection.executemany("INSERT INTO tile_index VALUES (?, ?, ?, ?, ?, ?, ?)", places)


def block_starts(big: NDArray[np.bool_], size: int = BLOCK) -> NDArray[np.int64]:
    """Where blocks of at most `size` features begin; each flagged feature has a block of its own."""
    if len(big) == 0:
        return np.empty(0, dtype=np.int64)
    cuts = np.zeros(len(big), dtype=np.bool_)
    cuts[0] = True
    cuts |= big
    cuts[1:] |= big[:-1]
    runs = np.flatnonzero(cuts)
    within = np.arange(len(big)) - np.repeat(runs, np.diff(np.append(runs, len(big))))
    starts: NDArray[np.int64] = np.flatnonzero(within % size == 0)
    return starts
