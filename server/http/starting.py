"""Start a worker: listen at once, build the application beside, answer when it is there.

granian lets a worker listen only after its target is imported, and the application's imports alone take seconds. So
the target is this light object; requests that come early wait, and `/health/ready` says 503 meanwhile.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

_PATIENCE = 60.0  # seconds an early request waits


class StartingApplication:
    """A WSGI application that becomes the one `build` makes; `build` runs in a thread of its own, once."""

    def __init__(self, build: Callable[[], WsgiApplication]) -> None:
        self._build = build
        self._application: WsgiApplication | None = None
        self._failure: str | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="chengtu-start", daemon=True).start()

    def _run(self) -> None:
        try:
            self._application = self._build()
        except BaseException as error:
            self._failure = f"{type(error).__name__}: {error}"
            traceback.print_exc()
            raise
        finally:
            self._done.set()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the application, waiting for it; health answers at once."""
        application = self._application
        if application is None:
            path = environ["PATH_INFO"]
            if path == "/health/live" and self._failure is None:
                return _plain(start_response, "200 OK", b'{"status":"live"}')
            if path != "/health/ready":
                self._done.wait(_PATIENCE)
            application = self._application
        if application is None:
            status = "503 Service Unavailable"
            reason = (
                "the server could not start; its log says why" if self._failure else "the server is starting"
            )
            body = f'{{"title":"Service unavailable","status":503,"detail":"{reason}"}}'.encode()
            return _plain(start_response, status, body, "application/problem+json")
        return application(environ, start_response)


def _plain(
    start_response: StartResponse, status: str, body: bytes, media_type: str = "application/json"
) -> Iterable[bytes]:
    headers = [
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if status.startswith("503"):
        headers.append(("Retry-After", "1"))
    start_response(status, headers)
    return [body]


def from_environment(environment: Mapping[str, str]) -> StartingApplication:
    """The server with settings from environment variables (`chengtu serve` sets them)."""

    def build() -> WsgiApplication:
        from server.http.app import create_app
        from server.settings import load_settings

        return create_app(load_settings((), environment), keep_tiles=True)

    return StartingApplication(build)
