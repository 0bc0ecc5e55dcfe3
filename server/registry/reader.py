"""Gives each worker the present `Catalogue`: one cheap question a request, a reload only after a commit elsewhere."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from server.errors import RegistryUnavailable
from server.registry.catalogue import Catalogue
from server.registry.homes import check_home_is_there
from server.registry.links import Link, LinkError, open_link
from server.registry.schema import sqlite_file
from server.settings import Settings


class _Seen(threading.local):
    """What one thread has: its connection, and the stamp it last saw there. Both go when the thread ends."""

    link: Link | None = None
    stamp: int | None = None


class RegistryReader:
    """A `CatalogueReader` on a registry database: one a process, shared by its threads, safe over a fork.

    Nothing is opened before the first `current()`; each thread has a connection of its own.
    """

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self._catalogue: Catalogue | None = None
        self._inherited: list[Link] = []
        self._start()
        # register_at_fork can not be undone: it must not keep the reader alive.
        reference = weakref.ref(self)
        os.register_at_fork(
            before=lambda: _before_fork(reference()), after_in_child=lambda: _in_child(reference())
        )

    def current(self) -> Catalogue:
        """The catalogue as of now: includes every publish that returned before this call.

        Raises RegistryUnavailable where the registry cannot be read, or nobody has made it yet.
        """
        seen = self._seen
        for last_try in (False, True):
            try:
                return self._look(seen)
            except LinkError as error:
                self._drop(seen)
                if last_try:
                    if sqlite_file(self._url) is not None:  # a database server has said itself what is wrong
                        check_home_is_there(self._url, self._home)
                    raise RegistryUnavailable(
                        f"the registry cannot be read: {error}; see `chengtu check`"
                    ) from error
        raise AssertionError("unreachable: the last try returns or raises")

    def close(self) -> None:
        """Close the connections of all threads; a later `current()` opens new ones."""
        links = list(self._links)
        self._start()
        for link in links:
            link.close()

    def _start(self) -> None:
        self._seen = _Seen()
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._lock = threading.Lock()

    def _look(self, seen: _Seen) -> Catalogue:
        if seen.link is None:
            seen.link = open_link(self._url)
            with self._lock:
                self._links.add(seen.link)
        stamp = seen.link.stamp()
        if stamp != seen.stamp or self._catalogue is None:
            # One load after the other, each in a transaction begun when it is its turn: a later one is never older.
            with self._lock:
                self._catalogue = seen.link.load(self._home, self._catalogue)
            # The stamp from before the load: a commit during it is looked for again by the next call.
            seen.stamp = stamp
        return self._catalogue

    def _drop(self, seen: _Seen) -> None:
        link, seen.link, seen.stamp = seen.link, None, None
        if link is not None:
            link.close()

    def keep_inherited(self) -> None:
        """Before a fork: hold the connections, so that the child does not close them."""
        self._inherited = list(self._links)

    def start_again(self) -> None:
        """In a forked child: the parent's connections may neither be used nor closed here (SQLite's rule)."""
        self._start()


def _before_fork(reader: RegistryReader | None) -> None:
    if reader is not None:
        reader.keep_inherited()


def _in_child(reader: RegistryReader | None) -> None:
    if reader is not None:
        reader.start_again()


def open_catalogue_reader(settings: Settings) -> RegistryReader:
    """The reader of the registry that the settings name. Opens nothing yet."""
    return RegistryReader(settings.registry_url, settings.home)
