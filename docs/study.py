"""The tables of `docs/explanation/study.md`, computed from the committed results; `docs/generate.py` writes them."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.ranking import regimes, statistics
from pagbench.ranking.board import agreements
from pagbench.ranking.statistics import Interval, clustered_spearman, interval
from pagbench.studies.models import StudiedModel, Study

Array = NDArray[np.float64]
_ACCURATE = 0.8
_CORRELATED = (
    ("tangent_energy", "log_ratio_infinitesimal", "gradients on the manifold and infinitesimal off/on response"),
    ("tangent_energy", "log_ratio", "gradients on the manifold and off/on response at the benchmark's epsilon"),
    ("alignment", "tangent_energy", "alignment and gradients on the manifold"),
    ("alignment", "log_ratio_infinitesimal", "alignment and infinitesimal off/on response"),
    ("alignment", "log_ratio", "alignment and off/on response at the benchmark's epsilon"),
    ("paper_alignment", "paper_log_ratio", "the paper protocol's alignment and its off/on response"),
    ("paper_alignment", "log_ratio", "the paper protocol's alignment and off/on response"),
    ("alignment", "paper_alignment", "strict and paper alignment"),
    ("log_ratio", "paper_log_ratio", "strict and paper off/on response"),
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
    ("log_ratio", -1, "off-manifold robustness, -log off/on"),
    ("tangent_energy", 1, "tangent energy"),
    ("pgd_l2_0.5", 1, "adversarial accuracy (PGD, L2 .5)"),
    ("accuracy", 1, "accuracy"),
)


def tables(study: Study) -> str:
    """All tables of one benchmark's study, as Markdown."""
    parts = (_correlations, _peaks, _regimes, _smoothing, _protocols, _targets, _makes, _seeds, _abilities, _makers)
    return "\n".join("\n".join(part(study)) + "\n" for part in parts)


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
    return "∞ (no response to it)" if off[0] < 1e-6 else text(on / off, digits=1)


def _correlations(study: Study) -> Iterator[str]:
    yield "#### Rank correlations over models"
    yield ""
    yield row(["quantities", "all models", "accuracy ≥ .8 of the reference's", "without score-matching"])
    yield rule(4)
    drawn = study.drawn
    floor = _ACCURATE * float(study.reference.replicates["accuracy"][0]) if study.reference else 0.0
    accurate = [n for n in drawn if n.replicates["accuracy"][0] >= floor]
    honest = [n for n in drawn if n.card.family != "score-matching"]
    for first, second, meaning in _CORRELATED:
        if first in drawn[0].replicates and second in drawn[0].replicates:
            cells = [_spearman(chosen, first, second, study.benchmark) for chosen in (drawn, accurate, honest)]
            yield row([meaning, *cells])


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


def _makers(study: Study) -> Iterator[str]:
    yield "#### What one can do with the gradients of each family's best aligned model, of controls and anchors"
    yield ""
    heads = [meaning.replace("closeness in KID", "KID (less is better)") for _, _, meaning in _ABILITIES]
    yield row(["model", "alignment", *heads])
    yield rule(2 + len(_ABILITIES))
    best: dict[str, StudiedModel] = {}
    for model in sorted(study.drawn, key=lambda n: float(n.replicates["alignment"][0])):
        best[model.card.family] = model
    controls = [n for n in study.models if n.card.control and "inpainting_psnr" in n.replicates]
    for model in [*sorted(best.values(), key=lambda n: -float(n.replicates["alignment"][0])), *controls]:
        values = [model.replicates.get(name) for name in ("alignment", *(name for name, _, _ in _ABILITIES))]
        yield row([model.card.id, *("–" if v is None or np.isnan(v[0]) else text(v, digits=2) for v in values)])
    shown = next((n for n in study.drawn if "inpainting_psnr" in n.replicates), None)
    for title, suffixes in _ANCHORS if shown is not None else ():
        cells = [_anchor(shown, name, suffixes) for name, _, _ in _ABILITIES]
        if any(cells):
            yield row([f"*{title}*", "", *cells])


_ANCHORS = (
    ("the start, the noisy image, the mean fill", ("chance",)),
    ("total-variation filter", ("tv",)),
    ("the real image; the score's denoiser", ("ceiling", "denoiser")),
)


