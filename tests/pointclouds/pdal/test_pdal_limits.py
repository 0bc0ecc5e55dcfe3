"""Runs that take too much, crash, or want what is not theirs; and a server without PDAL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pytest

from pointclouds.errors import PdalAbsentError, PipelineFailedError, PipelineLimitError
from pointclouds.pdal import Limits, Pdal, Stage, find_pdal, require_pdal, run_pipeline
from pointclouds.pdal.blocks import blocks_of
from pointclouds.pdal.child import RunCancelled
from pointclouds.pdal.command import LAUNCHER, clean_environment

Run = Callable[..., laspy.LasData]
MEBIBYTE = 1024**2


def _program(path: Path, text: str) -> Pdal:
    """A stand-in for PDAL that does what `text`, a shell script, says."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Pdal((str(path),), "2.2.0", frozenset())


PLENTY = Limits(seconds=20)


def _run(pdal: Pdal, folder: Path, limits: Limits = PLENTY, **options: object) -> Path:
    given = folder / "given.las"
    given.touch()
    output = folder / "result.laz"
    run_pipeline(pdal, [], [given], output, limits, **options)  # type: ignore[arg-type] # one of its options
    return output


def _children() -> list[str]:
    """Processes that a run of a stand-in has started and that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # gone meanwhile
            continue
        if words[:2] == [b"sleep", b"97531"]:
            found.append(path.parent.name)
    return found


def test_time_ends_a_run_and_all_it_has_started(tmp_path: Path) -> None:
    pdal = _program(tmp_path / "slow", "sleep 97531 &\nsleep 97531")
    with pytest.raises(PipelineLimitError, match=r"longer than its 2 seconds"):
        _run(pdal, tmp_path, Limits(seconds=2))
    assert not _children()
    assert {path.name for path in tmp_path.iterdir()} == {"slow", "given.las"}


def test_a_run_is_stopped(tmp_path: Path) -> None:
    pdal = _program(tmp_path / "slow", "sleep 97531")
    with pytest.raises(RunCancelled):
        _run(pdal, tmp_path, cancelled=lambda: True)
    assert not _children()


def test_memory_is_limited(run_stages: Run) -> None:
    with pytest.raises(PipelineLimitError, match=r"more memory than its 0\.12 GiB"):
        run_stages([Stage("filters.smrf")], limits=Limits(60, 120 * MEBIBYTE))


def test_files_are_limited(run_stages: Run) -> None:
    with pytest.raises(PipelineLimitError, match="a file may have"):
        run_stages([], limits=Limits(60, file_bytes=20_000))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -SEGV $$", r"crashed \(SIGSEGV\)"),
        ("kill -ABRT $$", r"crashed \(SIGABRT\)"),
        ("echo 'PDAL: filters.x: bad thing in /srv/secret/place.las' >&2; exit 1", "bad thing in a file"),
        ("exit 3", "status 3"),
    ],
)
def test_a_child_that_ends_badly_is_an_error(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(PipelineFailedError, match=words) as failed:
        _run(_program(tmp_path / "bad", script), tmp_path)
    assert "/srv" not in str(failed.value)
    assert str(tmp_path) not in str(failed.value)


def test_a_result_that_is_a_link_is_none(tmp_path: Path) -> None:
    with pytest.raises(PipelineFailedError, match="nothing is left"):
        _run(_program(tmp_path / "link", "ln -s /etc/passwd output.laz"), tmp_path)


def test_errors_of_the_real_one_have_no_paths(run_stages: Run, tmp_path: Path) -> None:
    with pytest.raises(PipelineFailedError, match="Invalid dimension") as failed:
        run_stages([Stage("filters.range", {"limits": "Nowhere[2:2]"})])
    assert str(tmp_path) not in str(failed.value)


def test_the_environment_holds_nothing_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHENGTU_REGISTRY_DSN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(PipelineFailedError) as failed:
        _run(_program(tmp_path / "environment", "env | tr '\\n' ' ' >&2; exit 1"), tmp_path)
    assert "secret" not in str(failed.value)
    told = clean_environment(tmp_path)
    assert "secret" not in told.values()
    assert told["http_proxy"] == told["https_proxy"] == "http://127.0.0.1:9"


def _has_landlock() -> bool:
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) >= 1


def _limited(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    limits = {
        "memory": 1 << 30,
        "file_bytes": 1 << 20,
        "seconds": 10,
        "readable": ["/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix, str(tmp_path / "given")],
        "writable": [str(tmp_path / "scratch")],
    }
    whole = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(limits), *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not _has_landlock(), reason="this kernel has no Landlock: the other limits hold alone")
def test_the_kernel_holds_the_paths(tmp_path: Path) -> None:
    for name in ("given", "scratch", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    cat = "/bin/cat"
    assert _limited(tmp_path, cat, str(tmp_path / "given" / "file")).stdout == "given"
    assert _limited(tmp_path, cat, str(tmp_path / "scratch" / "file")).stdout == "scratch"
    assert "Permission denied" in _limited(tmp_path, cat, str(tmp_path / "other" / "file")).stderr
    assert _limited(tmp_path, cat, "/etc/passwd").returncode != 0
    touch = "/usr/bin/touch"
    assert _limited(tmp_path, touch, str(tmp_path / "scratch" / "new")).returncode == 0
    assert _limited(tmp_path, touch, str(tmp_path / "given" / "new")).returncode != 0


def test_no_pdal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_pdal("/nowhere/pdal") is None
    with pytest.raises(PdalAbsentError, match=r"install PDAL.*points\.pdal"):
        require_pdal("/nowhere/pdal")


def test_a_command_that_is_no_pdal_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _program(tmp_path / "liar", "echo 'pdal 9.9.9'; exit 0")
    assert find_pdal(str(tmp_path / "liar")) is None
    assert find_pdal("/bin/true") is None


def test_the_module_serves_where_the_command_is_absent(
    tmp_path: Path, pdal: Pdal, known_scene: object
) -> None:
    """The module's part is played by a small one that calls the command: PyPI has no PDAL to install."""
    (tmp_path / "pdal").mkdir()
    (tmp_path / "pdal" / "__init__.py").write_text(
        "import json, subprocess, types\n"
        f"COMMAND = {pdal.command[0]!r}\n"
        "info = types.SimpleNamespace(version='2.2.0')\n"
        "libpdalpython = types.SimpleNamespace(getDrivers=lambda: [{'name': 'filters.smrf'}])\n"
        "class Pipeline:\n"
        "    def __init__(self, text):\n"
        "        self.text = text\n"
        "    def execute(self):\n"
        "        done = subprocess.run([COMMAND, 'pipeline', '--stdin'], input=self.text.encode(), capture_output=True)\n"
        "        if done.returncode:\n"
        "            raise RuntimeError(done.stderr.decode())\n"
    )
    bindings = Path(LAUNCHER).with_name("bindings.py")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def bound(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(bindings), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )

    assert json.loads(bound("describe").stdout) == {"version": "2.2.0", "stages": ["filters.smrf"]}
    good = {
        "pipeline": [
            {"type": "readers.faux", "count": 5, "mode": "ramp", "bounds": "([0,1],[0,1],[0,1])"},
            "x.las",
        ]
    }
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "bad.json").write_text(json.dumps({"pipeline": [{"type": "filters.nix"}]}))
    assert bound("pipeline", "good.json").returncode == 0
    assert len(laspy.read(tmp_path / "x.las")) == 5
    failed = bound("pipeline", "bad.json")
    assert (failed.returncode, "filters.nix" in failed.stderr) == (1, True)


def test_every_point_is_in_one_block(tmp_path: Path, known_scene) -> None:  # type: ignore[no-untyped-def] # a fixture's own class
    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.copc.writer import write_copc

    write_copc(known_scene.path, tmp_path / "pointcloud.copc.laz")
    cloud = open_cloud(tmp_path / "pointcloud.copc.laz")
    x, y = known_scene.x + 84_000, known_scene.y + 447_000
    x, y = np.round(x, 3), np.round(y, 3)
    for most, reach in ((100_000, 0.0), (9_000, 0.0), (3_000, 5.0)):
        blocks = list(blocks_of(cloud, most, reach))
        owners = sum(block.owns(x, y).astype(int) for block in blocks)
        assert (owners == 1).all()
    assert len(blocks) > 4
    assert len(list(blocks_of(cloud, 100_000))) == 1
