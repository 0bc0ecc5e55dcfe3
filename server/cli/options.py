"""Options that several commands share, and the settings they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from server.errors import InvalidIdentifier
from server.settings import Settings, load_settings

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="FOLDER",
        help="Folder of all data [default: data.home of the settings, else ./data]",
    ),
]
Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file (YAML); may be given several times, later ones win"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


def settings_of(
    home: Path | None = None, config: list[Path] | None = None, **overrides: int | str | None
) -> Settings:
    """The settings of a command line. `overrides` are `section__key`; None means not given. Raises SettingsError."""
    given: dict[str, object] = {
        name.replace("__", "."): value for name, value in overrides.items() if value is not None
    }
    if home is not None:
        given["data.home"] = home
    return load_settings(config or (), os.environ, given)


def split_qualified(qualified: str) -> tuple[str, str]:
    """Tenant and collection of `tenant.collection`. Raises InvalidIdentifier."""
    tenant, dot, collection = qualified.partition(".")
    if not dot or not tenant or not collection:
        raise InvalidIdentifier(f"{qualified!r} does not name a collection; allowed: TENANT.COLLECTION")
    return tenant, collection
