"""The command line: what each command does, says and returns, and that all of it is documented."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from server.cli import run
from server.cli.application import application
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import load_settings

REFERENCE = Path(__file__).resolve().parents[3] / "docs/reference/cli.md"
POINTS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Point", "coordinates": [114.05 + number / 100, 22.54]},
        }
        for number, name in enumerate(("市民中心", "莲花山", "a"))
    ],
}
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `chengtu ARGUMENTS` on a home of its own: (exit code, standard output, standard error)."""
    monkeypatch.setenv("CHENGTU_DATA_HOME", str(home))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    """The registry of that home, with the tenant `shenzhen`."""
    with open_registry(load_settings((), None, {"data.home": home})) as opened:
        opened.add_tenant("shenzhen", "Shenzhen", "深圳")
        yield opened


@pytest.fixture
def points(tmp_path: Path) -> Path:
    file = tmp_path / "points.geojson"
    file.write_text(json.dumps(POINTS), encoding="utf-8")
    return file


def publishing(file: Path, *more: str) -> tuple[str, ...]:
    return ("publish", str(file), "--tenant", "shenzhen", "--id", "places", "--title", "Places", *more)


def test_a_collection_from_publish_to_unpublish(command: Command, registry: Registry, points: Path) -> None:
    code, _, said = command(
        *publishing(points, "--title-zh", "地点", "--keyword", "poi", "--keyword", "地名")
    )
    assert code == 0
    assert "Published shenzhen.places (generation 1: features" in said
    assert "3 of them" in said
    collection = registry.collection("shenzhen", "places")
    assert collection is not None
    assert (collection.titles, collection.keywords) == ({"en": "Places", "zh": "地点"}, ("poi", "地名"))

    code, listed, _ = command("collections")
    assert code == 0
    assert listed.split("\t")[:4] == ["shenzhen.places", "Places", "public", "1"]

    code, _, said = command(*publishing(points))
    assert (code, "--replace" in said) == (1, True)
    assert command(*publishing(points, "--replace", "--private", "--simulated", "--title", "Other"))[0] == 0
    documents = json.loads(command("collections", "--tenant", "shenzhen", "--json")[1])
    assert [(one["id"], one["generation"], one["access"]) for one in documents] == [
        ("shenzhen.places", 2, "private")
    ]
    assert documents[0]["simulated"]
    assert documents[0]["bbox"] == [114.05, 22.54, 114.07, 22.54]

    code, listed, _ = command("restore", "shenzhen.places")
    assert [line.split("\t")[:2] for line in listed.splitlines()] == [["1", "kept"], ["2", "current"]]
    assert (
        command("restore", "shenzhen.places", "1")[2] == "shenzhen.places is served in generation 1 again.\n"
    )
    assert json.loads(command("collections", "--json")[1])[0]["titles"]["en"] == "Places"

    code, _, said = command("unpublish", "shenzhen.places")
    assert code == 0
    assert "chengtu restore shenzhen.places 2" in said
    assert command("collections")[1] == ""
    assert command("unpublish", "shenzhen.places")[0] == 1


