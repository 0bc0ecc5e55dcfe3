"""Promises of the documentation: links lead somewhere, pages are in the navigation, variables and commands are real."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from providers.features.conformance import CHECKS
from server.cli.application import application
from server.http.ogc.conformance import classes_of_all
from server.http.ogc.conformance_maps import MAP_CHECKED
from server.http.ogc.openapi import openapi_document
from server.http.scope import CITY
from server.registry.identifiers import RESERVED_TENANT_IDS
from server.settings.loading import setting_keys
from tiles.maps.self_test import CHECKS as MAP_SELF_TEST

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\bCHENGTU_[A-Z_]*[A-Z]\b")
PATTERNS = {"CHENGTU_SECTION_KEY"}  # stands for the names of settings


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def anchor(heading: str) -> str:
    """The id that MkDocs gives a heading."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", words)


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or not file.is_relative_to(ROOT):
            broken.append(target)
        elif fragment:
            headings = re.findall(r"^#+ +(.*)$", prose(file), re.MULTILINE)
            if fragment not in map(anchor, headings):
                broken.append(target)
    assert not broken


def nav_files(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from nav_files(child)
    else:
        for child in node:
            yield from nav_files(child)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(nav_files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES]
    assert sorted(listed) == pages


def test_every_page_begins_with_its_one_title() -> None:
    wrong = [
        name_of(page)
        for page in PAGES
        if not page.read_text().startswith("# ") or len(re.findall(r"^# ", prose(page), re.MULTILINE)) != 1
    ]
    assert not wrong


def variables_of_the_tests() -> set[str]:
    files = [ROOT / "tests" / "conftest.py", *(ROOT / "tests" / "clients").rglob("*.py")]
    return {name for file in files for name in VARIABLE.findall(file.read_text())}


def test_variables_in_the_documentation_exist() -> None:
    known = {key.variable for key in setting_keys().values()} | {"CHENGTU_CONFIG"} | PATTERNS
    known |= variables_of_the_tests()
    unknown = {
        f"{name_of(page)}: {name}"
        for page in TEXTS
        for name in VARIABLE.findall(page.read_text())
        if name not in known
    }
    assert not unknown


def documented_commands() -> list[tuple[str, list[str]]]:
    """Every `chengtu ...` of a code block, as the page it is on and its arguments; placeholders stay as they are."""
    found = []
    for page in TEXTS:
        for language, block in BLOCK.findall(page.read_text()):
            if language not in ("", "sh", "bash", "console"):
                continue
            for line in block.replace("\\\n", " ").splitlines():
                arguments = arguments_of(line)
                if arguments is not None:
                    found.append((name_of(page), arguments))
    return found


def arguments_of(line: str) -> list[str] | None:
    """What follows the program's name, or the service's in a `docker compose run`; None where it is another program."""
    line = line.removeprefix("$ ")
    if not re.match(r"(docker compose|([A-Z_]+=\S+ +|sudo -u chengtu +)*(\S*/)?chengtu) ", line):
        return None
    words = shell_words(line)
    if words[0] == "docker":
        return words[words.index("server") + 1 :] if "run" in words and "server" in words else None
    while re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if words[0] == "sudo":
        del words[:3]
    return words[1:]


def shell_words(line: str) -> list[str]:
    """The words of a command as a shell sees them: `#` begins a comment only where a word begins (not in `url#layer`)."""
    words = shlex.split(line)
    comment = next((index for index, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def test_only_a_word_of_its_own_begins_a_comment() -> None:
    assert shell_words("chengtu register 'wms:https://a.example/wms#roads' --id x  # a comment") == [
        *("chengtu", "register", "wms:https://a.example/wms#roads", "--id", "x")
    ]


def test_the_documentation_shows_commands() -> None:
    commands = {arguments[0] for _, arguments in documented_commands()}
    assert commands >= {"serve", "publish", "tenants", "check", "sweep", "restore", "demo"}


@pytest.mark.parametrize(
    ("page", "arguments"),
    documented_commands(),
    ids=[f"{page}: {' '.join(arguments)[:60]}" for page, arguments in documented_commands()],
)
def test_documented_commands_are_understood(page: str, arguments: list[str]) -> None:
    command: Any = typer.main.get_command(application)
    names = ["chengtu"]
    rest = list(arguments)
    while hasattr(command, "commands"):
        names.append(rest.pop(0))
        assert names[-1] in command.commands, (
            f"{' '.join(names)} in {page}; there is {list(command.commands)}"
        )
        command = command.commands[names[-1]]
    # Parses and checks options and arguments, and does not run the command; wrong usage raises.
    with command.make_context(" ".join(names), rest):
        pass


def test_tenants_of_documented_commands_may_exist() -> None:
    """No example names a tenant whose id is reserved."""
    named = {
        (page, words[words.index("--tenant") + 1])
        for page, words in documented_commands()
        if "--tenant" in words
    }
    assert named
    assert not {(page, tenant) for page, tenant in named if tenant in RESERVED_TENANT_IDS}


def test_options_named_in_the_text_exist() -> None:
    """`--option` in the text of pages on the command: on some command, or on a program named in the same backticks."""
    root: Any = typer.main.get_command(application)
    commands = [root, *root.commands.values()]
    commands += [
        each for command in root.commands.values() for each in getattr(command, "commands", {}).values()
    ]
    known = {
        option for each in commands for item in each.params for option in (*item.opts, *item.secondary_opts)
    }
    known |= {"--help"}
    pages = [ROOT / "docs" / name for name in ("reference/cli.md", "reference/input-formats.md")]
    pages += [ROOT / "docs" / "how-to" / name for name in ("publish-data.md", "operate.md")]
    unknown = {
        f"{name_of(page)}: {option}"
        for page in pages
        for option in re.findall(r"`(--[a-z][a-z0-9-]*)", prose(page))
        if option not in known
    }
    assert not unknown


def test_the_http_reference_names_every_address_of_the_api() -> None:
    """Each path of the OpenAPI definition is in docs/reference/http-api.md, in its shorter notation."""
    text = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    shorter = {
        "/collections/{collectionId}/": "{c}/",
        "{tileMatrixSetId}": "{tms}",
        "{tileMatrix}/{tileRow}/{tileCol}": "{z}/{row}/{col}",
    }
    missing = []
    for path in openapi_document("http://localhost/ogc", CITY)["paths"]:
        written = path
        for long, short in shorter.items():
            written = written.replace(long, short)
        if not written.startswith("{c}"):
            written = "S" + written.replace("{collectionId}", "{id}").replace("{recordId}", "{id}")
        if f"`{written}`" not in text and f"{written}`" not in text:
            missing.append(written)
    assert not missing


def test_the_http_reference_names_every_parameter_of_the_api() -> None:
    text = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    parameters = openapi_document("http://localhost/ogc", CITY)["components"]["parameters"].values()
    missing = [
        each["name"] for each in parameters if each["in"] == "query" and f"`{each['name']}" not in text
    ]
    assert not missing


def conformance_rows() -> list[tuple[list[str], str]]:
    """The rows of every table of docs/reference/conformance.md: classes without the address of specifications, test file.

    In a row, names after one that ends in a slash belong to it.
    """
    rows = []
    for line in (ROOT / "docs/reference/conformance.md").read_text().splitlines():
        if line.startswith("| `"):
            cells = line.strip("| ").split(" | ")
            base, classes = "", []
            for name in re.findall(r"`([^`]+)`", cells[0]):
                base = name if name.endswith("/") else base if "/" not in name else ""
                classes += [] if name.endswith("/") else [base + name]
            rows.append((classes, cells[-1].strip("`")))
    return rows


def test_every_conformance_class_that_is_listed_has_a_check() -> None:
    """The classes of a view with everything, and those of the reference, which names what holds each, are the same."""
    listed = {re.sub(r"^https?://www.opengis.net/spec/", "", uri) for uri in classes_of_all([], CHECKS)}
    documented = [name for classes, _ in conformance_rows() for name in classes]
    assert sorted(documented) == sorted(listed)


def test_the_self_tests_of_features_and_maps_are_documented_in_their_order() -> None:
    asked = [uri.removeprefix("http://www.opengis.net/spec/") for uri in (*CHECKS, *MAP_CHECKED)]
    documented = [name for classes, _ in conformance_rows() for name in classes]
    assert documented[: len(asked)] == asked
    assert [f"http://www.opengis.net/spec/ogcapi-maps-1/1.0/conf/{name}" for name in MAP_SELF_TEST] == list(
        MAP_CHECKED
    )


@pytest.mark.parametrize("file", sorted({file for _, file in conformance_rows()}))
def test_the_tests_named_beside_conformance_classes_are_there(file: str) -> None:
    assert file.startswith("tests/")
    assert (ROOT / file).is_file()
