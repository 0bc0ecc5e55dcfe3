"""Objects of one place given in many reference systems are drawn where PROJ says, from the command line to the decoded tile."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import pytest
import shapely

from tiles.three_d.vertical import VerticalReference, to_geodetic

CLOSE = 0.05
"""Metres: steps of the tiles' coordinates and nothing else."""
HEIGHTS, BASES = (10.0, 20.0, 33.3), (1.5, 2.5, -3.25)
FOOT = 1200 / 3937
_ECEF = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


class Case(NamedTuple):
    """Where, in what, and what z and heights count from. `unit`: metres of its z; `up`: what is added."""

    crs: str
    longitude: float
    latitude: float
    reference: str
    unit: float = 1.0


CASES = {
    "wgs84": Case("EPSG:4326", 114.05, 22.55, "ellipsoidal"),
    "mercator": Case("EPSG:3857", 114.05, 22.55, "12.5"),
    "cgcs2000": Case("EPSG:4547", 114.05, 22.55, "egm96"),
    "zone25": Case("EPSG:4513", 75.2, 39.5, "ellipsoidal"),
    "delft": Case("EPSG:7415", 4.36, 52.01, "automatic"),
    "minnesota": Case("EPSG:26915", -93.2, 44.9, "egm96"),
    "feet": Case("EPSG:2263+6360", -73.98, 40.75, "automatic", FOOT),
    "feet_kept": Case("EPSG:2263+6360", -73.98, 40.75, "ellipsoidal", FOOT),
    "solid": Case("EPSG:4979", 4.36, 52.01, "automatic"),
}
NAMES = [
    name
    if name in ("cgcs2000", "delft", "feet", "feet_kept")
    else pytest.param(name, marks=pytest.mark.acceptance)
    for name in CASES
]
"""All of them take a minute; the first tier has those that went wrong most easily."""
KINDS: dict[str, tuple[object, ...]] = {
    "buildings": ("--height-field", "height", "--base-field", "base"),
    "pipes": ("--underground", "pipes", "--diameter-field", "diameter"),
    "trees": ("--instances", "broadleaf_tree", "--instance-height-field", "tall"),
    "boreholes": ("--underground", "boreholes", "--field-means", "intervals=log"),
}


def flat_part(crs: str) -> pyproj.CRS:
    whole = pyproj.CRS(crs)
    return whole.sub_crs_list[0] if whole.is_compound else whole.to_2d()


def shapes(case: Case) -> dict[str, list[Any]]:
    """Footprints, lines and points around the place, in the case's CRS; z is whole numbers of its units."""
    there = pyproj.Transformer.from_crs("EPSG:4326", flat_part(case.crs), always_xy=True)

    def at(east: float, north: float, *z: float) -> tuple[float, ...]:
        east, north = east / (111_320 * np.cos(np.radians(case.latitude))), north / 110_900
        return (*there.transform(case.longitude + east, case.latitude + north), *z)

    plots = [
        shapely.Polygon([at(x, y), at(x + 30, y), at(x + 30, y + 20), at(x, y + 20)])
        for x, y in ((0, 0), (400, 300), (-800, 900))
    ]
    lines = [
        shapely.LineString([at(-50, -50, -2), at(60, -40, -3), at(80, 90, -4)]),
        shapely.LineString([at(500, 100, -1), at(560, -400, -6)]),
    ]
    return {
        "plots": plots,
        "lines": lines,
        "points": [shapely.Point(at(10, 60, 4)), shapely.Point(at(-300, 60, 7))],
    }


@pytest.fixture(scope="module")
def reading(
    home: Any,
    layer: Callable[..., Path],
    reader: Any,
    wsgi_client: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Any]:
    """Publishes a case by the command line when it is first asked for; reads it through the server's application."""
    from server.http.app import create_app
    from server.settings import load_settings

    folder = tmp_path_factory.mktemp("places")
    client = wsgi_client(create_app(load_settings((), {"CHENGTU_DATA_HOME": str(home.folder)})))
    log = json.dumps(
        [{"from": 0, "to": 2.5, "lithology": "杂填土"}, {"from": 2.5, "to": 9, "lithology": "clay"}]
    )

    def get(path: str) -> tuple[int, dict[str, str], bytes]:
        reply = client.get(path)
        return reply.status, {key.lower(): value for key, value in reply.headers.items()}, reply.body

    @cache
    def published(name: str) -> Any:
        case = CASES[name]
        made = shapes(case)
        contents = {
            "buildings": (made["plots"], {"height": HEIGHTS, "base": BASES}),
            "pipes": (made["lines"], {"diameter": [0.5, 1.25]}),
            "trees": (made["points"], {"tall": [8.0, 12.0]}),
            "boreholes": (made["points"], {"log": [log] * 2}),
        }
        for kind, (given, columns) in contents.items():
            file = layer(folder / f"{name}_{kind}.gpkg", given, case.crs, columns)
            reference = ("--height-reference", case.reference, "--crs", case.crs)
            home.publish(file, f"{name}_{kind}", *KINDS[kind], *reference)
        return reader(get)

    return published


