"""A COPC seen as Entwine Point Tiles (EPT 1.0.0): the same octree, its chunks handed out as LAZ files without decoding a point.

    ept.json                        what there is: bounds, dimensions with their statistics, reference system
    ept-hierarchy/D-X-Y-Z.json      points of each node; -1 where a page of its own goes on
    ept-data/D-X-Y-Z.laz            a node: LAS header, records, the chunk as it lies in the COPC, a chunk table of one entry
    ept-sources/...                 where the points come from: the COPC

Both formats thin in the same way (a point is in one node only, coarse nodes are part of the answer), so nothing is left out or told
twice.
"""

from __future__ import annotations

import io
import math
import struct
import threading
from collections import OrderedDict
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import lazrs
import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import open_file, open_nodes
from pointclouds.cloud.nodes import NodeTable
from pointclouds.copc.reader import CopcFile
from pointclouds.crs import horizontal_part, las_wkt, vertical_part
from pointclouds.errors import InvalidCopcError
from pointclouds.las.dimensions import EXTRA_BYTES_RECORD, Dimension, dimensions_of
from pointclouds.las.structures import LAS_14_HEADER_SIZE, WKT_FLAG, Vlr
from pointclouds.tilesets.octree import MOST_LEVELS, morton

VERSION: Final = "1.0.0"
Key = tuple[int, int, int, int]
"""Depth, x, y, z of a node."""
_LASZIP: Final = ("laszip encoded", 22204)
_LEVELS_OF_A_PAGE: Final = 5
_NODES_OF_ONE_PAGE: Final = 4096
_KEPT: Final = 256
# What PDAL, Entwine and QGIS call dimensions whose name in LAS 1.4 is another one.
_NAMES: Final = {"ScanAngle": "ScanAngleRank"}
_KINDS: Final = {"i": "signed", "u": "unsigned", "f": "float"}


