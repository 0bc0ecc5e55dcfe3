"""An EPT in a ZIP, unpacked: only files an EPT has, by names made of numbers, and no more bytes than the archive may hold."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from pointclouds.errors import UnreadablePointCloudError

_MEMBER: Final = re.compile(
    r"ept\.json|ept-hierarchy/\d{1,3}(-\d{1,13}){3}\.json|ept-data/\d{1,3}(-\d{1,13}){3}\.(laz|bin|zst)"
)
_MOST_FILES: Final = 5_000_000
_MOST_RATIO: Final = 200
_RATIO_FREE: Final = 64 << 20
_PART: Final = 1 << 20


def root_in_archive(archive: zipfile.ZipFile) -> str | None:
    """The folder inside the archive that has the ept.json ("" for the top), None where none has."""
    found = [name for name in archive.namelist() if PurePosixPath(name).name == "ept.json"]
    return min((name.removesuffix("ept.json") for name in found), key=len, default=None)


def is_ept_archive(path: Path) -> bool:
    """Whether a file is a ZIP with an ept.json."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return root_in_archive(archive) is not None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def unpack_ept(path: Path, folder: Path) -> None:
    """Unpack the EPT of a ZIP into a folder; what is none of its files is passed over.

    Raises:
        UnreadablePointCloudError: no EPT in it, a damaged archive, or one that unpacks to far more than it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = root_in_archive(archive)
            if root is None:
                raise UnreadablePointCloudError(f"{path.name} holds no ept.json; it is no EPT")
            members = [one for one in archive.infolist() if one.filename.startswith(root)]
            if len(members) > _MOST_FILES:
                raise UnreadablePointCloudError(f"{path.name} holds more than {_MOST_FILES} files")
            allowed = max(_RATIO_FREE, path.stat().st_size * _MOST_RATIO)
            for member in members:
                name = member.filename.removeprefix(root)
                if _MEMBER.fullmatch(name):
                    allowed = _copy(archive, member, folder / name, allowed, path.name)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise UnreadablePointCloudError(f"{path.name} cannot be unpacked: {error}") from error


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, allowed: int, name: str) -> int:
    """Write one member; returns how many bytes may still follow."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as sink:
        while part := source.read(_PART):
            allowed -= len(part)
            if allowed < 0:
                raise UnreadablePointCloudError(
                    f"{name} unpacks to more than {_MOST_RATIO} times its size; unpack it yourself and give the folder"
                )
            sink.write(part)
    return allowed
