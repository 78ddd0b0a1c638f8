"""`triptych report RUN`: a run as one HTML page."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument


@dataclass(frozen=True)
class ReportConfig:
    """Which run."""

    run: Path = argument()
    """Folder of the run."""


def run(config: ReportConfig) -> None:
    """Write RUN/report.html: figures, training curves and rollouts, self-contained."""
    from triptych.report.build import build_report

    print(f"report: {build_report(config.run)}")
