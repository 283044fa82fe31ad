"""How much a benchmark's ranking depends on its own arbitrary choices, which `pagbench sensitivity` moves.

The choices are factors with levels. Models are measured again under each level; the tables become rankings and a
report. The measure `sensitivity`, a model's infinitesimal responses, is something else.
"""
