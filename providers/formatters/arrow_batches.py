"""Features as Arrow record batches: an id, the fields, and the geometry as WKB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from providers.features.crs import ReferenceSystem
from providers.features.source import FeatureColumns
from providers.formatters.columns import (
    Geometries,
    arrow_type,
    arrow_values,
    column_of,
    free_names,
    shapes_of,
)
from providers.formatters.registry import WritingContext


@dataclass(frozen=True)
class ArrowLayout:
    """The columns of a file: names that are unique whatever their case, and the Arrow schema.

    `geometry` is None where no geometry is wanted. `has_z`: whether WKB keeps heights; without it they are left out.
    """

    context: WritingContext
    target: ReferenceSystem
    identifier: str
    names: tuple[str, ...]
    geometry: str | None
    has_z: bool
    schema: Any

    def batch(self, columns: FeatureColumns) -> Any:
        """The features as one record batch."""
        return self.batch_and_shapes(columns)[0]

    def batch_and_shapes(self, columns: FeatureColumns) -> tuple[Any, Geometries]:
        """The same, and the geometries in the CRS of the file."""
        arrays = [pa.array(columns.ids, pa.string())]
        for field in self.context.fields:
            arrays.append(arrow_values(field, column_of(columns, field.name)))
        if self.geometry is None:
            return pa.RecordBatch.from_arrays(arrays, schema=self.schema), np.empty(0, dtype=object)
        shapes = shapes_of(columns, self.context, self.target)
        solid = not self.has_z and shapely.has_z(shapes).any()
        written = shapely.force_2d(shapes) if solid else shapes
        wkb = shapely.to_wkb(written, flavor="iso")
        arrays.append(pa.array(wkb, pa.binary()))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema), written


def arrow_layout(
    context: WritingContext,
    target: ReferenceSystem,
    *,
    has_z: bool = True,
    geometry_metadata: dict[bytes, bytes] | None = None,
    reserved: tuple[str, ...] = (),
) -> ArrowLayout:
    """The layout of a file; `reserved` names are given to no column."""
    fields = context.fields
    names = free_names([field.name for field in fields], reserved)
    identifier, geometry = free_names(["id", "geometry"], [*names, *reserved])
    columns = [pa.field(identifier, pa.string(), nullable=False)]
    columns += [pa.field(name, arrow_type(field)) for name, field in zip(names, fields, strict=True)]
    if not context.query.skip_geometry:
        columns.append(pa.field(geometry, pa.binary(), metadata=geometry_metadata))
    else:
        geometry = ""
    return ArrowLayout(context, target, identifier, tuple(names), geometry or None, has_z, pa.schema(columns))


class Outlet:
    """A file object for writers that write forward only: what was written is taken out again, piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Keep a copy of what a writer gives."""
        piece = bytes(data)
        self._parts.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._written

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What has been written can still be taken."""
        self.closed = True

    def readable(self) -> bool:
        """It cannot be read."""
        return False

    def writable(self) -> bool:
        """It can be written."""
        return True

    def seekable(self) -> bool:
        """It cannot go back."""
        return False

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
