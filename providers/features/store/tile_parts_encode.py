"""Encodes features as the rows of tile parts: flat shapes in units, attribute values as codes or as their bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.features.schema import FieldDefinition
from providers.features.store.tile_parts import HEAD, Encoded, PartColumns
from providers.features.store.values import Value, shown_values
from tiles.vector.attributes import encode_values
from tiles.vector.fixed_point import to_units
from tiles.vector.paths import LINESTRING, POINT, POLYGON

_KINDS = np.array([POINT, LINESTRING, POLYGON, 0], dtype=np.uint8)  # by dimension; -1 is nothing
_LONGEST_ID = 19  # digits


class Shapes(NamedTuple):
    """Geometries as flat arrays of units: `kinds` (0: nothing to draw) and `paths` for each feature, `marks` (2 * size + is a
    hole) for each path, `vertices` (n, 2). Rings are open and wound as a tile wants them; the points of a feature are one path."""

    kinds: NDArray[np.uint8]
    paths: NDArray[np.int64]
    marks: NDArray[np.uint32]
    vertices: NDArray[np.int32]

    @classmethod
    def of(cls, geometries: NDArray[np.object_]) -> Shapes:
        """Of geometries in CRS84, x = longitude. Of a mixed collection the parts of the highest dimension count."""
        dimensions = shapely.get_dimensions(geometries)
        parts, owners = _parts(geometries, dimensions)
        areal = shapely.get_dimensions(parts) == 2
        rings, polygon = shapely.get_rings(parts[areal], return_index=True)
        # Each polygon gives way to its rings, in place.
        repeats = np.ones(len(parts), dtype=np.int64)
        repeats[areal] = np.bincount(polygon, minlength=int(areal.sum()))
        lines, is_ring = np.repeat(parts, repeats), np.repeat(areal, repeats)
        lines[is_ring] = rings
        part = np.repeat(np.arange(len(parts)), repeats)
        holes = np.zeros(len(lines), dtype=np.bool_)
        holes[1:] = is_ring[1:] & (part[1:] == part[:-1])
        coordinates, sizes = _wound(lines, is_ring, holes)
        owner = owners[part]
        counts = np.bincount(owner, minlength=len(geometries))
        kinds = np.where(counts > 0, _KINDS[dimensions], np.uint8(0))
        if (kinds == POINT).any():
            first = np.ones(len(owner), dtype=np.bool_)
            first[1:] = owner[1:] != owner[:-1]
            starts = np.flatnonzero(first | (kinds[owner] != POINT))
            sizes, holes = np.add.reduceat(sizes, starts), holes[starts]
            counts = np.where(kinds == POINT, 1, counts)
        return cls(
            kinds, counts, (sizes << 1 | holes).astype("<u4"), to_units(coordinates[:, 0], coordinates[:, 1])
        )

    def packed(self) -> list[bytes]:
        """Each feature as bytes of its own: words of kind and paths, then its marks, then its vertices."""
        sizes = (self.marks >> 1).astype(np.int64)
        owner = np.repeat(np.arange(len(self.kinds)), self.paths)
        lengths = 1 + self.paths + 2 * np.bincount(owner, sizes, len(self.kinds)).astype(np.int64)
        ends = np.cumsum(lengths)
        words = np.empty(int(ends[-1]) if len(ends) else 0, dtype="<u4")
        heads, marks, vertices = _word_places(ends - lengths, self.paths, lengths)
        words[heads] = self.kinds.astype(np.uint32) << _PATH_BITS | self.paths.astype(np.uint32)
        words[marks] = self.marks
        words[vertices] = self.vertices.reshape(-1).view(np.uint32)
        content, stops = words.tobytes(), (4 * ends).tolist()
        return [content[a:b] for a, b in zip([0, *stops], stops, strict=False)]

    @classmethod
    def unpacked(cls, blobs: Sequence[bytes]) -> Shapes:
        """What `packed` made of them."""
        lengths = np.fromiter(map(len, blobs), np.int64, len(blobs)) >> 2
        words = np.frombuffer(b"".join(blobs), dtype="<u4")
        starts = np.cumsum(lengths) - lengths
        paths = (words[starts] & ((1 << _PATH_BITS) - 1)).astype(np.int64)
        _, marks, vertices = _word_places(starts, paths, lengths)
        return cls(
            (words[starts] >> _PATH_BITS).astype(np.uint8),
            paths,
            words[marks],
            words[vertices].view(np.int32).reshape(-1, 2),
        )


_PATH_BITS = 30


def _word_places(
    starts: NDArray[np.int64], paths: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """Where the heads, marks and vertices of packed features stand."""
    place = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    last_mark = np.repeat(paths, lengths)
    return starts, np.flatnonzero((place > 0) & (place <= last_mark)), np.flatnonzero(place > last_mark)


def _parts(
    geometries: NDArray[np.object_], dimensions: NDArray[np.signedinteger[Any]]
) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Points, lines and polygons, and the feature each belongs to."""
    parts, owners = geometries, np.arange(len(geometries))
    while (shapely.get_type_id(parts) > 3).any():  # collections, which may hold others
        parts, source = shapely.get_parts(parts, return_index=True)
        owners = owners[source]
    kept = shapely.get_dimensions(parts) == dimensions[owners]
    kept &= (dimensions[owners] >= 0) & ~shapely.is_empty(parts)
    return (parts, owners) if kept.all() else (parts[kept], owners[kept])


