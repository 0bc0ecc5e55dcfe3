"""What edits have changed of a collection since it was published, read from where its features are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from providers.errors import ProviderError
from providers.features.source import EditableSource
from server.http.features import feature_source
from server.http.ogc.documents import extent_of
from server.registry.catalogue import Collection, RepresentationKind


def edited_members(collection: Collection) -> dict[str, Any]:
    """The members of a collection document that edits have changed; none where nothing was edited.

    The registry has the state of publishing. A store that cannot be read leaves the document as it is: the collection is
    described, and asking for its items says what is wrong.
    """
    if RepresentationKind.FEATURES not in collection.representations:
        return {}
    try:
        source = feature_source(collection)
        if not isinstance(source, EditableSource) or source.change() == 0:
            return {}
        members: dict[str, Any] = {}
        count = source.count()
        if count is not None:
            members["itemCount"] = count
        if source.bbox:
            members["extent"] = extent_of(replace(collection, bbox=source.bbox))
    except ProviderError:
        return {}
    return members