def test_tenants_are_added_listed_and_removed(command: Command, points: Path) -> None:
    assert command("tenants", "add", "shenzhen", "--title", "Shenzhen", "--organisation", "guangdong")[0] == 0
    assert command("tenants", "add", "nanshan", "--title", "Nanshan", "--title-zh", "南山")[0] == 0
    code, _, said = command("tenants", "add", "nanshan", "--title", "Again")
    assert (code, "'Nanshan'" in said) == (1, True)
    assert command(*publishing(points))[0] == 0
    assert command("tenants", "list")[1].splitlines() == [
        "nanshan\tNanshan\tnanshan\t0",
        "shenzhen\tShenzhen\tguangdong\t1",
    ]
    assert json.loads(command("tenants", "list", "--json")[1])[0]["titles"] == {"en": "Nanshan", "zh": "南山"}
    code, _, said = command("tenants", "remove", "shenzhen")
    assert (code, "--force" in said) == (1, True)
    assert command("tenants", "remove", "shenzhen", "--force")[2] == (
        "Removed tenant shenzhen and 1 collections of it (places).\n"
    )
    assert command("tenants", "list")[1] == "nanshan\tNanshan\tnanshan\t0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], 2, "No such command"),
        (["serve", "--prot", "1"], 2, "--port"),
        (["publish"], 2, "FILE"),
        (["publish", "x.gpkg", "--tenant", "shenzhen", "--id", "x"], 2, "--title"),
        (["serve", "--port", "99999"], 1, "from 1 to 65535"),
        (["serve", "--port", "many"], 2, "--port"),
        (["serve", "--host", "no such host"], 1, "server.host"),
        (["collections", "--config", "nowhere.yml"], 1, "nowhere.yml"),
        (["collections", "--tenant", "nowhere"], 1, "tenants: shenzhen"),
        (["unpublish", "places"], 1, "TENANT.COLLECTION"),
        (["unpublish", "shenzhen.nothing"], 1, "no published collection 'nothing'"),
        (["unpublish", "nowhere.x"], 1, '`chengtu tenants add nowhere --title "..."`'),
        (["restore", "shenzhen.nothing", "1"], 1, "nothing"),
        (["tenants", "remove", "nowhere"], 1, "nowhere"),
        (["tenants", "add", "Shenzhen", "--title", "x"], 1, "small letter"),
        (
            ["publish", "not-there.gpkg", "--tenant", "shenzhen", "--id", "x", "--title", "X"],
            1,
            "not-there.gpkg",
        ),
        (["publish", "x.gpkg", "--tenant", "nowhere", "--id", "x", "--title", "X"], 1, "tenants add nowhere"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_exit_code(
    command: Command, registry: Registry, arguments: list[str], code: int, says: str
) -> None:
    found, _, said = command(*arguments)
    assert found == code
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["collections"], ["tenants", "list"]])
def test_listing_makes_no_registry(command: Command, home: Path, arguments: list[str]) -> None:
    code, listed, said = command(*arguments)
    assert (code, listed) == (1, "")
    assert said.startswith(f"chengtu: there is no data home at {home}. Name the right data home with --home")
    assert not home.exists()
    home.mkdir()
    code, listed, said = command(*arguments)
    assert (code, listed) == (1, "")
    assert f"{home} is no data home: {home / 'registry.sqlite'} is not there" in said
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_one_message(command: Command) -> None:
    code, _, said = command("tenants", "add", "shenzhen", "--title", "x", "--home", "/proc/nothing")
    assert code == 1
    assert said.startswith("chengtu: /proc/nothing")


def test_check_finds_nothing_in_a_sound_home(command: Command, registry: Registry, points: Path) -> None:
    command(*publishing(points))
    code, found, said = command("check", "--json")
    assert [one for one in json.loads(found) if one["subject"] != "pages"] == []
    assert code in (0, 1)
    assert "problems found" in said


def break_nothing_there(home: Path) -> None:
    (home / "collections/shenzhen/places/g000001/features.gpkg").unlink()


def break_by_truncation(home: Path) -> None:
    file = home / "collections/shenzhen/places/g000001/features.gpkg"
    file.write_bytes(file.read_bytes()[:2000])


def break_token_rights(home: Path) -> None:
    (home / "operator.token").chmod(0o644)


def break_token(home: Path) -> None:
    (home / "operator.token").write_text("x" * 43)


def break_registry(home: Path) -> None:
    for file in home.glob("registry.sqlite*"):
        file.unlink()
    (home / "registry.sqlite").write_bytes(b"no database" * 1000)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_nothing_there, "there is nothing at"),
        (break_by_truncation, "shenzhen.places features"),
        (break_token_rights, "chmod 600"),
        (break_token, "does not accept it"),
        (break_registry, "registry.sqlite"),
    ],
)
def test_check_finds_what_is_wrong(
    command: Command, home: Path, points: Path, damage: Callable[[Path], None], says: str
) -> None:
    command("tenants", "add", "shenzhen", "--title", "x")
    command(*publishing(points))
    damage(home)
    code, found, said = command("check")
    assert code == 1
    assert [line for line in found.splitlines() if line.startswith("problem: ") and says in line] != []
    assert "problems found" in said


