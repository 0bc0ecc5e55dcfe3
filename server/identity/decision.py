"""The one policy question of the server: may `who` do `action` on `resource`, and within which limits.

Every route of every protocol asks `decide` before it answers; `Decision.key` is part of every cache key and ETag.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.registry.catalogue import Access, Collection


class Action(StrEnum):
    """What someone wants to do with a resource."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    EXECUTE = "execute"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `operator` is true for the holder of the server's operator token."""

    id: str
    operator: bool = False


ANONYMOUS = Principal("anonymous")


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `hidden_fields` may not be filtered, sorted, listed or shown; `area` (WKT, CRS84) limits space.

    `key` is equal for two decisions that give the same view of the resource, whoever asked.
    """

    allowed: bool
    hidden_fields: frozenset[str] = frozenset()
    area: str | None = None
    key: str = "public"


def decide(who: Principal, action: Action, resource: Collection | None) -> Decision:
    """Decide on a collection, or on the server as a whole where `resource` is None.

    This release knows public and private: anyone reads what is public, only the operator sees what is private, writes
    and operates.
    """
    if who.operator:
        return Decision(
            True, key="operator" if resource is None or resource.access is Access.PRIVATE else "public"
        )
    if action in (Action.WRITE, Action.OPERATE):
        return Decision(False, key="denied")
    if resource is not None and resource.access is not Access.PUBLIC:
        return Decision(False, key="denied")
    return Decision(True)
