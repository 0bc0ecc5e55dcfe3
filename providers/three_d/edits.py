"""The edits of a collection as a tileset follows them (`tiles.three_d.live.Edits`), whatever the features are stored in."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass, replace
from typing import Any, cast

from providers.errors import ProviderError, UnsupportedQuery
from providers.features.store import FeatureStore
from providers.three_d.object_features import FeaturesAt
from tiles.three_d.errors import ThreeDError
from tiles.three_d.live_store import Change
from tiles.three_d.objects import Keys, SourceRecipe


@dataclass(frozen=True, slots=True)
class EmbeddedEdits:
    """Of an embedded store: it knows the keys of what each edit changed."""

    store: FeatureStore
    slow: bool = False

    def change(self) -> Change:
        """The counter of edits. Raises StoreError."""
        return self.store.change()

    def changed_keys(self, since: Change, until: Change | None = None) -> Keys:
        """Keys of what was edited after `since`, and not after `until`. Raises ThreeDError."""
        last = until if isinstance(until, int) else None
        try:
            return self.store.changed_keys(since if isinstance(since, int) else 0, last)
        except ProviderError as error:
            raise ThreeDError(f"the edits of the features cannot be read: {error}") from error


def recipe_at(recipe: SourceRecipe, asof: str) -> SourceRecipe:
    """The recipe of the same objects as they were at an RFC 3339 instant. Raises UnsupportedQuery where it has no past."""
    given: Any = recipe
    features = getattr(given, "features", None)
    if not is_dataclass(given) or not isinstance(features, FeaturesAt):
        raise UnsupportedQuery(
            "This 3D tileset is not made of features that keep their history; leave asof out",
            "asof",
            "no asof here",
        )
    at: Any = replace(given, features=replace(features, asof=asof))  # type: ignore[type-var]  # a dataclass, as asked above
    return cast("SourceRecipe", at)
