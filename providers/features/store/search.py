"""`q`: phrases in the text fields of features, whatever their case.

There is no index of words: Chinese has no spaces, two characters are a usual phrase, and SQLite's trigram index answers
nothing for less than three. What a phrase without case costs is a look at every text, a quarter of a microsecond a feature
(docs/decisions/0003); a page that takes longer than its time ends early with a cursor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from providers.features.schema import FieldDefinition
from providers.features.store.geopackage import quote
from providers.features.store.select import ANYTHING, FUNCTION_PREFIX, NOTHING, Condition

# Characters without case that no other character is folded to: those of Chinese, Japanese and Korean, and ASCII's.
_CASELESS = ((0x20, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x3000, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x3FFFF))


def phrase_condition(
    phrases: Sequence[str], fields: Iterable[FieldDefinition], hidden: frozenset[str]
) -> Condition:
    """That one of the phrases stands in one of the visible text fields; always true without phrases."""
    if not phrases:
        return ANYTHING
    columns = [
        f"a.{quote(field.column)}"
        for field in fields
        if field.type == "string" and field.format is None and field.name not in hidden
    ]
    if not columns:
        return NOTHING
    tests: list[str] = []
    arguments: list[str] = []
    for phrase in phrases:
        if is_caseless(phrase):
            tests += [f"instr({column}, ?)" for column in columns]
            arguments += [phrase] * len(columns)
        else:
            tests += [f"{FUNCTION_PREFIX}holds_phrase(?, {', '.join(part)})" for part in _calls(columns)]
            arguments += [phrase.casefold()] * len(_calls(columns))
    return Condition(" OR ".join(tests), tuple(arguments))


def is_caseless(text: str) -> bool:
    """Whether a text equals another only if it is the same, whatever the case: then SQLite itself can look for it."""
    return all(any(first <= ord(letter) <= last for first, last in _CASELESS) for letter in text)


def _calls(columns: Sequence[str]) -> list[Sequence[str]]:
    """Columns by function call: SQLite allows 127 arguments."""
    return [columns[start : start + 100] for start in range(0, len(columns), 100)]
