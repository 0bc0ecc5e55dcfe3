"""The demo city: real data of Helsinki and Auckland, and simulated data derived from them.

Import `build_demo` from `server.demo.build`; it is also given here, lazily, because it needs half of the libraries we have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.demo.build import build_demo

__all__ = ["build_demo"]


def __getattr__(name: str) -> Any:
    if name == "build_demo":
        from server.demo.build import build_demo

        return build_demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
