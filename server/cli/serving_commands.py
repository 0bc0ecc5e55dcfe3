"""`chengtu serve` and `chengtu demo`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import Config, Home, settings_of

Host = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all")
]
Port = Annotated[int | None, typer.Option("--port", metavar="NUMBER", help="TCP port to listen on")]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="NUMBER", help="Processes that answer requests")
]


def serve(
    host: Host = None, port: Port = None, workers: Workers = None, home: Home = None, config: Config = None
) -> None:
    """Serve everything that is published, until Ctrl-C or SIGTERM."""
    from server.cli.serving import serve as run_server

    run_server(settings_of(home, config, server__host=host, server__port=port, server__workers=workers))


def demo(
    serving: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the city after it is built")
    ] = True,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    home: Home = None,
    config: Config = None,
) -> None:
    """Build the demo city (what is built already is kept), then serve it."""
    from server.cli.console import progress, say, stopping_cleanly
    from server.cli.serving import check_port

    settings = settings_of(home, config, server__host=host, server__port=port, server__workers=workers)
    if serving:
        check_port(settings.server.host, settings.server.port)  # not after minutes of building
    from server.demo import build_demo

    def warn(warning: str) -> None:
        say(f"Warning: {warning}")  # at once, above the bar: a build that is stopped has said it too

    with stopping_cleanly(), progress("Building the demo city", whole=True) as report:
        built = build_demo(settings, report, warn=warn)
    say(
        f"Published {len(built)} collections: {', '.join(built)}."
        if built
        else "The demo city is there already."
    )
    if serving:
        _become_server(settings.home, host, port, workers, config)


def _become_server(
    home: Path, host: str | None, port: int | None, workers: int | None, config: list[Path] | None
) -> None:
    """Replace this process by `chengtu serve`: what building opened (GDAL, PROJ, SQLite) must not cross a fork."""
    arguments = ["--home", str(home)]
    for name, value in (("--host", host), ("--port", port), ("--workers", workers)):
        if value is not None:
            arguments += [name, str(value)]
    for file in config or ():
        arguments += ["--config", str(file)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "server.cli", "serve", *arguments])  # noqa: S606  # no shell wanted
