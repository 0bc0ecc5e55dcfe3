"""What is common to sources that read files where they lie: the state of a file is looked at again when it was replaced."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from providers.errors import SourceUnavailable, StoreError
from providers.features.crs import ReferenceSystem
from providers.features.schema import CollectionSchema, FieldDefinition


class FileState(Protocol):
    """What files hold as long as their identity stays."""

    @property
    def identity(self) -> str:
        """Differs when one of the files was written or replaced."""
        ...

    @property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems."""
        ...

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS of the geometries."""
        ...


class FileSource[State: FileState](ABC):
    """A source over files that others may replace at any time. Safe to use from many threads."""

    def __init__(self, path: Path, load: Callable[[], State]) -> None:
        """`load` reads the present state. Raises what it raises."""
        self._path = path
        self._load = load
        self._lock = threading.Lock()
        self._state = load()

    @abstractmethod
    def change(self) -> str:
        """Differs when the file, or one that belongs to it, was written or replaced."""

    @property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems of the files as they are now."""
        return self.state().schema

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS of the geometries."""
        return self.state().storage

    def state(self) -> State:
        """What the files hold; read again where they were replaced. Raises StoreMissing, StoreCorrupt, StoreError."""
        identity = self.change()
        state = self._state
        if state.identity == identity:
            return state
        with self._lock:
            if self._state.identity != identity:
                self._state = self._load()
            return self._state

    def chosen_fields(self, state: State, names: Sequence[str] | None) -> Sequence[FieldDefinition]:
        """The fields of these names, all for None. Raises StoreError for one that is not there."""
        known = state.schema.by_name
        unknown = sorted(set(names or ()) - known.keys())
        if unknown:
            raise StoreError(f"{self._path.name!r} has no fields {unknown}; it has {sorted(known)}")
        return state.schema.fields if names is None else [known[name] for name in names]

    def answer[Answer](self, read: Callable[[State], Answer]) -> Answer:
        """What `read` gives of one state of the files: once more where they were replaced meanwhile.

        Raises SourceUnavailable where that happens again.
        """
        for _ in range(2):
            state = self.state()
            failure: StoreError | None = None
            try:
                answer = read(state)
            except StoreError as error:
                failure = error
            if self.change() == state.identity:
                if failure is not None:
                    raise failure
                return answer
        raise SourceUnavailable(f"{self._path.name!r} is being replaced; ask again")
