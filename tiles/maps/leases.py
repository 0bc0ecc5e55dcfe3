"""`tiles.leases` under the name by which the map sources know it."""

from tiles.leases import LeaseStore

__all__ = ["LeaseStore"]
