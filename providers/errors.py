"""What can go wrong in a provider.

```
ProviderError
├── InvalidParameter        a parameter of the request cannot be used (HTTP 400)
│   └── StaleCursor         the cursor belongs to another generation of the collection (HTTP 400)
├── UnknownReferenceSystem  a CRS that coordinates of features cannot be given in (HTTP 400)
├── UnsupportedQuery        the request asks for something this provider does not do (HTTP 400)
├── AnswerTooLarge          the answer would pass a budget of values, pixels, features or vertices (HTTP 400)
├── ItemNotFound            no feature has this id (HTTP 404)
├── EditError               an edit that cannot be made; nothing was changed
│   ├── InvalidFeature      the feature given does not fit the collection (HTTP 422)
│   ├── ItemExists          a feature to create has an id that is taken (HTTP 409)
│   ├── VersionConflict     the feature is not in the version the client has seen (HTTP 412)
│   └── ReadOnlySource      the features of this store cannot be edited (HTTP 405)
├── SourceUnavailable       a database or remote service does not answer now (HTTP 503)
└── StoreError              the stored data cannot be used (HTTP 500)
    ├── StoreMissing        there is no file at the path
    ├── StoreCorrupt        the file is there, and is not a feature store that can be read
    └── StoreBuildError     the data given cannot become a feature store (told to the one who publishes)
        ├── DuplicateFeatureId
        ├── InvalidGeometry
        └── InvalidValue
```
"""

from __future__ import annotations

from collections.abc import Sequence


class ProviderError(Exception):
    """Base of everything a provider raises on purpose."""


class InvalidParameter(ProviderError):
    """A request parameter that cannot be used: its name, the value found, and what is allowed."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        self.name = name
        self.value = value
        self.allowed = allowed
        shown = value if len(value) <= 200 else value[:200] + "…"
        super().__init__(f"Parameter {name!r} has the value {shown!r}; allowed is: {allowed}")


class StaleCursor(InvalidParameter):
    """A cursor made for another generation: paging has to start again without it."""


class UnknownReferenceSystem(ProviderError):
    """The URI or code names no CRS that coordinates of features can be given in."""


class UnsupportedQuery(ProviderError):
    """The request asks for something this provider does not do: by the parameter `name`, "" where by none of them alone."""

    def __init__(self, message: str, name: str = "", allowed: str = "") -> None:
        super().__init__(message)
        self.name = name
        self.allowed = allowed


class AnswerTooLarge(ProviderError):
    """The answer would pass a budget of values, pixels, features or vertices; the message says how to ask for less."""


class ItemNotFound(ProviderError):
    """No feature has this id; `index` counts the edits of a batch from 0."""

    def __init__(self, feature_id: str, index: int | None = None) -> None:
        self.feature_id = feature_id
        self.index = index
        super().__init__(f"There is no item with the id {feature_id[:200]!r} in this collection")


class EditError(ProviderError):
    """An edit that cannot be made; nothing of its batch was changed. `index` counts the edits of a batch from 0."""

    index: int | None = None


class InvalidFeature(EditError):
    """The feature given does not fit the collection: one (JSON pointer, what is wrong) for each fault."""

    def __init__(self, faults: Sequence[tuple[str, str]], index: int | None = None) -> None:
        self.faults = tuple(faults)
        self.index = index
        where = "" if index is None else f"Edit {index}: "
        super().__init__(where + "; ".join(f"{pointer or '/'}: {fault}" for pointer, fault in self.faults))


class ItemExists(EditError):
    """A feature to create has an id that is taken."""


class VersionConflict(EditError):
    """The feature is not in the version the client has seen: read it again, then edit."""


class ReadOnlySource(EditError):
    """The features of this store cannot be edited."""


class SourceUnavailable(ProviderError):
    """A database or a remote service does not answer now; others are not touched by it."""


class StoreError(ProviderError):
    """The stored data cannot be used."""


class StoreMissing(StoreError):
    """There is no file at the path."""


class StoreCorrupt(StoreError):
    """The file is not a feature store that this release can read."""


class StoreBuildError(StoreError):
    """The data given cannot become a feature store."""


class DuplicateFeatureId(StoreBuildError):
    """Two features have the same id."""


class InvalidGeometry(StoreBuildError):
    """A geometry has coordinates that are not finite, or that its CRS cannot place on Earth."""


class InvalidValue(StoreBuildError):
    """An attribute value does not fit the type of its field."""
