"""Work in a child: results and errors come back, crashes and hunger become errors."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats.guarded import Limits, run_guarded
from pointclouds.formats.ply import PlySource


def test_results_and_errors_come_back(tmp_path: Path) -> None:
    assert run_guarded(os.path.join, "a", "b") == "a" + os.sep + "b"
    with pytest.raises(ZeroDivisionError):
        run_guarded(divmod, 1, 0)
    path = tmp_path / "empty.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n")
    with pytest.raises(EmptyPointCloudError, match=r"empty\.ply holds no points"):
        run_guarded(PlySource, path, None)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (ctypes.string_at, (0,), r"in\.e57 made its reader crash \(SIGSEGV\)"),
        (os.abort, (), r"in\.e57 made its reader crash \(SIGABRT"),
        (os._exit, (3,), "exit code 3"),
        (np.ones, (10**10,), r"more than the 1\.0 GiB of memory"),
        (time.sleep, (60,), "took longer than 2 s"),
    ],
)
def test_crashes_hunger_and_loops_are_one_error(
    function: Any, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(UnreadablePointCloudError, match=message):
        run_guarded(
            function, *arguments, limits=Limits(1 << 30, 2 if function is time.sleep else 30), what="in.e57"
        )
