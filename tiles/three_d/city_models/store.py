"""City objects by id: where each one is, and its surfaces in every level of detail, as compact arrays.

Written in a stream. A level's arrays are separate blobs, so that those of a thousand objects are joined and read as one array each, without
looking at any of them; what tiling asks of every object lies in one array that is mapped into memory. Format 2:

`models.objects.npy`  a record an object (`OBJECTS`), sorted by the hash of its id
`models.sqlite`
  `level`  a row a level of an object: lod, whether it is the finest, corners (float32 x, y, z from the object's origin), corners a ring, rings a
           surface (int32), class a surface (uint8, with 128 added where it can be cut as a fan from its first corner), image and colour a surface (int32; NULL: none), texture coordinates (float32 u, v; NULL: none)
  `plan`   a row a standing object: what it covers of the ground (see `PlanBlobs`; rings NULL: one)
  `image`  textures as image files, `shade` colours, `fact` what holds for all
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from tiles.three_d.city_models.model import NO_COLOUR, NO_IMAGE
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.city_models.stand_ins import StoredPlans
from tiles.three_d.errors import CityModelStoreError
from tiles.three_d.objects import Texture
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import limits

FORMAT = 2
FAN = np.uint8(128)
"""Added to the class of a surface that can be cut as a fan from its first corner."""
_PLANS = "SELECT object, corners, rings, polygons FROM plan WHERE object IN (SELECT value FROM json_each(?))"
_SURFACES = (
    "SELECT object, lod, corners, rings, surfaces, classes, images, colours, coordinates FROM level "
    "WHERE object IN (SELECT value FROM json_each(?)) AND "
)
_FINEST = _SURFACES + "best = 1"
_COARSER = _SURFACES + "best = 0 AND lod >= 1.0 AND lod < ? ORDER BY object, lod DESC"


OBJECTS = np.dtype(
    [
        ("hash", "<i8"),
        ("number", "<i8"),
        ("digest", "<i8"),
        ("origin", "<f8", 3),
        ("box", "<f8", 4),
        ("bottom", "<f8"),
        ("top", "<f8"),
        ("roof", "<f8"),
        ("block", "<f4", (4, 2)),
        ("beyond", "<f4"),
        ("weight", "<i4"),
        ("lod", "<f4"),
        ("type", "<i2"),
        ("known", "?"),
    ]
)
"""What is kept of an object: hash of its id, number, digest of its plan, origin (ECEF, m), west, south, east, north (degrees), ellipsoidal heights
(m) of bottom, top and mean roof, corners of its turned box (degrees from west, south) and the side (m) of the square by which that is larger than the
plan (both NaN: no stand-in), vertices drawn, finest level, type (index in the fact "types"); `known` is False in answers about absent ids."""
type Records = NDArray[np.void]


def plan_digest(plans: NDArray[np.object_]) -> Numbers:
    """A number for each geometry (n,), 0 where there is none; it differs where a coordinate in plan does."""
    coordinates, owner = shapely.get_coordinates(plans, return_index=True)
    result = np.zeros(len(plans), dtype=np.int64)
    if not len(owner):
        return result
    bits = (coordinates + 0.0).view(np.uint64)
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    place = np.arange(len(owner)) - np.repeat(starts, np.diff(np.r_[starts, len(owner)]))
    mixed = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ bits[:, 1]) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * (2 * place + 1).astype(np.uint64)
    result[owner[starts]] = np.add.reduceat(mixed, starts).view(np.int64)
    return result


def id_hashes(ids: Sequence[str]) -> Numbers:
    """64 bits of each id (n,)."""
    digests = b"".join(
        [blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids]
    )
    return np.frombuffer(digests, dtype="<i8")


@dataclass(frozen=True, slots=True)
class StoredSurfaces:
    """The surfaces of some levels. `owner` (l,) is the row of the object asked for of each level; `corners` (c, 3) metres from the
    object's origin; ring, surface and level limits as in `CityBatch`; `fans` (s,) can be cut as fans from their first
    corner; `coordinates` (c, 2) or None."""

    owner: Numbers
    corners: Positions
    rings: Numbers
    surfaces: Numbers
    levels_at: Numbers
    classes: NDArray[np.uint8]
    fans: NDArray[np.bool_]
    images: Numbers
    colours: Numbers
    coordinates: NDArray[np.float32] | None


def objects_file(path: Path) -> Path:
    """Where the records of the objects of a store lie."""
    return path.with_suffix(".objects.npy")


class ModelStore:
    """An open store; for one thread at a time. Raises CityModelStoreError where the file is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            facts = dict(self._database.execute("SELECT name, value FROM fact"))
            self.facts: dict[str, Any] = {name: orjson.loads(value) for name, value in facts.items()}
            self._objects: Records = np.load(objects_file(path), mmap_mode="r")
            self._hashes: Numbers = np.ascontiguousarray(self._objects["hash"])
        except (sqlite3.Error, OSError, ValueError) as error:
            raise CityModelStoreError(
                f"the city models of this collection cannot be read ({path.name}: {error}); publish it again"
            ) from error
        if self.facts.get("format") != FORMAT:
            raise CityModelStoreError(
                f"{path.name} is of format {self.facts.get('format')}, this release reads {FORMAT}; publish it again"
            )
        self._database.execute("PRAGMA mmap_size = 1073741824")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __len__(self) -> int:
        return int(self.facts["count"])

    def objects(self, ids: Sequence[str]) -> Records:
        """A record (n,) of each id; `known` is False where the store has none."""
        result = np.zeros(len(ids), dtype=OBJECTS)
        if not len(self._hashes) or not ids:
            return result
        wanted = id_hashes(ids)
        place = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        found = self._hashes[place] == wanted
        result[found] = self._objects[place[found]]
        return result

    @property
    def types(self) -> list[str]:
        """The types of city objects that occur, by number."""
        return list(self.facts["types"])

    def surfaces(self, number: Numbers, lod_below: float | None = None) -> StoredSurfaces:
        """The finest surfaces of objects (n,) by number; with `lod_below` the finest below that level, of those that have one.

        Level 0 (a footprint) is no surface to draw beside others.
        """
        numbers = _json(number.tolist())
        if lod_below is None:
            rows = self._database.execute(_FINEST, (numbers,)).fetchall()
        else:
            rows = self._database.execute(_COARSER, (numbers, lod_below)).fetchall()
        if lod_below is not None:
            rows = [row for place, row in enumerate(rows) if place == 0 or rows[place - 1][0] != row[0]]
        return _joined(rows, _owners(number, [row[0] for row in rows]))

    def plans(self, number: Numbers) -> StoredPlans:
        """The plans of objects (n,) by number, of those that have one."""
        rows = self._database.execute(_PLANS, (_json(number.tolist()),)).fetchall()
        return StoredPlans.joined(rows, _owners(number, [row[0] for row in rows]))

    def texture(self, number: int) -> tuple[Texture, bool]:
        """An image and whether it repeats. Raises CityModelStoreError where there is none."""
        row = self._database.execute(
            "SELECT media_type, content, repeats FROM image WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            raise CityModelStoreError(f"there is no image {number} in the store of city models")
        return Texture(row[0], row[1]), bool(row[2])

    def shades(self) -> list[tuple[float, float, float, float]]:
        """All colours by number."""
        rows = self._database.execute("SELECT red, green, blue, alpha FROM shade ORDER BY number")
        return [tuple(row) for row in rows]

    def lods(self) -> list[float]:
        """The levels of detail that occur, rising."""
        return [lod for (lod,) in self._database.execute("SELECT DISTINCT lod FROM level ORDER BY lod")]


def _owners(number: Numbers, found: Sequence[int]) -> Numbers:
    """Where in `number` (n,) the numbers `found` are."""
    order = np.argsort(number, kind="stable")
    return order[np.searchsorted(number, np.array(found, dtype=np.int64), sorter=order)]


def _joined(rows: Sequence[tuple[Any, ...]], owner: Numbers) -> StoredSurfaces:
    def whole(column: int, kind: str) -> NDArray[Any]:
        return np.frombuffer(b"".join([row[column] for row in rows]), dtype=kind)

    corners = whole(2, "<f4").reshape(-1, 3).astype(np.float64)
    classes = whole(5, "u1")
    surface_sizes = np.array([len(row[4]) // 4 for row in rows], dtype=np.int64)
    corner_sizes = [len(row[2]) // 12 for row in rows]
    coordinates = None
    if any(row[8] is not None for row in rows):
        parts = [
            row[8] if row[8] is not None else bytes(8 * size)
            for row, size in zip(rows, corner_sizes, strict=True)
        ]
        coordinates = np.frombuffer(b"".join(parts), dtype="<f4").reshape(-1, 2)
    return StoredSurfaces(
        owner=owner,
        corners=corners,
        rings=limits(whole(3, "<i4")),
        surfaces=limits(whole(4, "<i4")),
        levels_at=limits(surface_sizes),
        classes=classes & ~FAN,
        fans=classes >= FAN,
        images=_numbers_or(rows, 6, surface_sizes, NO_IMAGE),
        colours=_numbers_or(rows, 7, surface_sizes, NO_COLOUR),
        coordinates=coordinates,
    )


def _numbers_or(rows: Sequence[tuple[Any, ...]], column: int, sizes: Numbers, none: int) -> Numbers:
    if all(row[column] is None for row in rows):
        return np.full(int(sizes.sum()), none, dtype=np.int64)
    parts = [
        np.full(size, none, dtype="<i4").tobytes() if row[column] is None else row[column]
        for row, size in zip(rows, sizes.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(parts), dtype="<i4").astype(np.int64)


def _json(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()
