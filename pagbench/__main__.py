"""`python -m pagbench`."""

from pagbench.cli import main

main()
