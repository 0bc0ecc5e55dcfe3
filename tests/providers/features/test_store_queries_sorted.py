"""Sorted pages, phrases, budgets and counts of the embedded store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.cql2 import parse_filter
from providers.features.query import BBox, Cursor, ItemQuery, SortKey
from providers.features.store import FeatureStore, budget, pages, plan, search, sorting

BOX = BBox(113.85, 22.7, 114.0, 22.8)
NAMES = ("名称", "height", "floors", "listed", "built", "updated", "id")


def walk(store: FeatureStore, query: ItemQuery) -> Iterator[dict[str, Any]]:
    while True:
        page = store.page(query)
        assert page.number_returned <= query.limit
        yield from map(orjson.loads, page.bodies)
        if page.cursor is None:
            return
        query = dataclasses.replace(query, cursor=page.cursor)


def in_python(store: FeatureStore, query: ItemQuery) -> list[str]:
    """Ids as they should come: the store's own order, then sorted stably by each field, the last first."""
    features = list(walk(store, dataclasses.replace(query, sortby=(), limit=10_000)))
    for name, descending in reversed(query.sortby):
        absent = [item for item in features if item["properties"][name] is None]
        present = [item for item in features if item["properties"][name] is not None]
        present.sort(key=lambda item, name=name: item["properties"][name], reverse=descending)
        features = present + absent
    return [item["id"] for item in features]


SORTS = [
    *[(SortKey(name, descending),) for name in NAMES for descending in (False, True)],
    (SortKey("listed"), SortKey("height", True)),
    (SortKey("listed", True), SortKey("floors"), SortKey("名称", True)),
    (SortKey("floors", True), SortKey("listed", True)),
    (SortKey("floors"), SortKey("floors", True)),
]


@pytest.mark.parametrize("sortby", SORTS)
@pytest.mark.parametrize("limit", [7, 2000])
def test_sorted_pages(built: Any, sortby: tuple[SortKey, ...], limit: int) -> None:
    if limit < 2000:
        query = ItemQuery(sortby=sortby, limit=limit, bbox=BBox(113.9, 22.7, 113.99, 22.77))
    else:
        query = ItemQuery(sortby=sortby, limit=331)
    found = [item["id"] for item in walk(built.store, query)]
    assert found == in_python(built.store, query)
    assert len(found) > 100


