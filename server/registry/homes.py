"""Whether a data home is there: only what is meant to make one may begin with an empty folder."""

from __future__ import annotations

from pathlib import Path

from server.errors import RegistryUnavailable
from server.registry.schema import sqlite_file

HOME_REMEDY = (
    "Name the right data home with --home (or data.home of the settings); a new one is made by `chengtu serve`, "
    '`chengtu demo` or `chengtu tenants add TENANT --title "..."`'
)


def check_home_is_there(url: str, home: Path) -> None:
    """Refuse a data home that nobody has made yet. Raises RegistryUnavailable.

    `url` is the registry's. Of one in PostgreSQL only the folder is looked for: the database answers for itself.
    """
    if not home.is_dir():
        raise RegistryUnavailable(f"there is no data home at {home}. {HOME_REMEDY}.")
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise RegistryUnavailable(f"{home} is no data home: {file} is not there. {HOME_REMEDY}.")
