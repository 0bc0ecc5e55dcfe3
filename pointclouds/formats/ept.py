"""EPT (Entwine Point Tile) as a source: a folder with ept.json and nodes of laszip, binary or zstandard."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.errors import UnreadablePointCloudError
from pointclouds.formats.blocks import BlockSource
from pointclouds.formats.columns import Layout, Spans, make_layout
from pointclouds.formats.ept_layout import EptDimension, EptLayout, Key, node_name, read_ept
from pointclouds.las.layout import TARGET_FORMAT, Records, copy_into
from pointclouds.las.reader import check_compressed, inspect, read_chunks, reading, require_inside
from pointclouds.sources import Box3, LasSource, SourceDescription

_LARGEST_NODE: Final = 1 << 30
_ANGLES: Final = ("ScanAngleRank", "ScanAngle")


class EptSource(BlockSource):
    """The points of an EPT folder, node after node from the root."""

    def __init__(self, folder: Path, crs: pyproj.CRS | None = None) -> None:
        """Reads ept.json, the hierarchy, and the first node; of binary nodes all, for the spans of their values.

        Raises:
            UnreadablePointCloudError, EmptyPointCloudError, UnusableCrsError: see ept_layout.read_ept.
        """
        self.path = folder
        with reading(folder):
            self._ept: EptLayout = read_ept(folder, crs)
        self._set_blocks([count for _, count in self._ept.nodes])
        self._layout: Layout | None = None
        if self._ept.data_type == "laszip":
            self._description = self._of_laszip()
        else:
            self._layout, self._description = self._of_binary()

    def _of_laszip(self) -> SourceDescription:
        """The root's record stands for all nodes; scale and offset are the schema's."""
        first = LasSource(self._ept.data_file(self._ept.nodes[0][0]), self._ept.crs).description
        axes = {one.name: one for one in self._ept.schema}
        whole = all(axes[axis].dtype.kind == "i" for axis in "XYZ")
        scale, offset = first.scale, first.offset
        if whole:
            scale = (axes["X"].scale, axes["Y"].scale, axes["Z"].scale)
            offset = (axes["X"].offset, axes["Y"].offset, axes["Z"].offset)
        return SourceDescription(
            name=self.path.name,
            count=self._ept.count,
            box=self._ept.box,
            crs=self._ept.crs or first.crs,
            point_format=first.point_format,
            scale=scale,
            offset=offset,
            extra=first.extra,
            extra_structs=first.extra_structs,
            global_encoding=first.global_encoding,
            system_identifier=first.system_identifier,
            dropped=first.dropped,
        )

    def _of_binary(self) -> tuple[Layout, SourceDescription]:
        spans = Spans()
        for key, count in self._ept.nodes:
            spans.add(self._columns(key, count))
        if spans.left_out:
            raise UnreadablePointCloudError(
                f"{self.path.name}: {spans.left_out} points have no finite coordinates"
            )
        crs = self._ept.crs
        layout = make_layout(spans, self.path.name, geographic=crs is not None and crs.is_geographic)
        axes = {one.name: one for one in self._ept.schema}
        notes = layout.notes
        if all(axes[axis].dtype == np.dtype("<i4") for axis in "XYZ"):
            # Whole numbers of a scale already: they are kept as they are.
            layout = Layout(
                layout.point_format,
                (axes["X"].scale, axes["Y"].scale, axes["Z"].scale),
                (axes["X"].offset, axes["Y"].offset, axes["Z"].offset),
                *(layout.ways, layout.extra, layout.notes[1:], layout.global_encoding),
            )
            notes = layout.notes
        return layout, SourceDescription(
            name=self.path.name,
            count=self._ept.count,
            box=(*spans.low, *spans.high),
            crs=crs,
            point_format=layout.point_format,
            scale=layout.scale,
            offset=layout.offset,
            extra=layout.extra,
            extra_structs=layout.extra_structs,
            global_encoding=layout.global_encoding,
            notes=notes,
        )

    def _read_block(self, number: int) -> Records:
        key, count = self._ept.nodes[number]
        if self._layout is None:
            return self._laszip_records(key, count)
        return self._layout.records(self._columns(key, count))

    def _laszip_records(self, key: Key, count: int) -> Records:
        path = self._ept.data_file(key)
        header = inspect(path, self._description.crs)
        if header.count != count or TARGET_FORMAT[header.point_format] != self._description.point_format:
            raise UnreadablePointCloudError(
                f"{self.path.name}: {path.name} has {header.count} points of format {header.point_format}, the hierarchy says "
                f"{count} of format {self._description.point_format}; the EPT is damaged"
            )
        check_compressed(header)
        records = np.zeros(count, self._description.dtype)
        filled = 0
        for chunk in read_chunks(header, checked=True):
            copy_into(
                chunk,
                header.point_format,
                records[filled : filled + len(chunk)],
                self._description.point_format,
            )
            require_inside(header, records[filled : filled + len(chunk)])
            filled += len(chunk)
        self._require_inside(header.bbox, path.name)
        if header.scale != self._description.scale or header.offset != self._description.offset:
            self._requantise(records, header.scale, header.offset)
        return records

    def _require_inside(self, box: Box3, name: str) -> None:
        """A node's box against that of ept.json: the index of the new cloud is made from the latter."""
        whole = self._ept.box
        for axis in range(3):
            slack = 0.01 * (whole[axis + 3] - whole[axis]) + 1.0
            if box[axis] < whole[axis] - slack or box[axis + 3] > whole[axis + 3] + slack:
                raise UnreadablePointCloudError(
                    f"{self.path.name}: the points of {name} lie outside the bounds of ept.json; the EPT is damaged"
                )

    def _requantise(
        self, records: Records, scale: tuple[float, float, float], offset: tuple[float, float, float]
    ) -> None:
        for axis, name in enumerate("XYZ"):
            natural = records[name] * scale[axis] + offset[axis]
            steps = np.rint((natural - self._description.offset[axis]) / self._description.scale[axis])
            if np.abs(steps).max() >= 2**31:
                raise UnreadablePointCloudError(
                    f"{self.path.name}: points of a node lie outside what ept.json says; the EPT is damaged"
                )
            records[name] = steps

    def _columns(self, key: Key, count: int) -> dict[str, npt.NDArray[Any]]:
        """The columns of a binary or zstandard node, in natural units."""
        packed = np.dtype([(f"{number}", one.dtype) for number, one in enumerate(self._ept.schema)])
        size = packed.itemsize * count
        if size > _LARGEST_NODE:
            raise UnreadablePointCloudError(
                f"{self.path.name}: the node {node_name(key)} would take {size} bytes; at most {_LARGEST_NODE} are read"
            )
        with reading(self.path):
            data = self._node_bytes(key, size)
        if len(data) != size:
            raise UnreadablePointCloudError(
                f"{self.path.name}: the node {node_name(key)} has {len(data)} bytes, {count} points take {size}; the EPT is damaged"
            )
        table = np.frombuffer(data, packed)
        return {
            _called(one): _natural(table[f"{number}"], one) for number, one in enumerate(self._ept.schema)
        }

    def _node_bytes(self, key: Key, size: int) -> bytes:
        """Read at most a byte more than there should be, so that a wrong size is seen and a bomb is not unpacked."""
        path = self._ept.data_file(key)
        if self._ept.data_type == "binary":
            with path.open("rb") as stream:
                return stream.read(size + 1)
        import pyarrow

        with (
            pyarrow.OSFile(str(path), "rb") as file,
            pyarrow.CompressedInputStream(file, "zstd") as stream,
        ):
            data: bytes = stream.read(size + 1)
            return data


def _called(one: EptDimension) -> str:
    """EPT names dimensions as PDAL does; a name such as Height means itself."""
    return "ScanAngle" if one.name in _ANGLES else one.name


def _natural(stored: npt.NDArray[Any], one: EptDimension) -> npt.NDArray[Any]:
    if one.scale == 1.0 and one.offset == 0.0:
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return stored * one.scale + one.offset


def is_ept_folder(path: Path) -> bool:
    """Whether this is a folder with an ept.json."""
    return path.is_dir() and (path / "ept.json").is_file()
