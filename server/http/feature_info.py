"""The features under a pixel of a WMS map, with the rights of the request that asks."""

from __future__ import annotations

from typing import Any

import orjson

from providers.errors import ProviderError
from providers.features.query import BBox, ItemQuery
from providers.features.store import open_store
from server.http.answer import Environ
from server.http.scope import Scope
from server.identity.decision import Action, Principal, decide
from server.registry.catalogue import Catalogue, RepresentationKind
from tiles.errors import MapSourceError
from tiles.mapproxy import FeaturesAt


def features_of(public_id: str) -> FeaturesAt:
    """What answers GetFeatureInfo of one layer: its features of this moment, without the fields this request may not see."""

    def features_at(
        environ: Environ, box: tuple[float, float, float, float], most: int
    ) -> list[dict[str, Any]]:
        catalogue: Catalogue = environ["chengtu.catalogue"]
        scope: Scope = environ["chengtu.scope"]
        who: Principal = environ["chengtu.principal"]
        collection = scope.find(catalogue, public_id)
        if collection is None or RepresentationKind.FEATURES not in collection.representations:
            return []
        decision = decide(who, Action.READ, collection)
        if not decision.allowed:
            return []
        try:
            store = open_store(collection.path_of(RepresentationKind.FEATURES))
            page = store.page(ItemQuery(bbox=BBox(*box), limit=most), decision.hidden_fields)
        except ProviderError as error:
            raise MapSourceError(str(error)) from error
        return [orjson.loads(body) for body in page.bodies]

    return features_at
