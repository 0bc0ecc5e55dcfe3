"""Features as an Arrow IPC stream, the geometry as `geoarrow.wkb`."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pyarrow as pa

from providers.formatters.arrow_batches import Outlet, arrow_layout
from providers.formatters.columns import named_target
from providers.formatters.registry import Batch, WritingContext, columns_of


def write_arrow_stream(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """The schema, a record batch for each batch, and the end of the stream. Raises InvalidParameter for a CRS it cannot name."""
    target = named_target(context)
    told = {"crs": target.crs.to_json_dict(), "crs_type": "projjson"}
    metadata = {
        b"ARROW:extension:name": b"geoarrow.wkb",
        b"ARROW:extension:metadata": orjson.dumps(told),
    }
    layout = arrow_layout(context, target, geometry_metadata=metadata)
    outlet = Outlet()
    with pa.ipc.new_stream(outlet, layout.schema) as writer:
        yield outlet.take()
        for batch in batches:
            writer.write_batch(layout.batch(columns_of(batch)))
            yield outlet.take()
    yield outlet.take()
