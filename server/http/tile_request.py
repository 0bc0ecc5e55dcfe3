"""A tile that was asked for, parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from providers.features.parameter_values import parse_asof
from server.http.errors import NotFound
from server.http.parameters import only
from server.identity.decision import Decision
from server.registry.catalogue import Collection
from tiles.grids import TileId

TILE_PARAMETERS = ("f", "lang", "asof")


@dataclass(frozen=True, slots=True)
class TileRequest:
    """A tile of a collection that has already been allowed; `row` counts from the top.

    `asof` (RFC 3339, UTC) asks for a past state of vector tiles.
    """

    collection: Collection
    decision: Decision
    grid: str
    zoom: int
    row: int
    column: int
    format: str | None
    asof: str | None = None

    @property
    def tile(self) -> TileId:
        """The tile in its grid."""
        return TileId(self.zoom, self.column, self.row)

    @classmethod
    def parse(
        cls,
        collection: Collection,
        decision: Decision,
        parts: Sequence[str],
        parameters: Sequence[tuple[str, str]],
        allowed: Sequence[str] = TILE_PARAMETERS,
    ) -> TileRequest:
        """From the last four parts of the path (grid, zoom, row, column) and the query, of which `allowed` may be there.

        Raises InvalidParameter (of this room, or of the providers) and NotFound.
        """
        given = only(parameters, allowed)
        grid, zoom, row, column = parse_address(parts)
        asof = given.get("asof")
        instant = None if asof is None else parse_asof(asof)
        return cls(collection, decision, grid, zoom, row, column, given.get("f"), instant)


def parse_address(parts: Sequence[str]) -> tuple[str, int, int, int]:
    """Grid, zoom, row and column from the last four parts of a path. Raises NotFound."""
    grid, *numbers = parts
    if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in numbers):
        raise NotFound(f"tile {'/'.join(parts)[:200]!r}: zoom, row and column are whole numbers")
    zoom, row, column = (int(text) for text in numbers)
    return grid, zoom, row, column
