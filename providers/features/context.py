"""What the server has already worked out about the request at hand, for plugins that pygeoapi constructs and calls."""

from __future__ import annotations

from contextvars import ContextVar

from providers.features.query import ItemQuery

current_query: ContextVar[ItemQuery | None] = ContextVar("current_query", default=None)
"""The parsed query; where set, it is answered instead of what pygeoapi passes, so both lanes answer alike."""

current_hidden: ContextVar[frozenset[str] | None] = ContextVar("current_hidden", default=None)
"""Fields that the one who asks may not see; None where the server has not said."""
