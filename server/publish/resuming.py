"""A publish that was killed goes on where it was when the same command is run again.

What was done lies in the staging folder of the dead process. `resume.json` there says of which request and inputs it is; steps
that are finished have left their results beside it. A folder is taken over by its lock, so never from a living publish, and
only by a publish of the same data with the same options. One that is not resumed within a week is removed by the next
publish; `chengtu sweep` removes it at any time.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import orjson

from server.publish.request import PublishRequest
from server.registry.locks import HeldLock, try_lock
from server.registry.staging import dead_staging_folders, owner_document, staging_folder

RESUME_FILE = "resume.json"
_STEPS = "steps"
_KEPT_SECONDS = 7 * 86_400.0
FORMAT = 1
"""Grows when what the steps leave is no longer understood by a later release."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The finished steps of a publish, in a folder of its staging; `folder` None keeps nothing."""

    folder: Path | None = None

    def once[Result](self, name: str, make: Callable[[], Result]) -> Result:
        """What `make` returns; of an earlier attempt, where that has finished this step."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.step"
        if path.exists():
            # Written below, by ourselves, into a folder that only the server's own user may write.
            return cast("Result", pickle.loads(path.read_bytes()))  # noqa: S301
        result = make()
        draft = path.with_suffix(".new")
        draft.write_bytes(pickle.dumps(result))
        draft.replace(path)
        return result

    def has(self, name: str) -> bool:
        """Whether a step was finished by an earlier attempt."""
        return self.folder is not None and (self.folder / f"{name}.step").exists()


@dataclass(frozen=True, slots=True)
class Staging:
    """Where one publish builds: `generation`, `workspace` (for files that do not stay) and the finished steps."""

    generation: Path
    workspace: Path
    steps: Steps

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier attempt got somewhere."""
        return self.steps.folder is not None and any(self.steps.folder.glob("*.step"))


@contextmanager
def publish_staging(home: Path, request: PublishRequest) -> Iterator[Staging]:
    """A staging folder, that of an earlier attempt at the same request where one was killed. Removed on leaving."""
    fingerprint = fingerprint_of(request)
    found = _abandoned(home, fingerprint) if fingerprint else None
    if found is None:
        with staging_folder(home) as folder:
            yield _begun(folder, request, fingerprint)
        return
    folder, lock = found
    try:
        yield _resumed(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def removable_staging(home: Path, request: PublishRequest) -> list[Path]:
    """Folders of dead publishes that nobody will resume."""
    return [folder for folder in dead_staging_folders(home) if not _is_kept(folder, request)]


def fingerprint_of(request: PublishRequest) -> str | None:
    """A digest of all options, and of names, sizes and times of all files; None where a part of it cannot be compared."""
    if request.extra_representations:
        return None
    files = [file for path in request.files for file in _files_of(path)]
    ground = request.scene.ground
    files += _files_of(ground) if ground is not None else []
    try:
        stats = [(os.path.realpath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    except OSError:
        return None
    # Whether it may take the place of another collection changes nothing of what is built.
    told = {"format": FORMAT, "request": _plain(replace(request, replace=False)), "files": stats}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _files_of(path: Path) -> list[Path]:
    return sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]


def _plain(value: Any) -> Any:
    """Options as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _begun(folder: Path, request: PublishRequest, fingerprint: str | None) -> Staging:
    generation, workspace = folder / "generation", folder / "workspace"
    generation.mkdir()
    workspace.mkdir()
    if fingerprint is None:
        return Staging(generation, workspace, Steps())
    (folder / _STEPS).mkdir()
    document = {"fingerprint": fingerprint, "tenant": request.tenant, "id": request.id}
    (folder / RESUME_FILE).write_bytes(orjson.dumps(document))
    return Staging(generation, workspace, Steps(folder / _STEPS))


def _resumed(folder: Path) -> Staging:
    """The folder of an earlier attempt; what belongs to no finished step is removed."""
    generation, workspace, steps = folder / "generation", folder / "workspace", folder / _STEPS
    steps.mkdir(exist_ok=True)
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    if not any(steps.glob("*.step")):
        shutil.rmtree(generation, ignore_errors=True)
    generation.mkdir(exist_ok=True)
    return Staging(generation, workspace, Steps(steps))


def _abandoned(home: Path, fingerprint: str) -> tuple[Path, HeldLock] | None:
    """The folder of a dead publish of this fingerprint, locked; None where there is none."""
    for folder in dead_staging_folders(home):
        if _said(folder).get("fingerprint") != fingerprint:
            continue
        try:
            lock = try_lock(folder / "owner.json", owner_document())
        except FileNotFoundError:
            continue
        # Whoever held it between the two looks may have removed it.
        if lock is not None and (folder / RESUME_FILE).exists():
            return folder, lock
        if lock is not None:
            lock.release()
    return None


def _is_kept(folder: Path, request: PublishRequest) -> bool:
    said = _said(folder)
    if "fingerprint" not in said or not any((folder / _STEPS).glob("*.step")):
        return False
    if (said.get("tenant"), said.get("id")) == (request.tenant, request.id):
        return bool(said["fingerprint"] == fingerprint_of(request))
    try:
        return time.time() - (folder / RESUME_FILE).stat().st_mtime < _KEPT_SECONDS
    except OSError:
        return False


def _said(folder: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((folder / RESUME_FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
