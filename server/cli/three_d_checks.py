"""What `chengtu check --3d` looks at: tilesets and terrain, as files and as a request gets them now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from server.errors import ChengtuError
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from server.registry.folders import operator_token_file
from server.registry.reader import open_catalogue_reader
from server.settings import Settings

if TYPE_CHECKING:
    from tiles.three_d.check import Report

type Progress = Callable[[str, float], None]

MOST_FINDINGS = 100
_CONTENTS = {".glb", ".gltf", ".b3dm", ".i3dm", ".cmpt", ".pnts"}
_FOUND, _MISSING = 200, 404
# Files between two words on how far it is.
_STEP = 500


class CheckTargetError(ChengtuError):
    """There is nothing of this name to check."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to check: what it is called, and the check, which is told `most` and how many files it has read."""

    name: str
    check: Callable[[int | None, Callable[[int], None]], Report]


def targets_of(names: list[str], settings: Settings) -> list[Target]:
    """What the command line names; all three-dimensional collections where it names nothing. Raises CheckTargetError."""
    served = _Served(settings)
    if not names:
        catalogue = _catalogue(settings)
        return [target for one in catalogue.collections.values() for target in _of_collection(one, served)]
    found: list[Target] = []
    for name in names:
        if name.startswith(("http://", "https://")):
            found.append(_of_address(name, served))
        elif Path(name).exists():
            found.append(_of_path(Path(name)))
        else:
            found += _of_id(name, settings, served)
    return found


def report_document(name: str, report: Report) -> dict[str, Any]:
    """A report for JSON."""
    return {
        "target": name,
        "summary": report.summary(),
        "complete": report.complete,
        "counts": dict(report.counts),
        "findings": [asdict(one) for one in (*report.findings, *report.remarks)],
    }


def run_checks(targets: list[Target], most: int | None, progress: Progress) -> Iterator[tuple[str, Report]]:
    """Each target's name and report, in order."""
    for number, target in enumerate(targets):
        share = number / len(targets)

        def count(files: int, name: str = target.name, share: float = share) -> None:
            progress(f"{name}, {files // _STEP * _STEP:,} files", share)

        yield target.name, target.check(most, count)


def _catalogue(settings: Settings) -> Catalogue:
    with closing(open_catalogue_reader(settings)) as reader:
        return reader.current()


def _of_id(name: str, settings: Settings, served: _Served) -> list[Target]:
    """A collection's representations. Raises CheckTargetError."""
    tenant, _, short = name.partition(".")
    collection = _catalogue(settings).collections.get((tenant, short))
    found = [] if collection is None else list(_of_collection(collection, served))
    if not found:
        said = "is neither a folder, a file, an address nor a collection"
        if collection is not None:
            said = "is a collection without 3D Tiles or terrain"
        raise CheckTargetError(
            f"{name!r} {said}. Name TENANT.COLLECTION, a folder with tileset.json or layer.json, "
            "one tile's file, or an address of this server"
        )
    return found


def _of_collection(collection: Collection, served: _Served) -> Iterator[Target]:
    name = collection.qualified_id
    if RepresentationKind.TILESET_3D in collection.representations:
        path = collection.path_of(RepresentationKind.TILESET_3D)
        if collection.representations[RepresentationKind.TILESET_3D].properties.get("store") != "points":
            # tiles of points are no files: they are made when they are asked for
            yield Target(f"{name} 3D Tiles, files", _tileset_check(path))
        tenant, _, short = name.partition(".")
        address = f"/t/{tenant}/ogc/collections/{short}/3dtiles/tileset.json"
        yield Target(f"{name} 3D Tiles, as served", served.check_of(address))
    if RepresentationKind.TERRAIN in collection.representations:
        path = collection.path_of(RepresentationKind.TERRAIN)
        yield Target(f"{name} terrain", _terrain_check(path if path.is_dir() else path.parent))


def _of_address(address: str, served: _Served) -> Target:
    parts = urlsplit(address)
    path = parts.path if not parts.query else f"{parts.path}?{parts.query}"
    return Target(address, served.check_of(path))


def _of_path(path: Path) -> Target:
    """A tileset, terrain, or one tile. Raises CheckTargetError."""
    if path.is_file() and path.suffix in _CONTENTS:
        return Target(str(path), _content_check(path))
    if path.is_dir() and (path / "layer.json").is_file():
        return Target(str(path), _terrain_check(path))
    if path.is_dir() and not (path / "tileset.json").is_file():
        raise CheckTargetError(f"{path} has neither tileset.json nor layer.json")
    return Target(str(path), _tileset_check(path))


def _tileset_check(path: Path) -> Callable[[int | None, Callable[[int], None]], Report]:
    def check(most: int | None, progress: Callable[[int], None]) -> Report:
        from tiles.three_d.check import inspect_tileset

        return inspect_tileset(path, most=most, progress=progress)

    return check


def _content_check(path: Path) -> Callable[[int | None, Callable[[int], None]], Report]:
    def check(most: int | None, _progress: Callable[[int], None]) -> Report:
        from tiles.three_d.check import inspect_content

        return inspect_content(path.read_bytes(), name=path.name, most=most)

    return check


def _terrain_check(folder: Path) -> Callable[[int | None, Callable[[int], None]], Report]:
    def check(most: int | None, _progress: Callable[[int], None]) -> Report:
        from tiles.terrain.check import check_terrain
        from tiles.three_d.check import Report

        found = tuple(check_terrain(folder))
        sizes = [file.stat().st_size for file in folder.rglob("*.terrain")]
        counts = {"files": len(sizes), "tiles": len(sizes), "bytes": sum(sizes)}
        return Report(found[:most], (), counts, complete=most is None or len(found) <= most)

    return check


class _Served:
    """What the server would answer, asked in this process by the very application that serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None

    def check_of(self, address: str) -> Callable[[int | None, Callable[[int], None]], Report]:
        """A check of the tileset whose document is at `address` (path and query)."""

        def check(most: int | None, progress: Callable[[int], None]) -> Report:
            from tiles.three_d.check import CallFiles, inspect_tileset

            return inspect_tileset(CallFiles(self._get), address.lstrip("/"), most=most, progress=progress)

        return check

    def _get(self, address: str) -> bytes | None:
        """The body of a 200, None for a 404. Raises CheckTargetError for any other answer."""
        if self._client is None:
            from werkzeug.test import Client

            from server.http.app import create_app

            self._client = Client(create_app(self._settings))
        token = operator_token_file(self._settings.home)
        headers = {}
        if token.is_file():
            headers["Authorization"] = f"Bearer {token.read_text(encoding='ascii').strip()}"
        answer = self._client.get(f"/{address}", headers=headers)
        if answer.status_code not in (_FOUND, _MISSING):
            raise CheckTargetError(
                f"/{address} answered {answer.status}: {answer.get_data(as_text=True)[:300]}"
            )
        body: bytes = answer.get_data()
        return body if answer.status_code == _FOUND else None