def placed(case: Case, coordinates: Any, z: Any) -> Any:
    """ECEF (n, 3) by PROJ; `z` in metres of the case's reference."""
    there = pyproj.Transformer.from_crs(flat_part(case.crs), "EPSG:4326", always_xy=True)
    longitude, latitude = there.transform(coordinates[:, 0], coordinates[:, 1])
    kept = case.reference == "ellipsoidal" or case.crs == "EPSG:4979"
    if case.reference[0].isdigit():
        height = z + float(case.reference)
    elif kept:
        height = z
    else:
        geoid = to_geodetic(
            pyproj.CRS("EPSG:4326"),
            np.column_stack((longitude, latitude, np.zeros(len(z)))),
            VerticalReference.egm96(),
        )
        height = z + geoid.height
    return np.column_stack(_ECEF.transform(longitude, latitude, height))


def off(drawn: Any, expected: Any) -> float:
    """The largest distance between two sets of points, each to the nearest of the other."""
    apart = np.linalg.norm(drawn[:, None] - expected[None], axis=2)
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))


@pytest.mark.parametrize("name", NAMES)
def test_buildings(name: str, reading: Callable[[str], Any]) -> None:
    case = CASES[name]
    objects = reading(name).walk(f"{name}_buildings").objects
    for number, plot in enumerate(shapes(case)["plots"]):
        ring = shapely.get_coordinates(plot)[:4]
        base = np.full(4, BASES[number])
        expected = np.concatenate([placed(case, ring, base), placed(case, ring, base + HEIGHTS[number])])
        assert off(objects[str(number + 1)].triangles.reshape(-1, 3), expected) < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_pipes(name: str, reading: Callable[[str], Any]) -> None:
    case = CASES[name]
    objects = reading(name).walk(f"{name}_pipes").objects
    for number, line in enumerate(shapes(case)["lines"]):
        xyz = shapely.get_coordinates(line, include_z=True)
        axis = placed(case, xyz, xyz[:, 2] * case.unit)
        corners = objects[str(number + 1)].triangles.reshape(-1, 3)
        nearest = np.full(len(corners), np.inf)
        for start, end in pairwise(axis):
            along = np.clip((corners - start) @ (end - start) / ((end - start) @ (end - start)), 0.0, 1.0)
            away = np.linalg.norm(corners - start - along[:, None] * (end - start), axis=1)
            nearest = np.minimum(nearest, away)
        radius = (0.25, 0.625)[number]
        assert np.median(np.abs(nearest - radius)) < CLOSE
        assert nearest.max() < 1.5 * radius + CLOSE, "a mitre"
        for end in (axis[0], axis[-1]):
            ring = np.sort(np.linalg.norm(corners - end, axis=1))[:8]
            assert np.abs(ring - radius).max() < CLOSE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["trees", "boreholes"])
def test_points(name: str, kind: str, reading: Callable[[str], Any]) -> None:
    case = CASES[name]
    objects = reading(name).walk(f"{name}_{kind}").objects
    for number, point in enumerate(shapes(case)["points"]):
        xyz = shapely.get_coordinates(point, include_z=True)
        (place,) = placed(case, xyz, xyz[:, 2] * case.unit)
        found = objects[str(number + 1)]
        expected = np.array(
            pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True).transform(*place)
        )
        low, high = (0.0, (8.0, 12.0)[number]) if kind == "trees" else (-9.0, 0.0)
        assert found.box[2] - expected[2] == pytest.approx(low, abs=CLOSE)
        assert found.box[5] - expected[2] == pytest.approx(high, abs=CLOSE)
        if kind == "boreholes":
            middle = (found.box[:2] + found.box[3:5]) / 2.0
            away = (middle - expected[:2]) * (111_320 * np.cos(np.radians(case.latitude)), 111_000)
            assert np.abs(away).max() < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_them(name: str, reading: Callable[[str], Any]) -> None:
    for kind in KINDS:
        assert reading(name).faults(f"{name}_{kind}") == []
        assert (
            reading(name).walk(f"{name}_{kind}").objects.keys()
            == reading(name).items(f"{name}_{kind}").keys()
        )
