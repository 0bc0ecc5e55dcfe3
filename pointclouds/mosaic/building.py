"""One input of a mosaic becomes one tile: a COPC that is as it should be is kept byte for byte, anything else is built."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pointclouds.build.build import GRID_CELLS, build_copc
from pointclouds.build.layout import PointLayout
from pointclouds.build.taking_over import take_over_copc
from pointclouds.cloud.cloud import COPC_SUFFIX, CloudDescription, CloudTile
from pointclouds.cloud.nodes import nodes_path
from pointclouds.copc.reader import CopcFile, read_info
from pointclouds.errors import CrsError, InvalidCopcError, OutputError, UnreadablePointCloudError
from pointclouds.las.dimensions import EXTRA_BYTES_RECORD
from pointclouds.las.structures import GPS_STANDARD_TIME
from pointclouds.las.times import gps_interval
from pointclouds.mosaic.tiles import described_tile
from pointclouds.mosaic.workers import stopped
from pointclouds.sources import LasSource, PointSource


@dataclass(frozen=True)
class TileJob:
    """An input and the tile it becomes, for `build_tile`. `original` is the input's file where it may be COPC already.

    `out` is the COPC to write, its node table stands beside it. `start` and `end` (RFC 3339, UTC) in place of what GPS times say.
    `workspace` is a folder of its own, for what does not stay.
    """

    name: str
    source: PointSource
    original: Path | None
    out: Path
    layout: PointLayout
    workspace: Path
    memory_bytes: int
    leaf_points: int
    grid_cells: int = GRID_CELLS
    start: str | None = None
    end: str | None = None
    processes: int = 1


@dataclass(frozen=True)
class BuiltTile:
    """A tile, what of its input COPC cannot hold, and sentences for whoever publishes it."""

    tile: CloudTile
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def build_tile(job: TileJob, cancelled: Callable[[], bool] = stopped) -> BuiltTile:
    """Make the tile. Raises PointCloudError kinds; nothing is left of it then."""
    notes: list[str] = []
    taken = job.original is not None and _took_over(job, job.original, notes)
    description = job.source.description
    if not taken:
        build_copc(
            [job.source],
            job.out,
            layout=job.layout,
            memory_bytes=job.memory_bytes,
            processes=job.processes,
            leaf_points=job.leaf_points,
            grid_cells=job.grid_cells,
            cancelled=cancelled,
            workspace=job.workspace,
        )
    facts = {"source": description.name, "taken_over": taken}
    tile = described_tile(job.name, job.out, facts, job.start, job.end)
    return BuiltTile(dated(tile), description.dropped, (*description.notes, *notes))


def dated(tile: CloudTile) -> CloudTile:
    """The tile with the interval of its GPS times, where they are dates and nothing else was said."""
    interval = (
        None if tile.facts["gps_time"] != "standard" or tile.gps == (0.0, 0.0) else gps_interval(*tile.gps)
    )
    if tile.start is not None or interval is None:
        return tile
    start, end = (_text(moment) for moment in interval)
    return CloudTile(tile.name, tile.path, tile.count, tile.box, start, end, tile.gps, tile.facts)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _took_over(job: TileJob, original: Path, notes: list[str]) -> bool:
    """Whether the input could be kept as it is; `notes` says why one that is COPC could not."""
    try:
        read_info(original)
        own = LasSource(original)
    except (InvalidCopcError, UnreadablePointCloudError, CrsError):
        return False
    if not job.layout.is_of(own.description):
        return False
    part = job.out.with_name(job.out.name + ".copy")
    try:
        shutil.copyfile(original, part)
        part.replace(job.out)
        take_over_copc(job.out, processes=job.processes, cancelled=stopped)
    except InvalidCopcError as error:
        job.out.unlink(missing_ok=True)
        nodes_path(job.out).unlink(missing_ok=True)
        notes.append(f"it is not COPC as it should be, so its octree was built anew: {error}")
        return False
    except OSError as error:
        job.out.unlink(missing_ok=True)
        raise OutputError(
            f"{job.out.name} cannot be written: {error}; free space or choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return True


def layout_of(path: Path) -> PointLayout:
    """The layout of a finished COPC. Raises InvalidCopcError, UnreadablePointCloudError, MissingCrsError."""
    with CopcFile(path) as copc:
        description = LasSource(path).description
        if description.crs is None:
            raise InvalidCopcError(f"{path.name} names no CRS; publish it with one")
        structs = [
            record.data
            for record in copc.header.records
            if (record.user_id, record.record_id) == EXTRA_BYTES_RECORD
        ]
        return PointLayout(
            crs=description.crs,
            point_format=description.point_format,
            scale=description.scale,
            offset=description.offset,
            extra=description.extra,
            extra_structs=b"".join(structs) or description.extra_structs,
            global_encoding=copc.header.las.global_encoding & GPS_STANDARD_TIME,
        )


def description_of(layout: PointLayout) -> CloudDescription:
    """The layout as the index of a mosaic keeps it."""
    return CloudDescription(
        crs=layout.crs.to_wkt(),
        point_format=layout.point_format,
        scale=layout.scale,
        offset=layout.offset,
        extra=tuple((name, _named(dtype)) for name, dtype in layout.extra),
        extra_structs=layout.extra_structs.hex(),
        global_encoding=layout.global_encoding,
    )


def _named(dtype: np.dtype[Any]) -> str:
    """A dtype as numpy reads it again: "<f4", or "(3,)<f4" for several numbers."""
    return f"{dtype.shape}{dtype.base.str}" if dtype.shape else dtype.str


def tile_path(folder: Path, name: str) -> Path:
    """Where the tile of this name stands below the folder of tiles."""
    return folder / f"{name}{COPC_SUFFIX}"
