"""What `chengtu check` looks at. Each check gives findings and changes nothing; `CHECKS` is the list of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Literal

from server.cli.representation_checks import what_is_wrong
from server.errors import RegistryError
from server.registry.catalogue import Catalogue, RepresentationKind
from server.registry.folders import operator_token_file
from server.registry.homes import HOME_REMEDY
from server.registry.reader import open_catalogue_reader
from server.registry.registry import Registry
from server.registry.schema import HEAD, sqlite_file
from server.registry.staging import dead_staging_folders
from server.settings import Settings

LEAST_FREE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. A "problem" keeps something from being served well; a "note" is good to know."""

    severity: Literal["problem", "note"]
    subject: str
    found: str
    remedy: str

    def document(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Checked:
    """What checks look at. `catalogue` is None where the registry cannot be read; one check says why."""

    settings: Settings
    catalogue: Catalogue | None


Check = Callable[[Checked], Iterator[Finding]]


def run_checks(settings: Settings) -> list[Finding]:
    """Every check's findings, in the order of `CHECKS`."""
    checked = Checked(settings, _catalogue(settings))
    return [finding for check in CHECKS for finding in check(checked)]


def _catalogue(settings: Settings) -> Catalogue | None:
    with closing(open_catalogue_reader(settings)) as reader:
        try:
            return reader.current()
        except RegistryError:
            return None


def check_home(checked: Checked) -> Iterator[Finding]:
    """The data home is there, can be written, and has room."""
    home = checked.settings.home
    if not home.is_dir():
        yield Finding("problem", str(home), "there is no such folder, so no data home", HOME_REMEDY)
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding(
            "problem", str(home), "this user cannot write there", "Run as its owner, or change its owner"
        )
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "problem",
            str(home),
            f"its disk has {free / 1e6:.0f} MB free",
            "Publishing needs about three times the size of its files: make room, or run `chengtu sweep`",
        )


def check_registry(checked: Checked) -> Iterator[Finding]:
    """The registry's database is sound and of this release."""
    settings = checked.settings
    file = sqlite_file(settings.registry_url)
    name = "registry" if file is None else str(file)
    if file is not None and not file.is_file():
        if settings.home.is_dir():  # else check_home has said it
            yield Finding("problem", name, "there is no such file", HOME_REMEDY)
        return
    try:
        with Registry(settings.registry_url, settings.home) as registry:
            version = registry.version()
    except RegistryError as error:
        yield Finding(
            "problem", name, str(error), "Restore it from a backup, or see the database server's log"
        )
        return
    if version != HEAD:
        yield Finding(
            "problem",
            name,
            f"its tables are of version {version}, not {HEAD}",
            "`chengtu serve` upgrades older ones",
        )
    elif checked.catalogue is None:
        yield Finding("problem", name, "its tables cannot be read", "Restore it from a backup")
    if file is not None:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                yield Finding("problem", name, f"it is damaged: {answer}", "Restore it from a backup")
            if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                yield Finding(
                    "problem", name, "rows name others that are not there", "Restore it from a backup"
                )


def check_operator_token(checked: Checked) -> Iterator[Finding]:
    """The operator's token is there, secret, and accepted."""
    from server.registry.operator_token import token_digest

    file = operator_token_file(checked.settings.home)
    if checked.catalogue is None:
        return
    if not file.is_file():
        yield Finding("problem", str(file), "there is no such file", "`chengtu serve` makes a new token")
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        yield Finding("problem", str(file), f"others may read it (mode {mode:o})", f"Run: chmod 600 {file}")
    digest = bytes.fromhex(token_digest(file.read_text(encoding="ascii", errors="replace").strip()))
    if digest not in checked.catalogue.operator_token_hashes:
        yield Finding(
            "problem",
            str(file),
            "the registry does not accept it",
            "Delete it; `chengtu serve` makes a new one",
        )


def check_collections(checked: Checked) -> Iterator[Finding]:
    """Every representation's files are there and can be opened."""
    if checked.catalogue is None:
        return
    for collection in checked.catalogue.collections.values():
        for representation in collection.representations.values():
            wrong = what_is_wrong(collection.directory / representation.path, representation)
            if wrong is not None:
                yield Finding(
                    "problem",
                    f"{collection.qualified_id} {representation.kind.value}",
                    wrong,
                    f"Publish it again with --replace, or see `chengtu restore {collection.qualified_id}`",
                )


def check_styles(checked: Checked) -> Iterator[Finding]:
    """The style of every map is there and sound."""
    directory = checked.settings.styles_directory
    if checked.catalogue is None or not directory.is_dir():  # check_installation tells of the folder
        return
    from tiles.errors import TilesError
    from tiles.maps.styles import load_style

    for collection in checked.catalogue.collections.values():
        drawn = collection.representations.get(RepresentationKind.MAP)
        style = None if drawn is None else drawn.properties.get("style")
        if style is None:
            continue
        try:
            load_style(style, directory)
        except TilesError as error:
            yield Finding(
                "problem",
                f"{collection.qualified_id} map",
                f"its style cannot be used: {error}",
                f"Put the style into {directory}, or publish it again with --replace and another --style",
            )


def check_leftovers(checked: Checked) -> Iterator[Finding]:
    """Folders of killed publishes."""
    remedy = "`chengtu sweep` removes it"
    for folder in dead_staging_folders(checked.settings.home):
        yield Finding("note", str(folder), "it was left by a publish that was killed", remedy)
    if checked.catalogue is None:
        return
    with Registry(checked.settings.registry_url, checked.settings.home) as registry:
        for folder in registry.orphaned_generations():
            yield Finding("note", str(folder), "the registry does not know this generation", remedy)


def check_installation(checked: Checked) -> Iterator[Finding]:
    """Styles and browser libraries are where the settings say."""
    from server.pages import Pages, PageSettings

    settings = checked.settings
    if not settings.styles_directory.is_dir():
        yield Finding(
            "problem",
            str(settings.styles_directory),
            "there is no such folder of map styles",
            "Set maps.styles_directory to the folder config/styles of the project",
        )
    missing = Pages(PageSettings(vendor_dir=settings.vendor_directory)).missing_vendor_files()
    if missing:
        yield Finding(
            "problem",
            "pages",
            f"browser libraries are missing ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''})",
            "Run `npm ci --ignore-scripts --omit=dev` in the project, or set pages.vendor_directory",
        )


CHECKS: tuple[Check, ...] = (
    check_home,
    check_registry,
    check_operator_token,
    check_collections,
    check_styles,
    check_leftovers,
    check_installation,
)
