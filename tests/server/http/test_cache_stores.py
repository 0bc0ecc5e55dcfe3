"""Every store of tiles through the whole server with two workers: kept, edited, restarted, cleaned, seeded, damaged, gone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from server.http.tile_maker import open_tile_maker
from server.registry.registry import open_registry
from server.settings import load_settings

PLOTS = "/t/demo/ogc/collections/plots"
PLACES = ("WebMercatorQuad/10/445/835", "WebMercatorQuad/12/1783/3344", "WorldCRS84Quad/9/191/836")
URLS = [f"{PLOTS}/{kind}tiles/{place}" for kind in ("", "map/") for place in PLACES]
KINDS = ("files", "mbtiles", "geopackage", "redis", "s3")
LARGE = pytest.mark.acceptance


@pytest.fixture(scope="module")
def town(city: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("home")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        made = type(city)(home, settings, registry)
        made.publish("plots", count=60, more={"if_match_required": False})
        yield made


def start_redis(folder: Path, port: int, until: Callable[..., float]) -> subprocess.Popen[bytes]:
    import redis

    program = shutil.which("redis-server")
    assert program is not None, "install redis-server (scripts/packages.txt)"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([program, *options], cwd=folder, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    until(answers)
    client.close()
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


@pytest.fixture
def redis_server(
    tmp_path: Path, free_port: int, until: Callable[..., float]
) -> Iterator[tuple[int, list[subprocess.Popen[bytes]]]]:
    """A real Redis server: its port, and its process in a list to which another may be added."""
    processes = [start_redis(tmp_path, free_port, until)]
    yield free_port, processes
    for process in processes:
        stop(process)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def s3_server(tmp_path: Path, until: Callable[..., float]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An S3 server with the bucket `tiles`."""
    import socket

    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return True
        except OSError:
            return False

    until(listens)
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket="tiles")
    client.close()
    yield endpoint, process
    stop(process)


