"""Pictures of a run, or of several: one page that opens offline, light or dark."""

from walkers_dist.report.compare import write_comparison
from walkers_dist.report.page import write_report

__all__ = ["write_comparison", "write_report"]
