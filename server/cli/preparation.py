"""`python -m server.cli.preparation`: makes a new registry for the `chengtu serve` that started this process.

A process of its own, because the server's main process must not open a database before it forks. Where it fails it says
why, and the server does not start.
"""

from __future__ import annotations

import os
import subprocess
import sys

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
