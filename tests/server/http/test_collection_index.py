"""The index of collections finds what a walk over all of them would find, and never another client's."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from types import MappingProxyType

import pytest

from server.http.collection_index import Box, CollectionIndex, CollectionViews
from server.http.scope import CITY, Scope
from server.identity.decision import ANONYMOUS, Principal
from server.registry.catalogue import CRS84, Access, Catalogue, Collection, Tenant


def made(
    number: int, bbox: tuple[float, ...], access: Access = Access.PUBLIC, tenant: str = "a"
) -> Collection:
    return Collection(
        tenant=tenant,
        id=f"c{number}",
        titles=MappingProxyType({"en": f"Layer {number}", "zh": f"图层{number}号"}),
        descriptions=MappingProxyType({"en": "Ärger" if number % 2 else "Freude"}),
        keywords=("roads",) if number % 3 else (),
        bbox=bbox,
        interval=None,
        storage_crs=CRS84,
        access=access,
        attribution="",
        licence="",
        licence_url=None,
        simulated=False,
        generation=1,
        created="2026-01-01T00:00:00Z",
        updated="2026-01-01T00:00:00Z",
        directory=Path("/nowhere"),
        representations=MappingProxyType({}),
    )


def catalogue_of(collections: list[Collection], revision: int = 1) -> Catalogue:
    tenants = {name: Tenant(name, name, {"en": name}) for name in {one.tenant for one in collections}}
    return Catalogue(revision, tenants, {(one.tenant, one.id): one for one in collections})


BOXES = [
    (24.0, 60.0, 25.0, 61.0),
    (24.0, 60.0, -5.0, 25.0, 61.0, 90.0),
    (170.0, -20.0, -170.0, -10.0),
    (-180.0, -90.0, 180.0, 90.0),
    (180.0, 0.0, 180.0, 0.0),
    (),
]


def shares_a_point(extent: tuple[float, ...], box: Box) -> bool:
    if not extent:
        return False
    half = len(extent) // 2
    west, south, east, north = extent[0], extent[1], extent[half], extent[half + 1]
    pieces = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    asked = [(box.west, box.east)] if box.west <= box.east else [(box.west, 180.0), (-180.0, box.east)]
    meets = any(low <= right and high >= left for low, high in pieces for left, right in asked)
    return meets and south <= box.north and north >= box.south


def test_boxes_as_a_walk_finds_them() -> None:
    collections = [made(number, bbox) for number, bbox in enumerate(BOXES)]
    index = CollectionIndex(collections)
    random_ = random.Random(3)
    boxes = [Box(24, 60, 24, 60), Box(25, 61, 30, 70), Box(25.001, 60, 30, 70), Box(175, -15, -175, -12)]
    for _ in range(300):
        south, north = sorted(random_.uniform(-90, 90) for _ in range(2))
        boxes.append(Box(random_.uniform(-180, 180), south, random_.uniform(-180, 180), north))
    for box in boxes:
        expected = [one for one in collections if shares_a_point(one.bbox, box)]
        assert index.selected((), box) == expected, box


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["layer"], 6),
        (["layer 3"], 1),
        (["图层"], 6),
        (["ärger"], 3),
        (["roads", "freude"], 2),
        (["nothing"], 0),
        (["a.c5"], 1),
    ],
)
def test_words(words: list[str], expected: int) -> None:
    index = CollectionIndex([made(number, bbox) for number, bbox in enumerate(BOXES)])
    assert len(index.selected(words, None)) == expected


def test_each_client_has_its_own_list_and_a_new_catalogue_a_new_one() -> None:
    public, private = made(1, BOXES[0]), made(2, BOXES[0], Access.PRIVATE)
    elsewhere = made(3, BOXES[0], tenant="b")
    views = CollectionViews()
    first = catalogue_of([public, private, elsewhere])
    operator = Principal("operator", operator=True)
    for _ in range(2):  # the second time from what was kept
        assert views.of(first, CITY, ANONYMOUS).collections == [public, elsewhere]
        assert views.of(first, CITY, operator).collections == [public, private, elsewhere]
        assert views.of(first, Scope("a"), ANONYMOUS).collections == [public]
    opened = dataclasses.replace(private, access=Access.PUBLIC)
    assert views.of(catalogue_of([public, opened], 2), Scope("a"), ANONYMOUS).collections == [public, opened]
    assert views.of(first, CITY, ANONYMOUS).collections == [public, elsewhere]


def test_many_clients_do_not_fill_the_memory() -> None:
    views = CollectionViews()
    catalogue = catalogue_of([made(1, BOXES[0])])
    for number in range(500):
        views.of(catalogue, CITY, Principal(str(number)))
    assert len(views._views) <= 32
