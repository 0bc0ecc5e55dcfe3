"""The `chengtu` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

STOPPED = 130
"""Exit code of a command that Ctrl-C or SIGTERM has stopped."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code.

    0: done. 1: refused or failed, with one message on standard error. 2: the command line is wrong. 130: Ctrl-C.
    """
    from server.cli.application import application
    from server.cli.console import fail
    from server.errors import ChengtuError

    try:
        application(list(arguments), prog_name="chengtu")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except (ChengtuError, OSError) as error:
        return fail(error)
    return 0


def main() -> None:
    """The entry point."""
    code = run(sys.argv[1:])
    if code == STOPPED:
        # Where the interrupt passed through an exec() of a text (dataclasses in a module being imported), Python remembers it
        # as unhandled, although it was handled, and would end by SIGINT instead of with this code. All is cleaned up by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
