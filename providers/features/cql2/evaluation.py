"""pygeofilter's evaluator, with types: it carries none of its own.

A subclass of `Evaluator` has one method a kind of node, marked `@handle(ast.And, ...)` (`subclasses=True`: all leaf classes
below). The method gets the node and what its operands were evaluated to; `adopt` gets everything without a method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class Evaluator:
        """Walks a tree from its leaves."""

        def evaluate(self, node: Any, adopt_result: bool = True) -> Any:
            """What the tree comes to."""

        def adopt(self, node: Any, *children: Any) -> Any:
            """What a literal, or a node without a method, comes to."""

    def handle[Method: Callable[..., Any]](
        *node_classes: type[Any], subclasses: bool = False
    ) -> Callable[[Method], Method]:
        """Mark a method as the one for these nodes."""

else:
    from pygeofilter.backends.evaluator import Evaluator, handle

__all__ = ["Evaluator", "handle"]
