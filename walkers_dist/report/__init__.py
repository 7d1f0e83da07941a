"""Pictures of a run: one page that opens offline, light or dark."""

from walkers_dist.report.page import write_report

__all__ = ["write_report"]
