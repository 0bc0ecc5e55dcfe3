"""Unpack a ZIP archive without trusting it: names, sizes and links are the sender's word only."""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from server.publish.errors import ArchiveTooLarge, DamagedFile, EmptyDataset, OptionError, PathOutside

_CHUNK = 1024 * 1024
_MACHINE_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_ODD_FAILURES = (
    EOFError,
    NotImplementedError,
    ValueError,
)  # what zipfile raises for members cut, exotic or absurd
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may unpack to.

    `max_ratio` is unpacked to packed bytes of the whole archive; it is not applied below 10 MB unpacked, where text
    compresses well and harms nobody.
    """

    max_bytes: int = 20 * 1024**3
    max_ratio: float = 200.0
    max_files: int = 10_000
    ratio_free_bytes: int = 10_000_000


def is_archive(path: Path) -> bool:
    """Whether the file starts as a ZIP archive does (an empty one too)."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_gzip(path: Path) -> bool:
    """Whether the file is one gzip-compressed file by name and content."""
    if path.suffix.lower() != ".gz":
        return False
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def decompress(path: Path, folder: Path, limits: ArchiveLimits) -> Path:
    """The file inside a gzip-compressed one, written into `folder` without the .gz of its name.

    Raises ArchiveTooLarge and DamagedFile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.stem
    written = 0
    try:
        with gzip.open(path) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                _check_size(path, written, limits)
                sink.write(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DamagedFile(f"{path.name} is not a sound gzip file: {error}.") from error
    return target


def unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> list[Path]:
    """Unpack every file of `archive` into `folder` and return their paths, sorted.

    Raises ArchiveTooLarge, PathOutside, DamagedFile, EmptyDataset and OptionError (a password). Nothing is written where
    the directory of the archive already tells.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [
                item for item in opened.infolist() if not item.is_dir() and not _is_litter(item.filename)
            ]
            _check_directory(archive, members, limits)
            if not members:
                raise EmptyDataset(f"{archive.name} holds no files.")
            written = 0
            paths = []
            for member in members:
                target = folder / _inside(archive, member)
                target.parent.mkdir(parents=True, exist_ok=True)
                written = _copy(opened, member, target, written, limits)
                paths.append(target)
            return sorted(paths)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, *_ODD_FAILURES) as error:
        raise DamagedFile(f"{archive.name} is not a sound ZIP archive: {error}.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # zipfile seeks wherever the archive's directory says
            raise
        raise DamagedFile(f"{archive.name} is not a sound ZIP archive: its directory is damaged.") from error


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name in _MACHINE_LITTER


def _check_directory(archive: Path, members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(members) > limits.max_files:
        raise ArchiveTooLarge(
            f"{archive.name} holds {len(members)} files; at most {limits.max_files} are unpacked. Publish fewer at once."
        )
    names = [_readable_name(member) for member in members]
    if len(set(names)) != len(names):
        raise DamagedFile(f"{archive.name} holds two files of one name.")
    for member in members:
        _inside(archive, member)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise PathOutside(
                f"{archive.name} holds a symbolic link ({member.filename}); links are not unpacked."
            )
        if member.flag_bits & _ENCRYPTED_FLAG:
            raise OptionError(f"{archive.name} is protected by a password. Publish the files unpacked.")
    _check_size(archive, sum(member.file_size for member in members), limits)


def _check_size(archive: Path, size: int, limits: ArchiveLimits) -> None:
    packed = max(1, archive.stat().st_size)
    if size > limits.max_bytes:
        raise ArchiveTooLarge(
            f"{archive.name} unpacks to {size:,} bytes; at most {limits.max_bytes:,} are allowed "
            "(setting publish.max_uncompressed_bytes)."
        )
    if size > limits.ratio_free_bytes and size / packed > limits.max_ratio:
        raise ArchiveTooLarge(
            f"{archive.name} unpacks from {packed:,} to {size:,} bytes, {size / packed:.0f} times its size; at most "
            f"{limits.max_ratio:g} times is allowed (setting publish.max_compression_ratio). Publish the files unpacked."
        )


def _readable_name(member: zipfile.ZipInfo) -> str:
    """The name of a member; names without the UTF-8 flag are in the sender's code page, Chinese ones mostly GB 18030."""
    if member.flag_bits & _UTF8_FLAG:
        return member.filename
    try:
        raw = member.filename.encode("cp437")
    except UnicodeEncodeError:
        return member.filename
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return member.filename


def _inside(archive: Path, member: zipfile.ZipInfo) -> Path:
    """The member's path relative to the folder it is unpacked in. Raises PathOutside."""
    name = _readable_name(member).replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or ":" in parts[0] or ".." in parts or "\x00" in name:
        raise PathOutside(
            f"{archive.name} holds a file whose path leads outside the archive ({member.filename!r}); nothing was unpacked."
        )
    return Path(*[part for part in parts if part not in ("", ".")])


def _copy(
    opened: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    target: Path,
    written: int,
    limits: ArchiveLimits,
) -> int:
    """Unpack one member; counts real bytes, because the directory of an archive may lie. Returns the new total."""
    with opened.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            _check_size(Path(str(opened.filename)), written, limits)
            sink.write(chunk)
    return written
