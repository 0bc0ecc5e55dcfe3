"""Reads the file of `chengtu publish --constraints`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from server.publish.errors import FileNotUsable, OptionError

_MOST_BYTES = 1 << 20


def read_constraints(file: Path) -> dict[str, dict[str, Any]]:
    """Constraints by field, from YAML or JSON. Raises FileNotUsable, OptionError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FileNotUsable(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > _MOST_BYTES:
        raise OptionError(f"{file} is larger than {_MOST_BYTES} bytes.")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise OptionError(f"{file} is neither YAML nor JSON: {error}") from None
    if not isinstance(document, dict) or not all(isinstance(one, dict) for one in document.values()):
        raise OptionError(
            f"{file} holds no constraints. Wanted: fields, and for each its words, such as height: {{minimum: 0}}."
        )
    return {str(name): dict(words) for name, words in document.items()}