@pytest.mark.parametrize("sortby", SORTS[::3])
def test_every_plan_gives_the_same_order(
    built: Any, sortby: tuple[SortKey, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = parse_filter(
        "height > 20 AND floors < 25 AND NOT (listed = TRUE)", "cql2-text", built.store.schema
    )
    queries = [
        ItemQuery(sortby=sortby, limit=97, bbox=BOX),
        ItemQuery(sortby=sortby, limit=97, filter=checked),
        ItemQuery(sortby=sortby, limit=97, filter=checked, bbox=BOX),
        ItemQuery(sortby=sortby, limit=1, equals={"floors": "7"}),
    ]
    wanted = [in_python(built.store, query) for query in queries]
    assert [[item["id"] for item in walk(built.store, query)] for query in queries] == wanted
    monkeypatch.setattr(plan, "CANDIDATES", 0)
    monkeypatch.setattr(plan, "_MOST_CANDIDATES", 0)
    monkeypatch.setattr(sorting, "_FIRST_STEP", 5)
    assert [[item["id"] for item in walk(built.store, query)] for query in queries] == wanted
    # As a past state is read: without any index.
    monkeypatch.setattr(built.store._selector, "_indexes", frozenset())
    assert [[item["id"] for item in walk(built.store, query)] for query in queries] == wanted


@pytest.mark.parametrize("sortby", [(), *SORTS[::2]])
@pytest.mark.parametrize("offset", [1, 150, 1999, 2000, 5000])
def test_offset_and_sorting(built: Any, sortby: tuple[SortKey, ...], offset: int) -> None:
    wanted = in_python(built.store, ItemQuery(sortby=sortby))
    page = built.store.page(ItemQuery(sortby=sortby, offset=offset, limit=3))
    assert [orjson.loads(body)["id"] for body in page.bodies] == wanted[offset : offset + 3]
    assert page.number_matched == 2000
    inside = in_python(built.store, ItemQuery(sortby=sortby, bbox=BOX))
    page = built.store.page(ItemQuery(sortby=sortby, offset=offset, limit=3, bbox=BOX))
    assert [orjson.loads(body)["id"] for body in page.bodies] == inside[offset : offset + 3]
    assert page.number_matched in (None, len(inside))


def test_sorted_columns_are_the_same_page(built: Any) -> None:
    query = ItemQuery(sortby=(SortKey("height", True),), limit=20, properties=("height",))
    page, columns = built.store.page(query), built.store.columns(query)
    assert columns.columns.ids == [orjson.loads(body)["id"] for body in page.bodies]
    assert (columns.cursor, columns.number_matched) == (page.cursor, page.number_matched)
    assert list(columns.columns.columns) == ["height"]
    bare = built.store.columns(dataclasses.replace(query, skip_geometry=True))
    assert all(shape is None for shape in bare.columns.geometries)


@pytest.mark.parametrize(
    ("sortby", "cursor"),
    [
        ((), ()),
        ((), ("x",)),
        ((), (-2,)),
        ((), (1 << 62,)),
        ((), (1.5,)),
        ((), (1, 2)),
        ((SortKey("height"),), (5,)),
        ((SortKey("height"),), ("text", 5)),
        ((SortKey("height"),), (1 << 70, 5)),
        ((SortKey("floors"),), (1.5, 5)),
        ((SortKey("名称"),), (3, 5)),
        ((SortKey("名称"),), ("a", None)),
        ((SortKey("updated"), SortKey("floors")), ("a", 5)),
    ],
)
def test_cursors_of_another_kind_are_refused(built: Any, sortby: tuple[SortKey, ...], cursor: Cursor) -> None:
    with pytest.raises(InvalidParameter, match="cursor"):
        built.store.page(ItemQuery(sortby=sortby, cursor=cursor))


def test_a_cursor_need_not_be_a_feature(built: Any) -> None:
    """The feature it was taken from may have been edited or deleted meanwhile."""
    query = ItemQuery(sortby=(SortKey("height"),), limit=2000)
    everything = [(item["properties"]["height"], item["id"]) for item in walk(built.store, query)]
    page = built.store.page(dataclasses.replace(query, cursor=(45.001, 7)))
    wanted = [i for height, i in everything if height is None or height > 45.001]
    assert [orjson.loads(body)["id"] for body in page.bodies] == wanted
    small = dataclasses.replace(query, cursor=(45.001, 7), bbox=BOX)
    inside = set(in_python(built.store, ItemQuery(bbox=BOX)))
    assert [item["id"] for item in walk(built.store, small)] == [i for i in wanted if i in inside]


# --- q -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phrases", "hidden"),
    [
        (("楼 42",), ()),
        (("楼",), ()),
        (("SOURCE 9",), ()),
        (("source 12", "楼 77"), ()),
        (("source 12", "楼 77"), ("id",)),
        (("nothing",), ()),
        (("楼",), ("名称", "id")),
        (("%",), ()),
        (("2025",), ()),
    ],
)
def test_phrases(built: Any, phrases: tuple[str, ...], hidden: tuple[str, ...]) -> None:
    fields = [name for name in ("名称", "id") if name not in hidden]
    wanted = {
        item["id"]
        for item in walk(built.store, ItemQuery(limit=999))
        if any(
            phrase.casefold() in (item["properties"][name] or "").casefold()
            for name in fields
            for phrase in phrases
        )
    }
    query = ItemQuery(q=phrases, limit=999)
    page = built.store.page(query, frozenset(hidden))
    found = {orjson.loads(body)["id"] for body in page.bodies}
    assert found == wanted if page.cursor is None else found < wanted
    hits = built.store.page(dataclasses.replace(query, hits_only=True), frozenset(hidden))
    assert hits.number_matched == len(wanted)


def test_caseless_characters_come_from_no_other_by_folding() -> None:
    """What makes a native search right: no other character is folded to one of these."""
    for code in range(0x110000):
        letter = chr(code)
        folded = letter.casefold()
        if folded != letter:
            assert not any(search.is_caseless(part) for part in folded), hex(code)
    assert search.is_caseless("学校 42-7")
    assert not search.is_caseless("学校a")


# --- budgets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sortby", [(), (SortKey("height"),), (SortKey("height", True),)])
@pytest.mark.parametrize("bbox", [None, BOX])
def test_a_search_that_takes_long_ends_its_page_and_goes_on(
    built: Any, sortby: tuple[SortKey, ...], bbox: BBox | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = parse_filter("floors + 0 = 7", "cql2-text", built.store.schema)
    query = ItemQuery(filter=checked, sortby=sortby, bbox=bbox, limit=50)
    wanted = in_python(built.store, query)
    monkeypatch.setattr(pages, "PAGE_SECONDS", 0.0)
    for module in (plan, sorting):
        monkeypatch.setattr(module, "_FIRST_STEP", 60)
        monkeypatch.setattr(module, "_LONGEST_STEP", 60)
    monkeypatch.setattr(plan, "_MOST_CANDIDATES", 0)
    monkeypatch.setattr(sorting, "max", lambda *numbers: 60, raising=False)
    found, parts, cursor = [], 0, None
    while True:
        page = built.store.page(dataclasses.replace(query, cursor=cursor))
        found += [orjson.loads(body)["id"] for body in page.bodies]
        parts, cursor = parts + 1, page.cursor
        if cursor is None:
            break
    assert found == wanted
    assert parts > 5
    with pytest.raises(AnswerTooLarge, match="offset"):
        built.store.page(dataclasses.replace(query, offset=60))


def test_a_statement_that_cannot_be_resumed_is_interrupted(
    built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from providers.features.store import connections, reader

    monkeypatch.setattr(reader, "LONGEST_SECONDS", 0.0)
    monkeypatch.setattr(connections, "INSTRUCTIONS", 100)
    fresh = FeatureStore.__new__(FeatureStore)
    monkeypatch.setattr(reader, "LONGEST_SECONDS", budget.LONGEST_SECONDS)
    fresh.__init__(built.store.path)  # type: ignore[misc] # opened with a connection that looks at its clock often
    monkeypatch.setattr(reader, "LONGEST_SECONDS", 0.0)
    query = ItemQuery(sortby=(SortKey("listed"), SortKey("height")))
    with pytest.raises(AnswerTooLarge, match="narrow it"):
        fresh.page(query)
    monkeypatch.setattr(reader, "LONGEST_SECONDS", budget.LONGEST_SECONDS)
    assert fresh.page(query).number_returned == 10


# --- numberMatched -----------------------------------------------------------------------------------------------------


def test_number_matched_of_sorted_and_filtered_pages(built: Any) -> None:
    total = len(in_python(built.store, ItemQuery(bbox=BOX)))
    sortby = (SortKey("height"),)
    assert built.store.page(ItemQuery(bbox=BOX, sortby=sortby)).number_matched == total
    assert built.store.page(ItemQuery(sortby=sortby)).number_matched == 2000
    few = parse_filter("floors = 7", "cql2-text", built.store.schema)
    sevens = len(in_python(built.store, ItemQuery(filter=few)))
    assert built.store.page(ItemQuery(filter=few, limit=5)).number_matched == sevens
    assert built.store.page(ItemQuery(filter=few, limit=5, sortby=sortby)).number_matched == sevens
    assert built.store.page(ItemQuery(filter=few, limit=5, offset=10_000)).number_matched is None
