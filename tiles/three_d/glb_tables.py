"""Property tables inside a glb (EXT_structural_metadata)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiles.three_d.attributes import PropertyColumn, PropertyTable
from tiles.three_d.glb_buffer import GlbBuffer
from tiles.three_d.mesh import SurfaceClass

SCHEMA_ID = "chengtu"
SURFACE_CLASS = "surface"
SURFACE_SCHEMA = {"properties": {"type": {"type": "STRING", "name": "type"}}}


def write_table(buffer: GlbBuffer, table: PropertyTable) -> dict[str, Any]:
    """The propertyTable of `table`."""
    properties = {}
    for column in table.columns:
        stored = _property(buffer, column)
        if stored is not None:
            properties[column.id] = stored
    described: dict[str, Any] = {"class": table.class_id, "count": table.count}
    # The schema wants at least one property where the key is there at all.
    return {**described, "properties": properties} if properties else described


def _property(buffer: GlbBuffer, column: PropertyColumn) -> dict[str, Any] | None:
    """The views of one column; None where it holds only empty text, for a buffer view may not be empty."""
    values, offsets, offset_type = column.stored()
    if not values:
        return None
    stored: dict[str, Any] = {"values": buffer.view(values)}
    if offsets is not None:
        stored["stringOffsets"] = buffer.view(offsets)
        stored["stringOffsetType"] = offset_type
    return stored


def write_palette(buffer: GlbBuffer, palette: tuple[SurfaceClass, ...]) -> dict[str, Any]:
    """The propertyTable of the kinds of surfaces, to which _FEATURE_ID_1 points."""
    texts = [entry.name.encode() for entry in palette]
    offsets = np.cumsum([0, *(len(text) for text in texts)]).astype("<u2")
    stored = {
        "values": buffer.view(b"".join(texts)),
        "stringOffsets": buffer.view(offsets.tobytes()),
        "stringOffsetType": "UINT16",
    }
    return {"class": SURFACE_CLASS, "count": len(palette), "properties": {"type": stored}}
