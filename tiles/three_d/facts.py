"""What tiles really contain: their regions, heights and errors, from the tiles up to the root.

A tile's own facts are taken from its objects when it is written. Those of its whole subtree, which clients ask for, follow
from them; so after an edit a few tiles' own facts are replaced and the rest is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError
from tiles.three_d.objects import Detail, Outlines
from tiles.three_d.plan import Refinement, TilePlan
from tiles.three_d.quadtree import tile_code, tile_codes_to_index
from tiles.three_d.subtree import TileIndex, with_ancestors

TILE_FACTS = np.dtype(
    [
        ("code", "<i8"),
        ("west", "<f8"),
        ("south", "<f8"),
        ("east", "<f8"),
        ("north", "<f8"),
        ("bottom", "<f8"),
        ("top", "<f8"),
        ("largest", "<f8"),
        ("shown_error", "<f8"),
        ("count", "<i8"),
    ]
)
"""One tile with content: degrees, ellipsoidal heights (m); the size of its largest object (m), the error of the detail it
shows (m, 0 for the finest), the number of its objects."""

# Positions are rounded to steps of at most 4 cm.
_HEIGHT_MARGIN = 0.1
_DEGREES_MARGIN = 5e-7

# Where a source does not say how far a detail is from the finest: a flat roof misses the ridge by about a third of the
# height, but hardly more than this; a box misses courts and corners by about a quarter of the plan.
_ROOF_SHARE, _HIGHEST_ROOF = 0.3, 6.0
_BLOCK_SHARE = 0.25


@dataclass(frozen=True)
class TileFacts:
    """The facts of all tiles with content; `rows` (t,) of `TILE_FACTS`, ascending by code."""

    rows: NDArray[np.void]

    @classmethod
    def of(cls, rows: NDArray[np.void]) -> TileFacts:
        """Facts in any order; those of tiles without objects are left out, of several for one tile the last counts."""
        last = {int(code): number for number, code in enumerate(rows["code"].tolist())}
        kept = rows[[last[code] for code in sorted(last)]]
        return cls(kept[kept["count"] > 0])

    def replaced(self, rows: NDArray[np.void], removed: Sequence[int] = ()) -> TileFacts:
        """The facts after some tiles were written again or have lost all objects (`removed` codes)."""
        gone = np.isin(self.rows["code"], np.array(removed, dtype=np.int64))
        return TileFacts.of(np.concatenate((self.rows[~gone], rows)))

    def derived(self, plan: TilePlan) -> DerivedFacts:
        """The facts of the subtree below each tile, for all tiles with content and those above them."""
        return _derive(self.rows, plan)

    def tiles(self) -> TileIndex:
        """The tiles with content."""
        return TileIndex(*tile_codes_to_index(self.rows["code"]))

    def bbox(self) -> tuple[float, float, float, float, float, float]:
        """West, south, bottom, east, north, top of everything (degrees, metres); east above 180 across the antimeridian."""
        rows = self.rows
        return (
            float(rows["west"].min()), float(rows["south"].min()), float(rows["bottom"].min()),
            float(rows["east"].max()), float(rows["north"].max()), float(rows["top"].max()),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the facts as .npy, at once or not at all."""
        draft = path.with_name(path.name + ".new.npy")
        np.save(draft, self.rows)
        draft.replace(path)

    @classmethod
    def open(cls, path: Path) -> TileFacts:
        """The facts in a file. Raises ThreeDError where it cannot be read."""
        try:
            rows = np.load(path)
        except (OSError, ValueError) as error:
            raise ThreeDError(
                f"the facts of the tiles cannot be read ({error}); build the 3D tileset again"
            ) from error
        return cls(rows)


@dataclass(frozen=True)
class DerivedFacts:
    """All tiles that exist, ascending by `codes` (t,), and what lies in the subtree of each.

    `regions` (t, 4) west, south, east, north in degrees; `bottoms`, `tops` (t,) metres; `errors` (t,) metres, never smaller
    than a child's; `has_content` (t,).
    """

    codes: NDArray[np.int64]
    regions: NDArray[np.float64]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    errors: NDArray[np.float64]
    has_content: NDArray[np.bool_]

    def tiles(self) -> TileIndex:
        """The tiles as level, x, y."""
        return TileIndex(*tile_codes_to_index(self.codes))


