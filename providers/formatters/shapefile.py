"""Features as a zipped Shapefile, with a text beside it that tells what the format could not hold as it was.

Names of fields have 10 bytes, texts 254, a file one kind of geometry and 2 GB in each of its parts. Names and texts are cut,
and that is told; mixed geometries and too many features are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from providers.errors import UnsupportedQuery
from providers.formatters.arrow_batches import ArrowLayout, Outlet, arrow_layout
from providers.formatters.columns import (
    Geometries,
    free_names,
    has_heights,
    named_target,
    written_crs,
)
from providers.formatters.ogr import OgrFile, write_file
from providers.formatters.registry import Batch, WritingContext, columns_of, first_columns
from providers.formatters.scratch import scratch_folder

_NAME_BYTES = 10
_TEXT_BYTES = 254
_CHUNK = 1 << 18
# By shapely's type ids: which of the four kinds of a Shapefile a geometry is.
_KINDS = np.array(["Point", "LineString", "LineString", "Polygon", "MultiPoint", "LineString", "Polygon", ""])


def write_shapefile(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A zip file with .shp, .shx, .dbf, .prj, .cpg and a .txt.

    Raises UnsupportedQuery for geometries of several kinds, AnswerTooLarge beyond 2 GB, InvalidParameter for a CRS it cannot
    name.
    """
    target = named_target(context)
    first, batches = first_columns(batches)
    layout = arrow_layout(context, target, has_z=has_heights(context, first))
    table = _Table(layout)
    with scratch_folder() as folder:
        file = OgrFile(
            driver="ESRI Shapefile",
            path=str(folder / f"{context.name}.shp"),
            layer=context.name,
            geometry_name=layout.geometry,
            geometry_type=None if layout.geometry is None else _kind_of(context, layout),
            crs=written_crs(target).to_wkt(),
            options={"ENCODING": "UTF-8", "2GB_LIMIT": "YES"},
        )
        prepared = (table.batch(*layout.batch_and_shapes(columns_of(batch))) for batch in batches)
        first_batch = next(prepared, None)
        if table.kind and layout.geometry is not None:
            file = OgrFile(**{**_members(file), "geometry_type": _with_z(table.kind, layout.has_z)})
        remaining = prepared if first_batch is None else _again(first_batch, prepared)
        write_file(file, table.schema, remaining)
        (folder / f"{context.name}.txt").write_text(table.notes(), encoding="utf-8")
        yield from _zipped(sorted(folder.iterdir()))


def _members(file: OgrFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in file.__dataclass_fields__}


def _again(first: Any, following: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from following


def _with_z(kind: str, has_z: bool) -> str:
    return f"{kind} Z" if has_z else kind


def _kind_of(context: WritingContext, layout: ArrowLayout) -> str:
    """The kind the schema promises; points where it promises nothing and no feature tells."""
    declared = context.schema.geometry_type
    kind = "MultiPoint" if declared == "MultiPoint" else declared.removeprefix("Multi")
    return _with_z(kind if kind in _KINDS and kind else "Point", layout.has_z)


class _Table:
    """The attributes as dBase holds them, and what was lost on the way."""

    def __init__(self, layout: ArrowLayout) -> None:
        self._layout = layout
        fields = layout.context.fields
        asked = [layout.identifier, *(field.name for field in fields)]
        self._asked = asked
        self._names = _short_names(asked)
        self._cut: dict[str, int] = {}
        self.kind = ""
        kinds = [pa.string(), *(_held(layout.schema.field(1 + i).type) for i in range(len(fields)))]
        columns = [pa.field(name, kind) for name, kind in zip(self._names, kinds, strict=True)]
        if layout.geometry is not None:
            columns.append(layout.schema.field(len(columns)))
        self.schema = pa.schema(columns)

    def batch(self, batch: Any, shapes: Geometries) -> Any:
        """A batch as it can be written. Raises UnsupportedQuery where its geometries are of another kind."""
        self._look_at(shapes)
        arrays = []
        for number, name in enumerate(self._asked):
            array = batch.column(number)
            kind = self.schema.field(number).type
            if pa.types.is_timestamp(array.type):
                array = pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
            if pa.types.is_string(kind):
                array = self._fitting(name, array)
            arrays.append(array)
        arrays += batch.columns[len(self._asked) :]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _look_at(self, shapes: Geometries) -> None:
        codes = shapely.get_type_id(shapes)
        kinds = {str(kind) for kind in _KINDS[np.unique(codes[codes >= 0])]}
        if not kinds:
            return
        if not self.kind:
            self.kind = min(kinds)
        if kinds != {self.kind} or not self.kind:
            raise UnsupportedQuery(
                "A Shapefile holds geometries of one kind, and these features have several "
                f"({', '.join(sorted(kinds | {self.kind} - {''})) or 'collections of geometries'}); ask for gpkg, flatgeobuf or geoparquet, or for a part by filter"
            )

    def _fitting(self, name: str, array: Any) -> Any:
        long = pc.greater(pc.binary_length(array.cast(pa.binary())), _TEXT_BYTES)
        if not pc.any(long).as_py():
            return array
        self._cut[name] = self._cut.get(name, 0) + int(pc.sum(long).as_py())
        return pa.array(
            [
                None if text is None else text.encode()[:_TEXT_BYTES].decode(errors="ignore")
                for text in array.to_pylist()
            ],
            pa.string(),
        )

    def notes(self) -> str:
        """What the text beside the Shapefile tells."""
        lines = ["Fields of the Shapefile, and what they are called in the collection:", ""]
        lines += [f"{short}\t{name}" for short, name in zip(self._names, self._asked, strict=True)]
        lines += [
            "",
            "Texts are UTF-8. Date-times are texts in UTC, to the second. Empty texts and missing values are the same.",
        ]
        lines += [
            f"{count} values of {name!r} were longer than {_TEXT_BYTES} bytes and have been cut."
            for name, count in self._cut.items()
        ]
        return "\n".join(lines) + "\n"


def _held(kind: Any) -> Any:
    """The Arrow type as GDAL's Shapefile driver takes it: it has no type for instants."""
    return pa.string() if pa.types.is_timestamp(kind) else kind


def _short_names(names: list[str]) -> list[str]:
    """Names of at most 10 bytes, unique whatever their case."""
    return _bounded(free_names(names, allowed=lambda name: _cut_name(name, _NAME_BYTES)), names)


def _bounded(short: list[str], names: list[str]) -> list[str]:
    """Where the number behind a name made it too long, the name gives way."""
    used: set[str] = set()
    result = []
    for wished, name in zip(short, names, strict=True):
        found, number = _cut_name(wished, _NAME_BYTES), 1
        while found.casefold() in used:
            number += 1
            found = f"{_cut_name(name, _NAME_BYTES - 1 - len(str(number)))}_{number}"
        used.add(found.casefold())
        result.append(found)
    return result


def _cut_name(name: str, size: int) -> str:
    return name.encode()[:size].decode(errors="ignore") or "field"[:size]


def _zipped(files: list[Path]) -> Iterator[bytes]:
    """The files in a zip file that is sent as it is made."""
    outlet = Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            with file.open("rb") as source, archive.open(file.name, "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield outlet.take()
    yield outlet.take()
