"""`python -m server.cli.preparation`: makes a new registry for the `chengtu serve` that started this process.

It takes seconds (SQLAlchemy, Alembic), in which the server listens already and says that it is not ready. Where it fails
it says why, and the server stops.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from server.cli.console import fail
from server.errors import ChengtuError
from server.settings import Settings, load_settings, settings_environment
from server.settings.loading import CONFIG_VARIABLE


def start_process(module: str, settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    """Run a module of ours beside this process, with these settings; what it prints goes to standard error only."""
    environment = {**os.environ, **settings_environment(settings)}
    environment.pop(CONFIG_VARIABLE, None)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def stop_where_it_fails(preparation: subprocess.Popen[bytes]) -> None:
    """Send this process SIGTERM, as a person would, when the preparation beside it has failed. Returns at once."""

    def watch() -> None:
        if preparation.wait() != 0:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="chengtu-preparation", daemon=True).start()


def prepare_registry() -> int:
    """Make the registry of the settings in the environment; the exit code of this process."""
    try:
        from server.registry.registry import open_registry

        open_registry(load_settings((), os.environ)).close()
    except (ChengtuError, OSError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(prepare_registry())
