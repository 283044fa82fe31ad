"""The tables of `docs/explanation/study-first-edition.md`; `docs/generate.py` writes them."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench.ranking.statistics import clustered_spearman, interval
from pagbench.studies.models import Study

Array = NDArray[np.float64]
_CORRELATED = (
    ("tangent_energy", "log_ratio_infinitesimal", "tangent energy and infinitesimal log off/on"),
    ("tangent_energy", "log_ratio", "tangent energy and log off/on"),
    ("alignment", "tangent_energy", "alignment and tangent energy"),
    ("alignment", "log_ratio", "alignment and log off/on"),
    ("alignment", "paper_alignment", "alignment here and by the paper's protocol"),
    ("log_ratio", "paper_log_ratio", "log off/on here and by the paper's protocol"),
)


_ABILITIES = (
    ("generation_noise_recognised", 1, "generated from noise: recognised"),
    ("generation_noise_kid", -1, "generated from noise: closeness in KID"),
    ("generation_kid", -1, "generated from the class's Gaussian: closeness in KID"),
    ("denoising_psnr_0.5", 1, "denoising, dB"),
    ("denoising_ssim_0.5", 1, "denoising, SSIM"),
    ("denoising_psnr_label_0.5", 1, "denoising towards the true class, dB"),
    ("inpainting_psnr", 1, "in-painting, dB"),
    ("inpainting_recognised", 1, "in-painted: recognised"),
)
"""Abilities with the sign that makes more of them better."""
_PREDICTORS = (
    ("alignment", 1, "alignment"),
    ("log_ratio", -1, "−log off/on"),
    ("tangent_energy", 1, "tangent energy"),
    ("pgd_l2_0.5", 1, "adversarial accuracy"),
    ("accuracy", 1, "accuracy"),
)


def tables(study: Study) -> str:
    """Rank correlations of a benchmark's models, and what predicts the abilities; Markdown."""
    return "\n".join("\n".join(part(study)) + "\n" for part in (_correlations, _abilities))


def distractor(study: Study) -> str:
    """Relative noise robustness and gradient energy on the distractor, as Markdown."""
    definition = study.benchmark
    heads = [f"step {epsilon:g}" for epsilon in definition.epsilons]
    lines = ["Response to a step on the signal over response to one on the distractor, by the length of the step.", ""]
    lines += [row(["model", "accuracy", "gradient energy on the distractor", *heads]), rule(3 + len(heads))]
    for model in sorted(study.models, key=lambda n: (n.card.control, n.card.family != "standard", n.card.family)):
        if not model.drawn and model.card.id != definition.bayes:
            continue
        found = model.replicates
        ratios = [_ratio(found[f"on_response_{e:g}"], found[f"off_response_{e:g}"]) for e in definition.epsilons]
        energy = 1 - found["tangent_energy"]
        lines.append(row([model.card.id, text(found["accuracy"]), text(energy), *ratios]))
    return "\n".join(lines) + "\n"


def _ratio(on: Array, off: Array) -> str:
    return "∞" if off[0] < 1e-6 else text(on / off, digits=1)


def _correlations(study: Study) -> Iterator[str]:
    yield "#### Rank correlations over models"
    yield ""
    yield row(["quantities", f"rho over {len(study.drawn)} models"])
    yield rule(2)
    for first, second, meaning in _CORRELATED:
        yield row([meaning, _spearman(study, first, second)])


def _spearman(study: Study, first: str, second: str) -> str:
    x, y = (np.array([model.replicates[name][0] for model in study.drawn]) for name in (first, second))
    rho = clustered_spearman(x, y, [model.card.family for model in study.drawn])
    return f"{rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]"


def _abilities(study: Study) -> Iterator[str]:
    for given in (None, "accuracy"):
        predictors = [predictor for predictor in _PREDICTORS if predictor[0] != given]
        yield "#### What predicts what one can do with a gradient" + ("" if given is None else ", given accuracy")
        yield ""
        yield row(["ability", *(meaning for _, _, meaning in predictors)])
        yield rule(1 + len(predictors))
        for ability, better, meaning in _ABILITIES:
            cells = [_predicts(study, name, ability, sign * better, given) for name, sign, _ in predictors]
            yield row([meaning, *cells])
        yield ""


def _predicts(study: Study, first: str, second: str, sign: int, given: str | None) -> str:
    """Spearman's rho over models, partial where something is given; with its interval over families."""
    attacked = _adversarial()
    chosen = [
        n for n in study.drawn if second in n.replicates and (first in n.replicates or n.card.id in attacked.index)
    ]
    x = np.array([n.replicates[first][0] if first in n.replicates else attacked[first][n.card.id] for n in chosen])
    y, z = (np.array([n.replicates[name][0] for n in chosen]) for name in (second, given or "accuracy"))
    rho = clustered_spearman(sign * x, y, [n.card.family for n in chosen], given=None if given is None else z)
    return f"{rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]"


@cache
def _adversarial() -> pd.DataFrame:
    """Adversarial accuracy by model, on the images that abilities are measured on; see leaderboard/abilities.py."""
    return pd.read_csv(Path(__file__).parent / "adversarial.csv", index_col="entrant")


def text(replicates: Array, *, digits: int = 3) -> str:
    """A value with its 95 % interval."""
    found = interval(replicates)
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def rule(columns: int) -> str:
    """The line below a Markdown table's heading."""
    return "|" + "---|" * columns
