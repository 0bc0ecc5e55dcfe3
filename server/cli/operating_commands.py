"""`chengtu check` and `chengtu sweep`."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import Config, Home, Json, settings_of
from server.settings import Settings


def check(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="With --3d: TENANT.COLLECTION, a folder with tileset.json or layer.json, a tile's file, "
            "or an address of this server [default: every collection with 3D Tiles or terrain]",
            show_default=False,
        ),
    ] = None,
    three_d: Annotated[
        bool, typer.Option("--3d", help="Check 3D Tiles and terrain, down to each vertex and attribute")
    ] = False,
    most: Annotated[
        int, typer.Option("--most", min=0, help="With --3d: stop after so many faults of a target; 0: never")
    ] = 100,
    json: Json = False,
    home: Home = None,
    config: Config = None,
) -> None:
    """Check configuration and data: settings, registry, every representation's files, leftovers, disk space.

    With --3d: tilesets and terrain, as files and as a request gets them now. Changes nothing. Exit code 1 where something is
    wrong.
    """
    from server.cli.checks import run_checks
    from server.cli.console import say, show

    settings = settings_of(home, config)
    if three_d:
        _check_three_d(targets or [], settings, most or None, json=json)
        return
    if targets:
        raise typer.BadParameter(f"{targets[0]!r} is checked by `chengtu check --3d {targets[0]}`")
    findings = run_checks(settings)
    if json:
        import orjson

        show(orjson.dumps([finding.document() for finding in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        for finding in findings:
            show(f"{finding.severity}: {finding.subject}: {finding.found}. {finding.remedy}")
    wrong = sum(finding.severity == "problem" for finding in findings)
    if wrong:
        say(f"{wrong} problems found in {settings.home}.")
        raise typer.Exit(1)
    say(f"No problems found in {settings.home}.")


def _check_three_d(names: list[str], settings: Settings, most: int | None, *, json: bool) -> None:
    from server.cli.console import progress, say, show
    from server.cli.three_d_checks import report_document, run_checks, targets_of

    targets = targets_of(names, settings)
    with progress("Checking", whole=True) as report:
        found = list(run_checks(targets, most, report))
    if json:
        import orjson

        documents = [report_document(name, one) for name, one in found]
        show(orjson.dumps(documents, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, one in found:
            for finding in (*one.findings, *one.remarks):
                kind = "fault" if finding.severity == "error" else "remark"
                show(f"{kind}: {name}: {finding}")
            say(f"{name}: {one.summary()}.")
    wrong = sum(len(one.findings) for _, one in found)
    if wrong:
        say(f"{wrong} faults found.")
        raise typer.Exit(1)
    say("No faults found." if found else "There are no collections with 3D Tiles or terrain.")


def sweep(home: Home = None, config: Config = None) -> None:
    """Remove leftovers of killed publishes, and generations that nobody serves or needs any more."""
    from server.cli.console import say, show
    from server.publish.closing import reopen_left_closed
    from server.registry.registry import open_registry_that_is_there

    with open_registry_that_is_there(settings_of(home, config)) as registry:
        report = registry.sweep()
        reopened = reopen_left_closed(registry)
    for folder in report.removed:
        show(str(folder))
    for collection in reopened:
        say(f"{collection.qualified_id} can be edited again: a publish of it had been killed.")
    say(f"Removed {len(report.removed)} folders, {report.freed_bytes / 1e6:.1f} MB.")
