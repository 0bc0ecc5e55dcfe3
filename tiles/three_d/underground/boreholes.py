"""Boreholes -> stacked cylinders, one for each interval, in the colours of what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.objects import Keys, Material, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame, Positions, to_ecef
from tiles.three_d.report import ProblemLog, Survivors
from tiles.three_d.underground.axes import Numbers, Placing, outlines_around
from tiles.three_d.underground.kinds import Colour, colour_of
from tiles.three_d.underground.measures import numbers_of
from tiles.three_d.underground.profiles import FINE_SIDES
from tiles.three_d.underground.sweep import drums

_VERTICES = 4 * FINE_SIDES
_MOST_INTERVALS = 1000
"""Of one borehole; a longer list is not what a field should hold."""

LITHOLOGY_COLOURS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("fill", "made ground", "填土", "杂填", "素填"), "#9C8F7A"),
    (("topsoil", "peat", "humus", "耕土", "泥炭", "腐殖"), "#5B4636"),
    (("mud", "ooze", "淤泥"), "#6E7B8B"),
    (("silty clay", "粉质黏土", "粉质粘土", "亚粘土"), "#C08457"),
    (("clay", "黏土", "粘土"), "#B5651D"),
    (("loess", "黄土"), "#E3C16F"),
    (("silt", "粉土"), "#D2B48C"),
    (("gravel", "pebble", "cobble", "砾", "卵石", "圆砾", "碎石"), "#B8A99A"),
    (("sand", "砂", "沙"), "#F2D16B"),
    (("till", "moraine", "冰碛"), "#8F9779"),
    (("weathered", "风化"), "#9B8AA6"),
    (("limestone", "dolomite", "灰岩", "白云岩"), "#7FA7C9"),
    (("sandstone", "砂岩"), "#D9A441"),
    (("mudstone", "shale", "siltstone", "泥岩", "页岩"), "#7D7461"),
    (("granite", "gneiss", "花岗", "片麻"), "#D77A8A"),
    (("basalt", "andesite", "玄武", "安山"), "#4F5D75"),
    (("bedrock", "rock", "岩"), "#8A8D91"),
    (("coal", "煤"), "#2B2B2B"),
    (("water", "水"), "#4AA3DF"),
)
"""Words in names of soils and rocks, the sure ones first, and how each is drawn."""


def lithology_colour(name: str, own: Mapping[str, str]) -> Colour:
    """The colour of a soil or rock: `own` by its exact name, else by a word in it, else one made of the name."""
    if name in own:
        return colour_of(own[name])
    plain = name.lower()
    # The longest word that fits says most: 砂岩 is not 砂.
    found = [(len(word), colour) for words, colour in LITHOLOGY_COLOURS for word in words if word in plain]
    if found:
        return colour_of(max(found)[1])
    shades = hashlib.sha256(name.encode()).digest()
    return colour_of("#" + "".join(f"{96 + shade // 2:02x}" for shade in shades[:3]))


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of n boreholes, one after the other in the order of their holes.

    `hole` (i,) the row of the borehole; `start`, `end` (i,) depth below its top, m; `lithology` i names.
    """

    hole: NDArray[np.intp]
    start: Numbers
    end: Numbers
    lithology: list[str]

    def take(self, which: NDArray[np.bool_]) -> Intervals:
        """Some of them."""
        at = np.flatnonzero(which).tolist()
        return Intervals(
            self.hole[which], self.start[which], self.end[which], [self.lithology[row] for row in at]
        )


_FROM_NAMES = ("from", "start", "top", "depth_from", "起始深度", "层顶深度", "from_depth")
_TO_NAMES = ("to", "end", "bottom", "depth_to", "终止深度", "层底深度", "to_depth", "depth")
_LITHOLOGY_NAMES = ("lithology", "soil", "rock", "material", "layer", "name", "岩性", "岩土名称", "地层名称")


def intervals_of(values: Sequence[object], ids: Sequence[str], log: ProblemLog) -> Intervals:
    """Read a field of JSON lists of intervals ([{"from": 0, "to": 2.5, "lithology": "fill"}, ...]), one list a borehole.

    What is broken is told to `log`: a list that is no list is left out as a whole, an interval by itself. Reversed ones are
    turned, and where two overlap the lower one begins where the upper one ends.
    """
    hole: list[int] = []
    start: list[float] = []
    end: list[float] = []
    lithology: list[str] = []
    for row, value in enumerate(values):
        for top, bottom, name in _sorted_out(_listed(value, ids[row], log), ids[row], log):
            hole.append(row)
            start.append(top)
            end.append(bottom)
            lithology.append(name)
    return Intervals(np.array(hole, dtype=np.intp), np.array(start), np.array(end), lithology)


def _listed(value: object, identifier: str, log: ProblemLog) -> list[Mapping[str, object]]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            log.add(identifier, "the list of its intervals is no JSON", "skipped")
            return []
    if not isinstance(value, list) or not value:
        log.add(identifier, "no list of intervals is given", "skipped")
        return []
    if len(value) > _MOST_INTERVALS:
        log.add(
            identifier, f"{len(value)} intervals, of which the first {_MOST_INTERVALS} are drawn", "repaired"
        )
    good: list[Mapping[str, object]] = [item for item in value[:_MOST_INTERVALS] if isinstance(item, dict)]
    if len(good) < len(value[:_MOST_INTERVALS]):
        log.add(identifier, "an interval is no JSON object", "repaired")
    return good


