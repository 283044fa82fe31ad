"""How much a benchmark's ranking depends on its own arbitrary choices: what is moved, and what comes of it. No torch.

Not to be taken for the measure `sensitivity`, a network's infinitesimal responses. `pagbench.remeasuring` measures
entrants again under each setting; here the settings are data, and their tables become rankings and a report.
"""