@pytest.fixture
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Settings of a store of a kind, its tiles below the folder of the test."""

    def made(kind: str) -> dict[str, str]:
        found = {"CACHE_STORE": kind, "CACHE_DIRECTORY": str(tmp_path / "tiles")}
        if kind == "redis":
            port, _ = request.getfixturevalue("redis_server")
            found["CACHE_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
        if kind == "s3":
            endpoint, _ = request.getfixturevalue("s3_server")
            found |= {"CACHE_S3_BUCKET": "tiles", "CACHE_S3_ENDPOINT": endpoint}
            found |= {"CACHE_S3_ACCESS_KEY": "k", "CACHE_S3_SECRET_KEY": "s"}
        return found

    return made


def seen(server: Any) -> list[list[tuple[int, str, bytes]]]:
    """What each worker answers."""
    found = []
    for one in server.connect():
        answers = [one.get(url, Accept_Encoding="gzip") for url in URLS]
        found.append([(status, headers.get("etag", ""), body) for status, headers, body in answers])
    return found


def edit(server: Any, town: Any, name: str) -> None:
    shape = [[113.85, 22.62], [114.05, 22.62], [114.05, 22.78], [113.85, 22.62]]
    feature = {"type": "Feature", "properties": {"name": name}}
    feature["geometry"] = {"type": "Polygon", "coordinates": [shape]}
    status, _, body = server.connect()[0].request(
        "POST",
        f"{PLOTS}/items",
        json.dumps(feature).encode(),
        Authorization=f"Bearer {town.token}",
        Content_Type="application/geo+json",
    )
    assert status == 201, body


def chengtu(home: Path, settings: dict[str, str], *arguments: str) -> str:
    environment = {**os.environ, **{f"CHENGTU_{name}": text for name, text in settings.items()}}
    command = [str(Path(sys.executable).with_name("chengtu")), *arguments, "--home", str(home)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def statistics(home: Path, settings: dict[str, str]) -> dict[str, Any]:
    """What `chengtu cache stats` shows."""
    variables = {"CHENGTU_DATA_HOME": str(home)} | {
        f"CHENGTU_{name}": text for name, text in settings.items()
    }
    cache = open_tile_maker(load_settings((), variables)).cache
    try:
        usage = cache.usage("demo/plots")
        return {**cache.statistics(("demo", "plots"))._asdict(), "tiles": usage.tiles, "bytes": usage.bytes}
    finally:
        cache.close()


@pytest.mark.parametrize("kind", [one if one == "redis" else pytest.param(one, marks=LARGE) for one in KINDS])
def test_a_store_through_the_whole_server(
    kind: str,
    town: Any,
    variables: Callable[[str], dict[str, str]],
    serving: Callable[..., AbstractContextManager[Any]],
) -> None:
    settings = variables(kind)
    with serving(town.home, **settings) as server:
        first = seen(server)
        assert {status for one in first for status, _, _ in one} == {200}
        assert first[0] == first[1]
        made = statistics(town.home, settings)
        assert made["renderings"] == len(URLS)
        assert made["tiles"] >= len(URLS)
        assert made["bytes"] > 0
        edit(server, town, f"new in {kind}")
        second = seen(server)
        assert second[0] == second[1]
        for (_, old_tag, old), (status, tag, body) in zip(first[0], second[0], strict=True):
            assert status == 200
            assert tag != old_tag
            assert body != old
        again = statistics(town.home, settings)
        assert again["renderings"] == 2 * len(URLS)
        assert again["invalidated"] >= len(URLS)
    with serving(town.home, **settings) as server:
        assert seen(server) == second  # kept over a restart: the same validators
        assert statistics(town.home, settings)["renderings"] == again["renderings"]
        chengtu(town.home, settings, "cache", "clean", "demo.plots")
        assert statistics(town.home, settings)["tiles"] == 0
        chengtu(town.home, settings, "seed", "demo.plots", "--kind", "tiles", "--levels", "10-12")
        seeded = statistics(town.home, settings)
        assert seeded["tiles"] > 2
        third = seen(server)
        assert [body for _, _, body in third[0]] == [body for _, _, body in second[0]]
        assert third[0] == third[1]
        # The two vector tiles of the levels that were seeded are kept, the other four were made.
        assert statistics(town.home, settings)["renderings"] == seeded["renderings"] + 4


@LARGE
def test_redis_goes_and_comes_back_while_clients_ask(
    town: Any,
    tmp_path: Path,
    redis_server: tuple[int, list[subprocess.Popen[bytes]]],
    variables: Callable[[str], dict[str, str]],
    serving: Callable[..., AbstractContextManager[Any]],
    until: Callable[..., float],
) -> None:
    port, processes = redis_server
    with serving(town.home, **variables("redis"), CACHE_MEMORY_BYTES="0") as server:
        bodies = [body for _, _, body in seen(server)[0]]
        statuses: list[int] = []
        stopped = threading.Event()

        def ask(number: int) -> None:
            import requests

            with requests.Session() as session:
                while not stopped.wait(0.02):
                    url = f"http://127.0.0.1:{server.port}{URLS[len(statuses) % len(URLS)]}"
                    statuses.append(session.get(url, timeout=60).status_code)

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for client in clients:
            client.start()
        try:
            processes[0].kill()
            processes[0].wait(20)
            assert [body for _, _, body in seen(server)[0]] == bodies
            edit(server, town, "while Redis is away")
            after = [[body for _, _, body in one] for one in seen(server)]
            assert after[0] == after[1] != bodies
            processes.append(start_redis(tmp_path, port, until))
            count = len(statuses)
            until(lambda: len(statuses) > count + 50)
            assert [[body for _, _, body in one] for one in seen(server)] == after

            def kept_again() -> bool:
                import redis

                with redis.Redis(port=port) as client:
                    return int(client.dbsize()) > 0

            until(kept_again)
        finally:
            stopped.set()
            for client in clients:
                client.join(60)
        assert set(statuses) <= {200, 503}
        assert statuses.count(503) < len(statuses) / 10


@LARGE
def test_an_s3_server_that_hangs_keeps_nobody_for_long(
    town: Any,
    s3_server: tuple[str, subprocess.Popen[bytes]],
    variables: Callable[[str], dict[str, str]],
    serving: Callable[..., AbstractContextManager[Any]],
) -> None:
    _, process = s3_server
    with serving(town.home, **variables("s3"), CACHE_MEMORY_BYTES="0") as server:
        bodies = [body for _, _, body in seen(server)[0]]
        process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(2):
                answers = seen(server)
                assert [body for _, _, body in answers[0]] == bodies
                assert {status for one in answers for status, _, _ in one} == {200}
        finally:
            process.send_signal(signal.SIGCONT)


@LARGE
def test_a_damaged_tile_heals(
    town: Any,
    variables: Callable[[str], dict[str, str]],
    serving: Callable[..., AbstractContextManager[Any]],
    tmp_path: Path,
) -> None:
    with serving(town.home, **variables("files"), CACHE_MEMORY_BYTES="0") as server:
        whole = seen(server)
        files = [
            one
            for one in (tmp_path / "tiles").rglob("*.*")
            if one.suffix in (".mvt", ".png") and one.stem.isdigit()
        ]
        assert len(files) >= len(URLS)
        for number, file in enumerate(sorted(files)):
            content = file.read_bytes()
            file.write_bytes((b"", content[: len(content) // 2], b"<html>" + content[6:])[number % 3])
        healed = seen(server)
        assert [body for _, _, body in healed[0]] == [body for _, _, body in whole[0]]
        assert healed[0] == healed[1]


def fill(file: Path) -> None:
    """Write until there is no room."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, b"\0" * 512):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(descriptor)


@LARGE
def test_a_full_disk_serves_and_follows_edits(
    town: Any,
    variables: Callable[[str], dict[str, str]],
    serving: Callable[..., AbstractContextManager[Any]],
    tmp_path: Path,
    until: Callable[..., float],
) -> None:
    if os.geteuid() != 0:
        pytest.skip(
            "only root can mount a small file system; test_tile_cache.py tests RLIMIT_FSIZE for everyone"
        )
    folder = tmp_path / "tiles"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount; test_tile_cache.py tests RLIMIT_FSIZE for everyone")
    try:
        with serving(town.home, **variables("files")) as server:
            seen(server)
            fill(folder / "filling")
            edit(server, town, "on a full disk")
            answers = seen(server)
            assert {status for one in answers for status, _, _ in one} == {200}
            assert [body for _, _, body in answers[0]] == [body for _, _, body in answers[1]]
            (folder / "filling").unlink()
            last = seen(server)
            assert [body for _, _, body in last[0]] == [body for _, _, body in answers[0]]

            def kept_again() -> bool:
                first, second = seen(server)
                return first == second  # one stamp: what one worker keeps the other finds

            until(kept_again)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
