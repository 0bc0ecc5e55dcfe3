"""Damaged files of every format end in a clear error or in points, in a child whose memory is bounded: never in a crash.

The first tier tries a seeded sample; `acceptance` many times more.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest

Read = Callable[..., list[list[Any]]]
ERRORS = {"UnreadablePointCloudError", "EmptyPointCloudError", "UnusableCrsError", "MissingCrsError"}


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory,
    make_scan: Callable[..., Path],
    write_ply: Callable[..., Path],
    copc: Path,
    points: dict[str, Any],
) -> dict[str, bytes]:
    """A whole file of each format that is read in the process itself."""
    folder = tmp_path_factory.mktemp("good")
    rows = np.column_stack([points[name] for name in "xyz"])
    np.savetxt(folder / "good.xyz", rows, "%.3f")
    files = {
        "las": make_scan(folder / "a.las", 2_000, 1),
        "laz": make_scan(folder / "b.laz", 120_000, 3),
        "laz6": make_scan(folder / "c.laz", 60_000, 7, "1.4", extra=[("quality", "f4")]),
        "copc": copc,
        "ply": write_ply(folder / "d.ply", "binary_little_endian"),
        "plytext": write_ply(folder / "e.ply", "ascii", lists=True),
        "xyz": folder / "good.xyz",
    }
    return {name: path.read_bytes() for name, path in files.items()}


def judge(outcomes: list[list[Any]], paths: list[Path]) -> int:
    """Every outcome is a clear error or as many points as were promised; returns how many errors."""
    refused = 0
    for (kind, *said), path in zip(outcomes, paths, strict=True):
        if kind == "points":
            assert said[0] == said[1], path.name
        else:
            assert kind in ERRORS, (path.name, kind, said)
            assert path.name in said[0] or "EPSG" in said[0], (path.name, said)
            assert len(said[0]) < 600
            refused += 1
    return refused


def damaged(raw: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The file cut at every quarter, then with bits, bytes and runs changed at random, half of them in its beginning."""
    for part in range(1, 4):
        yield raw[: len(raw) * part // 4]
    random = np.random.default_rng(seed)
    for number in range(count):
        changed = bytearray(raw)
        end = min(len(raw), 700) if number % 2 else len(raw)
        at = int(random.integers(0, end))
        match number % 5:
            case 0 | 1:
                changed[at] ^= 1 << int(random.integers(0, 8))
            case 2:
                changed[at] = int(random.integers(0, 256))
            case 3:
                changed[at : at + 8] = random.bytes(8)
            case _:
                changed[at : at + 4] = b"\xff\xff\xff\xff"
        yield bytes(changed)


def fuzz(good: dict[str, bytes], name: str, count: int, folder: Path, read: Read, timeout: float) -> int:
    paths = []
    for number, content in enumerate(damaged(good[name], count, 11)):
        suffix = {"plytext": "ply", "laz6": "laz", "copc": "copc.laz"}.get(name, name)
        paths.append(folder / f"bad{number}.{suffix}")
        paths[-1].write_bytes(content)
    return judge(read(paths, timeout=timeout), paths)


@pytest.mark.parametrize("name", ["las", "laz", "laz6", "copc", "ply", "plytext", "xyz"])
def test_damage_is_an_error_or_points(
    good: dict[str, bytes], tmp_path: Path, read_in_child: Read, name: str
) -> None:
    refused = fuzz(good, name, 12, tmp_path, read_in_child, 60)
    assert refused >= (3 if name != "xyz" else 0)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ["las", "laz", "laz6", "copc", "ply", "plytext", "xyz"])
def test_much_damage_is_an_error_or_points(
    good: dict[str, bytes], tmp_path: Path, read_in_child: Read, name: str
) -> None:
    assert fuzz(good, name, 400, tmp_path, read_in_child, 280) > (20 if name != "xyz" else 0)


@pytest.mark.acceptance
def test_much_damage_of_e57(tmp_path: Path, write_e57: Callable[..., Path], read_in_child: Read) -> None:
    random = np.random.default_rng(1)
    data = {f"cartesian{axis}": random.uniform(0, 30, 3_000) for axis in "XYZ"}
    path = write_e57(tmp_path / "good.e57", [(data, (1.0, 0.0, 0.0, 0.0), (84_900.0, 447_500.0, 0.0))])
    assert fuzz({"e57": path.read_bytes()}, "e57", 100, tmp_path, read_in_child, 280) > 20


def with_las(change: Callable[[laspy.LasData], None]) -> Callable[[Path, Callable[..., Path]], None]:
    def write(path: Path, make_scan: Callable[..., Path]) -> None:
        las = laspy.read(make_scan(path, 500, 1))
        change(las)
        las.write(path)

    return write


