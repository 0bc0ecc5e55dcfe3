"""Publish 3D tilesets that others have made: a folder with its tileset.json, an archive of one, or a 3TZ file."""

from __future__ import annotations

import shutil
from pathlib import Path

from server.publish.building import Built, Task
from server.publish.errors import DamagedFile, OptionError, PathOutside, PublishCancelled
from server.publish.scenes import TILESET_FILE, TILESET_FOLDER
from server.registry.catalogue import CRS84H, Representation, RepresentationKind
from tiles.three_d.errors import ThreeDError

_EXAMPLES = 5
_MOST_FINDINGS = 200
_LARGEST_PACKED = 64 << 20
"""Bytes of a file that is packed beforehand; larger ones would be in memory as a whole."""
_PACKED = frozenset((".json", ".glb", ".gltf", ".b3dm", ".i3dm", ".pnts", ".cmpt", ".subtree", ".bin"))


def build_tileset_taken_over(task: Task) -> Built:
    """The files of a tileset as 3D Tiles. Raises OptionError, DamagedFile, PathOutside.

    Faults that the checker finds are told as warnings: it is taken over as it is.
    """
    from tiles.three_d.check import inspect_tileset
    from tiles.three_d.takeover import TakeoverError, read_foreign_tileset

    if len(task.inputs) > 1:
        raise OptionError("One tileset makes a collection. Publish the tilesets one by one.")
    source = task.inputs[0].path
    task.stage("reading")
    try:
        found = read_foreign_tileset(source.parent, source.name)
    except TakeoverError as error:
        raise DamagedFile(f"{error}.") from error
    target = task.folder / TILESET_FOLDER
    wanted = sorted(found.files)
    task.stage("3dtiles")
    size = 0
    for number, name in enumerate(wanted):
        size += _copy(source.parent, name, target / _own_name(name, source.name), task)
        if number % 64 == 0:
            task.report("3dtiles", 0.8 * number / len(wanted))
            if task.cancelled():
                raise PublishCancelled("The publish was stopped; nothing was changed.")
    if not (target / "tileset.json").is_file():
        raise DamagedFile(f"{source.name} is not in its own folder.")
    warnings = []
    try:
        report = inspect_tileset(target, most=_MOST_FINDINGS)
        warnings = [f"The tileset: {finding}." for finding in report.findings[:_EXAMPLES]]
        if len(report.findings) > _EXAMPLES:
            warnings.append(
                f"The tileset has {len(report.findings) - _EXAMPLES} more faults; see chengtu check --3d."
            )
    except ThreeDError as error:
        warnings.append(f"The tileset could not be checked: {error}.")
    task.stage("3dtiles", 1.0)
    properties = {
        "content": "tileset",
        "version": found.version,
        "file_count": len(wanted),
        "height_reference": "ellipsoid (WGS 84): as the tileset says",
    }
    return Built(
        bbox=found.bbox84h,
        storage_crs=CRS84H,
        representations=[Representation(RepresentationKind.TILESET_3D, TILESET_FILE, 0, 0, properties)],
        warnings=warnings,
    )


def _own_name(name: str, first: str) -> str:
    """The first document is served as tileset.json, whatever it was called."""
    return "tileset.json" if name == first else name


def _copy(folder: Path, name: str, target: Path, task: Task) -> int:
    """Copy one file, and pack it beside itself as our own tilesets have it. Raises PathOutside for a link that leads elsewhere."""
    from tiles.three_d.files import compress

    source = folder / name
    if not source.resolve().is_relative_to(folder.resolve()):
        raise PathOutside(
            f"{name} of the tileset is a link that leads out of its folder; give the files themselves."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    size = source.stat().st_size
    if size > task.settings.publish.max_uncompressed_bytes:
        raise OptionError(f"{name} has {size:,} bytes; see the setting publish.max_uncompressed_bytes.")
    shutil.copyfile(source, target)
    if target.suffix.lower() not in _PACKED:
        return size
    with target.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise DamagedFile(f"{name} is gzip-compressed on disk; unpack the files of the tileset first.")
    if size <= _LARGEST_PACKED:
        target.with_name(target.name + ".gz").write_bytes(compress(target.read_bytes()))
    return size
