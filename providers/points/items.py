"""Points as items: pages of GeoJSON, one point, a MultiPoint, and the formats that are files or streams.

No point becomes a Python object: columns are written as text whole, and put together row by row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.counting import count
from pointclouds.cloud.query import Batch, Plan, PlanReader, plan, plan_tile, read_plan
from pointclouds.las.times import utc_of
from pointclouds.writing.columns import ColumnMaker, Transform, joined, pieces, texts
from pointclouds.writing.las import write_las
from pointclouds.writing.layout import output_layout
from pointclouds.writing.tables import arrow_chunks, csv_chunks, write_ply
from providers.errors import InvalidParameter, ItemNotFound, UnsupportedQuery
from providers.features.crs import reference_system, transform_between, transform_with_heights
from providers.features.query import CRS84
from providers.formatters.scratch import scratch_folder, sent
from providers.points.errors import TooManyPoints
from providers.points.places import height_unit, is_native, native_system
from providers.points.request import (
    PointPlace,
    PointRequest,
    parse_point_id,
    point_id_prefix,
)
from providers.points.schema import TIME_FIELD

_PAGE_READ: Final = 2_000_000
"""Points that are read for one page at most; a page that has fewer then tells where to go on."""


@dataclass(frozen=True, slots=True)
class PointForm:
    """A format of points. `text`: whether it is worth compressing. `own_crs`: whether it is given in the cloud's system only;
    `native`: whether that is what it is given in where nothing is said."""

    name: str
    media_type: str
    ending: str
    text: bool = False
    own_crs: bool = False
    native: bool = True
    accepts: tuple[str, ...] = ()


FORMS: Final = {
    form.name: form
    for form in (
        PointForm("geojson", "application/geo+json", "geojson", text=True, native=False),
        PointForm("multipoint", "application/geo+json", "geojson", text=True, native=False),
        PointForm("csv", "text/csv; charset=utf-8", "csv", text=True),
        PointForm("ply", "application/x-ply", "ply", accepts=("model/ply",)),
        PointForm("arrow", "application/vnd.apache.arrow.stream", "arrows"),
        PointForm("laz", "application/vnd.laszip", "laz", own_crs=True, accepts=("application/x-laz",)),
        PointForm("las", "application/vnd.las", "las", own_crs=True, accepts=("application/x-las",)),
        PointForm("copc", "application/vnd.laszip+copc", "copc.laz", own_crs=True),
    )
}
"""What points are given in, by the value of `f`; the first is the default."""


def crs_of(request: PointRequest, cloud: Cloud, form: PointForm) -> str:
    """URI of the coordinates of an answer, "" for the cloud's own where that has none. Raises InvalidParameter."""
    if request.crs is None:
        return native_system(cloud).uri if form.native else CRS84
    if form.own_crs and not is_native(cloud, request.crs):
        own = native_system(cloud).uri or "the point cloud's own"
        raise InvalidParameter(
            "crs", request.crs, f"{own} for f={form.name}; csv, ply, arrow and geojson are given in others"
        )
    return request.crs


def column_maker(request: PointRequest, cloud: Cloud, uri: str) -> ColumnMaker:
    """What makes the columns of an answer with coordinates in `uri` (GIS order: x to the east)."""
    if not uri or is_native(cloud, uri):
        return ColumnMaker(cloud, request.dimensions)
    target, native = reference_system(uri), native_system(cloud)
    solid = transform_with_heights(native, target)
    flat = transform_between(native, target)
    unit = height_unit(cloud)

    def apply(x: Any, y: Any, z: Any) -> Any:
        if solid is not None:
            return solid(x, y, z)
        if flat is not None:
            x, y = flat(x, y)
        return x, y, z * unit

    transform: Transform = apply
    # Points lie closer than features do: a tenth of a millimetre.
    return ColumnMaker(cloud, request.dimensions, transform, 9 if target.horizontal.is_geographic else 4)


def require_budget(source: Plan, allowed: int) -> None:
    """Refuse what would read too many points. Raises TooManyPoints."""
    asked = points_to_read(source)
    if asked > allowed:
        raise TooManyPoints(asked, allowed)


def points_to_read(source: Plan) -> int:
    """How many points reading a plan decodes or copies at most: with a budget, the levels that can be needed to spend it."""
    most = source.query.max_points
    if most is None or not len(source.row):
        return source.points
    sure = np.cumsum(np.where(source.whole, source.counts, 0))
    needed = np.searchsorted(sure, most)
    if needed >= len(sure):
        return source.points
    return int(source.counts[source.spacing >= source.spacing[needed]].sum())


