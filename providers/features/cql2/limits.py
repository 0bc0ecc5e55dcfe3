"""How large a filter may be, and how one that cannot be used is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any, Final

from pygeofilter import ast

from providers.errors import InvalidParameter

MAXIMUM_TEXT: Final = 64_000
"""Characters of a CQL2 text; no longer filter is remembered."""

MAXIMUM_JSON: Final = 2_000_000
"""Characters of a CQL2 JSON document."""

MAXIMUM_DEPTH: Final = 64
"""Levels of a tree; a chain of AND or OR of n conditions has log2(n) of them."""

MAXIMUM_NODES: Final = 20_000
"""Nodes and literals of a tree."""

MAXIMUM_LIST: Final = 5_000
"""Values of one IN list or array."""

MAXIMUM_VERTICES: Final = 100_000
"""Vertices of all geometries."""

MAXIMUM_PATTERN: Final = 1_000
"""Characters of a LIKE pattern."""

MAXIMUM_WILDCARDS: Final = 16
"""`%` in a LIKE pattern."""


class Refusal(Exception):
    """Why a filter cannot be used: `found` is the part that is wrong, `allowed` what would be right."""

    def __init__(self, found: str, allowed: str) -> None:
        self.found = found
        self.allowed = allowed
        super().__init__(f"{found}: {allowed}")

    def as_parameter(self, name: str) -> InvalidParameter:
        """The same as the error of a request parameter."""
        return InvalidParameter(name, self.found, self.allowed)


def check_length(values: Sized, maximum: int, what: str) -> None:
    """Raise Refusal where there are more than `maximum`."""
    if len(values) > maximum:
        raise Refusal(f"{len(values)} {what}", f"at most {maximum} {what}")


def balanced(kind: type[ast.And] | type[ast.Or], items: list[ast.AstType]) -> ast.AstType:
    """A chain of AND or OR as a tree of logarithmic depth, in the same order."""
    while len(items) > 1:
        pairs = [kind(items[i], items[i + 1]) for i in range(0, len(items) - 1, 2)]
        items = [*pairs, *items[len(items) - len(items) % 2 :]]
    return items[0]


def check_size(root: ast.AstType) -> None:
    """Raise Refusal where a tree is too deep or too large. Walks without recursion."""
    stack: list[tuple[ast.AstType, int]] = [(root, 1)]
    count = 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if depth > MAXIMUM_DEPTH:
            raise Refusal(f"a filter of more than {MAXIMUM_DEPTH} levels", f"at most {MAXIMUM_DEPTH} levels")
        if count > MAXIMUM_NODES:
            raise Refusal(
                f"a filter of more than {MAXIMUM_NODES} operators and operands", f"at most {MAXIMUM_NODES}"
            )
        stack.extend([(child, depth + 1) for child in _children(node)])


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, list):
        return node
    return node.get_sub_nodes() if hasattr(node, "get_sub_nodes") else ()
