"""Writing city objects to their store, in a stream."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.city_models.model import NO_COLOUR, NO_IMAGE, TextureImage
from tiles.three_d.city_models.prepare import PreparedBatch
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.city_models.stand_ins import PlanBlobs, offsets
from tiles.three_d.city_models.store import (
    FAN,
    FORMAT,
    OBJECTS,
    Records,
    id_hashes,
    objects_file,
    plan_digest,
)
from tiles.three_d.objects import Texture

_TABLES = """
CREATE TABLE level (object INTEGER NOT NULL, lod REAL NOT NULL, best INTEGER NOT NULL, corners BLOB NOT NULL,
  rings BLOB NOT NULL, surfaces BLOB NOT NULL, classes BLOB NOT NULL, images BLOB, colours BLOB, coordinates BLOB);
CREATE INDEX level_object ON level (object, best);
CREATE TABLE plan (object INTEGER PRIMARY KEY, corners BLOB NOT NULL, rings BLOB, polygons BLOB);
CREATE TABLE image (number INTEGER PRIMARY KEY, media_type TEXT NOT NULL, repeats INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE shade (number INTEGER PRIMARY KEY, red REAL, green REAL, blue REAL, alpha REAL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_LEVEL = "INSERT INTO level VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PLAN = "INSERT INTO plan VALUES (?, ?, ?, ?)"


class ModelStoreWriter:
    """Use as a context manager: `add` batches, then `finish`. Leaving without `finish` removes the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "page_size = 16384",
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
        ):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")
        self._count = 0
        self._taken: set[int] = set()
        self._records: list[Records] = []
        self._types: dict[str, int] = {}
        self._images: dict[TextureImage, int] = {}
        self._shades: dict[tuple[float, float, float, float], int] = {}
        self._finished = False

    def __enter__(self) -> ModelStoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        if not self._finished:
            self._path.unlink(missing_ok=True)
            objects_file(self._path).unlink(missing_ok=True)

    def first_of_their_id(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these objects (n,) have an id that none before them has, in the store or among them; they count as taken."""
        keep = np.zeros(len(ids), dtype=np.bool_)
        for row, number in enumerate(id_hashes(ids).tolist()):
            if number not in self._taken:
                self._taken.add(number)
                keep[row] = True
        return keep

    def image(self, image: TextureImage, load: Any) -> int:
        """The number of an image, stored when it is asked for first; `load(image)` gives a `Texture`, None where it cannot be used."""
        known = self._images.get(image)
        if known is not None:
            return known
        texture: Texture | None = load(image)
        number = NO_IMAGE
        if texture is not None:
            number = sum(1 for value in self._images.values() if value != NO_IMAGE)
            self._database.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?)",
                (number, texture.media_type, int(image.repeats), texture.content),
            )
        self._images[image] = number
        return number

    def add(self, prepared: PreparedBatch, keep: NDArray[np.bool_], images: Numbers) -> None:
        """Store the objects marked in `keep` (n,); `images` has the stored number of each of the batch's textures."""
        numbers = self._count + np.cumsum(keep) - 1
        self._add_objects(prepared, keep, numbers)
        self._add_levels(prepared, keep, numbers, images)
        self._add_plans(prepared, keep, numbers)
        self._count += int(keep.sum())

    def _add_objects(self, prepared: PreparedBatch, keep: NDArray[np.bool_], numbers: Numbers) -> None:
        chosen = np.flatnonzero(keep)
        heads = [prepared.batch.heads[row] for row in prepared.rows[chosen].tolist()]
        records = np.zeros(len(chosen), dtype=OBJECTS)
        records["hash"] = id_hashes([head.id for head in heads])
        records["number"] = numbers[chosen]
        records["digest"] = plan_digest(prepared.plans[chosen])
        records["origin"] = prepared.origins[chosen]
        records["box"] = prepared.boxes[chosen]
        records["bottom"], records["top"] = prepared.bottoms[chosen], prepared.tops[chosen]
        records["roof"] = prepared.roofs[chosen]
        west_south = prepared.boxes[chosen, :2]
        block = prepared.stand_ins.boxes[chosen].reshape(-1, 2)
        records["block"] = offsets(block, np.repeat(west_south, 4, axis=0)).reshape(-1, 4, 2)
        records["beyond"] = prepared.stand_ins.beyond[chosen]
        records["weight"], records["lod"] = prepared.weights[chosen], prepared.lods[chosen]
        records["type"] = [self._types.setdefault(head.type, len(self._types)) for head in heads]
        records["known"] = True
        self._records.append(records)

    def _add_levels(
        self, prepared: PreparedBatch, keep: NDArray[np.bool_], numbers: Numbers, images: Numbers
    ) -> None:
        soup, batch = prepared.soup, prepared.batch
        starts = np.flatnonzero(np.r_[True, soup.level[1:] != soup.level[:-1]])
        ends = np.r_[starts[1:], len(soup)]
        corners = prepared.positions.astype("<f4").tobytes()
        ring_sizes = np.diff(soup.rings).astype("<i4").tobytes()
        ring_counts = np.diff(soup.surfaces).astype("<i4").tobytes()
        classes = np.where(soup.fans, soup.classes | FAN, soup.classes).astype("u1").tobytes()
        drawn, colours = self._stored_looks(soup.images, soup.colours, images, batch.shades)
        coordinates = None if soup.coordinates is None else soup.coordinates.astype("<f4").tobytes()
        rings_at = soup.surfaces
        corners_at = soup.corner_limits()
        textured = np.logical_or.reduceat(drawn != NO_IMAGE, starts).tolist()
        coloured = np.logical_or.reduceat(colours != NO_COLOUR, starts).tolist()
        drawn_bytes, colour_bytes = drawn.astype("<i4").tobytes(), colours.astype("<i4").tobytes()
        finest = _finest(prepared, starts).tolist()
        level = soup.level[starts]
        owner = prepared.owner[level]
        kept, number = keep[owner].tolist(), numbers[owner].tolist()
        lods = np.array([item.lod for item in batch.levels])[level].tolist()
        rows = []
        for place, (first, last, ring, ring_end, corner, corner_end) in enumerate(
            zip(
                starts.tolist(),
                ends.tolist(),
                (4 * rings_at[starts]).tolist(),
                (4 * rings_at[ends]).tolist(),
                corners_at[starts].tolist(),
                corners_at[ends].tolist(),
                strict=True,
            )
        ):
            if not kept[place]:
                continue
            has_image = textured[place] and coordinates is not None
            rows.append(
                (
                    number[place],
                    lods[place],
                    finest[place],
                    corners[12 * corner : 12 * corner_end],
                    ring_sizes[ring:ring_end],
                    ring_counts[4 * first : 4 * last],
                    classes[first:last],
                    drawn_bytes[4 * first : 4 * last] if has_image else None,
                    colour_bytes[4 * first : 4 * last] if coloured[place] else None,
                    coordinates[8 * corner : 8 * corner_end] if has_image and coordinates else None,
                )
            )
        self._database.executemany(_LEVEL, rows)

    def _add_plans(self, prepared: PreparedBatch, keep: NDArray[np.bool_], numbers: Numbers) -> None:
        polygons = prepared.stand_ins.polygons
        blobs = PlanBlobs.of(polygons, prepared.boxes[:, :2])
        chosen = np.flatnonzero(keep & (np.diff(polygons.features) > 0))
        self._database.executemany(
            _PLAN,
            [
                (number, *blobs.row(row))
                for number, row in zip(numbers[chosen].tolist(), chosen.tolist(), strict=True)
            ],
        )

    def _stored_looks(
        self,
        images: Numbers,
        colours: Numbers,
        stored: Numbers,
        shades: Sequence[tuple[float, float, float, float]],
    ) -> tuple[Numbers, Numbers]:
        """Images and colours (s,) by their numbers in the store."""
        drawn = np.where(images != NO_IMAGE, np.r_[stored, NO_IMAGE][images], NO_IMAGE)
        numbers = [self._shades.setdefault(shade, len(self._shades)) for shade in shades]
        mapped = np.array([*numbers, NO_COLOUR], dtype=np.int64)
        return drawn, np.where(colours != NO_COLOUR, mapped[colours], NO_COLOUR)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write what holds for all objects (JSON values) and close the file."""
        self._database.executemany(
            "INSERT INTO shade VALUES (?, ?, ?, ?, ?)",
            [(number, *shade) for shade, number in self._shades.items()],
        )
        stored = {**facts, "format": FORMAT, "count": self._count, "types": list(self._types)}
        self._database.executemany(
            "INSERT INTO fact VALUES (?, ?)",
            [(name, orjson.dumps(value).decode()) for name, value in stored.items()],
        )
        self._database.execute("COMMIT")
        records = np.concatenate([np.empty(0, dtype=OBJECTS), *self._records])
        self._records = []
        np.save(objects_file(self._path), records[np.argsort(records["hash"])])
        self._finished = True

    def __len__(self) -> int:
        return self._count


def _finest(prepared: PreparedBatch, starts: Numbers) -> NDArray[np.bool_]:
    """Which of the stored levels (of surfaces beginning at `starts`) is the finest of its object that is left."""
    levels = prepared.soup.level[starts]
    owner = prepared.owner[levels]
    lods = np.array([level.lod for level in prepared.batch.levels])[levels]
    said = np.array([level.best for level in prepared.batch.levels])[levels]
    # A level composed of members' finest surfaces comes before one of the same number.
    order = np.lexsort((said, lods, owner))
    result = np.zeros(len(starts), dtype=np.bool_)
    last = np.flatnonzero(np.r_[owner[order][1:] != owner[order][:-1], True])
    result[order[last]] = True
    return result
