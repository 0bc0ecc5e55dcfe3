"""Which of some features a query holds for: filters for answers that are made of stored pieces, such as the tiles of a 3D tileset.

The embedded store looks at the features that are asked for and at no others. Other stores are asked for the whole answer of the
query once, which is kept as long as nothing is edited.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace

import orjson

from providers.errors import AnswerTooLarge
from providers.features.query import ItemQuery
from providers.features.search_places import place_for
from providers.features.source import NO_FIELDS, FeatureSource
from providers.features.store import FeatureStore
from providers.features.store.pages import question_of, without_asof
from providers.features.store.select import FUNCTION_PREFIX, box_sql, tail_arguments

MOST_MATCHED = 200_000
"""Features that a query of a store without keys may match, and still be answered."""
_PAGE = 10_000
_SECONDS = 10.0
_KEPT_ANSWERS = 16


def matching_ids(
    source: FeatureSource, query: ItemQuery, ids: Collection[str], hidden: frozenset[str] = NO_FIELDS
) -> frozenset[str]:
    """Those of `ids` for which bbox, datetime, equals, filter, q and asof of the query hold; the rest of it is not looked at.

    Raises what the store raises for the query, and AnswerTooLarge where a store that has to be asked for the whole answer finds
    more than 200,000 features, or takes more than ten seconds.
    """
    if not ids:
        return frozenset()
    if isinstance(source, FeatureStore):
        with place_for(source, query):
            return _in_embedded(source, query, ids, hidden)
    return _answers.of(source, query, hidden).intersection(ids)


def _in_embedded(
    store: FeatureStore, query: ItemQuery, ids: Collection[str], hidden: frozenset[str]
) -> frozenset[str]:
    if query.asof is not None:
        past = store.at(query.asof)
        return frozenset() if past is None else _in_embedded(past, without_asof(query), ids, hidden)
    selection = question_of(query, store.schema, store.storage, hidden).selection
    boxes, condition = selection.boxes, selection.condition
    tests = [box_sql(len(boxes))] if boxes else []
    tests += [f"({condition.sql})"] if condition else []
    statement = (
        "SELECT a.id FROM feature a JOIN fragment f ON f.key = a.key"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE a.id IN (SELECT value FROM json_each(?)){''.join(f' AND {test}' for test in tests)}"
    )
    arguments = (orjson.dumps(list(ids)).decode(), *tail_arguments(selection))
    with store.snapshot() as connection:
        if FUNCTION_PREFIX in condition.sql:
            connection.prepare_for_filters()
        return frozenset(row[0] for row in connection.execute(statement, arguments))


class _Answers:
    """The latest answers of stores that are asked for the whole of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int | str, str], tuple[FeatureSource, frozenset[str]]] = (
            OrderedDict()
        )

    def of(self, source: FeatureSource, query: ItemQuery, hidden: frozenset[str]) -> frozenset[str]:
        asked = replace(
            query, properties=(), skip_geometry=True, limit=_PAGE, sortby=(), cursor=None, offset=0
        )
        filter_text = "" if query.filter is None else query.filter.text
        shown = repr((asked.bbox, asked.datetime, sorted(asked.equals.items()), asked.q, asked.asof))
        key = (id(source), source.change(), f"{filter_text}\n{shown}\n{sorted(hidden)}")
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0] is source:
                self._kept.move_to_end(key)
                return found[1]
        ids = _all_ids(source, asked, hidden)
        with self._lock:
            self._kept[key] = (source, ids)
            while len(self._kept) > _KEPT_ANSWERS:
                self._kept.popitem(last=False)
        return ids


_answers = _Answers()


def _all_ids(source: FeatureSource, query: ItemQuery, hidden: frozenset[str]) -> frozenset[str]:
    found: set[str] = set()
    began = time.monotonic()
    while True:
        with place_for(source, query):
            page = source.columns(query, hidden)
        found.update(page.columns.ids)
        if page.cursor is None:
            return frozenset(found)
        if len(found) > MOST_MATCHED or time.monotonic() - began > _SECONDS:
            raise AnswerTooLarge(
                f"The filter matches more than {len(found)} features of a store ({source.kind}) that cannot be asked tile by tile; "
                "narrow it by bbox or by another condition"
            )
        query = replace(query, cursor=page.cursor)
