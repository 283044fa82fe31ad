"""How often intervals hold what they are of: simulated samples, drawn from published rows as from a population.

`python benchmarks/interval_coverage.py` takes minutes on one core and writes the table of
`docs/explanation/intervals.md`; `--quick` takes a tenth of the samples and only prints.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagbench import benchmarks, results
from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.partners import cycle
from pagbench.ranking import regimes, resampling, statistics
from pagbench.ranking.regimes import Anchored
from pagbench.ranking.resampling import Resampling
from pagbench.ranking.statistics import Interval
from pagbench.studies.stability import ranking

ROOT = Path(__file__).parent.parent
PAGE, START, END = (
    ROOT / "docs" / "explanation" / "intervals.md",
    "<!-- measured by benchmarks/interval_coverage.py: start -->\n",
    "<!-- end -->",
)
LABEL = "fashion-mnist@1"
_EVERY = 6
"""Of the models, by name: intervals of all of them would say the same of the same images."""
_REPLICATES = 1000

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Weigh = Callable[[int, int, int], Resampling]
"""Drawings for so many images of so many classes, by a seed."""
Rank = Callable[[Array, Resampling], Indices]
"""Rank intervals from replicates and what they were drawn by."""


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        what: the statement.
        nominal: how often it should hold.
        now: how often it does, in each sample; shape (samples,).
        before: the same as in version 0.1.0; None where nothing has changed.
        note: more to say.
    """

    what: str
    nominal: str
    now: Array
    before: Array | None = None
    note: str = ""


