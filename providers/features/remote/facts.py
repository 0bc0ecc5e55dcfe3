"""What is known of a remote collection, kept in memory and, as the last good copy, on disk.

A remote service that is down still has its collection shown: title, fields, extent and abilities come from the last good copy,
and only its items are answered with 503. Features are never kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from providers.errors import ProviderError, SourceUnavailable
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import Ability
from providers.outgoing import RemoteUnavailable

_LAYOUT = 1  # of the copy on disk: another number is not read
_SERVED_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:4490")
_RETRY_SECONDS = 30.0  # between two tries to read the metadata of a service that does not answer
_PATIENCE = 1.0  # seconds that a second request waits for the first one's metadata: threads are few
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFacts:
    """What a remote service says of one of its collections.

    `storage_crs`: URI of the CRS in which features are asked for. `bbox`: CRS84 (4 numbers) or (). `details`: JSON values that
    only the service's own kind reads (names of parameters, capabilities).
    """

    fields: tuple[FieldDefinition, ...]
    abilities: frozenset[Ability]
    title: str = ""
    description: str = ""
    attribution: str = ""
    licence: str = ""
    bbox: tuple[float, ...] = ()
    geometry_type: str = "Geometry"
    time_field: str | None = None
    storage_crs: str = CRS84
    count: int | None = None
    details: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems, as every store shows them."""
        uris = [CRS84, *(reference_system(code).uri for code in _SERVED_CRS), self.storage_crs]
        return CollectionSchema(
            fields=self.fields,
            storage_crs=self.storage_crs,
            time_field=self.time_field,
            geometry_type=self.geometry_type,
            supported_crs=tuple(dict.fromkeys(uris)),
        )

    @cached_property
    def storage(self) -> ReferenceSystem:
        """The CRS in which features are asked for."""
        return reference_system(self.storage_crs)

    @cached_property
    def digest(self) -> str:
        """Changes with the fields, the abilities and everything else that is known."""
        return hashlib.blake2b(orjson.dumps(to_json(self)), digest_size=6).hexdigest()


def to_json(facts: RemoteFacts) -> dict[str, Any]:
    """Facts as JSON values: equal facts give equal ones."""
    return {
        **{name: getattr(facts, name) for name in _TEXTS},
        "layout": _LAYOUT,
        "fields": [asdict(item) for item in facts.fields],
        "abilities": sorted(facts.abilities),
        "bbox": list(facts.bbox),
        "count": facts.count,
        "time_field": facts.time_field,
        "details": dict(facts.details),
    }


def from_json(document: Any) -> RemoteFacts:
    """The same back. Raises KeyError, TypeError, ValueError for what is no such document."""
    if document["layout"] != _LAYOUT:
        raise ValueError("a copy of another release")
    return RemoteFacts(
        fields=tuple(FieldDefinition(**item) for item in document["fields"]),
        abilities=frozenset(Ability(name) for name in document["abilities"]),
        bbox=tuple(float(number) for number in document["bbox"]),
        count=document["count"],
        time_field=document["time_field"],
        details=dict(document["details"]),
        **{name: str(document[name]) for name in _TEXTS},
    )


_TEXTS = ("title", "description", "attribution", "licence", "geometry_type", "storage_crs")


class LastGood:
    """The last good copy of facts in a folder; without a folder it keeps nothing."""

    def __init__(self, folder: Path | None, key: bytes) -> None:
        name = hashlib.blake2b(key, digest_size=16).hexdigest()
        self._path = None if folder is None else folder / "remote" / f"{name}.json"

    def load(self) -> tuple[RemoteFacts, float] | None:
        """The copy and its age in seconds; None where there is none that can be read."""
        if self._path is None:
            return None
        try:
            age = max(time.time() - self._path.stat().st_mtime, 0.0)
            return from_json(orjson.loads(self._path.read_bytes())), age
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            _log.warning(
                "the last good metadata in %s cannot be read; the service is asked anew", self._path.name
            )
            return None

    def save(self, facts: RemoteFacts) -> None:
        """Replace the copy in one step. A folder that cannot be written to is logged: the service is still served."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".", suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(orjson.dumps(to_json(facts)))
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            _log.warning("the metadata of a remote service is not kept: %s", error.strerror)


class FactsKeeper:
    """Facts that are read when first asked for, and read anew in the background when they are old.

    A copy on disk is served at once, however old, while one thread asks the service; the old facts stay while it does not
    answer. Without any copy the first caller waits for the service, and gets SourceUnavailable where it does not answer.
    """

    def __init__(self, discover: Callable[[], RemoteFacts], last_good: LastGood, seconds: float) -> None:
        self._discover = discover
        self._last_good = last_good
        self._seconds = seconds
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._facts: RemoteFacts | None = None
        self._due = 0.0
        self._read_at = -_RETRY_SECONDS

    def facts(self) -> RemoteFacts:
        """The facts as they are known now. Raises SourceUnavailable where nothing is."""
        facts = self._facts
        if facts is None:
            facts = self._first()
        if time.monotonic() >= self._due and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_aside, name="remote metadata", daemon=True).start()
        return facts

    def read_now(self) -> RemoteFacts:
        """Ask the service now. Raises SourceUnavailable and leaves the facts as they were."""
        with self._reading:
            return self._read()

    def mark_old(self) -> None:
        """An answer did not fit the facts: read them anew with the next request, not more often than every 30 s."""
        with self._lock:
            self._due = min(self._due, max(time.monotonic(), self._read_at + _RETRY_SECONDS))

    def _first(self) -> RemoteFacts:
        if not self._reading.acquire(timeout=_PATIENCE):
            raise RemoteUnavailable("The remote service is being asked for its metadata", retry_after=2.0)
        try:
            if self._facts is not None:
                return self._facts
            kept = self._last_good.load()
            if kept is None:
                return self._read()
            facts, age = kept
            self._set(facts, self._seconds - age)
            return facts
        finally:
            self._reading.release()

    def _read(self) -> RemoteFacts:
        self._read_at = time.monotonic()
        facts = self._discover()
        self._last_good.save(facts)
        self._set(facts, self._seconds)
        return facts

    def _read_aside(self) -> None:
        try:
            self._read()
        except ProviderError as error:
            with self._lock:
                self._due = time.monotonic() + _RETRY_SECONDS
            _log.warning("remote metadata stays as it was: %s", error)
        finally:
            self._reading.release()

    def _set(self, facts: RemoteFacts, seconds: float) -> None:
        with self._lock:
            self._facts = facts
            self._due = time.monotonic() + seconds


def with_overrides(facts: RemoteFacts, description: Mapping[str, Any]) -> RemoteFacts:
    """Facts with what the description says of them instead of the remote: attribution, licence, time field.

    Raises SourceUnavailable for a time field that the remote does not have.
    """
    changes: dict[str, Any] = {
        name: str(description[name]) for name in ("attribution", "licence") if description.get(name)
    }
    wanted = description.get("time_field")
    if wanted:
        if all(item.name != wanted or item.format is None for item in facts.fields):
            times = [item.name for item in facts.fields if item.format is not None]
            raise SourceUnavailable(
                f"The remote collection has no date or time field {str(wanted)[:80]!r}; it has {times}"
            )
        changes["time_field"] = str(wanted)
        changes["abilities"] = facts.abilities | {Ability.DATETIME}
    return replace(facts, **changes) if changes else facts