# --- pages of GeoJSON ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PointPage:
    """`features`: GeoJSON features, separated by commas. `next_id`: of the last point, where more may follow; None on the last
    page. `matched`: how many points match in all, None where that is not known without reading."""

    features: bytes
    returned: int
    matched: int | None
    next_id: str | None
    crs: str


def point_page(cloud: Cloud, request: PointRequest, limit: int) -> PointPage:
    """A page of at most `limit` points, in the order of the plan: coarse nodes first, within a node as they are stored.

    Raises:
        InvalidParameter: a cursor of another question.
    """
    uri = crs_of(request, cloud, FORMS["geojson"])
    maker = column_maker(request, cloud, uri)
    batches, following = point_batches(cloud, request, limit)
    features = b",".join(_features(request, batch, maker, uri) for _, batch in batches)
    counted = count(cloud, request.query, most_read=0)
    matched = counted.points if counted.exact else None
    return PointPage(features, sum(batch.count for _, batch in batches), matched, following, uri)


def point_batches(
    cloud: Cloud, request: PointRequest, limit: int
) -> tuple[list[tuple[str, Batch]], str | None]:
    """The points of a page with the beginning of their ids, and the id after which the next page starts (None on the last)."""
    source = plan(cloud, request.query)
    found: list[tuple[str, Batch]] = []
    left, read = limit, 0
    last: str | None = None
    for index, batch in _visited(cloud, request, source):
        if batch is not None:
            if left == 0:
                return found, last
            taken = batch.part(0, left)
            found.append((_id_prefix(source, index), taken))
            left -= taken.count
            if taken.count < batch.count:
                return found, f"{_id_prefix(source, index)}{int(taken.numbers[-1])}"
        read += 0 if source.whole[index] else int(source.counts[index])
        last = f"{_id_prefix(source, index)}{int(source.counts[index]) - 1}"
        if read >= _PAGE_READ and request.query.max_points is None and index + 1 < len(source.row):
            return found, last
    return found, None


def _visited(cloud: Cloud, request: PointRequest, source: Plan) -> Iterator[tuple[int, Batch | None]]:
    """The nodes of a plan from the cursor on, with their points that match."""
    start = 0 if request.after is None else _start(cloud, request.after, source)
    found: Iterator[tuple[int, Batch | None]]
    if request.query.max_points is None:
        reader = PlanReader(source)
        found = ((index, reader.batch(index)) for index in range(start, len(source.row)))
    else:  # which points are taken is decided level by level, from the first on
        found = ((batch.index, batch) for batch in read_plan(source))
    for index, batch in found:
        if index == start and request.after is not None and batch is not None:
            behind = int(np.searchsorted(batch.numbers, request.after.number, side="right"))
            yield index, batch.part(behind, batch.count) if behind < batch.count else None
        elif index >= start:
            yield index, batch


def _id_prefix(source: Plan, index: int) -> str:
    """The ids of the points of a node of a plan, without their number."""
    entry = source.file(index).entries[source.row[index]]
    node = (int(entry["level"]), int(entry["x"]), int(entry["y"]), int(entry["z"]))
    return point_id_prefix(source.tiles[int(source.tile[index])].name, node)


def _start(cloud: Cloud, after: PointPlace, source: Plan) -> int:
    """Where in the plan the node of a cursor is."""
    place = next((number for number, tile in enumerate(source.tiles) if tile.name == after.tile), None)
    row = None if place is None else _row(cloud, after)
    found = np.flatnonzero((source.tile == place) & (source.row == row)) if row is not None else np.empty(0)
    if not found.size:
        raise InvalidParameter("cursor", after.tile, "a cursor taken from a next link of the same question")
    return int(found[0])


def _row(cloud: Cloud, place: PointPlace) -> int | None:
    """The row of a point's node in the table of its tile."""
    tile = cloud.tile(place.tile)
    if tile is None:
        return None
    entries = cloud.nodes(tile).entries
    same = np.ones(len(entries), bool)
    for name, value in zip(("level", "x", "y", "z"), place.node, strict=True):
        same &= entries[name] == value
    rows = np.flatnonzero(same)
    return int(rows[0]) if len(rows) else None


def _node(batch: Batch) -> tuple[int, int, int, int]:
    entry = batch.entry
    return int(entry["level"]), int(entry["x"]), int(entry["y"]), int(entry["z"])


def _features(request: PointRequest, batch: Batch, maker: ColumnMaker, uri: str) -> bytes:
    """The points of a batch as GeoJSON features, separated by commas."""
    columns = maker(batch.records)
    first, second = columns.x, columns.y
    if uri and reference_system(uri).swap:
        first, second = second, first
    prefix = point_id_prefix(batch.tile.name, _node(batch))
    parts: list[bytes | list[bytes]] = [
        f'{{"type":"Feature","id":"{prefix}'.encode(),
        texts(batch.numbers),
        b'","geometry":{"type":"Point","coordinates":[',
        texts(first),
        b",",
        texts(second),
        b",",
        texts(columns.z),
        b']},"properties":{',
    ]
    separator = b""
    for name, column in columns.columns.items():
        parts += [separator + orjson.dumps(name) + b":", texts(column)]
        separator = b","
    if request.with_time:
        parts += [separator + orjson.dumps(TIME_FIELD) + b":", _instants(batch)]
    parts.append(b"}},")
    return joined(parts)[:-1]


