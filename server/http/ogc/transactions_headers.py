"""What the headers of an edit say: the type and the CRS of its body, and the version of the feature that is to be edited."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from providers.errors import InvalidParameter, UnknownReferenceSystem, VersionConflict
from providers.features.crs import reference_system
from providers.features.query import CRS84
from providers.features.source import Version
from server.http.errors import PreconditionFailed, PreconditionRequired, UnsupportedMediaType
from server.http.features import FeatureRequest


def check_type(allowed: tuple[str, ...], header: str) -> None:
    """Refuse bodies of other media types, and coded ones."""
    names = ", ".join(allowed)
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType(
            f"Content-Encoding is {coding[:100]!r}; allowed: identity", [("Accept-Encoding", "identity")]
        )
    if request.mimetype not in allowed:
        found = request.content_type or "not given"
        raise UnsupportedMediaType(
            f"Content-Type is {found[:200]!r}; allowed here: {names}",
            [(header, names)] if header else [],
        )


def content_crs() -> str:
    """The CRS of the coordinates in the body (Content-Crs). Raises InvalidParameter."""
    header = request.headers.get("Content-Crs")
    if header is None:
        return CRS84
    text = header.strip()
    uri = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    try:
        return reference_system(uri).uri
    except UnknownReferenceSystem as error:
        raise InvalidParameter("Content-Crs", text, f"a CRS URI like <{CRS84}> ({error})") from error


def version_in(tag: str, generation: int) -> str | None:
    """The version in an entity tag of an item, None where it is weak, not ours, or of another generation."""
    tag = tag.strip()
    if len(tag) < 2 or tag[0] != '"' or tag[-1] != '"':
        return None
    made_for, dot, rest = tag[1:-1].partition(".")
    if not dot or made_for != str(generation):
        return None
    return rest.rpartition("-")[0] or rest


@dataclass(frozen=True, slots=True)
class Target:
    """The feature an edit is for: whether there is one, and the version it has to be in (None: any)."""

    exists: bool
    version: Version | None = None


def target_of(asked: FeatureRequest, feature_id: str, *, required: bool) -> Target:
    """What If-Match and If-None-Match say of the feature (RFC 9110, 13.1; Part 4, optimistic locking with ETags).

    `required`: the collection is only edited with If-Match.

    Raises PreconditionFailed and VersionConflict where they do not hold, PreconditionRequired where If-Match is missing.
    """
    found = asked.source.item(feature_id)
    unwanted = request.headers.get("If-None-Match")
    if unwanted is not None and found is not None and _is_among(unwanted, found.version, asked.generation):
        raise PreconditionFailed(
            f"If-None-Match is {unwanted[:200]!r}, and there is an item {feature_id[:200]!r} in that version"
        )
    header = request.headers.get("If-Match")
    if header is None:
        if found is not None and required:
            raise PreconditionRequired(
                "this collection is edited with If-Match only: send the ETag of the item you have read, or * to edit any"
            )
        return Target(found is not None)
    if found is None:
        raise PreconditionFailed(f"If-Match is given, and there is no item {feature_id[:200]!r}")
    if header.strip() == "*":
        return Target(True)
    generation = asked.generation
    if str(found.version) not in {version_in(tag, generation) for tag in header.split(",")}:
        raise VersionConflict(
            f"If-Match is {header[:200]!r}, and item {feature_id[:200]!r} is in version {found.version} of generation "
            f"{generation}: read it again, then edit"
        )
    return Target(True, found.version)


def _is_among(header: str, version: Version, generation: int) -> bool:
    """Whether If-None-Match names the version: by weak comparison, as RFC 9110, 13.1.2, has it."""
    if header.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return str(version) in {version_in(tag, generation) for tag in tags}
