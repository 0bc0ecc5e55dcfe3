"""The command as a process: serving, its signals and its port; publishing that is interrupted."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.cli.serving import check_port, prepare
from server.errors import ServeError
from server.registry.registry import open_registry
from server.registry.schema import is_at_head
from server.settings import load_settings

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(port: int, path: str) -> int | None:
    """Status of a GET, None where nobody listens (yet)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in a minute"
        time.sleep(0.05)


@contextmanager
def serving(home: Path, port: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ["serve", "--home", str(home), "--port", str(port), "--workers", "1", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "server.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in listed]


def test_ctrl_c_stops_what_is_not_ready_yet(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "home", port) as process:
        wait_until(lambda: status_of(port, "/health/live") == 200)
        stops_cleanly(process, signal.SIGINT, port)


def stops_cleanly(process: subprocess.Popen[str], stop: signal.Signals, port: int) -> None:
    process.send_signal(stop)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/" in said
    assert "Chengtu has stopped." in said
    assert "Traceback" not in said
    assert status_of(port, "/health/live") is None


def test_serve_becomes_ready_shares_no_port_replaces_a_dead_worker_and_stops_on_sigterm(
    tmp_path: Path,
) -> None:
    port, home = free_port(), tmp_path / "home"
    with serving(home, port) as process:
        wait_until(lambda: status_of(port, "/health/live") == 200)
        second = subprocess.run(
            [sys.executable, "-m", "server.cli", "serve", "--home", str(home), "--port", str(port)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 1
        assert f"port {port} of 127.0.0.1 is taken" in second.stderr
        wait_until(lambda: status_of(port, "/health/ready") == 200)
        # The preparation of a new registry was a child too, and may be one for a moment more.
        wait_until(lambda: len(children_of(process)) == 1)
        (worker,) = children_of(process)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in children_of(process) and status_of(port, "/health/ready") == 200)
        stops_cleanly(process, signal.SIGTERM, port)


def test_serve_stops_where_the_registry_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    blocked.mkdir()
    (blocked / "staging").write_text("a file where a folder should be")
    with serving(blocked, free_port()) as process:
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "staging" in said


def test_a_port_is_checked_before_anything_is_done() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServeError, match=rf"port {port} .* --port"):
            check_port("127.0.0.1", port)
    assert check_port("localhost", free_port()) in ("127.0.0.1", "::1")
    with pytest.raises(ServeError, match="host"):
        check_port("192.0.2.1", free_port())


def test_an_old_registry_is_prepared_before_and_a_new_one_beside(tmp_path: Path) -> None:
    settings = load_settings((), None, {"data.home": tmp_path / "home"})
    beside = prepare(settings)
    assert beside is not None
    assert beside.wait(timeout=PATIENCE) == 0
    assert is_at_head(settings.registry_url)
    assert prepare(settings) is None
    (settings.home / "operator.token").unlink()
    assert prepare(settings) is None
    assert (settings.home / "operator.token").is_file()


@pytest.fixture(scope="module")
def points_and_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table that takes seconds to publish, and a home with the tenant `shenzhen`."""
    folder = tmp_path_factory.mktemp("interrupted")
    table, home = folder / "points.csv", folder / "home"
    rows = (f"{number},{114 + number % 1000 / 1000},{22 + number / 1e6}\n" for number in range(400_000))
    table.write_text("name,lon,lat\n" + "".join(rows))
    with open_registry(load_settings((), None, {"data.home": home})) as registry:
        registry.add_tenant("shenzhen", "Shenzhen", "深圳")
    return table, home


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_publish_leaves_nothing(
    points_and_home: tuple[Path, Path], stop: signal.Signals
) -> None:
    table, home = points_and_home
    options = {"--tenant": "shenzhen", "--id": "points", "--title": "Points", "--home": str(home)}
    arguments = [str(table), *(word for option in options.items() for word in option)]
    # A shell's background job ignores SIGINT, and its children inherit that: a person's terminal does not.
    heeding = ["env", f"--default-signal={stop.name.removeprefix('SIG')}", sys.executable]
    process = subprocess.Popen(
        [*heeding, "-m", "server.cli", "publish", *arguments], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: list(home.glob("staging/*/*")) != [] or process.poll() is not None)
    process.send_signal(stop)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "what was served before still is" in said
    assert "Traceback" not in said
    assert list((home / "staging").iterdir()) == []
    assert list((home / "collections").glob("*/*/g*")) == []


def test_an_interrupt_in_the_middle_of_an_import_ends_with_the_same_code(tmp_path: Path) -> None:
    """`python -m` ends by SIGINT where a KeyboardInterrupt passed through exec() of a text, even if it was handled."""
    (tmp_path / "interrupted.py").write_text(
        "import server.cli\n"
        "def stopped(arguments):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "server.cli.run = stopped\n"
        "server.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, timeout=PATIENCE, check=False)
    assert done.returncode == 130
