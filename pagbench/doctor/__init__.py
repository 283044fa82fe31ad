"""What is installed, which device and caches there are, and which benchmarks can run. No torch in this process."""

from pagbench.doctor.examination import examine
from pagbench.doctor.findings import Finding, Report, Section

__all__ = ["Finding", "Report", "Section", "examine"]