def _wound(
    lines: NDArray[np.object_], is_ring: NDArray[np.bool_], holes: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Coordinates of all lines, and how many each has: rings without their last vertex, exterior ones clockwise on the screen
    (whose y goes down), holes the other way."""
    coordinates, of = shapely.get_coordinates(lines, return_index=True)
    sizes = np.bincount(of, minlength=len(lines))
    if not is_ring.any():
        return coordinates, sizes
    ends = np.cumsum(sizes)
    starts = ends - sizes
    # From the ring's first vertex: degrees have too few digits left for a product of their own.
    x, y = (coordinates - coordinates[starts[of]]).T
    doubled = np.zeros(len(coordinates))
    doubled[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    doubled[ends - 1] = 0.0
    counterclockwise = np.add.reduceat(doubled, starts) > 0
    turned = is_ring & (counterclockwise != holes)
    order = np.arange(len(coordinates))
    if turned.any():
        order = np.where(turned[of], (starts + ends - 1)[of] - order, order)
    kept = np.ones(len(coordinates), dtype=np.bool_)
    kept[ends[is_ring] - 1] = False
    return coordinates[order[kept]], sizes - is_ring


class PartRows(NamedTuple):
    """Features to encode, ascending by key.

    `columns` are stored values by field name. `zooms` and `big` say where a feature belongs.
    """

    keys: NDArray[np.int64]
    ids: Sequence[str]
    shapes: Shapes
    columns: Mapping[str, Sequence[Any]]
    zooms: NDArray[np.int64]
    big: NDArray[np.bool_]


class PartEncoder:
    """Encodes rows of one store."""

    def __init__(self, fields: Sequence[FieldDefinition], columns: PartColumns, book: CodeBook) -> None:
        by_name = {field.name: field for field in fields}
        self._coded = [by_name[name] for name in columns.coded]
        self._plain = [by_name[name] for name in columns.plain if name != columns.id_name]
        self._has_id_column = columns.id_name is not None
        self._book = book

    def encode(self, rows: PartRows) -> Encoded:
        """The features that have something to draw (a point, line or area anywhere), in the order of `rows`."""
        shapes = rows.shapes
        chosen = np.flatnonzero(shapes.kinds)
        heads = np.zeros(len(chosen), dtype=HEAD)
        heads["key"], heads["zoom"], heads["big"] = rows.keys[chosen], rows.zooms[chosen], rows.big[chosen]
        heads["paths"], heads["kind"] = shapes.paths[chosen], shapes.kinds[chosen]
        if len(chosen):
            of_path = np.cumsum(shapes.marks >> 1) - (shapes.marks >> 1)
            starts = of_path[np.cumsum(heads["paths"]) - heads["paths"]].astype(np.intp)
            for reduce, x, y in ((np.minimum, "minx", "miny"), (np.maximum, "maxx", "maxy")):
                heads[x] = reduce.reduceat(np.ascontiguousarray(shapes.vertices[:, 0]), starts)
                heads[y] = reduce.reduceat(np.ascontiguousarray(shapes.vertices[:, 1]), starts)
        ids = _picked(rows.ids, chosen)
        if not self._has_id_column:
            heads["id"], heads["known"] = _numbers(ids)
        codes = np.empty((len(chosen), len(self._coded)), dtype="<i4")
        columns = {field.name: _picked(rows.columns[field.name], chosen) for field in self._coded}
        self._book.learn(self._coded, columns)
        for number, field in enumerate(self._coded):
            codes[:, number] = self._book.codes(field.name, columns[field.name])
        plain = [encode_values(ids)] if self._has_id_column else []
        plain += [
            encode_values(shown_values(field, _picked(rows.columns[field.name], chosen)))
            for field in self._plain
        ]
        sizes = np.empty((len(chosen), len(plain)), dtype="<u4")
        for number, bodies in enumerate(plain):
            sizes[:, number] = np.fromiter(map(len, bodies), np.uint32, len(bodies))
        flat = (
            plain[0] if len(plain) == 1 else [body for bodies in zip(*plain, strict=True) for body in bodies]
        )
        texts = np.frombuffer(b"".join(flat), dtype=np.uint8)
        return Encoded(heads, shapes.marks, shapes.vertices, codes, sizes, texts)


def _numbers(ids: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Ids as numbers, and which of them are: 0 for those that are not."""
    together = "".join(ids)
    if together.isascii() and together.isdecimal():
        sizes = np.fromiter(map(len, ids), np.int64, len(ids))
        if sizes.min() > 0 and sizes.max() <= _LONGEST_ID:
            return np.fromiter(map(int, ids), np.uint64, len(ids)), np.ones(len(ids), dtype=np.bool_)
    usable = [text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID for text in ids]
    numbers = (int(text) if use else 0 for text, use in zip(ids, usable, strict=True))
    return np.fromiter(numbers, np.uint64, len(ids)), np.array(usable, dtype=np.bool_)


def _picked[Item](values: Sequence[Item], chosen: NDArray[np.intp]) -> Sequence[Item]:
    return values if len(chosen) == len(values) else [values[i] for i in chosen.tolist()]


class CodeBook:
    """Codes of encoded values: those known, and a place for new ones."""

    def __init__(self) -> None:
        self._fresh: dict[bytes, int] = {}
        self._known: dict[
            str, dict[Value, int]
        ] = {}  # by field: stored values are looked up, not their bytes

    def learn(self, fields: Sequence[FieldDefinition], columns: Mapping[str, Sequence[Value]]) -> None:
        """See to it that every stored value of these columns has a code."""
        new: dict[str, tuple[list[Value], list[bytes]]] = {}
        for field in fields:
            known = self._known.setdefault(field.name, {None: -1})
            values = list(set(columns[field.name]) - known.keys())
            if values:
                new[field.name] = (values, encode_values(shown_values(field, values)))
        if not new:
            return
        bodies = {body for _, encoded in new.values() for body in encoded}
        found = self._look_up(bodies)
        # Sorted, as the order of a set is not the same in every process.
        for code, body in enumerate(sorted(bodies - found.keys()), self._next(len(found) < len(bodies))):
            found[body] = self._fresh[body] = code
        for name, (values, encoded) in new.items():
            self._known[name].update(zip(values, [found[body] for body in encoded], strict=True))

    def codes(self, name: str, values: Sequence[Value]) -> NDArray[np.int32]:
        """The codes of stored values that have been learnt, -1 for what a tile leaves out."""
        return np.fromiter(map(self._known[name].__getitem__, values), np.int32, len(values))

    def write(self, connection: sqlite3.Connection) -> None:
        """Store what is new."""
        rows = [(code, body) for body, code in self._fresh.items()]
        if rows:
            connection.executemany("INSERT INTO tile_value VALUES (?, ?)", rows)

    def _look_up(self, bodies: set[bytes]) -> dict[bytes, int]:
        """The codes of those that have one."""
        return {body: self._fresh[body] for body in bodies if body in self._fresh}

    def _next(self, wanted: bool) -> int:
        """The next code, where one is wanted."""
        return len(self._fresh)


class StoredCodeBook(CodeBook):
    """The codes of an open store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def _look_up(self, bodies: set[bytes]) -> dict[bytes, int]:
        found = super()._look_up(bodies)
        unknown = list(bodies - found.keys())
        for start in range(0, len(unknown), _ASKED_AT_ONCE):
            part = unknown[start : start + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(part))
            found.update(
                self._connection.execute(
                    f"SELECT body, code FROM tile_value WHERE body IN ({marks})",  # noqa: S608 - marks only
                    part,
                ).fetchall()
            )
        return found

    def _next(self, wanted: bool) -> int:
        if not wanted:
            return 0
        (stored,) = self._connection.execute("SELECT ifnull(max(code), -1) + 1 FROM tile_value").fetchone()
        return int(stored) + len(self._fresh)


_ASKED_AT_ONCE = 500