def with_bytes(
    position: int, form: str, value: Any, **scan: Any
) -> Callable[[Path, Callable[..., Path]], None]:
    def write(path: Path, make_scan: Callable[..., Path]) -> None:
        raw = bytearray(make_scan(path, 500, **scan).read_bytes())
        struct.pack_into(form, raw, position, value)
        path.write_bytes(raw)

    return write


def same_place(las: laspy.LasData) -> None:
    las.X[:], las.Y[:], las.Z[:] = 5, 6, 7


def one_point(las: laspy.LasData) -> None:
    las.points = las.points[:1]


CASES: dict[str, tuple[str, Callable[[Path, Callable[..., Path]], None], str, int | str]] = {
    # name: (suffix, how it is written, class, points or words of the message)
    "one point": ("laz", with_las(one_point), "points", 1),
    "all at one place": ("laz", with_las(same_place), "points", 500),
    "zero points": ("las", lambda path, make: make(path, 0), "EmptyPointCloudError", "holds no points"),
    "scale of 1e-30": ("las", with_bytes(131, "<d", 1e-30), "UnreadablePointCloudError", "scale"),
    "scale of infinity": ("laz", with_bytes(139, "<d", float("inf")), "UnreadablePointCloudError", "scale"),
    "twice as many points": ("las", with_bytes(107, "<I", 1_000), "UnreadablePointCloudError", "1000 points"),
    "a billion points": ("laz", with_bytes(107, "<I", 10**9), "UnreadablePointCloudError", "points"),
    "more by return than points": ("las", with_bytes(111, "<I", 10**9), "UnreadablePointCloudError", "by return"),
    "record of 60,000 bytes": ("las", with_bytes(227 + 20, "<H", 60_000), "UnreadablePointCloudError", "record"),
    "coordinates of no place": ("las", with_bytes(187, "<d", 1e300), "UnreadablePointCloudError", "x"),
    "text of one long line": ("xyz", lambda path, make: long_line(path), "UnreadablePointCloudError", "line of more than"),
}  # fmt: skip


def long_line(path: Path) -> None:
    """A gigabyte of zeros in one line, after a good beginning; sparse on the disk."""
    with path.open("wb") as stream:
        stream.write(b"1 2 3\n" * 60_000)
        stream.truncate(1 << 30)


def test_table_of_bad_files(tmp_path: Path, make_scan: Callable[..., Path], read_in_child: Read) -> None:
    paths = []
    for number, (suffix, write, _, _) in enumerate(CASES.values()):
        paths.append(tmp_path / f"case{number}.{suffix}")
        write(paths[-1], make_scan)
    outcomes = read_in_child(paths)
    for (name, (_, _, kind, expected)), (found, *said) in zip(CASES.items(), outcomes, strict=True):
        assert found == kind, (name, found, said)
        assert (said[0] == expected) if kind == "points" else (str(expected) in said[0]), (name, said)


def test_points_outside_the_box_are_found_in_any_range(
    tmp_path: Path, make_scan: Callable[..., Path]
) -> None:
    from pointclouds.errors import UnreadablePointCloudError
    from pointclouds.sources import LasSource

    path = make_scan(tmp_path / "in.las", 1_000, 1)
    raw = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", raw, 96)
    struct.pack_into("<i", raw, start + 28 * 900, 2_000_000_000)
    path.write_bytes(raw)
    source = LasSource(path)
    assert sum(len(part) for part in source.chunks(100, 0, 900)) == 900
    with pytest.raises(UnreadablePointCloudError, match="the header says its points lie in"):
        list(source.chunks(100, 850, 950))


def test_laz_is_looked_through_once(
    tmp_path: Path, make_scan: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pointclouds import sources

    path = make_scan(tmp_path / "in.laz", 1_000, 7, "1.4")
    calls = []
    monkeypatch.setattr(sources, "check_compressed", lambda header: calls.append(header))
    source = sources.LasSource(path)
    for start in range(0, 1_000, 100):
        assert len(next(iter(source.chunks(100, start, start + 100)))) == 100
    assert len(calls) == 1


def test_files_that_vanish(
    tmp_path: Path, points: dict[str, Any], write_ply: Callable[..., Path], read_in_child: Read
) -> None:
    folder = tmp_path / "folder.laz"
    folder.mkdir()
    missing = tmp_path / "missing.laz"
    outcomes = read_in_child([folder, missing])
    assert [kind for kind, *_ in outcomes] == ["UnreadablePointCloudError"] * 2
    shutil.rmtree(folder)
