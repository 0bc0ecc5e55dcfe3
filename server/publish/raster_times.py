"""When a raster file is of: said by an option, found in its name by a pattern, or in its TIFF tag DateTime."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from server.publish.errors import OptionError
from server.publish.inputs import Input

TAG = "tag"
_DIRECTIVES = {
    "Y": r"\d{4}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "H": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "j": r"\d{3}",
}
_TAG_FORMS = (
    "%Y:%m:%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.%fZ",
)


def check_time_option(asked: str | None) -> None:
    """Refuse what is neither "tag", a pattern, nor a time. Raises OptionError."""
    if asked is None or asked == TAG:
        return
    if "%" in asked:
        _pattern(asked)
    else:
        instant_text(_parsed(asked))


def instant_of(item: Input, asked: str | None, tag: str | None) -> str | None:
    """The instant of a file (RFC 3339, UTC); None where no time was asked for. Raises OptionError."""
    if asked is None:
        return None
    if asked == TAG:
        return _from_tag(item, tag)
    return _from_name(item, asked) if "%" in asked else instant_text(_parsed(asked))


def instant_text(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second where it has no parts of one; a time without zone is taken as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise OptionError(
            f"--time {text!r} is no time. Allowed: a time such as 2024-05-01 or 2024-05-01T10:30:00Z, {TAG!r} for the TIFF tag "
            "DateTime, or a pattern of file names with %Y %m %d %H %M %S %j, such as S2_%Y%m%d."
        ) from error


def _pattern(asked: str) -> tuple[re.Pattern[str], str]:
    """What to look for in a name, and the form of strptime."""
    parts, form = [], []
    for directive, literal in re.findall(r"%(.)|([^%]+)", asked):
        if literal:
            parts.append(re.escape(literal))
            continue
        if directive not in _DIRECTIVES or directive in form:
            raise OptionError(
                f"--time {asked!r}: %{directive} cannot be used there. Allowed, once each: {' '.join('%' + key for key in _DIRECTIVES)}."
            )
        parts.append(f"(?P<{directive}>{_DIRECTIVES[directive]})")
        form.append(directive)
    if "Y" not in form:
        raise OptionError(f"--time {asked!r} has no year (%Y).")
    return re.compile("".join(parts)), " ".join(f"%{key}" for key in form)


def _from_name(item: Input, asked: str) -> str:
    expression, form = _pattern(asked)
    found = expression.search(item.path.name)
    if found is None:
        raise OptionError(f"The name {item.path.name} has no time of the pattern {asked!r} (--time).")
    text = " ".join(found.groups())
    try:
        return instant_text(datetime.strptime(text, form).replace(tzinfo=UTC))
    except ValueError as error:
        raise OptionError(
            f"The name {item.path.name} gives the time {text!r}, which is none (--time {asked})."
        ) from error


def _from_tag(item: Input, tag: str | None) -> str:
    for form in _TAG_FORMS:
        try:
            return instant_text(datetime.strptime((tag or "").strip(), form).replace(tzinfo=UTC))
        except ValueError:
            continue
    found = "has none" if tag is None else f"has {tag[:40]!r}"
    raise OptionError(
        f"{item.name} {found} as its TIFF tag DateTime. Give --time another way, such as a pattern of names."
    )
