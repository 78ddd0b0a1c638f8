"""Whether a data set is fit to train and to measure on: what is wrong with it, and repairs."""

from triptych.data.check.findings import Finding, Kind, Severity
from triptych.data.check.media import MediaFiles
from triptych.data.check.repair import Fixed, Rejected, fix
from triptych.data.check.run import Check, check

__all__ = [
    "Check",
    "Finding",
    "Fixed",
    "Kind",
    "MediaFiles",
    "Rejected",
    "Severity",
    "check",
    "fix",
]
