"""Points on their way to PDAL and back: plain LAS 1.4 files of our own making, so that nothing anyone else wrote is read by it.

PDAL before 2.4 knows no COPC, and no PDAL knows our rights: what is handed over holds the points that were asked for, and no
dimension that is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.query import PointQuery, read
from pointclouds.crs import las_wkt
from pointclouds.errors import OutputError, PipelineLimitError
from pointclouds.las.dimensions import EXTRA_BYTES_RECORD, EXTRA_BYTES_SIZE, Dimension, Triple, dimensions_of
from pointclouds.las.extra_bytes import describe
from pointclouds.las.layout import FIELDS, Records, dimension, record_dtype
from pointclouds.las.structures import GPS_STANDARD_TIME, LAS_14_HEADER_SIZE, WKT_FLAG, LasHeader, Vlr
from pointclouds.pdal.allowed import RESERVED
from pointclouds.pdal.cloth import CLOTH
from pointclouds.pdal.stages import Stage
from pointclouds.sources import LasSource, PointSource, SourceDescription

_NAMES_OF_PDAL: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_RETURNS: Final = 15
_SCALED: Final = 0x18
_OF_PDAL: Final = frozenset({RESERVED, "ClassFlags"})
"""Dimensions that a result may have and nobody asked for: ours, and PDAL's own for the flags of a point."""
_NUMBERS: Final = frozenset("uif")

Own = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.bool_]]
"""(x, y) of points, native -> (n,) True for those that a block keeps."""


@dataclass(frozen=True)
class Layout:
    """What is handed over: the record with the extra dimensions that PDAL can take, and what is known of them.

    `dropped` names extra dimensions that stay behind; `hidden` disk fields, and bits of them, that are handed over as zero.
    """

    point_format: int
    scale: Triple
    offset: Triple
    crs: pyproj.CRS
    extra: tuple[tuple[str, np.dtype[Any]], ...]
    structs: bytes
    dropped: tuple[str, ...]
    hidden: tuple[Dimension, ...] = ()
    standard_time: bool = False

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The packed record."""
        return record_dtype(self.point_format, self.extra)


def layout_of(
    description: SourceDescription, crs: pyproj.CRS, hidden: frozenset[str] = frozenset()
) -> Layout:
    """The layout of points of a source. Hidden dimensions are left out, and are zero where LAS has to have them."""
    records = [Vlr(*EXTRA_BYTES_RECORD, description.extra_structs)] if description.extra_structs else []
    known = dimensions_of(description.dtype, description.scale, description.offset, records)
    kept: list[tuple[str, np.dtype[Any]]] = []
    structs, dropped = b"", []
    described = _structs(description.extra_structs)
    for one in known:
        if not one.extra:
            continue
        # A letter first, then letters, digits, _: what PDAL takes for a name. Several numbers a point become other dimensions.
        good = set(one.name) <= _NAMES_OF_PDAL and one.name[:1].isalpha() and one.members == 1
        if one.name in hidden:
            continue
        if not good or np.dtype(one.dtype).kind not in _NUMBERS or one.name == RESERVED:
            dropped.append(one.name)
            continue
        kept.append((one.name, description.dtype[one.field]))
        # An undocumented one (data type 0) says nothing of its type, and PDAL leaves it out.
        raw = described.get(one.name, bytes(EXTRA_BYTES_SIZE))
        structs += raw if raw[2] else describe(one.name, np.dtype(one.dtype), one.description)
    return Layout(
        point_format=description.point_format,
        scale=description.scale,
        offset=description.offset,
        crs=crs,
        extra=tuple(kept),
        structs=structs,
        dropped=tuple(dropped),
        hidden=tuple(one for one in known if one.name in hidden and not one.extra),
        standard_time=bool(description.global_encoding & GPS_STANDARD_TIME),
    )


def layout_of_cloud(cloud: Cloud, hidden: frozenset[str] = frozenset()) -> Layout:
    """The layout of a cloud's points."""
    return layout_of(LasSource(cloud.tiles[0].path).description, cloud.crs, hidden)


def _structs(data: bytes) -> dict[str, bytes]:
    pieces = [data[at : at + EXTRA_BYTES_SIZE] for at in range(0, len(data), EXTRA_BYTES_SIZE)]
    return {raw[4:36].split(b"\0", 1)[0].decode("utf-8", "replace"): raw for raw in pieces}


def write_cloud_points(
    cloud: Cloud, query: PointQuery, layout: Layout, path: Path, most: int, own: Own | None = None
) -> int:
    """Write the points of a query as LAS; returns how many.

    Args:
        most: the number of points beyond which nothing is written.
        own: adds the dimension RESERVED, 1 for the points that this tells.

    Raises:
        PipelineLimitError: more points than `most`.
        QueryError, UnreadablePointCloudError, OutputError: see pointclouds.errors.
    """
    return _write(path, layout, (batch.records for batch in read(cloud, query)), most, own)


