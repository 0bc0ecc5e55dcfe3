"""Where the records come from: functions that list them, registered by the server under a key.

The function is called in the thread and context of the request, so it can honour that request's view and rights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from providers.errors import StoreMissing

Record = dict[str, Any]
RecordLister = Callable[[], Sequence[Record]]
"""Lists the records of a catalogue, in the order in which they are to be shown."""


@runtime_checkable
class FindableRecords(Protocol):
    """Records that know where one of them is."""

    def find(self, record_id: str) -> Record | None:
        """The record of this id, None where there is none."""
        ...


_lock = threading.Lock()
_listers: dict[str, RecordLister] = {}


def register_catalogue(key: str, list_records: RecordLister) -> None:
    """Register the records of a catalogue; what was registered under the key before is replaced."""
    with _lock:
        _listers[key] = list_records


def unregister_catalogue(key: str) -> None:
    """Forget a catalogue; nothing happens where there is none."""
    with _lock:
        _listers.pop(key, None)


def list_records(key: str) -> Sequence[Record]:
    """The records of a catalogue. Raises StoreMissing where none is registered under the key."""
    lister = _listers.get(key)
    if lister is None:
        raise StoreMissing(f"No catalogue is registered as {key!r}")
    return lister()
