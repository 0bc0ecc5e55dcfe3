"""Queries that nobody thought of: stores against the evaluator on columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from providers.features.cql2 import matches_query
from providers.features.query import ItemQuery
from providers.features.source import FeatureSource

_TEXT = [
    "''",
    "'楼一'",
    "'Café'",
    "'a_b'",
    "'kind'",
    "'50% off'",
    "'O''Hara'",
    "'block'",
    "'straße'",
    "'tower'",
]
_PATTERNS = ["'%a%'", "'_a%'", "'楼_'", "'%\\%%'", "'a\\_b'", "'%e'", "'%'", "'%_%r%'"]
_NUMBERS = ["0", "1", "-3", "5", "15.5", "0.001", "1e300", "632", "2"]
_DATES = ["DATE('1985-05-05')", "DATE('2000-01-01')", "DATE('2015-01-01')", "DATE('1950-01-01')"]
_INSTANTS = [
    "TIMESTAMP('2024-01-01T12:00:00Z')",
    "TIMESTAMP('1970-01-01T00:00:00Z')",
    "TIMESTAMP('2020-05-05T05:05:05.005Z')",
    "DATE('2024-01-01')",
]
_SHAPES = [
    "POINT(114.1 22.5)",
    "BBOX(114, 22.5, 114.2, 22.6)",
    "BBOX(170, -20, -170, 20)",
    "LINESTRING(114 22.4, 114.2 22.6)",
    "POLYGON((114.0 22.5, 114.2 22.5, 114.1 22.6, 114.0 22.5))",
    "BBOX(-180, -90, 180, 90)",
    "MULTIPOINT((0 0), (2.35 48.85))",
]
_OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
_TEXTS = st.one_of(
    st.sampled_from(["name", "kind", "CASEI(name)", "ACCENTI(name)", "CASEI(ACCENTI(name))"]),
    st.sampled_from(_TEXT),
)


def _numeric(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda a, o, b: f"({a} {o} {b})", children, st.sampled_from("+-*/"), children)


_VALUES = st.recursive(
    st.one_of(st.sampled_from(["floors", "height", "length(name)"]), st.sampled_from(_NUMBERS)),
    _numeric,
    max_leaves=3,
)
_PREDICATES = st.one_of(
    st.builds(lambda a, o, b: f"{a} {o} {b}", _TEXTS, _OPERATORS, _TEXTS),
    st.builds(lambda a, o, b: f"{a} {o} {b}", _VALUES, _OPERATORS, _VALUES),
    st.builds(lambda a, p: f"{a} LIKE {p}", _TEXTS, st.sampled_from(_PATTERNS)),
    st.builds(lambda o, b: f"built {o} {b}", _OPERATORS, st.sampled_from(_DATES)),
    st.builds(lambda o, b: f"updated {o} {b}", _OPERATORS, st.sampled_from(_INSTANTS)),
    st.builds(lambda a, b, c: f"{a} BETWEEN {b} AND {c}", _VALUES, _VALUES, _VALUES),
    st.builds(
        lambda a, items: f"{a} IN ({', '.join(items)})",
        _VALUES,
        st.lists(st.sampled_from(_NUMBERS), min_size=1),
    ),
    st.builds(
        lambda a, items: f"{a} IN ({', '.join(items)})", _TEXTS, st.lists(st.sampled_from(_TEXT), min_size=1)
    ),
    st.builds(lambda a: f"{a} IS NULL", st.sampled_from(["name", "floors", "built", "geometry", "listed"])),
    st.sampled_from(["listed", "listed = FALSE", "TRUE", "FALSE"]),
    st.builds(
        lambda name, shape: f"S_{name}(geometry, {shape})",
        st.sampled_from(
            ["INTERSECTS", "DISJOINT", "WITHIN", "CONTAINS", "TOUCHES", "CROSSES", "OVERLAPS", "EQUALS"]
        ),
        st.sampled_from(_SHAPES),
    ),
    st.builds(
        lambda name, tags: f"A_{name}(tags, ({', '.join(tags)}))",
        st.sampled_from(["EQUALS", "CONTAINS", "CONTAINEDBY", "OVERLAPS"]),
        st.lists(st.sampled_from(["'a'", "'b'", "'fiji'", "1", "TRUE"]), max_size=3),
    ),
)


def _combined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda a, o, b: f"({a}) {o} ({b})", children, st.sampled_from(["AND", "OR"]), children),
        st.builds(lambda a: f"NOT ({a})", children),
    )


_FILTERS = st.recursive(_PREDICATES, _combined, max_leaves=5)
_OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "bbox": st.sampled_from(
            ["113,22,115,24", "170,-20,-170,20", "-180,-90,180,90", "114.1,22.5,114.1,22.5"]
        ),
        "datetime": st.sampled_from(["2024-01-01", "../2020-12-31", "2020-05-05T05:05:05.005Z/.."]),
        "q": st.sampled_from(["a", "楼,o'", "pole", "%"]),
        "kind": st.sampled_from(["block", "sign"]),
    },
)
_SETTINGS = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@example(condition="height BETWEEN height AND (floors * height)", others={})
@example(condition="(height / floors) = 0 OR (floors ^ height) = 1", others={})
@given(condition=_FILTERS, others=_OTHERS)
def test_random_query(
    source: FeatureSource,
    sample: Any,
    parse: Callable[[dict[str, str]], ItemQuery],
    found: Callable[[FeatureSource, ItemQuery], list[str] | None],
    condition: str,
    others: dict[str, str],
) -> None:
    from providers.errors import InvalidParameter

    try:
        query = parse({**others, "filter": condition})
    except InvalidParameter:
        return  # an expression of literals without a value, like 0 / 0
    mask = matches_query(query, sample.as_columns, sample.schema, frozenset({"secret"}))
    expected = [feature_id for feature_id, meets in zip(sample.ids, mask, strict=True) if meets]
    ids = found(source, query)
    assert ids is None or sorted(ids) == sorted(expected), query.filter.text if query.filter else ""
