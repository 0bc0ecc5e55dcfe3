"""Pyramids of tiles of other servers: WMTS, TMS, XYZ, ArcGIS caches. Which level, which tiles, at which address."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from providers.errors import StoreError
from tiles.maps.source import Box

MAXIMUM_TILES = 64
"""Tiles that are asked for one image at most; a coarser level is taken beyond."""
_STRETCH = 1.15
"""Pixels may be drawn larger than they are by this factor before a finer level is taken."""
_PLACEHOLDER = re.compile(r"\{(-?[A-Za-z]\w*)\}")
_KNOWN = frozenset({"z", "x", "y", "-y", "q", "quadkey", "s", "time", "TileMatrix", "TileRow", "TileCol"})


class RemoteMatrix(NamedTuple):
    """One level: `left` and `top` are its upper left corner, easting first; sizes of tiles in pixels.

    `limits`: first column, first row, last column, last row of the tiles that there are; () for all.
    """

    id: str
    cell_size: float
    left: float
    top: float
    columns: int
    rows: int
    tile_width: int
    tile_height: int
    limits: tuple[int, ...] = ()

    def range(self, box: Box) -> tuple[int, int, int, int]:
        """First column, first row, last column, last row of the tiles that meet a box; last < first where none does."""
        across, down = self.cell_size * self.tile_width, self.cell_size * self.tile_height
        slack = 1e-6
        first_column = math.floor((box[0] - self.left) / across + slack)
        last_column = math.ceil((box[2] - self.left) / across - slack) - 1
        first_row = math.floor((self.top - box[3]) / down + slack)
        last_row = math.ceil((self.top - box[1]) / down - slack) - 1
        low_column, low_row, high_column, high_row = self.limits or (0, 0, self.columns - 1, self.rows - 1)
        return (
            max(first_column, low_column, 0),
            max(first_row, low_row, 0),
            min(last_column, high_column, self.columns - 1),
            min(last_row, high_row, self.rows - 1),
        )

    def box(self, first_column: int, first_row: int, last_column: int, last_row: int) -> Box:
        """The box of a block of tiles."""
        across, down = self.cell_size * self.tile_width, self.cell_size * self.tile_height
        return (
            self.left + first_column * across,
            self.top - (last_row + 1) * down,
            self.left + (last_column + 1) * across,
            self.top - first_row * down,
        )


@dataclass(frozen=True, slots=True)
class TilePyramid:
    """`matrices` from coarse to fine. `template`: a URL with places of a tile in braces.

    {z} (or {TileMatrix}) the level's id, {x} ({TileCol}), {y} ({TileRow}) from the top, {-y} from the bottom, {q} the quad key,
    {s} one of `subdomains`, {time} the instant.
    """

    template: str
    crs: str
    matrices: tuple[RemoteMatrix, ...]
    subdomains: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> TilePyramid:
        """What `to_json` gave. Raises StoreError."""
        try:
            matrices = tuple(map(_matrix, members["matrices"]))
            pyramid = cls(
                str(members["template"]),
                str(members["crs"]),
                matrices,
                tuple(members.get("subdomains", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError("The registry holds a remote tile pyramid that cannot be read") from error
        pyramid.check()
        return pyramid

    def to_json(self) -> dict[str, Any]:
        """As it is kept in the registry."""
        rows = [[*each[:8], list(each.limits)] if each.limits else list(each[:8]) for each in self.matrices]
        members = {"template": self.template, "crs": self.crs, "matrices": rows}
        return members | ({"subdomains": list(self.subdomains)} if self.subdomains else {})

    def check(self) -> None:
        """Raise StoreError for a template or matrices that cannot be used."""
        found = set(_PLACEHOLDER.findall(self.template))
        placed = found & {"q", "quadkey"} or (
            found & {"z", "TileMatrix"} and found & {"x", "TileCol"} and found & {"y", "-y", "TileRow"}
        )
        if found - _KNOWN or not placed or ("s" in found and not self.subdomains):
            raise StoreError(
                f"A template of tiles has the places {sorted(found)}; it needs {{z}}, {{x}} and {{y}} or {{-y}}, or {{q}}; {{s}}"
                " needs the names of the subdomains"
            )
        if not self.matrices or any(
            not (each.cell_size > 0 and each.columns > 0 and each.rows > 0 and 0 < each.tile_width <= 4096)
            or not 0 < each.tile_height <= 4096
            for each in self.matrices
        ):
            raise StoreError("A remote tile pyramid has no levels, or one without an extent")

    @property
    def has_time(self) -> bool:
        """Whether tiles differ by time."""
        return "{time}" in self.template

    def level(self, resolution: float, box: Box) -> RemoteMatrix:
        """The coarsest level that is fine enough for a resolution (units of the CRS a pixel), within MAXIMUM_TILES."""
        number = next(
            (number for number, each in enumerate(self.matrices) if each.cell_size <= resolution * _STRETCH),
            len(self.matrices) - 1,
        )
        while number > 0 and count_of(self.matrices[number].range(box)) > MAXIMUM_TILES:
            number -= 1
        return self.matrices[number]

    def url(self, matrix: RemoteMatrix, column: int, row: int, instant: str | None) -> str:
        """The address of a tile; `row` from the top."""
        values = {
            "z": quote(matrix.id, safe=":"),
            "x": str(column),
            "y": str(row),
            "-y": str(matrix.rows - 1 - row),
            "s": self.subdomains[(column + row) % len(self.subdomains)] if self.subdomains else "",
            "time": quote(instant or "default", safe=""),
        }
        values |= {"TileMatrix": values["z"], "TileCol": values["x"], "TileRow": values["y"]}
        if "{q" in self.template:
            values["q"] = values["quadkey"] = quad_key(matrix.id, column, row)
        return _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.template)


def _matrix(row: Sequence[Any]) -> RemoteMatrix:
    """A level as `to_json` wrote it."""
    identifier, cell_size, left, top, columns, rows, width, height, *limits = row
    return RemoteMatrix(
        str(identifier),
        cell_size,
        left,
        top,
        columns,
        rows,
        width,
        height,
        tuple(limits[0]) if limits else (),
    )


def count_of(span: tuple[int, int, int, int]) -> int:
    """How many tiles a range has."""
    return max(span[2] - span[0] + 1, 0) * max(span[3] - span[1] + 1, 0)


def tiles_of(span: tuple[int, int, int, int]) -> Iterator[tuple[int, int]]:
    """(column, row) of the tiles of a range."""
    for row in range(span[1], span[3] + 1):
        for column in range(span[0], span[2] + 1):
            yield column, row


def quad_key(zoom: str, column: int, row: int) -> str:
    """The quad key of a tile: one digit a level, 1 for the eastern half and 2 for the southern."""
    return "".join(
        str(((column >> bit) & 1) + 2 * ((row >> bit) & 1)) for bit in range(int(zoom) - 1, -1, -1)
    )


def sorted_matrices(matrices: Sequence[RemoteMatrix]) -> tuple[RemoteMatrix, ...]:
    """From coarse to fine."""
    return tuple(sorted(matrices, key=lambda each: -each.cell_size))