@dataclass(frozen=True)
class Population:
    """Images with what models have at them. The chance level at an image depends on the next image's target, too.

    Attributes:
        labels: class of each image, shape (N,).
        own: alignment of each model with the image's own target, shape (N, models).
        rest: what the chance level owes to the image itself, shape (N, models).
        start: what it owes to neither.
        slope: how much of the next image's alignment it has: a target that is easy to agree with is so for all.
        alike: what it gains where the next image is of the same class.
        columns: of the other columns, shape (N, models) each.
    """

    labels: Indices
    own: Array
    rest: Array
    start: Array
    slope: Array
    alike: Array
    columns: dict[str, Array]

    def sample(self, images: int, rng: np.random.Generator, *, rounds: bool) -> Indices:
        """Images along a cycle, as many of each class: class by class in rounds, or in any order."""
        classes = [np.flatnonzero(self.labels == label) for label in np.unique(self.labels)]
        order = np.arange(images) % len(classes)
        if rounds:
            order = np.concatenate([rng.permutation(len(classes)) for _ in range(images // len(classes))])
        else:
            rng.shuffle(order)
        return np.array([rng.choice(classes[label]) for label in order])

    def chance(self, index: Indices) -> Array:
        """Chance levels along a cycle of images, shape (n, models)."""
        following = np.roll(index, -1)
        same = (self.labels[index] == self.labels[following])[:, None]
        return np.asarray(self.start + self.slope * self.own[following] + self.alike * same + self.rest[index])

    def truth(self, images: int, *, rounds: bool) -> Array:
        """Corrected alignment of each model over all samples of so many images."""
        own, rest = (self._balanced(values) for values in (self.own, self.rest))
        classes = len(np.unique(self.labels))
        # rounds whose classes are shuffled meet at two images of one class as often as a permutation would have it
        meeting = 1 / classes**2 if rounds else (images / classes - 1) / (images - 1)
        return _corrected(own, self.start + self.slope * own + self.alike * meeting + rest)

    def mean(self, name: str) -> Array:
        """Mean of another column, all classes alike."""
        return self._balanced(self.columns[name])

    def _balanced(self, values: Array) -> Array:
        return np.mean([values[self.labels == label].mean(axis=0) for label in np.unique(self.labels)], axis=0)


def population(column: str, every: int = _EVERY, label: str = LABEL) -> Population:
    """The published rows of a benchmark; the chance level is split by least squares."""
    benchmark = benchmarks.load(label)
    rows = _rows(benchmark)
    models = [name for name in rows if not name.startswith("control/")][::every]
    names = ("correct", "nll", "tangent_energy", *(f"{side}_response_{benchmark.epsilon:g}" for side in ("on", "off")))
    own, chance, *others = (
        np.stack([rows[name][column].to_numpy(float) for name in models], axis=1)
        for column in (column, f"{column}_chance", *names)
    )
    labels = rows[models[0]]["label"].to_numpy(np.int64)
    following = np.roll(np.arange(len(labels)), -1)
    same = (labels == labels[following]).astype(float)
    fitted = np.empty((3, len(models)))
    for m in range(len(models)):
        design = np.stack([np.ones(len(labels)), own[following, m], same], axis=1)
        fitted[:, m] = np.linalg.lstsq(design, chance[:, m], rcond=None)[0]
    start, slope, alike = fitted
    rest = chance - start - slope * own[following] - alike * same[:, None]
    columns = dict(zip(("accuracy", "nll", "tangent_energy", "on", "off"), others, strict=True))
    return Population(labels, own, rest, start, slope, alike, columns)


@cache
def _rows(benchmark: Benchmark) -> dict[str, "results.pd.DataFrame"]:
    """Rows of the models that have all images, along the cycle of partners."""
    read = {
        result.name: result.rows.set_index("sample_id") for result in results.read_all(results.PUBLISHED, benchmark)
    }
    order = list(cycle(benchmark, benchmark.seed))
    return {name: rows.loc[order] for name, rows in read.items() if len(rows) == len(order)}


def _corrected(own: Array, chance: Array) -> Array:
    return np.asarray((own - chance) / (1 - chance))


def blocks(images: int, classes: int, seed: int) -> Resampling:
    """As the leaderboard draws."""
    return resampling.resample(resampling.along(images, classes), seed=seed, replicates=_REPLICATES)


def one_by_one(images: int, classes: int, seed: int) -> Resampling:
    """As version 0.1.0 drew: images, whatever their class and their neighbours."""
    counts = statistics.resampling_weights(images, seed=seed, replicates=_REPLICATES)
    return Resampling(np.arange(images), counts)


def alignments(found: Population, index: Indices, drawn: Resampling) -> Array:
    """Replicates of corrected alignment, shape (1 + replicates, models)."""
    return _corrected(*(resampling.means(drawn, values) for values in (found.own[index], found.chance(index))))


def held(replicates: Array, truth: Array) -> Array:
    """Whether the 95 % interval of each column holds its truth."""
    low, high = np.quantile(replicates[1:], [0.025, 0.975], axis=0)
    return np.asarray((low <= truth) & (truth <= high))


def coverage_of_alignment(
    found: Population, images: int, samples: int, weigh: Weigh, *, rounds: bool, seed: int = 0
) -> Array:
    """Share of the models whose interval of corrected alignment holds the truth, in each sample."""
    rng, truth = np.random.default_rng(seed), found.truth(images, rounds=rounds)
    classes = len(np.unique(found.labels))
    shares = []
    for trial in range(samples):
        index = found.sample(images, rng, rounds=rounds)
        shares.append(held(alignments(found, index, weigh(images, classes, trial)), truth).mean())
    return np.array(shares)


def _alignment(samples: int) -> Iterator[Line]:
    for name, column in (("cosine", "alignment_cosine"), ("LPIPS", "alignment_lpips")):
        found = population(column)
        for images in (100, 250, 1000):
            for rounds in (True, False):
                now, before = (
                    coverage_of_alignment(found, images // 10 * 10, samples, weigh, rounds=rounds)
                    for weigh in (blocks, one_by_one)
                )
                order = "in rounds" if rounds else "in any order"
                yield Line(f"alignment ({name}), {images} images {order}", ".95", now, before)


def _columns(samples: int) -> Iterator[Line]:
    found, rng = population("alignment_cosine"), np.random.default_rng(1)
    means = {name: found.mean(name) for name in found.columns}
    truths = {"accuracy": means["accuracy"], "nll": means["nll"], "log off/on": np.log(means["off"] / means["on"])}
    shares: dict[tuple[str, Weigh], list[float]] = {
        (name, weigh): [] for name in truths for weigh in (blocks, one_by_one)
    }
    for trial in range(samples):
        index = found.sample(1000, rng, rounds=True)
        for weigh in (blocks, one_by_one):
            drawn = weigh(1000, 10, trial)
            values = {name: resampling.means(drawn, found.columns[name][index]) for name in found.columns}
            values["log off/on"] = np.log(values["off"] / values["on"])
            for name, truth in truths.items():
                shares[name, weigh].append(held(values[name], truth).mean())
    for name in truths:
        yield Line(f"{name}, 1000 images", ".95", *(np.array(shares[name, weigh]) for weigh in (blocks, one_by_one)))


def tied(found: Population, images: int) -> Population:
    """The same with all models moved to the alignment of the first."""
    own = found._balanced(found.own)
    truth = found.truth(images, rounds=True)
    chance = (own - truth) / (1 - truth)
    moved = truth[0] * (1 - chance) + chance - own
    return replace(found, own=found.own + moved, start=found.start - found.slope * moved)


def ranks_held(
    found: Population, images: int, samples: int, weigh: Weigh, way: Rank, seed: int = 0
) -> tuple[Array, float]:
    """Whether all true ranks are in their intervals at once, in each sample; and the mean width."""
    rng, truth = np.random.default_rng(seed), found.truth(images, rounds=True).round(12)
    best, worst = (1 + (truth > truth[:, None]).sum(axis=1), len(truth) - (truth < truth[:, None]).sum(axis=1))
    whole, widths = [], []
    for trial in range(samples):
        index = found.sample(images, rng, rounds=True)
        drawn = weigh(images, 10, trial)
        low, high = way(alignments(found, index, drawn), drawn).T
        whole.append(float(((low <= best) & (high >= worst)).all()))
        widths.append((high - low).mean())
    return np.array(whole), float(np.mean(widths))


def _ranks(samples: int) -> Iterator[Line]:
    for every, images in ((6, 1000), (2, 1000), (2, 360), (2, 250)):
        found = population("alignment_cosine", every)
        for name, chosen in (("all tied", tied(found, images)), ("as they are", found)):
            (now, width), (before, wider) = (
                ranks_held(chosen, images, samples, *ways) for ways in ((blocks, rank), (one_by_one, rank_of_old))
            )
            what = f"all ranks of {found.own.shape[1]} models at once, {name}, {images} images"
            yield Line(what, "≥ .95", now, before, f"mean width {width:.1f}, before {wider:.1f}")


def _regimes(samples: int) -> Iterator[Line]:
    benchmark = benchmarks.load(LABEL)
    assert benchmark.thresholds is not None
    rows, rng = _rows(benchmark), np.random.default_rng(2)
    names = [benchmark.reference, benchmark.bayes, *[name for name in rows if not name.startswith("control/")][::2]]
    columns = ("tangent_energy", f"on_response_{benchmark.epsilon:g}", "correct")
    values = np.stack([rows[str(name)][list(columns)].to_numpy(float) for name in names], axis=1)  # images, models, 3
    labels = rows[str(names[0])]["label"].to_numpy(np.int64)
    found = replace(population("alignment_cosine"), labels=labels)
    means = found._balanced(values.reshape(len(labels), -1)).reshape(1, len(names), 3)

    def judged(replicates: Array, model: int) -> tuple[Anchored, Anchored, Anchored]:
        one, reference, bayes = (Anchored(*replicates[:, m].T) for m in (model, 0, 1))
        return one, reference, bayes

    truth = [int(regimes.classify(*judged(means, m), benchmark.thresholds)[0]) for m in range(len(names))]
    right: dict[Weigh, list[float]] = {blocks: [], one_by_one: []}
    for trial in range(samples):
        index = found.sample(1000, rng, rounds=True)
        for weigh, shares in right.items():
            drawn = resampling.means(weigh(1000, 10, trial), values[index].reshape(1000, -1)).reshape(-1, len(names), 3)
            verdicts = [regimes.judge(*judged(drawn[1:], m), benchmark.thresholds) for m in range(2, len(names))]
            said = [(v.regime, truth[m]) for m, v in enumerate(verdicts, 2) if v and v.regime != regimes.BOUNDARY]
            shares.append(float(np.mean([regime == regimes.REGIMES[true] for regime, true in said])))
    yield Line("a regime that is named (p ≥ .9)", "≥ .90", *(np.array(shares) for shares in right.values()))


class Families(NamedTuple):
    """A world of families: their models have x and y."""

    name: str
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]]
    """Of so many families of eight models each: shape (families, 8) twice."""


def _normal(rng: np.random.Generator, families: int) -> tuple[Array, Array]:
    shared = rng.normal(size=(2, families, 1))
    x = shared[0] + rng.normal(size=(families, 8))
    return x, 0.7 * x + shared[1] + 0.7 * rng.normal(size=(families, 8))


def _rising(rng: np.random.Generator, families: int) -> tuple[Array, Array]:
    """Paths along which one quantity grows and the other grows and falls again, each with a peak of its own."""
    strength = np.linspace(0, 1, 8)
    peak, height = rng.uniform(0.5, 1.1, (families, 1)), rng.uniform(0.5, 1.0, (families, 1))
    x = strength * rng.uniform(0.7, 1.3, (families, 1)) + 0.03 * rng.normal(size=(families, 8))
    return x, height * (1 - (strength / peak - 1) ** 2) + 0.03 * rng.normal(size=(families, 8))


def _unequal(rng: np.random.Generator, families: int) -> tuple[Array, Array]:
    """Correlations that differ from family to family."""
    rho = rng.choice([0.95, 0.2], (families, 1))
    x, noise = rng.normal(size=(2, families, 8))
    return x, rho * x + np.sqrt(1 - rho**2) * noise + 0.5 * rng.normal(size=(families, 1))


WORLDS = (
    Families("normal", _normal),
    Families("paths that rise and fall", _rising),
    Families("another correlation in each family", _unequal),
)


def drawn_whole(x: Array, y: Array, seed: int) -> Interval:
    """As version 0.1.0 had it: a percentile interval of families that are drawn with replacement."""
    counts = statistics.resampling_weights(len(x), seed=seed, replicates=200)[1:].astype(int)
    chosen = [np.repeat(np.arange(len(x)), row) for row in counts]
    rhos = [_spearman(x[rows].ravel(), y[rows].ravel()) for rows in chosen]
    return Interval(_spearman(x.ravel(), y.ravel()), *np.quantile(rhos, [0.025, 0.975]))


def left_out(x: Array, y: Array, seed: int = 0) -> Interval:
    """As the leaderboard has it."""
    names = [str(family) for family in range(len(x)) for _ in range(x.shape[1])]
    return statistics.clustered_spearman(x.ravel(), y.ravel(), names)


def _spearman(x: Array, y: Array) -> float:
    ranks = []
    for values in (x, y):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    return float(np.corrcoef(*ranks)[0, 1])


def spearman_held(
    world: Families, families: int, samples: int, way: Callable[[Array, Array, int], Interval], seed: int = 0
) -> tuple[Array, float]:
    """Whether the interval over families holds the correlation over all families there could be; and its mean width."""
    truth = _spearman(*(part.ravel() for part in world.draw(np.random.default_rng(9), 20_000)))
    rng, whole, widths = np.random.default_rng(seed), [], []
    for trial in range(samples):
        found = way(*world.draw(rng, families), trial)
        whole.append(float(found.low <= truth <= found.high))
        widths.append(found.high - found.low)
    return np.array(whole), float(np.nanmean(widths))


def _correlations(samples: int) -> Iterator[Line]:
    for world in WORLDS:
        for families in (4, 8):
            (now, width), (before, narrower) = (
                spearman_held(world, families, samples, way) for way in (left_out, drawn_whole)
            )
            note = f"mean width {width:.2f}, before {narrower:.2f}"
            yield Line(f"Spearman over {families} families: {world.name}", ".95", now, before, note)


class Taus(NamedTuple):
    """Of many samples: true tau, whether the interval holds it, and whether there is one."""

    truth: float
    held: Array
    made: Array


def taus(share: float, images: int, samples: int, *, label: str = LABEL, seed: int = 0) -> Taus:
    """Intervals of Kendall's tau of the ranking by cosine and one by so much of LPIPS, of the same images."""
    cosine, lpips = (population(column, 1, label) for column in ("alignment_cosine", "alignment_lpips"))
    rng = np.random.default_rng(seed)
    first, second = (part.truth(images, rounds=True) for part in (cosine, lpips))
    truth = statistics.kendall(first, (1 - share) * first + share * second)
    whole, made = [], []
    for trial in range(samples):
        index, drawn = cosine.sample(images, rng, rounds=True), blocks(images, 10, trial)
        a, b = (alignments(part, index, drawn) for part in (cosine, lpips))
        tau = ranking.tau_over_images(a, (1 - share) * a + share * b)
        made.append(np.isfinite(tau.low))
        whole.append(tau.low <= truth <= tau.high)
    return Taus(truth, np.array(whole, float), np.array(made))


def _kendall(samples: int) -> Iterator[Line]:
    for part in (1.0, 0.7, 0.5, 0.3, 0.1):
        found = taus(part, 1000, samples)
        what = f"Kendall's tau of {found.truth:.2f}, 1000 images"
        share = f"an interval in {found.made.mean():.0%} of the samples"
        yield Line(what, ".95", found.held[found.made], None, share)


def twins_alike(found: Population, images: int, samples: int, way: Rank, seed: int = 0) -> Array:
    """Whether a network and its rounded copy have a rank in common where these two alone are ranked, in each sample.

    All values of the copy are less by as much as rounding to the 11 significant bits of a results file may move one.
    """
    rng, alike = np.random.default_rng(seed), []
    for trial in range(samples):
        index, drawn = found.sample(images, rng, rounds=True), blocks(images, 10, trial)
        own, m = found.own[index], int(rng.integers(found.own.shape[1]))
        pair = np.stack([own[:, m], own[:, m] * (1 - statistics.ROUNDING)], axis=1)
        means = (resampling.means(drawn, part) for part in (pair, found.chance(index)[:, [m, m]]))
        alike.append(float(way(_corrected(*means), drawn)[0, 1] > 1))
    return np.array(alike)


def rank(replicates: Array, drawn: Resampling) -> Indices:
    """Rank intervals as the leaderboard has them."""
    return statistics.rank_intervals(replicates, units=drawn.counts.shape[1])


def rank_of_old(replicates: Array, drawn: Resampling) -> Indices:
    """Rank intervals as version 0.1.0 had them."""
    i, j = np.triu_indices(replicates.shape[1], k=1)
    difference = replicates[:, i] - replicates[:, j]
    scale = difference[1:].std(axis=0, ddof=1)
    critical = np.quantile((np.abs(difference[1:] - difference[0]) / scale).max(axis=1), 0.95)
    above = np.zeros((replicates.shape[1],) * 2, dtype=bool)
    above[i, j], above[j, i] = difference[0] > critical * scale, -difference[0] > critical * scale
    return np.stack([1 + above.sum(axis=0), replicates.shape[1] - above.sum(axis=1)], axis=1)


def _twins(samples: int) -> Iterator[Line]:
    found = population("alignment_cosine")
    now, before = (twins_alike(found, 1000, samples, way) for way in (rank, rank_of_old))
    yield Line("a network and its rounded copy share a rank", "1", now, before)


def measure(scale: float) -> Iterator[Line]:
    """Lines of the table, as they are measured; with so many times the samples."""
    parts = ((_alignment, 200), (_columns, 200), (_ranks, 300), (_regimes, 50), (_correlations, 500), (_kendall, 60))
    for part, samples in (*parts, (_twins, 100)):
        yield from part(max(int(samples * scale), 10))


def _share(values: Array) -> str:
    if not len(values):
        return "none"
    return f"{values.mean():.3f} ± {values.std() / np.sqrt(len(values)):.3f}"


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, and nothing is written")
    quick = parser.parse_args().quick
    rows = ["| statement | measured |", "|---|---:|"]
    for line in measure(0.1 if quick else 1.0):
        before = "" if line.before is None else f"; in version 0.1.0 {_share(line.before)}"
        sys.stdout.write(
            f"{line.what}: {_share(line.now)}, nominal {line.nominal}{before}{line.note and f'; {line.note}'}\n"
        )
        sys.stdout.flush()
        rows.append(f"| {line.what} | {f'{line.now.mean():.3f}' if len(line.now) else 'none'} |")
    if not quick:
        before, rest = PAGE.read_text(encoding="utf-8").split(START)
        text = "\n".join(rows)
        PAGE.write_text(f"{before}{START}\n{text}\n\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
