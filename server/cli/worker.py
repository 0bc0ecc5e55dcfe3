"""What a worker of `chengtu serve` runs: the server's application, built once the registry is there.

On a new home the registry is made by a process beside the server (`server.cli.preparation`), which may take longer than
a worker's own imports.
"""

from __future__ import annotations

import os
import time

from server.http.starting import StartingApplication, WsgiApplication
from server.registry.schema import is_at_head
from server.settings import Settings, load_settings

_PATIENCE = 60.0
"""Seconds; where the making of the registry fails, the whole server stops before."""


def build() -> WsgiApplication:
    """The application of the settings in the environment. Raises what `create_app` raises, RegistryUnavailable too."""
    from server.http.app import create_app

    settings = load_settings((), os.environ)
    _wait_for_registry(settings)
    return create_app(settings)


def _wait_for_registry(settings: Settings) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_at_head(settings.registry_url) and time.monotonic() < deadline:
        time.sleep(0.05)


application = StartingApplication(build)
