"""Builds `Settings` from YAML files, environment variables and the command line; says exactly what is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from server.errors import SettingsError
from server.settings.rules import Rule
from server.settings.sections import SECTIONS, Settings

PREFIX = "CHENGTU_"
CONFIG_VARIABLE = "CHENGTU_CONFIG"
NOT_SETTINGS = ("CHENGTU_TEST_",)
"""Prefixes of variables that are not settings although they begin like them."""


class SettingKey(NamedTuple):
    """One setting: where it is, what it may be, what it is without being set."""

    section: str
    name: str
    rule: Rule
    default: object

    @property
    def optional(self) -> bool:
        """Whether it may be left without a value."""
        return self.default is None

    @property
    def dotted(self) -> str:
        """Its name in messages and overrides: `section.name`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"{PREFIX}{self.section}_{self.name}".upper()


def setting_keys() -> dict[str, SettingKey]:
    """Every setting by its dotted key (`server.port`), in the order of the classes."""
    keys = [
        SettingKey(section, item.name, item.metadata["rule"], _default(item))
        for section, kind in SECTIONS.items()
        for item in dataclasses.fields(kind)
    ]
    return {key.dotted: key for key in keys}


def _default(item: dataclasses.Field[Any]) -> object:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def load_settings(
    config_files: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """The settings. A later source wins: defaults, files in their order, `environ`, `overrides`.

    `environ` holds variables such as CHENGTU_SERVER_PORT (pass `os.environ`; nothing is read where it is None); files
    named in CHENGTU_CONFIG (joined by ":") are read before `config_files`. `overrides` has dotted keys (`server.port`).
    Relative paths in a file start from that file's folder, others from the working directory.
    Raises SettingsError, naming the file or variable, the key, its value and what is allowed.
    """
    environ = environ or {}
    keys = setting_keys()
    values: dict[str, Any] = {}
    named = [Path(name) for name in environ.get(CONFIG_VARIABLE, "").split(os.pathsep) if name]
    for file in [*named, *config_files]:
        values.update(_from_file(file, keys))
    values.update(_from_environment(environ, keys))
    for dotted, value in (overrides or {}).items():
        values[dotted] = _parsed(keys[dotted], value, f"option for {dotted}", Path.cwd())
    if values.get("data.home") is None:
        values["data.home"] = Path("data").absolute()
    sections: dict[str, dict[str, Any]] = {}
    for dotted, value in values.items():
        section, _, name = dotted.partition(".")
        sections.setdefault(section, {})[name] = value
    settings = Settings(**{section: kind(**sections.get(section, {})) for section, kind in SECTIONS.items()})
    _check_together(settings)
    return settings


def settings_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, from which `load_settings` makes equal ones in another process."""
    variables = {}
    for key in setting_keys().values():
        value = getattr(getattr(settings, key.section), key.name)
        variables[key.variable] = "" if value is None else key.rule.text(value)
    return variables


def _check_together(settings: Settings) -> None:
    limits = settings.limits
    for what in ("items", "collections"):
        default, largest = getattr(limits, f"{what}_default"), getattr(limits, f"{what}_max")
        if default > largest:
            raise SettingsError(
                f"limits.{what}_default is {default}, more than limits.{what}_max, which is {largest}; "
                f"give limits.{what}_default at most that value"
            )


def _parsed(key: SettingKey, value: object, source: str, base: Path) -> Any:
    if value is None and key.optional:
        return None
    try:
        return key.rule.parse(value, base)
    except ValueError as error:
        allowed = key.rule.allowed() + (", or nothing" if key.optional else "")
        raise SettingsError(
            f"{source}: {key.dotted} is {key.rule.shown(value)}: {error}; allowed: {allowed}; "
            f"the default is {key.rule.shown(key.default)}"
        ) from None


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _from_environment(environ: Mapping[str, str], keys: Mapping[str, SettingKey]) -> dict[str, Any]:
    variables = {key.variable: key for key in keys.values()}
    values = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or name.startswith(NOT_SETTINGS):
            continue
        key = variables.get(name)
        if key is None:
            raise SettingsError(
                f"environment variable {name} is no setting{_nearest(name, variables)} "
                f"(a setting is named {PREFIX}SECTION_KEY; docs/reference/settings.md lists them)"
            )
        if text == "" and not key.optional:
            continue  # an empty variable is how shells and compose files say "not set"
        values[key.dotted] = _parsed(key, text or None, f"environment variable {name}", Path.cwd())
    return values


def _from_file(file: Path, keys: Mapping[str, SettingKey]) -> dict[str, Any]:
    document = _read_yaml(file)
    sections = {key.section for key in keys.values()}
    values = {}
    for section, content in document.items():
        if section not in sections:
            raise SettingsError(
                f"{file}: {section!r} is no section of settings{_nearest(str(section), sections)} "
                f"(sections: {', '.join(sorted(sections))})"
            )
        if content is None:
            continue
        if not isinstance(content, dict):
            raise SettingsError(f"{file}: {section} is {content!r}; allowed: keys and values")
        for name, value in content.items():
            key = keys.get(f"{section}.{name}")
            if key is None:
                known = [known.name for known in keys.values() if known.section == section]
                raise SettingsError(
                    f"{file}: {section}.{name} is no setting{_nearest(str(name), known)} (keys of {section}: {', '.join(known)})"
                )
            values[key.dotted] = _parsed(key, value, str(file), file.absolute().parent)
    return values


def _read_yaml(file: Path) -> dict[Any, Any]:
    # PyYAML is imported only where a file is given: it is a tenth of the time in which the port has to be open.
    import yaml

    from server.settings.yaml_reading import UniqueKeyLoader

    try:
        with file.open("rb") as stream:
            document = yaml.load(stream, UniqueKeyLoader)  # noqa: S506  # a SafeLoader that also refuses doubled keys
    except OSError as error:
        raise SettingsError(f"configuration file {file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration file {file} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{file} holds {type(document).__name__}; allowed: sections with keys and values")
    return document