def _anchor(model: StudiedModel, ability: str, suffixes: Sequence[str]) -> str:
    """The value of an ability that is not the model's own: chance, anchors, ceiling."""
    parts = ability.replace("_label", "").split("_")
    ends = [f"{'_'.join(parts)}_{suffix}" for suffix in suffixes]
    ends += ["_".join([*parts[:-1], suffix, parts[-1]]) for suffix in suffixes]
    ends += [name.replace("generation_noise", "generation") for name in ends if name.endswith("ceiling")]
    found = next((model.replicates[name] for name in ends if name in model.replicates), None)
    return "" if found is None else text(found, digits=2)


def _spearman(chosen: Sequence[StudiedModel], first: str, second: str, benchmark: Benchmark) -> str:
    x, y = (np.array([n.replicates[name][0] for n in chosen]) for name in (first, second))
    rho = clustered_spearman(x, y, [n.card.family for n in chosen])
    return f"{rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}], {len(chosen)} models"


def _paths(study: Study) -> dict[str, dict[float, list[StudiedModel]]]:
    """Models of the reference's make by family and strength; the unregularised ones are strength 0 of every path."""
    standard = [n for n in study.drawn if n.make == study.make and study.is_standard(n)]
    found: dict[str, dict[float, list[StudiedModel]]] = {}
    for model in study.drawn:
        if model.make == study.make and not study.is_standard(model):
            path = found.setdefault(model.card.family, {0.0: standard})
            path.setdefault(model.card.strength or 0.0, []).append(model)
    return {family: dict(sorted(path.items())) for family, path in sorted(found.items())}


def _mean(chosen: Sequence[StudiedModel], name: str, study: Study) -> Array:
    """Replicates of a mean over seeds and images; the seeds are drawn alike for all strengths of a number of seeds."""
    return statistics.over_seeds([n.replicates[name] for n in chosen], seed=study.benchmark.seed + 1)


def _along(path: dict[float, list[StudiedModel]], name: str, study: Study) -> Array:
    return np.stack([_mean(chosen, name, study) for chosen in path.values()], axis=1)


def _peaks(study: Study) -> Iterator[str]:
    yield "#### The peak of each path"
    yield ""
    yield "By alignment with the benchmark's own target; by other measures the strength (and regime) of their own peak."
    yield "Share inside: of bootstrap samples of the images, those whose peak is at neither end of the path."
    yield ""
    yield row(
        ["family", "peak at", "alignment there", "of standard", "at the strongest", "share inside the path",
         "regime there", "accuracy lost there", "LPIPS peaks at", "second target at", "paper protocol at"]
    )  # fmt: skip
    yield rule(11)
    for family, path in _paths(study).items():
        strengths = list(path)
        alignment, accuracy = _along(path, "alignment", study), _along(path, "accuracy", study)
        best = alignment.argmax(axis=1)
        peak = int(best[0])
        inside = float(np.mean((best[1:] > 0) & (best[1:] < len(strengths) - 1)))
        others = ("alignment_lpips_corrected", "alignment_second_corrected", "paper_alignment")
        yield row(
            [family, f"{strengths[peak]:g}", text(alignment[:, peak]), text(alignment[:, 0]), text(alignment[:, -1]),
             f"{inside:.3f}", _regime(path[strengths[peak]], study), text(accuracy[:, 0] - accuracy[:, peak]),
             *(_peak_of(path, name, study) for name in others)]
        )  # fmt: skip


def _peak_of(path: dict[float, list[StudiedModel]], name: str, study: Study) -> str:
    """Strength at which another alignment peaks, and the regime there."""
    strength = list(path)[int(_along(path, name, study)[0].argmax())]
    return f"{strength:g} ({_regime(path[strength], study)})"


def _regimes(study: Study) -> Iterator[str]:
    yield "#### Regimes along each path, from weak to strong regularisation"
    yield ""
    yield row(["family", "strength: regime (tangent energy; on-response as a share of the Bayes classifier's)"])
    yield rule(2)
    bayes = study.bayes.replicates["on_response"][0]
    for family, path in _paths(study).items():
        steps = []
        for strength, chosen in path.items():
            tau, on = (_mean(chosen, name, study)[0] for name in ("tangent_energy", "on_response"))
            steps.append(f"{strength:g}: **{_regime(chosen, study)}** ({tau:.2f}; {on / bayes:.2f})")
        yield row([family, ", ".join(steps)])


def _regime(chosen: Sequence[StudiedModel], study: Study) -> str:
    if study.anchors is None:
        return "–"
    names = ("tangent_energy", "on_response", "accuracy")
    means = regimes.Anchored(*(_mean(chosen, name, study)[1:] for name in names))
    verdict = regimes.judge(means, *study.anchors, study.benchmark.thresholds)
    return "–" if verdict is None else verdict.regime


