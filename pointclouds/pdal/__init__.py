"""PDAL behind one seam, and CSF beside it: found, limited, and given only what this package has checked and written itself."""

from pointclouds.pdal.child import Limits
from pointclouds.pdal.command import Pdal, find_pdal, require_pdal
from pointclouds.pdal.running import run_pipeline
from pointclouds.pdal.stages import Stage

__all__ = ["Limits", "Pdal", "Stage", "find_pdal", "require_pdal", "run_pipeline"]