def write_source_points(source: PointSource, layout: Layout, path: Path, most: int) -> int:
    """Write all points of a source as LAS; returns how many. Raises as write_cloud_points does."""
    return _write(path, layout, source.chunks(), most, None)


def _write(path: Path, layout: Layout, batches: Iterable[Records], most: int, own: Own | None) -> int:
    tally = _Tally(layout)
    extra, structs = layout.extra, layout.structs
    if own is not None:
        extra, structs = (*extra, (RESERVED, np.dtype("u1"))), structs + describe(RESERVED, np.dtype("u1"))
    dtype = record_dtype(layout.point_format, extra)
    records = [Vlr("LASF_Projection", 2112, las_wkt(layout.crs).encode() + b"\0", "OGC WKT")]
    if structs:
        records.append(Vlr(*EXTRA_BYTES_RECORD, structs, "extra bytes"))
    packed = b"".join(record.pack() for record in records)
    try:
        with path.open("wb") as stream:
            stream.write(bytes(LAS_14_HEADER_SIZE) + packed)
            for batch in batches:
                if not len(batch):
                    continue
                tally.add(batch)
                if tally.count > most:
                    raise PipelineLimitError(
                        f"more than {most} points are asked for, which is what one pipeline may take; ask for a smaller area"
                    )
                stream.write(_handed(batch, layout, dtype, own).tobytes())
            stream.seek(0)
            stream.write(tally.header(len(packed), len(records), dtype.itemsize).pack())
    except OSError as error:
        raise OutputError(f"the points cannot be written for PDAL: {error.strerror or error}") from error
    return tally.count


def _handed(batch: Records, layout: Layout, dtype: np.dtype[np.void], own: Own | None) -> Records:
    given = np.zeros(len(batch), dtype)
    for name, _ in (*FIELDS[layout.point_format], *layout.extra):
        given[name] = batch[name]
    for one in layout.hidden:
        _hide(given, one)
    if own is not None:
        x = batch["X"] * layout.scale[0] + layout.offset[0]
        y = batch["Y"] * layout.scale[1] + layout.offset[1]
        given[RESERVED] = own(x, y)
    return given


def _hide(records: Records, one: Dimension) -> None:
    """Make a hidden dimension say nothing; a return of a pulse is then the only one of it."""
    if one.name == one.field:
        records[one.field] = 0
        return
    neutral = 1 if one.name in ("ReturnNumber", "NumberOfReturns") else 0
    zero = np.zeros(1, records.dtype)
    zero[one.field] = 0xFF
    mask = int(dimension(zero, one.name)[0])
    shift = next(
        place for place in range(8) if int(dimension(_one_bit(records.dtype, one.field, place), one.name)[0])
    )
    records[one.field] = (records[one.field] & ~np.uint8(mask << shift)) | np.uint8(neutral << shift)


def _one_bit(dtype: np.dtype[np.void], name: str, place: int) -> Records:
    found = np.zeros(1, dtype)
    found[name] = 1 << place
    return found


class _Tally:
    """Counts and box of what is written, for the header."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.count = 0
        self._returns = np.zeros(16, np.int64)
        self._low = np.full(3, np.iinfo(np.int32).max, np.int64)
        self._high = np.full(3, np.iinfo(np.int32).min, np.int64)

    def add(self, batch: Records) -> None:
        self.count += len(batch)
        self._returns += np.bincount(batch["Returns"] & 0x0F, minlength=16)
        self._low = np.minimum(self._low, [batch[name].min() for name in "XYZ"])
        self._high = np.maximum(self._high, [batch[name].max() for name in "XYZ"])

    def header(self, records_size: int, records: int, record_length: int) -> LasHeader:
        layout = self._layout
        low, high = (
            _triple(ends * np.array(layout.scale) + layout.offset) for ends in (self._low, self._high)
        )
        empty = (0.0, 0.0, 0.0)
        return LasHeader(
            version_minor=4,
            header_size=LAS_14_HEADER_SIZE,
            offset_to_points=LAS_14_HEADER_SIZE + records_size,
            vlr_count=records,
            point_format=layout.point_format,
            compressed=False,
            record_length=record_length,
            point_count=self.count,
            points_by_return=tuple(int(one) for one in self._returns[1 : _RETURNS + 1]),
            scale=layout.scale,
            offset=layout.offset,
            minimum=low if self.count else empty,
            maximum=high if self.count else empty,
            global_encoding=WKT_FLAG | (GPS_STANDARD_TIME if layout.standard_time else 0),
        )


def _triple(values: Any) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


_ADDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "filters.hag_nn": ("HeightAboveGround",),
        "filters.hag_delaunay": ("HeightAboveGround",),
        "filters.hag_dem": ("HeightAboveGround",),
        "filters.normal": ("NormalX", "NormalY", "NormalZ", "Curvature"),
        "filters.covariancefeatures": ("Linearity", "Planarity", "Scattering", "Verticality"),
        "filters.eigenvalues": ("Eigenvalue0", "Eigenvalue1", "Eigenvalue2"),
        "filters.estimaterank": ("Rank",),
        "filters.approximatecoplanar": ("Coplanar",),
        "filters.nndistance": ("NNDistance",),
        "filters.radialdensity": ("RadialDensity",),
        "filters.cluster": ("ClusterID",),
        "filters.dbscan": ("ClusterID",),
    }
)
"""The dimensions that filters add. PDAL's own word for all of them ("all") would also write dimensions that only it uses."""
_ADDS_NOTHING: Final = frozenset(
    f"filters.{name}"
    for name in (
        *(
            "smrf",
            "csf",
            "pmf",
            "skewnessbalancing",
            "outlier",
            "elm",
            "sample",
            "voxelcenternearestneighbor",
            "decimation",
        ),
        *(
            "voxelcentroidnearestneighbor",
            "voxeldownsize",
            "fps",
            "head",
            "tail",
            "range",
            "expression",
            "crop",
            "iqr",
        ),
        *(
            "reprojection",
            "transformation",
            "sort",
            "mortonorder",
            "randomize",
            "colorization",
            "mad",
            "merge",
        ),
    )
)


