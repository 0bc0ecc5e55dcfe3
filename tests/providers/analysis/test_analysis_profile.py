"""What is at, over and under a place, and in a box."""

from __future__ import annotations

import numpy as np
import pytest

from providers.analysis.boxes import meets_box, objects_in_box
from providers.analysis.place import Place
from providers.analysis.profile import profile_document, vertical_profile
from providers.analysis.scene import Box3, Scene, triangles_in
from providers.errors import AnswerTooLarge


def _layers(scene, longitude, latitude):
    found = vertical_profile(scene, longitude, latitude)
    return [
        (one.object.collection, round(one.top, 1), round(one.bottom, 1)) for one in found.layers
    ], found.ground


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (20, 0, [("houses", 30.0, 10.0), ("under", 9.0, 4.0)]),
        (0, 0, [("under", 8.0, 7.0)]),
        (0, -45, [("bridges", 21.0, 20.0), ("under", 8.0, 7.0)]),
        (11, 9, [("houses", 30.0, 10.0)]),
        (100, 100, []),
    ],
)
def test_profile_lists_from_sky_to_bedrock(street, at, x, y, expected):
    layers, ground = _layers(street, *at(x, y))
    assert layers == expected
    assert ground == 10.0


def test_profile_gives_attributes_and_ids_by_their_own_names(street, at):
    document = profile_document(vertical_profile(street, *at(20, 0)))
    house = document["layers"][0]
    assert (house["id"], house["properties"]) == ("houses-0", {"名称": "学校", "floors": 5})
    assert house["depth"] == -20.0
    assert document["layers"][1]["depth"] == 1.0


def test_hidden_attributes_are_not_shown(street, at):
    street.tilesets[0].hidden = frozenset({"floors"})
    assert dict(vertical_profile(street, *at(20, 0)).layers[0].object.properties) == {"名称": "学校"}


def test_hollow_object_is_listed_part_by_part(blocks, at):
    # Two boxes of one owner, one over the other: what a tunnel's shell or a house over an arcade looks like to a plumb line.
    tunnel = blocks("tunnel", [(-5, -5, 0, 5, 5, 1), (-5, -5, 5, 5, 5, 6)])
    layers, ground = _layers(Scene((tunnel,)), *at(0, 0))
    assert layers == [("tunnel", 6.0, 5.0), ("tunnel", 1.0, 0.0)]
    assert ground is None


def test_common_edge_of_two_triangles_is_one_crossing(street, at):
    # The plumb line through a roof's diagonal meets both of its triangles.
    layers, _ = _layers(street, *at(20, 0))
    assert [layer for layer in layers if layer[0] == "houses"] == [("houses", 30.0, 10.0)]


def _around(at, x, y, half, bottom, top):
    west, south = at(x - half, y - half)
    east, north = at(x + half, y + half)
    return Box3(west, south, east, north, bottom, top)


@pytest.mark.parametrize(
    ("half", "bottom", "top", "expected"),
    [
        (30, -np.inf, np.inf, ["under-0", "under-1", "houses-0"]),
        (30, 10.5, 100, ["houses-0"]),
        (30, 31, 100, []),
        (30, 0, 3, []),
        (30, 8.5, 9.5, ["under-0"]),
    ],
)
def test_box_finds_by_height(street, at, half, bottom, top, expected):
    found = objects_in_box(street, _around(at, 10, 0, half, bottom, top))
    assert [one.object.id for one in found] == expected


def test_box_beside_a_slanted_face_is_not_met():
    triangle = np.array([[[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]]])
    inside = meets_box(triangle, np.array([4.0, 4.0, -1.0]), np.array([4.9, 4.9, 1.0]))
    beside = meets_box(triangle, np.array([5.2, 5.2, -1.0]), np.array([9.0, 9.0, 1.0]))
    above = meets_box(triangle, np.array([1.0, 1.0, 0.1]), np.array([2.0, 2.0, 1.0]))
    assert (bool(inside[0]), bool(beside[0]), bool(above[0])) == (True, False, False)


def test_limits_are_said(street, at):
    with pytest.raises(AnswerTooLarge, match="at most 2 are listed"):
        objects_in_box(street, _around(at, 10, 0, 30, -np.inf, np.inf), maximum=2)
    place = Place.at(*at(0, 0))
    with pytest.raises(AnswerTooLarge, match="More than 35 triangles"):
        triangles_in(street.tilesets, place, _around(at, 10, 0, 100, -np.inf, np.inf), maximum=35)
    assert (
        len(triangles_in(street.tilesets, place, _around(at, 10, 0, 100, -np.inf, np.inf), maximum=48)) == 48
    )
