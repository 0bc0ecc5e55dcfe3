"""What can go wrong on the way to another host.

```
SourceUnavailable (providers.errors)
└── RemoteUnavailable       the remote service does not answer now, or may not be asked (HTTP 503)
    ├── RemoteBusy          as many requests to it as may be are under way and waiting; it was not asked (HTTP 503)
    └── RemoteStumbled      it has answered this one request with an error of its own (HTTP 503)
```
"""

from __future__ import annotations

from providers.errors import SourceUnavailable


class RemoteUnavailable(SourceUnavailable):
    """A remote service does not answer now, or may not be asked.

    The message names the host, never the query string or a credential. `retry_after`: seconds after which asking again makes
    sense, None where nobody knows.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class RemoteStumbled(RemoteUnavailable):
    """A remote service has answered one request with an error of its own (500, 501); it does not count as being down."""


class RemoteBusy(RemoteUnavailable):
    """A remote service was not asked: as many requests to it as may be are under way and waiting."""
