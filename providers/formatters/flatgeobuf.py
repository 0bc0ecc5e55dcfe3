"""Features as FlatGeobuf without an index, so that it can be streamed.

GDAL encodes each batch as a file of its own in memory; what follows the header of such a file are features that know nothing
of it, so the first header and the features of all batches make one file. Count and envelope of the header are left out: they
are not known when it is sent.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from providers.formatters.arrow_batches import ArrowLayout, arrow_layout
from providers.formatters.columns import has_heights, named_target, type_of, written_crs
from providers.formatters.registry import Batch, WritingContext, columns_of

_MAGIC = 8  # bytes
# Slots of the header table in FlatGeobuf's schema (header.fbs).
_ENVELOPE = 1
_FEATURES_COUNT = 8


def write_flatgeobuf(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A FlatGeobuf file. Raises InvalidParameter for a CRS it cannot name."""
    target = named_target(context)
    layout: ArrowLayout | None = None
    for batch in batches:
        columns = columns_of(batch)
        if layout is None:
            layout = arrow_layout(context, target, has_z=has_heights(context, columns))
            header, features = _encoded(layout, layout.batch(columns))
            yield header
        else:
            _, features = _encoded(layout, layout.batch(columns))
        yield features
    if layout is None:
        layout = arrow_layout(context, target, has_z=has_heights(context, None))
        yield _encoded(layout, pa.RecordBatch.from_pylist([], schema=layout.schema))[0]


def _encoded(layout: ArrowLayout, batch: Any) -> tuple[bytes, bytes]:
    """The header, freed of what holds for this batch alone, and the features."""
    from pyogrio.raw import write_arrow

    file = io.BytesIO()
    write_arrow(
        batch,
        file,
        layer=layout.context.name,
        driver="FlatGeobuf",
        geometry_name=layout.geometry,
        geometry_type=type_of(layout.context, layout.has_z) if layout.geometry is not None else None,
        crs=written_crs(layout.target).to_wkt(),
        SPATIAL_INDEX="NO",
        TITLE=layout.context.title,
    )
    data = file.getvalue()
    size = struct.unpack_from("<I", data, _MAGIC)[0]
    end = _MAGIC + 4 + size
    header = bytearray(data[:end])
    _leave_out(header, _MAGIC + 4, _ENVELOPE)
    _leave_out(header, _MAGIC + 4, _FEATURES_COUNT)
    return bytes(header), data[end:]


def _leave_out(buffer: bytearray, start: int, slot: int) -> None:
    """Clear a slot of the root table's vtable in a FlatBuffers buffer: the field then has its default."""
    table = start + struct.unpack_from("<I", buffer, start)[0]
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    position = 4 + 2 * slot
    if position < struct.unpack_from("<H", buffer, vtable)[0]:
        struct.pack_into("<H", buffer, vtable + position, 0)
