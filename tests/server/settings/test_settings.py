"""Settings: sources and their order, what is refused and how it is said, and that the documentation is complete."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from server.errors import SettingsError
from server.settings import Settings, load_settings, settings_environment
from server.settings.loading import setting_keys
from server.settings.sections import SECTIONS

ROOT = Path(__file__).resolve().parents[3]
KEYS = setting_keys()


def test_the_sections_are_the_fields_of_settings() -> None:
    assert {field.name: field.default_factory for field in dataclasses.fields(Settings)} == dict(SECTIONS)


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("127.0.0.1", 8000, 2)
    assert (settings.limits.items_default, settings.limits.items_max) == (10, 10_000)
    assert settings.home == tmp_path / "data"
    assert settings.registry_url == f"sqlite:///{tmp_path}/data/registry.sqlite"
    assert settings.tile_cache_directory == tmp_path / "data/cache/tiles"
    assert settings.styles_directory == ROOT / "config/styles"


def test_later_sources_win(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text("server: {port: 1001, workers: 11, host: first}\nlimits:\n")
    second.write_text("server: {port: 1002, workers: 12}\n")
    environ = {"CHENGTU_SERVER_PORT": "1003", "HOME": "/root"}
    assert load_settings([first]).server.port == 1001
    assert load_settings([first, second]).server.port == 1002
    assert load_settings([first, second], environ).server.port == 1003
    settings = load_settings([first, second], environ, {"server.port": 1004})
    assert (settings.server.port, settings.server.workers, settings.server.host) == (1004, 12, "first")


def test_files_can_be_named_by_a_variable(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text("server: {port: 1001, workers: 11}")
    second.write_text("server: {port: 1002}")
    settings = load_settings((), {"CHENGTU_CONFIG": f"{first}:{second}"})
    assert (settings.server.port, settings.server.workers) == (1002, 11)


def test_relative_paths_start_where_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/city.yml").write_text("data: {home: ../city}\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings([Path("etc/city.yml")]).home.resolve() == tmp_path / "city"
    assert load_settings((), {"CHENGTU_DATA_HOME": "city"}).home == tmp_path / "city"
    assert load_settings((), None, {"data.home": Path("city")}).home == tmp_path / "city"
    assert load_settings((), {"CHENGTU_DATA_HOME": "~/city"}).home == Path.home() / "city"


def test_settings_survive_the_way_to_a_worker(tmp_path: Path) -> None:
    changed = {
        "server.port": 9000,
        "server.public_url": "https://city.example/data",
        "data.home": tmp_path,
        "data.registry_url": "postgresql://city:sesame@db/city",
        "pages.title_zh": "深圳 时空数据",
        "cache.memory_bytes": 0,
        "sources.connections": {"city": "postgresql://city:sesame@db/city"},
        "sources.file_roots": [tmp_path, tmp_path / "more"],
        "sources.allowed_hosts": ["maps.city.example:8080"],
        "sources.outgoing": False,
    }
    for overrides in ({"data.home": tmp_path}, changed):
        settings = load_settings((), None, overrides)
        assert load_settings((), settings_environment(settings)) == settings
    assert settings.registry_url == "postgresql+psycopg://city:sesame@db/city"
    assert "sesame" not in repr(settings)


def test_an_empty_variable_is_not_set() -> None:
    assert load_settings((), {"CHENGTU_SERVER_PORT": "", "CHENGTU_DATA_REGISTRY_URL": ""}) == load_settings()


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("server.port", [1, 65535, "80"], [0, 65536, "x", "", 1.5, True, None, [1]]),
        ("server.workers", [1, 256], [0, 257, "-1"]),
        ("server.host", ["0.0.0.0", "::1", "city.example"], ["", "a b", "a/b", 5, None]),
        (
            "server.public_url",
            ["http://a", "https://a.b:80/c/d", None],
            ["a.b", "ftp://a", "http://a/", "http://a/b?c"],
        ),
        ("server.log_level", ["debug", "critical"], ["INFO", "", None, 3]),
        (
            "data.registry_url",
            ["sqlite:////x.sqlite", "postgresql://h/d", None],
            ["mysql://h/d", "sqlite://", "x", 5],
        ),
        ("data.home", ["x", "/x"], ["", "a\0b", 5]),
        ("cache.memory_bytes", [0, 64 * 1024**3], [-1, 64 * 1024**3 + 1]),
        ("publish.max_compression_ratio", [2, 100_000], [1, 100_001]),
        (
            "sources.connections",
            [{}, {"city": "postgresql://h/d", "partner-2": "Bearer x"}, '{"a": "postgresql://h/d"}'],
            ["x", [], {"City": "postgresql://h/d"}, {"a": ""}, {"a": 5}, {"a": "b\0"}, None],
        ),
        ("sources.file_roots", [[], ["/srv"], '["/srv", "data"]'], ["/srv", [5], [""], {}, None]),
        ("sources.allowed_hosts", [["a", "b:80"]], ["a", [""], ["a b"]]),
        ("sources.outgoing", [True, "false", "True"], ["yes", 1, None]),
        ("pages.title_en", ["x", "城" * 200], ["", "x" * 201, "a\nb", None]),
    ],
)
def test_every_value_is_judged(key: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        load_settings((), None, {key: value})
    for value in bad:
        with pytest.raises(SettingsError, match=key.replace(".", r"\.")):
            load_settings((), None, {key: value})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("server: {port: 99999}", ["city.yml", "server.port", "99999", "from 1 to 65535", "8000"]),
        ("server: {prot: 80}", ["city.yml", "server.prot", "did you mean port?"]),
        ("servers: {port: 80}", ["city.yml", "'servers'", "did you mean server?", "limits"]),
        ("server: 80", ["city.yml", "server is 80", "keys and values"]),
        ("- server", ["city.yml", "list", "sections"]),
        ("server: {port: 80", ["city.yml", "not YAML"]),
        ("server: {port: 80, port: 81}", ["city.yml", "'port' comes twice"]),
        ("server: {port: !!python/object/apply:os.getcwd []}", ["city.yml", "not YAML"]),
        ("server: {? [a] : 1}", ["city.yml"]),
        ("limits: {items_default: 20, items_max: 10}", ["items_default is 20", "items_max", "10"]),
        (
            "data: {registry_url: 'mysql://city:sesame@db/x'}",
            ["city.yml", "data.registry_url", "mysql", "sqlite:///FILE"],
        ),
        ("sources: {connections: {City: sesame}}", ["city.yml", "sources.connections", "'City' is no name"]),
        ("sources: {connections: sesame}", ["city.yml", "sources.connections", "not JSON"]),
        (b"server: {host: \xff}", ["city.yml", "not YAML"]),
    ],
)
def test_a_wrong_file_is_one_error_that_says_where_and_what(
    tmp_path: Path, content: str | bytes, says: list[str]
) -> None:
    file = tmp_path / "city.yml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as caught:
        load_settings([file])
    for words in says:
        assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("CHENGTU_SERVER_PORT", "eighty", ["CHENGTU_SERVER_PORT", "server.port", "'eighty'", "whole number"]),
        ("CHENGTU_SERVER_PROT", "80", ["CHENGTU_SERVER_PROT", "did you mean CHENGTU_SERVER_PORT?"]),
        ("CHENGTU_CONFIG", "/nowhere/city.yml", ["/nowhere/city.yml", "cannot be read"]),
    ],
)
def test_a_wrong_variable_is_one_error(variable: str, value: str, says: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings((), {variable: value})
    for words in says:
        assert words in str(caught.value)


def test_variables_of_the_tests_are_no_settings() -> None:
    load_settings((), {"CHENGTU_TEST_POSTGRES": "postgresql://x", "CHENGTUX": "1"})


def test_the_defaults_file_holds_every_default() -> None:
    document = yaml.safe_load((ROOT / "config/defaults.yml").read_text(encoding="utf-8"))
    written = {
        f"{section}.{name}": value for section, keys in document.items() for name, value in keys.items()
    }
    assert written.keys() == KEYS.keys()
    read = {
        name: None if value is None else KEYS[name].rule.parse(value, ROOT) for name, value in written.items()
    }
    assert read == {name: key.default for name, key in KEYS.items()}


def test_the_defaults_file_names_every_variable_above_its_key() -> None:
    lines = (ROOT / "config/defaults.yml").read_text(encoding="utf-8").splitlines()
    for key in KEYS.values():
        above = [lines[number - 1] for number, line in enumerate(lines) if line.startswith(f"  {key.name}: ")]
        assert any(key.variable in line for line in above), key.dotted


@pytest.mark.parametrize("dotted", list(KEYS))
def test_every_setting_is_documented(dotted: str) -> None:
    rows = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8").splitlines()
    key = KEYS[dotted]
    (row,) = [row for row in rows if row.startswith(f"| `{dotted}` |")]
    default = "" if key.default is None else f"`{key.rule.text(key.default)}`"
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"`{key.variable}`"
    assert cells[2] == default
    assert cells[3] == key.rule.allowed().replace("|", r"\|")


def test_importing_settings_loads_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, server.settings; print(' '.join(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert not {"yaml", "pydantic", "sqlalchemy", "flask", "typer"} & set(loaded)
