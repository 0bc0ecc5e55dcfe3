"""Starts the web server: granian's main process, which forks the workers and starts a new one where one dies.

The main process must not open a database, GDAL or PROJ handle, and has to be quick: the port is to be open within a
second. It imports neither SQLAlchemy nor the application; a worker builds that after the fork.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import subprocess
from typing import TYPE_CHECKING

from server.cli.console import say
from server.cli.preparation import start_process, stop_where_it_fails
from server.errors import ServeError
from server.registry.folders import operator_token_file
from server.registry.schema import is_at_head, sqlite_file
from server.registry.staging import dead_staging_folders
from server.settings import Settings, settings_environment
from server.settings.loading import CONFIG_VARIABLE

if TYPE_CHECKING:
    from granian.server.mp import MPServer

APPLICATION = "server.http.wsgi:application"

_CONNECTIONS = 8_192
"""Connections that a worker holds. By itself granian lets all workers together have 1,024, and shares them out blindly: of 1,000
clients that stay connected some would never be answered."""
_WAITING_CONNECTIONS = 4_096
_OPEN_FILES = 65_536
"""Each connection is an open file; a shell's usual limit is 1,024."""
_RASTER_BLOCKS_MB = "128"
"""What a worker keeps of blocks of raster files. GDAL's own choice is a twentieth of the machine's memory, for each worker."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ServeError, RegistryError; SystemExit where workers die again and again."""
    address = check_port(settings.server.host, settings.server.port)
    preparing = prepare(settings)
    os.environ.pop(CONFIG_VARIABLE, None)
    os.environ.update(settings_environment(settings))
    os.environ.setdefault("GDAL_CACHEMAX", _RASTER_BLOCKS_MB)
    _allow_open_files()
    server = _granian(settings, address)
    url = settings.server.public_url or _url(settings)
    say(
        f"Chengtu serves {url} with {settings.server.workers} workers; data in {settings.home}. Stop it with Ctrl-C."
    )
    if preparing is not None:
        stop_where_it_fails(preparing)
    server.serve()
    if preparing is not None and preparing.wait() != 0:
        raise ServeError("the registry could not be made; the message above says why")
    say("Chengtu has stopped.")


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_port(host: str, port: int) -> str:
    """The numeric address of `host`, after trying to listen there. Raises ServeError where that cannot be.

    granian opens its sockets with SO_REUSEPORT, so it would share a port with another server without a word.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ServeError(
            f"server.host is {host!r}, which is no address of this machine: {error.strerror}; allowed: 127.0.0.1, "
            "0.0.0.0 or a name of this machine"
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise ServeError(_why_not(error, host, port)) from error
    return str(address[0])


def prepare(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Make or upgrade the registry where that is needed, and let a process of its own remove leftovers.

    A new registry is made by a process beside the server, which is returned; an old one is upgraded before.
    """
    file = sqlite_file(settings.registry_url)
    if not (is_at_head(settings.registry_url) and operator_token_file(settings.home).is_file()):
        say(f"Preparing the registry in {settings.home} ...")
        if file is not None and not file.exists():
            return start_process("server.cli.preparation", settings)
        from server.registry.registry import open_registry

        open_registry(settings).close()
    if dead_staging_folders(settings.home):
        start_process("server.cli", settings, "sweep")
    return None


def _granian(settings: Settings, address: str) -> MPServer:
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.mp import MPServer

    # granian's own "info" is about its processes; ours is about requests.
    level = "warning" if settings.server.log_level == "info" else settings.server.log_level
    # Most of our threads only ever wait (docs/how-to/operate.md); an operator is not to be warned of the default.
    logging.getLogger("_granian").addFilter(lambda record: "Python threads" not in record.getMessage())
    return MPServer(
        APPLICATION,
        address=address,
        port=settings.server.port,
        interface=Interfaces.WSGI,
        workers=settings.server.workers,
        blocking_threads=settings.server.blocking_threads,
        backlog=_WAITING_CONNECTIONS,
        backpressure=_CONNECTIONS,
        http=HTTPModes.http1,
        # Longer than a proxy in front keeps its idle connections (nginx: 60 s), so that none is closed under its next request.
        http1_settings=HTTP1Settings(header_read_timeout=75_000),
        websockets=False,
        log_level=LogLevels(level),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.server.stop_seconds,
    )


def _url(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.server.host, settings.server.host)  # noqa: S104  # not bound
    return (
        f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.server.port}/"
    )


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken by another program; stop that one, "
            "or choose another port with --port (or CHENGTU_SERVER_PORT)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs the rights of root; choose one above 1023 with --port"
    return f"cannot listen on port {port} of {host}: {error.strerror}; see --host and --port"
