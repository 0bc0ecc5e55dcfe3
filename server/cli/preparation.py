"""`python -m server.cli.preparation`: makes a new registry for the `chengtu serve` that started this process.

It takes seconds (SQLAlchemy, Alembic), in which the server listens already and says that it is not ready. Where it fails
it says why and stops that server.
"""

from __future__ import annotations

import os
import signal
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


def prepare_for_parent() -> int:
    """Make the registry; the exit code of this process."""
    parent = os.getppid()
    try:
        from server.registry.registry import open_registry

        open_registry(load_settings((), os.environ)).close()
    except (ChengtuError, OSError) as error:
        code = fail(error)
        if os.getppid() == parent:
            os.kill(parent, signal.SIGTERM)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(prepare_for_parent())
