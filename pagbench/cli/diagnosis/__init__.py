"""What is installed, which device and caches there are, and which benchmarks can run. No torch in this process."""

from pagbench.cli.diagnosis.examination import examine
from pagbench.cli.diagnosis.findings import Finding, Report, Section

__all__ = ["Finding", "Report", "Section", "examine"]
