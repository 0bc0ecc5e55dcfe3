"""What can go wrong with maps whose data lie elsewhere.

```
MapSourceError (tiles.errors), SourceUnavailable (providers.errors)
└── RemoteMapUnavailable    the service or database behind a map does not answer now, or answers something else (HTTP 503)
    └── RemoteMapRefused    the service is there, and refuses this one request (HTTP 503)
```
"""

from __future__ import annotations

from providers.errors import SourceUnavailable
from tiles.errors import MapSourceError
from tiles.maps.source import Pixels


class RemoteMapUnavailable(MapSourceError, SourceUnavailable):
    """What is behind a map does not answer now, or answers what is no map.

    `retry_after`: seconds after which asking again makes sense, None where nobody knows. `last_good`: the image as it was
    when the service was asked last, though that is longer ago than the collection allows; None where nothing was kept.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, last_good: Pixels | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.last_good = last_good


class RemoteMapRefused(RemoteMapUnavailable):
    """The service has answered, and says that it cannot draw what was asked (an exception report, 400 or 404)."""
