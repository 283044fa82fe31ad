"""What a submission may have at most. A number that is exceeded is named in the finding."""

CARD_BYTES = 64 * 1024
FILES = 64
DEPTH = 5
"""Folders below the submission's: `results/<benchmark>/<group>/` takes three."""
WEIGHTS_BESIDE = 8 * 2**20
"""Bytes of weights in the folder itself, which a pull request adds to the repository; larger ones go behind a link."""
WEIGHTS_LINKED = 4 * 2**30
RESULTS = 16 * 2**20
"""Bytes of one results file."""
HEADER_BYTES = 4 * 2**20
TENSORS = 20_000
PARAMETERS = 1_000_000_000
SIDE = 1024
"""Pixels of an image."""
SMOOTHING_SAMPLES = 1_000
TEXT = 2_000
"""Characters of one field of the card."""