def _named(item: Mapping[str, object], names: Sequence[str]) -> object:
    return next((item[name] for name in names if name in item), None)


def _sorted_out(
    items: list[Mapping[str, object]], identifier: str, log: ProblemLog
) -> list[tuple[float, float, str]]:
    """Intervals from top to bottom, without gaps turned around or overlapping."""
    if not items:
        return []
    start = numbers_of([_named(item, _FROM_NAMES) for item in items])
    end = numbers_of([_named(item, _TO_NAMES) for item in items])
    names = [str(_named(item, _LITHOLOGY_NAMES) or "") for item in items]
    found = []
    for top, bottom, name in zip(start.tolist(), end.tolist(), names, strict=True):
        if np.isnan(top) or np.isnan(bottom) or top == bottom:
            log.add(identifier, "an interval has no depths from and to, or no thickness", "repaired")
            continue
        if top > bottom:
            log.add(identifier, f"interval from {top:g} to {bottom:g} m is reversed", "repaired")
        found.append((min(top, bottom), max(top, bottom), name))
    found.sort(key=lambda interval: interval[:2])
    result: list[tuple[float, float, str]] = []
    for top, bottom, name in found:
        if result and top < result[-1][1] - 1e-6:
            log.add(identifier, f"interval from {top:g} to {bottom:g} m overlaps the one above", "repaired")
        begin = max(top, result[-1][1]) if result else top
        if bottom > begin:
            result.append((begin, bottom, name))
    return result


@dataclass(frozen=True, slots=True)
class Boreholes:
    """Placed boreholes. `rows` (m,) of those that can be drawn, ascending; `place` (m, 2) degrees, `tops` (m,) ellipsoidal heights.

    `intervals` have their hole as an index into `rows`.
    """

    rows: NDArray[np.intp]
    place: Positions
    tops: Numbers
    intervals: Intervals
    radius: float
    colours: Mapping[str, str]
    said: str

    def outlines(self, keys: Keys) -> Outlines:
        """Outlines of the boreholes; `keys` (m,) theirs."""
        count = len(self.rows)
        upper, lower = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(upper, self.intervals.hole, self.intervals.start)
        np.maximum.at(lower, self.intervals.hole, self.intervals.end)
        low = np.column_stack((self.place, self.tops - lower))
        high = np.column_stack((self.place, self.tops - upper))
        weights = np.bincount(self.intervals.hole, minlength=count).astype(np.int64) * _VERTICES
        return outlines_around(low, high, keys, np.full(count, self.radius), weights)

    def parts(self, frame: LocalFrame) -> list[MeshPart]:
        """A cylinder for each interval in a tile's frame; feature ids count along `intervals`. One part for each colour."""
        named = np.array(self.intervals.lithology, dtype=object)
        by_colour: dict[Colour, list[Mesh]] = {}
        place = self.place[self.intervals.hole]
        tops = self.tops[self.intervals.hole]
        upper = frame.to_local(to_ecef(place[:, 0], place[:, 1], tops - self.intervals.start))
        lower = frame.to_local(to_ecef(place[:, 0], place[:, 1], tops - self.intervals.end))
        feature = np.arange(len(place))
        for name in dict.fromkeys(self.intervals.lithology):
            one = named == name
            body = drums(lower[one], upper[one], np.full(int(one.sum()), self.radius), feature[one])
            by_colour.setdefault(lithology_colour(name, self.colours), []).append(body)
        return [
            MeshPart(join_meshes(meshes), Material(colour=(*colour, 1.0)))
            for colour, meshes in by_colour.items()
        ]


def place_boreholes(
    geometries: NDArray[np.object_],
    tops: Numbers,
    intervals: Intervals,
    survivors: Survivors,
    placing: Placing,
    *,
    diameter: float,
    colours: Mapping[str, str],
) -> Boreholes:
    """Place boreholes at points (n,), whose top is `tops` (n,), else the ground, else their own z.

    What cannot be drawn drops out of `survivors`. Raises PlacementError where the CRS or its heights have no way to WGS 84.
    """
    survivors.drop(shapely.is_missing(geometries) | shapely.is_empty(geometries), "no geometry")
    survivors.drop(shapely.get_type_id(geometries) != 0, "not a point")
    has_interval = np.zeros(len(geometries), dtype=np.bool_)
    has_interval[intervals.hole] = True
    survivors.drop(~has_interval, "no interval that could be drawn")
    rows = np.flatnonzero(survivors.alive)
    xyz = shapely.get_coordinates(geometries[rows], include_z=True)
    survivors.drop_owners(rows, ~np.isfinite(xyz[:, :2]).all(axis=1), "a coordinate is not a number")
    height = np.where(np.isnan(tops[rows]), xyz[:, 2], tops[rows])
    height = np.where(np.isnan(height), placing.ground_at(xyz), height)
    survivors.drop_owners(rows, np.isnan(height), "no top elevation is given, and the point has no z")
    xyz[:, 2] = height
    result, said = placing.on_globe(xyz)
    survivors.drop_owners(
        rows, ~np.isfinite(result).all(axis=1), "outside the area of its CRS, or its height has no way"
    )
    alive = survivors.alive[rows]
    rows, result = rows[alive], result[alive]
    kept = intervals.take(survivors.alive[intervals.hole])
    kept = Intervals(np.searchsorted(rows, kept.hole), kept.start, kept.end, kept.lithology)
    return Boreholes(rows, result[:, :2], result[:, 2], kept, diameter / 2.0, colours, said)
