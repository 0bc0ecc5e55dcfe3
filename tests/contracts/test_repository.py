"""Promises of the repository itself."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

STAMPED = ("pyproject.toml", "package-lock.json", ".python-version")
OURS = {"server", "providers", "tiles", "pointclouds"}


def tracked(root: Path) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    return [root / name for name in listed.stdout.decode().split("\0") if name]


def test_no_other_distribution_claims_our_names() -> None:
    claimed: dict[str, set[str]] = {}
    for distribution in distributions():
        for file in distribution.files or ():
            top = file.parts[0].removesuffix(".py")
            if top in OURS or top == "tests":
                claimed.setdefault(top, set()).add(distribution.metadata["Name"])
    others = {name: owners - {"chengtu"} for name, owners in claimed.items()}
    # pygeoapi's wheel installs a top-level `tests`; nothing of ours imports from it.
    assert others.pop("tests", set()) <= {"pygeoapi"}
    assert not any(others.values()), others


def test_the_wheel_holds_our_packages_only(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    packages = re.search(r"packages = \[(.*)\]\n\n\[tool.ruff\]", text)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages.group(1))) == OURS


@pytest.mark.parametrize("name", ["runtime", "dev", "demo", "tools"])
def test_pinned_lists_have_hashes_and_no_addresses(root: Path, name: str) -> None:
    lines = (root / "requirements" / f"{name}.txt").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.lstrip().startswith("--index")]
    pinned = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert pinned
    assert all(re.match(r"[A-Za-z0-9._-]+(\[.*\])?==\S+ .*\\$", line) for line in pinned)
    assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)


def test_the_npm_lock_names_no_registry(root: Path) -> None:
    text = (root / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert '"integrity"' in text


def test_no_registry_host_or_path_of_one_machine(root: Path) -> None:
    hosts = "|".join(("pythonhosted", r"pypi\.org", r"registry\.npmjs", r"deb\.debian\.org"))
    paths = "|".join(("/" + "work/", "/" + "root/"))
    pattern = re.compile(f"{hosts}|(?<![\\w.])({paths})")
    found = []
    for file in tracked(root):
        if file.name == "package-lock.json" or file == Path(__file__) or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{file.relative_to(root)}: {line.strip()[:120]}"
            for line in text.splitlines()
            if pattern.search(line)
        ]
    assert found == []


def test_nothing_large_is_kept(root: Path) -> None:
    large = {
        file.name: file.stat().st_size
        for file in tracked(root)
        if file.is_file() and file.stat().st_size > 400_000
    }
    assert set(large) <= {"package-lock.json"}


def test_every_make_target_is_documented(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    for target in ("demo", "test", "clients", "acceptance", "services", "bench", "docs"):
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
        assert f"make {target}" in (root / "README.md").read_text(), target


def test_every_decision_is_listed(root: Path) -> None:
    index = (root / "docs" / "decisions" / "index.md").read_text()
    for page in sorted((root / "docs" / "decisions").glob("[0-9]*.md")):
        assert f"({page.name})" in index, page.name


def test_what_is_set_up_for_the_tests_is_not_taken_apart_for_serving(root: Path, tmp_path: Path) -> None:
    """`make test`, then `make demo`, then `make test`: the second set-up once removed what the third took for granted."""
    for name in ("scripts", "requirements"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "package-lock.json", ".python-version"):
        shutil.copy(root / name, tmp_path / name)
    parts = [*sorted((tmp_path / "requirements").glob("*.txt")), *(tmp_path / name for name in STAMPED)]
    stamp = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".setup-dev").write_text(f"{stamp}\n")
    done = subprocess.run(
        [tmp_path / "scripts" / "setup", "run"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [mark.name for mark in (tmp_path / ".venv").iterdir()] == [".setup-dev"]