def _smoothing(study: Study) -> Iterator[str]:
    yield "#### The smoothed classifier minus its noise-trained base"
    yield ""
    yield row(["noise", "accuracy", "alignment", "tangent energy", "log off/on"])
    yield rule(5)
    paths = _paths(study)
    base, smoothed = paths.get("noise", {}), paths.get("smoothing", {})
    for strength in sorted(set(base) & set(smoothed) - {0.0}):
        same = [n for n in base[strength] if n.card.seed == smoothed[strength][0].card.seed]
        pair = (smoothed[strength][0].replicates, same[0].replicates) if same else None
        if pair is not None:
            names = ("accuracy", "alignment", "tangent_energy", "log_ratio")
            yield row([f"{strength:g}", *(text(pair[0][name] - pair[1][name], sign=True) for name in names)])


def _protocols(study: Study) -> Iterator[str]:
    yield "#### The paper protocol along each path"
    yield ""
    yield row(["family", "strength: 1 - LPIPS of the label's logit, of the sum of logits (log off/on at 2.637)"])
    yield rule(2)
    for family, path in _paths(study).items():
        steps = []
        for strength, chosen in path.items():
            if "paper_alignment" not in chosen[0].replicates:
                continue
            names = ("paper_alignment", "paper_alignment_sum", "paper_log_ratio")
            label, total, ratio = (_mean(chosen, name, study)[0] for name in names)
            steps.append(f"{strength:g}: {label:.3f}, {total:.3f} ({ratio:.2f})")
        yield row([family, "; ".join(steps)])


def _targets(study: Study) -> Iterator[str]:
    yield "#### Ranking by other targets"
    yield ""
    for agreement in agreements(study.board, study.benchmark):
        yield f"- {agreement.sentence()}"
    yield ""
    yield row(["family", "strength: alignment with the second target"])
    yield rule(2)
    for family, path in _paths(study).items():
        steps = []
        for strength, chosen in path.items():
            if "alignment_second_corrected" in chosen[0].replicates:
                steps.append(f"{strength:g}: {_mean(chosen, 'alignment_second_corrected', study)[0]:.3f}")
        yield row([family, ", ".join(steps)])


def _makes(study: Study) -> Iterator[str]:
    yield "#### Other architectures and activations, same family, strength and seed"
    yield ""
    yield row(
        ["model", "accuracy", "alignment", "of the reference's make", "tangent energy", "of the reference's make"]
    )
    yield rule(6)
    usual = {(n.card.family, n.card.strength, n.card.seed): n for n in study.drawn if n.make == study.make}
    for model in study.drawn:
        twin = usual.get((model.card.family, model.card.strength, model.card.seed))
        if model.make == study.make or twin is None:
            continue
        columns = [text(model.replicates["accuracy"])]
        for name in ("alignment", "tangent_energy"):
            columns += [text(model.replicates[name]), text(twin.replicates[name])]
        yield row([model.card.id, *columns])


def _seeds(study: Study) -> Iterator[str]:
    yield "#### What retraining changes: largest difference between seeds of one family and strength"
    yield ""
    groups: dict[tuple[str, float | None, tuple[str, str]], list[StudiedModel]] = {}
    for model in study.drawn:
        groups.setdefault((model.card.family, model.card.strength, model.make), []).append(model)
    several = [group for group in groups.values() if len(group) > 1]
    yield row(["quantity", "largest difference", "median difference", "median half interval over images", "groups"])
    yield rule(5)
    for name in ("accuracy", "alignment", "tangent_energy", "log_ratio"):
        spans = [float(np.ptp([n.replicates[name][0] for n in group])) for group in several]
        halves = [_half(interval(n.replicates[name])) for group in several for n in group]
        yield row([name, f"{max(spans):.3f}", f"{np.median(spans):.3f}", f"{np.median(halves):.3f}", str(len(several))])


def _half(found: Interval) -> float:
    return (found.high - found.low) / 2


def text(replicates: Array, *, digits: int = 3, sign: bool = False) -> str:
    """A value with its 95 % interval."""
    found = interval(replicates)
    plus = "+" if sign else ""
    return f"{found.value:{plus}.{digits}f} [{found.low:{plus}.{digits}f}, {found.high:{plus}.{digits}f}]"


def row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def rule(columns: int) -> str:
    """The line below a Markdown table's heading."""
    return "|" + "---|" * columns
