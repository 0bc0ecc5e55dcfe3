"""A build that was killed goes on where it was, and its processes do not outlive it."""

import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pointclouds.build.out_of_core import Limits, _identity
from pointclouds.build.workspace import Workspace
from pointclouds.errors import OutputError
from pointclouds.sources import LasSource

BUILD = """
import os, signal, sys
from pathlib import Path
from pointclouds.build.build import _facts
from pointclouds.build.layout import common_layout
from pointclouds.build.out_of_core import Limits, build_out_of_core
from pointclouds.copc.octree import OctreeRules
from pointclouds.sources import LasSource

def report(stage, part):
    if (stage, part) >= (sys.argv[3], float(sys.argv[4])):
        print("there", flush=True)
        if sys.argv[5] == "1":
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    source = LasSource(Path(sys.argv[1]), "EPSG:7415")
    facts = _facts([source], common_layout([source]), OctreeRules(3_000, 100, 5))
    build_out_of_core([source], Path(sys.argv[2]), facts, Limits(10_000, 8_000, int(sys.argv[5])), report, lambda: False)
"""


def start(scan, out, stage, part, processes=1):
    command = [sys.executable, "-c", BUILD, str(scan), str(out), stage, str(part), str(processes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, scan, build_small):
    out = tmp_path_factory.mktemp("expected") / "out.copc.laz"
    build_small([LasSource(scan, "EPSG:7415")], out)
    return out.read_bytes()


@pytest.mark.parametrize(("stage", "part"), [("read", 0.5), ("write", 0.4), ("write", 0.95)])
def test_a_build_goes_on_where_it_was_killed(tmp_path, scan, build_small, expected, left_behind, stage, part):
    out = tmp_path / "out.copc.laz"
    process = start(scan, out, stage, part)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    work = tmp_path / "out.copc.laz.building"
    finished = {path.name: path.stat().st_mtime_ns for path in work.glob("*.npz")}
    assert finished
    kept: set[str] = set()

    def report(stage: str, fraction: float) -> None:
        # Towards the end, while the workspace is still there: what was finished is what it was.
        if stage == "write" and fraction > 0.9:
            kept.update(name for name, at in finished.items() if (work / name).stat().st_mtime_ns == at)

    build_small([LasSource(scan, "EPSG:7415")], out, report=report)
    assert kept == set(finished)
    assert out.read_bytes() == expected
    assert left_behind(tmp_path) == ["out.copc.laz", "out.copc.laz.nodes"]


def test_the_processes_of_a_killed_build_end(tmp_path, scan):
    process = start(scan, tmp_path / "out.copc.laz", "read", 0.1, processes=2)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    names = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    children = [int(name) for name in names if _parent(int(name)) == process.pid]
    assert children
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(_parent(child) is not None for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [child for child in children if _parent(child) is not None] == []


def test_a_process_that_is_killed_ends_the_build_and_not_the_server(
    tmp_path, scan_source, build_small, expected
):
    out, work = tmp_path / "out.copc.laz", tmp_path / "out.copc.laz.building"

    def kill_one(_stage: str, _part: float) -> None:
        multiprocessing.active_children()[0].kill()

    with pytest.raises(OutputError, match=r"was killed .*what is done is kept"):
        build_small([scan_source], out, Limits(10_000, 8_000, 2), report=kill_one)
    assert list(work.glob("read-*.npz"))
    build_small([scan_source], out)
    assert out.read_bytes() == expected
    assert not work.exists()


def _parent(process: int) -> int | None:
    """The parent of a living process, None where it has ended."""
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def test_a_part_that_is_damaged_is_made_again(tmp_path, scan, build_small, expected):
    out, work = tmp_path / "out.copc.laz", tmp_path / "out.copc.laz.building"
    start(scan, out, "write", 0.4).communicate(timeout=120)
    last = max(work.glob("read-*.run"), key=lambda path: path.name)
    last.write_bytes(last.read_bytes()[:-1])
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("read-*.npz")}
    kept: list[str] = []

    def report(stage: str, _fraction: float) -> None:
        if stage == "octree" and not kept:
            kept.extend(name for name, at in before.items() if (work / name).stat().st_mtime_ns == at)

    build_small([LasSource(scan, "EPSG:7415")], out, report=report)
    assert len(kept) == len(before) - 1
    assert out.read_bytes() == expected


def test_what_another_build_left_is_removed(tmp_path, scan, scan_source):
    """Other limits, another file under the same name, another boot of the machine: another build."""
    workspace = Workspace(tmp_path / "work")
    same = {"run": 5, "source": _identity(scan_source)}
    copy = tmp_path / scan.name
    copy.write_bytes(scan.read_bytes())
    for what in ({**same, "run": 6}, {**same, "source": _identity(LasSource(copy, "EPSG:7415"))}, {}):
        with workspace.held(same):
            workspace.finish("read-000000", {}, {})
            (workspace.folder / "read-000001.run.77.part").write_bytes(b"half")
        with workspace.held(same):
            assert workspace.finished("read-000000")
            assert not list(workspace.folder.glob("*.part"))
        with workspace.held(what):
            assert not workspace.finished("read-000000")
    with workspace.held(same):
        workspace.finish("read-000000", {}, {})
    journal = workspace.path("journal.json")
    journal.write_text(journal.read_text().replace('"boot": "', '"boot": "another'))
    with workspace.held(same):
        assert not workspace.finished("read-000000")


def test_one_build_at_a_time_in_a_workspace(tmp_path, scan_source, build_small):
    with (
        Workspace(tmp_path / "work").held({}),
        pytest.raises(OutputError, match="another process builds in the workspace work"),
    ):
        build_small([scan_source], tmp_path / "out.copc.laz", workspace=tmp_path / "work")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the workspace file cannot be used"):
        build_small([scan_source], tmp_path / "out.copc.laz", workspace=tmp_path / "file")