def _extra_dims(layout: Layout, stages: Sequence[Stage]) -> str:
    """What PDAL is to write besides LAS's own dimensions: those handed over, and those that the stages add."""
    wanted = {name: _type_of(layout, name) for name, _ in layout.extra}
    for stage in stages:
        if stage.type == CLOTH:
            continue
        added = _ADDED.get(stage.type)
        if stage.type == "filters.assign" and "value" not in stage.options:
            continue
        if added is None and stage.type not in _ADDS_NOTHING:
            return "all"
        wanted.update(dict.fromkeys(added or (), "int64" if "ClusterID" in (added or ()) else "double"))
    return ",".join(f"{name}={kind}" for name, kind in wanted.items())


_TYPES: Final = {"u": "uint", "i": "int"}


def _type_of(layout: Layout, name: str) -> str:
    """PDAL's word for the type of an extra dimension; one with a scale is a number with a fraction to PDAL."""
    kind = dict(layout.extra)[name]
    options = _structs(layout.structs)[name][3]
    if kind.kind == "f":
        return "float" if kind.itemsize == 4 else "double"
    return "double" if options & _SCALED else f"{_TYPES[kind.kind]}{kind.itemsize * 8}"


def las_writer(
    layout: Layout,
    crs: pyproj.CRS,
    stages: Sequence[Stage] = (),
    *,
    coloured: bool = False,
    own: bool = False,
) -> Stage:
    """PDAL's writer of what `stages` make of the points: their integers stay what they were, unless they are in another CRS.

    `own`: with the dimension that says whose points they are, for a program that comes after.
    """
    point_format = 7 if coloured and layout.point_format == 6 else layout.point_format
    moved = crs is not layout.crs or any(stage.type == "filters.transformation" for stage in stages)
    options: dict[str, Any] = {
        "minor_version": 4,
        "dataformat_id": point_format,
        "a_srs": las_wkt(crs),
        "global_encoding": WKT_FLAG | (GPS_STANDARD_TIME if layout.standard_time else 0),
    }
    extra = _extra_dims(layout, stages)
    if own and extra != "all":
        extra = ",".join(part for part in (extra, f"{RESERVED}=uint8") if part)
    if extra:
        options["extra_dims"] = extra
    for axis, name in enumerate("xyz"):
        options[f"scale_{name}"] = layout.scale[axis]
        options[f"offset_{name}"] = "auto" if moved else layout.offset[axis]
    return Stage("writers.las", options)


def only_own() -> Stage:
    """The filter that leaves what a block keeps."""
    return Stage("filters.range", {"limits": f"{RESERVED}[1:1]"})


class ResultSource:
    """What PDAL wrote, as a source: without the dimension of ours, in the CRS it is known to be in."""

    def __init__(self, path: Path, crs: pyproj.CRS, name: str | None = None) -> None:
        """`name` is how to speak of it. Raises as LasSource does."""
        self._inner = LasSource(path, crs)
        found = self._inner.description
        structs = b"".join(raw for key, raw in _structs(found.extra_structs).items() if key not in _OF_PDAL)
        self._description = replace(
            found,
            name=name or found.name,
            extra=tuple(one for one in found.extra if one[0] not in _OF_PDAL),
            extra_structs=structs,
        )

    @property
    def description(self) -> SourceDescription:
        """What it holds."""
        return self._description

    def chunks(self, points: int = 500_000, start: int = 0, stop: int | None = None) -> Iterator[Records]:
        """See PointSource.chunks."""
        dtype = self._description.dtype
        for chunk in self._inner.chunks(points, start, stop):
            if chunk.dtype == dtype:
                yield chunk
                continue
            records = np.empty(len(chunk), dtype)
            for name in dtype.names or ():
                records[name] = chunk[name]
            yield records
