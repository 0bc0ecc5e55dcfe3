"""A tile that was asked for, parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.http.errors import NotFound
from server.http.parameters import only
from server.identity.decision import Decision
from server.registry.catalogue import Collection


@dataclass(frozen=True, slots=True)
class TileRequest:
    """A tile of a collection that has already been allowed; `row` counts from the top."""

    collection: Collection
    decision: Decision
    grid: str
    zoom: int
    row: int
    column: int
    format: str | None

    @classmethod
    def parse(
        cls,
        collection: Collection,
        decision: Decision,
        parts: Sequence[str],
        parameters: Sequence[tuple[str, str]],
    ) -> TileRequest:
        """From the last four parts of the path (grid, zoom, row, column) and the query.

        Raises InvalidParameter and NotFound.
        """
        given = only(parameters, ("f", "lang"))
        grid, *numbers = parts
        if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in numbers):
            raise NotFound(f"tile {'/'.join(parts)!r}: zoom, row and column are whole numbers")
        zoom, row, column = (int(text) for text in numbers)
        return cls(collection, decision, grid, zoom, row, column, given.get("f"))
