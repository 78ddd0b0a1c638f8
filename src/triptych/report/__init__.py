"""The report of a run: one HTML file that a person looks at."""

from triptych.report.build import build_report

__all__ = ["build_report"]