class EptView:
    """One COPC as EPT. Safe in threads; nothing of it ever changes. Bounds and counts are exact.

    Methods raise UnreadablePointCloudError and InvalidCopcError where the file is gone or damaged.
    """

    def __init__(self, file: CopcFile, table: NodeTable) -> None:
        self._file = file
        self._table = table
        entries = table.entries
        depths = entries["level"].astype(np.int64)
        if (depths >= MOST_LEVELS).any():
            raise InvalidCopcError(f"{file.path.name}: its octree is deeper than {MOST_LEVELS} levels")
        cells = np.stack([entries[axis] for axis in "xyz"], axis=1).astype(np.int64)
        codes = morton(cells)
        self._levels: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]] = []
        for depth in range(int(depths.max(initial=-1)) + 1):
            rows = np.flatnonzero(depths == depth)
            order = np.argsort(codes[rows], kind="stable")
            self._levels.append((codes[rows][order], rows[order]))

    # --- nodes ---------------------------------------------------------------------------------------------------------

    def row(self, key: Key) -> int | None:
        """The row of a node in the table; None where there is none."""
        depth, *cell = key
        if not 0 <= depth < len(self._levels) or not all(0 <= one < 1 << depth for one in cell):
            return None
        codes, rows = self._levels[depth]
        code = morton(np.array([cell], np.int64))[0]
        place = int(np.searchsorted(codes, code))
        return int(rows[place]) if place < len(codes) and codes[place] == code else None

    def node(self, key: Key) -> bytes | None:
        """The LAZ file of a node; None where there is none, or it has no points."""
        row = self.row(key)
        if row is None:
            return None
        entry = self._table.entries[row]
        count = int(entry["point_count"])
        if count <= 0:
            return None
        chunk = self._file.read_chunk(entry)
        if len(chunk) != int(entry["byte_size"]):
            raise InvalidCopcError(f"{self._file.path.name}: the file ends inside the chunk of a node")
        table = io.BytesIO()
        lazrs.write_chunk_table(table, [(count, len(chunk))], self._laz)
        head, records = self._head
        header = bytearray(head)
        # Number of points and of points by return: LAS 1.4 R15, table 3.
        returns = self._table.return_counts[row][1:16].tolist()
        struct.pack_into("<Q15Q", header, 247, count, *returns)
        # The 32-bit number too, which the standard leaves at zero from format 6 on: QGIS decodes as many points of a node as this says.
        struct.pack_into("<I", header, 107, count)
        low, high = self._table.lowest[row, :3].tolist(), self._table.highest[row, :3].tolist()
        struct.pack_into("<6d", header, 179, high[0], low[0], high[1], low[1], high[2], low[2])
        start = len(head) + len(records) + 8
        return b"".join((header, records, struct.pack("<q", start + len(chunk)), chunk, table.getvalue()))

    @cached_property
    def _laz(self) -> Any:
        return lazrs.LazVlr(self._file.laszip)

    @cached_property
    def _head(self) -> tuple[bytes, bytes]:
        """Header and variable length records of every node's file; counts and box are put in for each."""
        header = self._file.header
        records = [Vlr(*_LASZIP, self._file.laszip, "laszip")]
        crs = header.crs
        if crs is not None:
            records.append(Vlr("LASF_Projection", 2112, las_wkt(crs).encode() + b"\0"))
        records += [one for one in header.records if (one.user_id, one.record_id) == EXTRA_BYTES_RECORD]
        packed = b"".join(one.pack() for one in records)
        las = replace(
            header.las,
            version_minor=4,
            header_size=LAS_14_HEADER_SIZE,
            offset_to_points=LAS_14_HEADER_SIZE + len(packed),
            vlr_count=len(records),
            compressed=True,
            global_encoding=header.las.global_encoding | (WKT_FLAG if crs is not None else 0),
            evlr_offset=0,
            evlr_count=0,
            point_count=0,
            points_by_return=(),
        )
        return las.pack(), packed

    # --- documents -----------------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """ept.json."""
        info, file = self._file.info, self._file
        low = np.array(info.centre) - info.halfsize
        return {
            "bounds": [*low.tolist(), *(low + 2 * info.halfsize).tolist()],
            "boundsConforming": [float(value) for value in self._box()],
            "dataType": "laszip",
            "hierarchyType": "json",
            "points": self._table.count,
            "schema": [self._described(one) for one in self._dimensions],
            "span": max(1, round(2 * info.halfsize / info.spacing)),
            "srs": self._srs() if file.crs is not None else {},
            "version": VERSION,
        }

    def hierarchy(self, key: Key) -> dict[str, int] | None:
        """The page that begins at a node: nodes below it with their counts, -1 where another page begins. None where there is none.

        A small tree is one page.
        """
        row = self.row(key)
        if row is None or (key[0] and (self._is_one_page or key[0] % _LEVELS_OF_A_PAGE)):
            return None
        depth, first = key[0], int(morton(np.array([key[1:]], np.int64))[0])
        levels = len(self._levels) if self._is_one_page else _LEVELS_OF_A_PAGE
        found: dict[str, int] = {}
        for inside in range(levels + 1):
            rows = self._rows_below(depth + inside, first << 3 * inside, inside)
            entries = self._table.entries[rows]
            counts = entries["point_count"].tolist()
            if inside == levels:
                counts = [-1 if more else n for more, n in zip(self._has_children(rows), counts, strict=True)]
            names = zip(*(entries[name].tolist() for name in ("level", "x", "y", "z")), strict=True)
            found.update(("-".join(map(str, name)), count) for name, count in zip(names, counts, strict=True))
        if key[0] and not self._has_children(np.array([row]))[0]:
            return None
        return found

    @property
    def _is_one_page(self) -> bool:
        return len(self._table.entries) <= _NODES_OF_ONE_PAGE

    def _rows_below(self, depth: int, first: int, inside: int) -> npt.NDArray[np.int64]:
        if depth >= len(self._levels):
            return np.empty(0, np.int64)
        codes, rows = self._levels[depth]
        start, stop = np.searchsorted(codes, np.array([first, first + (1 << 3 * inside)], np.uint64)).tolist()
        return rows[start:stop]

    def _has_children(self, rows: npt.NDArray[np.int64]) -> list[bool]:
        """Of nodes of one level."""
        if not len(rows):
            return []
        entries = self._table.entries[rows]
        depth = int(entries["level"][0])
        if depth + 1 >= len(self._levels):
            return [False] * len(rows)
        below = self._levels[depth + 1][0]
        codes = morton(np.stack([entries[axis] for axis in "xyz"], axis=1).astype(np.int64))
        places = np.searchsorted(below, codes << np.uint64(3))
        inside = np.minimum(places, len(below) - 1)
        found: list[bool] = ((places < len(below)) & (below[inside] >> np.uint64(3) == codes)).tolist()
        return found

    def sources(self) -> list[dict[str, Any]]:
        """ept-sources/list.json: the COPC is the only source."""
        name = self._file.path.name
        return [
            {
                "id": name.removesuffix(".copc.laz"),
                "bounds": [float(value) for value in self._box()],
                "inserts": self._table.count,
                "points": self._table.count,
                "path": name,
                "status": "inserted",
                "url": "0.json",
            }
        ]

    def source(self) -> dict[str, Any]:
        """ept-sources/0.json: what is known of the source."""
        las = self._file.header.las
        listed = self.sources()[0]
        return {
            listed["id"]: {
                **{name: listed[name] for name in ("bounds", "points", "path")},
                "srs": self._srs() if self._file.crs is not None else {},
                "metadata": {
                    "system_identifier": las.system_identifier,
                    "software_id": las.generating_software,
                    "creation_doy": las.creation[0],
                    "creation_year": las.creation[1],
                    "dataformat_id": self._file.header.point_format,
                },
            }
        }

    def _box(self) -> list[float]:
        low = np.nanmin(self._table.lowest[:, :3], axis=0)
        high = np.nanmax(self._table.highest[:, :3], axis=0)
        return [*low.tolist(), *high.tolist()]

    @cached_property
    def _dimensions(self) -> tuple[Dimension, ...]:
        header = self._file.header
        return dimensions_of(self._file.dtype, header.scale, header.offset, header.records)

    def _srs(self) -> dict[str, Any]:
        crs = self._file.crs
        assert crs is not None
        said: dict[str, Any] = {}
        flat, vertical = horizontal_part(crs).to_authority(), vertical_part(crs)
        if flat is not None:
            said |= {"authority": flat[0], "horizontal": flat[1]}
            upright = None if vertical is None else vertical.to_authority()
            if upright is not None and upright[0] == flat[0]:
                said["vertical"] = upright[1]
        return {**said, "wkt": las_wkt(crs)}

    def _described(self, one: Dimension) -> dict[str, Any]:
        """A dimension with its statistics over all points."""
        kind = np.dtype(one.dtype)
        name = _NAMES.get(one.name, one.name)
        said: dict[str, Any] = {
            "name": name,
            "type": _KINDS.get(kind.kind, "unsigned"),
            "size": kind.itemsize * one.members,
        }
        if one.name == "ScanAngle":
            said |= {"type": "float", "size": 4}
        elif one.is_scaled:
            said |= {"scale": one.scale, "offset": one.offset}
        if one.name in self._table.dimensions:
            said |= self._statistics(one.name)
        if one.name == "Classification":
            totals = self._table.class_counts.sum(axis=0, dtype=np.int64).tolist()
            pairs = zip(self._table.classes, totals, strict=True)
            said["counts"] = [{"value": code, "count": count} for code, count in pairs]
        return said

    def _statistics(self, name: str) -> dict[str, Any]:
        table, column = self._table, self._table.column(name)
        count = table.count
        with np.errstate(invalid="ignore"):
            low, high = np.fmin.reduce(table.lowest[:, column]), np.fmax.reduce(table.highest[:, column])
        if not count or not math.isfinite(low):
            return {"count": count}
        mean = float(table.sums[:, column].sum()) / count
        variance = max(0.0, float(table.squares[:, column].sum()) / count - mean * mean)
        return {
            "count": count,
            "minimum": float(low),
            "maximum": float(high),
            "mean": mean,
            "stddev": math.sqrt(variance),
            "variance": variance,
        }


class _Views:
    """Views by path, those longest not used dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: OrderedDict[str, EptView] = OrderedDict()

    def get(self, path: Path) -> EptView:
        key = str(path)
        with self._lock:
            known = self._views.get(key)
            if known is not None:
                self._views.move_to_end(key)
                return known
        made = EptView(open_file(path), open_nodes(path))
        with self._lock:
            made = self._views.setdefault(key, made)
            while len(self._views) > _KEPT:
                self._views.popitem(last=False)
        return made


_VIEWS: Final = _Views()


def open_ept(path: Path) -> EptView:
    """The view of a COPC of a generation, kept while it is in use. Raises UnreadablePointCloudError, InvalidCopcError."""
    return _VIEWS.get(path)
