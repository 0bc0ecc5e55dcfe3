"""Sight lines, viewsheds, shadows, sunshine and the sky."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from providers.analysis.height_grid import height_grid
from providers.analysis.light import horizon, shadow_grid, shadows, sunshine
from providers.analysis.place import Place
from providers.analysis.scene import Scene
from providers.analysis.sight import line_of_sight, viewshed
from providers.analysis.sun import sun_position
from providers.errors import AnswerTooLarge, InvalidParameter


def _point(at, x, y, z):
    return np.array([*at(x, y), z])


def test_house_is_in_the_way_and_named(street, at):
    seen = line_of_sight(street, _point(at, 0, 0, 11.6), _point(at, 40, 0, 12.0))
    assert not seen.visible
    assert seen.by is not None
    assert seen.by.id == "houses-0"
    assert seen.clear == pytest.approx(10.0, abs=0.05)
    assert seen.blocked_at[2] == pytest.approx(11.7, abs=0.05)


def test_over_the_roof_and_along_the_street_it_is_clear(street, at):
    over = line_of_sight(street, _point(at, 0, 0, 31.0), _point(at, 40, 0, 31.0))
    along = line_of_sight(street, _point(at, 0, -30, 11.6), _point(at, 0, 60, 11.6))
    assert over.visible
    assert along.visible
    assert over.length == pytest.approx(40.0, abs=0.01)


def test_hill_is_in_the_way(ground, at):
    hill = ground(lambda x, y: np.where(np.abs(x - 50) < 10, 20.0, 10.0))
    seen = line_of_sight(Scene((), hill), _point(at, 0, 0, 12.0), _point(at, 100, 0, 12.0))
    assert not seen.visible
    assert seen.by is None
    assert seen.clear == pytest.approx(40.0, abs=1.2)
    assert line_of_sight(Scene((), hill), _point(at, 0, 0, 21.0), _point(at, 100, 0, 21.0)).visible


def test_whoever_stands_on_a_roof_sees_from_it(street, at):
    assert line_of_sight(street, _point(at, 10.0, 0, 30.0), _point(at, -40, 0, 12.0)).visible


def test_sight_line_of_no_length_is_refused(street, at):
    with pytest.raises(InvalidParameter, match="at least 0"):
        line_of_sight(street, _point(at, 0, 0, 11), _point(at, 0, 0, 11))


def test_viewshed_behind_the_house_is_dark(street, at):
    found = viewshed(street, *at(0, 0), eye_height=1.6, target_height=0.0, radius=60, size=1.0)
    x, y = found.grid.centres()

    def seen(east: float, north: float) -> bool:
        return bool(found.visible[np.argmin(np.abs(y - north)), np.argmin(np.abs(x - east))])

    assert seen(5, 0)
    assert seen(-40, 0)
    assert not seen(40, 0)
    assert not seen(20, 0), "the roof is above the eye"
    assert seen(0, 30)
    assert found.eye == pytest.approx(11.6, abs=0.02)
    share = found.visible.sum() / found.within.sum()
    # The house of 20 m from 10 m away covers 90 of 360 degrees from 10 to 60 m.
    assert share == pytest.approx(1 - 0.25 * (60**2 - 10**2 * 1.27) / 60**2, abs=0.03)


def test_viewshed_ends_behind_the_curve_of_the_earth(ground, at):
    sea = ground(lambda x, y: np.zeros(len(x)))
    found = viewshed(Scene((), sea), *at(0, 0), eye_height=2.0, target_height=0.0, radius=9_000, size=20.0)
    x, y = found.grid.centres()
    row = np.argmin(np.abs(y))
    farthest = np.abs(x[found.visible[row]]).max()
    assert farthest == pytest.approx(np.sqrt(2 * 6_371_000 * 2.0 / 0.87), rel=0.03)


def test_viewshed_from_nowhere_is_refused(blocks, at):
    scene = Scene((blocks("houses", [(10, -10, 10, 30, 10, 30)]),))
    with pytest.raises(InvalidParameter, match="terrain or on an object"):
        viewshed(scene, *at(0, 0), eye_height=1.6, target_height=0, radius=50, size=1)


@pytest.mark.parametrize(
    ("instant", "longitude", "latitude", "azimuth", "altitude"),
    [
        # NREL/TP-560-34302, the example of its annex: 2003-10-17 12:30:30 UTC-7, zenith 50.11162, azimuth 194.34024.
        (datetime(2003, 10, 17, 19, 30, 30, tzinfo=UTC), -105.1786, 39.742476, 194.34024, 39.88838),
    ],
)
def test_sun_agrees_with_the_published_example(instant, longitude, latitude, azimuth, altitude):
    sun = sun_position(instant, longitude, latitude)
    assert sun.azimuth == pytest.approx(azimuth, abs=0.01)
    assert sun.altitude == pytest.approx(altitude, abs=0.01)


def test_sun_by_the_year():
    """At noon of the equinox the sun stands as high as the latitude leaves; at midsummer 23.44 degrees higher."""
    days = {
        datetime(2026, 3, 20, tzinfo=UTC): 0.0,
        datetime(2026, 6, 21, tzinfo=UTC): 23.44,
        datetime(2026, 12, 21, tzinfo=UTC): -23.44,
    }
    for day, declination in days.items():
        highest = max(
            sun_position(day + timedelta(minutes=m), 120.0, 40.0).altitude for m in range(0, 1440, 2)
        )
        assert highest == pytest.approx(50.0 + declination, abs=0.35)
    night = sun_position(datetime(2026, 6, 21, 16, tzinfo=UTC), 120.0, 40.0)
    assert night.altitude < 0


def _shadow_of_a_tower(blocks, ground, at, size=1.0):
    tower = blocks("tower", [(-5, -5, 10, 5, 5, 40)])
    scene = Scene((tower,), ground(lambda x, y: np.full(len(x), 10.0)))
    place = Place.at(*at(0, 0))
    instant = datetime(2026, 6, 21, 10, 20, tzinfo=UTC)
    grid = shadow_grid(scene, place, (-100, -100, 100, 100), size, [instant])
    return shadows(grid, instant)


def test_shadow_is_as_long_and_lies_where_the_sun_says(blocks, ground, at):
    found = _shadow_of_a_tower(blocks, ground, at)
    length = 30.0 / np.tan(np.radians(found.sun.altitude))
    x, y = found.grid.centres()
    rows, columns = np.nonzero(found.shaded)
    away = np.column_stack((x[columns], y[rows]))
    toward = -np.array([np.sin(np.radians(found.sun.azimuth)), np.cos(np.radians(found.sun.azimuth))])
    along = away @ toward
    # The far edge is that of the tower's far corner.
    corner = max(np.array(c) @ toward for c in ((5, 5), (5, -5), (-5, 5), (-5, -5)))
    assert along.max() == pytest.approx(length + corner, abs=1.6)
    across = away @ np.array([-toward[1], toward[0]])
    assert np.abs(across).max() < 8.5
    assert not found.shaded[np.argmin(np.abs(y)), np.argmin(np.abs(x))], "the roof is lit"


def test_night_is_shadow_everywhere(street, at):
    grid = height_grid(street, Place.at(*at(0, 0)), -20, -20, 20, 20, 2.0)
    night = shadows(grid, datetime(2026, 12, 21, 22, tzinfo=UTC))
    assert night.shaded.all()
    assert night.sun.altitude < 0


def test_too_much_is_refused_before_it_is_done(street, at):
    with pytest.raises(AnswerTooLarge, match="cells"):
        height_grid(street, Place.at(*at(0, 0)), -5000, -5000, 5000, 5000, 1.0)


def test_open_field_sees_the_whole_sky_and_a_courtyard_little(blocks, ground, flat, at):
    field = horizon(Scene((), flat), *at(0, 0), radius=100)
    assert field.sky_view_factor == pytest.approx(1.0, abs=1e-3)
    # Cells larger than the radius: nothing is looked at.
    assert horizon(Scene((), flat), *at(0, 0), radius=10, size=100).sky_view_factor == pytest.approx(1.0)
    assert field.open_sky == pytest.approx(1.0, abs=1e-2)
    walls = [
        (-12, -12, 10, 12, -10, 30),
        (-12, 10, 10, 12, 12, 30),
        (-12, -12, 10, -10, 12, 30),
        (10, -12, 10, 12, 12, 30),
    ]
    court = horizon(Scene((blocks("walls", walls),), flat), *at(0, 0), radius=100, size=0.5)
    # A round court of radius r between walls h high: cos^2 of atan(h / r) = 1 / (1 + (h / r)^2) = 0.2; a square one sees more.
    assert 0.2 < court.sky_view_factor < 0.33


def test_house_to_the_south_takes_the_noon_sun(blocks, flat, at):
    south = horizon(Scene((blocks("wall", [(-30, -12, 10, 30, -10, 40)]),), flat), *at(0, 0), radius=100)
    north = horizon(Scene((blocks("wall", [(-30, 10, 10, 30, 12, 40)]),), flat), *at(0, 0), radius=100)
    day = [datetime(2026, 3, 20, tzinfo=UTC) + timedelta(minutes=10 * step) for step in range(144)]
    free, shaded = sunshine(north, day, 10.0), sunshine(south, day, 10.0)
    assert free.minutes > 10 * 60
    assert shaded.minutes < free.minutes / 2
    noon = max(range(144), key=lambda step: sun_position(day[step], *at(0, 0)).altitude)
    assert (free.lit[noon], shaded.lit[noon]) == (True, False)