def facts_row(
    code: int, outlines: Outlines, detail: Detail, finest: Detail, errors: NDArray[np.float64] | None
) -> NDArray[np.void]:
    """The facts (1,) of a tile that shows these objects. `errors` (n,) of their detail, None to estimate them."""
    row = np.zeros(1, dtype=TILE_FACTS)
    row["code"], row["count"] = code, len(outlines)
    if not len(outlines):
        return row
    low, high = outlines.boxes.min(axis=0), outlines.boxes.max(axis=0)
    row["west"], row["south"], row["east"], row["north"] = low[0], low[1], high[2], high[3]
    row["bottom"], row["top"] = outlines.bottoms.min(), outlines.tops.max()
    row["largest"] = outlines.sizes.max()
    if detail != finest:
        row["shown_error"] = (estimated_errors(outlines, detail) if errors is None else errors).max()
    return row


def estimated_errors(outlines: Outlines, detail: Detail) -> NDArray[np.float64]:
    """How far (m, (n,)) a coarse detail of objects is from the finest, where nobody has measured it."""
    rise = outlines.tops - outlines.bottoms
    roofs = np.minimum(rise * _ROOF_SHARE, _HIGHEST_ROOF)
    if detail is Detail.LOD1:
        return np.asarray(roofs)
    across = np.sqrt(np.maximum(outlines.sizes**2 - rise**2, 0.0))
    return np.asarray(np.maximum(roofs, across * _BLOCK_SHARE))


def _derive(rows: NDArray[np.void], plan: TilePlan) -> DerivedFacts:
    index = with_ancestors(TileIndex(*tile_codes_to_index(rows["code"])))
    codes = np.sort(tile_code(*index))
    level, x, y = tile_codes_to_index(codes)
    at = np.searchsorted(codes, rows["code"])
    low = np.full((len(codes), 3), np.inf)
    high = np.full((len(codes), 3), -np.inf)
    low[at] = np.column_stack((rows["west"], rows["south"], rows["bottom"]))
    high[at] = np.column_stack((rows["east"], rows["north"], rows["top"]))
    largest, errors = np.zeros(len(codes)), np.zeros(len(codes))
    largest[at] = rows["largest"]
    replaces = plan.refinement is Refinement.REPLACE
    if replaces:
        # What a tile leaves to its children is smaller than its threshold.
        missing = np.minimum(plan.missing_sizes(codes), np.finfo(np.float64).max)
        errors[at] = np.maximum(rows["shown_error"], missing[at])
    for depth in range(int(level.max()), 0, -1):
        here = np.flatnonzero(level == depth)
        parents = np.searchsorted(codes, tile_code(level[here] - 1, x[here] >> 1, y[here] >> 1))
        np.minimum.at(low, parents, low[here])
        np.maximum.at(high, parents, high[here])
        # A tile that adds lacks the objects of its children; one that is replaced is as wrong as what it shows.
        lacking = errors[here] if replaces else np.maximum(errors[here], largest[here])
        np.maximum.at(errors, parents, lacking)
    has_content = np.zeros(len(codes), dtype=np.bool_)
    has_content[at] = True
    if replaces:
        _errors_of_empty(codes, errors, has_content, low, high)
    regions = np.column_stack((low[:, :2] - _DEGREES_MARGIN, high[:, :2] + _DEGREES_MARGIN))
    regions[:, 1] = np.maximum(regions[:, 1], -90.0)
    regions[:, 3] = np.minimum(regions[:, 3], 90.0)
    return DerivedFacts(
        codes, regions, low[:, 2] - _HEIGHT_MARGIN, high[:, 2] + _HEIGHT_MARGIN, errors, has_content
    )


def _errors_of_empty(
    codes: NDArray[np.int64],
    errors: NDArray[np.float64],
    has_content: NDArray[np.bool_],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """A tile that shows nothing is wrong by all that lies below it."""
    empty = np.flatnonzero(~has_content)
    if len(empty):
        errors[empty] = np.maximum(errors[empty], diagonals(low[empty], high[empty]))


def diagonals(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths (m, (n,)) across boxes of longitude, latitude (degrees) and height (m); good to a few per cent."""
    middle = np.radians((low[:, 1] + high[:, 1]) / 2.0)
    span = (high - low) * np.array([111_320.0, 111_320.0, 1.0])
    span[:, 0] *= np.cos(middle)
    return np.asarray(np.linalg.norm(span, axis=1))
