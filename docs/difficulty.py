"""How hard `photographs@1` is: accuracies of simple classifiers beside those of published networks, as Markdown.

`python docs/difficulty.py` (a minute). Its table is in `docs/explanation/photographs.md`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

from pagbench import benchmarks, data
from pagbench.data import Dataset
from pagbench.densities import heldout, scores
from pagbench.ranking import leaderboard

RESULTS = Path(__file__).parent.parent / "leaderboard" / "results"
LABEL = "photographs@1"
NETWORKS = ("photographs/standard", "photographs/tiny-resnet-relu.standard", "photographs/strided-cnn-silu.standard")
_BINS, _JOINT_BINS, _TREES = 16, 4, 300


def histograms(part: Dataset) -> np.ndarray:
    """Of each image, 16 bins of each channel and 4×4×4 bins of colour, shape (n, 112)."""
    images = part.images.numpy()
    channels = [[np.histogram(channel, _BINS, (0, 1))[0] for channel in image] for image in images]
    colours = [np.histogramdd(image.reshape(3, -1).T, _JOINT_BINS, [(0, 1)] * 3)[0].ravel() for image in images]
    return np.concatenate([np.reshape(channels, (len(images), -1)), colours], axis=1)


def rows() -> Iterator[tuple[str, float]]:
    """What classifies, and its accuracy on the measured images."""
    definition = benchmarks.load(LABEL)
    splits = data.splits(definition)
    labels = splits.test.labels.numpy()
    yield "chance", 1 / definition.classes
    nearest = KNeighborsClassifier(1).fit(splits.train.images.flatten(1).numpy(), splits.train.labels.numpy())
    yield "nearest training patch", float(nearest.score(splits.test.images.flatten(1).numpy(), labels))
    density = scores.load_mixture(definition, splits.train)
    sigma = min(definition.sigmas or (definition.sigma,))
    seen = heldout.noisy_classes(density, splits.test, sigma)
    yield f"the density's Bayes classifier, of noisy patches, sigma {sigma:g}", float(seen.correct.mean())
    forest = RandomForestClassifier(_TREES, random_state=0, n_jobs=1)
    forest.fit(histograms(splits.train), splits.train.labels.numpy())
    yield "colour histograms, random forest", float(forest.score(histograms(splits.test), labels))
    board = leaderboard(RESULTS, benchmark=definition).set_index("model")
    for name in NETWORKS:
        yield f"`{name}`", float(board.loc[name, "accuracy"])


if __name__ == "__main__":
    sys.stdout.write("| classifier | accuracy |\n|---|---:|\n")
    for what, accuracy in rows():
        sys.stdout.write(f"| {what} | {accuracy:.3f} |\n")
