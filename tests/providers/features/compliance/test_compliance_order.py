"""Order and pages are the same in every store: keyset paging through everything, missing values last, ties in one order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from providers.features.cursors import cursor_mark, decode_cursor, encode_cursor
from providers.features.query import ItemQuery
from providers.features.source import FeatureSource

Parse = Callable[[dict[str, str]], ItemQuery]
Found = Callable[[FeatureSource, ItemQuery], list[str] | None]
Refused = Callable[[FeatureSource, ItemQuery], bool]


@pytest.mark.parametrize(
    ("sortby", "condition", "expected"),
    [
        ("name", "kind = 'block'", "p5 p4 p3 p1 p2 p6"),
        ("-name", "kind = 'block'", "p6 p2 p1 p3 p4 p5"),
        ("name", "name >= '一'", "m2 a1 a2 a3 s6"),
        ("-name", "name >= '一'", "s6 a3 a2 a1 m2"),
        ("name", "kind = 'shop'", "a5 a4 a6"),
        ("-height,name", "kind = 'sign'", "s2 s3 s4 s5 s6"),
        ("height,-name", "kind = 'sign'", "s6 s5 s4 s3 s2"),
        ("height", "kind = 'region'", "e3 e1 e2"),
        ("floors,updated", "kind = 'line'", "z3 d4 d5"),
        ("-floors,updated", "kind = 'line'", "z3 d4 d5"),
        ("-floors,-updated", "kind = 'line'", "z3 d5 d4"),
        ("listed", "kind = 'shop'", "a5 a4 a6"),
        ("-listed", "kind = 'shop'", "a4 a5 a6"),
        ("built", "kind = 'pole'", "q1 q3 q2"),
        ("-built", "kind = 'pole'", "q3 q1 q2"),
        ("updated", "kind = 'island'", "d1 d2 d3"),
        ("-updated", "kind = 'island'", "d3 d2 d1"),
        ("updated", "kind = 'area' OR kind = 'buoy' OR name = 'equator'", "z2 z1 z3"),
        ("-floors", "floors > 40", "s5 n1 s1"),
        ("height,name", "height > 90", "a1 s1 q3 n1"),
    ],
)
def test_sorting(
    source: FeatureSource, parse: Parse, found: Found, sortby: str, condition: str, expected: str
) -> None:
    ids = found(source, parse({"sortby": sortby, "filter": condition}))
    assert ids is None or ids == expected.split()


_ORDERS = [
    "",
    "name",
    "-name",
    "floors",
    "-floors",
    "height",
    "-height",
    "listed",
    "-built",
    "updated",
    "kind,-floors",
]


@pytest.mark.parametrize("sortby", _ORDERS)
@pytest.mark.parametrize("limit", [1, 7, 40])
def test_pages_add_up(
    source: FeatureSource,
    sample: Any,
    parse: Parse,
    found: Found,
    sortby: str,
    limit: int,
) -> None:
    """Small pages hold the same features in the same order as one large page: all of them, each once."""
    parameters = {"sortby": sortby} if sortby else {}
    whole = found(source, parse(parameters))
    paged = found(source, parse({**parameters, "limit": str(limit)}))
    assert paged == whole
    assert whole is None or sorted(whole) == sorted(sample.ids)


def _in_order(value: Any) -> Any:
    """Instants without their Z, so that whole seconds come before their milliseconds; Python orders the rest as we do."""
    return value.removesuffix("Z") if isinstance(value, str) else value


@pytest.mark.parametrize("sortby", _ORDERS[1:])
def test_missing_values_come_last(
    source: FeatureSource, sample: Any, parse: Parse, found: Found, sortby: str
) -> None:
    ids = found(source, parse({"sortby": sortby}))
    if ids is None:
        return
    name = sortby.split(",")[0]
    values = [sample.columns[name.lstrip("-")][sample.ids.index(feature_id)] for feature_id in ids]
    there = [value for value in values if value is not None]
    assert values[: len(there)] == there, "a missing value stands before others"
    assert there == sorted(there, key=_in_order, reverse=name.startswith("-"))


@pytest.mark.parametrize(
    "parameters",
    [
        {"bbox": "113,22,115,24"},
        {"filter": "floors >= 0"},
        {"bbox": "170,-20,-170,20", "sortby": "-name"},
        {"q": "pole,road,block", "sortby": "height"},
        {"filter": "S_INTERSECTS(geometry, BBOX(113.9, 22.4, 114.3, 22.7))", "sortby": "kind"},
        {"datetime": "2020-01-01/..", "filter": "NOT listed", "sortby": "updated"},
        {"kind": "sign"},
    ],
)
def test_pages_of_a_part_add_up(
    source: FeatureSource, parse: Parse, found: Found, parameters: dict[str, str]
) -> None:
    whole = found(source, parse(parameters))
    for limit in ("1", "2", "5"):
        assert found(source, parse({**parameters, "limit": limit})) == whole


@pytest.mark.parametrize("sortby", ["", "name", "-height"])
def test_the_last_page_has_no_cursor(
    source: FeatureSource, sample: Any, parse: Parse, refused: Refused, sortby: str
) -> None:
    """Neither one that is full to the brim."""
    query = parse({"sortby": sortby} if sortby else {})
    if refused(source, query):
        return
    page = source.page(replace(query, limit=len(sample.ids)))
    assert len(page.bodies) == len(sample.ids)
    assert page.cursor is None
    assert page.number_matched in (None, len(sample.ids))


@pytest.mark.parametrize("sortby", ["", "name", "-updated", "listed,floors"])
def test_cursors_survive_their_token(
    source: FeatureSource, parse: Parse, refused: Refused, sortby: str
) -> None:
    query = parse({"limit": "5", **({"sortby": sortby} if sortby else {})})
    if refused(source, query):
        return
    cursor = source.page(query).cursor
    assert cursor is not None
    assert len(cursor) == len(query.sortby) + 1
    mark = cursor_mark(query)
    token = encode_cursor(1, cursor, mark)
    assert decode_cursor(token, 1, mark, len(cursor)) == cursor
    again = parse({"limit": "5", "cursor": token, **({"sortby": sortby} if sortby else {})})
    assert again.cursor == cursor


@pytest.mark.parametrize("sortby", ["", "-name"])
def test_offset_counts_from_the_first(
    source: FeatureSource, parse: Parse, found: Found, refused: Refused, sortby: str
) -> None:
    parameters = {"sortby": sortby} if sortby else {}
    whole = found(source, parse(parameters))
    for offset in (1, 7, 39, 40, 1000):
        query = parse({**parameters, "offset": str(offset), "limit": "6"})
        if refused(source, query) or whole is None:
            continue
        ids = [orjson.loads(body)["id"] for body in source.page(query).bodies]
        assert ids == whole[offset : offset + 6]
