"""CQL2 filters (OGC 21-065r2): parsed, checked against a collection, written out, and evaluated on columns.

```
text_parser, json_parser, fes   ->  raw tree   ->  checking (terms, temporal, arrays, geometry)  ->  Filter
                                                                                        writer, evaluator  <-  Filter
```

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