def _instants(batch: Batch) -> list[bytes]:
    """RFC 3339 instants in quotes, or null."""
    moments = utc_of(batch.records["GpsTime"])
    return orjson.dumps(
        [None if one == "NaT" else f"{one}Z" for one in np.datetime_as_string(moments, "ms").tolist()]
    )[1:-1].split(b",")


def point_feature(cloud: Cloud, request: PointRequest, point_id: str) -> tuple[bytes, str]:
    """One point by its id, as a GeoJSON feature, and the URI of its coordinates.

    Raises:
        ItemNotFound: no point has this id, or it is not among those asked for.
    """
    place = parse_point_id(point_id)
    row = None if place is None else _row(cloud, place)
    if place is None or row is None:
        raise ItemNotFound(point_id)
    tile = cloud.tile(place.tile)
    assert tile is not None  # _row found its table
    batch = _node_batch(cloud, request, place, row)
    where = -1 if batch is None else int(np.searchsorted(batch.numbers, place.number))
    if batch is None or where >= batch.count or batch.numbers[where] != place.number:
        raise ItemNotFound(point_id)
    uri = crs_of(request, cloud, FORMS["geojson"])
    return _features(request, batch.part(where, where + 1), column_maker(request, cloud, uri), uri), uri


def _node_batch(cloud: Cloud, request: PointRequest, place: PointPlace, row: int) -> Batch | None:
    """The points of one node that are asked for."""
    source = plan_tile(cloud, request.query, place.tile)
    for index in np.flatnonzero(source.row == row):
        return next(iter(read_plan(source.only(int(index)))), None)
    return None


# --- streams and files ---------------------------------------------------------------------------------------------------


def point_chunks(cloud: Cloud, request: PointRequest, form: PointForm, source: Plan) -> Generator[bytes]:
    """The points of a plan in a format, piece by piece; memory is bounded, whatever the size.

    LAZ, LAS, PLY and COPC say at their beginning what only their end tells: they are made in a scratch folder first.
    """
    uri = crs_of(request, cloud, form)
    maker = column_maker(request, cloud, uri)
    batches = read_plan(source)
    match form.name:
        case "multipoint":
            yield from _multipoint(batches, maker, uri)
        case "csv":
            yield from csv_chunks(batches, maker)
        case "arrow":
            crs = reference_system(uri).crs if uri else cloud.crs
            yield from arrow_chunks(batches, maker, crs)
        case _:
            with scratch_folder() as folder:
                made = folder / f"points.{form.ending}"
                _make(made, cloud, request, form, batches, maker)
                yield from sent(made)


def _make(
    path: Path,
    cloud: Cloud,
    request: PointRequest,
    form: PointForm,
    batches: Iterable[Batch],
    maker: ColumnMaker,
) -> None:
    if form.name == "ply":
        write_ply(path, batches, maker)
        return
    layout = output_layout(cloud, request.wanted, request.hidden)
    if form.name != "copc":
        write_las(path, cloud, batches, layout, compressed=form.name == "laz")
        return
    flat = path.with_name("points.las")
    if write_las(flat, cloud, batches, layout, compressed=False):
        _build(flat, path)
    else:
        raise UnsupportedQuery(
            "no point matches, and a COPC has at least one; ask for f=laz, which may be empty",
            "f",
            "laz, las, csv, ply, arrow",
        )


def _build(flat: Path, path: Path) -> None:
    from pointclouds.build.build import build_copc
    from pointclouds.sources import LasSource

    build_copc([LasSource(flat)], path, processes=1, workspace=flat.with_name("build"))


def _multipoint(batches: Iterable[Batch], maker: ColumnMaker, uri: str) -> Iterator[bytes]:
    """One Feature whose geometry is a MultiPoint of all points."""
    swap = bool(uri) and reference_system(uri).swap
    yield b'{"type":"Feature","properties":{},"geometry":{"type":"MultiPoint","coordinates":['
    separator = b""
    for records in pieces(batches):
        columns = maker(records)
        first, second = (columns.y, columns.x) if swap else (columns.x, columns.y)
        rows = joined([b"[", texts(first), b",", texts(second), b",", texts(columns.z), b"],"])
        yield separator + rows[:-1]
        separator = b","
    yield b"]}}"
