"""How much a benchmark's ranking depends on its own arbitrary choices.

Choices and their settings are data. Models are measured again under each setting; the tables become rankings and a
report. Not to be taken for the measure `sensitivity`, a network's infinitesimal responses.
"""
