"""The peers of map tiles: titiler on the same COG, mod_mapcache and nginx on tiles that are already there."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.processes import find_program, free_port, running

MAPCACHE_MODULE = Path("/usr/lib/apache2/modules/mod_mapcache.so")

_APACHE = """
ServerRoot {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
Listen 127.0.0.1:{port}
ServerName localhost
User {user}
Group {user}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule mapcache_module {module}
StartServers 2
ServerLimit 2
ThreadsPerChild 25
MaxRequestWorkers 50
KeepAlive On
MaxKeepAliveRequests 0
MapCacheAlias /mapcache {folder}/mapcache.xml
"""

_MAPCACHE = """<?xml version="1.0" encoding="UTF-8"?>
<mapcache>
 <cache name="disk" type="disk" layout="template"><template>{tiles}/{{z}}/{{x}}/{{inv_y}}.png</template></cache>
 <tileset name="buildings"><cache>disk</cache><grid>g</grid><format>PNG</format></tileset>
 <service type="gmaps" enabled="true"/>
 <errors>report</errors>
</mapcache>
"""

_NGINX = """
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  types {{ image/png png; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {tiles}; }}
  }}
}}
"""


@contextlib.contextmanager
def titiler(bin_folder: Path, work: Path) -> Iterator[tuple[int, int]]:
    """titiler under uvicorn, two workers, with GDAL set for COGs; gives pid and port."""
    port = free_port()
    variables = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": "200", "VSI_CACHE": "TRUE"}
    command = [str(bin_folder / "uvicorn"), "titiler.application.main:app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "2", "--log-level", "warning", "--no-access-log"]
    with running(command, f"http://127.0.0.1:{port}/healthz", work / "titiler.log", variables) as pid:
        yield pid, port


@contextlib.contextmanager
def mapcache(work: Path, tiles: Path) -> Iterator[tuple[int, int]]:
    """Apache with mod_mapcache, two processes, on PNG tiles at {z}/{x}/{row from the top}.png; gives pid and port."""
    folder, port = _folder(work, "mapcache"), free_port()
    user = "www-data" if os.geteuid() == 0 else "nobody"
    (folder / "mapcache.xml").write_text(_MAPCACHE.format(tiles=tiles))
    configuration = folder / "apache.conf"
    configuration.write_text(_APACHE.format(folder=folder, port=port, user=user, module=MAPCACHE_MODULE))
    command = [
        find_program("apache2") or "apache2",
        "-d",
        str(folder),
        "-f",
        str(configuration),
        "-DFOREGROUND",
    ]
    with _listening(command, port, work / "mapcache.log") as pid:
        yield pid, port


@contextlib.contextmanager
def static_nginx(work: Path, tiles: Path) -> Iterator[tuple[int, int]]:
    """nginx, two processes, serving a folder as it is; gives pid and port."""
    folder, port = _folder(work, "nginx"), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, port=port, tiles=tiles))
    with nginx(configuration, port, work / "nginx.log") as pid:
        yield pid, port


@contextlib.contextmanager
def nginx_before(work: Path, home: Path, server_port: int) -> Iterator[tuple[int, int]]:
    """nginx by docker/nginx.conf before our server of a home; gives pid and port."""
    folder, port = _folder(work, "nginx-before"), free_port()
    text = (Path(__file__).parents[1] / "docker" / "nginx.conf").read_text()
    for written, here in (
        ("server:8000", f"127.0.0.1:{server_port}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("/tmp/", f"{folder}/"),
        ("/var/cache/chengtu/", f"{home.resolve()}/cache/"),
        ("worker_processes auto", "worker_processes 2"),
    ):
        if written not in text:
            raise RuntimeError(f"docker/nginx.conf no longer says {written!r}")
        text = text.replace(written, here)
    configuration = folder / "nginx.conf"
    # The folders of a benchmark belong to who runs it.
    configuration.write_text(f"user root;\n{text}" if os.geteuid() == 0 else text)
    with nginx(configuration, port, work / "nginx-before.log") as pid:
        yield pid, port


@contextlib.contextmanager
def nginx(configuration: Path, port: int, log: Path) -> Iterator[int]:
    """nginx in the foreground with a configuration; gives its pid."""
    command = [find_program("nginx") or "nginx", "-c", str(configuration), "-g", "daemon off;"]
    with _listening(command, port, log) as pid:
        yield pid


def _folder(work: Path, name: str) -> Path:
    folder = work / f"peer-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def _listening(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server that has no page to ask for until the block ends; gives its pid once the port is open."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    try:
        end = time.monotonic() + 15
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not listen; see {log}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
