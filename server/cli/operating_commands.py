"""`chengtu check` and `chengtu sweep`."""

from __future__ import annotations

import typer

from server.cli.options import Config, Home, Json, settings_of


def check(json: Json = False, home: Home = None, config: Config = None) -> None:
    """Check configuration and data: settings, registry, every representation's files, leftovers, disk space.

    Changes nothing. Exit code 1 where something is wrong.
    """
    from server.cli.checks import run_checks
    from server.cli.console import say, show

    settings = settings_of(home, config)
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
