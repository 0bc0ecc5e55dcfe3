"""The errors of the server room.

ChengtuError
├── SettingsError               a configuration file or variable holds something that is not allowed
├── RegistryError
│   ├── RegistryUnavailable     the database cannot be opened or read now
│   ├── RegistryOutOfDate       its tables are of another release
│   ├── InvalidIdentifier       a tenant or collection id against the rule, or reserved
│   ├── UnknownTenant
│   ├── DuplicateTenant
│   ├── TenantNotEmpty          it has collections, and removing them was not asked
│   ├── InvalidMapPolicy        a watermark that cannot be written on a map, or a clip that is no area
│   ├── UnknownCollection
│   ├── DuplicateCollection     the id is taken, and replacing was not asked
│   ├── UnknownGeneration
│   ├── PublishInProgress       another process is publishing this collection
│   ├── PublishLost             the publish was given up by someone else before it was switched in
│   └── InvalidRepresentation   a path outside the generation, or one that is not there
├── PublishError                extended in server/publish/errors.py
├── IdentityError               credentials were given and are not valid
├── DemoError                   the demo city could not be built
└── ServeError                  the server cannot start: port taken, address unknown
"""

from __future__ import annotations


class ChengtuError(Exception):
    """Any error of ours; the message says what was asked, found and allowed, and what to do."""


class SettingsError(ChengtuError):
    """A configuration file or environment variable holds something that is not allowed."""


class RegistryError(ChengtuError):
    """The registry refuses or fails."""


class RegistryUnavailable(RegistryError):
    """The registry's database cannot be opened or read now."""


class RegistryOutOfDate(RegistryError):
    """The registry's tables are of another release than this code."""


class InvalidIdentifier(RegistryError):
    """An id is against the rule `[a-z][a-z0-9_-]{0,62}`, or reserved."""


class UnknownTenant(RegistryError):
    """There is no such tenant."""


class DuplicateTenant(RegistryError):
    """The tenant is there already."""


class TenantNotEmpty(RegistryError):
    """The tenant has collections, and removing them was not asked."""


class InvalidMapPolicy(RegistryError):
    """A watermark that cannot be written on a map, or a clip that is no area."""


class UnknownCollection(RegistryError):
    """The tenant has no such published collection."""


class DuplicateCollection(RegistryError):
    """The collection is published already, and replacing it was not asked."""


class UnknownGeneration(RegistryError):
    """The collection has no such generation that could be served."""


class PublishInProgress(RegistryError):
    """Another process is publishing this collection."""


class PublishLost(RegistryError):
    """The publish was given up by someone else before it was switched in."""


class InvalidRepresentation(RegistryError):
    """A representation's path leads out of its generation, or nothing is there."""


class PublishError(ChengtuError):
    """Data cannot be published; see server/publish/errors.py."""


class IdentityError(ChengtuError):
    """Credentials were given and are not valid."""


class DemoError(ChengtuError):
    """The demo city could not be built."""


class ServeError(ChengtuError):
    """The server cannot start."""
