"""The part of a tile that a request asks for and may see: some of its features, some of their attributes."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np

from providers.features.matching import matching_ids
from server.http.three_d_request import TilesetRequest
from tiles.three_d.attributes import PropertyTable, property_id
from tiles.three_d.glb import GlbOptions, write_tile
from tiles.three_d.live_moment import empty_glb
from tiles.three_d.read_glb import read_glb
from tiles.three_d.subset import property_rows, subset_glb

_ID = "ID"
_EPOCH = "_epoch"


def visible_glb(whole: bytes, request: TilesetRequest) -> bytes:
    """The glb of a tile without the features that the request's filter leaves out and the attributes that are hidden.

    A glb that shows nothing where none is left. Raises GlbError, and what evaluating the filter raises.
    """
    table = property_rows(whole)
    if table is None:
        return whole
    if request.query is not None and request.filters:
        ids = ids_of(table)
        found = matching_ids(request.features.source, request.query, set(ids), request.features.hidden)
        left = subset_glb(whole, np.array([one in found for one in ids], dtype=np.bool_))
        if left is None:
            return empty_glb()
        whole = left
    hidden = request.decision.hidden_fields
    return without_columns(whole, hidden) if hidden else whole


def ids_of(table: PropertyTable) -> list[str]:
    """The ids of a tile's features, in the order of its table; [] where it has none."""
    for column in table.columns:
        if column.schema.get("semantic") == _ID and column.offsets is not None:
            text = column.values.tobytes()
            limits = column.offsets.tolist()
            return [text[start:stop].decode() for start, stop in pairwise(limits)]
    return []


def without_columns(content: bytes, hidden: frozenset[str]) -> bytes:
    """A glb without the columns of some fields, and what was derived of them."""
    tile = read_glb(content)
    if tile.table is None:
        return content
    ids = "|".join(re.escape(property_id(name)) for name in sorted(hidden))
    # Where two fields have one identifier, the second has a number behind it; times come in two columns.
    of_hidden = re.compile(rf"(?:{ids})(?:_\d+)?(?:{_EPOCH})?")
    shown = tuple(
        column
        for column in tile.table.columns
        if column.schema.get("semantic") == _ID
        or not (column.name in hidden or of_hidden.fullmatch(column.id))
    )
    if len(shown) == len(tile.table.columns):
        return content
    table = replace(tile.table, columns=shown)
    return write_tile(tile.parts, tile.frame, table, GlbOptions(attribution=tile.attribution))
