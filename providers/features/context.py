"""What the server has already worked out about the request at hand, for plugins that pygeoapi constructs and calls."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar

from providers.errors import ProviderError
from providers.features.query import ItemQuery
from providers.features.source import FeatureSource

current_query: ContextVar[ItemQuery | None] = ContextVar("current_query", default=None)
"""The parsed query; where set, it is answered instead of what pygeoapi passes, so both lanes answer alike."""

current_hidden: ContextVar[frozenset[str] | None] = ContextVar("current_hidden", default=None)
"""Fields that the one who asks may not see; None where the server has not said."""

current_source: ContextVar[FeatureSource | None] = ContextVar("current_source", default=None)
"""The source to ask, of whatever generation; where None, the plugin opens the one it was configured with."""

current_budget_key: ContextVar[Hashable] = ContextVar("current_budget_key", default=None)
"""The name of the source in `providers.features.page_budget`."""

current_failure: ContextVar[ProviderError | None] = ContextVar("current_failure", default=None)
"""What a plugin of ours raised last: pygeoapi keeps its text only, and the server's error table wants the whole."""
