"""What a setting's value may be: one small rule a kind of value.

Dataclasses and these rules instead of pydantic: importing pydantic takes 0.1 s of the one second in which
`chengtu serve` has to open its port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")


class Rule(Protocol):
    """Judges the values of one setting."""

    @property
    def about(self) -> str:
        """What the setting is for, in a few words."""
        ...

    def parse(self, value: object, base: Path) -> Any:
        """The value as the setting holds it. `base` is the folder that relative paths start from.

        `value` is what YAML gave, or the text of an environment variable. Raises ValueError where it is not allowed.
        """
        ...

    def allowed(self) -> str:
        """What is allowed, in words."""
        ...

    def shown(self, value: object) -> str:
        """The value as a message may show it: no passwords."""
        ...

    def text(self, value: Any) -> str:
        """The value as an environment variable carries it; `parse` makes an equal one of it."""
        ...


@dataclass(frozen=True)
class _Shown:
    about: str

    def shown(self, value: object) -> str:
        return repr(value)

    def text(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True)
class IntegerRule(_Shown):
    """A whole number within bounds, both allowed."""

    minimum: int = 0
    maximum: int = 2**53

    def parse(self, value: object, base: Path) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("not a whole number")  # noqa: TRY004  # one error type for whatever is wrong with a value
        if not self.minimum <= value <= self.maximum:
            raise ValueError("out of range")
        return value

    def allowed(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"


@dataclass(frozen=True)
class BooleanRule(_Shown):
    """Yes or no."""

    def parse(self, value: object, base: Path) -> bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        if not isinstance(value, bool):
            raise ValueError("neither true nor false")  # noqa: TRY004  # one error type for whatever is wrong
        return value

    def allowed(self) -> str:
        return "true or false"

    def text(self, value: Any) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class ListRule(_Shown):
    """Several texts or paths, each once; in an environment variable a JSON list."""

    item: Rule = None  # type: ignore[assignment]  # always given; a default because `about` comes before it

    def parse(self, value: object, base: Path) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = _json(value)
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise ValueError("not a list")  # noqa: TRY004  # one error type for whatever is wrong
        return tuple(dict.fromkeys(self.item.parse(one, base) for one in value))

    def allowed(self) -> str:
        return f"a list, each item {self.item.allowed()}"

    def text(self, value: Any) -> str:
        return json.dumps([self.item.text(one) for one in value])


@dataclass(frozen=True)
class SecretsRule(_Shown):
    """Secret texts by name; in an environment variable a JSON object."""

    pattern: str = r"[^\x00-\x1f]{1,2000}"
    form: str = "a text"

    def parse(self, value: object, base: Path) -> dict[str, str]:
        if isinstance(value, str):
            value = _json(value)
        if not isinstance(value, Mapping):
            raise ValueError("not a mapping")  # noqa: TRY004  # one error type for whatever is wrong
        for name, text_ in value.items():
            if not isinstance(name, str) or re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) is None:
                raise ValueError(f"{name!r} is no name")
            if not isinstance(text_, str) or re.fullmatch(self.pattern, text_) is None:
                raise ValueError(f"what {name} stands for is not of that form")
        return dict(value)

    def allowed(self) -> str:
        return f"names (lower case, digits, - and _) and for each {self.form}"

    def shown(self, value: object) -> str:
        return (
            "{" + ", ".join(f"{name}: ***" for name in value) + "}" if isinstance(value, Mapping) else "***"
        )

    def text(self, value: Any) -> str:
        return json.dumps(dict(value))


def _json(text_: str) -> object:
    try:
        return json.loads(text_)
    except ValueError:
        raise ValueError("not JSON") from None


@dataclass(frozen=True)
class ChoiceRule(_Shown):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    def parse(self, value: object, base: Path) -> str:
        if value not in self.choices:
            raise ValueError("not one of them")
        return str(value)

    def allowed(self) -> str:
        return "one of " + ", ".join(self.choices)


@dataclass(frozen=True)
class TextRule(_Shown):
    """A text that matches a pattern; `form` says the pattern in words."""

    pattern: str = r"[^\x00-\x1f]{1,200}"
    form: str = "a text of 1 to 200 characters"
    secret: bool = False

    def parse(self, value: object, base: Path) -> str:
        if not isinstance(value, str) or re.fullmatch(self.pattern, value) is None:
            raise ValueError("not of that form")
        return value

    def allowed(self) -> str:
        return self.form

    def shown(self, value: object) -> str:
        return _PASSWORD.sub("***", repr(value)) if self.secret else repr(value)


@dataclass(frozen=True)
class PathRule(_Shown):
    """A path of the file system; becomes absolute."""

    def parse(self, value: object, base: Path) -> Path:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise ValueError("not a path")
        return (base / Path(value).expanduser()).absolute()

    def allowed(self) -> str:
        return "a path"


def integer(about: str, minimum: int = 0, maximum: int = 2**53) -> dict[str, Rule]:
    """Metadata of a setting that holds a whole number."""
    return {"rule": IntegerRule(about, minimum, maximum)}


def choice(about: str, *choices: str) -> dict[str, Rule]:
    """Metadata of a setting that holds one of a few words."""
    return {"rule": ChoiceRule(about, choices)}


def text(
    about: str,
    pattern: str = r"[^\x00-\x1f]{1,200}",
    form: str = "a text of 1 to 200 characters",
    *,
    secret: bool = False,
) -> dict[str, Rule]:
    """Metadata of a setting that holds a text. A secret one is shown without its password."""
    return {"rule": TextRule(about, pattern, form, secret)}


def path(about: str) -> dict[str, Rule]:
    """Metadata of a setting that holds a path."""
    return {"rule": PathRule(about)}


def boolean(about: str) -> dict[str, Rule]:
    """Metadata of a setting that holds true or false."""
    return {"rule": BooleanRule(about)}


def paths(about: str) -> dict[str, Rule]:
    """Metadata of a setting that holds several paths."""
    return {"rule": ListRule(about, PathRule("a path"))}


def texts(about: str, pattern: str, form: str) -> dict[str, Rule]:
    """Metadata of a setting that holds several texts."""
    return {"rule": ListRule(about, TextRule("a text", pattern, form))}


def secrets(about: str, pattern: str, form: str) -> dict[str, Rule]:
    """Metadata of a setting that holds secret texts by name."""
    return {"rule": SecretsRule(about, pattern, form)}
