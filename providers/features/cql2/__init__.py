"""CQL2 filters (OGC 21-065r2): parsed, checked against a collection, written out, and evaluated on columns.

```
text_parser, json_parser, fes   ->  raw tree   ->  checking (terms, temporal, arrays, geometry)  ->  Filter
                                                                                        writer, evaluator  <-  Filter
```

A checked filter is True, False, or a tree of these nodes of `pygeofilter.ast` and no others:

* `And`, `Or`; `Not` around And, Or, Between, Like, In, spatial and array nodes only (other negations are turned into their opposites);
* `Equal`, `NotEqual`, `LessThan`, `LessEqual`, `GreaterThan`, `GreaterEqual` of two values of one type, a literal never on the left;
  a value compared with itself means "true where it is there";
* `Between` and `In` (literals of one type) with `not_` False; `IsNull`, whose `not_` may be True; `Like` with a literal pattern;
* `GeometryIntersects` and its seven sisters: `Attribute("")`, then a two-dimensional valid shapely geometry or `Attribute("")`;
* `ArrayEquals`, `ArrayContains`, `ArrayContainedBy`, `ArrayOverlaps`: a text field that holds JSON arrays, then a list of literals;
* values: `Attribute`, `Add`, `Sub`, `Mul`, `Div`, `Function` (names in `arithmetic.DEFINITIONS`), and str, int, float, bool, date,
  datetime (UTC, whole milliseconds) as literals.

Importing this package loads pygeofilter and lark; what answers requests without a filter imports it inside functions.
"""

from __future__ import annotations

from providers.features.cql2.arithmetic import queryable_functions
from providers.features.cql2.evaluator import matches, matches_query
from providers.features.cql2.filters import LANGUAGES, parse_filter, parse_filter_document
from providers.features.cql2.writer import to_json, to_text

__all__ = [
    "LANGUAGES",
    "matches",
    "matches_query",
    "parse_filter",
    "parse_filter_document",
    "queryable_functions",
    "to_json",
    "to_text",
]
