"""What is asked of a collection's 3D tileset: which of its features, at which instant, for whom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from providers.errors import UnsupportedQuery
from providers.features.parser import parse_item_query
from providers.features.query import ItemQuery
from providers.features.source import refuse_what_it_cannot
from server.http.errors import InvalidParameter
from server.http.features import FeatureRequest
from server.http.parameters import only
from server.http.three_d_live import live_tileset, past_root, past_tileset, tileset_root
from server.http.tile_forms import rights_digest
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from tiles.three_d.live import LiveTileset
    from tiles.three_d.live_moment import TilesetMoment

_PAGING = (
    "limit",
    "offset",
    "cursor",
    "sortby",
    "properties",
    "crs",
    "resulttype",
    "skipGeometry",
)
"""Parameters of items that say nothing about a tileset."""
_OF_THE_ANSWER = ("f", "lang")


@dataclass(frozen=True)
class TilesetRequest:
    """A request for a file of a tileset whose collection has already been allowed. `parameters` as they were given."""

    collection: Collection
    decision: Decision
    parameters: Sequence[tuple[str, str]]

    @cached_property
    def conditions(self) -> list[tuple[str, str]]:
        """The parameters that choose features."""
        return [pair for pair in self.parameters if pair[0] not in _OF_THE_ANSWER]

    @cached_property
    def suffix(self) -> str:
        """What has to stand behind the addresses of subtrees and contents: "" or "?...", braces escaped."""
        return f"?{urlencode(self.conditions)}" if self.conditions else ""

    @property
    def private(self) -> bool:
        """Whether shared caches must not keep the answer."""
        return self.decision.key != "public"

    @cached_property
    def features(self) -> FeatureRequest:
        """The features that are asked about."""
        return FeatureRequest(self.collection, self.decision, "", self.conditions)

    @cached_property
    def query(self) -> ItemQuery | None:
        """The features to be shown, None for all of the present.

        Raises InvalidParameter for what is not understood, UnsupportedQuery where the tileset cannot be filtered.
        """
        if not self.conditions:
            return None
        if RepresentationKind.FEATURES not in self.collection.representations:
            only(self.parameters, _OF_THE_ANSWER)
        for name, value in self.conditions:
            if name in _PAGING:
                allowed = "bbox, datetime, filter, q, asof and the names of properties"
                raise InvalidParameter(
                    f"parameter {name!r} does not choose features of a tileset; allowed: {allowed}",
                    name,
                    value,
                    f"the parameters {allowed}",
                )
        source = self.features.source
        query = parse_item_query(self.conditions, source.schema, hidden=self.features.hidden)
        refuse_what_it_cannot(query, source)
        return query

    @property
    def filters(self) -> bool:
        """Whether some of the features may have to be left out. Raises as `query`."""
        query = self.query
        return query is not None and bool(
            query.bbox or query.datetime or query.equals or query.filter is not None or query.q
        )

    @cached_property
    def moment(self) -> TilesetMoment | None:
        """The tileset with its edits, at the instant that is asked for; None where it is files that nothing changes.

        Raises as `query`, and ThreeDError, StoreError, SourceUnavailable.
        """
        query = self.query
        if query is None or query.asof is None:
            live = live_tileset(self.collection)
            if live is None and self.filters:
                raise self._unfiltered()
            return None if live is None else live.current()
        past = self.features.past
        live = live_tileset(self.collection) if past is None else past_tileset(past.directory)
        if live is None:
            raise UnsupportedQuery(
                f"The 3D tileset of {self.collection.id!r} is kept in its present state only; leave asof out",
                "asof",
                "no asof here",
            )
        return self._moment_at(live, query.asof)

    def _moment_at(self, live: LiveTileset, asof: str) -> TilesetMoment:
        from providers.errors import InvalidParameter as BadValue
        from providers.features.store import FeatureStore
        from providers.three_d.edits import recipe_at
        from providers.three_d.recipes import read_recipe

        source = self.features.source
        change = source.change_at(asof) if isinstance(source, FeatureStore) else None
        if change is None:
            raise BadValue("asof", asof, "an instant at which the collection was there")
        if change == source.change():
            return live.current()
        past = self.features.past
        root = tileset_root(self.collection) if past is None else past_root(past.directory)
        return live.at(change, recipe_at(read_recipe(root or self.collection.directory), asof))

    def _unfiltered(self) -> UnsupportedQuery:
        return UnsupportedQuery(
            f"The 3D tileset of {self.collection.id!r} was not built of features that can be chosen from; leave "
            f"{', '.join(name for name, _ in self.conditions)} out, or publish the collection again",
            self.conditions[0][0],
            "no filters here",
        )

    @cached_property
    def digest(self) -> str:
        """Short, and another one for other features, another instant, or other rights; "" for all of the present and public."""
        rights = rights_digest(self.decision)
        if self.query is None and not rights:
            return ""
        text = f"{self._normal_form}\n{rights}"
        return hashlib.blake2s(text.encode(), digest_size=10).hexdigest()

    @cached_property
    def _normal_form(self) -> str:
        query = self.query
        if query is None:
            return ""
        text = "" if query.filter is None else query.filter.text
        shown = (query.bbox, query.datetime, sorted(query.equals.items()), query.q, query.asof)
        return f"{text}\n{shown!r}"