def test_check_finds_a_style_that_is_gone(
    command: Command, registry: Registry, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    styles = tmp_path / "styles"
    shutil.copytree(load_settings((), None, {}).styles_directory, styles)
    (styles / "dots.yml").write_bytes((styles / "point.yml").read_bytes())
    monkeypatch.setenv("CHENGTU_MAPS_STYLES_DIRECTORY", str(styles))
    assert command(*publishing(points, "--style", "dots"))[0] == 0
    assert "map" not in command("check")[1]

    (styles / "dots.yml").rename(tmp_path / "dots.yml")
    code, found, said = command("check")
    assert code == 1
    (line,) = [line for line in found.splitlines() if "shenzhen.places map" in line]
    assert line.startswith(
        "problem: shenzhen.places map: its style cannot be used: style 'dots' is not in styles"
    )
    assert "any, buildings" in line
    assert "--style" in line
    assert "problems found" in said

    (styles / "dots.yml").write_text("rulez: []\n")
    assert "unknown keys 'rulez'" in command("check")[1]


def test_check_without_a_home_says_so(command: Command, home: Path) -> None:
    code, found, _ = command("check")
    assert code == 1
    assert "no such folder" in found
    assert "--home" in found
    assert len(found.splitlines()) == len({line.split(": ")[1] for line in found.splitlines()})
    assert not home.exists()


LEAVE = """
import os, sys
from pathlib import Path
from server.registry.staging import staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / "half.gpkg").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), 9)
"""


def test_leftovers_are_noted_and_swept(command: Command, registry: Registry, home: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVE, str(home)], check=False)
    orphan = home / "collections/shenzhen/places/g000007"
    orphan.mkdir(parents=True)
    with staging_folder(home) as alive:
        notes = [line for line in command("check")[1].splitlines() if line.startswith("note: ")]
        assert len(notes) == 2
        assert all("chengtu sweep" in line for line in notes)
        code, removed, said = command("sweep")
        assert alive.is_dir()
    assert code == 0
    assert str(orphan) in removed
    assert said.startswith("Removed 2 folders")
    assert command("sweep")[1] == ""


def every_command() -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for info in application.registered_commands:
        yield str(info.name), info
    for group in application.registered_groups:
        assert group.typer_instance is not None
        for info in group.typer_instance.registered_commands:
            yield f"{group.name} {info.name}", info


@pytest.mark.parametrize("name", [name for name, _ in every_command()])
def test_every_command_and_option_is_documented(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run([*name.split(), "--help"]) == 0
    options = set(re.findall(r"--[a-z][a-z-]*[a-z]", capsys.readouterr().out))
    assert {"--home", "--config", "--help"} <= options
    text = REFERENCE.read_text(encoding="utf-8")
    common, sections = text.split("\n## ", 1)[0], text.split("\n## ")
    (section,) = [section for section in sections if section.splitlines()[0] == f"chengtu {name}"]
    for option in options:
        assert f"`{option}" in common or f"`{option}" in section, option


def test_the_documentation_names_no_command_that_is_not_there() -> None:
    documented = {
        line[11:]
        for line in REFERENCE.read_text(encoding="utf-8").splitlines()
        if line.startswith("## chengtu ")
    }
    assert documented == {name for name, _ in every_command()}


def test_a_taken_port_is_found_before_the_demo_is_built(command: Command, home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, _, said = command("demo", "--port", str(other.getsockname()[1]))
    assert (code, "is taken" in said) == (1, True)
    assert not home.exists()


def test_help_and_serve_load_nothing_heavy() -> None:
    code = (
        "import sys; from server.cli import run; code = run(['--help']); import server.cli.serving; "
        "print('LOADED', *sys.modules); sys.exit(code)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = set(output.partition("LOADED")[2].split())
    assert (
        not {"sqlalchemy", "alembic", "flask", "pygeoapi", "rasterio", "numpy", "pyproj", "mapproxy", "yaml"}
        & loaded
    )
