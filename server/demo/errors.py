"""What can go wrong while the demo city is built.

DemoError (server.errors)
├── DemoDataMissing       a package whose data the demo is made of is not installed, or lacks its file
├── DemoDataUnreadable    the file is there and is not what this release expects
└── DemoDescriptionError  config/demo/collections.yml lacks something or says it wrongly
"""

from __future__ import annotations

from server.errors import DemoError


class DemoDataMissing(DemoError):
    """A package whose data the demo is made of is not installed, or lacks its file."""


class DemoDataUnreadable(DemoError):
    """The file is there and is not what this release expects."""


class DemoDescriptionError(DemoError):
    """The description of the demo's collections lacks something or says it wrongly."""
