"""A tileset that follows edits: whoever asks first after an edit brings it up to date, in the time the edit deserves.

What an edit costs at once is small: the outlines of the objects it changed, from which follow the tiles that it touched, and
with them tileset.json and the subtrees. The contents of touched tiles are made when they are asked for. So an edit of 10,000
objects is shown by the next request as well as an edit of one. Beyond `AT_ONCE` objects a thread catches up, in parts, and
requests get the last good state meanwhile.

Between processes a lock on a file lets one of them work; its result is one transaction (`live_store`). A process that does not
get the lock in time answers with the last good state rather than let a client wait.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from tiles.three_d.build import read_options
from tiles.three_d.errors import LiveTilesetError, ThreeDError
from tiles.three_d.facts import TileFacts
from tiles.three_d.live_moment import SharedSource, TilesetMoment
from tiles.three_d.live_overlay import Overlay
from tiles.three_d.live_store import Change, LiveStore, State
from tiles.three_d.objects import Keys, Outlines, SourceRecipe
from tiles.three_d.plan import TilePlan, join_outlines

AT_ONCE = 20_000
"""Changed objects that a request may wait for: about two seconds. More are caught up with by a thread."""
PATIENCE = 2.0
"""Seconds that a request waits for another one, or another process, that is catching up."""
_PART = 5_000
_REST = 1.0
_QUIET = 60.0
_PAST_MOMENTS = 8
_LOCK = "lock"
_log = logging.getLogger(__name__)


class Edits(Protocol):
    """What a store tells of its edits."""

    def change(self) -> Change:
        """The present state: equal only if nothing was edited. Cheap: asked once a request."""
        ...

    def changed_keys(self, since: Change, until: Change | None = None) -> Keys:
        """Keys (n,) of objects that were edited after `since`, and not after `until`; where they were and where they are.

        May take long where a store has to compare all of its objects.
        """
        ...

    @property
    def slow(self) -> bool:
        """Whether `changed_keys` takes longer than a request may wait."""
        ...


class LiveTileset:
    """One published tileset and its edits. Opens nothing before the first request; safe in threads.

    `files`: the published folder; `private`: plan, facts, and what edits change. `built`: the change of the data that was
    published.
    """

    def __init__(
        self,
        files: Path,
        private: Path,
        recipe: SourceRecipe,
        edits: Edits,
        built: Change,
        *,
        failures: tuple[type[Exception], ...] = (),
    ) -> None:
        """`failures`: what source and edits raise, beside ThreeDError, where their data cannot be read.

        Raises ThreeDError where there is no plan, so that edits cannot be followed.
        """
        self._failures: tuple[type[Exception], ...] = (ThreeDError, *failures)
        self._files = files
        self._edits = edits
        self._options = read_options(private)
        self._plan = TilePlan.open(private / "plan")
        self._facts = TileFacts.open(private / "facts.npy")
        self._store = LiveStore(private / "live", built)
        self._built = built
        self._source = SharedSource(recipe)
        self._moment: TilesetMoment | None = None
        self._past: OrderedDict[Change, TilesetMoment] = OrderedDict()
        self._catching = threading.Lock()
        self._past_lock = threading.Lock()
        self._background: threading.Thread | None = None
        self._resting_until = 0.0
        self._quiet_until = 0.0

    def current(self) -> TilesetMoment:
        """The tileset with every edit that was committed before this call, or the last good one where that would take too long.

        Raises LiveTilesetError where not even that can be read.
        """
        known = self._moment
        try:
            change = self._edits.change()
        except self._failures as error:
            self._complain(error)
            return known or self._read()
        if known is not None and known.change == change:
            return known
        if known is not None and time.monotonic() < self._resting_until:
            return known
        if not self._catching.acquire(timeout=PATIENCE):
            return known or self._read()
        try:
            return self._caught_up()
        finally:
            self._catching.release()

    def at(self, change: Change, recipe: SourceRecipe) -> TilesetMoment:
        """The tileset as it was at an earlier change; `recipe` opens the source of that state. Raises ThreeDError."""
        with self._past_lock:
            found = self._past.get(change)
            if found is not None:
                self._past.move_to_end(change)
                return found
        keys = self._edits.changed_keys(self._built, change)
        overlay = Overlay.published(self._plan, self._facts)
        source = SharedSource(recipe)
        if len(keys):
            number = change if isinstance(change, int) else 1
            overlay = overlay.extended(keys, _outlines(source, keys), number).overlay
        moment = TilesetMoment(self._files, change, overlay, self._options, source)
        with self._past_lock:
            self._past[change] = moment
            while len(self._past) > _PAST_MOMENTS:
                self._past.popitem(last=False)
        return moment

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    # --- catching up ---------------------------------------------------------------------------------------------------

    def _caught_up(self) -> TilesetMoment:
        moment = self._read()
        change = self._edits.change()
        if moment.change == change:
            return moment
        with self._between_processes(PATIENCE) as locked:
            if not locked:
                self._resting_until = time.monotonic() + _REST
                return self._read()
            moment = self._read()
            change = self._edits.change()
            if moment.change == change:
                return moment
            try:
                keys = None if self._edits.slow else self._keys(moment, change)
                if keys is not None and len(keys) <= AT_ONCE:
                    return self._bring(moment, keys, change)
            except self._failures as error:
                self._complain(error)
                self._resting_until = time.monotonic() + _REST
                return moment
        self._catch_up_aside()
        return moment

    def _keys(self, moment: TilesetMoment, change: Change) -> Keys:
        """What changed since the state of a moment."""
        since = moment.change
        if isinstance(since, int) and isinstance(change, int) and since > change:
            # A state that the store never had: it was put back from a copy. What was edited by either is looked at again.
            keys = self._edits.changed_keys(self._built)
            return np.union1d(keys, moment.overlay.moved)
        return self._edits.changed_keys(since)

    def _bring(self, moment: TilesetMoment, keys: Keys, change: Change) -> TilesetMoment:
        """Bring the tileset to `change`, in one transaction for each part. Holds the lock between processes."""
        overlay, revision = moment.overlay, moment.revision
        for start in range(0, max(len(keys), 1), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            last = start + AT_ONCE >= len(keys)
            # Never one that a client has seen, even where the folder was deleted and made again.
            revision = max(revision + 1, time.time_ns() // 1_000_000)
            step = overlay.extended(part, _outlines(self._source, part), revision)
            reached = change if last else moment.change
            self._store.advance(step, State(reached, revision))
            overlay = step.overlay
            self._moment = self._moment_of(reached, overlay)
        return self._moment or moment

    def _catch_up_aside(self) -> None:
        """Let a thread do what is too much for a request; one at a time."""
        self._resting_until = time.monotonic() + _REST
        if self._background is None or not self._background.is_alive():
            self._background = threading.Thread(
                target=self._catch_up_patiently, name="chengtu-live-tileset", daemon=True
            )
            self._background.start()

    def _catch_up_patiently(self) -> None:
        try:
            with self._between_processes(0.0) as locked:
                if not locked:
                    return  # another process does it
                moment = self._read()
                change = self._edits.change()
                if moment.change != change:
                    self._bring(moment, self._keys(moment, change), change)
        except Exception as error:  # noqa: BLE001 - the last line of defence of a thread: the next request starts another
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        """One line in the log, and none for a minute."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _QUIET
        _log.warning(
            "a 3D tileset could not follow edits",
            extra={"folder": str(self._files), "reason": f"{type(error).__name__}: {error}"},
        )

    def _read(self) -> TilesetMoment:
        """The state on disk."""
        known = self._moment
        if known is not None and self._store.state() == State(known.change, known.revision):
            return known
        state, overlay = self._store.overlay(self._plan, self._facts)
        moment = self._moment_of(state.change, overlay)
        self._moment = moment
        return moment

    def _moment_of(self, change: Change, overlay: Overlay) -> TilesetMoment:
        return TilesetMoment(self._files, change, overlay, self._options, self._source, self._store)

    @contextmanager
    def _between_processes(self, seconds: float) -> Iterator[bool]:
        """Whether the lock of all processes is held; the kernel frees it with its process."""
        try:
            self._store.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._store.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LiveTilesetError(f"edits of a 3D tileset cannot be followed: {error}") from error
        try:
            yield _flock(descriptor, seconds)
        finally:
            os.close(descriptor)


def _flock(descriptor: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        else:
            return True


def _outlines(source: SharedSource, keys: Keys) -> Outlines:
    """Where the objects of these keys are that can be drawn. Raises ThreeDError."""
    parts = []
    for start in range(0, len(keys), _PART):
        with source.held() as opened:
            parts.append(opened.load(keys[start : start + _PART]).outlines())
    return join_outlines(parts)
