"""Every error a caller of this package has to expect.

    PointCloudError
    |-- UnreadablePointCloudError     not LAS/LAZ, cut, corrupt, or contradicting its own header
    |   `-- EmptyPointCloudError      readable, without a single point
    |-- CrsError
    |   |-- MissingCrsError           no CRS in the file and none given
    |   `-- UnusableCrsError          a CRS that cannot carry a point cloud, or sources that disagree
    |-- InvalidCopcError              a COPC file whose octree cannot be walked
    |-- PlacementError                no sound way from the CRS to the globe
    |-- PipelineError
    |   |-- PdalAbsentError           there is no PDAL to run
    |   |-- PipelineRefusedError      a stage, an option or a value that is not allowed
    |   |-- PipelineFailedError       PDAL could not do it, or crashed
    |   |   `-- NothingLeftError      no point is left after it
    |   `-- PipelineLimitError        it took more time, memory, points or disk than it has
    |-- QueryError                    a bounding box, resolution, budget or dimension that makes no sense
    |-- OutputError                   the result cannot be written (disk full, no permission, exists)
    `-- BuildCancelledError           whoever asked for a build does not want it any more

A message says what was asked, what was found, what is allowed and what to do.
"""


class PointCloudError(Exception):
    """Root of the tree: catch this one to catch them all."""


class UnreadablePointCloudError(PointCloudError):
    """The file is not LAS/LAZ, is cut off or corrupt, or its header contradicts its points."""


class EmptyPointCloudError(UnreadablePointCloudError):
    """The file is readable and holds no point."""


class CrsError(PointCloudError):
    """The coordinate reference system is missing or of no use."""


class MissingCrsError(CrsError):
    """The file names no CRS and the caller gave none."""


class UnusableCrsError(CrsError):
    """The CRS cannot be understood, is not projected, or differs between sources."""


class InvalidCopcError(PointCloudError):
    """The file is not COPC 1.0, or its hierarchy cannot be walked."""


class PlacementError(PointCloudError):
    """PROJ knows no transformation from the CRS to the globe that is better than a guess."""


class PipelineError(PointCloudError):
    """Points could not be worked on by PDAL."""


class PdalAbsentError(PipelineError):
    """No PDAL is installed here; everything that does not need it works."""


class PipelineRefusedError(PipelineError):
    """A pipeline or step with a stage, option or value that is not allowed; nothing was run."""


class PipelineFailedError(PipelineError):
    """PDAL refused its data, or crashed."""


class NothingLeftError(PipelineFailedError):
    """No point is left after the filters of a pipeline."""


class PipelineLimitError(PipelineError):
    """The pipeline needed more time, memory, points or room on the disk than it is given."""


class QueryError(PointCloudError):
    """A bounding box, resolution, point budget or dimension name that makes no sense."""


class OutputError(PointCloudError):
    """The result cannot be written."""


class BuildCancelledError(PointCloudError):
    """Whoever asked for a build does not want it any more."""
