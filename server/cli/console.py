"""What the command says, and where: results on standard output, messages and progress on standard error."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from server.errors import ChengtuError

Report = Callable[[str, float], None]

_PLAIN_SECONDS = 5.0
"""Without a terminal a line is written when what is done changes, at most this often while it does not."""


def say(text: str) -> None:
    """A message for the person at the terminal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(error: ChengtuError | OSError) -> int:
    """Say what is wrong; the exit code of a failure."""
    message = str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    say(f"chengtu: {message}")
    return 1


def show(text: str) -> None:
    """A result, for people and for pipes."""
    sys.stdout.write(text + "\n")


def show_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Rows as a table; plain tab-separated lines where standard output is not a terminal."""
    if not sys.stdout.isatty():
        for row in rows:
            show("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: titles are data, not markup
    Console().print(table)


@contextmanager
def progress(title: str, *, whole: bool = False) -> Iterator[Report]:
    """Gives `report(what, fraction)`. `fraction` is of the step named, or of all where `whole`; it may only grow."""
    if sys.stderr.isatty():
        with _bar(title, whole) as report:
            yield report
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str, whole: bool) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(title, total=1.0)
        last = ""

        def report(what: str, fraction: float) -> None:
            nonlocal last
            if what != last and not whole:
                display.reset(task)
            last = what
            display.update(task, description=f"{title}: {what}", completed=fraction)

        yield report


def _lines(title: str) -> Report:
    last, when = "", 0.0

    def report(what: str, fraction: float) -> None:
        nonlocal last, when
        if what == last and time.monotonic() - when < _PLAIN_SECONDS:
            return
        last, when = what, time.monotonic()
        say(f"{title}: {what} {fraction:.0%}")

    return report


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Make SIGTERM stop the work as Ctrl-C does: what was begun is cleaned up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        say("chengtu: stopped; what was served before still is")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
